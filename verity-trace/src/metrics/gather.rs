//! The series of a snapshot: for each metric of the catalogue, values by labels.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use super::{CATALOGUE, Limits, Metric};
use crate::escape;
use crate::facts;
use crate::histogram::{Histogram, Nanos};
use crate::recommend::Advice;
use crate::snapshot::{Cpu, Device, DeviceNumber, InFlight, Placement, Snapshot, Totals};

/// The device, or the CPU, that stands for all that have no series of their own.
pub const OTHER: &str = "other";

/// The upper bounds of a histogram's buckets, in nanoseconds, but for the last, which has none. Each is the edge of
/// a slot, so that only what lasted exactly as long counts one bucket too high; 2^21 is the 2 ms that a softirq may
/// take.
pub const BOUNDS_NS: [u64; 12] = [
    1 << 10,
    1 << 12,
    1 << 14,
    1 << 16,
    1 << 17,
    1 << 18,
    1 << 19,
    1 << 20,
    1 << 21,
    1 << 22,
    1 << 24,
    1 << 28,
];

/// No label but those that come from where it is looked.
pub const NONE: [&str; 0] = [];

/// What of a snapshot a metric is. The first label of what is looked for in each device or CPU is that one's.
#[derive(Debug)]
pub enum Of {
    /// The whole.
    Snapshot(fn(&Snapshot, &mut Samples)),
    /// How many devices have no series of their own.
    Folded(fn(usize, &mut Samples)),
    /// Each device.
    Device(fn(&Device, &mut Samples)),
    /// Each device that has series of its own.
    OwnDevice(fn(&Device, &mut Samples)),
    /// What was counted of each device, and the placements that are possible.
    Totals(fn(&Totals, &[Placement], &mut Samples)),
    /// What is in flight on each device.
    InFlight(fn(&InFlight, &mut Samples)),
    /// What is advised for each device.
    Advice(fn(&Advice, &mut Samples)),
    /// What is advised for each device that has series of its own.
    OwnAdvice(fn(&Advice, &mut Samples)),
    /// Each CPU.
    Cpu(fn(&Cpu, &mut Samples)),
}

/// The value of one series.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A count.
    Count(u64),
    /// A time that adds up, in nanoseconds.
    Time(u64),
    /// A number that adds up.
    Number(f64),
    /// A number of which the highest counts.
    Highest(f64),
    /// Nothing but its labels.
    Info,
    /// Durations.
    Histogram(Histogram),
}

impl Value {
    /// Takes in that of another device or CPU that shares the series.
    fn fold(&mut self, other: Self) {
        match (self, other) {
            (Self::Count(sum), Self::Count(more)) | (Self::Time(sum), Self::Time(more)) => {
                *sum = sum.saturating_add(more);
            }
            (Self::Number(sum), Self::Number(more)) => *sum += more,
            (Self::Highest(highest), Self::Highest(more)) => *highest = highest.max(more),
            (Self::Histogram(sum), Self::Histogram(more)) => sum.merge(&more),
            // A metric has values of one kind.
            _ => {}
        }
    }
}

/// The series of one metric.
#[derive(Debug, Default)]
pub struct Samples {
    /// The first label of those that are being added.
    first: Option<Cow<'static, str>>,
    series: BTreeMap<Vec<Cow<'static, str>>, Value>,
}

