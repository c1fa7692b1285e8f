//! The state of the live view, changed by messages alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ratatui::layout::Size;

use super::copy::Copied;
use super::draw;
use super::events::Events;
use super::filter::Filter;
use super::history::History;
use super::ios::Ios;
use super::keys::{Action, Key, Keys};
use super::mouse::{self, Mouse, Spot};
use super::rows::{Group, Groups, Row};
use super::settings::{INTERVAL_STEPS, Settings};
use super::sort::Sort;
use super::style::Styles;
use super::summary::{self, Weight};
use super::table::Outline;
use super::view::View;
use crate::lookback::{Lookback, Recent, Window};
use crate::picked::Picked;
use crate::recommend::{self, Advice, Forecasts, Origin};
use crate::replay::{Control, Playback};
use crate::snapshot::{Device, DeviceNumber, Snapshot};

/// Lines that the wheel scrolls at once.
const LINES_A_TURN: isize = 3;

/// Everything that can happen.
#[derive(Clone, Debug)]
pub enum Message {
    /// The collector published a snapshot, with every device in it.
    Snapshot(Arc<Snapshot>),
    /// These devices alone are shown from now on; all when it is absent.
    Selected(Option<BTreeSet<DeviceNumber>>),
    /// A recording goes on elsewhere: pictures of time begin anew.
    Jump,
    /// What a recording has before the frame that comes next, for pictures of time.
    Earlier(Arc<Snapshot>),
    /// A recording has come so far.
    Frame(Arc<Snapshot>, Playback),
    /// What is to be seen one by one of the interval of the snapshot that comes next.
    Picked(Arc<Picked>),
    /// A key was pressed.
    Key(Key),
    /// The mouse did something.
    Mouse(Mouse),
    /// Something was done, or could not be, and is to be said.
    Notice(String),
    /// How far a recording has come that is being made; absent when none is.
    Recording(Option<Recording>),
    /// The terminal has this size now.
    Resize {
        /// Cells in a line.
        columns: u16,
        /// Lines.
        rows: u16,
    },
    /// End, as a signal or a lost terminal asks.
    Stop,
}

/// A recording that is being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Records in it.
    pub records: u64,
    /// Records that were lost since it began.
    pub lost: u64,
}

/// What a message asks of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing has changed that one could see.
    None,
    /// Draw again.
    Redraw,
    /// Ask this of the recording's player.
    Control(Control),
    /// Have pictures taken so far apart from now on.
    Interval(Duration),
    /// Have the snapshot that is shown written to a file.
    Export,
    /// Begin a recording, or end it.
    Record,
    /// Give what is chosen to the terminal's clipboard.
    Copy,
    /// Give the terminal back to the shell until it asks to go on.
    Suspend,
    /// End.
    Quit,
}

/// What is to be written to a file.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The snapshot, of the devices that are shown.
    pub snapshot: Snapshot,
    /// What is advised for these.
    pub advices: Vec<Advice>,
}

/// The state.
#[derive(Clone, Debug)]
pub struct App {
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// What happened in the window before it.
    pub(super) recent: Recent,
    /// The same as it came, with every device.
    whole: Option<Arc<Snapshot>>,
    /// Absent when every device is shown.
    selected: Option<BTreeSet<DeviceNumber>>,
    /// Whether verification is a problem, and where: found out once for a snapshot.
    pub(super) summary: Vec<(Weight, String)>,
    /// The same of what its columns depend on.
    pub(super) outline: Outline,
    /// While it is paused, what there was then: the picture stands still, and time goes on.
    paused: Option<Paused>,
    /// How the recording's player stands; absent when this is live.
    pub(super) playback: Option<Playback>,
    past: Past,
    /// What was picked of the interval of the next snapshot.
    picked: Option<Arc<Picked>>,
    pub(super) keys: Keys,
    pub(super) styles: Styles,
    window: Window,
    interval: Duration,
    pub(super) recording: Option<Recording>,
    /// What is to be said, until the next key.
    pub(super) notice: Option<String>,
    /// The first line shown of the help; absent while it is closed.
    pub(super) help: Option<usize>,
    pub(super) view: View,
    pub(super) sort: Sort,
    pub(super) filter: Filter,
    groups: Groups,
    /// The rows of the table of devices, in the order in which they are shown.
    rows: Vec<Row>,
    /// What is being written of the next filter, and why it is none; absent while nobody writes.
    pub(super) writing: Option<(String, Option<String>)>,
    /// The chosen device: it stays the same however the devices are sorted.
    pub(super) chosen: Option<DeviceNumber>,
    /// The first row or line shown, of what can be scrolled; a drawing that has fewer shows its last ones.
    pub(super) first: usize,
    size: Size,
}

