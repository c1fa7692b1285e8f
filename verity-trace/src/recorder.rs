//! Records on their way into a file. A thread of its own writes them, so that a slow disk holds up
//! nobody: while too many wait for it, no more are taken from the kernel's buffer, and what finds that
//! full is the loss `ring-full`.
//!
//! Which I/Os get a record is decided here, in user space: the programs send every one.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use verity_trace_ebpf::record::Record;

use crate::dm::VerityDevice;
use crate::export::{Document, Entry};
use crate::inventory;
use crate::recording::{
    Devices, Encoder, End, Ended, Filter, Frame, Header, Kept, Kind, MAX_RECORDS, Machine,
    Parameters, Picture, Writer, redact,
};
use crate::snapshot::{Era, Snapshot};

/// Records that go to the thread at once.
const BATCH: usize = 4_096;
/// Records that wait for the thread before no more are taken: 32 MiB, and at most one kernel buffer
/// of 4 MiB more.
const MAX_WAITING: usize = 256 << 10;
/// What was written is on the disk after so long.
const SYNC: Duration = Duration::from_secs(5);

/// Where a recording goes.
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

    /// It was written with so many bytes, or could not be, and recording goes on.
    fn written(&mut self, before: u32, bytes: io::Result<u64>);
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Files.
    pub files: u32,
    /// Their bytes.
    pub bytes: u64,
    /// What became of the records.
    pub kept: Kept,
}

/// The side of whoever has something to record.
pub struct Recorder {
    orders: Sender<Order>,
    backlog: Arc<Backlog>,
    thread: JoinHandle<io::Result<Written>>,
    filter: Filter,
    redacts: bool,
    batch: Vec<Record>,
    kept: Kept,
    devices: Option<Vec<VerityDevice>>,
    parameters: Option<Parameters>,
    era: Option<Era>,
}

/// What waits for the thread.
#[derive(Default)]
struct Backlog(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    records: usize,
    pictures: usize,
}

impl Backlog {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Order {
    Records(Vec<Record>, Option<Era>),
    Devices(u64, Vec<VerityDevice>, Option<Era>),
    Parameters(Parameters),
    Picture(u64, Kept, Box<Snapshot>),
    /// Write what the ring holds.
    Dump(u64, Kept),
    End(End),
}

impl Recorder {
    /// Begins a recording.
    pub fn start(sink: Sink, header: Header, machine: &Machine) -> io::Result<Self> {
        let (orders, received) = mpsc::channel();
        let backlog = Arc::new(Backlog::default());
        let (filter, redacts) = (machine.filter, machine.redacted);
        let target = Target::new(sink, header, machine)?;
        let scribe = Scribe::new(target, Arc::clone(&backlog))?;
        Ok(Self {
            orders,
            backlog,
            thread: thread::spawn(move || scribe.run(&received)),
            filter,
            redacts,
            batch: Vec::with_capacity(BATCH),
            kept: Kept::default(),
            devices: None,
            parameters: None,
            era: None,
        })
    }

    /// Whether the thread keeps up, so that more may be taken from the kernel.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.backlog.waiting().records < MAX_WAITING
    }

    /// Whether a snapshot is welcome: the one before is written, and there is room for the records before it.
    #[must_use]
    pub fn has_room_for_picture(&self) -> bool {
        self.has_room() && self.backlog.waiting().pictures == 0
    }

    /// Whether it writes, and has not failed.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Takes in one record.
    pub fn record(&mut self, mut record: Record) {
        if record.total_ns < self.filter.slower_than_ns {
            self.kept.faster += 1;
        } else if !self.filter.samples(&record) {
            self.kept.sampled_out += 1;
        } else {
            self.kept.records += 1;
            if self.redacts {
                redact::record(&mut record);
            }
            self.batch.push(record);
            if self.batch.len() == BATCH {
                self.pass_on();
            }
        }
    }

