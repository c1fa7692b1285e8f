//! Parquet files of recordings, read by DuckDB, which shares no line with what wrote them.

mod python;

use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bytemuck::Zeroable as _;
use serde_json::Value;
use verity_trace::export::Document;
use verity_trace::overview::Overview;
use verity_trace::parquet::{self, COLUMNS};
use verity_trace::recording::{Encoder, Filter, Header, Kept, Machine, Picture, Reader, Writer};
use verity_trace::snapshot::{Era, Snapshot};
use verity_trace::{demo, table};
use verity_trace_ebpf::placement::{Placement, Stage};
use verity_trace_ebpf::reason::{Reason, outcome};
use verity_trace_ebpf::record::{ABSENT, Record};

#[expect(dead_code, reason = "the other suites ask for more")]
mod common;

/// The shares that the script asks for, by the names that documents have for them.
const QUANTILES: [&str; 4] = ["p50_ns", "p90_ns", "p99_ns", "p999_ns"];

#[test]
fn duckdb_counts_what_the_report_counts_and_finds_its_percentiles() {
    for demo in demo::ALL {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ios.parquet");
        let option = format!("--demo={}", demo.kernel);
        let to = file.to_str().expect("a name");
        let written = program(&["report", &option, "--format=parquet", "-o", to]);
        assert!(written.status.success(), "{written:?}");
        let document = program(&["report", &option, "--format=json"]).stdout;
        let document: Value = serde_json::from_slice(&document).expect("JSON");
        let found = duckdb(&file);
        let groups = found["groups"].as_array().expect("groups");
        let mut compared = 0;
        for device in document["devices"].as_array().expect("devices") {
            let placements = device["placements"].as_object().expect("placements");
            for (placement, expected) in placements {
                let group = groups
                    .iter()
                    .find(|it| it["device"] == device["number"] && it["placement"] == **placement);
                let group = group.expect("rows of this device and placement");
                assert_eq!(group["name"], device["name"]);
                assert_eq!(group["ios"], expected["ios"]);
                assert_eq!(group["bytes"], expected["bytes"]);
                same_stages(&group["stages"], &expected["stages"]);
                compared += 1;
            }
        }
        assert_eq!(groups.len(), compared, "{groups:?}");
        assert!(compared > 1);
        let metadata = &found["metadata"];
        assert_eq!(metadata["recording"], document["recording"]);
        assert_eq!(metadata["loss"], document["loss"]);
    }
}

/// Each stage that either has, with as many I/Os and the same percentiles but for the width of a slot.
fn same_stages(found: &Value, expected: &Value) {
    let expected = expected.as_object().expect("stages");
    assert_eq!(found.as_object().expect("stages").len(), expected.len());
    for (stage, expected) in expected {
        let found = &found[stage];
        assert_eq!(found["count"], expected["count"], "{stage}");
        for (at, name) in QUANTILES.iter().enumerate() {
            let exact = found["quantiles"][at].as_u64().expect("a duration");
            let near = expected[name].as_u64().expect("a duration");
            assert!(
                near.abs_diff(exact) * 32 <= exact,
                "{stage} {name}: {near} and {exact}"
            );
        }
    }
}

#[test]
fn columns_have_the_names_of_the_table_and_types_of_their_own() {
    let names: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
    let at = names.len() - table::COLUMNS.len();
    assert_eq!(names[at..], table::COLUMNS);
    let found = duckdb(&synthetic().1);
    let columns = found["columns"].as_object().expect("columns");
    assert_eq!(columns.len(), names.len());
    let expected = [
        ("host", "VARCHAR"),
        ("booted_at", "TIMESTAMP WITH TIME ZONE"),
        ("mapped_at", "TIMESTAMP WITH TIME ZONE"),
        ("mapped_at_ns", "UBIGINT"),
        ("seq", "UBIGINT"),
        ("placement", "VARCHAR"),
        ("wait_ns", "UBIGINT"),
        ("bytes", "UINTEGER"),
        ("ioprio", "USMALLINT"),
        ("status", "UTINYINT"),
        ("read_ahead", "BOOLEAN"),
    ];
    for (name, kind) in expected {
        assert_eq!(columns[name], kind, "{name}");
    }
}

/// Of the machine too: a fleet's files are told apart by what each row says.
#[test]
fn what_is_absent_is_null_and_the_rest_is_said_as_it_was_recorded() {
    let (_folder, file) = synthetic();
    let found = duckdb(&file);
    let [first, second, third] = &found["first"].as_array().expect("rows")[..] else {
        panic!("{found}");
    };
    let expected = [
        ("host", "db-1"),
        ("release", "7.3.4"),
        ("era", "inline"),
        ("one_in", "10"),
        ("slower_than_ns", "5000"),
        ("device", "253:0"),
        ("seq", "18446744073709551615"),
        ("placement", "bh"),
        ("device_ns", "0"),
        ("command", "\\u{1b}[2J$(id)<sc"),
        ("read_ahead", "true"),
        ("mapped_at_ns", "5000001000"),
        ("mapped_at", "1795000000000001"),
        ("booted_at", "1794999994000000"),
        ("cgroup", "18446744073709551614"),
    ];
    for (name, value) in expected {
        assert_eq!(first[name], value, "{name}");
    }
    for absent in [
        "attempt_ns",
        "retry_wait_ns",
        "reason",
        "attempt",
        "attempt_context",
    ] {
        assert_eq!(first[absent], Value::Null, "{absent}");
    }
    assert_eq!(second["wait_ns"], Value::Null);
    assert_eq!(second["verify_cpu"], Value::Null);
    assert_eq!(second["context"], Value::Null);
    assert_eq!(second["reason"], "device-error");
    assert_eq!(third["attempt"], "bh");
    assert_eq!(third["attempt_ns"], "3");
    assert_eq!(
        found["metadata"]["recording"]["machine"]["filter"]["one_in"],
        10
    );
}

