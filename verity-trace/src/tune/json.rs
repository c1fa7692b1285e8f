//! What came out, as a JSON document.

use std::collections::BTreeMap;
use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::block::Flaw;
use super::{Ended, Left, Predicted, Report, Side};
use crate::export;
use crate::format::nanos;
use crate::recommend::Verdict;
use crate::snapshot::{Era, stage_name};
use crate::what_if::{self, Setting};

/// Raised when a field changes its meaning or goes away, not when one is added.
const SCHEMA_VERSION: u32 = 1;

#[derive(Debug, Serialize, JsonSchema)]
struct Document<'a> {
    schema_version: u32,
    version: &'static str,
    name: &'a str,
    number: String,
    kernel: &'a str,
    host: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    era: Option<&'static str>,
    a: Tried,
    b: Tried,
    found: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    load: Option<Load>,
    seed: u64,
    warm_up_ns: u64,
    block_ns: u64,
    took_ns: u64,
    pairs: usize,
    left_out: LeftOut,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    use_bh_bytes: Option<[u64; 4]>,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    change_of_mean_total: Option<Estimate>,
    stages: BTreeMap<&'static str, Stage>,
    cpus: Vec<Cpu>,
    prediction: Prediction<'a>,
    ended: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    left: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_because: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    put_back_by: Option<&'a str>,
    remarks: &'a [String],
}

#[derive(Debug, Serialize, JsonSchema)]
struct Tried {
    name: String,
    option: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    use_bh_bytes: Option<[u64; 4]>,
    ios: u64,
    failed: u64,
    placements: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Load {
    bytes: u32,
    depth: u32,
}

#[derive(Debug, Serialize, JsonSchema)]
struct LeftOut {
    few_ios: usize,
    loss: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Estimate {
    value: f64,
    low: f64,
    high: f64,
}

#[derive(Debug, Serialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "each says its unit")]
struct Stage {
    mean_ns: [f64; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_difference_ns: Option<Estimate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ns: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_difference_ns: Option<Estimate>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Cpu {
    number: usize,
    softirq_share: [f64; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    softirq_share_difference: Option<Estimate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification_share: Option<[f64; 2]>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum Prediction<'a> {
    Known(Box<Known>),
    Unknown { reason: &'a str },
}

#[derive(Debug, Serialize, JsonSchema)]
struct Known {
    ios: u64,
    change_of_mean_total: Estimate,
    mean_total_ns: [Estimate; 2],
    mean_wait_ns: [Estimate; 2],
    p50_wait_ns: [Estimate; 2],
}

impl From<what_if::Estimate> for Estimate {
    fn from(estimate: what_if::Estimate) -> Self {
        let what_if::Estimate { value, low, high } = estimate;
        Self { value, low, high }
    }
}

impl From<&Predicted> for Known {
    fn from(predicted: &Predicted) -> Self {
        Self {
            ios: predicted.ios,
            change_of_mean_total: predicted.relative().into(),
            mean_total_ns: predicted.total.map(Estimate::from),
            mean_wait_ns: predicted.wait.map(Estimate::from),
            p50_wait_ns: predicted.median_wait.map(Estimate::from),
        }
    }
}

/// The JSON schema of what [`json`] writes.
#[must_use]
pub fn schema() -> serde_json::Value {
    export::schema::<Document<'static>>()
}

/// Writes it as one indented JSON document.
pub fn json(report: &Report, out: &mut impl Write) -> io::Result<()> {
    export::write(&Document::from(report), out)
}

impl<'a> From<&'a Report> for Document<'a> {
    fn from(report: &'a Report) -> Self {
        let effects = &report.effects;
        let left_out = |flaw| effects.left_out.get(&flaw).copied().unwrap_or(0);
        let (ended, stopped, signal) = match &report.ended {
            Ended::Precise => ("precise", None, None),
            Ended::Time => ("time", None, None),
            Ended::Signal(number) => ("signal", None, Some(*number)),
            Ended::Stopped(why) => ("stopped", Some(why.as_str()), None),
        };
        let (left, left_because, put_back_by) = match &report.left {
            Left::AsFound => ("as-found", None, None),
            Left::Applied => ("applied", None, None),
            Left::Theirs(why) => ("theirs", Some(why.as_str()), None),
            Left::NotPutBack { why, command } => {
                ("not-put-back", Some(why.as_str()), Some(command.as_str()))
            }
        };
        let stages = effects.rows.iter().map(|row| {
            let stage = Stage {
                mean_ns: row.means,
                mean_difference_ns: row.difference.map(Estimate::from),
                p50_ns: row.medians,
                p50_difference_ns: row.difference_of_medians.map(Estimate::from),
            };
            (stage_name(row.stage), stage)
        });
        let cpus = effects.cpus.iter().map(|cpu| Cpu {
            number: cpu.cpu,
            softirq_share: cpu.softirq,
            softirq_share_difference: cpu.added.map(Estimate::from),
            verification_share: cpu.verification,
        });
        Self {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            name: &report.name,
            number: report.number.to_string(),
            kernel: &report.kernel.release,
            host: &report.kernel.host,
            era: report.kernel.era.map(Era::name),
            a: Tried::of(report, Side::A),
            b: Tried::of(report, Side::B),
            found: match report.settings.found {
                Side::A => "a",
                Side::B => "b",
            },
            load: report.load.map(|load| Load {
                bytes: load.bytes,
                depth: load.depth,
            }),
            seed: report.seed,
            warm_up_ns: nanos(report.times.warm_up).0,
            block_ns: nanos(report.times.block).0,
            took_ns: nanos(report.took).0,
            pairs: effects.pairs,
            left_out: LeftOut {
                few_ios: left_out(Flaw::FewIos),
                loss: left_out(Flaw::Loss),
            },
            verdict: report.verdict.name(),
            use_bh_bytes: match report.verdict {
                Verdict::Limit(limits) => Some(limits),
                _ => None,
            },
            reason: &report.reason,
            change_of_mean_total: effects.relative.map(Estimate::from),
            stages: stages.collect(),
            cpus: cpus.collect(),
            prediction: match &report.prediction {
                Ok(predicted) => Prediction::Known(Box::new(predicted.into())),
                Err(reason) => Prediction::Unknown { reason },
            },
            ended,
            stopped,
            signal,
            left,
            left_because,
            put_back_by,
            remarks: &report.remarks,
        }
    }
}

impl Tried {
    fn of(report: &Report, side: Side) -> Self {
        let (settings, effects) = (&report.settings, &report.effects);
        let Setting {
            option,
            use_bh_bytes,
        } = settings.of(side);
        let placements = effects.placements[side as usize].iter();
        Self {
            name: settings.name(side),
            option,
            use_bh_bytes,
            ios: effects.ios[side as usize],
            failed: effects.failed[side as usize],
            placements: placements.map(|(it, &ios)| (it.name(), ios)).collect(),
        }
    }
}
