//! I/Os one by one: those in flight, the slowest of the intervals that were seen, and the most recent, each
//! with its stages drawn to scale.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::header::prose;
use super::style::Styles;
use crate::decode::{Io, Waiting};
use crate::histogram::Nanos;
use crate::picked::{KEPT, Picked, Seen};
use crate::snapshot::{
    Completion, Context, DeviceNumber, InFlight, Placement, Snapshot, Stage, stage_name,
};
use crate::{escape, format};

/// How many intervals are kept.
const INTERVALS: usize = 60;

/// The cells before a bar: how long, and where it was verified.
const BEFORE: usize = 18;

/// What a part of a bar is made of, by stage: a letter of its own, so that no colour is needed.
const LETTERS: [(Stage, char); 5] = [
    (Stage::Device, 'd'),
    (Stage::Wait, 'w'),
    (Stage::Attempt, 'a'),
    (Stage::RetryWait, 'r'),
    (Stage::Verify, 'v'),
];

/// What was picked of the intervals that were seen, the last one last.
#[derive(Clone, Debug, Default)]
pub struct Ios {
    intervals: VecDeque<Arc<Picked>>,
}

/// The devices whose I/Os are shown, and how they are called.
pub type Names<'a> = BTreeMap<DeviceNumber, &'a str>;

impl Ios {
    /// Adds an interval. After one from before the last, as in a replay that goes back, what came later has not
    /// been yet.
    pub fn add(&mut self, picked: Arc<Picked>) {
        while self
            .intervals
            .back()
            .is_some_and(|last| last.taken_at >= picked.taken_at)
        {
            self.intervals.pop_back();
        }
        if self.intervals.len() == INTERVALS {
            self.intervals.pop_front();
        }
        self.intervals.push_back(picked);
    }

    /// All there is to see of these devices.
    pub fn lines(
        &self,
        names: &Names<'_>,
        snapshot: &Snapshot,
        styles: &Styles,
        width: u16,
    ) -> Vec<Line<'static>> {
        let Some(last) = self.intervals.back() else {
            return vec![Line::raw("no interval was seen yet")];
        };
        let sheet = Sheet {
            names,
            snapshot,
            styles,
            width: usize::from(width),
        };
        let mut lines = prose(&what(last.seen), Style::new(), sheet.width);
        lines.push(Line::default());
        lines.extend(sheet.in_flight(last));
        lines.push(Line::default());
        lines.extend(sheet.finished(&self.title(), &self.slowest(names)));
        lines.push(Line::default());
        lines.extend(sheet.finished("the most recent, the latest first", &self.recent(names)));
        lines
    }

    fn title(&self) -> String {
        let first = self.intervals.front().map(|it| it.taken_at);
        let last = self.intervals.back().map(|it| it.taken_at);
        let span = last
            .zip(first)
            .map(|(last, first)| last.saturating_sub(first));
        match span.filter(|span| !span.is_zero()) {
            Some(span) => format!("the slowest of the last {}", format::span(span)),
            None => "the slowest".to_owned(),
        }
    }

    fn slowest(&self, names: &Names<'_>) -> Vec<&Io> {
        let all = self.intervals.iter().flat_map(|it| &it.slowest);
        let mut ios: Vec<_> = all.filter(|io| names.contains_key(&io.device)).collect();
        ios.sort_by_key(|io| (Reverse(io.total), io.seq));
        ios.truncate(KEPT);
        ios
    }

    fn recent(&self, names: &Names<'_>) -> Vec<&Io> {
        let all = self.intervals.iter().rev().flat_map(|it| &it.recent);
        all.filter(|io| names.contains_key(&io.device))
            .take(KEPT)
            .collect()
    }
}

/// Which I/Os can be among them.
fn what(seen: Seen) -> String {
    match seen {
        Seen::All => "every I/O is looked at".to_owned(),
        Seen::Chosen { one_in, slow } => format!(
            "looked at are all I/Os that take {} or more, and of the others one in {one_in}",
            format::duration(slow)
        ),
        Seen::Recorded { one_in, slow } => {
            let slow = match slow {
                Nanos(0) => String::new(),
                slow => format!(" that took {} or more", format::duration(slow)),
            };
            let one_in = match one_in {
                0 | 1 => "the I/Os".to_owned(),
                one_in => format!("by chance one in {one_in} of the I/Os"),
            };
            format!("the recording has {one_in}{slow}")
        }
    }
}

