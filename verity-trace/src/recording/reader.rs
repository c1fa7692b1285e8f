//! A file becomes blocks again. Nobody vouches for it: every length has a limit, every sum is checked.

use std::io::{self, Read, Seek, SeekFrom};

use verity_trace_ebpf::record::Record;

use super::bytes::Bytes;
use super::fault::{Fault, What};
use super::frame::{HEAD_BYTES, Head, Kind, MARK};
use super::header::Header;
use super::ios::{self, Span};
use super::notes::{self, Devices, End, Machine, Parameters, Picture};
use crate::decode::{self, Io};
use crate::snapshot::Era;

/// How much is looked through at once for the next block.
const WINDOW: u64 = 64 << 10;

/// A block.
#[derive(Debug)]
pub enum Block {
    /// Where and how the recording was made.
    Machine(Machine),
    /// I/Os.
    Ios(Ios),
    /// The verity devices.
    Devices(Devices<'static>),
    /// Parameters of the module.
    Parameters(Parameters),
    /// A snapshot.
    Picture {
        /// What was written.
        picture: Box<Picture<'static>>,
        /// Whether it can be read without the one before.
        is_whole: bool,
    },
    /// The end.
    End(End),
}

/// I/Os that are not decoded yet.
#[derive(Debug)]
pub struct Ios {
    /// When they finished.
    pub span: Span,
    payload: Vec<u8>,
    offset: u64,
}

impl Ios {
    fn decode(&self, decoder: &mut ios::Decoder, records: &mut Vec<Record>) -> Result<(), Fault> {
        let span = decoder.decode(&self.payload, records);
        span.map(|_| ()).map_err(|malformed| Fault {
            offset: self.offset,
            what: malformed.into(),
        })
    }
}

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its first byte.
    pub offset: u64,
    /// Its number; absent behind damage.
    number: Option<u32>,
}

/// A snapshot that was passed, and is not decoded.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Where it is.
    pub place: Place,
    /// Whether it can be read without the one before.
    pub is_whole: bool,
    /// When it was made, by `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
}

/// What one who looks through a recording has to know; snapshots and I/Os are passed.
#[derive(Debug)]
pub enum Landmark {
    /// Where and how the recording was made.
    Machine(Machine),
    /// Parameters of the module.
    Parameters(Parameters),
    /// A snapshot.
    Moment(Moment),
}

/// Where reading was left, so that it can go on there although something else was read meanwhile.
#[derive(Debug)]
pub struct Bookmark {
    place: Place,
    picture: Option<Vec<u8>>,
}

/// How much of a file is a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Whether the last block was found.
    pub ended: bool,
    /// Where the file ends without it: behind its last whole block. Absent until then.
    pub cut: Option<u64>,
    /// Blocks of a kind that this version does not know.
    pub unknown: u64,
    /// Bytes that were skipped since they are damaged.
    pub skipped: u64,
    /// Snapshots that could not be read, since the one before is missing.
    pub lost_pictures: u64,
}

/// Reads one block after the other.
pub struct Reader<R> {
    source: R,
    header: Header,
    /// Where the next block begins.
    offset: u64,
    /// The next block's number; absent behind damage.
    number: Option<u32>,
    /// The text of the last snapshot; absent behind damage.
    picture: Option<Vec<u8>>,
    salvages: bool,
    condition: Condition,
    decoder: ios::Decoder,
    /// Those of the block whose I/Os are handed over.
    records: Vec<Record>,
}

impl<R: Read + Seek> Reader<R> {
    /// Reads the header. Where it `salvages`, damage is skipped and counted.
    pub fn new(mut source: R, salvages: bool) -> Result<Self, Fault> {
        let mut header = Vec::with_capacity(Header::BYTES);
        let fault = |what| Fault { offset: 0, what };
        (&mut source)
            .take(Header::BYTES as u64)
            .read_to_end(&mut header)
            .map_err(|error| fault(What::Io(error)))?;
        Ok(Self {
            source,
            header: Header::read(&header).map_err(fault)?,
            offset: Header::BYTES as u64,
            number: Some(0),
            picture: None,
            salvages,
            condition: Condition::default(),
            decoder: ios::Decoder::new().map_err(|error| fault(What::Io(error)))?,
            records: Vec::new(),
        })
    }

    /// What the clocks said.
    pub const fn header(&self) -> Header {
        self.header
    }

    /// How much of the file is a recording, as far as it was read.
    pub const fn condition(&self) -> Condition {
        self.condition
    }

    /// Where the next block should be.
    pub const fn place(&self) -> Place {
        Place {
            offset: self.offset,
            number: self.number,
        }
    }

