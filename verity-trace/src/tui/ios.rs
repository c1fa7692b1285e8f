//! I/Os one by one: those in flight, the slowest of the intervals that were seen, and the most recent, each
//! with its stages drawn to scale.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::filter::Filter;
use super::header::prose;
use super::style::Styles;
use crate::decode::{Io, Unfinished};
use crate::histogram::Nanos;
use crate::lookback::Recent;
use crate::picked::{Both, KEPT, Picked, Seen, StillInFlight};
use crate::snapshot::{
    Completion, Context, Device, DeviceNumber, InFlight, Placement, Snapshot, Stage, stage_name,
};
use crate::{escape, format};

/// How many intervals are kept.
const INTERVALS: usize = 60;

/// The cells before a bar: how long, and where it was verified.
const BEFORE: usize = 18;

/// The cells before the first fact of an I/O.
const INDENT: usize = 9;

/// What a part of a bar is made of, by stage: a letter of its own, so that no colour is needed.
const LETTERS: [(Stage, char); 5] = [
    (Stage::Device, 'd'),
    (Stage::Wait, 'w'),
    (Stage::Attempt, 'a'),
    (Stage::RetryWait, 'r'),
    (Stage::Verify, 'v'),
];

/// What was picked of the intervals that were seen one after the other, the last one last.
#[derive(Clone, Debug, Default)]
pub struct Ios {
    intervals: VecDeque<Arc<Picked>>,
}

/// An I/O, and the device that it was for.
type Shown<'a> = (&'a Io, &'a str);

impl Extend<Arc<Picked>> for Ios {
    fn extend<T: IntoIterator<Item = Arc<Picked>>>(&mut self, picked: T) {
        picked.into_iter().for_each(|picked| self.add(picked));
    }
}

impl Ios {
    /// Adds an interval. One that does not begin where the last one ended begins anew, as where a replay jumps.
    fn add(&mut self, picked: Arc<Picked>) {
        let last = self.intervals.back();
        if last.is_some_and(|last| last.span == picked.span) {
            return;
        }
        if last.is_some_and(|last| last.span.end != picked.span.start) {
            self.intervals.clear();
        }
        if self.intervals.len() == INTERVALS {
            self.intervals.pop_front();
        }
        self.intervals.push_back(picked);
    }

    /// All there is to see on devices that the filter takes.
    pub fn lines(
        &self,
        snapshot: &Snapshot,
        recent: &Recent,
        filter: &Filter,
        styles: &Styles,
        width: u16,
    ) -> Vec<Line<'static>> {
        let (Some(first), Some(last)) = (self.intervals.front(), self.intervals.back()) else {
            return vec![Line::raw("no interval was seen yet")];
        };
        let sheet = Sheet {
            snapshot,
            taken: (!filter.text().is_empty()).then(|| taken(snapshot, recent, filter)),
            styles,
            width: usize::from(width),
        };
        let seen = self.intervals.iter().filter_map(|it| it.seen);
        let Some(seen) = seen.reduce(Seen::and) else {
            return prose(UNSEEN, styles.notice, sheet.width);
        };
        let mut lines = sheet.prose(&what(seen), Style::new());
        if self.intervals.iter().any(|it| it.has_undecoded) {
            lines.extend(sheet.prose(UNDECODED, styles.notice));
        }
        let of_each = self.intervals.iter().map(|it| it.of_each).min();
        if let Some(of_each) = of_each.filter(|&it| sheet.taken.is_some() && it < KEPT) {
            lines.extend(sheet.prose(&shared(of_each), Style::new()));
        }
        let letters = LETTERS.map(|(stage, letter)| format!("{letter} {}", stage_name(stage)));
        lines.extend(sheet.prose(&format!("stages: {}", letters.join(", ")), Style::new()));
        lines.push(Line::default());
        lines.extend(sheet.in_flight(last));
        lines.push(Line::default());
        let span = last.span.end.saturating_sub(first.span.start);
        let title = format!("the slowest of the last {}", format::span(span));
        lines.extend(sheet.finished(&title, &self.slowest(&sheet)));
        lines.push(Line::default());
        lines.extend(sheet.finished("the most recent, the latest first", &self.recent(&sheet)));
        lines
    }

    fn slowest<'a>(&'a self, sheet: &Sheet<'_>) -> Vec<Shown<'a>> {
        let all = self.intervals.iter();
        // No interval has more of the slowest of all.
        let all = all.flat_map(|picked| sheet.shown(picked, &picked.slowest).take(KEPT));
        let mut ios: Vec<_> = all.collect();
        ios.sort_by_key(|(io, _)| (Reverse(io.total), io.seq));
        ios.truncate(KEPT);
        ios
    }

    fn recent<'a>(&'a self, sheet: &Sheet<'_>) -> Vec<Shown<'a>> {
        let all = self.intervals.iter().rev();
        let all = all.flat_map(|picked| sheet.shown(picked, &picked.recent));
        all.take(KEPT).collect()
    }
}