/// What the lines are written on.
struct Sheet<'a> {
    names: &'a Names<'a>,
    snapshot: &'a Snapshot,
    styles: &'a Styles,
    width: usize,
}

impl Sheet<'_> {
    fn in_flight(&self, picked: &Picked) -> Vec<Line<'static>> {
        let devices = self.snapshot.devices.iter();
        let shown = devices.filter(|device| self.names.contains_key(&device.number));
        let count: u64 = shown
            .filter_map(|device| device.in_flight.as_ref())
            .map(InFlight::ios)
            .sum();
        let Some(waiting) = &picked.waiting else {
            let which = if count > 0 {
                "; which ones a recording does not say"
            } else {
                ""
            };
            return vec![self.head(format!("in flight: {count}{which}"))];
        };
        let waiting: Vec<_> = waiting
            .iter()
            .filter(|it| self.names.contains_key(&it.device))
            .collect();
        let order = match waiting.len() {
            0 | 1 => "",
            _ => ", the oldest first",
        };
        let mut lines = vec![self.head(format!("in flight: {count}{order}"))];
        lines.extend(waiting.into_iter().map(|it| self.waiting(it)));
        lines
    }

    fn head(&self, text: String) -> Line<'static> {
        Line::styled(text, self.styles.head)
    }

    fn waiting(&self, io: &Waiting) -> Line<'static> {
        let age = format::duration(format::nanos(io.age));
        Line::raw(format!(
            "{age:>8} in {:<10} {}  {} at {}  {}  CPU {}",
            stage_name(io.stage),
            self.name(io.device),
            format::bytes(io.bytes.into()),
            io.sector,
            submitter(&io.command, io.submitter),
            io.submit_cpu,
        ))
    }

    fn finished(&self, title: &str, ios: &[&Io]) -> Vec<Line<'static>> {
        if ios.is_empty() {
            return vec![self.head(format!("{title}: none"))];
        }
        let letters = LETTERS.map(|(stage, letter)| format!("{letter} {}", stage_name(stage)));
        let mut lines = vec![self.head(format!("{title}: {}", letters.join(", ")))];
        let most = ios.iter().map(|io| io.total).max().unwrap_or_default();
        for io in ios {
            lines.push(self.bar(io, most));
            lines.extend(self.details(io));
        }
        lines
    }

    /// How long it took, where it was verified, and its stages to scale.
    fn bar(&self, io: &Io, most: Nanos) -> Line<'static> {
        let total = format::duration(io.total);
        let placement = Span::styled(
            format!(" {:<8} ", io.placement.name()),
            if io.placement == Placement::Fallback {
                self.styles.notice
            } else {
                self.styles.name
            },
        );
        let bar = bar(io, most, self.width.saturating_sub(BEFORE));
        Line::from(vec![
            Span::raw(format!("{total:>8}")),
            placement,
            Span::styled(bar, self.styles.picture),
        ])
    }

    /// The rest, as many lines as it takes.
    fn details(&self, io: &Io) -> Vec<Line<'static>> {
        let mut facts = vec![
            self.name(io.device),
            format!("{} at {}", format::bytes(io.bytes.into()), io.sector),
            submitter(&io.command, io.submitter),
        ];
        let stages = LETTERS.iter().filter_map(|&(stage, letter)| {
            let time = io.stages.get(&stage)?;
            Some(format!("{letter} {}", format::duration(*time)))
        });
        facts.push(stages.collect::<Vec<_>>().join(" "));
        facts.push(format!("CPU {}", cpus(io)));
        facts.push(contexts(io));
        if let Some(reason) = io.reason {
            facts.push(reason.name().to_owned());
        }
        let flags = [
            (io.read_ahead, "read-ahead"),
            (io.rechecked, "rechecked"),
            (io.fec, "FEC"),
            (io.incomplete, "incomplete"),
            (io.clock, "clocks disagreed"),
        ];
        facts.extend(flags.iter().filter(|it| it.0).map(|it| it.1.to_owned()));
        let style = if io.status == 0 {
            Style::new()
        } else {
            facts.push(format!("failed, status {}", io.status));
            self.styles.alarm
        };
        let indent = 9;
        let mut lines: Vec<String> = Vec::new();
        for fact in facts.into_iter().filter(|fact| !fact.is_empty()) {
            match lines.last_mut() {
                Some(line)
                    if Span::raw(&*line).width() + 2 + Span::raw(&fact).width() <= self.width =>
                {
                    line.push_str("  ");
                    line.push_str(&fact);
                }
                _ => lines.push(format!("{:indent$}{fact}", "")),
            }
        }
        lines
            .into_iter()
            .map(|line| Line::styled(line, style))
            .collect()
    }

    fn name(&self, device: DeviceNumber) -> String {
        match self.names.get(&device) {
            Some(name) => escape::terminal(name).into_owned(),
            None => device.to_string(),
        }
    }
}

