//! `verity-trace record`: what it keeps of real I/Os, and how it runs a command.

use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use verity_trace::recording::{Block, Reader};
use verity_trace_ebpf::record::Record;

use crate::device::{Backing, Verity};
use crate::load::{RandomReads, Running};
use crate::screen::Screen;
use crate::shell::{KillOnDrop, run, wait_until};
use crate::tracer::Document;
use crate::valid;

/// A file of this name in a folder that is gone with the test.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Whoever a command runs as finds it.
        let all = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), all).expect("a folder");
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

pub fn record(file: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("verity-trace");
    command.args(["record", "-o"]).arg(file).args(arguments);
    command
}

fn recorded(file: &Path, arguments: &[&str]) -> Output {
    let output = record(file, arguments).output().expect("verity-trace");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Starts one, and returns once its first snapshot is in the file.
fn started(file: &Path, arguments: &[&str]) -> KillOnDrop {
    let child = KillOnDrop(record(file, arguments).spawn().expect("verity-trace"));
    let has_begun = || fs::metadata(file).is_ok_and(|it| it.len() > 1_000);
    wait_until("the recording has begun", has_begun);
    child
}

/// The document that a report of it is.
pub fn document(file: &Path) -> Document {
    let file = file.to_str().expect("a name");
    let text = run("verity-trace", &["report", "--format", "json", file]);
    Document(valid::written("report", &text))
}

pub fn records(file: &Path) -> Vec<Record> {
    let file = BufReader::new(File::open(file).expect("a recording"));
    let mut reader = Reader::new(file, false).expect("a recording");
    let mut records = Vec::new();
    while let Some(block) = reader.next_block().expect("a block") {
        if let Block::Ios(ios) = block {
            reader.records(&ios, &mut records).expect("records");
        }
    }
    records
}

pub fn device() -> Verity {
    Backing::virtio().open("one", true)
}

/// The live view records from one key to the next what happens meanwhile, and nothing else.
#[test]
fn the_live_view_records_from_one_key_to_the_next() {
    let device = device();
    let place = Place::new();
    let folder = place.0.path();
    let mut screen = Screen::of_in("verity-trace", &["top", "--interval", "200ms"], folder);
    screen.wait_for("fentry");
    RandomReads::small(300).on(&device);
    screen.wait_for("on, ");
    let files = || -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("a file").path()).collect()
    };
    for (number, reads) in [(1, 500), (2, 200)] {
        screen.press("o");
        screen.wait_for("recording 0 (0 lost)");
        RandomReads::small(reads).on(&device);
        screen.wait_for(&format!("recording {reads} (0 lost)"));
        screen.press("o");
        screen.wait_for(&format!("{reads} records, "));
        RandomReads::small(100).on(&device);
        assert_eq!(files().len(), number);
    }
    let mut files = files();
    files.sort();
    for (file, reads) in files.iter().zip([500, 200]) {
        assert_eq!(fs::metadata(file).expect("a file").mode() & 0o777, 0o600);
        assert_eq!(records(file).len(), reads, "{}", file.display());
        let document = document(file);
        let one = document.device("one");
        assert_eq!(one["ios"], reads, "{one}");
        assert_eq!(document.0["recording"]["end"]["ended"], "duration");
    }
    // One that is being made is whole also when the view ends.
    screen.press("o");
    screen.wait_for("recording 0 (0 lost)");
    RandomReads::small(50).on(&device);
    screen.press("q");
    assert_eq!(screen.exit_code(), 0);
    let last = fs::read_dir(folder).expect("a folder");
    let last = last.map(|entry| entry.expect("a file").path()).max();
    assert_eq!(records(&last.expect("a recording")).len(), 50);
}

