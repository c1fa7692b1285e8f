//! Comparisons of recordings: the ones that travel with the program, and made-up ones.

use std::io::Cursor;
use std::path::Path;
use std::process::{Command, Output};

use bytemuck::Zeroable as _;
use verity_trace::compare::{self, Comparison, Pair, Side, Verdict};
use verity_trace::dm::VerityDevice;
use verity_trace::export::{Document, Entry};
use verity_trace::recording::{
    Devices, Encoder, End, Ended, Filter, Header, Kept, Machine, Picture, Reader, Writer,
};
use verity_trace::snapshot::Era;
use verity_trace_ebpf::record::{ABSENT, Record};

#[expect(dead_code, reason = "other suites need more of it")]
mod common;
mod valid;

#[test]
fn what_else_differs_between_two_kernels_is_named_first() {
    let output = run(&["demo:6.1", "demo:6.12"]);
    assert_eq!(output.status.code(), Some(0));
    let text = text(&output.stdout);
    insta::assert_snapshot!("inert_against_bh", text);
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert_eq!(output.stdout, run(&["demo:6.1", "demo:6.12"]).stdout);
}

#[test]
fn the_exit_code_says_which_is_faster() {
    let folder = tempfile::tempdir().expect("a folder");
    let [slow, fast] = slow_and_fast(folder.path());
    for (arguments, code) in [
        ([&slow, &fast], 12),
        ([&fast, &slow], 11),
        ([&fast, &fast], 0),
    ] {
        let arguments = arguments.map(String::as_str);
        let output = run(&[&arguments[..], &["--exit-code"]].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert_eq!(run(&arguments).status.code(), Some(0));
    }
}

#[test]
fn a_recording_does_not_differ_from_itself() {
    let output = run(&["demo:7.3", "demo:7.3", "--format=json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["differences"], serde_json::json!([]));
    let devices = document["devices"].as_array().expect("devices");
    assert_eq!(devices.len(), 2);
    for device in devices {
        assert_eq!(device["verdict"], Verdict::NoDifference.name());
        for row in device["rows"].as_array().expect("rows") {
            assert_eq!(row["a"], row["b"]);
            assert_eq!(row["verdict"], Verdict::NoDifference.name());
        }
    }
}

#[test]
fn json_has_the_shift_and_where_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let [slow, fast] = slow_and_fast(folder.path());
    let document = json(&[&slow, &fast]);
    assert_eq!(document["a"]["era"], "bh");
    assert_eq!(document["devices"][0]["verdict"], "faster");
    let shift = &total_of_all(&document)["shifts"]["p50"];
    let relative = shift["relative"].as_f64().expect("a number");
    let [least, most] = [0, 1].map(|at| shift["relative_95"][at].as_f64().expect("a number"));
    assert!(
        least <= relative && relative <= most && most < -0.5,
        "{shift}"
    );
    // Of fewer than 1,000 I/Os.
    let few = json(&["demo:6.1", "demo:6.12"]);
    assert_eq!(few["a"]["era"], "inert");
    let shifts = &total_of_all(&few)["shifts"];
    assert!(shifts["p50"]["relative_95"].is_array(), "{shifts}");
    assert_eq!(shifts["p99"].get("relative_95"), None);
}

fn json(recordings: &[&str]) -> serde_json::Value {
    let output = run(&[recordings, &["--format=json"]].concat());
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// All I/Os of the first device.
fn total_of_all(document: &serde_json::Value) -> &serde_json::Value {
    let rows = document["devices"][0]["rows"].as_array().expect("rows");
    let is_it = |row: &&serde_json::Value| row["placement"] == "all" && row["stage"] == "total";
    rows.iter().find(is_it).expect("a row")
}

/// Files in this folder.
fn slow_and_fast(folder: &Path) -> [String; 2] {
    [("slow", 9), ("fast", 1)].map(|(name, times)| {
        let path = folder.join(name);
        std::fs::write(&path, recording("root", &Filter::default(), times)).expect("written");
        path.to_str().expect("a path").to_owned()
    })
}

#[test]
fn devices_are_compared_by_name_or_as_it_is_asked_for() {
    let output = run(&["demo:6.1", "demo:6.12", "--device", "root=usr"]);
    let message = text(&output.stdout);
    assert!(message.contains("device root and usr"), "{message}");
    let output = run(&["demo:6.1", "demo:6.12", "--device", "nowhere"]);
    assert_eq!(output.status.code(), Some(5));
    let message = text(&output.stderr);
    assert!(
        message.contains("`nowhere` is not in A; there is root, usr"),
        "{message}"
    );
}

#[test]
fn it_goes_into_a_file_and_over_none_unless_asked_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    let path = path.to_str().expect("a path");
    let to = ["demo:6.1", "demo:6.12", "-o", path];
    assert!(run(&to).status.success());
    assert_eq!(run(&to).status.code(), Some(2), "it exists");
    assert!(run(&[&to[..], &["--force"]].concat()).status.success());
    let written = std::fs::read(path).expect("a file");
    assert_eq!(written, run(&to[..2]).stdout);
}

#[test]
fn what_is_slower_in_any_statistic_is_slower() {
    let a = made("root", &Filter::default(), |at, record| {
        takes(record, 1_000_000 + 97 * at % 9_000);
    });
    let b = made("root", &Filter::default(), |at, record| {
        let times = if at.is_multiple_of(25) { 40 } else { 1 };
        takes(record, times * 800_000 + 97 * at % 9_000);
    });
    let mixed = compared(&a, &b);
    assert_eq!(mixed.exit_code(), 11);
    let text = printed(&mixed);
    assert!(
        text.contains("device root: slower (mean, p99), but faster in p50"),
        "{text}"
    );
    let mut json = Vec::new();
    compare::json(&mixed, &mut json).expect("written to memory");
    let json = valid::written("compare", &String::from_utf8(json).expect("text"));
    let rows = json["devices"][0]["rows"].as_array().expect("rows");
    let total = rows.iter().find(|row| row["stage"] == "total");
    let total = total.expect("a row");
    assert_eq!(total["verdict"], "slower");
    assert_eq!(total["verdict_of"], serde_json::json!(["mean", "p99"]));
    assert_eq!(total["opposite_of"], serde_json::json!(["p50"]));
}

#[test]
fn a_few_pauses_are_named_and_make_no_difference() {
    let a = recording("root", &Filter::default(), 1);
    let b = made("root", &Filter::default(), |at, record| {
        let pause = if at % 600 < 3 { 400_000_000 } else { 0 };
        takes(record, 20_000 + pause + 97 * at % 9_000);
    });
    let paused = compared(&a, &b);
    let text = printed(&paused);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(paused.exit_code(), 0, "{text}");
    let named = "too few independent intervals of time (mean 4; it takes 10)";
    assert!(text.contains(named), "{text}");
    let mut json = Vec::new();
    compare::json(&paused, &mut json).expect("written to memory");
    let json = valid::written("compare", &String::from_utf8(json).expect("text"));
    let rows = json["devices"][0]["rows"].as_array().expect("rows");
    let total = rows.iter().find(|row| row["stage"] == "total");
    let mean = &total.expect("a row")["shifts"]["mean"];
    assert!(mean["independent_intervals"].as_f64() < Some(5.0), "{mean}");
    assert_eq!(mean.get("chance"), None);
}

#[test]
fn devices_without_end_are_counted_and_not_kept() {
    let file = made("root", &Filter::default(), |at, record| {
        record.device = 200 << 20 | u32::try_from(at % 1_500).expect("few");
    });
    let same = compared(&file, &file);
    // The first 500 have two I/Os, all others one.
    assert_eq!(same.sides[0].uncompared, 1_500 - 1_024);
    // With the one that was noted, and has none.
    assert_eq!(same.devices.len(), 1_024 + 1);
    let text = printed(&same);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("476 records are of devices beyond 1024"),
        "{text}"
    );
}

#[test]
fn slow_ios_alone_are_not_compared() {
    let whole = recording("root", &Filter::default(), 1);
    let slow = Filter {
        slower_than_ns: 50_000,
        one_in: 1,
    };
    let compared = compared(&whole, &recording("root", &slow, 9));
    let text = printed(&compared);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("records are of I/Os alone that took at least 50.0 us"),
        "{text}"
    );
    assert_eq!(compared.exit_code(), 0);
}

