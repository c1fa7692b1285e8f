//! What changed from one snapshot to the next, and when: devices that come and go, tables, options and
//! their effect, limits, status, failures, loss, and how dm-verity is watched.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::style::Styles;
use crate::escape;
use crate::facts::{self, OptionEffect};
use crate::snapshot::{Device, DeviceNumber, Snapshot, Totals};
use crate::target::{Status, Verdict};

/// What is said where there is no event.
const NOTHING: &str = "between the snapshots that were shown nothing changed";

/// How many events are kept.
const KEPT: usize = 1_000;

/// How bad an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// Something failed, or was not seen.
    Alarm,
    /// Something is not as one would expect.
    Notice,
    /// It happened.
    Plain,
}

/// One thing that changed.
#[derive(Clone, Debug)]
struct Event {
    /// Since the Unix epoch.
    at: Duration,
    weight: Weight,
    /// Safe to print.
    text: String,
}

/// A snapshot, and the devices of it that are shown; absent when all are.
type Shown<'a> = (&'a Snapshot, Option<&'a BTreeSet<DeviceNumber>>);

fn shown<'a>(
    snapshot: &'a Snapshot,
    selected: Option<&'a BTreeSet<DeviceNumber>>,
) -> impl Iterator<Item = &'a Device> {
    let is_shown = move |number| selected.is_none_or(|selected| selected.contains(number));
    let devices = snapshot.devices.iter();
    devices.filter(move |device| is_shown(&device.number))
}

impl Event {
    fn line(&self, styles: &Styles) -> Line<'static> {
        let at = humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + self.at);
        let style = match self.weight {
            Weight::Alarm => styles.alarm,
            Weight::Notice => styles.notice,
            Weight::Plain => Style::new(),
        };
        Line::from(vec![
            Span::raw(format!("{at}  ")),
            Span::styled(self.text.clone(), style),
        ])
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Events {
    last: Option<Arc<Snapshot>>,
    /// The devices that were shown then; absent when all were.
    shown: Option<BTreeSet<DeviceNumber>>,
    kept: VecDeque<Event>,
    /// How many there were before those.
    dropped: u64,
}

impl Events {
    /// Finds what has changed, of these devices alone where not all are shown. After a snapshot from before the last one, as in a replay that goes back, what
    /// came later has not been yet.
    pub fn add(&mut self, snapshot: &Arc<Snapshot>, selected: Option<&BTreeSet<DeviceNumber>>) {
        let were_shown = mem::replace(&mut self.shown, selected.cloned());
        match self.last.replace(Arc::clone(snapshot)) {
            None => {}
            Some(last) if snapshot.taken_at < last.taken_at => {
                self.kept.retain(|event| event.at <= snapshot.taken_at);
            }
            Some(last) => self.compare((&last, were_shown.as_ref()), (snapshot, selected)),
        }
    }

    /// Notes that everything is counted anew.
    pub fn begin_anew(&mut self, at: Duration) {
        self.push(at, Weight::Plain, "counting began anew".to_owned());
    }

    /// How many lines there are.
    pub fn count(&self) -> usize {
        self.kept.len().max(1) + usize::from(self.dropped > 0)
    }

