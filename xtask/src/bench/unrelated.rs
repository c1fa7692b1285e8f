//! What everybody else pays: one work item and one softirq that have nothing to do with dm-verity.
//!
//! Each read of a loop device is one of both. Programs that only return are measured there, dispatch
//! and all; what ours cost beyond them is told by the kernel's statistics, which repeat exactly.

use std::iter;

use anyhow::{Context, Result, ensure};

use super::READS;
use super::results::{Program, Results};
use crate::setup::Kernel;

/// The costs of one event, in guest instructions.
pub struct Row {
    kernel: Kernel,
    event: Event,
    empty: f64,
    /// Absent where nothing is attached there.
    traced: Option<f64>,
}

#[derive(Clone, Copy)]
enum Event {
    WorkItem,
    Softirq,
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::WorkItem => "work item",
            Self::Softirq => "softirq, with its time by vector",
        }
    }

    /// What is attached there, by the tracepoints' names as the kernel cuts them.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::WorkItem => &["workqueue_queue"],
            Self::Softirq => &["softirq_entry", "softirq_exit"],
        }
    }

    fn case(self) -> &'static str {
        match self {
            Self::WorkItem => "loop-workqueue",
            Self::Softirq => "loop-softirq",
        }
    }

    /// At most so many times an empty program.
    fn goal(self) -> f64 {
        match self {
            Self::WorkItem => 1.5,
            Self::Softirq => 4.0,
        }
    }
}

pub fn rows(kernel: Kernel, results: &Results) -> Result<Vec<Row>> {
    let untraced = results.median("loop-untraced")?;
    let traced = results.programs("loop-default")?;
    let mut rows = Vec::new();
    for event in [Event::WorkItem, Event::Softirq] {
        let case = event.case();
        if !results.has(case) {
            // Nothing is attached there on this kernel, so that it costs nothing.
            continue;
        }
        let only_return = results.programs(case)?;
        let added = results.median(case)?.cast_signed() - untraced.cast_signed();
        let empty = added as f64 / events(event, &only_return)?;
        let own = each(event, &traced)
            .zip(each(event, &only_return))
            .map(|(ours, theirs)| empty + ours - theirs);
        rows.push(Row {
            kernel,
            event,
            empty,
            traced: own,
        });
    }
    Ok(rows)
}

/// How many of these events the median read has: what timers add now and then it has not.
fn events(event: Event, programs: &[Program]) -> Result<f64> {
    let runs = |name: &&str| find(programs, name).map(|program| program.runs);
    let runs = event
        .programs()
        .iter()
        .find_map(runs)
        .context("it never ran")?;
    let events = (runs as f64 / READS as f64).floor();
    ensure!(events >= 1.0, "{runs} runs in {READS} reads");
    Ok(events)
}

/// What all programs of an event cost each time, with the statistics.
fn each(event: Event, programs: &[Program]) -> Option<f64> {
    let each = |name: &&str| find(programs, name).map(Program::each);
    event.programs().iter().map(each).sum()
}

fn find<'a>(programs: &'a [Program], name: &str) -> Option<&'a Program> {
    let is_it = |program: &&Program| program.runs > 0 && program.name.contains(name);
    programs.iter().find(is_it)
}

pub fn table(rows: &[Row]) -> String {
    let header = "guest instructions that tracing adds to what is not dm-verity's\n\
                  kernel  event                             only return  verity-trace   ratio  at most\n";
    let lines = rows.iter().map(|row| {
        let Row {
            kernel,
            event,
            empty,
            traced,
        } = row;
        let (name, most) = (event.name(), event.goal());
        let traced = traced.map_or_else(
            || "           -       -".to_owned(),
            |traced| format!("{traced:>12.0}{:>8.2}", traced / empty),
        );
        let holds = row.traced.map_or("", |traced| {
            if traced / empty <= most {
                "holds"
            } else {
                "missed"
            }
        });
        format!(
            "{:<8}{name:<34}{empty:>11.0}  {traced}{most:>9.2}  {holds}\n",
            kernel.name()
        )
    });
    iter::once(header.to_owned()).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str, runs: usize, each: u64) -> Program {
        Program {
            name: name.to_owned(),
            runs: runs as u64,
            instructions: runs as u64 * each,
        }
    }

    #[test]
    fn a_softirq_is_both_its_programs() {
        let programs = [
            program("rawtracepoint_softirq_entry_1", READS + 300, 46),
            program("rawtracepoint_softirq_exit_2", READS + 300, 46),
        ];
        let cost = each(Event::Softirq, &programs).unwrap();
        assert!((cost - 92.0).abs() < 1e-9);
        let count = events(Event::Softirq, &programs).unwrap();
        assert!((count - 1.0).abs() < 1e-9);
        assert!(each(Event::Softirq, &programs[1..]).is_none());
        assert!(events(Event::WorkItem, &programs).is_err());
    }
}
