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

use std::ops::Range;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget as _};

use super::app::App;
use super::events::Events;
use super::header::{self, Part, flow, prose};
use super::keys::{Action, Binding};
use super::summary::Weight;
use super::table::Table;
use super::view::View;
use super::{advice, cpus, device, status};
use crate::escape;
use crate::snapshot::Snapshot;

/// What the columns mean, for the help.
const COLUMNS: [&str; 11] = [
    "All numbers are those of the window, but for what is in flight, failed, lost, or said of the option and of \
     submitters: that is from the start. The view I/Os says of which time it is.",
    "A click chooses a view or a device, a second one opens it, and the wheel scrolls; with Shift most terminals \
     select text all the same.",
    "option: what the device's table says, and its effect on this kernel",
    "kverityd, bh, inline, tasklet: the share of I/Os that was verified there",
    "fallback: a softirq attempt gave up, and kverityd verified",
    "none: finished without verification",
    "device: from the I/O's start to the arrival of its data",
    "wait: from the data's arrival to the start of its verification",
    "verify: from the start of the verification to the end of the I/O: reading hashes, where they are not in the \
     cache, and hashing",
    "total: from the I/O's start to its end, the device's own time included",
    "placements: a bar of the shares, a letter for each: kverityd, bh, inline, tasklet, fallback, none",
];

/// A screen with fewer lines has hardly any header.
const LOW: u16 = 18;

/// Draws the whole screen.
pub fn draw(app: &App, frame: &mut Frame) {
    let area = frame.area();
    if area.is_empty() {
        return;
    }
    let page = Page::new(app, area.as_size());
    let footer = Line::raw(page.footer(app));
    let lines = page.lines(app);
    let buffer = frame.buffer_mut();
    let rows = area.y..area.bottom() - 1;
    for (row, line) in rows.clone().zip(&lines) {
        put(line, row, buffer);
    }
    for (row, line) in rows.rev().zip(notice(app, area.width).iter().rev()) {
        let place = Rect::new(area.x, row, area.width, 1);
        Clear.render(place, buffer);
        put(line, row, buffer);
    }
    put(&footer, area.bottom() - 1, buffer);
}

/// Puts a line on a row of the screen, cut where that ends.
fn put(line: &Line<'_>, row: u16, buffer: &mut Buffer) {
    let mut column = buffer.area.left();
    for span in &line.spans {
        let (text, style) = (&span.content, line.style.patch(span.style));
        let room = buffer.area.right().saturating_sub(column);
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            // Most is of this kind, and then a byte is a cell.
            for byte in text.bytes().take(usize::from(room)) {
                let cell = &mut buffer[(column, row)];
                cell.set_char(char::from(byte)).set_style(style);
                column += 1;
            }
        } else {
            (column, _) = buffer.set_stringn(column, row, text, usize::from(room), style);
        }
    }
}

/// How many rows or lines fit on a screen of this size.
pub fn capacity(app: &App, size: Size) -> usize {
    Page::new(app, size).room
}

/// The first row or line shown when the last one is.
pub fn last_first(app: &App, size: Size) -> usize {
    Page::new(app, size).last_first()
}

/// Everything but the last line, as on a screen that all of it fits on.
pub fn all_lines(app: &App, width: u16) -> Vec<Line<'static>> {
    Page::new(app, Size::new(width, u16::MAX)).lines(app)
}

/// The chosen row of the table of devices, with its heading; absent when there is none.
pub fn chosen_row(app: &App, width: u16) -> Option<Vec<Line<'static>>> {
    let snapshot = app.snapshot.as_ref()?;
    let (_, row) = app.chosen_row()?;
    let (rows, history) = (app.rows(), app.history());
    let (recent, outline) = (&app.recent, &app.outline);
    let table = Table::new(snapshot, recent, outline, rows, history, app.styles, width);
    let mut lines = table.head();
    lines.extend(table.lines(row, false));
    Some(lines)
}

