//! The numbers that an advice comes from.

use super::case::Case;
use super::sample::{Sample, nanos};
use super::{limits, model};
use crate::format;
use crate::histogram::Histogram;
use crate::snapshot::{Cpu, Era, IoClass, Placement, Stage};
use crate::what_if::Forecast;

/// A number, what it is of, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// What it is.
    pub what: &'static str,
    /// The number.
    pub value: f64,
    /// Of what.
    pub unit: Unit,
    /// Where it comes from.
    pub source: &'static str,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// I/Os.
    Ios,
    /// Nanoseconds.
    Nanoseconds,
    /// A part of a whole, from 0 to 1.
    Share,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// The word for it in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ios => "I/Os",
            Self::Nanoseconds => "ns",
            Self::Share => "share",
            Self::Bytes => "bytes",
        }
    }
}

impl Evidence {
    /// The number for a person, with its unit.
    #[must_use]
    pub fn text(&self) -> String {
        match self.unit {
            Unit::Ios => format!("{:.0}", self.value),
            Unit::Nanoseconds => format::duration(nanos(self.value)),
            Unit::Share => format::percentage(Some(self.value)),
            Unit::Bytes => format!("{:.0} B", self.value),
        }
    }
}

/// What programs of the kernel add up, exactly.
const COUNTERS: &str = "counters";
/// A mean is a sum divided by a count, both exact.
const SUMS: &str = "sum / count";
/// What the model says.
const REPLAYED: &str = "model, I/Os replayed";

/// All that is known of a case.
pub fn of(case: &Case<'_>, forecast: Option<&Forecast>) -> Vec<Evidence> {
    let verified = case.verified() as f64;
    let mut found = vec![number("I/Os verified", verified, Unit::Ios, COUNTERS)];
    found.extend(stages(case));
    if case.attempted() > 0 {
        found.extend(attempts(case));
    } else if case.era().is_some_and(Era::can_attempt) {
        found.extend(eligible(case));
    }
    found.extend(forecast.into_iter().flat_map(|it| replayed(case, it)));
    let busiest = busiest(case);
    let limit = case.limit(IoClass::BestEffort).map(|it| it as f64);
    let of_machine = [
        known(
            "busiest CPU, verifying in softirq",
            busiest,
            Unit::Share,
            "softirq time by CPU",
        ),
        known(
            "use_bh_bytes, best effort",
            limit,
            Unit::Bytes,
            "module parameter",
        ),
    ];
    found.extend(of_machine.into_iter().flatten());
    found
}

/// How long each stage takes.
fn stages(case: &Case<'_>) -> impl Iterator<Item = Evidence> {
    let mean = |histogram: &Histogram| Sample::of(histogram).map(|it| it.mean);
    let of_all = |stage| mean(&case.stage_of_all(stage));
    let wait = case.stage(Placement::Kverityd, Stage::Wait);
    let p99 = wait.and_then(|it| it.percentile(990));
    let outside = mean(&case.attempts_stage(Stage::Wait));
    let all = [
        ("total, mean", of_all(Stage::Total), SUMS),
        ("device, mean", of_all(Stage::Device), SUMS),
        ("wait for kverityd, mean", wait.and_then(mean), SUMS),
        (
            "wait for kverityd, p99",
            p99.map(|it| it.0 as f64),
            "histogram, 1/32 off",
        ),
        ("wait for BH or inline, mean", outside, SUMS),
        ("verify, mean", of_all(Stage::Verify), SUMS),
        ("verify of a block, mean", case.verify_per_block(), SUMS),
    ];
    let all = all.into_iter();
    all.filter_map(|(what, value, source)| known(what, value, Unit::Nanoseconds, source))
}

/// What became of attempts.
fn attempts(case: &Case<'_>) -> impl Iterator<Item = Evidence> {
    let share = Unit::Share;
    let tried = known(
        "tried in BH or inline",
        case.attempted_share(),
        share,
        COUNTERS,
    );
    let gave_up = known("of these, gave up", case.fallback_share(), share, COUNTERS);
    let longest = case.longest_in_softirq().map(|(longest, source)| {
        let what = "longest verification in softirq";
        number(what, longest.0 as f64, Unit::Nanoseconds, source)
    });
    [tried, gave_up, longest].into_iter().flatten()
}

/// What would be tried.
fn eligible(case: &Case<'_>) -> impl Iterator<Item = Evidence> {
    let source = if case.era() == Some(Era::Inline) {
        "sizes, use_bh_bytes"
    } else {
        "no limit in this era"
    };
    let eligible = case.eligible();
    let low = eligible.map(|it| it.low);
    let high = eligible.filter(|it| it.high > it.low).map(|it| it.high);
    let gives_up = if case.totals.is_some_and(|it| it.hash_cache.is_some()) {
        "cache of hash blocks"
    } else {
        "inferred from verify"
    };
    let all = [
        ("may go to BH or inline, at least", low, source),
        ("may go to BH or inline, at most", high, source),
        (
            "attempts that would give up, at most",
            case.may_give_up(),
            gives_up,
        ),
    ];
    let all = all.into_iter();
    all.filter_map(|(what, value, source)| known(what, value, Unit::Share, source))
}

/// What the model says.
fn replayed(case: &Case<'_>, forecast: &Forecast) -> impl Iterator<Item = Evidence> {
    let (on, limits) = (!case.option(), limits::current(case));
    let other = model::switched(forecast, on, limits).map(|it| it.outcome);
    let [total, wait] = if on {
        [
            "total with the option, mean",
            "wait with the option, median",
        ]
    } else {
        [
            "total without the option, mean",
            "wait without the option, median",
        ]
    };
    let own = Some(forecast.own.total.mean.value);
    let all = [
        ("total as recorded, mean", own),
        (total, other.map(|it| it.total.mean.value)),
        (wait, other.map(|it| it.wait.median.value)),
    ];
    let all = all.into_iter();
    all.filter_map(|(what, value)| known(what, value, Unit::Nanoseconds, REPLAYED))
}

const fn number(what: &'static str, value: f64, unit: Unit, source: &'static str) -> Evidence {
    Evidence {
        what,
        value,
        unit,
        source,
    }
}

fn known(
    what: &'static str,
    value: Option<f64>,
    unit: Unit,
    source: &'static str,
) -> Option<Evidence> {
    value.map(|value| number(what, value, unit, source))
}

/// The part of the time that the CPU which verifies most in softirq does so.
pub fn busiest(case: &Case<'_>) -> Option<f64> {
    let times = case.cpus.iter().filter_map(|cpu: &Cpu| cpu.softirq_verify);
    let most = times.max()?;
    (!case.over.is_zero()).then(|| most.as_secs_f64() / case.over.as_secs_f64())
}
