//! A line for each CPU: its time in softirq in the window, how much of that is verification, and what it verified.

use std::ops::Range;

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::history::NOTHING_BEFORE;
use super::style::Styles;
use crate::format;
use crate::lookback::Recent;
use crate::snapshot::{Cpu, Era, Placement, Snapshot, Softirq};

/// From this share of a CPU on, verification in softirq is marked: everything else there waits behind it.
const MUCH: f64 = 0.25;

/// Lines of the heading.
pub const HEAD: usize = 2;

/// Cells that all columns fill.
const ALL_COLUMNS: u16 = 104;

/// What the table of one snapshot looks like on a terminal of some width.
pub struct Table<'a> {
    snapshot: &'a Snapshot,
    recent: &'a Recent,
    styles: Styles,
    /// What only `--queues` sees.
    has_queues: bool,
    /// What was verified where: on a narrow terminal it gives way to what was asked for.
    has_verifications: bool,
}

impl<'a> Table<'a> {
    pub fn new(snapshot: &'a Snapshot, recent: &'a Recent, styles: Styles, width: u16) -> Self {
        let has_queues = has_queues(snapshot);
        Self {
            snapshot,
            recent,
            styles,
            has_queues,
            has_verifications: !has_queues || width >= ALL_COLUMNS,
        }
    }

    fn head(&self) -> Vec<Line<'static>> {
        // The programs count the two together, and no kernel has both.
        let bh = match self.snapshot.kernel.era {
            Some(Era::Tasklet) => Placement::Tasklet,
            _ => Placement::Bh,
        };
        let mut above = vec![format!(
            "{:>26} {:>23}",
            "softirq", "verification in softirq"
        )];
        let mut head = vec![format!(
            "{:>4} {:>6}{:>8}{:>7} {:>9}{:>7}{:>7}",
            "CPU",
            "all",
            Softirq::TASKLET.name(),
            Softirq::BLOCK.name(),
            "time",
            "of CPU",
            "of all",
        )];
        if self.has_verifications {
            above.push(format!(" {:>25}", "verifications begun"));
            let [kverityd, bh, inline] =
                [Placement::Kverityd, bh, Placement::Inline].map(Placement::name);
            head.push(format!(" {kverityd:>9}{bh:>8}{inline:>8}"));
        }
        if self.has_queues {
            above.push(format!("{:>18}{:>9}", "BH", "longest"));
            head.push(format!("{:>10}{:>8}{:>9}", "ksoftirqd", "limits", "verify"));
        }
        vec![
            Line::raw(above.concat()),
            Line::styled(head.concat(), self.styles.head),
        ]
    }

    /// How many CPUs there are.
    pub fn count(&self) -> usize {
        self.recent.cpus().len()
    }

    /// The heading, and a line for each of some CPUs, in the order of their number.
    pub fn lines(&self, shown: Range<usize>) -> Vec<Line<'static>> {
        let mut lines = self.head();
        let (recent, all) = (self.recent.cpus(), &self.snapshot.cpus);
        if recent.is_empty() && !all.is_empty() {
            lines.push(Line::raw(NOTHING_BEFORE));
        }
        let cpus = recent.iter().zip(all);
        let cpus = cpus.skip(shown.start).take(shown.len());
        lines.extend(cpus.map(|(cpu, since)| self.row(cpu, since)));
        lines
    }

    fn row(&self, cpu: &Cpu, since_start: &Cpu) -> Line<'static> {
        let window = self.recent.interval().unwrap_or_default();
        let of_time = |time| format::share_of(time, window);
        let absent = || format::ABSENT.to_owned();
        let time = |time| self.styles.units.duration(format::nanos(time));
        let verify = cpu.softirq_verify;
        let is_much =
            verify.is_some_and(|verify| !window.is_zero() && verify >= window.mul_f64(MUCH));
        let softirq = format!(
            "{:>4} {:>6}{:>8}{:>7}",
            cpu.number,
            of_time(cpu.softirq),
            of_time(cpu.tasklet_softirq),
            of_time(cpu.block_softirq),
        );
        let verification = format!(
            " {:>9}{:>7}{:>7}",
            verify.map_or_else(absent, time),
            verify.map_or_else(absent, of_time),
            verify.map_or_else(absent, |it| format::share_of(it, cpu.softirq)),
        );
        let mut rest = Vec::new();
        if self.has_verifications {
            let inline = cpu.inline_verifications;
            rest.push(format!(
                " {:>9}{:>8}{:>8}",
                cpu.kverityd_verifications,
                cpu.bh_verifications,
                inline.map_or_else(absent, |count| count.to_string()),
            ));
        }
        if let Some(queues) = &cpu.queues {
            let before = since_start.queues.as_ref();
            let before = before.and_then(|queues| queues.longest_verify);
            let longest = match (queues.longest_verify, before) {
                (Some(longest), _) => time(longest),
                // It was none of the window's.
                (None, Some(longest)) => format!("<{}", time(longest)),
                (None, None) => absent(),
            };
            rest.push(format!(
                "{:>10}{:>8}{:>9}",
                queues.ksoftirqd.values().sum::<u64>(),
                queues.bh_limits,
                longest,
            ));
        }
        let style = if is_much {
            self.styles.notice
        } else {
            Style::new()
        };
        Line::from(vec![
            Span::raw(softirq),
            Span::styled(verification, style),
            Span::raw(rest.concat()),
        ])
    }
}

fn has_queues(snapshot: &Snapshot) -> bool {
    snapshot.cpus.iter().any(|cpu| cpu.queues.is_some())
}
