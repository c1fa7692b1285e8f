//! How well one recording tells the typical duration of a stage.
//!
//! The latencies of I/Os that follow each other are alike: a slow moment slows them all. Taken for
//! independent, they would claim far more than they know. So whole intervals of time are resampled, and
//! with intervals of several lengths, of which the one with the widest outcome counts: where a moment
//! lasts longer than the short ones, the long ones show it.
//!
//! Where slow moments last so long that there are few of them, or where a few make up most of a statistic,
//! no resampling tells how much it varies: what they are worth is counted, as [`Estimate::independent`].

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use statrs::distribution::{ContinuousCDF as _, StudentsT};
use verity_trace_ebpf::slot::{self, ABOVE, BELOW};

use crate::histogram::Histogram;

/// Fewer intervals with I/Os in them tell nothing of how much intervals differ.
pub const LEAST_INTERVALS: usize = 20;
/// Longer intervals are tried while so many of them have I/Os.
const LEAST_LONG_INTERVALS: usize = 8;
/// A statistic that is worth fewer independent intervals has no verdict: with this, two runs of the same are
/// called different in about 5 % of cases however long slow moments last.
pub const LEAST_INDEPENDENT: f64 = 10.0;
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
    /// As many independent intervals would tell as much.
    pub independent: f64,
}

/// The estimates of a series of intervals, in the order of [`Statistic::ALL`]; absent when it has no I/O.
#[must_use]
pub fn estimates(intervals: &[Histogram], seed: u64, draws: usize) -> Option<[Estimate; 3]> {
    let mut level = Level::new(intervals);
    let values = level.whole()?;
    let independent = level.independent();
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
    Some([0, 1, 2].map(|at| {
        let known = ios >= Statistic::ALL[at].least_ios();
        Estimate {
            ns: values[at],
            spread: spreads[at].filter(|_| known),
            independent: independent[at],
        }
    }))
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

    fn together(&self) -> Row {
        let mut all = Row::none(self.slots.len());
        for row in &self.rows {
            all.add(row);
        }
        all
    }

    fn whole(&self) -> Option<[f64; 3]> {
        self.together().values(&self.slots)
    }

    /// What the intervals are worth for each statistic, by what makes it: the slower half of the I/Os, all
    /// their time, the slowest hundredth.
    fn independent(&self) -> [f64; 3] {
        let all = self.together();
        let [median, p99] = [0.5, 0.99].map(|share| {
            let place = all.place(share * all.ios() as f64);
            place.map_or(0, |(at, _)| at)
        });
        let slower = |row: &Row, from: usize| row.counts[from..].iter().sum::<u64>() as f64;
        [
            self.worth(|row| slower(row, median)),
            self.worth(|row| row.sum_ns as f64),
            self.worth(|row| slower(row, p99)),
        ]
    }

    /// The number of intervals that have equal parts of it (Kish), less what neighbours have in common.
    fn worth(&self, part: impl Fn(&Row) -> f64) -> f64 {
        let parts: Vec<_> = self.rows.iter().map(part).collect();
        let whole: f64 = parts.iter().sum();
        let squares: f64 = parts.iter().map(|part| part * part).sum();
        if squares == 0.0 {
            return self.busy() as f64;
        }
        let share = whole / self.ios() as f64;
        let off = self.rows.iter().zip(&parts).map(|(row, part)| {
            let expected = share * row.ios() as f64;
            let off = part - expected;
            // What rounding makes is alike everywhere.
            if off.abs() > 1e-9 * expected {
                off
            } else {
                0.0
            }
        });
        whole * whole / squares / (1.0 + 2.0 * correlation(&off.collect::<Vec<_>>()))
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
        match self.place(rank) {
            Some((at, share)) => within(slots[at], share),
            None => slots.last().map_or(0.0, |&slot| within(slot, 1.0)),
        }
    }

    /// In which slot a rank is, and how far within.
    fn place(&self, rank: f64) -> Option<(usize, f64)> {
        let mut before = 0.0;
        for (at, &count) in self.counts.iter().enumerate() {
            let count = count as f64;
            if count > 0.0 && before + count >= rank {
                return Some((at, (rank - before) / count));
            }
            before += count;
        }
        None
    }
}

/// How much values have in common with later ones: the correlations with those one behind, two behind and so on,
/// up to the first that is none, together.
fn correlation(values: &[f64]) -> f64 {
    let product = |lag: usize| -> f64 {
        let pairs = values.iter().zip(&values[lag..]);
        pairs.map(|(one, other)| one * other).sum()
    };
    let squares = product(0);
    let lags = 1..values.len();
    let products = lags.map(product).take_while(|&it| it > 0.0);
    // Without any there is no lag that has something in common.
    products.map(|it| it / squares).sum()
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
