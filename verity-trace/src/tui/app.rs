//! The state of the live view, changed by messages alone.

use std::sync::Arc;

use ratatui::layout::Size;

use super::draw;
use super::keys::{self, Action, Key};
use super::style::Styles;
use crate::replay::{Control, Playback};
use crate::snapshot::Snapshot;

/// Everything that can happen.
#[derive(Clone, Debug)]
pub enum Message {
    /// The collector published a snapshot.
    Snapshot(Arc<Snapshot>),
    /// A recording has come so far.
    Frame(Arc<Snapshot>, Playback),
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
    /// End.
    Quit,
}

/// The state.
#[derive(Clone, Debug)]
pub struct App {
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// How the recording's player stands; absent when this is live.
    pub(super) playback: Option<Playback>,
    pub(super) styles: Styles,
    pub(super) help: bool,
    /// The first device shown.
    pub(super) first: usize,
    size: Size,
}

impl App {
    /// Nothing seen yet, on a terminal whose size is not known yet.
    #[must_use]
    pub const fn new(styles: Styles) -> Self {
        Self {
            snapshot: None,
            playback: None,
            styles,
            help: false,
            first: 0,
            size: Size::ZERO,
        }
    }

    /// Takes in one message.
    pub fn update(&mut self, message: Message) -> Effect {
        match message {
            Message::Stop => Effect::Quit,
            Message::Snapshot(snapshot) => {
                self.snapshot = Some(snapshot);
                self.scroll_to(self.first);
                Effect::Redraw
            }
            Message::Frame(snapshot, playback) => {
                self.playback = Some(playback);
                self.update(Message::Snapshot(snapshot))
            }
            Message::Resize { columns, rows } => {
                self.size = Size::new(columns, rows);
                self.scroll_to(self.first);
                Effect::Redraw
            }
            Message::Key(key) => {
                let action = keys::action(key, self.playback.is_some());
                action.map_or(Effect::None, |action| self.act(action))
            }
        }
    }

    fn act(&mut self, action: Action) -> Effect {
        let shown = draw::capacity(self, self.size).max(1);
        match action {
            Action::Quit => return Effect::Quit,
            Action::ToggleHelp => {
                self.help = !self.help;
                return Effect::Redraw;
            }
            Action::CloseHelp if self.help => {
                self.help = false;
                return Effect::Redraw;
            }
            Action::CloseHelp => return Effect::None,
            _ if self.help => return Effect::None,
            Action::Control(control) => return Effect::Control(control),
            Action::Up => self.scroll_to(self.first.saturating_sub(1)),
            Action::Down => self.scroll_to(self.first.saturating_add(1)),
            Action::PageUp => self.scroll_to(self.first.saturating_sub(shown)),
            Action::PageDown => self.scroll_to(self.first.saturating_add(shown)),
            Action::First => self.scroll_to(0),
            Action::Last => self.scroll_to(usize::MAX),
        }
        Effect::Redraw
    }

    fn scroll_to(&mut self, first: usize) {
        self.first = first.min(draw::last_first(self, self.size));
    }
}
