//! What becomes of a load: counted by blocks of time, from which the error of a forecast follows.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use verity_trace_ebpf::slot::{self, ABOVE, BELOW, SLOTS};

use crate::histogram::{Histogram, Nanos};
use crate::snapshot::Placement;

/// Blocks of time that are drawn from: enough to know how much they differ.
pub(super) const BLOCKS: usize = 40;
/// How often they are drawn: the spread is then known to a few percent.
const DRAWS: usize = 200;
/// How far another setting's `total` may be off beside all errors that the model knows of, as a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unexplained {
    /// Where nothing is special.
    Usual,
    /// Where many hash blocks are not in the cache, which would keep others.
    Cold,
    /// Where processes submit by turns on a CPU.
    Interleaved,
}

impl Unexplained {
    /// Source: `cargo xtask score`, seeds 17, 19, 23, 29 and 31: with these the measured change is within the interval in 95 %, 97 % and 95 %
    /// of 124, 36 and 20 forecasts.
    const fn share(self) -> f64 {
        match self {
            Self::Usual => 0.15,
            Self::Cold => 0.25,
            Self::Interleaved => 0.4,
        }
    }
}

/// A number with the interval that holds it in about 95 of 100 cases, as far as the model knows its errors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// What it is at least.
    pub low: f64,
    /// What it is at most.
    pub high: f64,
}

/// How long something takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// All of it.
    pub histogram: Histogram,
    /// The mean in nanoseconds.
    pub mean: Estimate,
    /// The median in nanoseconds.
    pub median: Estimate,
}

/// What becomes of the load under a setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// I/Os of the device.
    pub ios: u64,
    /// The stage `wait`.
    pub wait: Distribution,
    /// The whole life of an I/O.
    pub total: Distribution,
    /// The mean `total` less that of the recorded setting through the model, in nanoseconds; 0 for that itself, and for
    /// what was measured.
    pub change: Estimate,
    /// I/Os by placement.
    pub placements: BTreeMap<Placement, u64>,
    /// Time in verifications and attempts that ran in a softirq, by CPU: of all I/Os of the load, also those of other
    /// devices, and only as far as it is replayed. Less [`super::Forecast::own`]'s it is what the setting adds.
    pub softirq: BTreeMap<u16, Nanos>,
    /// The longest of them; absent when there is none.
    pub longest_in_softirq: Option<Nanos>,
    /// From when the first I/O was mapped to when the last one finished, of all that is replayed.
    pub duration: Nanos,
}

impl Outcome {
    /// The share of I/Os with this placement, from 0 to 1.
    #[must_use]
    pub fn share(&self, placement: Placement) -> f64 {
        let these = self.placements.get(&placement).copied().unwrap_or(0);
        these as f64 / self.ios.max(1) as f64
    }

    /// Time of verifications in softirqs of all CPUs.
    #[must_use]
    pub fn softirq_time(&self) -> Nanos {
        Nanos(self.softirq.values().map(|ns| ns.0).sum())
    }
}

/// Counts while a load is replayed.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    wait: Series,
    total: Series,
    placements: BTreeMap<Placement, u64>,
    softirq: BTreeMap<u16, u64>,
    longest_in_softirq: u64,
    duration: u64,
}

/// Durations by block of time.
#[derive(Clone, Debug)]
struct Series {
    /// By block, then by slot.
    counts: Vec<u32>,
    sums: Vec<u64>,
    /// The slots that were hit, and those between.
    hit: Option<RangeInclusive<usize>>,
}

impl Series {
    fn new() -> Self {
        Self {
            counts: vec![0; BLOCKS * SLOTS],
            sums: vec![0; BLOCKS],
            hit: None,
        }
    }

    fn add(&mut self, block: usize, ns: u64) {
        let slot = slot::slot(ns);
        let hit = self.hit.as_ref();
        let (low, high) = hit.map_or((slot, slot), |it| (*it.start(), *it.end()));
        if hit.is_none() || slot < low || slot > high {
            self.hit = Some(low.min(slot)..=high.max(slot));
        }
        self.counts[block * SLOTS + slot] += 1;
        self.sums[block] = self.sums[block].saturating_add(ns);
    }

    fn block(&self, block: usize) -> &[u32] {
        &self.counts[block * SLOTS..][..SLOTS]
    }

    fn ios(&self) -> Vec<u64> {
        let blocks = (0..BLOCKS).map(|it| self.block(it));
        blocks
            .map(|counts| counts.iter().map(|&it| u64::from(it)).sum())
            .collect()
    }

