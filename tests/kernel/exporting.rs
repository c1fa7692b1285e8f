//! `export` again and again while a device is read: what follows what, a reader that waits, and memory over a long time.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::bpf::{objects, wait_until_only};
use crate::device::Backing;
use crate::load::{RandomReads, Running};
use crate::placement::NAME;
use crate::shell::wait_until;
use crate::valid;

/// `export`, ended with the test.
struct Exporting(Child);

impl Exporting {
    fn start(arguments: &[&str], out: Stdio) -> Self {
        let mut program = Command::new("verity-trace");
        program.arg("export").args(arguments).stdout(out);
        Self(program.spawn().expect("verity-trace"))
    }

    fn lines(&mut self) -> std::io::Lines<BufReader<ChildStdout>> {
        BufReader::new(self.0.stdout.take().expect("a pipe")).lines()
    }
}

impl Drop for Exporting {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
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
    let status = format!("/proc/{}/status", exporting.0.id());
    let resident_kib = || -> u64 {
        let status = fs::read_to_string(&status).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|it| it.trim().strip_suffix(" kB")?.parse().ok());
        kib.expect("its memory")
    };
    let mut lines = exporting.lines();
    let mut after = |count: usize| {
        let last = lines.by_ref().take(count).last();
        last.expect("a line").expect("text");
        resident_kib()
    };
    let [early, late] = [600, 5_300].map(&mut after);
    println!("{early} KiB after a minute, {late} KiB after ten");
    assert!(late < early + 2_048, "{early} {late}");
    assert_eq!(lines.count(), 100);
    load.stop();
}
