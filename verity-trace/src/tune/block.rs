//! What happened in one block of time, under one setting.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::histogram::Histogram;
use crate::snapshot::{DeviceNumber, Loss, Placement, Snapshot, Stage};

/// From this share of loss on, what was seen need not be what happened, as for `recommend`.
pub const MUCH_LOSS: f64 = 0.01;

/// Fewer I/Os have no mean that one could use.
const FEW: u64 = 30;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// I/Os of the device that were verified.
    pub ios: u64,
    /// How long each stage of all of them took.
    pub stages: BTreeMap<Stage, Histogram>,
    /// Where they were verified.
    pub placements: BTreeMap<Placement, u64>,
    /// I/Os that failed.
    pub failed: u64,
    /// The part that was lost or not seen whole, from 0 to 1.
    pub loss: f64,
    /// What each CPU did, by its number.
    pub cpus: BTreeMap<usize, Cpu>,
}

/// Time in softirqs, as a part of all time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cpu {
    /// In all softirqs.
    pub softirq: f64,
    /// In verifications; absent where that is not seen.
    pub verification: Option<f64>,
}

impl Block {
    /// That between two snapshots, of which the later one is related to the earlier one; absent where the device is not
    /// in it.
    #[must_use]
    pub fn of(earlier: &Snapshot, snapshot: &Snapshot, number: DeviceNumber) -> Option<Self> {
        let mut devices = snapshot.devices.iter();
        let device = devices.find(|device| device.number == number)?;
        let recent = device.recent.as_ref()?;
        let over = snapshot.interval?;
        let verified = recent.placements.iter();
        let verified = verified.filter(|(placement, _)| **placement != Placement::None);
        let placements: BTreeMap<_, _> = verified.clone().map(|(&it, of)| (it, of.ios)).collect();
        let mut stages: BTreeMap<Stage, Histogram> = BTreeMap::new();
        for (&stage, histogram) in verified.flat_map(|(_, of)| &of.stages) {
            stages.entry(stage).or_default().merge(histogram);
        }
        let of_device = lost(&recent.loss) + recent.incomplete;
        // What cannot be told to be a device's may be this one's.
        let of_machine = lost(&snapshot.loss).saturating_sub(lost(&earlier.loss));
        let lost = of_device.max(of_machine);
        let share = |time: Duration| time.as_secs_f64() / over.as_secs_f64().max(1e-9);
        let cpus = snapshot.recent_cpus.iter().map(|cpu| {
            let of = Cpu {
                softirq: share(cpu.softirq),
                verification: cpu.softirq_verify.map(share),
            };
            (cpu.number, of)
        });
        Some(Self {
            ios: placements.values().sum(),
            stages,
            failed: recent.failed(),
            loss: lost as f64 / (lost + recent.ios()).max(1) as f64,
            placements,
            cpus: cpus.collect(),
        })
    }

    /// Why nothing is concluded from it; absent where something is.
    #[must_use]
    pub fn flaw(&self) -> Option<Flaw> {
        if self.ios < FEW {
            Some(Flaw::FewIos)
        } else if self.loss > MUCH_LOSS {
            Some(Flaw::Loss)
        } else {
            None
        }
    }

    /// How much of each I/O a stage takes on the average, in nanoseconds, I/Os without it included.
    #[must_use]
    pub fn mean(&self, stage: Stage) -> f64 {
        let histogram = self.stages.get(&stage);
        let sum = histogram.map_or(0, |it| it.sum().0);
        sum as f64 / self.ios.max(1) as f64
    }

    /// The median of those that have it, at most 1/32 off.
    #[must_use]
    pub fn median(&self, stage: Stage) -> Option<f64> {
        let median = self.stages.get(&stage)?.percentile(500)?;
        Some(median.0 as f64)
    }
}

/// What a full ring lost is in all counts.
fn lost(loss: &BTreeMap<Loss, u64>) -> u64 {
    let counted = loss.iter().filter(|(kind, _)| **kind != Loss::RingFull);
    counted.map(|(_, count)| count).sum()
}

/// Why nothing is concluded from a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// It has too few I/Os.
    FewIos,
    /// Too much was lost.
    Loss,
}
