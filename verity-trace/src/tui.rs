//! The live view: a pure state, a table of keys, read-only drawing, and the one loop that owns
//! the terminal.
//!
//! Everything that happens is a [`Message`]: a snapshot, a key, a new size, a request to stop.

mod app;
mod cpus;
mod device;
mod draw;
mod events;
mod filter;
mod glyphs;
mod header;
mod history;
mod ios;
mod keys;
mod run;
mod sort;
mod style;
mod summary;
mod table;
mod view;

pub use app::{App, Effect, Message};
pub use draw::draw;
pub use glyphs::Glyphs;
pub use keys::{Action, BINDINGS, Binding, Key, LIVE, REPLAY, action};
pub use run::{forward_input, require_terminal, run};
pub use style::{Styles, Theme};
