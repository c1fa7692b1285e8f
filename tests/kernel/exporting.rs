//! `export` again and again while a device is read: what follows what, a reader that waits, and memory over a long time.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::bpf::{objects, wait_until_only};
use crate::device::Backing;
use crate::load::{RandomReads, Running};
use crate::output_disk::Mounted;
use crate::placement::NAME;
use crate::process::resident_kib;
use crate::shell::{KillOnDrop, wait_until};
use crate::valid;

/// `export`, ended with the test.
struct Exporting(KillOnDrop);

impl Exporting {
    fn start(arguments: &[&str], out: Stdio) -> Self {
        let mut program = Command::new("verity-trace");
        program.arg("export").args(arguments).stdout(out);
        Self(KillOnDrop(program.spawn().expect("verity-trace")))
    }

    /// For `node_exporter`, at short intervals.
    fn onto(path: &Path) -> Self {
        let mut program = Command::new("verity-trace");
        program
            .args([
                "export",
                "--format",
                "prometheus",
                "--interval",
                "100ms",
                "-o",
            ])
            .arg(path)
            .stderr(Stdio::piped());
        Self(KillOnDrop(program.spawn().expect("verity-trace")))
    }

    fn lines(&mut self) -> std::io::Lines<BufReader<ChildStdout>> {
        BufReader::new(self.0.stdout.take().expect("a pipe")).lines()
    }
}

#[test]
fn documents_follow_one_another() {
    let device = Backing::virtio().open(NAME, true);
    let load = Running::start(&device, &["--name=load", "--rw=randread", "--bs=4k"]);
    let arguments = ["--format", "ndjson", "--interval", "200ms", "--count", "5"];
    let mut exporting = Exporting::start(&arguments, Stdio::piped());
    let documents: Vec<Value> = exporting
        .lines()
        .map(|line| valid::written("export", &line.expect("text")))
        .collect();
    assert!(exporting.0.wait().expect("its exit").success());
    load.stop();
    assert_eq!(documents.len(), 5);
    for pair in documents.windows(2) {
        let numbers =
            |at: &str| [0, 1].map(|one: usize| pair[one].pointer(at).and_then(Value::as_u64));
        let [before, after] = numbers("/watched_ns");
        assert!(before < after, "{before:?} {after:?}");
        let [before, after] = numbers("/devices/0/ios");
        assert!(before.is_some() && before <= after, "{before:?} {after:?}");
    }
}

/// The file is the newest exposition, also where nobody has read the one before.
#[test]
fn a_file_for_node_exporter_is_replaced() {
    let device = Backing::virtio().open(NAME, false);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("verity_trace.prom");
    let arguments = ["--format", "prometheus", "--interval", "100ms", "-o"];
    let path_text = path.to_str().expect("text");
    let exporting = Exporting::start(&[&arguments[..], &[path_text]].concat(), Stdio::null());
    let read = || fs::read_to_string(&path).unwrap_or_default();
    wait_until("there is a file", || !read().is_empty());
    let ios = RandomReads::small(200).on(&device);
    let expected = format!("verity_trace_io_total{{device=\"{NAME}\",placement=\"kverityd\"}} ");
    wait_until("the file has the reads", || {
        let text = read();
        let count = text.lines().find_map(|line| line.strip_prefix(&expected));
        count.is_some_and(|it| it.parse::<u64>().expect("a count") >= ios)
    });
    drop(exporting);
}

