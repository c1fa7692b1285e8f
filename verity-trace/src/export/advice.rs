//! The types of an advice in JSON documents.

use schemars::JsonSchema;
use serde::Serialize;

use super::SCHEMA_VERSION;
use super::document::Kernel;
use crate::format::nanos;
use crate::recommend::{self, Advice, Verdict};
use crate::snapshot::Snapshot;

/// The document of `recommend`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Recommendation<'a> {
    schema_version: u32,
    version: &'static str,
    taken_at_unix_ms: u64,
    watched_ns: u64,
    kernel: Kernel,
    rung: &'static str,
    advice: Vec<Advised<'a>>,
}

/// What is advised for one device.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Advised<'a> {
    name: &'a str,
    number: String,
    option: bool,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    use_bh_bytes: Option<[u64; 4]>,
    confidence: Confidence<'a>,
    evidence: Vec<Evidence>,
    findings: Vec<Finding<'a>>,
    risk: &'a [String],
    not_considered: &'a [String],
    commands: Vec<Command<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded_on: Option<RecordedOn<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Confidence<'a> {
    certainty: &'static str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect_on_mean_total: Option<Effect>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Effect {
    best: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    worst: Option<f64>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Evidence {
    what: &'static str,
    value: f64,
    unit: &'static str,
    source: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Finding<'a> {
    rule: &'static str,
    sentence: &'a str,
    source: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Command<'a> {
    what: &'static str,
    lines: &'a [String],
    undo: &'a [String],
}

#[derive(Debug, Serialize, JsonSchema)]
struct RecordedOn<'a> {
    host: &'a str,
    taken_at_unix_ms: u64,
}

impl<'a> Recommendation<'a> {
    /// The document of what is advised from a snapshot.
    #[must_use]
    pub fn new(snapshot: &Snapshot, advices: &'a [Advice]) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            taken_at_unix_ms: milliseconds(snapshot.taken_at),
            watched_ns: nanos(snapshot.watched).0,
            kernel: Kernel::from(&snapshot.kernel),
            rung: crate::facts::rung(&snapshot.tracing),
            advice: advices.iter().map(Advised::from).collect(),
        }
    }
}

impl<'a> From<&'a Advice> for Advised<'a> {
    fn from(advice: &'a Advice) -> Self {
        let confidence = &advice.confidence;
        Self {
            name: &advice.name,
            number: advice.number.to_string(),
            option: advice.option,
            verdict: advice.verdict.name(),
            use_bh_bytes: match advice.verdict {
                Verdict::Limit(values) => Some(values),
                _ => None,
            },
            confidence: Confidence {
                certainty: confidence.certainty.name(),
                reason: &confidence.reason,
                effect_on_mean_total: confidence.effect.map(|effect| Effect {
                    best: effect.best,
                    worst: effect.worst,
                }),
            },
            evidence: advice.evidence.iter().map(Evidence::from).collect(),
            findings: advice
                .findings
                .iter()
                .map(|it| Finding {
                    rule: it.id,
                    sentence: &it.sentence,
                    source: it.source,
                })
                .collect(),
            risk: &advice.risk,
            not_considered: &advice.not_considered,
            commands: advice
                .commands
                .iter()
                .map(|it| Command {
                    what: it.what,
                    lines: &it.lines,
                    undo: &it.undo,
                })
                .collect(),
            recorded_on: advice.origin.as_ref().map(|origin| RecordedOn {
                host: &origin.host,
                taken_at_unix_ms: milliseconds(origin.taken_at),
            }),
        }
    }
}

impl From<&recommend::Evidence> for Evidence {
    fn from(evidence: &recommend::Evidence) -> Self {
        Self {
            what: evidence.what,
            value: evidence.value,
            unit: evidence.unit.name(),
            source: evidence.source,
        }
    }
}

fn milliseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