/// What is drawn on a line of the screen.
pub enum Place {
    /// The line of the views, or one of them.
    Views(Line<'static>),
    /// A row or line of the view, by its number.
    Row(usize),
}

/// What is drawn on a line; absent where that is nothing that has a number.
pub fn place(app: &App, size: Size, row: u16) -> Option<Place> {
    let page = Page::new(app, size);
    let row = usize::from(row);
    if let Some(line) = page.header.get(row) {
        let line = Some(line).filter(|_| row >= page.views);
        return line.cloned().map(Place::Views);
    }
    let (head, each) = page.body.heights();
    let at = row.checked_sub(page.header.len() + head)? / each;
    let number = page.first(app) + at;
    (at < page.room && number < page.body.count()).then_some(Place::Row(number))
}

/// What a drawing consists of: all that is found out once for it.
struct Page<'a> {
    size: Size,
    header: Vec<Line<'static>>,
    /// The first line of it that has views.
    views: usize,
    body: Body<'a>,
    /// How many rows or lines of the body fit.
    room: usize,
}

/// What stands below the header, of which a part is shown.
enum Body<'a> {
    Devices(Table<'a>),
    Cpus(cpus::Table<'a>),
    Events(&'a Events),
    /// What has no rows: all its lines.
    Lines(Vec<Line<'static>>),
}

impl<'a> Page<'a> {
    fn new(app: &'a App, size: Size) -> Self {
        let Some(snapshot) = &app.snapshot else {
            return Self {
                size,
                header: vec![Line::styled("verity-trace", app.styles.name)],
                views: 1,
                body: Body::Lines(Vec::new()),
                room: 0,
            };
        };
        let mut header = header(app, snapshot, size);
        let views = header.len();
        header.extend(status::lines(app, snapshot, size.width));
        header.push(Line::default());
        let body = Body::new(app, snapshot, size);
        let (head, each) = body.heights();
        let room = usize::from(size.height).saturating_sub(header.len() + head + 1) / each;
        Self {
            size,
            header,
            views,
            body,
            room,
        }
    }

    fn last_first(&self) -> usize {
        self.body.count().saturating_sub(self.room.max(1))
    }

    /// The first row or line shown.
    fn first(&self, app: &App) -> usize {
        app.help.unwrap_or(app.first).min(self.last_first())
    }

    /// All but the footer.
    fn lines(self, app: &App) -> Vec<Line<'static>> {
        let first = self.first(app);
        let until = self.body.count().min(first + self.room);
        let has_devices = matches!(self.body, Body::Devices(_));
        let mut lines = self.header;
        lines.extend(self.body.lines(app, first..until));
        if has_devices {
            let left = usize::from(self.size.height).saturating_sub(lines.len() + 1);
            lines.extend(below_devices(app, self.size.width, left));
        }
        lines
    }

    fn footer(&self, app: &App) -> String {
        if let Some((text, _)) = &app.writing {
            return written(&escape::terminal(text), usize::from(self.size.width));
        }
        let (count, room) = (self.body.count(), self.room);
        let mut parts = Vec::new();
        if let Body::Devices(_) = self.body {
            let filter = app.filter.text();
            if !filter.is_empty() {
                parts.push(format!("filter {}", escape::terminal(filter)));
            }
            if count > 1 {
                parts.push(format!("by {}", app.sort.name()));
            }
        }
        if count > room && room > 0 {
            let first = self.first(app);
            let (what, last) = (self.body.noun(app), first + room);
            parts.push(format!("{what} {}-{last} of {count}", first + 1));
        }
        beside_keys(app, &parts.join("   "), usize::from(self.size.width))
    }
}

impl<'a> Body<'a> {
    fn new(app: &'a App, snapshot: &'a Snapshot, size: Size) -> Self {
        let width = size.width;
        match app.view {
            _ if app.help.is_some() => Self::Lines(help(app, width)),
            View::Devices => Self::Devices(Table::new(
                snapshot,
                &app.recent,
                &app.outline,
                app.rows(),
                app.history(),
                app.styles,
                width,
            )),
            View::Device => Self::Lines(device_lines(app, snapshot, width)),
            View::Advice => Self::Lines(advice_lines(app, snapshot, width)),
            View::Cpus => Self::Cpus(cpus::Table::new(snapshot, &app.recent, app.styles, width)),
            View::Ios => Self::Lines(ios_lines(app, snapshot, width)),
            View::Events => Self::Events(app.events()),
        }
    }

    /// How many lines its heading takes, and each row.
    fn heights(&self) -> (usize, usize) {
        match self {
            Self::Devices(table) => table.heights(),
            Self::Cpus(_) => (cpus::HEAD, 1),
            Self::Events(_) | Self::Lines(_) => (0, 1),
        }
    }

    /// How many rows or lines there are to be shown.
    fn count(&self) -> usize {
        match self {
            Self::Devices(table) => table.rows.len(),
            Self::Cpus(table) => table.count(),
            Self::Events(events) => events.count(),
            Self::Lines(lines) => lines.len(),
        }
    }

    /// The heading, and some of them.
    fn lines(self, app: &App, shown: Range<usize>) -> Vec<Line<'static>> {
        match self {
            Self::Devices(table) => devices(app, &table, shown),
            Self::Cpus(table) => table.lines(shown),
            Self::Events(events) => events.lines(&app.styles, shown),
            Self::Lines(lines) => lines
                .into_iter()
                .skip(shown.start)
                .take(shown.len())
                .collect(),
        }
    }

    /// The word for what is counted.
    fn noun(&self, app: &App) -> &'static str {
        match self {
            Self::Devices(_) if app.rows().iter().any(|row| row.group.is_some()) => "rows",
            Self::Devices(_) => "devices",
            Self::Cpus(_) => "CPUs",
            Self::Events(_) => "events",
            Self::Lines(_) => "lines",
        }
    }
}