    /// Goes to where a block was found. For the change of a snapshot, that is to have been read last.
    pub fn go_to(&mut self, place: Place) -> Result<(), Fault> {
        self.offset = place.offset;
        self.number = place.number;
        self.condition.ended = false;
        self.condition.cut = None;
        let found = self.source.seek(SeekFrom::Start(place.offset));
        found.map(|_| ()).map_err(|error| Fault {
            offset: place.offset,
            what: What::Io(error),
        })
    }

    /// Leaves off, to go on from here later; the change of a snapshot cannot be read until then.
    pub fn leave(&mut self) -> Bookmark {
        Bookmark {
            place: self.place(),
            picture: self.picture.take(),
        }
    }

    /// Goes on where reading was left.
    pub fn go_on(&mut self, bookmark: Bookmark) -> Result<(), Fault> {
        self.picture = bookmark.picture;
        self.go_to(bookmark.place)
    }

    /// The next block; absent when there is none.
    pub fn next_block(&mut self) -> Result<Option<Block>, Fault> {
        self.next(Self::open)
    }

    /// Goes on to the next landmark, and past it; absent when there is none.
    pub fn next_landmark(&mut self) -> Result<Option<Landmark>, Fault> {
        self.next(Self::pass)
    }

    /// What the last snapshot says that was passed.
    pub fn picture(&self) -> Result<Picture<'static>, Fault> {
        let text = self.picture.as_deref().unwrap_or_default();
        notes::read(text).map_err(|what| Fault {
            offset: self.offset,
            what,
        })
    }

    /// The next block of which `open` makes something.
    fn next<T>(
        &mut self,
        open: impl Fn(&mut Self, Kind, Vec<u8>) -> Result<Option<T>, What>,
    ) -> Result<Option<T>, Fault> {
        while !self.condition.ended && self.condition.cut.is_none() {
            let offset = self.offset;
            match self.read_block(&open) {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(what) => {
                    let fault = Fault { offset, what };
                    if !self.salvages || !fault.can_be_salvaged() {
                        return Err(fault);
                    }
                    self.skip(offset).map_err(|error| Fault {
                        offset,
                        what: What::Io(error),
                    })?;
                }
            }
        }
        self.end().map(|()| None).map_err(|what| Fault {
            offset: self.offset,
            what,
        })
    }

    /// Adds the records of a block to `records`.
    pub fn records(&mut self, ios: &Ios, records: &mut Vec<Record>) -> Result<(), Fault> {
        ios.decode(&mut self.decoder, records)
    }

    /// Hands over each I/O of a block, and returns how many of its records make none.
    pub fn ios<E: From<Fault>>(
        &mut self,
        ios: &Ios,
        mut take: impl FnMut(&Io) -> Result<(), E>,
    ) -> Result<u64, E> {
        self.records.clear();
        ios.decode(&mut self.decoder, &mut self.records)?;
        let era = ios.span.era.unwrap_or(Era::NoOption);
        let mut undecoded = 0;
        for record in &self.records {
            match decode::io(record, era) {
                Ok(io) => take(&io)?,
                Err(_) => undecoded += 1,
            }
        }
        Ok(undecoded)
    }

    /// Reads what is where the next block should be; absent when there is nothing to show of it.
    fn read_block<T>(
        &mut self,
        open: impl Fn(&mut Self, Kind, Vec<u8>) -> Result<Option<T>, What>,
    ) -> Result<Option<T>, What> {
        let offset = self.offset;
        let Some(head) = self.read_exact(HEAD_BYTES)? else {
            self.condition.cut = Some(offset);
            return Ok(None);
        };
        if head.iter().all(|&byte| byte == 0) && self.is_nothing()? {
            self.condition.cut = Some(offset);
            return Ok(None);
        }
        let head = Head::read(head.first_chunk().ok_or(What::NoBlock)?)?;
        let Some(stored) = self.read_exact(head.stored)? else {
            self.condition.cut = Some(offset);
            return Ok(None);
        };
        head.check(&stored)?;
        if let Some(expected) = self.number
            && expected != head.number
        {
            return Err(What::Order {
                expected,
                found: head.number,
            });
        }
        let found = match self.unpack(&head, stored)? {
            Some((kind, payload)) => open(self, kind, payload)?,
            None => None,
        };
        self.number = head.number.checked_add(1);
        self.offset = offset + (HEAD_BYTES + head.stored) as u64;
        Ok(found)
    }

    /// That nothing stands behind the last block.
    fn end(&mut self) -> Result<(), What> {
        if self.condition.ended && !self.salvages && self.read_exact(1)?.is_some() {
            return Err(What::AfterTheEnd);
        }
        Ok(())
    }

    /// What a block holds; absent when that cannot be read, or is of no use.
    fn unpack(&mut self, head: &Head, stored: Vec<u8>) -> Result<Option<(Kind, Vec<u8>)>, What> {
        let Some(kind) = head.kind else {
            self.condition.unknown += 1;
            return Ok(None);
        };
        if kind == Kind::SnapshotChange && self.picture.is_none() {
            if !self.salvages {
                return Err(What::Contents(
                    "it is the change of a snapshot that is not there".to_owned(),
                ));
            }
            self.condition.lost_pictures += 1;
            return Ok(None);
        }
        let known = match kind {
            Kind::SnapshotChange => self.picture.as_deref().unwrap_or_default(),
            _ => &[],
        };
        Ok(Some((kind, head.unpack(stored, known)?)))
    }

    fn open(&mut self, kind: Kind, payload: Vec<u8>) -> Result<Option<Block>, What> {
        Ok(Some(match kind {
            Kind::Machine => Block::Machine(notes::read(&payload)?),
            Kind::Ios => Block::Ios(Ios {
                span: Span::read(&mut Bytes(&payload))?,
                payload,
                offset: self.offset,
            }),
            Kind::Devices => Block::Devices(notes::read(&payload)?),
            Kind::Parameters => Block::Parameters(notes::read(&payload)?),
            Kind::Snapshot | Kind::SnapshotChange => {
                let picture = notes::read(&payload)?;
                self.picture = Some(payload);
                Block::Picture {
                    picture: Box::new(picture),
                    is_whole: kind == Kind::Snapshot,
                }
            }
            Kind::End => {
                let end = notes::read(&payload)?;
                self.condition.ended = true;
                Block::End(end)
            }
        }))
    }

    /// Of a snapshot when it was made.
    fn pass(&mut self, kind: Kind, payload: Vec<u8>) -> Result<Option<Landmark>, What> {
        self.condition.ended = kind == Kind::End;
        match kind {
            Kind::Machine => return Ok(Some(Landmark::Machine(notes::read(&payload)?))),
            Kind::Parameters => return Ok(Some(Landmark::Parameters(notes::read(&payload)?))),
            Kind::Snapshot | Kind::SnapshotChange => {}
            Kind::Ios | Kind::Devices | Kind::End => return Ok(None),
        }
        let monotonic_ns = notes::monotonic_ns(&payload)?;
        self.picture = Some(payload);
        Ok(Some(Landmark::Moment(Moment {
            place: self.place(),
            is_whole: kind == Kind::Snapshot,
            monotonic_ns,
        })))
    }

    /// So many bytes; absent when the file ends before.
    fn read_exact(&mut self, length: usize) -> Result<Option<Vec<u8>>, What> {
        let mut bytes = Vec::new();
        let read = (&mut self.source)
            .take(length as u64)
            .read_to_end(&mut bytes)
            .map_err(What::Io)?;
        Ok((read == length).then_some(bytes))
    }

    /// Whether only zeros follow: a file system that lost power knows how long a file was to be, and not
    /// what was to be in it.
    fn is_nothing(&mut self) -> Result<bool, What> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let read = (&mut self.source)
                .take(WINDOW)
                .read_to_end(&mut bytes)
                .map_err(What::Io)?;
            if bytes.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            if read == 0 {
                return Ok(true);
            }
        }
    }

    /// Goes to the next block behind damage.
    fn skip(&mut self, damaged: u64) -> io::Result<()> {
        self.number = None;
        self.picture = None;
        let mut start = damaged + 1;
        self.source.seek(SeekFrom::Start(start))?;
        let mut window = Vec::new();
        loop {
            let read = (&mut self.source).take(WINDOW).read_to_end(&mut window)?;
            let found = window
                .windows(HEAD_BYTES)
                .position(|head| head.starts_with(&MARK) && is_head(head));
            if let Some(at) = found {
                self.offset = start + at as u64;
                break;
            }
            if read == 0 {
                self.offset = start + window.len() as u64;
                break;
            }
            let passed = window.len().saturating_sub(HEAD_BYTES - 1);
            window.drain(..passed);
            start += passed as u64;
        }
        self.condition.skipped += self.offset - damaged;
        self.source.seek(SeekFrom::Start(self.offset))?;
        Ok(())
    }
}

fn is_head(bytes: &[u8]) -> bool {
    bytes
        .first_chunk()
        .is_some_and(|head| Head::read(head).is_ok())
}
