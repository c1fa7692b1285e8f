//! Draws the state; reads it and nothing else.
//!
//! ```text
//! verity-trace   kernel on host   era   probes
//! watched   interval   in flight   loss
//! where the player of a recording is
//! what the era means, or what is waited for
//! whether verification is a problem here, and where
//! the views, the one that is shown in brackets
//!
//! the view, or the help
//! keys                                            what of it is shown
//! ```

use ratatui::Frame;
use ratatui::layout::{Rect, Size};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::app::App;
use super::header::{self, prose};
use super::keys::bindings;
use super::summary::{self, Weight};
use super::table::Table;
use super::view::View;
use super::{cpus, device};
use crate::escape;
use crate::snapshot::Snapshot;

/// What the columns mean, for the help.
const COLUMNS: [&str; 9] = [
    "The devices' values are those of the last interval, but failed counts from the start; a device's and the \
     CPUs' are from the start.",
    "option: what the device's table says, and its effect on this kernel",
    "kverityd, bh, inline, tasklet: the share of I/Os that was verified there",
    "fallback: a softirq attempt gave up, and kverityd verified",
    "none: finished without verification",
    "device: from the I/O's start to the arrival of its data",
    "wait: from the data's arrival to the start of its verification",
    "verify: from the start of the verification to the end of the I/O",
    "total: from the I/O's start to its end, the device's own time included",
];

/// A screen with fewer lines has hardly any header.
const LOW: u16 = 18;

/// Draws the whole screen.
pub fn draw(app: &App, frame: &mut Frame) {
    let area = frame.area();
    if area.is_empty() {
        return;
    }
    let [body, footer] = [
        Rect::new(area.x, area.y, area.width, area.height - 1),
        Rect::new(area.x, area.bottom() - 1, area.width, 1),
    ];
    frame.render_widget(Paragraph::new(body_lines(app, area.as_size())), body);
    frame.render_widget(Line::raw(footer_text(app, area.as_size())), footer);
}

/// How many devices or lines fit on a screen of this size.
pub fn capacity(app: &App, size: Size) -> usize {
    let Some(snapshot) = &app.snapshot else {
        return 0;
    };
    let header = header(app, snapshot, size).len();
    let (head, each) = match app.view {
        _ if app.help.is_some() => (0, 1),
        View::Devices => Table::new(snapshot, app.history(), app.styles, size.width).heights(),
        View::Device | View::Ios | View::Events => (0, 1),
        View::Cpus => (cpus::HEAD, 1),
    };
    usize::from(size.height).saturating_sub(header + 1 + head + 1) / each
}

/// The first device or line shown when the last one is.
pub fn last_first(app: &App, size: Size) -> usize {
    count(app, size).saturating_sub(capacity(app, size).max(1))
}

/// The first device or line shown.
fn first(app: &App, size: Size) -> usize {
    app.help.unwrap_or(app.first).min(last_first(app, size))
}

fn body_lines(app: &App, size: Size) -> Vec<Line<'static>> {
    let Some(snapshot) = &app.snapshot else {
        return vec![Line::styled("verity-trace", app.styles.name)];
    };
    let mut lines = header(app, snapshot, size);
    lines.push(Line::default());
    let first = first(app, size);
    let shown = capacity(app, size);
    if app.help.is_some() {
        let help = help(size.width, app.playback.is_some());
        lines.extend(help.into_iter().skip(first).take(shown));
        return lines;
    }
    match app.view {
        View::Devices if snapshot.devices.is_empty() => {}
        View::Devices if app.devices().is_empty() => {
            lines.push(Line::raw("no device is as the filter asks; / changes it"));
        }
        View::Devices => lines.extend(table(app, snapshot, size, first, shown)),
        View::Device => {
            let device = device_lines(app, size.width);
            lines.extend(device.into_iter().skip(first).take(shown));
        }
        View::Ios => {
            let ios = ios_lines(app, snapshot, size.width);
            lines.extend(ios.into_iter().skip(first).take(shown));
        }
        View::Events => {
            let events = app.events().lines(&app.styles);
            lines.extend(events.into_iter().skip(first).take(shown));
        }
        View::Cpus => {
            let table = cpus::Table::new(snapshot, app.styles, size.width);
            lines.extend(table.head());
            lines.extend(table.rows().into_iter().skip(first).take(shown));
        }
    }
    lines
}