/// What was there stays whole, nothing is left beside it, and neither load nor module is held up.
#[test]
fn a_full_disk_ends_it_and_leaves_the_file_whole() {
    let device = Backing::virtio().open(NAME, true);
    let load = Running::start(&device, &["--name=load", "--rw=randread", "--bs=4k"]);
    let before = objects();
    let disk = Mounted::small(256);
    let path = disk.file("verity_trace.prom");
    let read = || fs::read_to_string(&path).unwrap_or_default();
    let mut exporting = Exporting::onto(&path);
    wait_until("there is a file", || !read().is_empty());
    let last = last_family(&read());
    let mut filler = fs::File::create(disk.file("filler")).expect("there is room");
    wait_until("it has ended", || {
        // The file before gives its room back when it is replaced.
        while filler.write_all(&[1; 4096]).is_ok() {}
        is_whole(&read(), &last);
        exporting.0.try_wait().expect("its state").is_some()
    });
    wait_until_only(&before);
    says_that_there_is_no_room(exporting, &path);
    let whole = read();
    is_whole(&whole, &last);
    // What it had written of the next one is free again.
    while filler.write_all(&[1; 4096]).is_ok() {}

    // From the start there is none.
    says_that_there_is_no_room(Exporting::onto(&path), &path);
    assert_eq!(read(), whole);
    let names = fs::read_dir(path.parent().expect("a folder")).expect("a folder");
    let names: BTreeSet<_> = names.map(|it| it.expect("a file").file_name()).collect();
    let expected = ["filler", "verity_trace.prom"].map(OsString::from);
    assert_eq!(names, BTreeSet::from(expected));
    load.run_for(100);
    load.stop();
    wait_until_only(&before);
}

/// The last family of an exposition; others come and go with what there is to say.
fn last_family(text: &str) -> String {
    let mut families = text.lines().rev();
    let last = families.find_map(|line| line.strip_prefix("# TYPE "));
    last.expect("a family").to_owned()
}

fn is_whole(text: &str, last: &str) {
    assert_eq!(last_family(text), last, "{text}");
    assert!(text.ends_with('\n'), "{text}");
}

/// It ends with the documented code and one line.
fn says_that_there_is_no_room(mut exporting: Exporting, path: &Path) {
    let mut said = String::new();
    let mut errors = exporting.0.stderr.take().expect("a pipe");
    errors.read_to_string(&mut said).expect("text");
    assert_eq!(exporting.0.wait().expect("its exit").code(), Some(1));
    // The first says when it writes.
    let lines: Vec<_> = said.lines().skip(1).collect();
    let expected = format!(
        "verity-trace: write {}: No space left on device (os error 28)",
        path.display()
    );
    assert_eq!(lines, [expected]);
}

/// Nobody reads what is exported. The probes leave all the same once the device is gone, so that the module can.
#[test]
fn a_reader_that_waits_holds_up_nothing() {
    let before = objects();
    let device = Backing::virtio().open(NAME, false);
    let arguments = ["--format", "ndjson", "--interval", "100ms"];
    let mut exporting = Exporting::start(&arguments, Stdio::piped());
    let tasks = format!("/proc/{}/task", exporting.0.id());
    wait_until("the pipe is full", || {
        let tasks = fs::read_dir(&tasks).expect("its tasks");
        tasks
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("wchan")).ok())
            .any(|waits_in| waits_in.contains("pipe_write"))
    });
    drop(device);
    wait_until_only(&before);
    let line = exporting.lines().next().expect("a line").expect("text");
    valid::written("export", &line);
    // Whose pipe is closed has nothing left to do.
    assert!(exporting.0.wait().expect("its exit").success());
}

/// Ten documents a second for ten minutes.
pub fn memory_stays_as_it_is() {
    let device = Backing::virtio().open(NAME, true);
    let load = Running::start(&device, &["--name=load", "--rw=randread", "--bs=4k"]);
    let arguments = [
        "--format",
        "ndjson",
        "--interval",
        "100ms",
        "--count",
        "6000",
    ];
    let mut exporting = Exporting::start(&arguments, Stdio::piped());
    let pid = exporting.0.id();
    let mut lines = exporting.lines();
    let mut after = |count: usize| {
        let last = lines.by_ref().take(count).last();
        last.expect("a line").expect("text");
        resident_kib(pid)
    };
    let [early, late] = [600, 5_300].map(&mut after);
    println!("{early} KiB after a minute, {late} KiB after ten");
    assert!(late < early + 2_048, "{early} {late}");
    assert_eq!(lines.count(), 100);
    load.stop();
}
