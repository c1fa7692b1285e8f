//! Draws the state; reads it and nothing else.
//!
//! ```text
//! verity-trace   kernel on host   era   probes
//! watched   interval   in flight   loss
//! where the player of a recording is
//! what the era means, or what is waited for
//! whether verification is a problem here, and where
//! the views, the one that is shown in brackets   window   what else is chosen
//!
//! the view, or the help
//! what was done, until the next key
//! keys                                            what of it is shown
//! ```

use ratatui::Frame;
use ratatui::layout::{Rect, Size};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};

use super::app::App;
use super::header::{self, Part, flow, prose};
use super::keys::Action;
use super::summary::{self, Weight};
use super::table::Table;
use super::view::View;
use super::{cpus, device, status};
use crate::escape;
use crate::snapshot::{Device, Snapshot};

/// What the columns mean, for the help.
const COLUMNS: [&str; 10] = [
    "All numbers are those of the window, but for what is in flight, failed, lost, or said of the option and of \
     submitters: that is from the start.",
    "A click chooses a view or a device, a second one opens it, and the wheel scrolls; with Shift most terminals \
     select text all the same.",
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
    if let Some(notice) = &app.notice {
        let notice = prose(
            &escape::terminal(notice),
            app.styles.notice,
            usize::from(area.width),
        );
        let height = u16::try_from(notice.len()).unwrap_or(u16::MAX);
        let height = height.min(body.height);
        let place = Rect::new(area.x, body.bottom() - height, area.width, height);
        frame.render_widget(Clear, place);
        frame.render_widget(Paragraph::new(notice), place);
    }
    frame.render_widget(Line::raw(footer_text(app, area.as_size())), footer);
}

/// How many devices or lines fit on a screen of this size.
pub fn capacity(app: &App, size: Size) -> usize {
    let Some(snapshot) = &app.snapshot else {
        return 0;
    };
    let header = header(app, snapshot, size).len();
    let (head, each) = heights(app, size).unwrap_or((0, 1));
    usize::from(size.height).saturating_sub(header + 1 + head + 1) / each
}

/// How many lines the view's heading takes, and each device or line.
pub fn heights(app: &App, size: Size) -> Option<(usize, usize)> {
    let snapshot = app.snapshot.as_ref()?;
    Some(match app.view {
        _ if app.help.is_some() => (0, 1),
        View::Devices => Table::new(snapshot, app.history(), app.styles, size.width).heights(),
        View::Device | View::Events => (0, 1),
        View::Cpus => (cpus::HEAD, 1),
    })
}

/// What stands above the view, but for the blank line.
pub fn above(app: &App, size: Size) -> Option<Vec<Line<'static>>> {
    let snapshot = app.snapshot.as_ref()?;
    Some(header(app, snapshot, size))
}

/// The chosen device and its lines under the heading; absent when there is none.
pub fn chosen_device(app: &App, width: u16) -> Option<(&Device, Vec<Line<'static>>)> {
    let snapshot = app.snapshot.as_ref()?;
    let devices = app.devices();
    let (_, device) = app.chosen(&devices)?;
    let table = Table::new(snapshot, app.history(), app.styles, width);
    let mut lines = table.head();
    lines.extend(table.rows(device, true));
    Some((device, lines))
}

/// The first device or line shown when the last one is.
pub fn last_first(app: &App, size: Size) -> usize {
    count(app, size).saturating_sub(capacity(app, size).max(1))
}

/// The first device or line shown.
fn first(app: &App, size: Size) -> usize {
    app.help.unwrap_or(app.first).min(last_first(app, size))
}

/// All lines but the last.
pub fn body_lines(app: &App, size: Size) -> Vec<Line<'static>> {
    let Some(snapshot) = &app.snapshot else {
        return vec![Line::styled("verity-trace", app.styles.name)];
    };
    let mut lines = header(app, snapshot, size);
    lines.push(Line::default());
    let first = first(app, size);
    let shown = capacity(app, size);
    if app.help.is_some() {
        let help = help(app, size.width);
        lines.extend(help.into_iter().skip(first).take(shown));
        return lines;
    }
    match app.view {
        View::Devices if snapshot.devices.is_empty() => {}
        View::Devices if app.devices().is_empty() => {
            lines.push(Line::raw("no device is as the filter asks; / changes it"));
        }
        View::Devices => {
            lines.extend(table(app, snapshot, size, first, shown));
            let left = usize::from(size.height).saturating_sub(lines.len() + 1);
            lines.extend(
                hint(app, size.width)
                    .filter(|hint| hint.len() <= left)
                    .unwrap_or_default(),
            );
        }
        View::Device => {
            let device = device_lines(app, size.width);
            lines.extend(device.into_iter().skip(first).take(shown));
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
    let mut lines = header::lines(snapshot, &app.styles, width, app.interval());
    if let Some(playback) = &app.playback {
        lines.extend(header::playback(playback, &app.styles, width));
    }
    if size.height < LOW {
        // The view is worth more than all that stands above it.
        lines.truncate(1);
        lines.extend(status::lines(app, snapshot, width));
        return lines;
    }
    for (weight, sentence) in summary::sentences(snapshot) {
        let style = match weight {
            Weight::Alarm => app.styles.alarm,
            Weight::Plain => Style::new(),
        };
        lines.extend(prose(&sentence, style, usize::from(width)));
    }
    lines.extend(status::lines(app, snapshot, width));
    lines
}

/// What the keys do that one looks for first, below the devices.
fn hint(app: &App, width: u16) -> Option<Vec<Line<'static>>> {
    let said = |wanted| {
        let mut bound = app.keys.of(app.playback.is_some());
        let bound = bound.find(|bound| bound.binding.action == wanted)?;
        let key = bound.keys().first()?;
        Some(format!("{key}: {}", bound.binding.help))
    };
    let all = [Action::Open, Action::Sort, Action::Filter];
    let all = all.into_iter().filter_map(said);
    let all: Vec<_> = all.map(|it| Part::plain(it)).collect();
    let mut lines = vec![Line::default()];
    lines.extend(flow(all, usize::from(width)));
    (lines.len() > 1).then_some(lines)
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

fn help(app: &App, width: u16) -> Vec<Line<'static>> {
    let bound = || {
        app.keys
            .of(app.playback.is_some())
            .filter(|it| !it.keys().is_empty())
    };
    let labels = bound().map(|it| Span::raw(it.label()).width() + 2);
    let left = labels.fold(12, usize::max);
    let keys = bound().map(|it| Line::raw(format!("{:<left$}{}", it.label(), it.binding.help)));
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
        View::Device => ("lines", false),
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
    for key in app.keys.footer(app.playback.is_some()) {
        let gap = if footer.is_empty() { "" } else { "   " };
        if footer.len() + gap.len() + key.len() + shown.len() + 3 <= width {
            footer = footer + gap + &key;
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
        _ if app.help.is_some() => help(app, size.width).len(),
        View::Devices => app.devices().len(),
        View::Device => device_lines(app, size.width).len(),
        View::Cpus => snapshot.cpus.len(),
        View::Events => app.events().lines(&app.styles).len(),
    }
}