    /// All blocks, so many times each.
    fn together(&self, times: &[u64]) -> Vec<u64> {
        let mut all = vec![0; SLOTS];
        let Some(hit) = &self.hit else {
            return all;
        };
        for (block, &times) in times.iter().enumerate().filter(|&(_, &times)| times > 0) {
            let counts = &self.block(block)[hit.clone()];
            for (sum, &count) in all[hit.clone()].iter_mut().zip(counts) {
                *sum += times * u64::from(count);
            }
        }
        all
    }

    fn mean(&self, times: &[u64], ios: &[u64]) -> f64 {
        let sum: f64 = weighted(times, &self.sums);
        sum / weighted(times, ios).max(1.0)
    }

    fn histogram(&self) -> Histogram {
        let all = self.together(&[1; BLOCKS]);
        let sum = self
            .sums
            .iter()
            .fold(0, |sum: u64, &it| sum.saturating_add(it));
        Histogram::from_slots(all.into_iter().enumerate(), Nanos(sum))
    }
}

impl Tally {
    pub fn new() -> Self {
        Self {
            wait: Series::new(),
            total: Series::new(),
            placements: BTreeMap::new(),
            softirq: BTreeMap::new(),
            longest_in_softirq: 0,
            duration: 0,
        }
    }

    /// An I/O of the device has finished.
    pub fn add(&mut self, block: usize, placement: Placement, wait: u64, total: u64) {
        self.wait.add(block, wait);
        self.total.add(block, total);
        *self.placements.entry(placement).or_default() += 1;
    }

    /// A verification, or an attempt, ran in a softirq.
    pub fn add_softirq(&mut self, cpu: u16, ns: u64) {
        *self.softirq.entry(cpu).or_default() += ns;
        self.longest_in_softirq = self.longest_in_softirq.max(ns);
    }

    /// A stretch of the load took this long.
    pub const fn add_duration(&mut self, ns: u64) {
        self.duration = self.duration.saturating_add(ns);
    }

    /// Mean and median of `wait`, and those of `total`.
    pub fn values(&self) -> Values {
        let ios = self.total.ios();
        let once = [1; BLOCKS];
        let both = |series: &Series| {
            let median = percentile(&series.together(&once), 0.5);
            [series.mean(&once, &ios), median]
        };
        Values {
            wait: both(&self.wait),
            total: both(&self.total),
        }
    }

    /// What it comes to, with the error that follows from how much the blocks of time differ. The change is that from
    /// `own`, block by block, so that what is alike in both is no error of it.
    pub fn outcome(&self, own: Option<&Self>, seed: u64) -> Outcome {
        let ios = self.total.ios();
        let values = self.values();
        let own = own.map(|own| (own, own.total.ios()));
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let busy: Vec<_> = (0..BLOCKS).filter(|&block| ios[block] > 0).collect();
        let mut spreads = [const { Vec::new() }; 5];
        for _ in 0..DRAWS {
            if busy.is_empty() {
                break;
            }
            let mut times = [0; BLOCKS];
            for _ in 0..busy.len() {
                times[busy[random.random_range(0..busy.len())]] += 1;
            }
            let mean = self.total.mean(&times, &ios);
            let own = own.as_ref();
            let own = own.map_or(mean, |(own, ios)| own.total.mean(&times, ios));
            let drawn = [
                self.wait.mean(&times, &ios),
                percentile(&self.wait.together(&times), 0.5),
                mean,
                percentile(&self.total.together(&times), 0.5),
                mean - own,
            ];
            for (spread, value) in spreads.iter_mut().zip(drawn) {
                spread.push(value);
            }
        }
        let own_mean = own.map_or(values.total[0], |(own, _)| own.values().total[0]);
        let [wait_mean, wait_median, total_mean, total_median, change] = spreads;
        let distribution =
            |series: &Series, [mean, median]: [f64; 2], means, medians| Distribution {
                histogram: series.histogram(),
                mean: estimate(mean, means),
                median: estimate(median, medians),
            };
        Outcome {
            ios: ios.iter().sum(),
            wait: distribution(&self.wait, values.wait, wait_mean, wait_median),
            total: distribution(&self.total, values.total, total_mean, total_median),
            change: estimate(values.total[0] - own_mean, change),
            placements: self.placements.clone(),
            softirq: self
                .softirq
                .iter()
                .map(|(&cpu, &ns)| (cpu, Nanos(ns)))
                .collect(),
            longest_in_softirq: (self.longest_in_softirq > 0)
                .then_some(Nanos(self.longest_in_softirq)),
            duration: Nanos(self.duration),
        }
    }
}

/// Mean and median.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Values {
    pub wait: [f64; 2],
    pub total: [f64; 2],
}

