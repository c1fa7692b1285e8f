//! Whether verification is a problem here, and where: the sentences that stand above every view.

use std::time::Duration;

use crate::snapshot::{Device, Snapshot, Stage, Totals, stage_name};
use crate::{escape, format};

/// An I/O that is in flight for longer is said to hang: no disk that works takes so long.
const HANGS: Duration = Duration::from_secs(1);

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// I/Os hang or fail.
    Alarm,
    /// As it is.
    Plain,
}

/// What is to be said, the worst first.
pub fn sentences(snapshot: &Snapshot) -> Vec<(Weight, String)> {
    let mut sentences = Vec::new();
    sentences.extend(hanging(snapshot).map(|it| (Weight::Alarm, it)));
    sentences.extend(failed(snapshot).map(|it| (Weight::Alarm, it)));
    sentences.extend(share(snapshot).map(|it| (Weight::Plain, it)));
    sentences
}

/// The device whose oldest I/O in flight is oldest.
fn hanging(snapshot: &Snapshot) -> Option<String> {
    let oldest = |device: &Device| Some(device.in_flight.as_ref()?.oldest()?.1);
    let hangs = |device: &&Device| oldest(device) >= Some(HANGS);
    let hanging: Vec<_> = snapshot.devices.iter().filter(hangs).collect();
    let worst = hanging.iter().max_by_key(|device| oldest(device))?;
    let (stage, age) = worst.in_flight.as_ref()?.oldest()?;
    let others = match hanging.len() - 1 {
        0 => String::new(),
        others => format!(", and of {} more", format::counted(others, "device")),
    };
    Some(format!(
        "hangs: the oldest I/O of {} is {} old and in the stage {}{others}",
        escape::terminal(&worst.name),
        format::span(age),
        stage_name(stage),
    ))
}

/// The device with most I/Os that failed.
fn failed(snapshot: &Snapshot) -> Option<String> {
    let failed = |device: &Device| device.totals.as_ref().map_or(0, Totals::failed);
    let all: u64 = snapshot.devices.iter().map(failed).sum();
    let worst = snapshot
        .devices
        .iter()
        .max_by_key(|device| failed(device))?;
    let first = worst.first_failure.map_or_else(String::new, |first| {
        format!(", the first at sector {}", first.sector)
    });
    (all > 0).then(|| {
        format!(
            "failed: {all} I/Os since the start, {} of them on {}{first}",
            failed(worst),
            escape::terminal(&worst.name),
        )
    })
}

/// The share of the I/Os' time that is verification, in the last interval.
fn share(snapshot: &Snapshot) -> Option<String> {
    let times: Vec<_> = snapshot
        .devices
        .iter()
        .filter_map(|device| Some((device, Times::of(device.recent.as_ref()?)?)))
        .collect();
    let all = times
        .iter()
        .fold(Times::default(), |sum, (_, it)| sum.plus(it));
    if all.total == 0 {
        return None;
    }
    let (worst, of_worst) = times.iter().max_by_key(|(_, it)| it.verification())?;
    let of = |part| format::share(Some(part as f64 / all.total as f64));
    let place = if times.len() > 1 {
        format!(
            ", {} of it on {}",
            format::share(Some(
                of_worst.verification() as f64 / all.verification().max(1) as f64
            )),
            escape::terminal(&worst.name),
        )
    } else {
        String::new()
    };
    Some(format!(
        "of the I/Os' time {} is verification ({} waiting for it, {} verifying){place}",
        of(all.verification()),
        of(all.waiting),
        of(all.verifying),
    ))
}

/// Nanoseconds of I/Os, all added up.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    waiting: u64,
    verifying: u64,
    total: u64,
}

impl Times {
    fn of(totals: &Totals) -> Option<Self> {
        let sum = |stage| {
            let stages = totals
                .placements
                .values()
                .filter_map(|it| it.stages.get(&stage));
            // A recording may say anything.
            stages.fold(0u64, |sum, histogram| sum.saturating_add(histogram.sum().0))
        };
        let times = Self {
            waiting: sum(Stage::Wait).saturating_add(sum(Stage::RetryWait)),
            verifying: sum(Stage::Attempt).saturating_add(sum(Stage::Verify)),
            total: sum(Stage::Total),
        };
        (times.total > 0).then_some(times)
    }

    const fn verification(&self) -> u64 {
        self.waiting.saturating_add(self.verifying)
    }

    const fn plus(self, other: &Self) -> Self {
        Self {
            waiting: self.waiting.saturating_add(other.waiting),
            verifying: self.verifying.saturating_add(other.verifying),
            total: self.total.saturating_add(other.total),
        }
    }
}