    /// Some of the lines, the latest first.
    pub fn lines(&self, styles: &Styles, shown: Range<usize>) -> Vec<Line<'static>> {
        if self.kept.is_empty() {
            return vec![Line::raw(NOTHING)];
        }
        let events = self.kept.iter().rev().skip(shown.start).take(shown.len());
        let mut lines: Vec<_> = events.map(|event| event.line(styles)).collect();
        if self.dropped > 0 && shown.contains(&self.kept.len()) {
            lines.push(Line::raw(format!(
                "{} earlier events are not kept",
                self.dropped
            )));
        }
        lines
    }

    fn compare(&mut self, (before, were_shown): Shown<'_>, (now, are_shown): Shown<'_>) {
        let at = now.taken_at;
        if before.tracing != now.tracing {
            self.push(
                at,
                Weight::Notice,
                facts::tracing(&now.tracing).into_owned(),
            );
        }
        // They come and go with the module.
        if let (Some(was), Some(is)) = (&before.use_bh_bytes, &now.use_bh_bytes)
            && was != is
        {
            let text = format!("use_bh_bytes went from {} to {}", limits(was), limits(is));
            self.push(at, Weight::Plain, text);
        }
        let devices = |snapshot: &'_ Snapshot| -> BTreeMap<DeviceNumber, usize> {
            let devices = snapshot.devices.iter().enumerate();
            devices.map(|(at, device)| (device.number, at)).collect()
        };
        let (earlier, later) = (devices(before), devices(now));
        for device in shown(before, were_shown) {
            let is_there = later
                .get(&device.number)
                .is_some_and(|&at| is_same(device, &now.devices[at]));
            if !is_there {
                self.push(at, Weight::Plain, format!("{} is gone", title(device)));
            }
        }
        for device in shown(now, are_shown) {
            let known = earlier.get(&device.number).map(|&at| &before.devices[at]);
            match known.filter(|known| is_same(known, device)) {
                None => self.push(at, Weight::Plain, format!("{} is new", title(device))),
                Some(known) => self.compare_devices(known, before, device, now),
            }
        }
        let failed = |snapshot: &Snapshot| {
            let other = snapshot.other.as_ref();
            other.map_or(0, |other| other.totals.failed())
        };
        let more = failed(now).saturating_sub(failed(before));
        if more > 0 {
            let text = format!("{}: {more} I/Os failed", facts::OTHER);
            self.push(at, Weight::Alarm, text);
        }
        for (&kind, &count) in &now.loss {
            let more = count.saturating_sub(before.loss.get(&kind).copied().unwrap_or(0));
            if more > 0 {
                self.push(at, Weight::Alarm, format!("loss: {} {more}", kind.name()));
            }
        }
    }

    fn compare_devices(&mut self, was: &Device, before: &Snapshot, is: &Device, now: &Snapshot) {
        let at = now.taken_at;
        let name = escape::terminal(&is.name);
        let option = |device: &Device| {
            if device.table.options.try_verify_in_tasklet {
                "on"
            } else {
                "off"
            }
        };
        if option(was) != option(is) {
            let text = format!(
                "{name}: its option went from {} to {}",
                option(was),
                option(is)
            );
            self.push(at, Weight::Plain, text);
        } else if was.table != is.table {
            self.push(at, Weight::Plain, format!("{name}: its table changed"));
        }
        let effect = |device, snapshot: &Snapshot| OptionEffect::of(device, snapshot.kernel.era);
        let (old, new) = (effect(was, before), effect(is, now));
        if old.sentence() != new.sentence()
            && new.is_mismatch()
            && let Some(sentence) = new.sentence()
        {
            self.push(at, Weight::Notice, format!("{name}: {sentence}"));
        }
        let verdict = |device: &Device| -> Option<Verdict> {
            let Status { verdict, .. } = device.status.as_ref()?;
            Some(verdict.clone())
        };
        if verdict(was) != verdict(is)
            && let Some(verdict) = verdict(is)
        {
            let verdict = escape::terminal(verdict.name()).into_owned();
            let text = format!("{name}: its status is {verdict} now");
            self.push(at, Weight::Alarm, text);
        }
        let failed = |device: &Device| device.totals.as_ref().map_or(0, Totals::failed);
        let more = failed(is).saturating_sub(failed(was));
        if more > 0 {
            let first = is.first_failure.filter(|_| failed(was) == 0);
            let first = first.map_or_else(String::new, |first| {
                format!(", the first at sector {}", first.sector)
            });
            self.push(
                at,
                Weight::Alarm,
                format!("{name}: {more} I/Os failed{first}"),
            );
        }
    }

    fn push(&mut self, at: Duration, weight: Weight, text: String) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
            self.dropped += 1;
        }
        self.kept.push_back(Event { at, weight, text });
    }
}

fn limits(limits: &[u64]) -> String {
    let limits: Vec<_> = limits.iter().map(u64::to_string).collect();
    limits.join(",")
}

/// Whether a number stands for the same device as before.
fn is_same(one: &Device, other: &Device) -> bool {
    one.disk_sequence == other.disk_sequence && one.name == other.name
}

fn title(device: &Device) -> String {
    format!("{} ({})", escape::terminal(&device.name), device.number)
}
