//! What is wrong with a recording.

use std::fmt::{self, Display, Formatter};
use std::io;

/// Why the contents of a block cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// What is wrong, and where in the file.
#[derive(Debug)]
pub struct Fault {
    /// First byte of what cannot be read.
    pub offset: u64,
    /// What is wrong with it. It may quote the file: escape it before printing.
    pub what: What,
}

/// What can be wrong.
#[derive(Debug)]
pub enum What {
    /// The file is something else.
    NotARecording,
    /// It has no bytes.
    Empty,
    /// It ends within the header.
    HeaderCut,
    /// The header's checksum does not fit.
    Header,
    /// Made on a machine that stores numbers the other way round.
    ByteOrder,
    /// A version that this program does not know.
    Version(u16),
    /// There should be a block.
    NoBlock,
    /// A block's head or contents are not what was written.
    Damaged(&'static str),
    /// A block that is larger than any can be.
    TooLarge(u64),
    /// A block is missing, or stands twice.
    Order {
        /// The number that should have come.
        expected: u32,
        /// The one that came.
        found: u32,
    },
    /// A block that is as it was written makes no sense.
    Contents(String),
    /// Something stands after the last block.
    AfterTheEnd,
    /// It could not be read at all.
    Io(io::Error),
}

impl Fault {
    /// Whether reading on behind it may find more.
    #[must_use]
    pub const fn can_be_salvaged(&self) -> bool {
        matches!(
            self.what,
            What::NoBlock
                | What::Damaged(_)
                | What::TooLarge(_)
                | What::Order { .. }
                | What::Contents(_)
                | What::AfterTheEnd
        )
    }
}

impl From<Malformed> for What {
    fn from(malformed: Malformed) -> Self {
        Self::Contents(malformed.0.to_owned())
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.offset, self.what)
    }
}

impl Display for What {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecording => f.write_str("this is no recording of verity-trace"),
            Self::Empty => f.write_str("the file is empty"),
            Self::HeaderCut => f.write_str("the file ends within its header"),
            Self::Header => f.write_str("the header is damaged: its checksum does not fit"),
            Self::ByteOrder => f.write_str(
                "the recording stores numbers in another byte order than this version reads",
            ),
            Self::Version(found) => write!(
                f,
                "the recording has format version {found}, and this program reads up to {}; use a \
                 newer verity-trace",
                super::VERSION,
            ),
            Self::NoBlock => f.write_str("there should be a block, and there is none"),
            Self::Damaged(what) => write!(f, "the block is damaged: {what}"),
            Self::TooLarge(bytes) => write!(f, "the block claims {bytes} bytes, more than any has"),
            Self::Order { expected, found } => {
                write!(f, "this is block {found} where block {expected} should be")
            }
            Self::Contents(what) => write!(f, "the block makes no sense: {what}"),
            Self::AfterTheEnd => f.write_str("something follows the last block"),
            Self::Io(error) => write!(f, "cannot be read: {error}"),
        }
    }
}