    /// Takes in the devices there are now, if they are others than before, after the records that came before.
    pub fn devices(&mut self, monotonic_ns: u64, devices: &[VerityDevice]) {
        if self.devices.as_deref() == Some(devices) {
            return;
        }
        let mut noted = devices.to_vec();
        self.devices = Some(noted.clone());
        if self.redacts {
            noted.iter_mut().for_each(redact::device);
        }
        // Another device may have the number of one of theirs from now on.
        self.pass_on();
        self.order(Order::Devices(monotonic_ns, noted, self.era));
    }

    /// The same for the limits.
    pub fn limits(&mut self, monotonic_ns: u64, use_bh_bytes: Option<Vec<u64>>) {
        let before = self.parameters.as_ref();
        if before.is_some_and(|it| it.use_bh_bytes == use_bh_bytes) {
            return;
        }
        let parameters = Parameters {
            monotonic_ns,
            use_bh_bytes,
        };
        self.parameters = Some(parameters.clone());
        self.pass_on();
        self.order(Order::Parameters(parameters));
    }

    /// Takes in a snapshot, after the records that came before it: until then these need not be in the file.
    pub fn picture(&mut self, monotonic_ns: u64, mut snapshot: Snapshot) {
        self.pass_on();
        self.era = snapshot.kernel.era;
        if self.redacts {
            redact::snapshot(&mut snapshot);
        }
        let kept = self.kept;
        self.backlog.waiting().pictures += 1;
        self.order(Order::Picture(monotonic_ns, kept, Box::new(snapshot)));
    }

    /// Has the ring written.
    pub fn dump(&mut self, monotonic_ns: u64) {
        self.pass_on();
        self.order(Order::Dump(monotonic_ns, self.kept));
    }

    /// Ends the recording, and waits until all of it is written.
    pub fn finish(mut self, monotonic_ns: u64, ended: Ended) -> io::Result<Written> {
        self.pass_on();
        let kept = self.kept;
        self.order(Order::End(End {
            monotonic_ns,
            kept,
            ended,
        }));
        self.wait()
    }

    /// Waits until all that was taken in is written, of a recording that failed and has no end.
    pub fn break_off(mut self) -> io::Result<()> {
        self.pass_on();
        self.wait().map(drop)
    }

    fn wait(self) -> io::Result<Written> {
        // No more orders come.
        drop(self.orders);
        let failed = || io::Error::other("the thread that writes panicked");
        self.thread.join().map_err(|_| failed())?
    }

    fn pass_on(&mut self) {
        if !self.batch.is_empty() {
            let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
            self.backlog.waiting().records += batch.len();
            self.order(Order::Records(batch, self.era));
        }
    }

    fn order(&self, order: Order) {
        // Of a thread that failed the end tells why.
        let _ = self.orders.send(order);
    }
}

/// The thread that writes.
struct Scribe {
    encoder: Encoder,
    target: Target,
    records: Vec<Record>,
    era: Option<Era>,
    backlog: Arc<Backlog>,
}

impl Scribe {
    fn new(target: Target, backlog: Arc<Backlog>) -> io::Result<Self> {
        Ok(Self {
            encoder: Encoder::new(matches!(target, Target::Ring(_)))?,
            target,
            records: Vec::with_capacity(MAX_RECORDS),
            era: None,
            backlog,
        })
    }

    fn run(mut self, orders: &Receiver<Order>) -> io::Result<Written> {
        for order in orders {
            if let Order::End(end) = order {
                self.flush()?;
                let kept = end.kept;
                let frame = self.encoder.end(&end)?;
                return self.target.end(&frame, kept);
            }
            self.carry_out(order)?;
        }
        // Whoever records has failed: without an end it looks like a recording that was cut.
        self.flush()?;
        self.target.sync()?;
        Ok(Written::default())
    }

