//! What each device did in the intervals that were seen: only as much as pictures of time show.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use verity_trace_ebpf::slot::LOWEST_NS;

use crate::histogram::{Histogram, Nanos};
use crate::snapshot::{Device, DeviceNumber, Snapshot, Stage, Totals};

/// What is said of what a window would show at the first snapshot of a recording.
pub const NOTHING_BEFORE: &str = "there is no snapshot before this one to count from";

/// How many intervals are kept.
const KEPT: usize = 240;

/// How much longer than the one before an interval may be.
const JUMP: u32 = 4;

/// Powers of two of nanoseconds that are told apart, the ends taking the rest.
pub const OCTAVES: usize = 31;

/// Slots of a histogram in each of them.
const SLOTS: usize = 16;

/// I/Os of one interval by how long they took.
pub type Column = [u32; OCTAVES];

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// When the last interval ended, and how long it was.
    until: Duration,
    length: Option<Duration>,
    devices: BTreeMap<DeviceNumber, Past>,
}

/// What one device did.
#[derive(Clone, Debug)]
struct Past {
    /// With its number, what no other device has.
    name: String,
    disk_sequence: Option<u64>,
    /// How long its I/Os took, all added up.
    time: u64,
    /// Its I/Os by how long they took.
    total: [u64; OCTAVES],
    /// Until then.
    until: Duration,
    /// The intervals that were seen, the last one last.
    intervals: VecDeque<Interval>,
}

/// What it did in one of them.
#[derive(Clone, Debug)]
struct Interval {
    until: Duration,
    ios: u64,
    /// Absent where nothing finished.
    column: Option<Box<Column>>,
}

impl History {
    /// Adds what happened since the last snapshot. After one from before that, as in a replay that goes back,
    /// what came later has not been yet. An interval that is far longer than the one before is no column: nobody
    /// looked meanwhile.
    pub fn add(&mut self, snapshot: &Snapshot) {
        let now = snapshot.taken_at;
        if now == self.until {
            return;
        }
        let length = now.checked_sub(self.until);
        let is_column = match (length, self.length) {
            (Some(length), Some(usual)) => length <= usual * JUMP,
            (Some(_), None) => true,
            (None, _) => false,
        };
        self.length = length.filter(|_| !self.until.is_zero());
        self.until = now;
        for device in &snapshot.devices {
            let known = self.devices.get_mut(&device.number);
            match (known.filter(|past| past.is_of(device)), &device.totals) {
                (Some(past), Some(totals)) => past.go_on(now, totals, is_column),
                (Some(past), None) => past.until = now,
                (None, Some(totals)) => {
                    let past = Past::new(device, now, totals);
                    self.devices.insert(device.number, past);
                }
                (None, None) => {}
            }
        }
        self.devices.retain(|_, past| past.until == now);
    }

    /// The last intervals of a device, as many as are asked for and kept.
    pub fn last(&self, device: &Device, count: usize) -> impl Iterator<Item = Option<&Column>> {
        let intervals = self.intervals(device);
        let skipped = intervals.map_or(0, |it| it.len().saturating_sub(count));
        let intervals = intervals.into_iter().flatten().skip(skipped);
        intervals.map(|interval| interval.column.as_deref())
    }

    fn intervals(&self, device: &Device) -> Option<&VecDeque<Interval>> {
        let past = self.devices.get(&device.number);
        past.filter(|it| it.is_of(device)).map(|it| &it.intervals)
    }

    /// I/Os of some devices together in each of the last intervals, as many as are asked for and kept.
    pub fn ios<'a>(&self, devices: impl Iterator<Item = &'a Device>, count: usize) -> Vec<u64> {
        // The last intervals are the same ones, and some devices came later.
        let mut sums = Vec::new();
        for intervals in devices.filter_map(|device| self.intervals(device)) {
            let last = intervals.iter().rev().take(count);
            if sums.len() < last.len() {
                sums.resize(last.len(), 0u64);
            }
            for (sum, interval) in sums.iter_mut().zip(last) {
                *sum = sum.saturating_add(interval.ios);
            }
        }
        sums.reverse();
        sums
    }
}