#[test]
fn a_sample_is_compared_and_the_only_devices_belong_together() {
    let sampled = Filter {
        slower_than_ns: 0,
        one_in: 3,
    };
    let whole = recording("root", &Filter::default(), 1);
    let same = compared(&whole, &recording("other", &sampled, 1));
    let text = printed(&same);
    assert_eq!(same.exit_code(), 0, "{text}");
    assert!(text.contains("records: of every I/O | "), "{text}");
    assert!(text.contains("device root and other"), "{text}");
    let slower = compared(&whole, &recording("other", &sampled, 9));
    assert_eq!(slower.exit_code(), 11, "{}", printed(&slower));
    let faster = compared(&recording("other", &sampled, 9), &whole);
    assert_eq!(faster.exit_code(), 12);
}

#[test]
fn hostile_names_are_escaped() {
    let hostile = "a\u{1b}[2J\u{202e}b";
    let file = recording(hostile, &Filter::default(), 1);
    let text = printed(&compared(&file, &file));
    assert!(text.contains("device a\\u{1b}[2J\\u{202e}b"), "{text}");
    assert!(!text.contains(['\u{1b}', '\u{202e}']));
}

#[test]
fn a_recording_that_was_cut_says_so() {
    let file = recording("root", &Filter::default(), 1);
    let cut = compared(&file, &file[..file.len() - 1]);
    let text = printed(&cut);
    assert!(text.contains("cut at byte"), "{text}");
    assert!(text.contains("cut: no | at byte"), "{text}");
}