/// As many records as fio did reads, in the file as in the counters, and each one complete.
#[test]
fn every_io_is_in_the_file() {
    let device = device();
    device.warm_up();
    let place = Place::new();
    let file = place.file("all");
    let mut recording = started(&file, &["--duration", "1h"]);
    let reads = RandomReads::small(3_000).on(&device);
    run("kill", &["-INT", &recording.id().to_string()]);
    let code = recording.wait().expect("its exit").code();
    assert_eq!(code, Some(130), "SIGINT is 128 + 2");
    let document = document(&file);
    document.assert_accounted("one", reads);
    let lost = document.0["lost"].as_u64().expect("a count");
    let records = records(&file);
    assert_eq!(records.len() as u64 + lost, reads);
    assert_eq!(document.0["recording"]["records"], records.len());
    for record in &records {
        assert_eq!(record.bytes, 4_096);
        let sum: u64 = record.stages_ns.iter().filter(|&&ns| ns != u64::MAX).sum();
        assert_eq!(sum, record.total_ns);
    }
    let bytes = fs::metadata(&file).expect("a recording").len();
    eprintln!(
        "{bytes} bytes for {} records, {:.1} each",
        records.len(),
        bytes as f64 / records.len() as f64
    );
    let mode = fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = recorded(&file, &["--duration", "1s"]);
    assert_eq!(again.status.code(), Some(2), "it exists");
}

#[test]
fn the_exit_code_of_the_command_is_passed_on() {
    let _device = device();
    let place = Place::new();
    let cases: [(&[&str], i32, &str); 4] = [
        (&["true"], 0, "0"),
        (&["sh", "-c", "exit 7"], 7, "7"),
        (&["sh", "-c", "kill -9 $$"], 137, "137"),
        (&["no-such-program"], 127, "127"),
    ];
    for (number, (command, code, kept)) in cases.into_iter().enumerate() {
        let file = place.file(&number.to_string());
        let output = recorded(&file, &[&["--"], command].concat());
        assert_eq!(output.status.code(), Some(code), "{command:?}");
        let document = document(&file);
        let ended = &document.0["recording"]["end"]["ended"]["command"];
        assert_eq!(ended.to_string(), kept, "{command:?}");
    }
    let file = place.file("0");
    let output = recorded(&file, &["--", "true"]);
    assert_eq!(output.status.code(), Some(125), "the file exists");
}

#[test]
fn a_recording_that_was_killed_is_read_up_to_its_last_block() {
    let device = device();
    let place = Place::new();
    let file = place.file("killed");
    let mut recording = started(&file, &["--duration", "1h"]);
    let load = Running::start(&device, &["--name=load", "--rw=randread", "--bs=4k"]);
    let is_there = || !records(&file).is_empty();
    wait_until("records are in the file", is_there);
    recording.kill().expect("killed");
    recording.wait().expect("its exit");
    load.stop();
    let document = document(&file);
    let recording = &document.0["recording"];
    assert!(recording["cut_at_byte"].is_u64(), "{recording}");
    assert!(recording.get("end").is_none(), "{recording}");
    let kept = records(&file).len() as u64;
    assert!(kept > 0);
    assert!(kept >= document.count("one", "ios"), "{recording}");
}

/// As whoever called sudo, with their groups, nothing of ours open, and a file that is theirs.
#[test]
fn the_command_is_run_as_whoever_called_sudo() {
    let _device = device();
    let place = Place::new();
    let says = |name: &str, arguments: &[&str], sudo: bool| {
        let file = place.file(name);
        let mut command = record(&file, arguments);
        if sudo {
            command.envs([
                ("SUDO_UID", "1234"),
                ("SUDO_GID", "1235"),
                ("SUDO_USER", "somebody"),
            ]);
        }
        let output = command.stderr(Stdio::inherit()).output();
        let output = output.expect("verity-trace");
        assert!(output.status.success(), "{name}");
        let owner = fs::metadata(&file).expect("a file");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (text, (owner.uid(), owner.gid()))
    };
    let id: &[&str] = &["--", "sh", "-c", "echo $(id -u) $(id -g) $(id -G) $USER"];
    let theirs = ("1234 1235 1235 somebody".to_owned(), (1234, 1235));
    assert_eq!(says("theirs", id, true), theirs);
    let (text, owner) = says("root", &[&["--as-root"], id].concat(), true);
    assert!(text.starts_with("0 0 "), "{text}");
    assert_eq!(owner, (1234, 1235));
    let (text, owner) = says("nobody", id, false);
    assert!(text.starts_with("0 0 "), "{text}");
    assert_eq!(owner, (0, 0));
    let open = ["--", "sh", "-c", "ls /proc/self/fd | tr '\\n' ' '"];
    // What ls itself opens is the last.
    assert_eq!(says("open", &open, true).0, "0 1 2 3");
}

