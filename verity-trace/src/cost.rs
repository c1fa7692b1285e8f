//! What tracing itself costs: from what the kernel counted of the programs while its statistics were
//! on, and from what an empty program was measured to cost.

use std::collections::BTreeMap;
use std::time::Duration;

/// How a program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attachment {
    /// By a trampoline, at the entry or exit of a function.
    Fentry,
    /// By a tracepoint.
    TpBtf,
    /// By a kprobe.
    Kprobe,
}

impl Attachment {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Fentry, Self::TpBtf, Self::Kprobe];

    /// The word for it everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::TpBtf => "tp_btf",
            Self::Kprobe => "kprobe",
        }
    }
}

/// What a program is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Occasion {
    /// An I/O.
    Io,
    /// A softirq, whatever it is for.
    Softirq,
    /// A work item, whatever it is for.
    WorkItem,
    /// A hash block that a verification looks up.
    HashBlock,
}

impl Occasion {
    /// Every occasion, in the order in which views show them.
    pub const ALL: [Self; 4] = [Self::Io, Self::Softirq, Self::WorkItem, Self::HashBlock];

    /// The word for it everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Softirq => "softirq",
            Self::WorkItem => "work_item",
            Self::HashBlock => "hash_block",
        }
    }

    /// What the program of this name is run for.
    #[must_use]
    pub fn of(program: &str) -> Self {
        let program = program.strip_prefix("queues_").unwrap_or(program);
        if program.starts_with("softirq_") {
            Self::Softirq
        } else if ["workqueue_", "execute_", "verification_"]
            .iter()
            .any(|prefix| program.starts_with(prefix))
        {
            Self::WorkItem
        } else if program.starts_with("hash_") {
            Self::HashBlock
        } else {
            Self::Io
        }
    }

    /// The programs of which one is run for each; the first of these that is attached at all counts
    /// them.
    const fn counted_by(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Io => &[&["verity_finish_io"], &["verity_finish_io_kprobe"]],
            Self::Softirq => &[&["softirq_entry"], &["queues_softirq_entry"]],
            Self::WorkItem => &[
                &["workqueue_queue_work"],
                &["verification_queued"],
                &["queues_execute_start"],
            ],
            Self::HashBlock => &[&["hash_get", "hash_read_end"]],
        }
    }
}

/// What an empty program was measured to cost on this machine. What could not be measured is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calibration {
    /// Nanoseconds that calling an empty program takes, with everything around it.
    pub dispatch_ns: BTreeMap<Attachment, u64>,
    /// Nanoseconds that the kernel's statistics say of one run of an empty program: the clock's own.
    pub clock_ns: Option<u64>,
}

/// What the kernel counted of one program while its statistics were on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramRuns {
    /// Name.
    pub name: &'static str,
    /// How it is run.
    pub attachment: Attachment,
    /// Runs.
    pub runs: u64,
    /// Nanoseconds in them, by the kernel's statistics.
    pub run_ns: u64,
}

/// What tracing costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// For how long the kernel's statistics were on: what follows was counted then.
    pub measured: Duration,
    /// Every program that is attached.
    pub programs: Vec<ProgramRuns>,
    /// What an empty program costs.
    pub calibration: Calibration,
    /// CPU time of this process while the probes were attached.
    pub process: Duration,
}

impl Cost {
    /// Nanoseconds that all runs of a program cost, with everything around them as far as that was
    /// measured.
    ///
    /// What the statistics say of an empty program is in every run too, and what an empty program really
    /// costs is in its place.
    #[must_use]
    pub fn of(&self, program: &ProgramRuns) -> u64 {
        match (
            self.dispatch_ns(program.attachment),
            self.calibration.clock_ns,
        ) {
            (Some(dispatch), Some(clock)) => {
                let inside = program.run_ns.saturating_sub(clock * program.runs);
                inside + dispatch * program.runs
            }
            _ => program.run_ns,
        }
    }

    /// Whether what it costs to call a program is known, and so in what [`Cost::of`] says.
    #[must_use]
    pub fn is_calibrated(&self, attachment: Attachment) -> bool {
        self.dispatch_ns(attachment).is_some() && self.calibration.clock_ns.is_some()
    }

    fn dispatch_ns(&self, attachment: Attachment) -> Option<u64> {
        self.calibration.dispatch_ns.get(&attachment).copied()
    }