/// Who submitted it; a recording may have been told to leave the name out.
fn submitter(command: &str, task: u32) -> String {
    if command.is_empty() {
        format!("process {task}")
    } else {
        format!("{} {task}", escape::terminal(command))
    }
}

/// The CPUs that it was submitted, completed and verified on, one that stays the same only once.
fn cpus(io: &Io) -> String {
    let mut cpus = vec![io.submit_cpu];
    for cpu in [io.complete_cpu, io.verify_cpu].into_iter().flatten() {
        if cpus.last() != Some(&cpu) {
            cpus.push(cpu);
        }
    }
    let cpus: Vec<_> = cpus.iter().map(u16::to_string).collect();
    cpus.join(" > ")
}

/// Where it was completed, and verified.
fn contexts(io: &Io) -> String {
    let mut contexts = Vec::new();
    if io.completion != Completion::Unknown {
        contexts.push(io.completion.name());
    }
    let verified = [io.attempt_context, io.context];
    contexts.extend(verified.into_iter().flatten().map(Context::name));
    contexts.dedup();
    contexts.join(" > ")
}

/// A bar of letters, so long as the I/O took of the most that one did; what happened is at least one letter.
fn bar(io: &Io, Nanos(most): Nanos, cells: usize) -> String {
    let end = |ns: u64| {
        let end = u128::from(ns) * cells as u128 / u128::from(most.max(1));
        usize::try_from(end).unwrap_or(cells).min(cells)
    };
    let mut bar = String::new();
    let mut passed = 0u64;
    for (stage, letter) in LETTERS {
        let Some(Nanos(ns)) = io.stages.get(&stage) else {
            continue;
        };
        passed = passed.saturating_add(*ns);
        let until = end(passed).max(bar.len() + usize::from(*ns > 0)).min(cells);
        while bar.len() < until {
            bar.push(letter);
        }
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use bytemuck::Zeroable as _;
    use verity_trace_ebpf::record::{ABSENT, Record};

    use crate::decode;
    use crate::snapshot::Era;

    fn io(stages_ns: [u64; Stage::PARTS]) -> Io {
        let record = Record {
            stages_ns,
            total_ns: stages_ns.iter().filter(|&&ns| ns != ABSENT).sum(),
            ..Record::zeroed()
        };
        decode::io(&record, Era::Inline).expect("a record")
    }

    #[test]
    fn a_bar_is_as_long_as_the_io_took_and_every_stage_is_seen() {
        let slowest = io([500, 300, ABSENT, ABSENT, 200]);
        assert_eq!(bar(&slowest, Nanos(1_000), 10), "dddddwwwvv");
        assert_eq!(bar(&slowest, Nanos(2_000), 10), "ddwwv");
        let tiny = io([1, 1, ABSENT, ABSENT, 1]);
        assert_eq!(bar(&tiny, Nanos(1_000_000), 10), "dwv");
        assert_eq!(bar(&slowest, Nanos(1_000), 0), "");
    }

    #[test]
    fn an_interval_from_before_takes_back_what_came_later() {
        let mut ios = Ios::default();
        let picked = |second| {
            Arc::new(Picked {
                taken_at: Duration::from_secs(second),
                ..Picked::default()
            })
        };
        for second in 0..100 {
            ios.add(picked(second));
        }
        assert_eq!(ios.intervals.len(), INTERVALS);
        ios.add(picked(50));
        let times = ios.intervals.iter().map(|it| it.taken_at.as_secs());
        assert!(times.eq(40..=50));
    }
}
