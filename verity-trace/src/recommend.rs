//! Whether the option should be on for a device, with this load, on this kernel: a verdict with the numbers that
//! it comes from, what speaks against it, and the commands.
//!
//! Everything is concluded from one snapshot. Where a number is missing, the verdict says so: no default stands in
//! for it.

mod case;
mod commands;
mod effect;
mod evidence;
mod limits;
mod model;
mod risk;
mod rules;
mod sample;
mod text;
mod verdict;

use std::collections::BTreeMap;
use std::time::Duration;

pub use case::Case;
pub use commands::{Command, node, quoted};
pub use effect::{Effect, MATTERS, NOBODY_AHEAD, SAVED};
pub use evidence::{Evidence, Unit};
pub use rules::{Finding, Outcome, RULES, Rule};
pub use text::{confidence, none, of as place_and_time, page, section, surer, text, verdict};

use crate::snapshot::{Device, DeviceNumber, Rung, Snapshot, Tracing};
use crate::what_if::Forecast;

/// What is advised for one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// Which device.
    pub number: DeviceNumber,
    /// Its device-mapper name. It comes from outside: escape it before printing.
    pub name: String,
    /// Whether its table has the option.
    pub option: bool,
    /// The advice itself.
    pub verdict: Verdict,
    /// How sure that is.
    pub confidence: Confidence,
    /// The numbers that it comes from.
    pub evidence: Vec<Evidence>,
    /// The rules that fired.
    pub findings: Vec<Finding>,
    /// What nothing was concluded from, and what would change that.
    pub not_considered: Vec<String>,
    /// What can go wrong, and what to do first.
    pub risk: Vec<String>,
    /// What to type, as root.
    pub commands: Vec<Command>,
    /// Where and when a recording was made; absent of what is watched now.
    pub origin: Option<Origin>,
}

impl Advice {
    /// Whether it is to change something.
    #[must_use]
    pub const fn changes(&self) -> bool {
        match self.verdict {
            Verdict::Enable | Verdict::Disable | Verdict::Limit(_) => true,
            // An option that does nothing is to be taken away.
            Verdict::NotEffective => self.option,
            Verdict::Keep | Verdict::NotEnoughData => false,
        }
    }
}

/// What to do about the option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Switch it on.
    Enable,
    /// Switch it off.
    Disable,
    /// Leave everything as it is.
    Keep,
    /// Set `use_bh_bytes` to these, for the classes none, real time, best effort and idle.
    Limit([u64; 4]),
    /// It does nothing on this kernel.
    NotEffective,
    /// What was seen does not tell.
    NotEnoughData,
}

impl Verdict {
    /// The word for it everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Keep => "keep",
            Self::Limit(_) => "limit",
            Self::NotEffective => "not-effective",
            Self::NotEnoughData => "not-enough-data",
        }
    }
}

/// How sure a verdict is.
#[derive(Clone, Debug, PartialEq)]
pub struct Confidence {
    /// In a word.
    pub certainty: Certainty,
    /// How the mean `total` would change by switching the option, or the limits, over; absent where nothing was
    /// computed.
    pub effect: Option<Effect>,
    /// Why it is no surer, or what makes it sure.
    pub reason: String,
}

/// How sure a verdict is, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// The kernel's source settles it, or what was counted does.
    Certain,
    /// A model of this load, with its error bar, settles it.
    Likely,
    /// It rests on an estimate that was not measured here.
    Weak,
    /// There is none.
    None,
}

impl Certainty {
    /// The word for it everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Certain => "certain",
            Self::Likely => "likely",
            Self::Weak => "weak",
            Self::None => "none",
        }
    }
}

/// Of which machine and moment a recording is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Host name. It comes from outside: escape it before printing.
    pub host: String,
    /// When the last snapshot was made, since the Unix epoch.
    pub taken_at: Duration,
}

impl Origin {
    /// That of a recording that ends with this snapshot.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            host: snapshot.kernel.host.clone(),
            taken_at: snapshot.taken_at,
        }
    }
}

/// What replaying its I/Os says of each device, or why that says nothing.
pub type Forecasts = BTreeMap<DeviceNumber, Result<Forecast, String>>;

/// Why there is no forecast where nobody asked for one.
pub const NOT_REPLAYED: &str =
    "nothing was replayed: `verity-trace recommend` does, from the records of I/Os";

/// The advice for each device of a snapshot, which has to have all devices of the host: limits are for all of them.
/// There is none where I/Os are not seen one by one.
#[must_use]
pub fn advices(snapshot: &Snapshot, forecasts: &Forecasts, origin: Option<&Origin>) -> Vec<Advice> {
    let devices = snapshot.devices.iter();
    let cases = devices.filter_map(|device| since_start(snapshot, device));
    let advice = |case: Case<'_>| {
        let forecast = forecasts.get(&case.device.number);
        let forecast = forecast.map_or(Err(NOT_REPLAYED), |it| it.as_ref().map_err(String::as_str));
        advise(&case, forecast, origin)
    };
    cases.map(advice).collect()
}

/// What is known of a device since tracing began; absent where its I/Os are not seen one by one.
#[must_use]
pub fn since_start<'a>(snapshot: &'a Snapshot, device: &'a Device) -> Option<Case<'a>> {
    sees_ios(snapshot).then(|| Case::since_start(snapshot, device))
}

/// The same of the snapshot's interval; absent where that is, too.
#[must_use]
pub fn recent<'a>(snapshot: &'a Snapshot, device: &'a Device) -> Option<Case<'a>> {
    let case = Case::recent(snapshot, device)?;
    sees_ios(snapshot).then_some(case)
}

fn sees_ios(snapshot: &Snapshot) -> bool {
    !matches!(snapshot.tracing, Tracing::Attached(Rung::Tracepoint))
}

/// The advice for one device, from what replaying its I/Os says too, or why that says nothing.
#[must_use]
pub fn advise(
    case: &Case<'_>,
    forecast: Result<&Forecast, &str>,
    origin: Option<&Origin>,
) -> Advice {
    let findings = rules::findings(case);
    let model = forecast.ok();
    let (verdict, confidence) = verdict::of(case, &findings.fired, model);
    let mut not_considered = case.weaknesses();
    match forecast {
        Err(reason) => not_considered.push(format!("I/Os one by one: {reason}")),
        Ok(forecast) => {
            not_considered.extend(forecast.unknown.iter().map(|&it| model::unknown(it)));
        }
    }
    if verdict::may_keep_other_blocks(case, model) {
        not_considered.push(
            "that the cache may keep other hash blocks under another setting, which many of these I/Os wait for"
                .to_owned(),
        );
    }
    let unanswered = findings.unanswered.iter();
    not_considered.extend(unanswered.map(|(what, rules)| format!("{}: {what}", rules.join(", "))));
    let mut risk = risk::of(case, verdict, model);
    let commands = commands::of(case, verdict).unwrap_or_else(|reason| {
        risk.push(reason);
        Vec::new()
    });
    Advice {
        number: case.device.number,
        name: case.device.name.clone(),
        option: case.option(),
        verdict,
        confidence,
        evidence: evidence::of(case, model),
        findings: findings.fired,
        not_considered,
        risk,
        commands,
        origin: origin.cloned(),
    }
}