    /// The share of one CPU that the programs take; absent while nothing was measured.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        let all: u64 = self.programs.iter().map(|it| self.of(it)).sum();
        let measured = self.measured.as_nanos() as f64;
        (measured > 0.0).then(|| all as f64 / measured)
    }

    /// Nanoseconds that the programs cost for one occasion; absent when there was none.
    #[must_use]
    pub fn each(&self, occasion: Occasion) -> Option<u64> {
        let occasions = occasion.counted_by().iter().find_map(|names| {
            let counting = self.programs.iter().filter(|it| names.contains(&it.name));
            counting.map(|it| it.runs).reduce(|sum, runs| sum + runs)
        })?;
        let these = self
            .programs
            .iter()
            .filter(|it| Occasion::of(it.name) == occasion);
        let all: u64 = these.map(|it| self.of(it)).sum();
        all.checked_div(occasions)
    }

    /// Adds what was measured before, or in another window.
    pub fn add(&mut self, other: &Self) {
        self.measured += other.measured;
        for theirs in &other.programs {
            let mine = |it: &&mut ProgramRuns| {
                (it.name, it.attachment) == (theirs.name, theirs.attachment)
            };
            match self.programs.iter_mut().find(mine) {
                Some(mine) => {
                    mine.runs += theirs.runs;
                    mine.run_ns += theirs.run_ns;
                }
                None => self.programs.push(theirs.clone()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &'static str, attachment: Attachment, runs: u64, run_ns: u64) -> ProgramRuns {
        ProgramRuns {
            name,
            attachment,
            runs,
            run_ns,
        }
    }

    fn cost() -> Cost {
        Cost {
            measured: Duration::from_micros(10),
            programs: vec![
                program("verity_map", Attachment::Fentry, 10, 1_000),
                program("verity_finish_io", Attachment::Fentry, 8, 1_600),
                program("softirq_entry", Attachment::TpBtf, 4, 200),
                program("softirq_exit", Attachment::TpBtf, 4, 200),
                program("workqueue_queue_work", Attachment::TpBtf, 0, 0),
            ],
            calibration: Calibration {
                dispatch_ns: BTreeMap::from([(Attachment::Fentry, 30), (Attachment::TpBtf, 10)]),
                clock_ns: Some(20),
            },
            process: Duration::ZERO,
        }
    }

    #[test]
    fn an_empty_programs_statistics_give_way_to_what_it_costs() {
        let cost = cost();
        assert_eq!(cost.of(&cost.programs[0]), 1_000 - 200 + 300);
        assert_eq!(cost.of(&cost.programs[2]), 200 - 80 + 40);
    }

    #[test]
    fn without_calibration_the_statistics_stand_as_they_are() {
        let mut cost = cost();
        cost.calibration.dispatch_ns.remove(&Attachment::TpBtf);
        assert_eq!(cost.of(&cost.programs[2]), 200);
    }

    #[test]
    fn a_run_shorter_than_the_clock_is_not_negative() {
        let cost = cost();
        let short = program("verity_map", Attachment::Fentry, 10, 100);
        assert_eq!(cost.of(&short), 300);
    }

    #[test]
    fn an_occasion_is_charged_with_all_its_programs() {
        let cost = cost();
        assert_eq!(cost.each(Occasion::Io), Some((1_100 + 1_680) / 8));
        assert_eq!(cost.each(Occasion::Softirq), Some(80));
        assert_eq!(cost.each(Occasion::WorkItem), None, "there was none");
    }

    /// On the last rung every program but those of softirqs runs for each work.
    #[test]
    fn a_verification_that_is_queued_is_a_work_of_any() {
        let cost = Cost {
            programs: vec![
                program("verification_begins", Attachment::TpBtf, 4, 120),
                program("verification_begins_second", Attachment::TpBtf, 4, 80),
                program("verification_queued", Attachment::TpBtf, 5, 200),
            ],
            ..Cost::default()
        };
        assert_eq!(cost.each(Occasion::WorkItem), Some(400 / 5));
        assert_eq!(cost.each(Occasion::Io), None, "none is seen");
    }

    #[test]
    fn the_share_is_of_one_cpu_for_as_long_as_was_measured() {
        let cost = cost();
        assert_eq!(cost.share(), Some((1_100.0 + 1_680.0 + 320.0) / 10_000.0));
        assert_eq!(Cost::default().share(), None);
    }

    #[test]
    fn windows_add_up() {
        let mut both = cost();
        both.add(&cost());
        assert_eq!(both.measured, Duration::from_micros(20));
        assert_eq!(both.programs.len(), 5);
        assert_eq!(
            (both.programs[0].runs, both.programs[0].run_ns),
            (20, 2_000)
        );
        assert_eq!(both.share(), cost().share());
    }
}
