//! `verity-trace record` onto a disk that becomes full, and onto one that does not answer: what was written
//! can be read, the load goes on, and the probes leave.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Stdio};

use rustix::fs::statvfs;
use tempfile::TempDir;

use crate::behaviour::assert_refuses;
use crate::bpf::{objects, wait_until_only};
use crate::device::{Backing, Mapped};
use crate::load::{RandomReads, Running};
use crate::recording::{device, document, is_cut, record, records};
use crate::shell::{KillOnDrop, run, succeeds};

/// A file system that is mounted in a folder, until it is dropped.
pub struct Mounted(TempDir);

impl Mounted {
    fn new(how: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("a name");
        run("mount", &[how, &[path]].concat());
        let all = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), all).expect("a folder");
        Self(folder)
    }

    pub fn small(kib: u64) -> Self {
        Self::new(&["-t", "tmpfs", "-o", &format!("size={kib}k"), "small"])
    }

    fn on(disk: &Mapped) -> Self {
        let at_once = ["-O", "^has_journal", "-E", "lazy_itable_init=0"];
        run(
            "mkfs.ext4",
            &[&["-q"], &at_once[..], &[&disk.path()]].concat(),
        );
        Self::new(&["-t", "ext4", &disk.path()])
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a file of all that is free but 12 KiB: enough to begin a recording, and not to end it.
    fn fill(&self, name: &str) {
        let free = statvfs(self.0.path()).expect("a file system");
        let bytes = (free.f_bavail * free.f_frsize).saturating_sub(12 << 10);
        let bytes = usize::try_from(bytes).expect("a small disk");
        fs::write(self.file(name), vec![1; bytes]).expect("there is room");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let path = self.0.path().to_str().expect("a name");
        let unmounted = succeeds("umount", &[path]);
        assert!(unmounted || std::thread::panicking(), "umount {path}");
    }
}

/// A recording, and what it says.
struct Recording {
    child: KillOnDrop,
    errors: BufReader<ChildStderr>,
}

impl Recording {
    /// Returns once it records.
    fn start(file: &Path, arguments: &[&str]) -> Self {
        let mut command = record(file, arguments);
        let child = command.stderr(Stdio::piped()).spawn();
        let mut child = KillOnDrop(child.expect("verity-trace"));
        let errors = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut recording = Self { child, errors };
        recording.says("recording ");
        recording
    }

    /// Returns the line that says this, once it came.
    fn says(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            self.errors.read_line(&mut line).expect("a line");
            eprint!("{line}");
            assert!(!line.is_empty(), "it never says `{text}`");
            if line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self, signal: &str) {
        run("kill", &[signal, &self.child.id().to_string()]);
    }