impl Past {
    fn new(device: &Device, until: Duration, totals: &Totals) -> Self {
        Self {
            name: device.name.clone(),
            disk_sequence: device.disk_sequence,
            time: time(totals),
            total: by_octave(totals),
            until,
            intervals: VecDeque::new(),
        }
    }

    fn is_of(&self, device: &Device) -> bool {
        self.disk_sequence == device.disk_sequence && self.name == device.name
    }

    fn go_on(&mut self, now: Duration, totals: &Totals, is_column: bool) {
        while self.intervals.back().is_some_and(|last| last.until > now) {
            self.intervals.pop_back();
        }
        self.until = now;
        let before = std::mem::replace(&mut self.time, time(totals));
        // Where nothing finished, nothing needs to be counted.
        let column = (self.time != before).then(|| {
            let before = std::mem::replace(&mut self.total, by_octave(totals));
            column(&self.total, &before)
        });
        if is_column {
            if self.intervals.len() == KEPT {
                self.intervals.pop_front();
            }
            self.intervals
                .push_back(Interval::new(now, column.flatten()));
        }
    }
}

impl Interval {
    fn new(until: Duration, column: Option<Box<Column>>) -> Self {
        let counts = column.iter().flat_map(|it| it.iter());
        Self {
            until,
            ios: counts.map(|&ios| u64::from(ios)).sum(),
            column,
        }
    }
}

/// The shortest time that an octave stands for.
#[must_use]
pub const fn lower(octave: usize) -> Nanos {
    Nanos(LOWEST_NS << octave)
}

/// The octave of a histogram's slot, whose first one is what is shorter than the first octave.
const fn octave(slot: usize) -> usize {
    slot.saturating_sub(1) / SLOTS
}

/// How long I/Os took, by placement.
fn histograms(totals: &Totals) -> impl Iterator<Item = &Histogram> {
    let placements = totals.placements.values();
    placements.filter_map(|it| it.stages.get(&Stage::Total))
}

/// Nanoseconds that they took, all added up.
fn time(totals: &Totals) -> u64 {
    histograms(totals).fold(0, |sum, histogram| sum.saturating_add(histogram.sum().0))
}

/// I/Os by how long they took.
fn by_octave(totals: &Totals) -> [u64; OCTAVES] {
    let mut octaves = [0u64; OCTAVES];
    for histogram in histograms(totals) {
        for (slot, count) in histogram.slots() {
            let sum = &mut octaves[octave(slot)];
            *sum = sum.saturating_add(count);
        }
    }
    octaves
}

/// What is new; absent where nothing is.
fn column(now: &[u64; OCTAVES], before: &[u64; OCTAVES]) -> Option<Box<Column>> {
    let column: Column = std::array::from_fn(|octave| {
        let new = now[octave].saturating_sub(before[octave]);
        u32::try_from(new).unwrap_or(u32::MAX)
    });
    column
        .iter()
        .any(|&count| count > 0)
        .then(|| Box::new(column))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Placement;
    use verity_trace_ebpf::slot::slot;

    #[test]
    fn octaves_are_powers_of_two_and_the_ends_take_the_rest() {
        let octaves =
            [0, 64, 127, 128, (1 << 36) - 1, 1 << 36, u64::MAX].map(|ns| octave(slot(ns)));
        assert_eq!(octaves, [0, 0, 0, 1, 29, 30, 30]);
        assert_eq!(lower(octave(slot(1_000))), Nanos(512));
    }

    #[test]
    fn a_column_has_every_new_io() {
        let totals = |values: &[u64]| {
            let mut totals = Totals::default();
            let these = totals.placements.entry(Placement::Bh).or_default();
            let histogram = Histogram::from_values(values.iter().copied().map(Nanos));
            these.stages.insert(Stage::Total, histogram);
            by_octave(&totals)
        };
        let before = totals(&[70, 4_096]);
        let now = totals(&[70, 4_096, 70, 80, 4_096, 1 << 40]);
        let new = column(&now, &before).expect("a column");
        assert_eq!(new.iter().sum::<u32>(), 4);
        assert_eq!((new[0], new[6]), (2, 1));
        assert!(column(&now, &now).is_none());
    }
}
