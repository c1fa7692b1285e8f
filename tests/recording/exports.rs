//! `export` of recordings: every format, one document after the other, and into a file that is replaced.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use verity_trace::recording::{Encoder, Writer};
use verity_trace_ebpf::placement::Stage;

use super::{HEADER, common, end, picture, valid};

/// What a pipe of Linux holds.
const PIPE_BYTES: u64 = 64 << 10;

/// Documents that are not read yet when memory is looked at.
const LEFT: u64 = 100;

#[test]
fn every_format_says_the_same() {
    let indented = exported(&["--once", "--demo=6.12"]);
    let line = exported(&["--once", "--demo=6.12", "--format", "ndjson"]);
    assert_eq!(line.matches('\n').count(), 1);
    let document = valid::written("export", &indented);
    assert_eq!(valid::written("export", &line), document);
    let metrics = exported(&["--once", "--demo=6.12", "--format", "openmetrics"]);
    let text = exported(&["--once", "--demo=6.12", "--format", "prometheus"]);
    assert!(metrics.ends_with("\n# EOF\n") && !text.contains("EOF"));
    for device in document["devices"].as_array().expect("devices") {
        for (placement, these) in device["placements"].as_object().expect("placements") {
            let name = device["name"].as_str().expect("a name");
            let expected = format!(
                "verity_trace_io_total{{device=\"{name}\",placement=\"{placement}\"}} {}\n",
                these["ios"]
            );
            assert!(metrics.contains(&expected), "{expected}: {metrics}");
            assert!(text.contains(&expected), "{expected}: {text}");
        }
    }
}

#[test]
fn a_recording_is_exported_snapshot_by_snapshot() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = made_up(folder.path(), 20);
    let text = exported(&["--format".as_ref(), "ndjson".as_ref(), path.as_os_str()]);
    let documents: Vec<_> = text
        .lines()
        .map(|line| valid::written("export", line))
        .collect();
    let times: Vec<_> = documents
        .iter()
        .map(|it| it["watched_ns"].as_u64())
        .collect();
    let expected: Vec<_> = (1..=20).map(|at| Some(at * 1_000_000_000)).collect();
    assert_eq!(times, expected);
    let few = exported(&[
        "--format=ndjson".as_ref(),
        "--count=3".as_ref(),
        path.as_os_str(),
    ]);
    let first: Vec<_> = text.split_inclusive('\n').take(3).collect();
    assert_eq!(few, first.concat());
    let name = documents[0]["devices"][0]["name"].as_str().expect("a name");
    let one = exported(&["--format=ndjson".as_ref(), path.as_os_str(), name.as_ref()]);
    for line in one.lines() {
        let document: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(document["devices"].as_array().map(Vec::len), Some(1));
    }
    let last = exported(&[
        "--once".as_ref(),
        "--format=ndjson".as_ref(),
        path.as_os_str(),
    ]);
    assert_eq!(Some(last.as_str()), text.split_inclusive('\n').next_back());
}

#[test]
fn whoever_has_read_enough_ends_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = made_up(folder.path(), 200);
    let mut child = started(&path, Stdio::piped());
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let line = lines.next().expect("a line").expect("text");
    valid::written("export", &line);
    drop(lines);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// A reader takes all but the last lines, and while the program waits for it to go on it is looked at.
#[test]
fn memory_does_not_grow_with_what_was_exported() {
    let folder = tempfile::tempdir().expect("a folder");
    let [few, many] = [200, 1_500].map(|count| {
        let path = made_up(folder.path(), count);
        let mut child = started(&path, Stdio::piped());
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut bytes = 0;
        for _ in LEFT..count {
            bytes = lines.next().expect("a line").expect("text").len();
        }
        assert!(bytes as u64 * LEFT > 2 * PIPE_BYTES, "{bytes}");
        let kib = resident_kib(&child);
        assert_eq!(lines.count() as u64, LEFT);
        assert!(child.wait().expect("it ends").success());
        kib
    });
    println!("{few} KiB after 100 documents, {many} KiB after 1,400");
    assert!(many < few + 2_048, "{few} {many}");
}