/// What stands above the view.
fn header(app: &App, snapshot: &Snapshot, size: Size) -> Vec<Line<'static>> {
    let width = size.width;
    let is_low = size.height < LOW;
    // On a low screen the view is worth more than all that stands above it, but for what is wrong.
    let mut lines = if is_low {
        header::brief(snapshot, &app.styles, width)
    } else {
        header::lines(snapshot, &app.styles, width, app.interval())
    };
    if let Some(playback) = app.playback.as_ref().filter(|_| !is_low) {
        lines.extend(header::playback(playback, &app.styles, width));
    }
    for (weight, sentence) in &app.summary {
        let style = match weight {
            Weight::Alarm => app.styles.alarm,
            Weight::Plain if is_low => continue,
            Weight::Plain => Style::new(),
        };
        lines.extend(prose(sentence, style, usize::from(width)));
    }
    lines
}

/// The filter that is being written, with its end in sight: there one goes on.
fn written(text: &str, width: usize) -> String {
    let line = format!("/{text}_");
    let with_keys = format!("{line}   Enter filters, Esc leaves it");
    if cells(&with_keys) <= width {
        return with_keys;
    }
    // What is cut away has a sign in its place.
    let mut line = line.as_str();
    let mut sign = "";
    while cells(line) + sign.len() > width
        && let Some(first) = line.chars().next()
    {
        line = &line[first.len_utf8()..];
        sign = "~";
    }
    format!("{sign}{line}")
}

/// What was done, or could not be.
fn notice(app: &App, width: u16) -> Vec<Line<'static>> {
    let wrong = app.writing.as_ref().and_then(|(_, wrong)| wrong.as_ref());
    let Some(notice) = wrong.or(app.notice.as_ref()) else {
        return Vec::new();
    };
    prose(
        &escape::terminal(notice),
        app.styles.notice,
        usize::from(width),
    )
}

/// What fills the lines that are left below the devices: the chosen one, and above it, where both fit, what
/// the keys do.
fn below_devices(app: &App, width: u16, left: usize) -> Vec<Line<'static>> {
    let chosen = chosen_device(app, width, left).filter(|it| it.len() <= left);
    let chosen = chosen.unwrap_or_default();
    let mut lines = hint(app, width).unwrap_or_default();
    if lines.len() + chosen.len() > left {
        lines.clear();
    }
    lines.extend(chosen);
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
    let mut lines = vec![Line::default()];
    lines.extend(flow(all.map(Part::plain), usize::from(width)));
    (lines.len() > 1).then_some(lines)
}