    fn carry_out(&mut self, order: Order) -> io::Result<()> {
        match order {
            Order::Records(batch, era) => {
                self.era = era;
                self.backlog.waiting().records -= batch.len();
                let mut rest = &batch[..];
                while !rest.is_empty() {
                    let room = MAX_RECORDS - self.records.len();
                    let (taken, left) = rest.split_at(room.min(rest.len()));
                    self.records.extend(taken);
                    rest = left;
                    if self.records.len() == MAX_RECORDS {
                        self.flush()?;
                    }
                }
                Ok(())
            }
            Order::Devices(monotonic_ns, devices, era) => {
                self.flush()?;
                let kernel_names = inventory::kernel_names(&devices);
                let devices = devices.iter();
                let frame = self.encoder.devices(&Devices {
                    monotonic_ns,
                    devices: devices
                        .map(|it| Entry::new(it, &kernel_names, era))
                        .collect(),
                })?;
                self.target.add(frame)
            }
            Order::Parameters(parameters) => {
                self.flush()?;
                let frame = self.encoder.parameters(&parameters)?;
                self.target.add(frame)
            }
            Order::Picture(monotonic_ns, kept, snapshot) => {
                self.flush()?;
                let frame = self.encoder.picture(&Picture {
                    monotonic_ns,
                    kept,
                    document: Document::new(&snapshot, None),
                })?;
                self.target.add(frame)?;
                self.backlog.waiting().pictures -= 1;
                Ok(())
            }
            Order::Dump(monotonic_ns, kept) => {
                self.flush()?;
                let end = End {
                    monotonic_ns,
                    kept,
                    ended: Ended::Ring,
                };
                let frame = self.encoder.end(&end)?;
                self.target.dump(&frame);
                Ok(())
            }
            Order::End(_) => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.records.is_empty() {
            return Ok(());
        }
        let frame = self.encoder.ios(&self.records, self.era)?;
        self.records.clear();
        self.target.add(frame)
    }
}

/// What a sink has become.
enum Target {
    File(Synced),
    Ring(Ring),
}

/// A file that reaches the disk every now and then.
struct Synced {
    writer: Writer<File>,
    synced: Instant,
}

/// The last blocks.
struct Ring {
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
}

impl Target {
    fn new(sink: Sink, header: Header, machine: &Machine) -> io::Result<Self> {
        let first = Encoder::new(true)?.machine(machine)?;
        Ok(match sink {
            Sink::File(file) => {
                let mut writer = Writer::new(file, &header)?;
                writer.write(&first)?;
                Self::File(Synced {
                    writer,
                    synced: Instant::now(),
                })
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
            }),
        })
    }

    fn add(&mut self, frame: Frame) -> io::Result<()> {
        match self {
            Self::File(it) => {
                it.writer.write(&frame)?;
                if it.synced.elapsed() >= SYNC {
                    it.writer.get_ref().sync_data()?;
                    it.synced = Instant::now();
                }
            }
            Self::Ring(ring) => ring.add(frame),
        }
        Ok(())
    }

    /// What was written is on the disk then; what a ring holds goes nowhere unasked.
    fn sync(&self) -> io::Result<()> {
        match self {
            Self::File(it) => it.writer.get_ref().sync_all(),
            Self::Ring(_) => Ok(()),
        }
    }

    /// What goes into a file is there already.
    fn dump(&mut self, end: &Frame) {
        if let Self::Ring(ring) = self {
            let before = ring.written.files;
            let bytes = ring.dump(end);
            if let Ok(bytes) = bytes {
                ring.written.files += 1;
                ring.written.bytes += bytes;
            }
            ring.files.written(before, bytes);
        }
    }

    fn end(&mut self, end: &Frame, kept: Kept) -> io::Result<Written> {
        match self {
            Self::File(it) => {
                it.writer.write(end)?;
                it.writer.get_ref().sync_all()?;
                Ok(Written {
                    files: 1,
                    bytes: it.writer.bytes(),
                    kept,
                })
            }
            Self::Ring(ring) => Ok(Written {
                kept,
                ..ring.written
            }),
        }
    }
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