/// What was seen before the snapshot that is shown.
#[derive(Clone, Debug, Default)]
struct Past {
    history: History,
    events: Events,
    ios: Ios,
    /// Of what is live.
    lookback: Lookback,
}

impl Past {
    fn add(&mut self, snapshot: &Arc<Snapshot>, selected: Option<&BTreeSet<DeviceNumber>>) {
        self.history.add(snapshot);
        self.events.add(snapshot, selected);
    }
}

/// See [`App::paused`].
#[derive(Clone, Debug)]
struct Paused {
    past: Past,
    /// The last snapshot that came meanwhile.
    waiting: Option<Arc<Snapshot>>,
}

impl App {
    /// Nothing seen yet, on a terminal whose size is not known yet.
    #[must_use]
    pub fn new(styles: Styles) -> Self {
        let settings = Settings::new(styles.theme, styles.glyphs);
        Self {
            styles,
            ..Self::configured(&settings)
        }
    }

    /// The same with what is configured.
    #[must_use]
    pub fn configured(settings: &Settings) -> Self {
        Self {
            snapshot: None,
            recent: Recent::default(),
            whole: None,
            selected: None,
            summary: Vec::new(),
            outline: Outline::default(),
            paused: None,
            playback: None,
            past: Past::default(),
            picked: None,
            keys: settings.keys.clone(),
            styles: settings.styles(),
            window: settings.window,
            interval: settings.interval,
            recording: None,
            notice: None,
            help: None,
            view: View::default(),
            sort: Sort::default(),
            filter: Filter::default(),
            groups: Groups::new(settings.groups.clone()),
            rows: Vec::new(),
            writing: None,
            chosen: None,
            first: 0,
            size: Size::ZERO,
        }
    }

    /// Takes in one message.
    pub fn update(&mut self, message: Message) -> Effect {
        match message {
            Message::Stop => Effect::Quit,
            Message::Snapshot(snapshot) => {
                self.past.lookback.add(&snapshot);
                self.past.ios.extend(self.picked.take());
                if let Some(paused) = &mut self.paused {
                    self.past.add(&snapshot, self.selected.as_ref());
                    paused.waiting = Some(snapshot);
                    return Effect::None;
                }
                self.show(snapshot);
                if let Some(whole) = &self.whole {
                    self.past.add(whole, self.selected.as_ref());
                }
                Effect::Redraw
            }
            Message::Picked(picked) => {
                self.picked = Some(picked);
                Effect::None
            }
            Message::Jump => {
                self.past.history = History::default();
                Effect::None
            }
            Message::Earlier(snapshot) => {
                self.past.add(&snapshot, None);
                Effect::None
            }
            Message::Frame(snapshot, playback) => {
                self.playback = Some(playback);
                self.window = playback.window;
                self.past.ios.extend(self.picked.take());
                self.past.add(&snapshot, None);
                self.show(snapshot);
                Effect::Redraw
            }
            Message::Selected(selected) => {
                self.selected = selected;
                Effect::None
            }
            Message::Notice(text) => {
                self.notice = Some(text);
                Effect::Redraw
            }
            Message::Recording(recording) => {
                let is_new = self.recording != recording;
                self.recording = recording;
                if is_new { Effect::Redraw } else { Effect::None }
            }
            Message::Mouse(mouse) => self.point(mouse),
            Message::Resize { columns, rows } => {
                self.size = Size::new(columns, rows);
                self.arrange();
                Effect::Redraw
            }
            Message::Key(key) => {
                let had_notice = self.notice.take().is_some();
                let effect = if self.writing.is_some() && !matches!(key, Key::Ctrl(_)) {
                    self.write(key)
                } else {
                    let action = self.keys.action(key, self.playback.is_some());
                    action.map_or(Effect::None, |action| self.act(action))
                };
                match effect {
                    Effect::None if had_notice => Effect::Redraw,
                    effect => effect,
                }
            }
        }
    }

    /// Whether the picture stands still.
    pub(super) const fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// How much time the numbers are of.
    pub(super) const fn window(&self) -> Window {
        self.window
    }

    /// Time between two pictures; absent in a replay.
    pub(super) fn interval(&self) -> Option<Duration> {
        self.playback.is_none().then_some(self.interval)
    }

    pub(super) const fn size(&self) -> Size {
        self.size
    }

