//! Durations by the time at which I/Os finished: what is kept grows with devices, not with I/Os.

use std::collections::BTreeMap;

use verity_trace_ebpf::placement::Stage;

use crate::decode::Io;
use crate::histogram::Histogram;
use crate::snapshot::{IoClass, Placement, Totals};

/// Intervals at most: whenever there would be more, they become twice as long.
pub const MOST_INTERVALS: usize = 128;
/// Nanoseconds of the shortest intervals.
const SHORTEST_NS: u64 = 10_000_000;

/// The intervals of one recording.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    start_ns: Option<u64>,
    /// How long each is.
    pub interval_ns: u64,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            start_ns: None,
            interval_ns: SHORTEST_NS,
        }
    }
}

impl Timeline {
    /// The interval of a moment. Where that would be one too many, all have to be merged before, so often.
    pub fn interval(&mut self, moment_ns: u64) -> (usize, u32) {
        let start = *self.start_ns.get_or_insert(moment_ns);
        let after = moment_ns.saturating_sub(start);
        let mut merged = 0;
        while after / self.interval_ns >= MOST_INTERVALS as u64 {
            self.interval_ns = self.interval_ns.saturating_mul(2);
            merged += 1;
        }
        let at = usize::try_from(after / self.interval_ns).unwrap_or(MOST_INTERVALS - 1);
        (at, merged)
    }
}

/// One stage, interval by interval.
pub type Series = Vec<Histogram>;

/// The I/Os of one device.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// How long each stage took.
    pub series: BTreeMap<Placement, BTreeMap<Stage, Series>>,
    /// What they were.
    pub load: Load,
}

impl Observed {
    /// Takes in an I/O.
    pub fn add(&mut self, io: &Io, interval: usize) {
        self.load.add(io);
        let stages = self.series.entry(io.placement).or_default();
        let whole = (Stage::Total, io.total);
        for (stage, duration) in io.stages.iter().map(|(&it, &ns)| (it, ns)).chain([whole]) {
            let series = stages.entry(stage).or_default();
            if series.len() <= interval {
                series.resize_with(interval + 1, Histogram::default);
            }
            series[interval].add(duration);
        }
    }

    /// Makes intervals twice as long.
    pub fn merge(&mut self) {
        for series in self.series.values_mut().flat_map(BTreeMap::values_mut) {
            let pairs = series.chunks(2).map(together);
            *series = pairs.collect();
        }
    }

    /// Takes in what is the same device.
    pub fn join(&mut self, other: &Self) {
        self.load.join(&other.load);
        for (&placement, stages) in &other.series {
            for (&stage, series) in stages {
                let mine = self.series.entry(placement).or_default();
                add(mine.entry(stage).or_default(), series);
            }
        }
    }

    /// A stage of one placement, or of all together.
    #[must_use]
    pub fn stage(&self, placement: Option<Placement>, stage: Stage) -> Series {
        let mut found = Series::new();
        for (&its, stages) in &self.series {
            if placement.is_none_or(|placement| placement == its)
                && let Some(series) = stages.get(&stage)
            {
                add(&mut found, series);
            }
        }
        found
    }
}

fn add(series: &mut Series, other: &Series) {
    if series.len() < other.len() {
        series.resize_with(other.len(), Histogram::default);
    }
    for (mine, other) in series.iter_mut().zip(other) {
        mine.merge(other);
    }
}

/// All intervals as one.
#[must_use]
pub fn together(series: &[Histogram]) -> Histogram {
    let mut all = Histogram::default();
    for interval in series {
        all.merge(interval);
    }
    all
}

/// What I/Os were, whatever became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// I/Os.
    pub ios: u64,
    /// By the power of two that their bytes are not below.
    pub sizes: BTreeMap<u32, u64>,
    /// By ioprio class.
    pub classes: BTreeMap<IoClass, u64>,
    /// Those that were read-ahead; absent where that is not known.
    pub read_ahead: Option<u64>,
}

/// Where an ioprio has its class (include/uapi/linux/ioprio.h).
const CLASS_SHIFT: u16 = 13;

impl Load {
    fn add(&mut self, io: &Io) {
        self.ios += 1;
        // As in the totals of a snapshot.
        let size = 1 << io.bytes.clamp(512, 16 << 20).ilog2();
        *self.sizes.entry(size).or_default() += 1;
        let class = IoClass::ALL.get(usize::from(io.ioprio >> CLASS_SHIFT));
        let class = class.copied().unwrap_or(IoClass::None);
        *self.classes.entry(class).or_default() += 1;
        *self.read_ahead.get_or_insert(0) += u64::from(io.read_ahead);
    }

    fn join(&mut self, other: &Self) {
        self.ios += other.ios;
        for (&size, ios) in &other.sizes {
            *self.sizes.entry(size).or_default() += ios;
        }
        for (&class, ios) in &other.classes {
            *self.classes.entry(class).or_default() += ios;
        }
        if let Some(more) = other.read_ahead {
            *self.read_ahead.get_or_insert(0) += more;
        }
    }
}

impl From<&Totals> for Load {
    fn from(totals: &Totals) -> Self {
        let mut load = Self {
            ios: totals.ios(),
            ..Self::default()
        };
        for (kind, ios) in &totals.mix {
            *load.sizes.entry(kind.size).or_default() += ios;
            *load.classes.entry(kind.class).or_default() += ios;
        }
        load
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Nanos;

    #[test]
    fn intervals_are_never_too_many_and_lose_nothing() {
        let mut timeline = Timeline::default();
        let mut series: Series = Vec::new();
        for number in 0..10_000 {
            let (at, merged) = timeline.interval(7 + number * 3_000_000);
            for _ in 0..merged {
                series = series.chunks(2).map(together).collect();
            }
            assert!(at < MOST_INTERVALS, "{number}");
            if series.len() <= at {
                series.resize_with(at + 1, Histogram::default);
            }
            series[at].add(Nanos(number + 64));
        }
        assert_eq!(together(&series).count(), 10_000);
        assert!((MOST_INTERVALS / 2..=MOST_INTERVALS).contains(&series.len()));
        let least = series.iter().map(Histogram::count).min();
        assert!(least > Some(0));
        // The clock of a file that is not to be trusted.
        assert!(timeline.interval(u64::MAX).0 < MOST_INTERVALS);
        assert_eq!(timeline.interval(0), (0, 0));
    }
}