/// What is said where there is no I/O to be seen.
const UNSEEN: &str = "I/Os are not seen one by one here";
/// What is said where records make no I/O.
const UNDECODED: &str = "some records make no I/O, or cannot be read, and were left out";

/// What is said of devices that the filter takes where these share what is kept with many others.
fn shared(of_each: usize) -> String {
    format!(
        "there are many devices: of each the {of_each} slowest and the {of_each} most recent of an interval are kept, \
         and the {of_each} oldest in flight"
    )
}

/// The devices that a filter takes.
fn taken<'a>(
    snapshot: &'a Snapshot,
    recent: &Recent,
    filter: &Filter,
) -> HashMap<DeviceNumber, &'a Device> {
    let devices = snapshot.devices.iter();
    let taken = devices.filter(|device| filter.takes(device, recent));
    taken.map(|device| (device.number, device)).collect()
}

/// Which I/Os can be among them.
fn what(seen: Seen) -> String {
    if seen.is_everything() {
        return "every I/O is looked at".to_owned();
    }
    let slow = format::duration(seen.slow);
    let text = match (seen.both, seen.one_in, seen.slow) {
        (Both::Either, 0 | 1, _) => "every I/O is looked at".to_owned(),
        (Both::Either, one_in, _) => format!(
            "looked at is every I/O that takes {slow} or more, and of the others one in {one_in}"
        ),
        (Both::AtOnce, 0 | 1, _) => format!("the recording has the I/Os that took {slow} or more"),
        (Both::AtOnce, one_in, Nanos(0)) => {
            format!("the recording has, by chance, one in {one_in} of the I/Os")
        }
        (Both::AtOnce, one_in, _) => format!(
            "the recording has, by chance, one in {one_in} of the I/Os that took {slow} or more"
        ),
    };
    match seen.unsent {
        0 => text,
        unsent => format!("{text}, but for {unsent} that came when there were too many at once"),
    }
}

/// What the lines are written on.
struct Sheet<'a> {
    snapshot: &'a Snapshot,
    /// The devices that the filter takes; absent without one.
    taken: Option<HashMap<DeviceNumber, &'a Device>>,
    styles: &'a Styles,
    width: usize,
}

