//! How well one recording tells the typical duration of a stage.
//!
//! The latencies of I/Os that follow each other are alike: a slow moment slows them all. Taken for
//! independent, they would claim far more than they know. So whole intervals of time are resampled, and
//! with intervals of several lengths, of which the one with the widest outcome counts: where a moment
//! lasts longer than the short ones, the long ones show it.

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use statrs::distribution::{ContinuousCDF as _, StudentsT};
use verity_trace_ebpf::slot::{self, ABOVE, BELOW};

use crate::histogram::Histogram;

/// Fewer intervals with I/Os in them tell nothing of how much intervals differ.
pub const LEAST_INTERVALS: usize = 20;
/// Longer intervals are tried while so many of them have I/Os.
const LEAST_LONG_INTERVALS: usize = 8;
/// How often intervals are drawn for each length: the spread is then known to a few percent.
pub const DRAWS: usize = 500;

/// What is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// The median.
    Median,
    /// The mean.
    Mean,
    /// The 99th percentile.
    P99,
}

impl Statistic {
    /// Every one, in the order in which they are named.
    pub const ALL: [Self; 3] = [Self::Median, Self::Mean, Self::P99];

    /// The word for it everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Median => "p50",
            Self::Mean => "mean",
            Self::P99 => "p99",
        }
    }

    /// Fewer I/Os say nothing of it: of the slowest in a hundred there should be ten.
    #[must_use]
    pub const fn least_ios(self) -> u64 {
        match self {
            Self::Median | Self::Mean => 100,
            Self::P99 => 1_000,
        }
    }
}

/// How far an estimate is off, as one standard deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// Of its logarithm.
    pub of_logarithm: f64,
    /// Of itself, in nanoseconds.
    pub ns: f64,
    /// Degrees of freedom: how well the spread itself is known.
    pub freedom: f64,
}

/// Estimates from one recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The value in nanoseconds.
    pub ns: f64,
    /// How far it is off; absent with too few intervals or I/Os.
    pub spread: Option<Spread>,
}

/// The estimates of a series of intervals, in the order of [`Statistic::ALL`]; absent when it has no I/O.
#[must_use]
pub fn estimates(intervals: &[Histogram], seed: u64, draws: usize) -> Option<[Estimate; 3]> {
    let mut level = Level::new(intervals);
    let values = level.whole()?;
    let mut spreads = [None; 3];
    let mut intervals = level.busy();
    let is_enough = intervals >= LEAST_INTERVALS;
    while is_enough && intervals >= LEAST_LONG_INTERVALS {
        let found = level.spreads(seed, draws);
        for (widest, found) in spreads.iter_mut().zip(found) {
            if widest.is_none_or(|widest| width(widest) < width(found)) {
                *widest = Some(found);
            }
        }
        level = level.in_pairs();
        intervals = level.busy();
    }
    let ios = level.ios();
    let mut estimates = [Estimate {
        ns: 0.0,
        spread: None,
    }; 3];
    for (at, statistic) in Statistic::ALL.into_iter().enumerate() {
        let known = ios >= statistic.least_ios();
        estimates[at] = Estimate {
            ns: values[at],
            spread: spreads[at].filter(|_| known),
        };
    }
    Some(estimates)
}

/// Half of the interval that holds the logarithm in 95 of 100 cases.
fn width(spread: Spread) -> f64 {
    spread.of_logarithm * students(0.975, spread.freedom)
}

/// The quantile of Student's t distribution.
#[must_use]
pub fn students(quantile: f64, freedom: f64) -> f64 {
    distribution(freedom).map_or(f64::INFINITY, |it| it.inverse_cdf(quantile))
}

/// How often chance alone gives a value that is at least so far from 0.
#[must_use]
pub fn by_chance(value: f64, freedom: f64) -> f64 {
    distribution(freedom).map_or(1.0, |it| 2.0 * it.sf(value.abs()))
}

fn distribution(freedom: f64) -> Option<StudentsT> {
    StudentsT::new(0.0, 1.0, freedom).ok()
}

/// Intervals of one length: a row for each, with a column for each slot that was hit at all.
struct Level {
    slots: Vec<usize>,
    rows: Vec<Row>,
}

#[derive(Clone)]
struct Row {
    counts: Vec<u64>,
    sum_ns: u64,
}