    fn code(mut self) -> Option<i32> {
        self.child.wait().expect("its exit").code()
    }
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_load() {
    let device = device();
    let before = objects();
    let disk = Mounted::small(128);
    let file = disk.file("run");
    let mut recording = Recording::start(&file, &["--duration", "1h"]);
    let jobs = ["--name=load", "--rw=randread", "--bs=4k", "--iodepth=8"];
    let load = Running::start(&device, &jobs);
    let line = recording.says("write ");
    assert_eq!(recording.code(), Some(1), "a file could not be written");
    wait_until_only(&before);
    load.run_for(100);
    load.stop();
    let document = document(&file);
    let how = &document.0["recording"];
    assert!(how["cut_at_byte"].is_u64(), "{how}");
    assert!(how.get("end").is_none(), "{how}");
    let kept = records(&file).len() as u64;
    assert!(kept > 0);
    let counted = document.count("one", "ios");
    assert!(kept + document.loss("ring-full") >= counted, "{how}");
    for expected in [
        &format!("write {}: No space left on device", file.display()),
        &format!(", with {kept} records, can be read as a recording that was cut; "),
        " more records were lost; make room, ",
    ] {
        assert!(line.contains(expected), "{line}");
    }
}

#[test]
fn a_disk_that_is_full_from_the_start_is_told_at_once() {
    let _device = device();
    let disk = Mounted::small(16);
    fs::write(disk.file("filler"), vec![1; 16 << 10]).expect("there is room");
    let file = disk.file("run");
    let said = "No space left on device (os error 28); nothing was recorded; make room";
    assert_refuses(&mut record(&file, &["--duration", "1h"]), 1, said);
    assert_refuses(&mut record(&file, &["--", "true"]), 125, said);
    assert!(!file.exists());
}

#[test]
fn a_full_disk_leaves_the_command_alone() {
    let device = device();
    let before = objects();
    let (disk, place) = (Mounted::small(64), Mounted::small(64));
    let (file, enough) = (disk.file("run"), place.file("enough"));
    let script = "until [ -e $0 ]; do
        dd if=$1 of=/dev/null bs=4k count=500 iflag=direct 2>/dev/null
    done; exit 7";
    let enough_name = enough.to_str().expect("a name");
    let command = ["--", "sh", "-c", script, enough_name, &device.path()];
    let mut recording = Recording::start(&file, &command);
    recording.says("No space left on device");
    wait_until_only(&before);
    let ended = recording.child.try_wait().expect("its state");
    assert!(ended.is_none(), "the command goes on");
    fs::write(&enough, "").expect("there is room");
    assert_eq!(recording.code(), Some(125), "the failure is ours");
    assert!(!records(&file).is_empty() && is_cut(&file));
}

#[test]
fn a_ring_is_written_once_there_is_room() {
    let device = device();
    let disk = Mounted::small(2 << 10);
    let (file, again) = (disk.file("ring"), disk.file("ring.2"));
    disk.fill("filler");
    let mut recording = Recording::start(&file, &["--ring", "1M", "--duration", "1h"]);
    let reads = RandomReads::small(1_500).on(&device);
    recording.signal("-USR1");
    let line = recording.says("write ");
    let next = format!(
        "SIGUSR1 writes what is in memory then to {}",
        again.display()
    );
    for expected in [
        "No space left on device",
        "recording goes on: make room",
        &next,
    ] {
        assert!(line.contains(expected), "{line}");
    }
    assert!(is_cut(&file));
    fs::remove_file(disk.file("filler")).expect("removed");
    recording.signal("-USR1");
    recording.says(&format!("wrote {}", again.display()));
    let document = document(&again);
    let lost = document.loss("ring-full");
    assert_eq!(records(&again).len() as u64 + lost, reads);

    disk.fill("filler");
    recording.signal("-USR1");
    recording.says("No space left on device");
    recording.signal("-TERM");
    let line = recording.says("SIGUSR1 asked for last");
    assert!(line.contains("1 of 3 files are whole"), "{line}");
    assert_eq!(recording.code(), Some(1), "a file could not be written");
}

/// What is stuck in the kernel can end only once the disk answers: what can leave before has left.
#[test]
fn a_second_signal_does_not_wait_for_a_disk_that_does_not_answer() {
    let device = device();
    let ram = Backing::ram_disks(2, 16 << 10).as_disk("disk");
    let disk = Mounted::on(&ram);
    let before = objects();
    let file = disk.file("run");
    let mut recording = Recording::start(&file, &["--duration", "1h"]);
    RandomReads::small(500).on(&device);
    let suspended = ram.suspend();
    recording.signal("-INT");
    recording.says("waiting for the disk to take the rest of ");
    wait_until_only(&before);
    recording.signal("-INT");
    let line = recording.says("ended without waiting for the disk");
    assert!(line.contains(&file.display().to_string()), "{line}");
    assert!(line.contains("certain"), "{line}");
    drop(suspended);
    assert_eq!(recording.code(), Some(130), "SIGINT is 128 + 2");
    assert!(!records(&file).is_empty());
}