impl Sheet<'_> {
    fn prose(&self, text: &str, style: Style) -> Vec<Line<'static>> {
        prose(text, style, self.width)
    }

    /// The name of a device, by its number in an interval, if the filter takes it: without a filter that of one
    /// that is gone, too.
    fn name<'p>(&self, picked: &'p Picked, number: DeviceNumber) -> Option<&'p str> {
        let taken = match &self.taken {
            None => None,
            Some(taken) => Some(taken.get(&number)?),
        };
        let named = picked.devices.get(&number)?;
        let is_shown = taken.is_none_or(|device| named.is_of(device));
        is_shown.then_some(&named.name)
    }

    fn shown<'p>(&self, picked: &'p Picked, ios: &'p [Io]) -> impl Iterator<Item = Shown<'p>> {
        let ios = ios.iter();
        ios.filter_map(|io| Some((io, self.name(picked, io.device)?)))
    }

    fn in_flight(&self, picked: &Picked) -> Vec<Line<'static>> {
        let Some(still) = &picked.in_flight else {
            let count = self.in_flight_now();
            return self.head(&format!(
                "in flight: {count}; which ones a recording does not say"
            ));
        };
        let count = self.count(picked, still);
        let shown = still.oldest.iter();
        let shown = shown.filter_map(|io| Some((io, self.name(picked, io.device)?)));
        let shown: Vec<_> = shown.take(KEPT).collect();
        let those = match shown.len() as u64 {
            0 | 1 => String::new(),
            shown if shown == count => ", the oldest first".to_owned(),
            shown => format!(", of which these are the {shown} oldest"),
        };
        let mut lines = self.head(&format!("in flight: {count}{those}"));
        for (io, name) in shown {
            lines.extend(self.unfinished(io, name));
        }
        lines
    }

    /// I/Os in flight at the snapshot.
    fn in_flight_now(&self) -> u64 {
        let is_shown = |device: &&Device| {
            let taken = self.taken.as_ref();
            taken.is_none_or(|taken| taken.contains_key(&device.number))
        };
        let devices = self.snapshot.devices.iter().filter(is_shown);
        let in_flight = devices.filter_map(|device| device.in_flight.as_ref());
        in_flight.map(InFlight::ios).sum()
    }

    /// Those at the end of an interval, without a filter also of devices that are gone.
    fn count(&self, picked: &Picked, still: &StillInFlight) -> u64 {
        let is_shown = |number| self.taken.is_none() || self.name(picked, number).is_some();
        let shown = still.ios.iter().filter(|&(&number, _)| is_shown(number));
        shown.map(|(_, ios)| ios).sum()
    }

    fn head(&self, text: &str) -> Vec<Line<'static>> {
        self.prose(text, self.styles.head)
    }

    fn unfinished(&self, io: &Unfinished, name: &str) -> Vec<Line<'static>> {
        let age = format::duration(format::nanos(io.age));
        let facts = vec![
            format!("in {}", stage_name(io.stage)),
            escape::terminal(name).into_owned(),
            format!("{} at {}", format::bytes(io.bytes.into()), io.sector),
            submitter(&io.command, io.submitter),
            format!("CPU {}", io.submit_cpu),
        ];
        self.facts(&format!("{age:>8} "), facts, Style::new())
    }

    /// Facts side by side, on as many lines as it takes.
    fn facts(&self, first: &str, facts: Vec<String>, style: Style) -> Vec<Line<'static>> {
        let cells = |text: &str| Span::raw(text).width();
        let mut lines = vec![first.to_owned()];
        let mut is_empty = true;
        for fact in facts.into_iter().filter(|fact| !fact.is_empty()) {
            let last = lines.len() - 1;
            let line = &mut lines[last];
            if is_empty {
                line.push_str(&fact);
            } else if cells(line) + 2 + cells(&fact) <= self.width {
                line.push_str("  ");
                line.push_str(&fact);
            } else {
                lines.push(format!("{:INDENT$}{fact}", ""));
            }
            is_empty = false;
        }
        let lines = lines.into_iter();
        lines.map(|line| Line::styled(line, style)).collect()
    }

    fn finished(&self, title: &str, ios: &[Shown<'_>]) -> Vec<Line<'static>> {
        if ios.is_empty() {
            return self.head(&format!("{title}: none"));
        }
        let mut lines = self.head(title);
        let most = ios.iter().map(|(io, _)| io.total).max().unwrap_or_default();
        for (io, name) in ios {
            lines.push(self.bar(io, most));
            lines.extend(self.details(io, name));
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

    /// The rest.
    fn details(&self, io: &Io, name: &str) -> Vec<Line<'static>> {
        let mut facts = vec![
            escape::terminal(name).into_owned(),
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
        let mut style = Style::new();
        if io.status != 0 {
            facts.push(format!("failed, status {}", io.status));
            style = self.styles.alarm;
        }
        self.facts(&" ".repeat(INDENT), facts, style)
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

/// A bar of letters, so long as the I/O took of the most that one did. Every stage that was seen is at least one
/// letter, where there are as many cells.
fn bar(io: &Io, Nanos(most): Nanos, cells: usize) -> String {
    let end = |ns: u64| {
        let end = u128::from(ns) * cells as u128 / u128::from(most.max(1));
        usize::try_from(end).unwrap_or(cells)
    };
    let stages = LETTERS.iter().filter_map(|&(stage, letter)| {
        let &Nanos(ns) = io.stages.get(&stage)?;
        Some((letter, ns))
    });
    let mut left = stages.clone().count();
    let (mut bar, mut passed) = (String::new(), 0u64);
    for (letter, ns) in stages {
        left -= 1;
        passed = passed.saturating_add(ns);
        let until = end(passed).max(bar.len() + 1);
        let until = until.min(cells.saturating_sub(left));
        while bar.len() < until {
            bar.push(letter);
        }
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::ops::Range;
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
        assert_eq!(bar(&slowest, Nanos(1_000), 2), "wv");
        let on_a_slow_disk = io([9_995_000, 2_000, ABSENT, ABSENT, 3_000]);
        assert_eq!(bar(&on_a_slow_disk, Nanos(10_000_000), 10), "ddddddddwv");
    }

    fn interval(seconds: Range<u64>) -> Arc<Picked> {
        Arc::new(Picked {
            slowest: Vec::new(),
            recent: Vec::new(),
            of_each: KEPT,
            in_flight: None,
            seen: None,
            has_undecoded: false,
            span: Duration::from_secs(seconds.start)..Duration::from_secs(seconds.end),
            devices: BTreeMap::new(),
        })
    }

    #[test]
    fn what_does_not_go_on_begins_anew() {
        let mut ios = Ios::default();
        for second in 0..100 {
            ios.add(interval(second..second + 1));
            ios.add(interval(second..second + 1));
        }
        assert_eq!(ios.intervals.len(), INTERVALS);
        ios.add(interval(50..51));
        ios.add(interval(51..52));
        assert_eq!(ios.intervals.len(), 2);
        ios.add(interval(60..61));
        assert_eq!(ios.intervals.len(), 1);
    }
}
