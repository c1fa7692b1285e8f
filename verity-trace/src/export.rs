//! The JSON documents: their own types, so that what is inside can be renamed without changing them.
//!
//! Durations are integers in nanoseconds, sizes in bytes. What is absent is unknown or did not
//! happen. `dashboards/README.md` describes every field.

mod advice;
mod cost;
mod devices;
mod doctor;
mod document;
mod schema;
mod writer;

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

pub use advice::Recommendation;
pub use devices::{Entry, Listing};
pub use doctor::Diagnosis;
pub use document::Document;
pub use document::reading::Unreadable;
pub use document::recount::Recount;
pub use document::slow::SlowIos;
pub use schema::schema;

use crate::checkup::Checkup;
use crate::decode::Io;
use crate::inventory::Inventory;
use crate::picked::Seen;
use crate::plan::Facts;
use crate::recommend::Advice;
use crate::snapshot::Snapshot;

/// Raised when a field changes its meaning or goes away, not when one is added.
pub const SCHEMA_VERSION: u32 = 1;

/// The I/Os that a document carries one by one.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    /// The I/Os, oldest first.
    pub ios: &'a [Io],
    /// How many more finished meanwhile.
    pub omitted: u64,
}

/// Writes a snapshot, with records when there are any to show and with what is advised, as one indented JSON
/// document.
pub fn json(
    snapshot: &Snapshot,
    advices: &[Advice],
    records: Option<Records<'_>>,
    out: &mut impl Write,
) -> io::Result<()> {
    write(&Document::new(snapshot, records).advised(advices), out)
}

/// The same in one line.
pub fn line(
    snapshot: &Snapshot,
    advices: &[Advice],
    records: Option<Records<'_>>,
    out: &mut impl Write,
) -> io::Result<()> {
    let document = Document::new(snapshot, records).advised(advices);
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, writer::Ascii::line());
    document.serialize(&mut serializer)?;
    writeln!(out)
}

/// Writes the slowest I/Os of some time as one indented JSON document.
pub fn slow_ios(
    taken_at: Duration,
    span: Duration,
    seen: Option<Seen>,
    ios: &[Io],
    out: &mut impl Write,
) -> io::Result<()> {
    write(&SlowIos::new(taken_at, span, seen, ios), out)
}

/// Writes what is advised from a snapshot as one indented JSON document.
pub fn recommendation(
    snapshot: &Snapshot,
    advices: &[Advice],
    out: &mut impl Write,
) -> io::Result<()> {
    write(&Recommendation::new(snapshot, advices), out)
}

/// Writes an inventory as one indented JSON document.
pub fn devices(inventory: &Inventory, out: &mut impl Write) -> io::Result<()> {
    write(&Listing::from(inventory), out)
}

/// Writes how a kernel would be watched as one indented JSON document.
pub fn doctor(checkup: &Checkup, out: &mut impl Write) -> io::Result<()> {
    write(&Diagnosis::from(checkup), out)
}

/// Writes the facts about a kernel as one indented JSON document.
pub fn facts(facts: &Facts, out: &mut impl Write) -> io::Result<()> {
    write(facts, out)
}

/// Writes a document of any type, indented, with nothing in it that a terminal would obey.
pub fn write(document: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut *out, writer::Ascii::indented());
    document.serialize(&mut serializer)?;
    writeln!(out)
}
