//! What is known becomes blocks, and blocks a file.

use std::io::{self, Write};

use verity_trace_ebpf::record::Record;

use super::frame::{Frame, Kind};
use super::header::Header;
use super::ios;
use super::notes::{self, Devices, End, Machine, Parameters, Picture};
use crate::snapshot::Era;

/// So many snapshots are written by how they differ, before one is whole again: what damage costs
/// at most.
const CHANGES: u32 = 60;

/// Makes blocks.
pub struct Encoder {
    ios: ios::Encoder,
    /// The text of the last snapshot.
    picture: Vec<u8>,
    changes: u32,
    whole: bool,
}

impl Encoder {
    /// An encoder of a file's blocks; of a ring's, where any block may be the first that is left,
    /// every snapshot is whole.
    pub fn new(is_ring: bool) -> io::Result<Self> {
        Ok(Self {
            ios: ios::Encoder::new()?,
            picture: Vec::new(),
            changes: CHANGES,
            whole: is_ring,
        })
    }

    /// A block of at most [`ios::MAX_RECORDS`] records.
    pub fn ios(&mut self, records: &[Record], era: Option<Era>) -> io::Result<Frame> {
        Frame::plain(Kind::Ios, records.len(), self.ios.encode(records, era))
    }

    /// A block about the machine.
    pub fn machine(&mut self, machine: &Machine) -> io::Result<Frame> {
        Frame::compressed(Kind::Machine, &notes::write(machine)?, &[])
    }

    /// A block of devices.
    pub fn devices(&mut self, devices: &Devices<'_>) -> io::Result<Frame> {
        Frame::compressed(Kind::Devices, &notes::write(devices)?, &[])
    }

    /// A block of parameters.
    pub fn parameters(&mut self, parameters: &Parameters) -> io::Result<Frame> {
        Frame::compressed(Kind::Parameters, &notes::write(parameters)?, &[])
    }

    /// A block with a snapshot.
    pub fn picture(&mut self, picture: &Picture<'_>) -> io::Result<Frame> {
        let text = notes::write(picture)?;
        let is_whole = self.whole || self.changes >= CHANGES;
        let frame = if is_whole {
            self.changes = 0;
            Frame::compressed(Kind::Snapshot, &text, &[])
        } else {
            self.changes += 1;
            Frame::compressed(Kind::SnapshotChange, &text, &self.picture)
        };
        self.picture = text;
        frame
    }

    /// The last block.
    pub fn end(&mut self, end: &End) -> io::Result<Frame> {
        Frame::compressed(Kind::End, &notes::write(end)?, &[])
    }
}

/// Writes blocks.
pub struct Writer<W> {
    out: W,
    blocks: u32,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Begins with the header.
    pub fn new(mut out: W, header: &Header) -> io::Result<Self> {
        out.write_all(&header.to_bytes())?;
        Ok(Self {
            out,
            blocks: 0,
            bytes: Header::BYTES as u64,
        })
    }

    /// Adds a block.
    pub fn write(&mut self, frame: &Frame) -> io::Result<()> {
        frame.write(self.blocks, &mut self.out)?;
        self.blocks += 1;
        self.bytes += frame.bytes() as u64;
        Ok(())
    }

    /// Bytes that were written.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it writes to.
    pub const fn get_ref(&self) -> &W {
        &self.out
    }

    /// The same, when nothing more is to be written.
    pub fn into_inner(self) -> W {
        self.out
    }
}
