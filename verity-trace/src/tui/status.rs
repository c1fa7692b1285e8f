//! The line right above the view: which views there are, and of which time and in which units the numbers are.

use std::time::{Duration, SystemTime};

use ratatui::style::Style;
use ratatui::text::Line;

use super::app::{App, Recording};
use super::header::{GAP, Part, flow};
use super::view::View;
use crate::format::{self, Times};
use crate::lookback::Window;
use crate::snapshot::Snapshot;

/// Cells from which on there is room for the clock.
const WIDE: u16 = 60;

/// The line, or more where the screen is narrow.
pub fn lines(app: &App, snapshot: &Snapshot, width: u16) -> Vec<Line<'static>> {
    let mut parts = tabs(app);
    parts.push(Part::plain(window(app.window(), app.recent.interval())));
    let notice = app.styles.notice;
    if app.is_paused() {
        parts.push(Part::new(GAP, "paused", notice));
    }
    if let Some(recording) = app.recording {
        parts.push(state(recording, app));
    }
    let units = app.styles.units;
    if units.times != Times::default() {
        let unit = format!("times in {}", units.times.name());
        parts.push(Part::plain(unit));
    }
    if app.playback.is_none() && width >= WIDE {
        parts.push(Part::plain(clock(snapshot.taken_at)));
    }
    flow(parts, usize::from(width))
}

/// What is to be seen of a view's name, shown or not.
pub fn tab(view: View, is_shown: bool) -> String {
    let name = view.name();
    if is_shown {
        format!("[{name}]")
    } else {
        format!(" {name} ")
    }
}

fn tabs(app: &App) -> Vec<Part> {
    let tabs = View::ALL.into_iter().map(|view| {
        let is_shown = view == app.view;
        let style = if is_shown {
            app.styles.name
        } else {
            Style::new()
        };
        Part::new("", tab(view, is_shown), style)
    });
    tabs.collect()
}

/// What was chosen, and how much time it really is where that is not about the same.
fn window(window: Window, covers: Option<Duration>) -> String {
    let name = window.name();
    let differs = |covers: &Duration| match window.length() {
        None => true,
        Some(length) => covers.abs_diff(length) * 20 > length,
    };
    match covers.filter(differs) {
        None => format!("window {name}"),
        Some(covers) => format!("window {name} ({})", format::span(covers)),
    }
}

fn state(recording: Recording, app: &App) -> Part {
    let Recording { records, lost } = recording;
    let style = if lost > 0 {
        app.styles.alarm
    } else {
        app.styles.notice
    };
    Part::new(GAP, format!("recording {records} ({lost} lost)"), style)
}

/// The time of day, in UTC.
fn clock(at: Duration) -> String {
    let at = humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + at).to_string();
    at.split_once('T')
        .map_or_else(String::new, |(_, time)| time.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_is_really_another_says_so() {
        let cases = [
            (Window::Second, None, "window 1 s"),
            (Window::Second, Some(1_003), "window 1 s"),
            (Window::TenSeconds, Some(9_600), "window 10 s"),
            (Window::TenSeconds, Some(3_200), "window 10 s (3.20 s)"),
            (Window::Minute, Some(73_000), "window 1 min (73.0 s)"),
            (Window::All, Some(200_000), "window all (3 min 20 s)"),
        ];
        for (chosen, covers, expected) in cases {
            assert_eq!(window(chosen, covers.map(Duration::from_millis)), expected);
        }
    }

    #[test]
    fn the_clock_has_the_time_of_day() {
        assert_eq!(clock(Duration::from_secs(1_795_000_072)), "11:07:52Z");
    }
}
