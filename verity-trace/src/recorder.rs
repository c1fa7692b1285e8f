//! Records on their way into a file. A thread of its own writes them, so that a slow disk holds up
//! nobody: while too many wait for it, no more are taken from the kernel's buffer, and what finds that
//! full is the loss `ring-full`.
//!
//! Which I/Os get a record is decided here, in user space: the programs send every one.

mod backlog;
mod scribe;
mod target;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use verity_trace_ebpf::record::Record;

pub use target::{Files, Reach, Sink, Written};

use backlog::Backlog;
use scribe::{Order, Scribe};
use target::{Progress, Target};

use crate::dm::VerityDevice;
use crate::recording::{End, Ended, Filter, Header, Kept, Machine, Parameters, redact};
use crate::snapshot::{Era, Snapshot};

/// Records that go to the thread at once.
const BATCH: usize = 4_096;

/// The side of whoever has something to record.
pub struct Recorder {
    orders: Sender<Order>,
    backlog: Arc<Backlog>,
    progress: Arc<Progress>,
    thread: JoinHandle<io::Result<Written>>,
    filter: Filter,
    redacts: bool,
    batch: Vec<Record>,
    kept: Kept,
    devices: Option<Vec<VerityDevice>>,
    parameters: Option<Parameters>,
    era: Option<Era>,
}

impl Recorder {
    /// Begins a recording.
    pub fn start(sink: Sink, header: Header, machine: &Machine) -> io::Result<Self> {
        let (orders, received) = mpsc::channel();
        let backlog = Arc::new(Backlog::default());
        let progress = Arc::new(Progress::default());
        let (filter, redacts) = (machine.filter, machine.redacted);
        let target = Target::new(sink, header, machine, Arc::clone(&progress))?;
        let scribe = Scribe::new(target, Arc::clone(&backlog))?;
        Ok(Self {
            orders,
            backlog,
            progress,
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
        self.backlog.has_room()
    }

    /// Whether a snapshot is welcome.
    #[must_use]
    pub fn has_room_for_picture(&self) -> bool {
        self.backlog.has_room_for_picture()
    }

    /// What became of the records until now.
    #[must_use]
    pub const fn kept(&self) -> Kept {
        self.kept
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

    /// The programs sample already, by numbers that they began anew with whenever they were attached.
    pub const fn comes_sampled(&mut self) {
        self.filter.one_in = 1;
    }

    /// Takes in how many records the programs have left out, which were told to leave out what this filter does: all
    /// that is faster, or what is not sampled where no I/O is too fast.
    pub const fn left_out(&mut self, count: u64) {
        if self.filter.slower_than_ns > 0 {
            self.kept.faster += count;
        } else {
            self.kept.sampled_out += count;
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

    /// Ends the recording.
    #[must_use]
    pub fn finish(mut self, monotonic_ns: u64, ended: Ended) -> Ending {
        self.pass_on();
        self.order(Order::End(End {
            monotonic_ns,
            kept: self.kept,
            ended,
        }));
        self.ending()
    }

    /// Ends one that failed, with all that was taken in and without an end.
    #[must_use]
    pub fn break_off(mut self) -> Ending {
        self.pass_on();
        self.ending()
    }

    /// No more orders come.
    fn ending(self) -> Ending {
        Ending {
            thread: self.thread,
            progress: self.progress,
            records: self.kept.records,
        }
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

/// A recording of which the last is being written.
pub struct Ending {
    thread: JoinHandle<io::Result<Written>>,
    progress: Arc<Progress>,
    records: u64,
}

impl Ending {
    /// Whether it is written, or has failed: waiting takes no time.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until everything is written.
    pub fn wait(self) -> io::Result<Written> {
        let failed = || io::Error::other("the thread that writes panicked");
        self.thread.join().map_err(|_| failed())?
    }

    /// How far the file is on its disk for certain; of a ring, the last one that was begun.
    #[must_use]
    pub fn reached(&self) -> Reached {
        let (before, reach) = self.progress.get();
        Reached {
            before,
            reach,
            lost: self.records.saturating_sub(reach.records),
        }
    }
}

/// What is certain of a file that is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Files that were begun before it.
    pub before: u32,
    /// How far it goes.
    pub reach: Reach,
    /// Records that were taken in and are not in it.
    pub lost: u64,
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Cursor, Read as _, Seek as _};
    use std::sync::mpsc::Receiver;

    use bytemuck::Zeroable as _;

    use super::backlog::MAX_WAITING;
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
        recorder.finish(4, Ended::Duration).wait().expect("written");
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
        recorder.break_off().wait().expect("written");
        assert_eq!(blocks(file), ["machine", "I/Os"]);
    }

    /// A file that takes until somebody lets it go, as that of a disk that hangs.
    struct Stuck(Receiver<()>);

    impl Files for Stuck {
        fn create(&mut self, _: u32) -> io::Result<File> {
            let _ = self.0.recv();
            Err(io::ErrorKind::StorageFull.into())
        }

        fn written(&mut self, _: u32, _: u64) {}

        fn failed(&mut self, _: u32, _: Option<Reach>, _: &io::Error) {}
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
        let ending = recorder.finish(3, Ended::Ring);
        let written = ending.wait().expect("the ring itself cannot fail");
        assert!(written.misses_last);
    }
}
