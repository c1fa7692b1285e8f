//! The numbers that an advice comes from.

use super::case::Case;
use super::sample::Sample;
use super::{limits, model};
use crate::format;
use crate::histogram::{Histogram, Nanos};
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
            Unit::Nanoseconds => format::duration(Nanos(self.value as u64)),
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
    let mut found = vec![number(
        "I/Os verified",
        case.verified() as f64,
        Unit::Ios,
        COUNTERS,
    )];
    let mut add = |what, value: Option<f64>, unit, source| {
        found.extend(value.map(|value| number(what, value, unit, source)));
    };
    let mean = |histogram: &Histogram| Sample::of(histogram).map(|it| it.mean);
    let of_kverityd = |stage| mean(case.stage(Placement::Kverityd, stage)?);
    let ns = Unit::Nanoseconds;
    add(
        "total, mean",
        mean(&case.stage_of_all(Stage::Total)),
        ns,
        SUMS,
    );
    add(
        "device, mean",
        mean(&case.stage_of_all(Stage::Device)),
        ns,
        SUMS,
    );
    add(
        "wait for kverityd, mean",
        of_kverityd(Stage::Wait),
        ns,
        SUMS,
    );
    let wait = case.stage(Placement::Kverityd, Stage::Wait);
    let p99 = wait.and_then(|it| it.percentile(990)).map(|it| it.0 as f64);
    add("wait for kverityd, p99", p99, ns, "histogram, 1/32 off");
    add(
        "wait for BH or inline, mean",
        mean(&case.attempts_stage(Stage::Wait)),
        ns,
        SUMS,
    );
    add(
        "verify, mean",
        mean(&case.stage_of_all(Stage::Verify)),
        ns,
        SUMS,
    );
    add(
        "verify of a block, mean",
        case.verify_per_block(),
        ns,
        "sum of verify / blocks",
    );
    if case.attempted() > 0 {
        add(
            "tried in BH or inline",
            case.attempted_share(),
            Unit::Share,
            COUNTERS,
        );
        add(
            "of these, gave up",
            case.fallback_share(),
            Unit::Share,
            COUNTERS,
        );
        let longest = case.longest_in_softirq();
        add(
            "longest verification in softirq",
            longest.map(|(it, _)| it.0 as f64),
            ns,
            longest.map_or(COUNTERS, |(_, source)| source),
        );
    } else if let Some(eligible) = case.eligible().filter(|_| can_attempt(case)) {
        let source = if case.era() == Some(Era::Inline) {
            "sizes, use_bh_bytes"
        } else {
            "no limit in this era"
        };
        let high = Some(eligible.high).filter(|&high| high > eligible.low);
        add(
            "may go to BH or inline, at least",
            Some(eligible.low),
            Unit::Share,
            source,
        );
        add("may go to BH or inline, at most", high, Unit::Share, source);
        let gives_up = case.may_give_up();
        let source = if case.totals.is_some_and(|it| it.hash_cache.is_some()) {
            "cache of hash blocks"
        } else {
            "inferred: verify longer than the fastest read"
        };
        add(
            "attempts that would give up, at most",
            gives_up,
            Unit::Share,
            source,
        );
    }
    if let Some(forecast) = forecast {
        let own = &forecast.own;
        add(
            "total as recorded, mean",
            Some(own.total.mean.value),
            ns,
            REPLAYED,
        );
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
        add(total, other.map(|it| it.total.mean.value), ns, REPLAYED);
        add(wait, other.map(|it| it.wait.median.value), ns, REPLAYED);
    }
    let busiest = busiest(case);
    add(
        "busiest CPU, verifying in softirq",
        busiest,
        Unit::Share,
        "softirq time by CPU",
    );
    add(
        "use_bh_bytes, best effort",
        case.limit(IoClass::BestEffort).map(|it| it as f64),
        Unit::Bytes,
        "module parameter",
    );
    found
}

const fn number(what: &'static str, value: f64, unit: Unit, source: &'static str) -> Evidence {
    Evidence {
        what,
        value,
        unit,
        source,
    }
}

fn can_attempt(case: &Case<'_>) -> bool {
    case.era().is_some_and(Era::can_attempt)
}

/// The part of the time that the CPU which verifies most in softirq does so.
pub fn busiest(case: &Case<'_>) -> Option<f64> {
    let times = case.cpus.iter().filter_map(|cpu: &Cpu| cpu.softirq_verify);
    let most = times.max()?;
    (!case.over.is_zero()).then(|| most.as_secs_f64() / case.over.as_secs_f64())
}
