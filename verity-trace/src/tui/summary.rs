//! Whether verification is a problem here, and where: the sentences that stand above every view.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::histogram::Nanos;
use crate::lookback::{Did, Recent};
use crate::snapshot::{Device, Failure, InFlight, Placement, Snapshot, Stage, Totals, stage_name};
use crate::target::Table;
use crate::{escape, facts, format};

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
pub fn sentences(snapshot: &Snapshot, recent: &Recent) -> Vec<(Weight, String)> {
    let mut sentences = Vec::new();
    let places = places(snapshot, recent);
    sentences.extend(hanging(&places, snapshot).map(|it| (Weight::Alarm, it)));
    sentences.extend(hanging_unseen(snapshot).map(|it| (Weight::Alarm, it)));
    sentences.extend(failed(&places).map(|it| (Weight::Alarm, it)));
    let window = recent.interval().unwrap_or_default();
    sentences.extend(share(&places, window).map(|it| (Weight::Plain, it)));
    sentences
}

/// What has I/Os: a device, or those without a line of their own.
struct Place<'a> {
    /// It comes from outside.
    name: &'a str,
    in_flight: Option<&'a InFlight>,
    totals: Option<&'a Totals>,
    did: Option<Did<'a>>,
    /// What its table says; absent for several.
    table: Option<&'a Table>,
    first_failure: Option<Failure>,
}

fn places<'a>(snapshot: &'a Snapshot, recent: &'a Recent) -> Vec<Place<'a>> {
    let devices = snapshot.devices.iter().map(|device| Place {
        name: &device.name,
        in_flight: device.in_flight.as_ref(),
        totals: device.totals.as_ref(),
        did: recent.of(device),
        table: Some(&device.table),
        first_failure: device.first_failure,
    });
    let other = snapshot.other.iter().map(|other| Place {
        name: facts::OTHER,
        in_flight: Some(&other.in_flight),
        totals: Some(&other.totals),
        did: None,
        table: None,
        first_failure: other.first_failure,
    });
    devices.chain(other).collect()
}