impl Level {
    fn new(intervals: &[Histogram]) -> Self {
        let mut slots: Vec<_> = intervals
            .iter()
            .flat_map(|it| it.slots().map(|(slot, _)| slot))
            .collect();
        slots.sort_unstable();
        slots.dedup();
        let row = |histogram: &Histogram| {
            let mut counts = vec![0; slots.len()];
            for (slot, count) in histogram.slots() {
                if let Ok(at) = slots.binary_search(&slot) {
                    counts[at] = count;
                }
            }
            Row {
                counts,
                sum_ns: histogram.sum().0,
            }
        };
        let rows = intervals.iter().map(row).collect();
        Self { slots, rows }
    }

    /// Intervals that are twice as long.
    fn in_pairs(&self) -> Self {
        let rows = self.rows.chunks(2).map(|pair| {
            let mut both = pair[0].clone();
            for row in &pair[1..] {
                both.add(row);
            }
            both
        });
        Self {
            slots: self.slots.clone(),
            rows: rows.collect(),
        }
    }

    /// How many intervals have I/Os.
    fn busy(&self) -> usize {
        self.rows.iter().filter(|row| row.ios() > 0).count()
    }

    fn ios(&self) -> u64 {
        self.rows.iter().map(Row::ios).sum()
    }

    fn whole(&self) -> Option<[f64; 3]> {
        let mut all = Row::none(self.slots.len());
        for row in &self.rows {
            all.add(row);
        }
        all.values(&self.slots)
    }

    fn spreads(&self, seed: u64, draws: usize) -> [Spread; 3] {
        let rows: Vec<_> = self.rows.iter().filter(|row| row.ios() > 0).collect();
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut moments = [[Moments::default(); 2]; 3];
        let mut sample = Row::none(self.slots.len());
        for _ in 0..draws {
            sample.clear();
            for _ in 0..rows.len() {
                sample.add(rows[random.random_range(0..rows.len())]);
            }
            let Some(values) = sample.values(&self.slots) else {
                continue;
            };
            for (moments, value) in moments.iter_mut().zip(values) {
                moments[0].add(value.ln());
                moments[1].add(value);
            }
        }
        // A sample of n varies by (n - 1) / n less than what it is sample from.
        let count = rows.len() as f64;
        let freedom = count - 1.0;
        let scale = (count / freedom).sqrt();
        moments.map(|[logarithm, value]| Spread {
            of_logarithm: scale * logarithm.deviation(),
            ns: scale * value.deviation(),
            freedom,
        })
    }
}

impl Row {
    fn none(slots: usize) -> Self {
        Self {
            counts: vec![0; slots],
            sum_ns: 0,
        }
    }

    fn clear(&mut self) {
        self.counts.fill(0);
        self.sum_ns = 0;
    }

    fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }

    fn ios(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// By [`Statistic::ALL`], never 0, so that there is a logarithm.
    fn values(&self, slots: &[usize]) -> Option<[f64; 3]> {
        let ios = self.ios();
        if ios == 0 {
            return None;
        }
        let percentile = |share: f64| self.percentile(slots, share * ios as f64);
        let mean = self.sum_ns as f64 / ios as f64;
        Some([percentile(0.5), mean, percentile(0.99)].map(|ns| ns.max(1.0)))
    }

    /// The value at a rank, as if a slot's were spread evenly over it.
    fn percentile(&self, slots: &[usize], rank: f64) -> f64 {
        let mut before = 0.0;
        for (&slot, &count) in slots.iter().zip(&self.counts) {
            let count = count as f64;
            if count > 0.0 && before + count >= rank {
                return within(slot, (rank - before) / count);
            }
            before += count;
        }
        slots.last().map_or(0.0, |&slot| within(slot, 1.0))
    }
}

fn within(slot: usize, share: f64) -> f64 {
    if slot == BELOW || slot == ABOVE {
        return slot::middle_ns(slot) as f64;
    }
    let (lower, upper) = (slot::lower_ns(slot) as f64, slot::lower_ns(slot + 1) as f64);
    share.clamp(0.0, 1.0).mul_add(upper - lower, lower)
}

/// Mean and variance as the values come (Welford).
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let off = value - self.mean;
        self.mean += off / self.count;
        self.squares += off * (value - self.mean);
    }

    fn deviation(&self) -> f64 {
        if self.count < 2.0 {
            return f64::INFINITY;
        }
        (self.squares / (self.count - 1.0)).sqrt()
    }
}