#[test]
fn a_filter_leaves_out_records_and_no_counts() {
    let device = device();
    let place = Place::new();
    let count_of = |name: &str, filter: &[&str]| {
        let file = place.file(name);
        let mut recording = started(&file, &[filter, &["--duration", "1h"]].concat());
        let reads = RandomReads::small(1_000).on(&device);
        run("kill", &["-INT", &recording.id().to_string()]);
        recording.wait().expect("its exit");
        let document = document(&file);
        document.assert_accounted("one", reads);
        let kept = document.0["recording"]["end"]["kept"].clone();
        let count = |what: &str| kept[what].as_u64().expect("a count");
        let lost = document.loss("ring-full");
        let sum = count("records") + count("faster") + count("sampled_out") + lost;
        assert_eq!(sum, document.count("one", "ios"), "{kept}");
        assert_eq!(records(&file).len() as u64, count("records"));
        (count("records"), kept)
    };
    let (kept, counts) = count_of("none", &["--slower-than", "1h"]);
    assert_eq!((kept, &counts["sampled_out"]), (0, &Value::from(0)));
    let (kept, _) = count_of("some", &["--sample", "1/10"]);
    // More than six deviations of a tenth of a thousand.
    assert!((40..160).contains(&kept), "{kept}");
}

#[test]
fn the_ring_is_written_when_a_signal_asks_for_it() {
    let device = device();
    let place = Place::new();
    let file = place.file("ring");
    let again = place.file("ring.2");
    let arguments = ["--ring", "1M", "--redact", "--duration", "1h"];
    let mut recording = record(&file, &arguments)
        .stderr(Stdio::piped())
        .spawn()
        .expect("verity-trace");
    let pid = recording.id().to_string();
    let mut line = String::new();
    let errors = recording.stderr.take().expect("a pipe");
    std::io::BufRead::read_line(&mut BufReader::new(errors), &mut line).expect("a line");
    assert!(line.contains(&format!("kill -USR1 {pid}")), "{line}");
    let reads = RandomReads::small(500).on(&device);
    assert!(!file.exists());
    for file in [&file, &again] {
        run("kill", &["-USR1", &pid]);
        let is_whole = || file.exists() && !is_cut(file);
        wait_until("the ring is written", is_whole);
    }
    run("kill", &["-TERM", &pid]);
    assert_eq!(recording.wait().expect("its exit").code(), Some(143));
    let document = document(&again);
    let lost = document.loss("ring-full");
    assert_eq!(records(&again).len() as u64 + lost, reads);
    assert_eq!(document.0["recording"]["end"]["ended"], "ring");
    assert!(records(&again).iter().all(|it| it.command == [0; 16]));
    assert_eq!(document.0["kernel"]["host"], "redacted");
    assert_eq!(document.device("one")["root_hash"], "redacted");
}

/// Whether it ends without an end.
pub fn is_cut(file: &Path) -> bool {
    let file = BufReader::new(File::open(file).expect("a recording"));
    let Ok(mut reader) = Reader::new(file, false) else {
        return true;
    };
    while let Ok(Some(_)) = reader.next_block() {}
    !reader.condition().ended
}