#[test]
fn a_file_is_replaced_as_a_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("verity_trace.prom");
    let export = |more: &[&str]| {
        let fixed = ["--once", "--demo", "--format", "prometheus", "-o"];
        let arguments = fixed.iter().map(OsStr::new).chain([path.as_os_str()]);
        run(arguments.chain(more.iter().map(OsStr::new)))
    };
    for (more, mode) in [(&[][..], 0o644), (&["--mode", "640"], 0o640)] {
        fs::write(&path, "what was there").expect("written");
        let output = export(more);
        assert!(output.status.success(), "{output:?}");
        let metadata = fs::metadata(&path).expect("a file");
        assert_eq!(metadata.permissions().mode() & 0o777, mode);
        let text = fs::read_to_string(&path).expect("text");
        assert!(text.starts_with("# HELP verity_trace_build_info"), "{text}");
        assert_eq!(
            names(folder.path()),
            ["verity_trace.prom".to_owned()].into()
        );
    }
}

#[test]
fn what_cannot_be_written_is_told_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "kept").expect("written");
    let gone = folder.path().join("gone/file");
    let within = file.join("within");
    for (path, code) in [
        (gone.as_path(), 1),
        (&within, 1),
        (folder.path(), 2),
        (Path::new("/dev/full"), 2),
        (Path::new("/dev/null"), 2),
    ] {
        let output = run(["--once", "--demo", "-o"]
            .map(OsStr::new)
            .into_iter()
            .chain([path.as_os_str()]));
        told_in_one_line(&output, code);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains(&*path.to_string_lossy()), "{message}");
    }
    assert_eq!(names(folder.path()), ["file".to_owned()].into());
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("a device");
    for format in ["json", "ndjson", "openmetrics", "prometheus"] {
        let output = program()
            .args(["--once", "--demo", "--format", format])
            .stdout(full.try_clone().expect("a second handle"))
            .output()
            .expect("the program starts");
        told_in_one_line(&output, 1);
    }
}

fn told_in_one_line(output: &Output, code: i32) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.starts_with("verity-trace: "), "{message}");
}

/// A recording of so many snapshots, a second apart, each of a document of some 10 KB.
fn made_up(folder: &Path, count: u64) -> PathBuf {
    let mut encoder = Encoder::new(false).expect("an encoder");
    let mut writer = Writer::new(Vec::new(), &HEADER).expect("written to memory");
    let mut snapshot = common::scenario("inline_and_bh_with_large_on_kverityd").snapshot();
    for at in 0..count {
        snapshot.watched = std::time::Duration::from_secs(at + 1);
        for device in &mut snapshot.devices {
            if let Some(in_flight) = &mut device.in_flight {
                in_flight.add(Stage::Wait, std::time::Duration::from_millis(at));
            }
        }
        let frame = encoder.picture(&picture(at, &snapshot));
        writer.write(&frame.expect("a block")).expect("written");
    }
    let frame = encoder.end(&end());
    writer.write(&frame.expect("a block")).expect("written");
    let path = folder.join(format!("{count}.vtrec"));
    fs::write(&path, writer.into_inner()).expect("written");
    path
}

fn started(path: &Path, out: Stdio) -> Child {
    program()
        .args(["--format", "ndjson"])
        .arg(path)
        .stdout(out)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

fn exported<A: AsRef<OsStr>>(arguments: &[A]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    let mut program = program();
    program
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_verity-trace"));
    program.arg("export");
    program
}

fn resident_kib(child: &Child) -> u64 {
    let mut status = String::new();
    let file = File::open(format!("/proc/{}/status", child.id()));
    file.and_then(|mut it| it.read_to_string(&mut status))
        .expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|it| it.trim().strip_suffix(" kB")?.parse().ok());
    kib.expect("its memory")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry
            .expect("an entry")
            .file_name()
            .to_string_lossy()
            .into_owned()
    };
    entries.map(name).collect()
}
