//! What everybody else pays: one work item and one softirq that have nothing to do with dm-verity.
//!
//! Each read of a loop device queues one work item. A program there that only returns is measured,
//! dispatch and all. The kernel runs the programs of every tracepoint in the same way
//! (`__bpf_trace_run`, `kernel/trace/bpf_trace.c`), so this is also what such a program costs at the
//! other tracepoints, of which some are not passed once per read, as those of softirqs on a single CPU.
//! What ours cost beyond it is told by the kernel's statistics.

use anyhow::{Context, Result, ensure};

use super::READS;
use super::goals::Goals;
use super::results::{Program, Results};
use super::table::Table;
use crate::setup::Kernel;

/// At most so many times what programs that only return would a program cost that marks the context of a
/// softirq and keeps no time.
const MARK_ALONE: f64 = 1.5;

/// What happens to somebody else.
#[derive(Clone, Copy, PartialEq)]
enum Event {
    Softirq,
    WorkItem,
}

impl Event {
    const ALL: [Self; 2] = [Self::Softirq, Self::WorkItem];

    fn name(self) -> &'static str {
        match self {
            Self::Softirq => "softirq",
            Self::WorkItem => "work item",
        }
    }

    /// The ways to run verity-trace that differ in what they attach there, with their case's word.
    fn ways(self) -> &'static [(&'static str, &'static str)] {
        const WAYS: [(&str, &str); 4] = [
            ("default", "verity-trace"),
            ("queues", "verity-trace --queues"),
            ("kprobe", "verity-trace --attach kprobe"),
            ("tracepoint", "verity-trace --attach tracepoint"),
        ];
        match self {
            Self::Softirq => &WAYS[..2],
            Self::WorkItem => &WAYS,
        }
    }

    /// At most so many times what programs that only return cost.
    fn goal(self) -> f64 {
        match self {
            Self::Softirq => 4.0,
            Self::WorkItem => 1.5,
        }
    }

    /// The programs that run for it, as the kernel cuts their names, and at how many tracepoints those of
    /// one such name are.
    fn programs(self) -> &'static [(&'static str, u32)] {
        match self {
            Self::Softirq => &[
                ("softirq_entry", 1),
                ("softirq_exit", 1),
                ("queues_softirq_", 0),
            ],
            Self::WorkItem => &[
                ("workqueue_queue", 1),
                ("queues_execute_", 2),
                ("verification_qu", 1),
                ("verification_be", 1),
            ],
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
        let mut programs = programs.iter();
        let program = programs.find(|program| program.name.contains("workqueue_queue"));
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
    way: &'static str,
    /// One program that only returns.
    empty: f64,
    /// How many tracepoints are watched that it passes.
    tracepoints: u32,
    traced: f64,
}

impl Row {
    /// By programs that only return, one at each of the same tracepoints.
    fn ratio(&self) -> f64 {
        if self.tracepoints == 0 {
            return 0.0;
        }
        self.traced / (self.empty * f64::from(self.tracepoints))
    }
}

pub fn rows(kernel: Kernel, results: &Results) -> Result<Vec<Row>> {
    let empty = Empty::new(
        results.added("loop-floor", "loop-untraced")?,
        &results.programs("loop-floor")?,
    )?;
    let mut rows = Vec::new();
    for event in Event::ALL {
        for &(case, way) in event.ways() {
            let programs = results.programs(&format!("loop-{case}"))?;
            rows.push(row(kernel, event, way, empty, &programs));
        }
    }
    Ok(rows)
}

fn row(kernel: Kernel, event: Event, way: &'static str, empty: Empty, programs: &[Program]) -> Row {
    let mut row = Row {
        kernel,
        event,
        way,
        empty: empty.cost,
        tracepoints: 0,
        traced: 0.0,
    };
    for (start, tracepoints) in event.programs() {
        let these: Vec<_> = programs
            .iter()
            .filter(|program| program.name.starts_with(start))
            .collect();
        if !these.is_empty() {
            row.tracepoints += tracepoints;
        }
        let cost = |program: &&Program| empty.cost + program.each() - empty.counted;
        row.traced += these.iter().map(cost).sum::<f64>();
    }
    row
}

/// What every way costs, in a table for each event.
pub fn tables(rows: &[Row]) -> String {
    let table = |event: Event| {
        let mut table = Table::new(format!("{}, of anybody", event.name()));
        for row in rows.iter().filter(|row| row.event == event) {
            let empty = format!("{:+.0}      ", row.empty);
            table.set("a program that only returns", row.kernel, empty);
            let cell = if row.tracepoints == 0 {
                "nothing".to_owned()
            } else {
                format!("{:+.0}  x{:.2}", row.traced, row.ratio())
            };
            table.set(row.way, row.kernel, cell);
        }
        table.to_string()
    };
    format!(
        "guest instructions that tracing adds to what is not dm-verity's, and by programs that only return there\n{}",
        Event::ALL.map(table).join("\n")
    )
}

/// How every kernel stands to the goals.
pub fn goals(rows: &[Row], goals: &mut Goals) {
    for row in rows {
        if row.event == Event::Softirq {
            // Every view shows softirq time by vector, so no way to run leaves that out.
            let goal = "softirq, the mark of the context alone";
            goals.set_moot(goal, row.kernel, MARK_ALONE, "never alone");
        }
        let goal = format!("{}, {}", row.event.name(), row.way);
        goals.set(&goal, row.kernel, row.ratio(), row.event.goal());
    }
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

    fn floor(each: u64) -> [Program; 1] {
        let name = "rawtracepoint_workqueue_queue_work_1";
        [program(name, 2 * READS + 9, each)]
    }

    #[test]
    fn a_softirq_is_all_its_programs() {
        let empty = Empty::new(200, &floor(46)).unwrap();
        let programs = [
            program("softirq_entry", 700, 96),
            program("softirq_exit", 700, 146),
            program("queues_softirq_", 700, 56),
            program("queues_softirq_", 700, 46),
        ];
        let row = |programs| row(Kernel::V6_1, Event::Softirq, "way", empty, programs);
        assert!((row(&programs[..2]).ratio() - 1.75).abs() < 1e-9);
        let queues = row(&programs);
        assert!((queues.traced - 560.0).abs() < 1e-9);
        assert!((queues.ratio() - 2.8).abs() < 1e-9, "two tracepoints");
    }

    #[test]
    fn what_is_not_attached_costs_nothing() {
        let empty = Empty::new(200, &floor(46)).unwrap();
        let row = row(Kernel::V6_1, Event::WorkItem, "way", empty, &[]);
        assert!(row.ratio().abs() < 1e-9);
        assert!(tables(&[row]).contains("nothing"));
        Empty::new(100, &[]).map(|_| ()).unwrap_err();
    }
}