/// More than one group of rows, of which the last is not full.
#[test]
fn every_record_of_a_long_recording_has_its_row() {
    let alike = 70_000;
    let records: Vec<_> = (0..3 * alike)
        .map(|number| {
            record(
                number,
                [number % 1_000, 64 + number % 7, ABSENT, ABSENT, number],
            )
        })
        .collect();
    let (_folder, file) = written(&records);
    let found = duckdb(&file);
    let groups = found["groups"].as_array().expect("groups");
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0]["ios"], 3 * alike);
    assert_eq!(
        groups[0]["stages"]["verify"]["quantiles"][3],
        3 * alike - alike * 3 / 1_000 - 1
    );
    assert_eq!(groups[0]["stages"]["device"]["count"], 3 * alike);
    assert!(groups[0]["stages"].get("attempt").is_none());
}

#[test]
fn what_is_not_recorded_has_no_rows() {
    let refused = program(&["report", "--format=parquet"]);
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8(refused.stderr).expect("text");
    assert!(message.contains("is of a recording"), "{message}");
    let (_folder, file) = written(&[]);
    let found = duckdb(&file);
    assert_eq!(found["groups"].as_array().map(Vec::len), Some(0));
}

/// A recording made up of an I/O of each kind, as a Parquet file.
fn synthetic() -> (tempfile::TempDir, PathBuf) {
    let mut bh = Record {
        seq: u64::MAX,
        cgroup: u64::MAX - 1,
        flags: verity_trace_ebpf::record::READ_AHEAD,
        command: *b"\x1b[2J$(id)<sc\0\0\0\0",
        ..record(1_000, [0, 700, ABSENT, ABSENT, 64])
    };
    bh.outcome = outcome(Placement::Bh, None);
    let mut none = record(2_000, [900, ABSENT, ABSENT, ABSENT, ABSENT]);
    none.outcome = outcome(Placement::None, Some(Reason::DeviceError));
    let mut fallback = record(3_000, [1, 2, 3, 4, 5]);
    fallback.outcome = outcome(Placement::Fallback, Some(Reason::CacheMiss));
    written(&[bh, none, fallback])
}

fn record(after: u64, stages_ns: [u64; Stage::PARTS]) -> Record {
    Record {
        seq: after,
        mapped_at: 5_000_000_000 + after,
        total_ns: stages_ns.iter().filter(|&&ns| ns != ABSENT).sum(),
        stages_ns,
        bytes: 4_096,
        device: 253 << 20,
        command: *b"fio\0\0\0\0\0\0\0\0\0\0\0\0\0",
        outcome: outcome(Placement::Bh, None),
        ..Record::zeroed()
    }
}

/// These records, in a recording, in a Parquet file.
fn written(records: &[Record]) -> (tempfile::TempDir, PathBuf) {
    let recording = recording(records);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ios.parquet");
    let file = File::create(&path).expect("a file");
    let mut reader = Reader::new(Cursor::new(&recording[..]), false).expect("a recording");
    let start = reader.place();
    let overview = Overview::read(&mut reader).expect("a recording");
    reader.go_to(start).expect("its start");
    let undecoded = parquet::write(&mut reader, &overview, None, file).expect("written");
    assert_eq!(undecoded, 0);
    (folder, path)
}

fn recording(records: &[Record]) -> Vec<u8> {
    let header = Header {
        realtime_ns: 1_795_000_000_000_000_000,
        monotonic_ns: 5_000_000_000,
        boottime_ns: 6_000_000_000,
    };
    let mut encoder = Encoder::new(false).expect("an encoder");
    let mut writer = Writer::new(Vec::new(), &header).expect("written to memory");
    let mut frames = vec![encoder.machine(&machine())];
    for records in records.chunks(verity_trace::recording::MAX_RECORDS) {
        frames.push(encoder.ios(records, Some(Era::Inline)));
    }
    let snapshot = snapshot();
    frames.push(encoder.picture(&Picture {
        monotonic_ns: 6_000_000_000,
        kept: Kept::default(),
        document: Document::new(&snapshot, None),
    }));
    for frame in frames {
        writer.write(&frame.expect("a block")).expect("written");
    }
    writer.into_inner()
}

fn snapshot() -> Snapshot {
    common::scenario("bh_always_with_fallbacks").snapshot()
}

fn machine() -> Machine {
    Machine {
        release: "7.3.4".to_owned(),
        host: Some("db-1".to_owned()),
        filter: Filter {
            slower_than_ns: 5_000,
            one_in: 10,
        },
        ..Machine::default()
    }
}

fn duckdb(file: &Path) -> Value {
    python::read("parquet.py", file)
}

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_verity-trace"))
        .args(arguments)
        .output()
        .expect("the program starts")
}
