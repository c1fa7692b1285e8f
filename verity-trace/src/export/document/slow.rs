//! The slowest I/Os of some time, one by one.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::{RecordList, SCHEMA_VERSION, Word, word};
use crate::decode::Io;
use crate::format::nanos;
use crate::picked::Seen;

/// See the module.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SlowIos<'a> {
    schema_version: u32,
    version: Word,
    taken_at_unix_ms: u64,
    span_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<Which>,
    records: RecordList<'a>,
}

/// Of which I/Os it is known how long they took.
#[derive(Debug, Serialize, JsonSchema)]
struct Which {
    every_io: bool,
    one_in: u64,
    slower_than_ns: u64,
    unsent: u64,
}

impl<'a> SlowIos<'a> {
    /// The I/Os, the slowest first; `seen` is absent where I/Os are not seen one by one.
    #[must_use]
    pub fn new(taken_at: Duration, span: Duration, seen: Option<Seen>, ios: &'a [Io]) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            version: word(env!("CARGO_PKG_VERSION")),
            taken_at_unix_ms: u64::try_from(taken_at.as_millis()).unwrap_or(u64::MAX),
            span_ns: nanos(span).0,
            seen: seen.map(|seen| Which {
                every_io: seen.is_everything(),
                one_in: seen.one_in,
                slower_than_ns: seen.slow.0,
                unsent: seen.unsent,
            }),
            records: RecordList(ios),
        }
    }
}
