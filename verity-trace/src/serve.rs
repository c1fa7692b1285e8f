//! `serve`: what is known, over HTTP, by two processes.
//!
//! The one that watches has privileges and no socket. The other has the socket and next to nothing else, see
//! [`confine`]: it is given snapshots through a [`feed`] and can ask for nothing. So whoever takes it over over the
//! network can read what it was given, and is no nearer to the rest of the machine.

mod child;
mod confine;
mod connections;
mod feed;
mod guard;
mod lately;
mod listen;
mod page;
mod secrets;
mod site;

pub use child::{NAME, check, run};
pub use feed::{Account, Feed, Settings, Tls};
pub use lately::Lately;
pub use listen::{Bound, Listen};
pub use secrets::{key, token};
