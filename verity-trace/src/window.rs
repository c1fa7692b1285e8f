//! A part of a recording's time, counted anew from the records of the I/Os that finished then, as the programs
//! count: what the snapshots, which count from the start, do not tell.

mod tally;

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, Write};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::aggregate::Reading;
use crate::error::{Error, Result};
use crate::escape;
use crate::export::{self, Recount};
use crate::facts;
use crate::format;
use crate::overview::{self, About, Overview};
use crate::recording::{Block, Reader};
use crate::report;
use crate::snapshot::{Device, Era, Other, Snapshot};
use crate::table::Stop;

use tally::Tallies;

/// A part of a recording's time, from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    from: Option<Duration>,
    to: Option<Duration>,
}

/// What finished in it.
#[derive(Debug)]
pub struct Recounted<'a> {
    overview: &'a Overview,
    from: Duration,
    to: Duration,
    /// The devices with these totals alone, and nothing that a record does not tell.
    snapshot: Snapshot,
    records: u64,
    /// Records that make no I/O.
    pub undecoded: u64,
}

impl Window {
    /// The part between two moments, of which either may be absent; without both there is none.
    pub fn new(from: Option<Duration>, to: Option<Duration>) -> Result<Option<Self>> {
        if from.is_none() && to.is_none() {
            return Ok(None);
        }
        if to.is_some_and(|to| to <= from.unwrap_or_default()) {
            return Err(Error::Usage("--to is not after --from".to_owned()));
        }
        Ok(Some(Self { from, to }))
    }

    /// Counts what finished in it. Needs the overview of the same recording, whose devices it shows, and reads
    /// that anew from where it is. Other devices are counted together, if that is asked for.
    pub fn recount<'a, R: Read + Seek>(
        self,
        reader: &mut Reader<R>,
        overview: &'a Overview,
        counts_others: bool,
    ) -> std::result::Result<Recounted<'a>, Stop> {
        let (start, end) = overview.pictures_ns;
        let after = |time| start.saturating_add(format::nanos(time).0);
        let range = self.from.map_or(0, after)..self.to.map_or(u64::MAX, after);
        let mut tallies = Tallies::default();
        let mut era = None;
        let mut records = Vec::new();
        while let Some(block) = reader.next_block()? {
            let ios = match block {
                Block::Ios(ios) => ios,
                Block::Devices(noted) => {
                    tallies.learn(&noted, &overview.snapshot.devices);
                    continue;
                }
                _ => continue,
            };
            era = ios.span.era.or(era);
            if ios.span.last_finish < range.start || ios.span.first_finish >= range.end {
                continue;
            }
            records.clear();
            reader.records(&ios, &mut records)?;
            tallies.count(&records, &range);
        }
        let end = overview.ends_ns.map_or(end, |(_, last)| last.max(end));
        let end = Duration::from_nanos(end.saturating_sub(start));
        let from = self.from.unwrap_or_default();
        let to = self.to.map_or(end, |to| to.min(end)).max(from);
        let (records, undecoded) = (tallies.records, tallies.undecoded);
        let machine = overview.machine.as_ref();
        let has_all = machine.is_none_or(|machine| machine.filter.is_everything());
        // Without a time there are no rates: those of records are not those of I/Os.
        let watched = to.saturating_sub(from);
        let watched = if has_all { watched } else { Duration::ZERO };
        let mut snapshot = with(&overview.snapshot, tallies, era, watched);
        snapshot.other.take_if(|_| !counts_others);
        Ok(Recounted {
            overview,
            from,
            to,
            snapshot,
            records,
            undecoded,
        })
    }
}

/// The picture with these totals, and without what goes with its own.
fn with(all: &Snapshot, mut tallies: Tallies, era: Option<Era>, watched: Duration) -> Snapshot {
    let era = era.or(all.kernel.era).unwrap_or(Era::NoOption);
    let mut known = all.devices.iter().filter_map(|it| it.totals.as_ref());
    let reading = Reading {
        // A record does not tell whether it would have been seen.
        sees_mismatch: known.any(|totals| totals.rechecked.is_some()),
        ..Reading::default()
    };
    let mut others = tallies.others();
    let mut counted = tallies.devices();
    let devices = all.devices.iter().map(|device| {
        let counted = counted.remove(&device.number).unwrap_or_default();
        Device {
            totals: Some(counted.totals(era, &reading)),
            counted_in_other: false,
            recent: None,
            in_flight: None,
            first_failure: None,
            before_attach: None,
            in_flight_before_attach: None,
            ..device.clone()
        }
    });
    let devices = devices.collect();
    for gone in counted.into_values() {
        others.get_or_insert_default().add(&gone);
    }
    Snapshot {
        watched,
        interval: None,
        devices,
        queued: BTreeMap::new(),
        other: others.map(|others| Other {
            totals: others.totals(era, &reading),
            ..Other::default()
        }),
        cpus: Vec::new(),
        recent_cpus: Vec::new(),
        account: None,
        loss: BTreeMap::new(),
        before_attach: 0,
        cost: None,
        sampling: None,
        ..all.clone()
    }
}

/// Writes it as text.
pub fn text(recounted: &Recounted<'_>, out: &mut impl Write) -> io::Result<()> {
    let Recounted {
        overview, snapshot, ..
    } = recounted;
    let kernel = &snapshot.kernel;
    let lines = [
        (
            "kernel",
            format!(
                "{} on {}, {}",
                kernel.release,
                kernel.host,
                format::counted(kernel.cpus, "CPU")
            ),
        ),
        (
            "window",
            format!(
                "{} to {} of the recording: I/Os that finished then",
                format::span(recounted.from),
                format::span(recounted.to),
            ),
        ),
        ("records", overview.coverage(recounted.records)),
    ];
    for (label, text) in lines {
        overview::line(label, &escape::terminal(&text), out)?;
    }
    for device in &snapshot.devices {
        writeln!(out)?;
        report::recounted(device, snapshot, out)?;
    }
    if let Some(other) = &snapshot.other {
        writeln!(out, "\n{}, together", facts::OTHER)?;
        report::counted(&other.totals, snapshot, out)?;
    }
    writeln!(out, "\np50, p99 and max are at most 1/32 off")
}

#[derive(Serialize, JsonSchema)]
struct Document<'a> {
    #[serde(flatten)]
    recount: Recount<'a>,
    window: Part,
    recording: About<'a>,
}

#[derive(Serialize, JsonSchema)]
struct Part {
    from_ns: u64,
    to_ns: u64,
    records: u64,
}

/// The JSON schema of what [`json`] writes.
#[must_use]
pub fn schema() -> serde_json::Value {
    export::schema::<Document<'static>>()
}

/// Writes it as one indented JSON document.
pub fn json(recounted: &Recounted<'_>, out: &mut impl Write) -> io::Result<()> {
    let document = Document {
        recount: Recount::from(&recounted.snapshot),
        window: Part {
            from_ns: format::nanos(recounted.from).0,
            to_ns: format::nanos(recounted.to).0,
            records: recounted.records,
        },
        recording: About::from(recounted.overview),
    };
    export::write(&document, out)
}
