//! The comparison as a JSON document.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Comparison, DRAWS, LEAST_INDEPENDENT, LEAST_INTERVALS, Row, Shift, Side, Statistic, Verdict,
    WRONG,
};
use crate::export;
use crate::histogram::Histogram;
use crate::recording::Machine;
use crate::snapshot::{Era, Placement, stage_name};

/// Raised when a field changes its meaning or goes away, not when one is added.
const SCHEMA_VERSION: u32 = 1;

#[derive(Debug, Serialize, JsonSchema)]
struct Document<'a> {
    schema_version: u32,
    version: &'static str,
    a: Recorded<'a>,
    b: Recorded<'a>,
    differences: Vec<Difference<'a>>,
    devices_in_a_alone: &'a [String],
    devices_in_b_alone: &'a [String],
    devices: Vec<Device<'a>>,
    method: Method,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Recorded<'a> {
    name: &'a str,
    kernel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    era: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<&'a Machine>,
    records: u64,
    undecoded_records: u64,
    uncompared_records: u64,
    lost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut_at_byte: Option<u64>,
    skipped_bytes: u64,
    interval_ns: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Difference<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    what: &'static str,
    a: &'a str,
    b: &'a str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Device<'a> {
    a: &'a str,
    b: &'a str,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    only_placement: Option<&'static str>,
    rows: Vec<Line>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Line {
    placement: &'static str,
    stage: &'static str,
    a: Values,
    b: Values,
    #[serde(skip_serializing_if = "Option::is_none")]
    shifts: Option<Shifts>,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    verdict_of: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    opposite_of: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Values {
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p90_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_ns: Option<u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Shifts {
    p50: One,
    mean: One,
    p99: One,
}

/// `relative` is B / A - 1.
#[derive(Debug, Serialize, JsonSchema)]
struct One {
    ns: f64,
    relative: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    independent_intervals: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ns_95: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relative_95: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chance: Option<f64>,
    verdict: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Method {
    seed: u64,
    draws: usize,
    least_intervals: usize,
    least_independent_intervals: f64,
    wrong_comparisons: f64,
    judged_of_devices: usize,
    judged_of_the_rest: usize,
}

/// The JSON schema of what [`json`] writes.
#[must_use]
pub fn schema() -> serde_json::Value {
    export::schema::<Document<'static>>()
}

/// Writes it, indented.
pub fn json(comparison: &Comparison, out: &mut impl Write) -> io::Result<()> {
    let [a, b] = [0, 1].map(|at| recorded(&comparison.names[at], &comparison.sides[at]));
    let [judged_of_devices, judged_of_the_rest] = comparison.judged();
    let document = Document {
        schema_version: SCHEMA_VERSION,
        version: env!("CARGO_PKG_VERSION"),
        a,
        b,
        differences: comparison.differences.iter().map(difference).collect(),
        devices_in_a_alone: &comparison.alone[0],
        devices_in_b_alone: &comparison.alone[1],
        devices: comparison.devices.iter().map(device).collect(),
        method: Method {
            seed: comparison.seed,
            draws: DRAWS,
            least_intervals: LEAST_INTERVALS,
            least_independent_intervals: LEAST_INDEPENDENT,
            wrong_comparisons: WRONG,
            judged_of_devices,
            judged_of_the_rest,
        },
    };
    export::write(&document, out)
}

fn recorded<'a>(name: &'a str, side: &'a Side) -> Recorded<'a> {
    let read = &side.overview;
    Recorded {
        name,
        kernel: &read.snapshot.kernel.release,
        era: read.snapshot.kernel.era.map(Era::name),
        machine: read.machine.as_ref(),
        records: read.records,
        undecoded_records: side.undecoded,
        uncompared_records: side.uncompared,
        lost: read.snapshot.lost(),
        cut_at_byte: read.condition.cut,
        skipped_bytes: read.condition.skipped,
        interval_ns: side.timeline.interval_ns,
    }
}

fn difference(it: &super::Difference) -> Difference<'_> {
    Difference {
        device: it.device.as_deref(),
        what: it.what,
        a: &it.values[0],
        b: &it.values[1],
    }
}

fn device(it: &super::Device) -> Device<'_> {
    Device {
        a: &it.names[0],
        b: &it.names[1],
        verdict: it.verdict().name(),
        only_placement: it.only.map(Placement::name),
        rows: it.rows.iter().map(line).collect(),
    }
}

fn line(row: &Row) -> Line {
    let [a, b] = row.histograms.each_ref().map(values);
    let verdict = row.verdict();
    let (those, others) = match verdict {
        Verdict::NoDifference => Default::default(),
        Verdict::Slower | Verdict::Faster => row.basis(),
    };
    let names = |of: Vec<Statistic>| of.into_iter().map(Statistic::name).collect();
    let shifts = row.shifts.as_ref().ok();
    let [median, mean, p99] = [0, 1, 2].map(|at| shifts.map(|shifts| one(&shifts[at])));
    Line {
        placement: row.placement.map_or("all", Placement::name),
        stage: stage_name(row.stage),
        a,
        b,
        shifts: match (median, mean, p99) {
            (Some(p50), Some(mean), Some(p99)) => Some(Shifts { p50, mean, p99 }),
            _ => None,
        },
        verdict: verdict.name(),
        verdict_of: names(those),
        opposite_of: names(others),
        reason: (verdict == Verdict::NoDifference).then(|| row.reason()),
    }
}

fn values(histogram: &Histogram) -> Values {
    let percentile = |permille| Some(histogram.percentile(permille)?.0);
    Values {
        count: histogram.count(),
        p50_ns: percentile(500),
        p90_ns: percentile(900),
        p99_ns: percentile(990),
        max_ns: percentile(1_000),
        mean_ns: histogram.sum().0.checked_div(histogram.count()),
    }
}

fn one(shift: &Shift) -> One {
    One {
        ns: shift.ns,
        relative: shift.logarithm.exp_m1(),
        independent_intervals: shift.independent,
        ns_95: shift.range.map(|range| range.ns),
        relative_95: shift.range.map(|range| range.logarithm.map(f64::exp_m1)),
        chance: shift.range.map(|range| range.chance),
        verdict: shift.verdict.name(),
    }
}
