//! The lines above the table: what is watched, how, for how long, and what was not seen.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::style::Styles;
use crate::replay::Playback;
use crate::snapshot::{Era, Rung, Snapshot, Tracing};
use crate::{escape, facts, format};

/// Between two parts of a line.
pub const GAP: &str = "   ";

/// The header, no line wider than `width` unless a single part is; what is live has an interval.
pub fn lines(
    snapshot: &Snapshot,
    styles: &Styles,
    width: u16,
    interval: Option<Duration>,
) -> Vec<Line<'static>> {
    let width = usize::from(width);
    let mut lines = flow(identity(snapshot, styles), width);
    lines.extend(flow(state(snapshot, styles, interval), width));
    let (sentence, style) = sentence(snapshot, styles);
    lines.extend(prose(&sentence, style, width));
    if let Some(sentence) = no_better_rung(snapshot) {
        lines.extend(prose(&escape::terminal(&sentence), styles.notice, width));
    }
    if let Some(other) = &snapshot.other {
        let sentence = format!(
            "{}: {} I/Os, {} in flight",
            facts::OTHER,
            other.totals.ios(),
            other.in_flight.ios()
        );
        lines.extend(prose(&sentence, styles.notice, width));
    }
    lines
}

/// What no screen is without: what was not seen.
pub fn brief(snapshot: &Snapshot, styles: &Styles, width: u16) -> Vec<Line<'static>> {
    let name = Part::new(GAP, "verity-trace", styles.name);
    let parts = std::iter::once(name).chain(loss(snapshot, styles));
    flow(parts, usize::from(width))
}

/// Where the player of a recording is, and how it goes on.
pub fn playback(playback: &Playback, styles: &Styles, width: u16) -> Vec<Line<'static>> {
    let state = if playback.plays { "playing" } else { "paused" };
    let at = humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + playback.at);
    let speed = match playback.speed {
        speed if speed < 0 => format!("speed 1/{}", 1 << -speed),
        speed => format!("speed {}", 1 << speed),
    };
    let parts = vec![
        Part::new(GAP, format!("replay {state}"), styles.notice),
        Part::plain(format!(
            "{} of {}{}",
            format::span(playback.now),
            format::span(playback.length),
            if playback.is_whole { "" } else { " or more" }
        )),
        Part::plain(at.to_string()),
        Part::plain(speed),
    ];
    flow(parts, usize::from(width))
}

/// Words joined by blanks, broken where the line is full.
pub fn prose(text: &str, style: Style, width: usize) -> Vec<Line<'static>> {
    let words = text
        .split_whitespace()
        .map(|word| Part::new(" ", word, style));
    flow(words, width)
}

/// Text that is not broken, and what goes before it where it does not begin a line.
pub struct Part {
    gap: &'static str,
    span: Span<'static>,
}

impl Part {
    pub fn new(gap: &'static str, text: impl Into<String>, style: Style) -> Self {
        Self {
            gap,
            span: Span::styled(text.into(), style),
        }
    }

    pub fn plain(text: String) -> Self {
        Self::new(GAP, text, Style::new())
    }
}

fn identity(snapshot: &Snapshot, styles: &Styles) -> Vec<Part> {
    let kernel = &snapshot.kernel;
    let release = escape::terminal(&kernel.release);
    let host = escape::terminal(&kernel.host);
    let era = kernel.era.map_or(format::ABSENT, Era::name);
    vec![
        Part::new(GAP, "verity-trace", styles.name),
        Part::plain(format!("{release} on {host}")),
        Part::plain(format!("era {era}")),
        Part::plain(probes(snapshot)),
    ]
}

/// The rung, and how much of it there is not: `verity-trace doctor` says what.
fn probes(snapshot: &Snapshot) -> String {
    let rung = facts::rung(&snapshot.tracing);
    match snapshot.gaps.len() {
        0 => format!("probes {rung}"),
        gaps => format!("probes {rung}, {}", format::counted(gaps, "gap")),
    }
}

