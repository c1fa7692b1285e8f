//! What everybody else pays: one work item and one softirq that have nothing to do with dm-verity.
//!
//! Each read of a loop device queues one work item. A program there that only returns is measured,
//! dispatch and all. The kernel runs the programs of every tracepoint in the same way
//! (`__bpf_trace_run`, `kernel/trace/bpf_trace.c`), so this is also what such a program costs at the
//! entry and at the exit of a softirq, of which no load has one per read on a single CPU. What ours
//! cost beyond it is told by the kernel's statistics.

use std::iter;

use anyhow::{Context, Result, ensure};

use super::READS;
use super::results::{Program, Results};
use crate::setup::Kernel;

/// What happens to somebody else.
#[derive(Clone, Copy)]
enum Event {
    WorkItem,
    Softirq,
}

impl Event {
    const ALL: [Self; 2] = [Self::WorkItem, Self::Softirq];

    fn name(self) -> &'static str {
        match self {
            Self::WorkItem => "work item",
            Self::Softirq => "softirq, with time by vector",
        }
    }

    /// The tracepoints that it passes, as the kernel cuts the names of the programs there.
    fn tracepoints(self) -> &'static [&'static str] {
        match self {
            Self::WorkItem => &["workqueue_queue"],
            Self::Softirq => &["softirq_entry", "softirq_exit"],
        }
    }

    /// At most so many times what programs that only return cost.
    fn goal(self) -> f64 {
        match self {
            Self::WorkItem => 1.5,
            Self::Softirq => 4.0,
        }
    }
}

/// A tracepoint's program that only returns, in instructions each time.
#[derive(Clone, Copy)]
struct Empty {
    /// With its dispatch.
    cost: f64,
    /// As the statistics have it, theirs included.
    counted: f64,
}

impl Empty {
    fn new(added: i64, programs: &[Program]) -> Result<Self> {
        let program = find(programs, Event::WorkItem.tracepoints()[0]);
        let program = program.context("no work item was queued")?;
        // What timers queue now and then the median read has not.
        let items = (program.runs as f64 / READS as f64).floor();
        ensure!(items >= 1.0, "{} work items in {READS} reads", program.runs);
        Ok(Self {
            cost: added as f64 / items,
            counted: program.each(),
        })
    }
}

/// The costs of one event, in guest instructions.
pub struct Row {
    kernel: Kernel,
    event: Event,
    only_return: f64,
    /// Absent where nothing is attached there.
    traced: Option<f64>,
}

pub fn rows(kernel: Kernel, results: &Results) -> Result<Vec<Row>> {
    let empty = Empty::new(
        results.added("loop-floor", "loop-untraced")?,
        &results.programs("loop-floor")?,
    )?;
    let programs = results.programs("loop-default")?;
    let row = |event| row(kernel, event, empty, &programs);
    Ok(Event::ALL.into_iter().map(row).collect())
}

fn row(kernel: Kernel, event: Event, empty: Empty, programs: &[Program]) -> Row {
    let tracepoints = event.tracepoints();
    let cost = |name: &&str| {
        let program = find(programs, name)?;
        Some(empty.cost + program.each() - empty.counted)
    };
    Row {
        kernel,
        event,
        only_return: empty.cost * tracepoints.len() as f64,
        traced: tracepoints.iter().map(cost).sum(),
    }
}

fn find<'a>(programs: &'a [Program], name: &str) -> Option<&'a Program> {
    programs.iter().find(|program| program.name.contains(name))
}

pub fn table(rows: &[Row]) -> String {
    let header = "guest instructions that tracing adds to what is not dm-verity's\n\
                  kernel  event                         only return  verity-trace   ratio  at most\n";
    let lines = rows.iter().map(|row| {
        let (kernel, name) = (row.kernel.name(), row.event.name());
        let (empty, most) = (row.only_return, row.event.goal());
        let traced = row.traced.map_or_else(
            || format!("{:>14}{:>8}{most:>9.1}  nothing is attached", "-", "-"),
            |traced| {
                let ratio = traced / empty;
                let holds = if ratio <= most { "holds" } else { "missed" };
                format!("{traced:>14.0}{ratio:>8.2}{most:>9.1}  {holds}")
            },
        );
        format!("{kernel:<8}{name:<30}{empty:>11.0}{traced}\n")
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
        let floor = [program(
            "rawtracepoint_workqueue_queue_work_1",
            2 * READS + 9,
            46,
        )];
        let empty = Empty::new(200, &floor).unwrap();
        let programs = [
            program("softirq_entry", 700, 96),
            program("softirq_exit", 700, 146),
        ];
        let row = row(Kernel::V6_1, Event::Softirq, empty, &programs);
        assert!((row.only_return - 200.0).abs() < 1e-9);
        assert!((row.traced.unwrap() - 350.0).abs() < 1e-9);
        assert!(table(&[row]).ends_with("1.75      4.0  holds\n"));
    }

    #[test]
    fn what_is_not_attached_costs_nothing() {
        let floor = [program("rawtracepoint_workqueue_queue_work_1", READS, 46)];
        let empty = Empty::new(100, &floor).unwrap();
        let row = row(Kernel::V6_1, Event::WorkItem, empty, &[]);
        assert!(row.traced.is_none());
        Empty::new(100, &[]).map(|_| ()).unwrap_err();
    }
}
