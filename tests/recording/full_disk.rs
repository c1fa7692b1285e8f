//! Recording onto a file system that becomes full: what was written can be read, and what there was no room
//! for is told.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, ErrorKind};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;

use tempfile::TempDir;
use verity_trace::recorder::{Files, Reach, Recorder, Sink, Written};
use verity_trace::recording::{Ended, Machine};
use verity_trace::snapshot::Snapshot;

use crate::{HEADER, read, records, report_of, snapshots};

/// A file system with little room. Where nobody may mount one, a test fails: without it nothing is tested.
struct Small {
    /// The file system is mounted for it alone, and is gone with it.
    keeper: Child,
    folder: TempDir,
}

impl Small {
    fn new(kib: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut unshare = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            unshare.arg("--map-root-user");
        }
        let script = "mount -t tmpfs -o size=$0k small \"$1\" && echo ready && read -r _";
        unshare.args(["--mount", "sh", "-c", script, &kib.to_string()]);
        unshare.arg(folder.path());
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = unshare.spawn().expect("unshare, of util-linux");
        let mut line = String::new();
        let output = keeper.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("a line");
        assert_eq!(
            line, "ready\n",
            "no file system could be mounted: run this test as root, or let users have namespaces of their own \
             (user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
        );
        Self { keeper, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        let folder = self
            .folder
            .path()
            .strip_prefix("/")
            .expect("a path from the root");
        root.join(folder).join(name)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // It ends with what it reads from.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A second of it: 1,000 records and a snapshot.
fn second(recorder: &mut Recorder, number: u64, snapshot: &Snapshot) {
    for record in records(number * 1_000..(number + 1) * 1_000) {
        recorder.record(record);
    }
    recorder.picture(number * 1_000_000_000, snapshot.clone());
}

#[test]
fn a_full_disk_cuts_the_recording_behind_its_last_whole_block() {
    let small = Small::new(256);
    let path = small.file("run");
    let file = File::create_new(&path).expect("a file");
    let recorder = Recorder::start(Sink::File(file), HEADER, &Machine::default());
    let mut recorder = recorder.expect("there is room for a beginning");
    let snapshot = snapshots().remove(0);
    let mut seconds = 0;
    while recorder.is_running() {
        if recorder.has_room_for_picture() {
            second(&mut recorder, seconds, &snapshot);
            seconds += 1;
        } else {
            thread::yield_now();
        }
    }
    let ending = recorder.finish(seconds * 1_000_000_000, Ended::Duration);
    while !ending.is_over() {
        thread::yield_now();
    }
    let reached = ending.reached();
    let error = ending.wait().expect_err("there is no room");
    assert_eq!(error.kind(), ErrorKind::StorageFull);

    let file = fs::read(&path).expect("a recording");
    assert!(
        (128 << 10..=256 << 10).contains(&file.len()),
        "{}",
        file.len()
    );
    let read = read(&file);
    assert!(read.fault.is_none(), "{:?}", read.fault);
    assert!(!read.condition.ended);
    assert_eq!(read.condition.cut, Some(reached.reach.bytes));
    assert_eq!(read.records, records(0..reached.reach.records));
    assert_eq!(read.snapshots.len() as u64, reached.reach.pictures);
    assert!(reached.reach.pictures > 1 && reached.lost > 0);
    assert_eq!(reached.reach.records + reached.lost, seconds * 1_000);
    let text = report_of(&file, false);
    let cut = format!("cut at byte {}", reached.reach.bytes);
    assert!(text.contains(&cut), "{text}");
}

#[test]
fn a_disk_that_is_full_from_the_start_is_told_at_once() {
    let full = File::options().write(true).open("/dev/full");
    let full = Sink::File(full.expect("a device that is always full"));
    let refused = Recorder::start(full, HEADER, &Machine::default());
    let error = refused.err().expect("there is no room");
    assert_eq!(error.kind(), ErrorKind::StorageFull);
}

/// What became of a file of the ring.
#[derive(Debug, PartialEq)]
enum Told {
    Written(u32, u64),
    Failed(u32, Option<Reach>, ErrorKind),
}

struct Numbered {
    folder: PathBuf,
    told: Sender<Told>,
}

impl Files for Numbered {
    fn create(&mut self, before: u32) -> io::Result<File> {
        File::create_new(self.folder.join(before.to_string()))
    }

    fn written(&mut self, before: u32, bytes: u64) {
        let told = self.told.send(Told::Written(before, bytes));
        told.expect("the test listens");
    }

    fn failed(&mut self, before: u32, reached: Option<Reach>, error: &io::Error) {
        let told = self.told.send(Told::Failed(before, reached, error.kind()));
        told.expect("the test listens");
    }
}

#[test]
fn a_ring_that_finds_no_room_stays_and_is_written_once_there_is() {
    let small = Small::new(128);
    let (filler, folder) = (small.file("filler"), small.file(""));
    fs::write(&filler, vec![1; 112 << 10]).expect("there is room");
    let (told, tells) = mpsc::channel();
    let files = Box::new(Numbered {
        folder: folder.clone(),
        told,
    });
    let sink = Sink::Ring {
        bytes: 48 << 10,
        files,
    };
    let recorder = Recorder::start(sink, HEADER, &Machine::default());
    let mut recorder = recorder.expect("a recording");
    let snapshot = snapshots().remove(0);
    for number in 0..10 {
        second(&mut recorder, number, &snapshot);
    }

    recorder.dump(11_000_000_000);
    let failed = tells.recv().expect("the ring tells");
    let Told::Failed(0, Some(reach), ErrorKind::StorageFull) = failed else {
        panic!("{failed:?}");
    };
    let cut = read(&fs::read(small.file("0")).expect("a recording"));
    assert!(cut.fault.is_none(), "{:?}", cut.fault);
    assert_eq!(cut.condition.cut, Some(reach.bytes));
    assert_eq!(cut.records.len() as u64, reach.records);

    fs::remove_file(&filler).expect("removed");
    recorder.dump(12_000_000_000);
    let written = tells.recv().expect("the ring tells");
    let file = fs::read(small.file("1")).expect("a recording");
    assert_eq!(written, Told::Written(1, file.len() as u64));
    let whole = read(&file);
    assert!(whole.condition.ended);
    assert!(whole.records.len() > cut.records.len());
    assert_eq!(whole.records.last(), records(9_999..10_000).last());

    fs::write(small.file("2"), "taken").expect("there is room");
    recorder.dump(13_000_000_000);
    let refused = Told::Failed(2, None, ErrorKind::AlreadyExists);
    assert_eq!(tells.recv().expect("the ring tells"), refused);
    let ending = recorder.finish(14_000_000_000, Ended::Signal(15));
    let written = ending.wait().expect("the ring itself cannot fail");
    let expected = Written {
        files: 1,
        bytes: file.len() as u64,
        begun: 2,
        kept: written.kept,
        misses_last: true,
    };
    assert_eq!(written, expected);
}
