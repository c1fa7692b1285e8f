//! Blocks: a head that says what follows and how much, then the payload, each with its checksum.

use std::io::{self, Read as _, Write};

use super::bytes::Bytes;
use super::fault::{Malformed, What};

/// What every block begins with, so that one can be found behind damage.
pub const MARK: [u8; 4] = *b"vblk";
/// Bytes of a head.
pub const HEAD_BYTES: usize = 28;
/// Bytes of a payload at most, stored or not.
pub const MAX_BYTES: usize = 64 << 20;

/// What a compressed payload may ask to be kept in memory, as a power of two: no more than it can have.
const MAX_WINDOW_LOG: u32 = 26;

/// The payload is compressed by zstd.
const ZSTD: u16 = 1 << 0;
/// Text like that of most blocks becomes a tenth of its size.
const LEVEL: i32 = 3;

/// What a block is about, by its number in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The machine, and what was asked of it.
    Machine,
    /// I/Os.
    Ios,
    /// The verity devices.
    Devices,
    /// Parameters of the module.
    Parameters,
    /// A snapshot, whole.
    Snapshot,
    /// A snapshot, by how it differs from the one before.
    SnapshotChange,
    /// The end.
    End,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Machine,
        Self::Ios,
        Self::Devices,
        Self::Parameters,
        Self::Snapshot,
        Self::SnapshotChange,
        Self::End,
    ];

    fn number(self) -> u16 {
        let at = Self::ALL.iter().position(|&kind| kind == self);
        at.and_then(|at| u16::try_from(at + 1).ok()).unwrap_or(0)
    }

    /// Whether it is a snapshot, however written.
    #[must_use]
    pub const fn is_picture(self) -> bool {
        matches!(self, Self::Snapshot | Self::SnapshotChange)
    }

    /// Absent when this version does not know it.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// A block that can be written, but for its number.
#[derive(Clone, Debug)]
pub struct Frame {
    kind: Kind,
    flags: u16,
    /// Bytes that the payload has once it is read.
    length: u32,
    records: usize,
    payload: Vec<u8>,
}

impl Frame {
    /// A payload that is stored as it is, and holds so many records.
    pub fn plain(kind: Kind, records: usize, payload: Vec<u8>) -> io::Result<Self> {
        Ok(Self {
            kind,
            flags: 0,
            length: length(payload.len())?,
            records,
            payload,
        })
    }

    /// A payload that is compressed, against what the reader knows already.
    pub fn compressed(kind: Kind, payload: &[u8], known: &[u8]) -> io::Result<Self> {
        let mut encoder = zstd::Encoder::with_ref_prefix(Vec::new(), LEVEL, known)?;
        encoder.write_all(payload)?;
        let stored = encoder.finish()?;
        length(stored.len())?;
        Ok(Self {
            kind,
            flags: ZSTD,
            length: length(payload.len())?,
            records: 0,
            payload: stored,
        })
    }

    /// What it is about.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Records in it.
    #[must_use]
    pub const fn records(&self) -> usize {
        self.records
    }

    /// Bytes that it takes in a file.
    #[must_use]
    pub fn bytes(&self) -> usize {
        HEAD_BYTES + self.payload.len()
    }

    /// Writes it as the block of this number.
    pub fn write(&self, number: u32, out: &mut impl Write) -> io::Result<()> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend(MARK);
        head.extend(self.kind.number().to_le_bytes());
        head.extend(self.flags.to_le_bytes());
        head.extend(number.to_le_bytes());
        head.extend(length(self.payload.len())?.to_le_bytes());
        head.extend(self.length.to_le_bytes());
        head.extend(crc32fast::hash(&self.payload).to_le_bytes());
        head.extend(crc32fast::hash(&head).to_le_bytes());
        out.write_all(&head)?;
        out.write_all(&self.payload)
    }
}

/// A head as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Absent when this version does not know it.
    pub kind: Option<Kind>,
    flags: u16,
    /// Counts the blocks from 0.
    pub number: u32,
    /// Bytes that follow.
    pub stored: usize,
    length: usize,
    checksum: u32,
}

impl Head {
    /// Reads it.
    pub fn read(head: &[u8; HEAD_BYTES]) -> Result<Self, What> {
        let mut bytes = Bytes(head);
        if bytes.array()? != MARK {
            return Err(What::NoBlock);
        }
        let kind = bytes.u16()?;
        let flags = bytes.u16()?;
        let number = bytes.u32()?;
        let (stored, length) = (bytes.u32()?, bytes.u32()?);
        let checksum = bytes.u32()?;
        let (said, _) = head.split_at(HEAD_BYTES - size_of::<u32>());
        if bytes.u32()? != crc32fast::hash(said) {
            return Err(What::Damaged("the checksum of its head does not fit"));
        }
        let size = |bytes: u32| match usize::try_from(bytes) {
            Ok(size) if size <= MAX_BYTES => Ok(size),
            _ => Err(What::TooLarge(bytes.into())),
        };
        Ok(Self {
            kind: Kind::from_number(kind),
            flags,
            number,
            stored: size(stored)?,
            length: size(length)?,
            checksum,
        })
    }

    /// The payload as it was before it was stored.
    pub fn unpack(&self, stored: Vec<u8>, known: &[u8]) -> Result<Vec<u8>, What> {
        match self.flags {
            0 if stored.len() == self.length => Ok(stored),
            0 => Err(Malformed("it is not as long as it says").into()),
            ZSTD => self.decompress(&stored, known),
            _ => Err(Malformed("it is stored in an unknown way").into()),
        }
    }

    /// Whether these bytes are those that were written.
    pub fn check(&self, stored: &[u8]) -> Result<(), What> {
        if crc32fast::hash(stored) == self.checksum {
            return Ok(());
        }
        Err(What::Damaged("the checksum of its contents does not fit"))
    }

    fn decompress(&self, stored: &[u8], known: &[u8]) -> Result<Vec<u8>, What> {
        let mut payload = Vec::with_capacity(self.length + 1);
        // One byte more than there may be, to see whether there is.
        let limit = self.length as u64 + 1;
        let read = zstd::Decoder::with_ref_prefix(stored, known).and_then(|mut decoder| {
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            decoder.take(limit).read_to_end(&mut payload)
        });
        match read {
            Ok(length) if length == self.length => Ok(payload),
            Ok(_) => Err(Malformed("it is not as long as it says").into()),
            Err(_) => Err(Malformed("its compressed contents cannot be read").into()),
        }
    }
}

fn length(bytes: usize) -> io::Result<u32> {
    match u32::try_from(bytes) {
        Ok(length) if bytes <= MAX_BYTES => Ok(length),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{bytes} bytes are more than a block can have"),
        )),
    }
}