fn devices(app: &App, table: &Table<'_>, shown: Range<usize>) -> Vec<Line<'static>> {
    let Some(snapshot) = app.snapshot.as_ref().filter(|it| !it.devices.is_empty()) else {
        return Vec::new();
    };
    if table.rows.is_empty() {
        let text = "no device is as the filter asks; / changes it";
        return vec![Line::raw(text)];
    }
    let mut lines = table.head();
    for row in table.rows.iter().skip(shown.start).take(shown.len()) {
        let is_chosen = app.chosen.is_some_and(|chosen| row.has(chosen, snapshot));
        lines.extend(table.lines(row, is_chosen));
    }
    lines
}

/// The chosen device, below the others; nothing where that is a group of several.
fn chosen_device(app: &App, width: u16, room: usize) -> Option<Vec<Line<'static>>> {
    app.chosen_row().filter(|(_, row)| row.group.is_none())?;
    let snapshot = app.snapshot.as_ref()?;
    let mut lines = vec![Line::default()];
    lines.extend(shown_device(app, snapshot, width)?.brief(room.saturating_sub(1)));
    Some(lines)
}

fn device_lines(app: &App, snapshot: &Snapshot, width: u16) -> Vec<Line<'static>> {
    shown_device(app, snapshot, width).map_or_else(|| no_device(snapshot), |it| it.lines())
}

fn shown_device<'a>(app: &'a App, snapshot: &'a Snapshot, width: u16) -> Option<device::Shown<'a>> {
    Some(device::Shown {
        device: app.opened()?,
        snapshot,
        recent: &app.recent,
        history: app.history(),
        styles: &app.styles,
        width,
    })
}

fn advice_lines(app: &App, snapshot: &Snapshot, width: u16) -> Vec<Line<'static>> {
    app.opened_of_all().map_or_else(
        || no_device(snapshot),
        |(device, all)| advice::lines(device, all, app.is_replay(), &app.styles, width),
    )
}

fn no_device(snapshot: &Snapshot) -> Vec<Line<'static>> {
    let text = if snapshot.devices.is_empty() {
        "there is no device"
    } else {
        "the device is gone; Esc shows those that there are"
    };
    vec![Line::raw(text)]
}

fn ios_lines(app: &App, snapshot: &Snapshot, width: u16) -> Vec<Line<'static>> {
    app.ios()
        .lines(snapshot, &app.recent, &app.filter, &app.styles, width)
}

fn help(app: &App, width: u16) -> Vec<Line<'static>> {
    let bound = || {
        let bound = app.keys.of(app.playback.is_some());
        bound.filter(|it| !it.keys().is_empty())
    };
    let labels = bound().map(|it| Span::raw(it.label()).width() + 2);
    let left = labels.fold(12, usize::max);
    let keys = bound().map(|it| Line::raw(format!("{:<left$}{}", it.label(), it.binding.help)));
    let columns = COLUMNS
        .iter()
        .flat_map(|sentence| prose(sentence, Style::new(), usize::from(width)));
    keys.chain([Line::default()]).chain(columns).collect()
}

/// How many cells a text fills.
fn cells(text: &str) -> usize {
    Span::raw(text).width()
}

/// The keys, as far as there is room, and then what is shown.
fn beside_keys(app: &App, shown: &str, width: usize) -> String {
    let mut footer = String::new();
    let is_folded = app.is_on_group();
    let word = |binding: &Binding| match binding.action {
        // They do nothing that one could see there.
        Action::Open | Action::Sort if !app.shows_devices() => None,
        Action::Open if is_folded => Some("unfold"),
        Action::Fold if is_folded || !app.can_fold() => None,
        _ => binding.footer,
    };
    for key in app.keys.footer(app.playback.is_some(), word) {
        let gap = if footer.is_empty() { "" } else { "   " };
        if cells(&footer) + gap.len() + cells(&key) + cells(shown) + 3 <= width {
            footer = footer + gap + &key;
        }
    }
    let gap = width.saturating_sub(cells(&footer) + cells(shown));
    format!("{footer}{:gap$}{shown}", "")
}