/// How far the model may be off beside what chance makes, as squares of shares: downwards and upwards.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Error {
    wait: [[f64; 2]; 2],
    total: [[f64; 2]; 2],
    /// In nanoseconds, of the mean of `total` less that of the recorded setting.
    change: [f64; 2],
    /// The share by which the model is off in the mean of `total` of the recorded setting.
    own: f64,
}

impl Error {
    /// That of the recorded setting.
    pub fn between(measured: Values, own: Values) -> Self {
        let both = |measured: [f64; 2], own: [f64; 2]| {
            [0, 1].map(|at| [off(measured[at], own[at]).powi(2); 2])
        };
        Self {
            wait: both(measured.wait, own.wait),
            total: both(measured.total, own.total),
            change: [0.0; 2],
            own: off(measured.total[0], own.total[0]),
        }
    }

    /// Adds what another value of a prior makes of a setting. Returns whether it makes a difference.
    pub fn add(&mut self, usual: Values, bent: Values, own: Values, own_bent: Values) -> bool {
        for at in [0, 1] {
            raise(&mut self.wait[at], off(usual.wait[at], bent.wait[at]));
            raise(&mut self.total[at], off(usual.total[at], bent.total[at]));
        }
        let change = (bent.total[0] - own_bent.total[0]) - (usual.total[0] - own.total[0]);
        raise(&mut self.change, change);
        usual != bent
    }
}

fn raise(squares: &mut [f64; 2], off: f64) {
    squares[usize::from(off > 0.0)] += off * off;
}

/// By how much `other` is more, as a share.
fn off(usual: f64, other: f64) -> f64 {
    (other - usual) / usual.max(1.0)
}

impl Outcome {
    /// Adds the errors of the model, and those of what it learned from: where a duration varies in what was measured, it
    /// would have varied under another setting too.
    pub(super) fn widen(&mut self, error: &Error, measured: &Self) {
        self.wait.widen(error.wait, &measured.wait);
        self.total.widen(error.total, &measured.total);
        let own = (error.own * self.change.value).powi(2);
        self.change.widen(error.change.map(|it| it + own));
    }

    /// Adds by how much another setting than the recorded one was seen to be off beside these.
    pub(super) fn widen_other(&mut self, measured: &Self, unexplained: Unexplained) {
        let square = |value: f64| [(value * unexplained.share()).powi(2); 2];
        self.change.widen(square(measured.total.mean.value));
        for total in [&mut self.total.mean, &mut self.total.median] {
            total.widen(square(total.value));
        }
    }
}

impl Distribution {
    fn widen(&mut self, squares: [[f64; 2]; 2], measured: &Self) {
        let both = [
            (&mut self.mean, measured.mean),
            (&mut self.median, measured.median),
        ];
        for ((estimate, measured), [down, up]) in both.into_iter().zip(squares) {
            let value = estimate.value;
            let vary = |end: f64| off(measured.value, end).powi(2);
            estimate.widen([
                (down + vary(measured.low)) * value * value,
                (up + vary(measured.high)) * value * value,
            ]);
        }
    }
}

impl Estimate {
    fn widen(&mut self, [down, up]: [f64; 2]) {
        self.low = self.value - ((self.value - self.low).powi(2) + down).sqrt();
        self.high = self.value + ((self.high - self.value).powi(2) + up).sqrt();
    }
}

fn weighted(times: &[u64], values: &[u64]) -> f64 {
    let pairs = times.iter().zip(values);
    pairs
        .map(|(&times, &value)| times as f64 * value as f64)
        .sum()
}

/// A value with the middle 95 of 100 of what was drawn.
fn estimate(value: f64, mut drawn: Vec<f64>) -> Estimate {
    drawn.sort_by(f64::total_cmp);
    let at = |share: usize| drawn.get(drawn.len() * share / 1_000).copied();
    Estimate {
        value,
        low: at(25).map_or(value, |it| it.min(value)),
        high: at(975).map_or(value, |it| it.max(value)),
    }
}

/// The value at this share of all counts, as if a slot's were spread evenly over it.
fn percentile(counts: &[u64], share: f64) -> f64 {
    let rank = share * counts.iter().sum::<u64>() as f64;
    let mut before = 0.0;
    for (slot, &count) in counts.iter().enumerate().filter(|&(_, &count)| count > 0) {
        let count = count as f64;
        if before + count >= rank {
            return within(slot, (rank - before) / count);
        }
        before += count;
    }
    0.0
}

fn within(slot: usize, share: f64) -> f64 {
    if slot == BELOW || slot == ABOVE {
        return slot::middle_ns(slot) as f64;
    }
    let (lower, upper) = (slot::lower_ns(slot) as f64, slot::lower_ns(slot + 1) as f64);
    share.clamp(0.0, 1.0).mul_add(upper - lower, lower)
}
