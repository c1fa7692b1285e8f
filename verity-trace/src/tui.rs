//! The live view: a pure state, a table of keys, read-only drawing, and the one loop that owns
//! the terminal.
//!
//! Everything that happens is a [`Message`]: a snapshot, a key, a new size, a request to stop.

mod advice;
mod app;
mod columns;
mod copy;
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
mod mouse;
mod rows;
mod run;
mod settings;
mod sort;
mod status;
mod style;
mod summary;
mod table;
mod view;

pub use app::{App, Effect, Exported, Message, Recording};
pub use columns::{Column, Columns};
pub use copy::Copied;
pub use draw::draw;
pub use glyphs::Glyphs;
pub use keys::{Action, BINDINGS, Binding, Key, Keys, LIVE, REPLAY};
pub use mouse::Mouse;
pub use run::{Request, forward_input, require_terminal, run};
pub use settings::{INTERVALS, Misconfigured, Settings};
pub use style::{Styles, Theme};