impl Samples {
    /// Adds to a count.
    pub fn count<const N: usize>(&mut self, labels: [&'static str; N], count: u64) {
        self.add(labels, Value::Count(count));
    }

    /// The same of one that may not be known.
    pub fn known<const N: usize>(&mut self, labels: [&'static str; N], count: Option<u64>) {
        if let Some(count) = count {
            self.count(labels, count);
        }
    }

    /// Adds to a time, in nanoseconds.
    pub fn seconds<const N: usize>(&mut self, labels: [&'static str; N], ns: u64) {
        self.add(labels, Value::Time(ns));
    }

    /// Adds to a number.
    pub fn gauge<const N: usize>(&mut self, labels: [&'static str; N], value: f64) {
        self.add(labels, Value::Number(value));
    }

    /// A number that no lower one replaces.
    pub fn highest<const N: usize>(&mut self, labels: [&'static str; N], value: f64) {
        self.add(labels, Value::Highest(value));
    }

    /// Labels that say something.
    pub fn info<L: Into<Cow<'static, str>>, const N: usize>(&mut self, labels: [L; N]) {
        self.add(labels, Value::Info);
    }

    /// Adds to durations.
    pub fn histogram<const N: usize>(&mut self, labels: [&'static str; N], durations: &Histogram) {
        self.add(labels, Value::Histogram(durations.clone()));
    }

    /// Every series, as its labels and its value.
    pub fn series(&self) -> impl Iterator<Item = (&[Cow<'static, str>], &Value)> {
        self.series
            .iter()
            .map(|(labels, value)| (&labels[..], value))
    }

    fn add<L: Into<Cow<'static, str>>>(
        &mut self,
        labels: impl IntoIterator<Item = L>,
        value: Value,
    ) {
        let labels = labels.into_iter().map(Into::into);
        let labels = self.first.iter().cloned().chain(labels).collect();
        match self.series.get_mut(&labels) {
            Some(sum) => sum.fold(value),
            None => {
                self.series.insert(labels, value);
            }
        }
    }
}

/// Every metric that has a series.
#[derive(Debug)]
pub struct Families(pub Vec<(&'static Metric, Samples)>);

impl Families {
    /// Those of a snapshot, and of what is advised from it.
    pub fn gather(snapshot: &Snapshot, advices: &[Advice], limits: &Limits) -> Self {
        let machine = Machine::new(snapshot, advices, limits);
        let families = CATALOGUE
            .iter()
            .map(|metric| (metric, machine.samples(metric)));
        Self(
            families
                .filter(|(_, samples)| !samples.series.is_empty())
                .collect(),
        )
    }
}

/// A snapshot, with the label of each device and CPU.
struct Machine<'a> {
    snapshot: &'a Snapshot,
    possible: Vec<Placement>,
    devices: Vec<(Option<Cow<'static, str>>, &'a Device)>,
    advices: Vec<(Option<Cow<'static, str>>, &'a Advice)>,
    cpus: usize,
}

impl<'a> Machine<'a> {
    fn new(snapshot: &'a Snapshot, advices: &'a [Advice], limits: &Limits) -> Self {
        let devices = labelled(snapshot, limits.devices);
        let label_of = |number: DeviceNumber| {
            let found = devices.iter().find(|(_, device)| device.number == number);
            found.and_then(|(label, _)| label.clone())
        };
        let possible = facts::placements(snapshot.kernel.era).iter().copied();
        Self {
            snapshot,
            possible: possible.chain([Placement::None]).collect(),
            advices: advices
                .iter()
                .map(|advice| (label_of(advice.number), advice))
                .collect(),
            devices,
            cpus: limits.cpus,
        }
    }

    fn samples(&self, metric: &Metric) -> Samples {
        let mut samples = Samples::default();
        match metric.of {
            Of::Snapshot(add) => add(self.snapshot, &mut samples),
            Of::Folded(add) => {
                let folded = self.devices.iter().filter(|(label, _)| label.is_none());
                add(folded.count(), &mut samples);
            }
            Of::Device(add) => each(&self.devices, true, &mut samples, add),
            Of::OwnDevice(add) => each(&self.devices, false, &mut samples, add),
            Of::Advice(add) => each(&self.advices, true, &mut samples, add),
            Of::OwnAdvice(add) => each(&self.advices, false, &mut samples, add),
            Of::Totals(add) => {
                each(&self.devices, true, &mut samples, |device, samples| {
                    if let Some(totals) = &device.totals {
                        add(totals, &self.possible, samples);
                    }
                });
                if let Some(other) = &self.snapshot.other {
                    samples.first = Some(OTHER.into());
                    add(&other.totals, &self.possible, &mut samples);
                }
            }
            Of::InFlight(add) => {
                each(&self.devices, true, &mut samples, |device, samples| {
                    if let Some(in_flight) = &device.in_flight {
                        add(in_flight, samples);
                    }
                });
                if let Some(other) = &self.snapshot.other {
                    samples.first = Some(OTHER.into());
                    add(&other.in_flight, &mut samples);
                }
            }
            Of::Cpu(add) => {
                for (at, cpu) in self.snapshot.cpus.iter().enumerate() {
                    let is_own = at < self.cpus;
                    let number = is_own.then(|| cpu.number.to_string().into());
                    samples.first = number.or(Some(OTHER.into()));
                    add(cpu, &mut samples);
                }
            }
        }
        samples
    }
}

/// Looks in each, in those without series of their own too where they are to be folded.
fn each<T>(
    all: &[(Option<Cow<'static, str>>, &T)],
    folds: bool,
    samples: &mut Samples,
    add: impl Fn(&T, &mut Samples),
) {
    for (label, one) in all {
        if label.is_some() || folds {
            samples.first = Some(label.clone().unwrap_or(OTHER.into()));
            add(one, samples);
        }
    }
}

/// The devices with their labels; none for those that have no series of their own: what has no slot, what is beyond
/// the limit, and what would be taken for another one.
fn labelled(snapshot: &Snapshot, limit: usize) -> Vec<(Option<Cow<'static, str>>, &Device)> {
    let mut taken = HashSet::from([OTHER.to_owned()]);
    let mut own = |device: &Device| {
        let label = label(&device.name);
        let is_own = !device.counted_in_other && taken.len() <= limit;
        (is_own && taken.insert(label.clone())).then(|| label.into())
    };
    let devices = snapshot.devices.iter();
    devices.map(|device| (own(device), device)).collect()
}

/// Text from outside as the value of a label: what a terminal would obey is written out, since expositions are read
/// there too.
pub fn label(text: &str) -> String {
    escape::terminal(text).into_owned()
}

/// How many of the durations are in each bucket of [`BOUNDS_NS`], and in the last one without a bound.
pub fn buckets(durations: &Histogram) -> Vec<u64> {
    let mut counts = vec![0_u64; BOUNDS_NS.len() + 1];
    for bucket in durations.buckets() {
        let fits = |&&bound: &&u64| bucket.upper.is_none_or(|Nanos(upper)| upper > bound);
        let at = BOUNDS_NS.iter().take_while(fits).count();
        counts[at] = counts[at].saturating_add(bucket.count);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_duration_is_below_the_bound_of_its_bucket(values in prop::collection::vec(0u64..1 << 40, 0..100)) {
            let counts = buckets(&Histogram::from_values(values.iter().copied().map(Nanos)));
            let below = |bound: u64| values.iter().filter(|&&ns| ns < bound).count() as u64;
            let mut sum = 0;
            for (count, bound) in counts.iter().zip(BOUNDS_NS) {
                sum += count;
                prop_assert_eq!(sum, below(bound));
            }
            prop_assert_eq!(counts.iter().sum::<u64>(), values.len() as u64);
        }
    }
}