/// Where the oldest I/O in flight is oldest.
fn hanging(places: &[Place<'_>], snapshot: &Snapshot) -> Option<String> {
    let oldest = |place: &Place<'_>| Some(place.in_flight?.oldest()?.1);
    let hangs = |place: &&Place<'_>| oldest(place) >= Some(HANGS);
    let hanging: Vec<_> = places.iter().filter(hangs).collect();
    let worst = hanging.iter().max_by_key(|place| oldest(place))?;
    let (stage, age) = worst.in_flight?.oldest()?;
    let others = and_of_others(hanging.len() - 1);
    Some(format!(
        "hangs: the oldest I/O of {} is {} old, in {}{}{others}",
        escape::terminal(worst.name),
        format::span(age),
        stage_name(stage),
        awaited(stage, worst.table, snapshot).unwrap_or_default(),
    ))
}

/// What an I/O waits for that stays in a stage: its data, or most likely hashes, as hashing alone does not take
/// so long.
fn awaited(stage: Stage, table: Option<&Table>, snapshot: &Snapshot) -> Option<String> {
    let (what, number) = match stage {
        Stage::Device => ("for data of", &table?.data_device),
        Stage::Verify => ("likely for hashes on", &table?.hash_device),
        _ => return None,
    };
    let device = snapshot.kernel_names.get(number).unwrap_or(number);
    Some(format!(", {what} {}", escape::terminal(device)))
}

fn and_of_others(others: usize) -> String {
    match others {
        0 => String::new(),
        others => format!(", and of {} more", format::counted(others, "device")),
    }
}

/// What hung already when it began to be watched. What is in flight then finishes soon where nothing hangs.
fn hanging_unseen(snapshot: &Snapshot) -> Option<String> {
    let hangs = |device: &Device| device.in_flight_before_attach.unwrap_or(0);
    let hanging: Vec<_> = snapshot.devices.iter().filter(|it| hangs(it) > 0).collect();
    let worst = hanging.iter().max_by_key(|device| hangs(device))?;
    (snapshot.watched >= HANGS).then(|| {
        format!(
            "hangs: at least {} of {} in flight since before it was watched, for {} and more{}",
            format::ios(hangs(worst)),
            escape::terminal(&worst.name),
            format::span(snapshot.watched),
            and_of_others(hanging.len() - 1),
        )
    })
}

/// Where most I/Os failed.
fn failed(places: &[Place<'_>]) -> Option<String> {
    let failed = |place: &Place<'_>| place.totals.map_or(0, Totals::failed);
    let all = places
        .iter()
        .fold(0u64, |sum, place| sum.saturating_add(failed(place)));
    let worst = places.iter().max_by_key(|place| failed(place))?;
    let first = worst.first_failure.map_or_else(String::new, |first| {
        format!(", the first at sector {}", first.sector)
    });
    (all > 0).then(|| {
        format!(
            "failed: {all} I/Os since the start, {} of them on {}{first}",
            failed(worst),
            escape::terminal(worst.name),
        )
    })
}

/// Of so little of the time the cause does not matter, in percent.
const LITTLE: u64 = 20;

/// What the I/Os' time went into, in the window, and why and where into verification.
fn share(places: &[Place<'_>], window: Duration) -> Option<String> {
    let times = places.iter();
    let times = times.filter_map(|place| Some((place, place.did?, Times::of(place.did?)?)));
    let times: Vec<_> = times.collect();
    let all = times
        .iter()
        .fold(Times::default(), |sum, (.., it)| sum.plus(it));
    let (worst, did, of_worst) = times.iter().max_by_key(|(.., it)| it.verification())?;
    let place = if times.len() > 1 && all.verification() > 0 {
        let share = of_worst.verification() as f64 / all.verification() as f64;
        let share = format::share(Some(share));
        let name = escape::terminal(worst.name);
        format!(", {share} of wait and verify on {name}")
    } else {
        String::new()
    };
    let cause = all.cause().map(|(part, placement)| {
        let reason = did.main_reason(placement);
        let reason = reason.map_or_else(String::new, |it| format!(": {}", it.name()));
        (part, format!(" ({}{reason})", placement.name()))
    });
    let device = all.total.saturating_sub(all.verification());
    let parts = [
        ("device", device),
        (WAIT, all.of_part(WAIT)),
        (VERIFY, all.of_part(VERIFY)),
    ];
    let shares = format::shares(parts);
    let parts = parts.map(|(part, _)| {
        let share = shares.get(part).map_or(format::ABSENT, String::as_str);
        let cause = cause.as_ref().filter(|(of, _)| *of == part);
        let cause = cause.map_or("", |(_, cause)| cause.as_str());
        format!("{share} {part}{cause}")
    });
    Some(format!(
        "last {}: I/O time {}{place}",
        format::span(window),
        parts.join(", "),
    ))
}

/// The stages `wait` and `retry_wait`.
const WAIT: &str = "wait";
/// The stages `attempt` and `verify`.
const VERIFY: &str = "verify";

/// Nanoseconds of I/Os, all added up.
#[derive(Clone, Debug, Default)]
struct Times {
    /// By what they went into.
    parts: BTreeMap<(&'static str, Placement), u64>,
    total: u64,
}

impl Times {
    fn of(did: Did<'_>) -> Option<Self> {
        let mut times = Self::default();
        for (placement, stage, Nanos(time)) in did.times() {
            let sum = match stage {
                Stage::Device => continue,
                Stage::Wait | Stage::RetryWait => times.parts.entry((WAIT, placement)).or_default(),
                Stage::Attempt | Stage::Verify => {
                    times.parts.entry((VERIFY, placement)).or_default()
                }
                Stage::Total => &mut times.total,
            };
            // A recording may say anything.
            *sum = sum.saturating_add(time);
        }
        (times.total > 0).then_some(times)
    }

    fn verification(&self) -> u64 {
        self.of_part(WAIT).saturating_add(self.of_part(VERIFY))
    }

    fn of_part(&self, part: &str) -> u64 {
        let parts = self.parts.iter().filter(|((it, _), _)| *it == part);
        parts.fold(0, |sum, (_, time)| sum.saturating_add(*time))
    }

    /// What most of the time of verification went into, where that is not little: of a placement more than half
    /// of the time of its part.
    fn cause(&self) -> Option<(&'static str, Placement)> {
        let percent = |time: u64| u128::from(time) * 100;
        if percent(self.verification()) < u128::from(self.total) * u128::from(LITTLE) {
            return None;
        }
        let (&(part, placement), &time) = self.parts.iter().max_by_key(|(_, time)| **time)?;
        (time > self.of_part(part) / 2).then_some((part, placement))
    }

    fn plus(mut self, other: &Self) -> Self {
        for (&part, time) in &other.parts {
            let sum = self.parts.entry(part).or_default();
            *sum = sum.saturating_add(*time);
        }
        self.total = self.total.saturating_add(other.total);
        self
    }
}