fn compared(a: &[u8], b: &[u8]) -> Comparison {
    let sides = [a, b].map(|file| {
        let mut reader = Reader::new(Cursor::new(file), false).expect("a recording");
        Side::read(&mut reader).expect("a recording")
    });
    let names = ["a.vtrec", "b.vtrec"].map(str::to_owned);
    let none: &[Pair] = &[];
    Comparison::new(names, sides, none, 1).expect("a comparison")
}

fn printed(comparison: &Comparison) -> String {
    let mut text = Vec::new();
    compare::text(comparison, &mut text).expect("written to memory");
    String::from_utf8(text).expect("text")
}

/// Two seconds with 2,000 I/Os of one device that are so many times as slow as they could be.
fn recording(name: &str, filter: &Filter, times: u64) -> Vec<u8> {
    made(name, filter, |at, record| {
        takes(record, 20_000 * times + 97 * at % 9_000);
    })
}

/// Lets it wait so long.
const fn takes(record: &mut Record, wait: u64) {
    record.total_ns = 40_000 + wait;
    record.stages_ns = [30_000, wait, ABSENT, ABSENT, 10_000];
}

/// Two seconds with 2,000 I/Os, each as it is made to be.
fn made(name: &str, filter: &Filter, make: impl Fn(u64, &mut Record)) -> Vec<u8> {
    let mut snapshot = common::scenario("kverityd_only_option_off").snapshot();
    snapshot.devices.truncate(1);
    name.clone_into(&mut snapshot.devices[0].name);
    let number = snapshot.devices[0].number;
    let devices: Vec<_> = snapshot.devices.iter().map(VerityDevice::from).collect();
    let records: Vec<_> = (0..2_000u64)
        .map(|at| {
            let mut record = Record {
                seq: at,
                mapped_at: 5_000_000_000 + at * 1_000_000,
                bytes: 4_096,
                device: number.major << 20 | number.minor,
                ..Record::zeroed()
            };
            takes(&mut record, 20_000);
            make(at, &mut record);
            record
        })
        .filter(|record| record.total_ns >= filter.slower_than_ns && filter.samples(record))
        .collect();
    let machine = Machine {
        filter: *filter,
        ..Machine::default()
    };
    let header = Header {
        realtime_ns: 1_795_000_000_000_000_000,
        monotonic_ns: 5_000_000_000,
        boottime_ns: 6_000_000_000,
    };
    let noted = Devices {
        monotonic_ns: 5_000_000_000,
        devices: devices
            .iter()
            .map(|it| Entry::new(it, &snapshot.kernel_names, Some(Era::Bh)))
            .collect(),
    };
    let picture = Picture {
        monotonic_ns: 7_000_000_000,
        kept: Kept::default(),
        document: Document::new(&snapshot, None),
    };
    let end = End {
        monotonic_ns: 7_000_000_000,
        kept: Kept::default(),
        ended: Ended::Duration,
    };
    let mut encoder = Encoder::new(false).expect("an encoder");
    let frames = [
        encoder.machine(&machine),
        encoder.devices(&noted),
        encoder.ios(&records, Some(Era::Bh)),
        encoder.picture(&picture),
        encoder.end(&end),
    ];
    let mut writer = Writer::new(Vec::new(), &header).expect("written to memory");
    for frame in frames {
        writer.write(&frame.expect("a block")).expect("written");
    }
    writer.into_inner()
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_verity-trace"))
        .arg("compare")
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
