//! What is gathered of a recording's records in one pass, in memory that does not grow with them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};

use super::bins::Bins;
use super::scale::Time;
use crate::decode::Io;
use crate::export::Entry;
use crate::format;
use crate::overview::Overview;
use crate::recording::{Block, Devices, Fault, Parameters, Reader};
use crate::slowest::Slowest;
use crate::snapshot::DeviceNumber;

/// How many of the slowest are kept.
const SLOWEST: usize = 20;

/// So many changes are told one by one.
pub const MARKS: usize = 40;

/// See the module.
#[derive(Clone, Debug)]
pub struct Gathered {
    /// How many took how long when.
    pub bins: Bins,
    /// The slowest.
    pub slowest: Slowest<Io>,
    /// Records that make no I/O.
    pub undecoded: u64,
    /// What changed meanwhile, the first first, at most [`MARKS`].
    pub marks: Vec<Mark>,
    /// Changes beyond these.
    pub unmarked: u64,
}

/// A change of parameters or devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When, on `CLOCK_MONOTONIC`.
    pub at: u64,
    /// What changed. Names come from outside: escape it before printing.
    pub what: String,
}

impl Gathered {
    /// Reads the records of these devices, or of all.
    pub fn read<R: Read + Seek>(
        reader: &mut Reader<R>,
        overview: &Overview,
        devices: Option<&[DeviceNumber]>,
    ) -> Result<Self, Fault> {
        let mut gathered = Self {
            bins: Bins::new(time(overview)),
            slowest: Slowest::of(SLOWEST),
            undecoded: 0,
            marks: Vec::new(),
            unmarked: 0,
        };
        let mut known = None;
        let mut limits = None;
        while let Some(block) = reader.next_block()? {
            match block {
                Block::Ios(ios) => {
                    gathered.undecoded += reader.ios(&ios, |io| {
                        if devices.is_none_or(|devices| devices.contains(&io.device)) {
                            let finished = io.mapped_at.0.saturating_add(io.total.0);
                            gathered.bins.add(finished, io.total);
                            gathered.slowest.add(io.total, || io.clone());
                        }
                        Ok::<_, Fault>(())
                    })?;
                }
                Block::Devices(it) => gathered.devices(&it, &mut known),
                Block::Parameters(it) => gathered.parameters(it, &mut limits),
                _ => {}
            }
        }
        Ok(gathered)
    }

    fn devices(&mut self, noted: &Devices<'_>, known: &mut Option<BTreeMap<String, Described>>) {
        let entries = noted.devices.iter().map(described);
        let now: BTreeMap<_, _> = entries.collect();
        if let Some(before) = known.replace(now.clone()) {
            for what in changes(&before, &now) {
                self.mark(noted.monotonic_ns, what);
            }
        }
    }

    fn parameters(&mut self, noted: Parameters, known: &mut Option<Parameters>) {
        let words = |it: &Parameters| {
            let limits = it.use_bh_bytes.as_ref();
            let words = limits.map(|it| it.iter().map(u64::to_string).collect::<Vec<_>>());
            words.map_or_else(|| format::ABSENT.to_owned(), |words| words.join(","))
        };
        let at = noted.monotonic_ns;
        let now = words(&noted);
        if let Some(before) = known.replace(noted).as_ref().map(words)
            && before != now
        {
            self.mark(at, format!("use_bh_bytes {before} became {now}"));
        }
    }

    fn mark(&mut self, at: u64, what: String) {
        if self.marks.len() < MARKS {
            self.marks.push(Mark { at, what });
        } else {
            self.unmarked += 1;
        }
    }
}

/// A device's name, and all that was noted of it.
type Described = (String, String);

fn described(entry: &Entry<'_>) -> (String, Described) {
    let all = serde_json::to_string(entry).unwrap_or_default();
    let number = entry.number().map(|number| number.to_string());
    (number.unwrap_or_default(), (entry.name().to_owned(), all))
}

fn changes(before: &BTreeMap<String, Described>, now: &BTreeMap<String, Described>) -> Vec<String> {
    let numbers: BTreeSet<_> = before.keys().chain(now.keys()).collect();
    let change = |number: &String| match (before.get(number), now.get(number)) {
        (None, Some((name, _))) => Some(format!("{name} ({number}) came")),
        (Some((name, _)), None) => Some(format!("{name} ({number}) went")),
        (Some((old, _)), Some((new, _))) if old != new => {
            Some(format!("{old} ({number}) went, and {new} came"))
        }
        (Some((name, old)), Some((_, new))) if old != new => {
            Some(format!("{name} ({number}) has another table or status"))
        }
        _ => None,
    };
    numbers.into_iter().filter_map(change).collect()
}

/// From the first moment of which the recording says anything to the last; of a ring, that of its records.
fn time(overview: &Overview) -> Time {
    let (first, last) = overview.pictures_ns;
    let is_ring = overview
        .machine
        .as_ref()
        .is_some_and(|it| it.ring_bytes.is_some());
    match overview.ends_ns {
        Some((start, end)) if is_ring => Time::between(start, end),
        Some((start, end)) => Time::between(first.min(start), last.max(end)),
        None => Time::between(first, last),
    }
}