    /// What [`Effect::Export`] asks to write; absent while there is nothing.
    #[must_use]
    pub fn exported(&self) -> Option<Exported> {
        let whole = self.whole.as_deref()?;
        let mut snapshot = whole.clone();
        self.select(&mut snapshot);
        let origin = self.is_replay().then(|| Origin::of(whole));
        let mut advices = recommend::advices(whole, &Forecasts::new(), origin.as_ref());
        if let Some(selected) = &self.selected {
            advices.retain(|advice| selected.contains(&advice.number));
        }
        Some(Exported { snapshot, advices })
    }

    /// How long I/Os took until the snapshot that is shown.
    pub(super) fn history(&self) -> &History {
        &self.past().history
    }

    /// What has changed until then.
    pub(super) fn events(&self) -> &Events {
        &self.past().events
    }

    /// The I/Os that were picked until then.
    pub(super) fn ios(&self) -> &Ios {
        &self.past().ios
    }

    fn past(&self) -> &Past {
        self.paused.as_ref().map_or(&self.past, |it| &it.past)
    }

    /// The rows of the table of devices, in the order in which they are shown.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    fn show(&mut self, snapshot: Arc<Snapshot>) {
        self.whole = Some(snapshot);
        self.look_back();
    }

    /// Makes what is shown of the snapshot as it came.
    fn look_back(&mut self) {
        let Some(whole) = &self.whole else {
            return;
        };
        let lookback = &self.past().lookback;
        let (shown, recent) = if self.playback.is_some() {
            // The player of a recording has looked back and selected already.
            (Arc::clone(whole), Recent::told(whole))
        } else if lookback.began_anew() || self.selected.is_some() {
            // How long I/Os took is looked up where it is asked for.
            let mut shown = whole.with_counts_alone();
            lookback.count_anew(&mut shown);
            self.select(&mut shown);
            let recent = lookback.recent_by_counts(whole, self.window);
            (Arc::new(shown), recent)
        } else {
            (Arc::clone(whole), lookback.recent(whole, self.window))
        };
        self.summary = summary::sentences(&shown, &recent);
        self.outline = Outline::of(&shown);
        self.snapshot = Some(shown);
        self.recent = recent;
        self.arrange();
    }

    fn select(&self, snapshot: &mut Snapshot) {
        if let Some(selected) = &self.selected {
            let devices = &mut snapshot.devices;
            devices.retain(|device| selected.contains(&device.number));
        }
    }

    /// The device that the view of one shows, whether the filter takes it or not; absent when it is gone.
    pub(super) fn opened(&self) -> Option<&Device> {
        let chosen = self.chosen?;
        let mut devices = self.snapshot.iter().flat_map(|it| &it.devices);
        devices.find(|device| device.number == chosen)
    }

    /// The same device among all that there are, shown or not.
    pub(super) fn opened_of_all(&self) -> Option<(&Device, &Snapshot)> {
        let number = self.opened()?.number;
        let all = self.whole.as_deref()?;
        let device = all.devices.iter().find(|it| it.number == number)?;
        Some((device, all))
    }

    /// Whether what is shown is a recording.
    pub(super) const fn is_replay(&self) -> bool {
        self.playback.is_some()
    }

    /// Arranges the devices anew where they are shown, and chooses one that there is. An opened device stays the
    /// chosen one.
    fn arrange(&mut self) {
        let Some(snapshot) = self.snapshot.clone() else {
            return;
        };
        if !self.shows_devices() && self.chosen.is_some() {
            return;
        }
        let room = draw::capacity(self, self.size).max(1);
        let recent = &self.recent;
        let takes = |device: &Device| self.filter.takes(device, recent);
        let mut rows = self.groups.rows(&snapshot, recent, takes, room);
        self.sort.sort(&mut rows, &snapshot, recent);
        self.rows = rows;
        if self.chosen_row().is_none() {
            let first = self.rows.first();
            self.chosen = first.and_then(|row| row.first(&snapshot));
        }
        self.keep_in_sight(room);
    }

    /// Shows the part in which the chosen row stands, where so many fit.
    fn keep_in_sight(&mut self, room: usize) {
        if self.shows_devices() {
            let at = self.chosen_row().map_or(0, |(at, _)| at);
            self.first = self.first.min(at).max((at + 1).saturating_sub(room));
        }
    }

    pub(super) fn shows_devices(&self) -> bool {
        self.view == View::Devices && self.help.is_none()
    }

    /// The row that is chosen, and its place.
    pub(super) fn chosen_row(&self) -> Option<(usize, &Row)> {
        let at = place(&self.rows, self.chosen?, self.snapshot.as_ref()?)?;
        Some((at, &self.rows[at]))
    }

    /// Folds the group of the chosen device, or shows its devices one by one, from the first one on.
    fn fold(&mut self) -> Effect {
        let group = self.group().map(Group::pattern);
        let Some(pattern) = group.filter(|_| self.can_fold()) else {
            return Effect::None;
        };
        let was_folded = self.is_on_group();
        self.groups.fold(pattern, !was_folded);
        self.arrange();
        if was_folded {
            let group = self.group();
            self.chosen = group.and_then(|it| self.devices_of(it).next());
            self.arrange();
        }
        Effect::Redraw
    }

    /// The group of the chosen device.
    fn group(&self) -> Option<Group<'_>> {
        let device = self.opened()?;
        self.groups.group(&device.name)
    }

    /// Whether there is a group to fold, or to unfold, where the chosen device is.
    pub(super) fn can_fold(&self) -> bool {
        let group = self.group().filter(|_| self.shows_devices());
        group.is_some_and(|group| self.devices_of(group).nth(1).is_some())
    }

    /// The devices of a group, in the order in which they are shown.
    fn devices_of<'a>(&'a self, group: Group<'a>) -> impl Iterator<Item = DeviceNumber> + 'a {
        let snapshots = self.snapshot.iter();
        let devices = snapshots.flat_map(|it| self.rows.iter().flat_map(|row| row.devices(it)));
        let is_of_it = move |it: &&Device| self.groups.group(&it.name) == Some(group);
        devices.filter(is_of_it).map(|device| device.number)
    }

    fn act(&mut self, action: Action) -> Effect {
        match action {
            Action::Quit => return Effect::Quit,
            Action::Suspend => return Effect::Suspend,
            Action::ToggleHelp if self.help.is_none() => self.help = Some(0),
            Action::ToggleHelp => self.close_help(),
            Action::Back if self.help.is_some() => self.close_help(),
            Action::Back if self.view != View::Devices => self.turn_to(View::Devices),
            Action::Control(control) => return Effect::Control(control),
            Action::NextView
            | Action::PreviousView
            | Action::Open
            | Action::Pause
            | Action::Sort
            | Action::Filter
            | Action::Fold
            | Action::Theme
            | Action::Copy
                if self.help.is_some() =>
            {
                return Effect::None;
            }
            Action::NextView => self.turn_to(self.view.next()),
            Action::PreviousView => self.turn_to(self.view.previous()),
            Action::Open if self.is_on_group() => return self.fold(),
            Action::Fold if self.view == View::Devices => return self.fold(),
            Action::Open if self.view == View::Devices => self.turn_to(View::Device),
            Action::Theme => self.styles = self.styles.next(),
            Action::ShorterWindow if self.playback.is_some() => {
                return Effect::Control(Control::ShorterWindow);
            }
            Action::LongerWindow if self.playback.is_some() => {
                return Effect::Control(Control::LongerWindow);
            }
            Action::ShorterWindow => return self.look_into(self.window.shorter()),
            Action::LongerWindow => return self.look_into(self.window.longer()),
            Action::Reset => self.begin_anew(),
            Action::LongerInterval | Action::ShorterInterval => return self.pace(action),
            Action::TimeUnit => self.styles.units = self.styles.units.with_next_times(),
            Action::ByteUnit => self.styles.units = self.styles.units.with_next_bytes(),
            Action::Export if self.whole.is_some() => return Effect::Export,
            Action::Record => return Effect::Record,
            Action::Copy => return self.copy(),
            Action::Back | Action::Open | Action::Fold | Action::Export => return Effect::None,
            Action::Pause => self.pause(),
            Action::Sort => {
                self.sort = self.sort.next();
                self.arrange();
            }
            Action::Filter => {
                self.turn_to(View::Devices);
                self.writing = Some((self.filter.text().to_owned(), None));
            }
            Action::Up => self.go(-1),
            Action::Down => self.go(1),
            Action::PageUp => self.go(-self.page()),
            Action::PageDown => self.go(self.page()),
            Action::First => self.go(isize::MIN),
            Action::Last => self.go(isize::MAX),
        }
        Effect::Redraw
    }

    /// Goes on with the next filter.
    fn write(&mut self, key: Key) -> Effect {
        let Some((text, wrong)) = &mut self.writing else {
            return Effect::None;
        };
        *wrong = None;
        match key {
            Key::Char(character) => text.push(character),
            Key::Backspace => {
                text.pop();
            }
            Key::Esc => self.writing = None,
            Key::Enter => match Filter::parse(text) {
                Ok(filter) => {
                    self.filter = filter;
                    self.writing = None;
                }
                Err(error) => *wrong = Some(error),
            },
            _ => return Effect::None,
        }
        self.arrange();
        Effect::Redraw
    }

    /// Whether a folded group is chosen, and shown.
    pub(super) fn is_on_group(&self) -> bool {
        let row = self.chosen_row().map(|(_, row)| row);
        self.shows_devices() && row.is_some_and(|row| row.group.is_some())
    }

    fn close_help(&mut self) {
        self.help = None;
        // The devices may be others meanwhile.
        self.arrange();
    }

    fn turn_to(&mut self, view: View) {
        self.view = view;
        self.first = 0;
        self.arrange();
    }

    /// Shows the numbers of another window.
    fn look_into(&mut self, window: Window) -> Effect {
        if window == self.window {
            return Effect::None;
        }
        self.window = window;
        self.look_back();
        Effect::Redraw
    }

    /// Counts from now, which a picture that stands still is not of.
    fn begin_anew(&mut self) {
        if self.paused.is_some() {
            self.pause();
        }
        if let Some(whole) = &self.whole {
            self.past.lookback.begin_anew(whole);
            self.past.events.begin_anew(whole.taken_at);
            self.look_back();
        }
    }

    /// Has pictures taken less or more often.
    fn pace(&mut self, action: Action) -> Effect {
        let mut steps = INTERVAL_STEPS.into_iter();
        let next = match action {
            Action::LongerInterval => steps.find(|&step| step > self.interval),
            _ => steps.rfind(|&step| step < self.interval),
        };
        let Some(next) = next else {
            return Effect::None;
        };
        self.interval = next;
        Effect::Interval(next)
    }

    fn copy(&mut self) -> Effect {
        let Some(copied) = self.copied() else {
            return Effect::None;
        };
        self.notice = Some(copied.notice());
        Effect::Copy
    }

    /// What [`Effect::Copy`] asks to copy; absent while there is nothing.
    #[must_use]
    pub fn copied(&self) -> Option<Copied> {
        Copied::of(self)
    }

    /// Does what the mouse asks for.
    fn point(&mut self, mouse: Mouse) -> Effect {
        if self.writing.is_some() {
            return Effect::None;
        }
        let had_notice = self.notice.take().is_some();
        let effect = match mouse {
            Mouse::Up => self.scroll(-1),
            Mouse::Down => self.scroll(1),
            Mouse::Click { column, row } => match mouse::spot(self, self.size, column, row) {
                Some(Spot::View(view)) => {
                    self.help = None;
                    self.turn_to(view);
                    Effect::Redraw
                }
                Some(Spot::Row(at)) => self.choose(at),
                None => Effect::None,
            },
        };
        match effect {
            Effect::None if had_notice => Effect::Redraw,
            effect => effect,
        }
    }

    /// Chooses a row, or opens the one that is chosen already.
    fn choose(&mut self, at: usize) -> Effect {
        if self.chosen_row().is_some_and(|(chosen, _)| chosen == at) {
            return self.act(Action::Open);
        }
        if let (Some(row), Some(snapshot)) = (self.rows.get(at), &self.snapshot) {
            self.chosen = row.first(snapshot);
        }
        Effect::Redraw
    }

    /// Turns of the wheel go through devices one by one, and through lines faster.
    fn scroll(&mut self, turns: isize) -> Effect {
        let lines = if self.shows_devices() {
            turns
        } else {
            turns * LINES_A_TURN
        };
        self.go(lines);
        Effect::Redraw
    }

    fn pause(&mut self) {
        match self.paused.take() {
            None => {
                self.paused = Some(Paused {
                    past: self.past.clone(),
                    waiting: None,
                });
            }
            Some(paused) => {
                if let Some(snapshot) = paused.waiting {
                    self.show(snapshot);
                }
            }
        }
    }

    fn page(&self) -> isize {
        draw::capacity(self, self.size).max(1).cast_signed()
    }

    /// Chooses a row so many further, or scrolls so many lines.
    fn go(&mut self, steps: isize) {
        if !self.shows_devices() {
            let last = draw::last_first(self, self.size);
            let first = self.help.as_mut().unwrap_or(&mut self.first);
            *first = (*first).min(last).saturating_add_signed(steps).min(last);
            return;
        }
        let Some(snapshot) = &self.snapshot else {
            return;
        };
        let at = self.chosen_row().map_or(0, |(at, _)| at);
        let at = at.saturating_add_signed(steps);
        let at = at.min(self.rows.len().saturating_sub(1));
        self.chosen = self.rows.get(at).and_then(|row| row.first(snapshot));
        self.keep_in_sight(draw::capacity(self, self.size).max(1));
    }
}

/// The place of the row that a device is in.
fn place(rows: &[Row], device: DeviceNumber, snapshot: &Snapshot) -> Option<usize> {
    rows.iter().position(|row| row.has(device, snapshot))
}
