//! The live view: a pure state, a table of keys, read-only drawing, and the one loop that owns
//! the terminal.
//!
//! Everything that happens is a [`Message`]: a snapshot, a key, a new size, a request to stop.

mod app;
mod draw;
mod header;
mod keys;
mod run;
mod style;
mod table;

pub use app::{App, Effect, Message};
pub use draw::draw;
pub use keys::{Action, BINDINGS, Binding, Key, REPLAY, action};
pub use run::{forward_input, require_terminal, run};
pub use style::Styles;