    fn dump(&mut self, end: &Frame) -> io::Result<u64> {
        let file = self.files.create(self.written.files)?;
        let mut writer = Writer::new(file, &self.header)?;
        let held = [&self.devices, &self.parameters].into_iter().flatten();
        let frames = [&self.first].into_iter().chain(held);
        for frame in frames.chain(&self.frames).chain([end]) {
            writer.write(frame)?;
        }
        writer.get_ref().sync_all()?;
        Ok(writer.bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read as _, Seek as _};

    use bytemuck::Zeroable as _;

    use super::*;
    use crate::archive::Given;
    use crate::demo;
    use crate::overview::Overview;
    use crate::recording::{Block, Reader};
    use crate::snapshot::DeviceNumber;
    use crate::target::Table;

    /// A recording into a file, and that file.
    fn recorder() -> (Recorder, File) {
        let file = tempfile::tempfile().expect("a file");
        let header = Header {
            realtime_ns: 1,
            monotonic_ns: 1,
            boottime_ns: 1,
        };
        let sink = Sink::File(file.try_clone().expect("the same file"));
        let recorder = Recorder::start(sink, header, &Machine::default());
        (recorder.expect("a recording"), file)
    }

    fn blocks(mut file: File) -> Vec<&'static str> {
        let mut bytes = Vec::new();
        file.rewind().expect("a file");
        file.read_to_end(&mut bytes).expect("a file");
        let mut reader = Reader::new(Cursor::new(bytes), false).expect("a recording");
        let mut found = Vec::new();
        while let Some(block) = reader.next_block().expect("a recording") {
            found.push(match block {
                Block::Machine(_) => "machine",
                Block::Ios(_) => "I/Os",
                Block::Devices(_) => "devices",
                Block::Parameters(_) => "parameters",
                Block::Picture { .. } => "snapshot",
                Block::End(_) => "end",
            });
        }
        found
    }

    fn named(name: &str) -> VerityDevice {
        VerityDevice {
            name: name.to_owned(),
            uuid: String::new(),
            number: DeviceNumber {
                major: 253,
                minor: 0,
            },
            disk_sequence: None,
            table: Table::parse("1 254:0 254:16 4096 4096 8 1 sha256 00 -").expect("a table"),
            status: None,
        }
    }

    #[test]
    fn notes_come_after_the_records_before_them() {
        let (mut recorder, file) = recorder();
        recorder.devices(1, &[named("old")]);
        recorder.record(Record::zeroed());
        recorder.devices(2, &[named("new")]);
        recorder.record(Record::zeroed());
        recorder.limits(3, Some(vec![8_192; 4]));
        recorder.record(Record::zeroed());
        recorder.finish(4, Ended::Duration).expect("written");
        let expected = [
            "machine",
            "devices",
            "I/Os",
            "devices",
            "I/Os",
            "parameters",
            "I/Os",
            "end",
        ];
        assert_eq!(blocks(file), expected);
    }

    #[test]
    fn what_was_taken_in_is_written_also_without_an_end() {
        let (mut recorder, file) = recorder();
        recorder.record(Record::zeroed());
        recorder.break_off().expect("written");
        assert_eq!(blocks(file), ["machine", "I/Os"]);
    }

    /// A file that takes until somebody lets it go, as that of a disk that hangs.
    struct Stuck(Receiver<()>);

    impl Files for Stuck {
        fn create(&mut self, _: u32) -> io::Result<File> {
            let _ = self.0.recv();
            Err(io::ErrorKind::StorageFull.into())
        }

        fn written(&mut self, _: u32, _: io::Result<u64>) {}
    }

    #[test]
    fn no_snapshot_is_welcome_while_another_waits_for_the_disk() {
        let (go_on, stuck) = mpsc::channel();
        let sink = Sink::Ring {
            bytes: 1 << 20,
            files: Box::new(Stuck(stuck)),
        };
        let recorder = Recorder::start(sink, Header::default(), &Machine::default());
        let mut recorder = recorder.expect("a recording");
        assert!(recorder.has_room_for_picture());
        recorder.dump(1);
        let mut demo = Given::Demo(demo::ALL[0]).open(false).expect("a recording");
        let overview = Overview::read(&mut demo).expect("a recording");
        recorder.picture(2, overview.snapshot);
        assert!(recorder.has_room());
        assert!(!recorder.has_room_for_picture());
        drop(go_on);
        while !recorder.has_room_for_picture() {
            thread::yield_now();
        }
        recorder.backlog.waiting().records += MAX_WAITING;
        assert!(!recorder.has_room_for_picture());
        recorder.finish(3, Ended::Ring).expect("nothing to write");
    }
}
