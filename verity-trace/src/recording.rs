//! Recordings: every I/O's record, and what else was known over time, in a file that can be read up
//! to where it ends, however it came to end there. `docs/recordings.md` describes every byte.
//!
//! Pure: it writes to whatever takes bytes, reads from whatever has them, and asks no clock.

mod bytes;
mod columns;
mod fault;
mod frame;
mod header;
mod ios;
mod notes;
mod reader;
pub mod redact;
mod writer;

pub use fault::{Fault, What};
pub use frame::{Frame, Kind};
pub use header::{Header, MAGIC};
pub use ios::{MAX_RECORDS, Span};
pub use notes::{Devices, End, Ended, Filter, Kept, Machine, Parameters, Picture};
pub use reader::{Block, Bookmark, Condition, Landmark, Moment, Place, Reader};
pub use writer::{Encoder, Writer};

/// Raised when a program that reads the version before could not make sense of a recording.
pub const VERSION: u16 = 1;
