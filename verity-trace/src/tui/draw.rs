//! Draws the state; reads it and nothing else.
//!
//! ```text
//! verity-trace   kernel on host   era   probes
//! watched   interval   in flight   loss
//! where the player of a recording is
//! what the era means, or what is waited for
//!
//! the table of devices, or the help
//! keys                                            devices shown
//! ```

use ratatui::Frame;
use ratatui::layout::{Rect, Size};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::app::App;
use super::header::{self, prose};
use super::keys::bindings;
use super::table::Table;
use crate::snapshot::Snapshot;

/// What the columns mean, for the help.
const COLUMNS: [&str; 8] = [
    "All values are those of the last interval, but failed counts from the start.",
    "option: what the device's table says, and its effect on this kernel",
    "kverityd, bh, inline, tasklet: the share of I/Os that was verified there",
    "fallback: a softirq attempt gave up, and kverityd verified",
    "none: finished without verification",
    "wait: from the data's arrival to the start of its verification",
    "verify: from the start of the verification to the end of the I/O",
    "total: from the I/O's start to its end, the device's own time included",
];

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

/// How many devices fit on a screen of this size.
pub fn capacity(app: &App, size: Size) -> usize {
    let Some(snapshot) = &app.snapshot else {
        return 0;
    };
    let header = header(app, snapshot, size.width).len();
    let (head, device) = Table::new(snapshot, app.styles, size.width).heights();
    usize::from(size.height).saturating_sub(header + 1 + head + 1) / device
}

/// The first device shown when the last one is.
pub fn last_first(app: &App, size: Size) -> usize {
    devices(app).saturating_sub(capacity(app, size).max(1))
}

fn body_lines(app: &App, size: Size) -> Vec<Line<'static>> {
    let Some(snapshot) = &app.snapshot else {
        return vec![Line::styled("verity-trace", app.styles.name)];
    };
    let mut lines = header(app, snapshot, size.width);
    lines.push(Line::default());
    if app.help {
        lines.extend(help(size.width, app.playback.is_some()));
    } else if !snapshot.devices.is_empty() {
        lines.extend(table(app, snapshot, size));
    }
    lines
}

/// What stands above the table.
fn header(app: &App, snapshot: &Snapshot, width: u16) -> Vec<Line<'static>> {
    let mut lines = header::lines(snapshot, &app.styles, width);
    if let Some(playback) = &app.playback {
        lines.extend(header::playback(playback, &app.styles, width));
    }
    lines
}

fn table(app: &App, snapshot: &Snapshot, size: Size) -> Vec<Line<'static>> {
    let table = Table::new(snapshot, app.styles, size.width);
    let mut lines = table.head();
    let shown = snapshot
        .devices
        .iter()
        .skip(app.first.min(last_first(app, size)))
        .take(capacity(app, size));
    lines.extend(shown.flat_map(|device| table.rows(device)));
    lines
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
    let keys: Vec<_> = bindings(app.playback.is_some())
        .filter_map(|binding| binding.footer)
        .collect();
    let keys = keys.join("   ");
    let (devices, capacity) = (devices(app), capacity(app, size));
    if app.help || devices <= capacity || capacity == 0 {
        return keys;
    }
    let first = app.first.min(last_first(app, size));
    let shown = format!("devices {}-{} of {devices}", first + 1, first + capacity);
    let gap = usize::from(size.width)
        .saturating_sub(keys.len() + shown.len())
        .max(3);
    format!("{keys}{:gap$}{shown}", "")
}

fn devices(app: &App) -> usize {
    app.snapshot
        .as_ref()
        .map_or(0, |snapshot| snapshot.devices.len())
}
