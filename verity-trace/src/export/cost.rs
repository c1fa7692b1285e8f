//! What tracing costs, in the JSON document.

use serde::Serialize;

use super::document::{Named, named};
use crate::cost::{Attachment, Cost, Occasion};
use crate::format::nanos;

/// What tracing costs.
#[derive(Debug, Serialize)]
pub struct SelfCost {
    measured_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_share: Option<f64>,
    process_ns: u64,
    each_ns: Named<u64>,
    dispatch_ns: Named<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_ns: Option<u64>,
    programs: Vec<Program>,
}

#[derive(Debug, Serialize)]
struct Program {
    name: &'static str,
    attachment: &'static str,
    runs: u64,
    run_ns: u64,
    cost_ns: u64,
}

impl From<&Cost> for SelfCost {
    fn from(cost: &Cost) -> Self {
        Self {
            measured_ns: nanos(cost.measured).0,
            // Parts per million are more than is known.
            cpu_share: cost.share().map(|share| (share * 1e6).round() / 1e6),
            process_ns: nanos(cost.process).0,
            each_ns: Occasion::ALL
                .into_iter()
                .filter_map(|it| Some((it.name(), cost.each(it)?)))
                .collect(),
            dispatch_ns: named(&cost.calibration.dispatch_ns, Attachment::name),
            clock_ns: cost.calibration.clock_ns,
            programs: cost
                .programs
                .iter()
                .map(|program| Program {
                    name: program.name,
                    attachment: program.attachment.name(),
                    runs: program.runs,
                    run_ns: program.run_ns,
                    cost_ns: cost.of(program),
                })
                .collect(),
        }
    }
}