/// Why the best rung was not to be had.
fn no_better_rung(snapshot: &Snapshot) -> Option<String> {
    let best = Rung::ALL[0].name();
    let gap = snapshot.gaps.iter().find(|gap| gap.missing == best)?;
    Some(format!("no {best}: {}", gap.reason()))
}

fn state(snapshot: &Snapshot, styles: &Styles, interval: Option<Duration>) -> Vec<Part> {
    let in_flight: Option<u64> = snapshot
        .devices
        .iter()
        .filter(|device| !device.counted_in_other)
        .map(|device| device.in_flight.as_ref())
        .chain(snapshot.other.as_ref().map(|other| Some(&other.in_flight)))
        .map(|these| Some(these?.ios()))
        .sum();
    let in_flight = in_flight.map_or_else(|| format::ABSENT.to_owned(), |ios| ios.to_string());
    let watched = format!("watched {}", format::span(snapshot.watched));
    let mut parts = vec![Part::plain(watched)];
    if let Some(interval) = interval {
        let interval = format!("interval {}", format::span(interval));
        parts.push(Part::plain(interval));
    }
    parts.push(Part::plain(format!("in flight {in_flight}")));
    if let Some(cost) = &snapshot.cost {
        let share = format::percentage(cost.share());
        parts.push(Part::plain(format!("cost {share}")));
    }
    for (placement, histogram) in &snapshot.queued {
        let (name, count) = (placement.name(), histogram.count());
        parts.push(Part::plain(format!("began on {name} {count}")));
    }
    parts.extend(loss(snapshot, styles));
    parts
}

fn loss(snapshot: &Snapshot, styles: &Styles) -> Vec<Part> {
    let bound = if snapshot.hides_misses {
        " (lower bound)"
    } else {
        ""
    };
    if snapshot.loss.is_empty() {
        return vec![Part::plain(format!("loss 0{bound}"))];
    }
    let all = format!("loss {}{bound}:", snapshot.lost());
    let last = snapshot.loss.len() - 1;
    let kinds = snapshot.loss.iter().enumerate().map(|(at, (kind, count))| {
        let comma = if at < last { "," } else { "" };
        Part::new(" ", format!("{} {count}{comma}", kind.name()), styles.alarm)
    });
    let all = Part::new(GAP, all, styles.alarm);
    std::iter::once(all).chain(kinds).collect()
}

/// What the era means, or why nothing is seen.
fn sentence<'a>(snapshot: &'a Snapshot, styles: &Styles) -> (Cow<'a, str>, Style) {
    let meaning = snapshot.kernel.era.map_or("", facts::meaning);
    match &snapshot.tracing {
        Tracing::Attached(_) if snapshot.devices.is_empty() => (
            Cow::Borrowed("waiting for a verity device that is to be shown"),
            styles.notice,
        ),
        it @ Tracing::Attached(Rung::Tracepoint) => (facts::tracing(it), styles.notice),
        Tracing::Attached(_) => (Cow::Borrowed(meaning), Style::new()),
        it @ (Tracing::WaitingForModule | Tracing::WaitingForDevice) => {
            (facts::tracing(it), styles.notice)
        }
        it @ Tracing::Failed(_) => (facts::tracing(it), styles.alarm),
    }
}

/// Parts in lines, of which each has as many as fit.
pub fn flow(parts: impl IntoIterator<Item = Part>, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut line = Line::default();
    for Part { gap, span } in parts {
        let is_first = line.spans.is_empty();
        if !is_first && line.width() + gap.len() + span.width() > width {
            lines.push(std::mem::take(&mut line));
        } else if !is_first {
            line.push_span(Span::styled(gap, span.style));
        }
        line.push_span(span);
    }
    if !line.spans.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_breaks_between_words_and_never_within_one() {
        let text: Vec<_> = prose("one two three", Style::new(), 7)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(text, ["one two", "three"]);
        assert_eq!(prose("unbreakable", Style::new(), 3).len(), 1);
        assert!(prose("", Style::new(), 3).is_empty());
    }
}
