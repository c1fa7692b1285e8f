//! Where a recording goes: into a file, or into a ring in memory and from there into files.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::recording::{Encoder, Frame, Header, Kept, Kind, Machine, Writer};

/// What was written is on the disk after so long.
const SYNC: Duration = Duration::from_secs(5);

/// Where a recording is to go.
pub enum Sink {
    /// Into a file as it comes.
    File(File),
    /// Into memory, of which the last so many bytes are kept, and from there into a file whenever that is
    /// asked for.
    Ring {
        /// Bytes that are kept.
        bytes: usize,
        /// Makes these files.
        files: Box<dyn Files>,
    },
}

/// Who makes the files of a ring.
pub trait Files: Send {
    /// Makes one; so many were made before.
    fn create(&mut self, before: u32) -> io::Result<File>;

    /// It was written with so many bytes, and recording goes on.
    fn written(&mut self, before: u32, bytes: u64);

    /// It could not be made, or could be written up to there alone; recording goes on.
    fn failed(&mut self, before: u32, reached: Option<Reach>, error: &io::Error);
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Whole files.
    pub files: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Files, those included that are not whole.
    pub begun: u32,
    /// What became of the records.
    pub kept: Kept,
    /// Whether the last file that was asked for is not whole.
    pub misses_last: bool,
}

/// How far a file goes in whole blocks, which is how far it can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Bytes.
    pub bytes: u64,
    /// Records in them.
    pub records: u64,
    /// Snapshots; without one the rest says nothing.
    pub pictures: u64,
}

impl Reach {
    fn add(&mut self, frame: &Frame) {
        self.bytes += frame.bytes() as u64;
        self.records += frame.records() as u64;
        self.pictures += u64::from(frame.kind().is_picture());
    }
}

/// How far the file that is being written is on its disk for certain; both sides look.
#[derive(Default)]
pub struct Progress(Mutex<(u32, Reach)>);

impl Progress {
    /// How many files were begun before it, and how far it goes.
    pub fn get(&self) -> (u32, Reach) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, before: u32, reach: Reach) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (before, reach);
    }
}

/// See the module.
pub enum Target {
    File(OnDisk),
    Ring(Ring),
}

impl Target {
    pub fn new(
        sink: Sink,
        header: Header,
        machine: &Machine,
        progress: Arc<Progress>,
    ) -> io::Result<Self> {
        let first = Encoder::new(true)?.machine(machine)?;
        Ok(match sink {
            Sink::File(file) => {
                let mut file = OnDisk::begin(file, &header, 0, progress)?;
                file.add(&first)?;
                Self::File(file)
            }
            Sink::Ring { bytes, files } => Self::Ring(Ring {
                header,
                first,
                devices: None,
                parameters: None,
                frames: VecDeque::new(),
                bytes: 0,
                limit: bytes,
                files,
                written: Written::default(),
                progress,
            }),
        })
    }

    pub fn add(&mut self, frame: Frame) -> io::Result<()> {
        match self {
            Self::File(file) => file.add(&frame)?,
            Self::Ring(ring) => ring.add(frame),
        }
        Ok(())
    }

    /// What was written is on the disk then; what a ring holds goes nowhere unasked.
    pub fn sync(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.sync(),
            Self::Ring(_) => Ok(()),
        }
    }

    /// What goes into a file is there already.
    pub fn dump(&mut self, end: &Frame) {
        if let Self::Ring(ring) = self {
            ring.dump(end);
        }
    }

    pub fn end(&mut self, end: &Frame, kept: Kept) -> io::Result<Written> {
        match self {
            Self::File(file) => {
                file.add(end)?;
                file.sync()?;
                Ok(Written {
                    files: 1,
                    bytes: file.reach.bytes,
                    begun: 1,
                    kept,
                    misses_last: false,
                })
            }
            Self::Ring(ring) => Ok(Written {
                kept,
                ..ring.written
            }),
        }
    }
}

/// A file that reaches the disk every now and then.
pub struct OnDisk {
    writer: Writer<File>,
    /// How far it was handed to the kernel.
    reach: Reach,
    synced: Instant,
    before: u32,
    progress: Arc<Progress>,
}

impl OnDisk {
    fn begin(
        file: File,
        header: &Header,
        before: u32,
        progress: Arc<Progress>,
    ) -> io::Result<Self> {
        Ok(Self {
            writer: Writer::new(file, header)?,
            reach: Reach {
                bytes: Header::BYTES as u64,
                ..Reach::default()
            },
            synced: Instant::now(),
            before,
            progress,
        })
    }

    fn add(&mut self, frame: &Frame) -> io::Result<()> {
        self.writer.write(frame)?;
        self.reach.add(frame);
        if self.synced.elapsed() >= SYNC {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.writer.get_ref().sync_all()?;
        self.synced = Instant::now();
        self.progress.set(self.before, self.reach);
        Ok(())
    }
}

/// The last blocks.
pub struct Ring {
    header: Header,
    first: Frame,
    /// What is in no block of the ring any more and yet holds at its start.
    devices: Option<Frame>,
    parameters: Option<Frame>,
    frames: VecDeque<Frame>,
    bytes: usize,
    limit: usize,
    files: Box<dyn Files>,
    written: Written,
    progress: Arc<Progress>,
}

impl Ring {
    fn add(&mut self, frame: Frame) {
        self.bytes += frame.bytes();
        self.frames.push_back(frame);
        while self.bytes > self.limit
            && let Some(frame) = self.frames.pop_front()
        {
            self.bytes -= frame.bytes();
            match frame.kind() {
                Kind::Devices => self.devices = Some(frame),
                Kind::Parameters => self.parameters = Some(frame),
                _ => {}
            }
        }
    }

    /// The ring stays as it is, whatever becomes of the file.
    fn dump(&mut self, end: &Frame) {
        let before = self.written.begun;
        self.progress.set(before, Reach::default());
        let written = self.files.create(before).map_err(|error| (None, error));
        let written = written.and_then(|file| {
            self.written.begun += 1;
            self.write(file, before, end).map_err(|error| {
                let (_, reach) = self.progress.get();
                (Some(reach), error)
            })
        });
        self.written.misses_last = written.is_err();
        match written {
            Ok(bytes) => {
                self.written.files += 1;
                self.written.bytes += bytes;
                self.files.written(before, bytes);
            }
            Err((reach, error)) => self.files.failed(before, reach, &error),
        }
    }

    fn write(&self, file: File, before: u32, end: &Frame) -> io::Result<u64> {
        let mut file = OnDisk::begin(file, &self.header, before, Arc::clone(&self.progress))?;
        let held = [&self.devices, &self.parameters].into_iter().flatten();
        let frames = [&self.first].into_iter().chain(held);
        let frames = frames.chain(&self.frames).chain([end]);
        let added = frames.into_iter().try_for_each(|frame| file.add(frame));
        // What could be written is to stay.
        added.and(file.sync())?;
        Ok(file.reach.bytes)
    }
}
