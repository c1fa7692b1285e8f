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
use super::keys::{Action, Key, Keys};
use super::mouse::{self, Mouse, Spot};
use super::settings::{INTERVAL_STEPS, Settings};
use super::sort::Sort;
use super::style::Styles;
use super::view::View;
use crate::lookback::{Lookback, Window};
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
    /// A recording has come so far.
    Frame(Arc<Snapshot>, Playback),
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

/// The state.
#[derive(Clone, Debug)]
pub struct App {
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// The same as it came, with every device and without a window.
    whole: Option<Arc<Snapshot>>,
    /// Absent when every device is shown.
    selected: Option<BTreeSet<DeviceNumber>>,
    /// While it is paused, what there was then: the picture stands still, and time goes on.
    paused: Option<Paused>,
    /// How the recording's player stands; absent when this is live.
    pub(super) playback: Option<Playback>,
    past: Past,
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
    /// What is being written of the next filter, and why it is none; absent while nobody writes.
    pub(super) writing: Option<(String, Option<String>)>,
    /// The chosen device: it stays the same however the devices are sorted.
    pub(super) chosen: Option<DeviceNumber>,
    /// The first line shown, of what can be scrolled.
    pub(super) first: usize,
    size: Size,
}

/// What was seen before the snapshot that is shown.
#[derive(Clone, Debug, Default)]
struct Past {
    history: History,
    events: Events,
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
            whole: None,
            selected: None,
            paused: None,
            playback: None,
            past: Past::default(),
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
                self.past.add(&snapshot, self.selected.as_ref());
                if let Some(paused) = &mut self.paused {
                    paused.waiting = Some(snapshot);
                    return Effect::None;
                }
                self.show(snapshot);
                Effect::Redraw
            }
            Message::Frame(snapshot, playback) => {
                self.playback = Some(playback);
                self.window = playback.window;
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
                self.keep_in_sight();
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
    pub fn exported(&self) -> Option<Snapshot> {
        let whole = self.whole.as_deref()?;
        let mut snapshot = whole.clone();
        self.select(&mut snapshot);
        Some(snapshot)
    }

    /// How long I/Os took until the snapshot that is shown.
    pub(super) fn history(&self) -> &History {
        &self.past().history
    }

    /// What has changed until then.
    pub(super) fn events(&self) -> &Events {
        &self.past().events
    }

    fn past(&self) -> &Past {
        self.paused.as_ref().map_or(&self.past, |it| &it.past)
    }

    /// The devices, in the order in which they are shown.
    pub(super) fn devices(&self) -> Vec<&Device> {
        let mut devices: Vec<_> = self
            .snapshot
            .iter()
            .flat_map(|snapshot| &snapshot.devices)
            .filter(|device| self.filter.takes(device))
            .collect();
        self.sort.sort(&mut devices);
        devices
    }

    /// The chosen device and its place among the devices; absent when there are none.
    pub(super) fn chosen<'a>(&self, devices: &[&'a Device]) -> Option<(usize, &'a Device)> {
        let chosen = self.chosen?;
        let at = devices.iter().position(|it| it.number == chosen)?;
        Some((at, devices[at]))
    }

    fn show(&mut self, snapshot: Arc<Snapshot>) {
        self.whole = Some(snapshot);
        self.look_back();
        self.keep_in_sight();
    }

    /// Makes what is shown of the snapshot as it came: the player of a recording has done so already.
    fn look_back(&mut self) {
        let Some(whole) = &self.whole else {
            return;
        };
        self.snapshot = Some(if self.playback.is_some() {
            Arc::clone(whole)
        } else {
            let mut shown = Snapshot::clone(whole);
            self.select(&mut shown);
            self.past().lookback.relate(&mut shown, self.window);
            Arc::new(shown)
        });
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

    /// Chooses a device that there is, and shows the part in which it stands.
    fn keep_in_sight(&mut self) {
        if let Some(first) = self.help {
            self.help = Some(first.min(draw::last_first(self, self.size)));
            return;
        }
        if self.view != View::Device || self.chosen.is_none() {
            let devices = self.devices();
            let (at, number) = match self.chosen(&devices) {
                Some((at, device)) => (at, Some(device.number)),
                None => (0, devices.first().map(|device| device.number)),
            };
            self.chosen = number;
            self.choose_at(at);
        }
        self.first = self.first.min(draw::last_first(self, self.size));
    }

    fn choose_at(&mut self, at: usize) {
        if self.view == View::Devices {
            let shown = draw::capacity(self, self.size).max(1);
            self.first = self.first.min(at).max((at + 1).saturating_sub(shown));
        }
    }

    fn act(&mut self, action: Action) -> Effect {
        match action {
            Action::Quit => return Effect::Quit,
            Action::Suspend => return Effect::Suspend,
            Action::ToggleHelp => self.help = self.help.xor(Some(0)),
            Action::Back if self.help.is_some() => self.help = None,
            Action::Back if self.view != View::Devices => self.turn_to(View::Devices),
            Action::Control(control) => return Effect::Control(control),
            Action::NextView
            | Action::PreviousView
            | Action::Open
            | Action::Pause
            | Action::Sort
            | Action::Filter
            | Action::Theme
            | Action::Copy
                if self.help.is_some() =>
            {
                return Effect::None;
            }
            Action::NextView => self.turn_to(self.view.next()),
            Action::PreviousView => self.turn_to(self.view.previous()),
            Action::Open if self.view == View::Devices => self.turn_to(View::Device),
            Action::Back | Action::Open => return Effect::None,
            Action::Theme => self.styles = self.styles.next(),
            Action::ShorterWindow => return self.look_into(self.window.shorter()),
            Action::LongerWindow => return self.look_into(self.window.longer()),
            Action::Reset => self.begin_anew(),
            Action::LongerInterval | Action::ShorterInterval => return self.pace(action),
            Action::TimeUnit => self.styles.units = self.styles.units.with_next_times(),
            Action::ByteUnit => self.styles.units = self.styles.units.with_next_bytes(),
            Action::Export if self.whole.is_some() => return Effect::Export,
            Action::Record => return Effect::Record,
            Action::Copy => return self.copy(),
            Action::Export => return Effect::None,
            Action::Pause => self.pause(),
            Action::Sort => {
                self.sort = self.sort.next();
                self.keep_in_sight();
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
        self.keep_in_sight();
        Effect::Redraw
    }

    fn turn_to(&mut self, view: View) {
        self.view = view;
        self.first = 0;
        self.keep_in_sight();
    }

    /// Shows the numbers of another window.
    fn look_into(&mut self, window: Window) -> Effect {
        if window == self.window {
            return Effect::None;
        }
        if self.playback.is_some() {
            return Effect::Control(Control::Window(window));
        }
        self.window = window;
        self.look_back();
        self.keep_in_sight();
        Effect::Redraw
    }

    /// Counts from now, which a picture that stands still is not of.
    fn begin_anew(&mut self) {
        if self.paused.is_some() {
            self.pause();
        }
        if let Some(whole) = &self.whole {
            self.past.lookback.begin_anew(Arc::clone(whole));
            self.past.events.begin_anew(whole.taken_at);
            self.look_back();
            self.keep_in_sight();
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
                Some(Spot::Device(number)) if self.chosen == Some(number) => self.act(Action::Open),
                Some(Spot::Device(number)) => {
                    self.chosen = Some(number);
                    self.keep_in_sight();
                    Effect::Redraw
                }
                None => Effect::None,
            },
        };
        match effect {
            Effect::None if had_notice => Effect::Redraw,
            effect => effect,
        }
    }

    /// Turns of the wheel go through devices one by one, and through lines faster.
    fn scroll(&mut self, turns: isize) -> Effect {
        let is_choosing = self.help.is_none() && self.view == View::Devices;
        self.go(if is_choosing {
            turns
        } else {
            turns * LINES_A_TURN
        });
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

    /// Chooses a device so many further, or scrolls so many lines.
    fn go(&mut self, steps: isize) {
        if let Some(first) = self.help {
            self.help = Some(first.saturating_add_signed(steps));
            self.keep_in_sight();
            return;
        }
        if self.view != View::Devices {
            self.first = self.first.saturating_add_signed(steps);
            self.keep_in_sight();
            return;
        }
        let devices = self.devices();
        let at = self.chosen(&devices).map_or(0, |(at, _)| at);
        let at = at.saturating_add_signed(steps);
        let at = at.min(devices.len().saturating_sub(1));
        self.chosen = devices.get(at).map(|device| device.number);
        self.keep_in_sight();
    }
}
