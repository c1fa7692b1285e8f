//! The state of the live view, changed by messages alone.

use std::sync::Arc;

use ratatui::layout::Size;

use super::draw;
use super::events::Events;
use super::filter::Filter;
use super::history::History;
use super::ios::Ios;
use super::keys::{self, Action, Key};
use super::sort::Sort;
use super::style::Styles;
use super::view::View;
use crate::picked::Picked;
use crate::replay::{Control, Playback};
use crate::snapshot::{Device, DeviceNumber, Snapshot};

/// Everything that can happen.
#[derive(Clone, Debug)]
pub enum Message {
    /// The collector published a snapshot.
    Snapshot(Arc<Snapshot>),
    /// A recording has come so far.
    Frame(Arc<Snapshot>, Playback),
    /// What is to be seen one by one of the interval of the snapshot that comes next.
    Picked(Arc<Picked>),
    /// A key was pressed.
    Key(Key),
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

/// What a message asks of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing has changed that one could see.
    None,
    /// Draw again.
    Redraw,
    /// Ask this of the recording's player.
    Control(Control),
    /// Give the terminal back to the shell until it asks to go on.
    Suspend,
    /// End.
    Quit,
}

/// The state.
#[derive(Clone, Debug)]
pub struct App {
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// While it is paused, what there was then: the picture stands still, and time goes on.
    paused: Option<Paused>,
    /// How the recording's player stands; absent when this is live.
    pub(super) playback: Option<Playback>,
    past: Past,
    /// What was picked of the interval of the next snapshot.
    picked: Option<Arc<Picked>>,
    pub(super) styles: Styles,
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
    ios: Ios,
}

impl Past {
    fn add(&mut self, snapshot: &Arc<Snapshot>, picked: Option<Arc<Picked>>) {
        if let Some(picked) = picked {
            self.ios.add(picked);
        }
        self.history.add(snapshot);
        self.events.add(snapshot);
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
        Self {
            snapshot: None,
            paused: None,
            playback: None,
            past: Past::default(),
            picked: None,
            styles,
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
                self.past.add(&snapshot, self.picked.take());
                if let Some(paused) = &mut self.paused {
                    paused.waiting = Some(snapshot);
                    return Effect::None;
                }
                self.show(snapshot);
                Effect::Redraw
            }
            Message::Picked(picked) => {
                self.picked = Some(picked);
                Effect::None
            }
            Message::Frame(snapshot, playback) => {
                self.playback = Some(playback);
                self.past.add(&snapshot, self.picked.take());
                self.show(snapshot);
                Effect::Redraw
            }
            Message::Resize { columns, rows } => {
                self.size = Size::new(columns, rows);
                self.keep_in_sight();
                Effect::Redraw
            }
            Message::Key(key) if self.writing.is_some() && !matches!(key, Key::Ctrl(_)) => {
                self.write(key)
            }
            Message::Key(key) => {
                let action = keys::action(key, self.playback.is_some());
                action.map_or(Effect::None, |action| self.act(action))
            }
        }
    }

    /// Whether the picture stands still.
    pub(super) const fn is_paused(&self) -> bool {
        self.paused.is_some()
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
        self.snapshot = Some(snapshot);
        self.keep_in_sight();
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
                if self.help.is_some() =>
            {
                return Effect::None;
            }
            Action::NextView => self.turn_to(self.view.next()),
            Action::PreviousView => self.turn_to(self.view.previous()),
            Action::Open if self.view == View::Devices => self.turn_to(View::Device),
            Action::Back | Action::Open => return Effect::None,
            Action::Theme => self.styles = self.styles.next(),
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
