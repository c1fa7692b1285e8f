//! What tracing costs, in the JSON document.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::reading::{self, Unreadable};
use super::document::{Named, Word, named, word};
use crate::cost::{Attachment, Calibration, Cost, Occasion, ProgramRuns};
use crate::format::nanos;

/// Runs of a program that can be, and what the longest takes: the product of the two is a sum that can be.
const MOST_RUNS: u64 = 1 << 40;
const LONGEST_RUN_NS: u64 = 1 << 16;

/// What tracing costs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
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

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Program {
    name: Word,
    attachment: Word,
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
                    name: word(program.name),
                    attachment: word(program.attachment.name()),
                    runs: program.runs,
                    run_ns: program.run_ns,
                    cost_ns: cost.of(program),
                })
                .collect(),
        }
    }
}

impl SelfCost {
    /// What a document says; its sums are made anew.
    pub(super) fn cost(&self) -> Result<Cost, Unreadable> {
        let attachment =
            |word: &str| reading::known("attachment", Attachment::ALL, Attachment::name, word);
        let programs = self.programs.iter().map(|it| {
            Ok(ProgramRuns {
                name: reading::lasting(&it.name)?,
                attachment: attachment(&it.attachment)?,
                runs: reading::at_most(it.runs, MOST_RUNS)?,
                run_ns: reading::count(it.run_ns)?,
            })
        });
        Ok(Cost {
            measured: Duration::from_nanos(self.measured_ns),
            programs: programs.collect::<Result<_, _>>()?,
            calibration: Calibration {
                dispatch_ns: reading::keyed(&self.dispatch_ns, attachment, |&ns| {
                    reading::at_most(ns, LONGEST_RUN_NS)
                })?,
                clock_ns: self
                    .clock_ns
                    .map(|ns| reading::at_most(ns, LONGEST_RUN_NS))
                    .transpose()?,
            },
            process: Duration::from_nanos(self.process_ns),
        })
    }
}