/// What stands above the view.
fn header(app: &App, snapshot: &Snapshot, size: Size) -> Vec<Line<'static>> {
    let width = size.width;
    let mut lines = header::lines(snapshot, &app.styles, width);
    if let Some(playback) = &app.playback {
        lines.extend(header::playback(playback, &app.styles, width));
    }
    if size.height < LOW {
        // The view is worth more than all that stands above it.
        lines.truncate(1);
        lines.push(views(app));
        return lines;
    }
    for (weight, sentence) in summary::sentences(snapshot) {
        let style = match weight {
            Weight::Alarm => app.styles.alarm,
            Weight::Plain => Style::new(),
        };
        lines.extend(prose(&sentence, style, usize::from(width)));
    }
    lines.push(views(app));
    lines
}

/// The views that there are, and whether the picture stands still.
fn views(app: &App) -> Line<'static> {
    let views = View::ALL.into_iter().map(|view| {
        let name = view.name();
        if view == app.view {
            Span::styled(format!("[{name}]"), app.styles.name)
        } else {
            Span::raw(format!(" {name} "))
        }
    });
    let mut line: Line<'static> = views.collect();
    if app.is_paused() {
        line.push_span(Span::styled("   paused", app.styles.notice));
    }
    line
}

fn table(
    app: &App,
    snapshot: &Snapshot,
    size: Size,
    first: usize,
    shown: usize,
) -> Vec<Line<'static>> {
    let table = Table::new(snapshot, app.history(), app.styles, size.width);
    let mut lines = table.head();
    let devices = app.devices().into_iter().skip(first).take(shown);
    lines.extend(devices.flat_map(|device| {
        let is_chosen = app.chosen == Some(device.number);
        table.rows(device, is_chosen)
    }));
    lines
}

fn device_lines(app: &App, width: u16) -> Vec<Line<'static>> {
    let Some(snapshot) = &app.snapshot else {
        return Vec::new();
    };
    let Some(device) = app.opened() else {
        let text = if snapshot.devices.is_empty() {
            "there is no device"
        } else {
            "the device is gone; Esc shows those that there are"
        };
        return vec![Line::raw(text)];
    };
    device::lines(device, snapshot, app.history(), &app.styles, width)
}

fn ios_lines(app: &App, snapshot: &Snapshot, width: u16) -> Vec<Line<'static>> {
    app.ios().lines(snapshot, &app.filter, &app.styles, width)
}

fn help(width: u16, replays: bool) -> Vec<Line<'static>> {
    let keys = bindings(replays)
        .map(|binding| Line::raw(format!("{:<12}{}", binding.label, binding.help)));
    let columns = COLUMNS
        .iter()
        .flat_map(|sentence| prose(sentence, Style::new(), usize::from(width)));
    keys.chain([Line::default()]).chain(columns).collect()
}

fn footer_text(app: &App, size: Size) -> String {
    if let Some((text, wrong)) = &app.writing {
        let text = escape::terminal(text);
        return match wrong {
            Some(wrong) => format!("{}   /{text}", escape::terminal(wrong)),
            None => format!("/{text}_   Enter filters, Esc leaves it"),
        };
    }
    let (count, capacity) = (count(app, size), capacity(app, size));
    let (what, is_sorted) = match app.view {
        _ if app.help.is_some() => ("lines", false),
        View::Devices => ("devices", count > 1),
        View::Device | View::Ios => ("lines", false),
        View::Events => ("events", false),
        View::Cpus => ("CPUs", false),
    };
    let mut parts = Vec::new();
    let filter = app.filter.text();
    if !filter.is_empty() && app.view == View::Devices {
        parts.push(format!("filter {}", escape::terminal(filter)));
    }
    if is_sorted {
        parts.push(format!("by {}", app.sort.name()));
    }
    if count > capacity && capacity > 0 {
        let first = first(app, size);
        let last = first + capacity;
        parts.push(format!("{what} {}-{last} of {count}", first + 1));
    }
    let shown = parts.join("   ");
    let width = usize::from(size.width);
    // The keys that fit beside it.
    let mut footer = String::new();
    for key in bindings(app.playback.is_some()).filter_map(|binding| binding.footer) {
        let gap = if footer.is_empty() { "" } else { "   " };
        if footer.len() + gap.len() + key.len() + shown.len() + 3 <= width {
            footer = footer + gap + key;
        }
    }
    let gap = width.saturating_sub(footer.len() + shown.len());
    format!("{footer}{:gap$}{shown}", "")
}

/// How many devices or lines there are to be shown.
fn count(app: &App, size: Size) -> usize {
    let Some(snapshot) = &app.snapshot else {
        return 0;
    };
    match app.view {
        _ if app.help.is_some() => help(size.width, app.playback.is_some()).len(),
        View::Devices => app.devices().len(),
        View::Device => device_lines(app, size.width).len(),
        View::Cpus => snapshot.cpus.len(),
        View::Ios => ios_lines(app, snapshot, size.width).len(),
        View::Events => app.events().lines(&app.styles).len(),
    }
}
