//! Recordings: what was written is read back, and what is damaged says so.

mod common;
mod page;

use std::ffi::OsStr;
use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use bytemuck::Zeroable as _;
use verity_trace::dm::VerityDevice;
use verity_trace::export::{Document, Entry};
use verity_trace::format;
use verity_trace::histogram::Nanos;
use verity_trace::html::{self, Gathered};
use verity_trace::overview::{self, Overview};
use verity_trace::recording::{
    Block, Condition, Devices, Encoder, End, Ended, Fault, Filter, Header, Kept, Machine,
    Parameters, Picture, Reader, VERSION, Writer,
};
use verity_trace::replay::Film;
use verity_trace::selection::{Selection, Selector};
use verity_trace::snapshot::{Era, Snapshot, Totals};
use verity_trace::{decode, demo, escape, report, table};
use verity_trace_ebpf::record::{ABSENT, Record};

const HEADER: Header = Header {
    realtime_ns: 1_795_000_000_000_000_000,
    monotonic_ns: 5_000_000_000,
    boottime_ns: 6_000_000_000,
};
/// Of a block's head.
const HEAD: usize = 28;

/// All that a recording says.
#[derive(Default)]
struct Read {
    records: Vec<Record>,
    machines: Vec<Machine>,
    devices: Vec<String>,
    parameters: Vec<Parameters>,
    snapshots: Vec<Snapshot>,
    ends: Vec<End>,
    condition: Condition,
    fault: Option<Fault>,
}

impl Read {
    fn blocks(&self) -> usize {
        self.machines.len()
            + self.devices.len()
            + self.parameters.len()
            + self.snapshots.len()
            + self.ends.len()
            + self.records.len().div_ceil(RECORDS)
    }
}

/// Records in a block of these.
const RECORDS: usize = 100;

#[test]
fn what_was_written_is_read_back() {
    let read = read(&recording());
    assert!(read.fault.is_none());
    assert_eq!(read.records, records(0..200));
    assert_eq!(read.machines, [machine()]);
    assert_eq!(read.parameters, [parameters()]);
    assert_eq!(read.ends, [end()]);
    assert_eq!(read.devices.len(), 1);
    assert!(read.devices[0].contains("sha256"), "{}", read.devices[0]);
    let expected = snapshots();
    assert_eq!(read.snapshots.len(), expected.len());
    for (found, expected) in read.snapshots.iter().zip(&expected) {
        assert_eq!(found.watched, expected.watched);
        assert_eq!(found.loss, expected.loss);
        assert_eq!(found.devices.len(), expected.devices.len());
        for (found, expected) in found.devices.iter().zip(&expected.devices) {
            assert_eq!(found.totals, expected.totals);
        }
    }
    let whole = Condition {
        ended: true,
        ..Condition::default()
    };
    assert_eq!(read.condition, whole);
}

#[test]
fn the_snapshot_of_every_scenario_is_read_back() {
    let scenarios = common::scenarios();
    let mut encoder = Encoder::new(false).expect("an encoder");
    let mut writer = Writer::new(Vec::new(), &HEADER).expect("written to memory");
    for (_, scenario) in &scenarios {
        let frame = encoder.picture(&picture(0, &scenario.snapshot()));
        writer.write(&frame.expect("a block")).expect("written");
    }
    let read = read(&writer.into_inner());
    for ((name, scenario), found) in scenarios.iter().zip(&read.snapshots) {
        let json = |snapshot| {
            let document = Document::new(snapshot, None);
            serde_json::to_string(&document).expect("JSON")
        };
        let description = &scenario.description;
        assert_eq!(
            json(found),
            json(&scenario.snapshot()),
            "{name}: {description}"
        );
    }
    assert_eq!(read.snapshots.len(), scenarios.len());
}

#[test]
fn a_file_that_ends_anywhere_is_read_up_to_there() {
    let file = recording();
    let blocks = blocks(&file);
    for length in 0..file.len() {
        let read = read(&file[..length]);
        if length < Header::BYTES {
            let fault = read.fault.expect("no header");
            assert_eq!(fault.offset, 0);
            assert!(!fault.can_be_salvaged());
            continue;
        }
        assert!(read.fault.is_none(), "{length}: {:?}", read.fault);
        let whole = blocks.iter().filter(|&&(_, end)| end <= length).count();
        let cut = blocks.get(whole).map_or(file.len(), |&(start, _)| start);
        assert_eq!(read.condition.cut, Some(cut as u64), "{length}");
        assert!(!read.condition.ended);
        assert_eq!(read.blocks(), whole, "{length}");
    }
}

#[test]
fn a_file_of_which_the_last_part_was_never_written_is_cut_there() {
    let file = recording();
    for (start, _) in blocks(&file) {
        for zeros in [1, HEAD, 70_000] {
            let mut file = file[..start].to_vec();
            file.resize(start + zeros, 0);
            let read = read(&file);
            assert!(read.fault.is_none(), "{start} {zeros}: {:?}", read.fault);
            assert_eq!(read.condition.cut, Some(start as u64), "{start} {zeros}");
        }
    }
}

#[test]
fn every_changed_byte_is_noticed_and_the_rest_can_be_salvaged() {
    let file = recording();
    let blocks = blocks(&file);
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 0xff;
        let fault = read(&changed).fault.expect("a fault");
        assert!(fault.offset <= at as u64, "{at}: {fault}");
        if at < Header::BYTES {
            assert!(!fault.can_be_salvaged(), "{at}: {fault}");
            continue;
        }
        let (start, end) = *blocks
            .iter()
            .find(|&&(start, end)| (start..end).contains(&at))
            .expect("a block");
        assert_eq!(fault.offset, start as u64, "{at}: {fault}");
        assert!(fault.can_be_salvaged(), "{at}: {fault}");
        if at % 7 != 0 {
            continue;
        }
        let rest = salvage(&changed);
        assert!(rest.fault.is_none(), "{at}: {:?}", rest.fault);
        assert_eq!(rest.condition.skipped, (end - start) as u64, "{at}");
        // The snapshot after a damaged one says only what differs.
        let lost = usize::try_from(rest.condition.lost_pictures).expect("few");
        assert!(lost <= 1, "{at}");
        assert_eq!(rest.blocks() + lost, blocks.len() - 1, "{at}");
    }
}

#[test]
fn blocks_of_an_unknown_kind_are_passed_over_and_counted() {
    let mut file = head_and_payload(0, 999, 0, b"from the future", None);
    file.splice(0..0, HEADER.to_bytes());
    file.extend(head_and_payload(1, 998, 0, b"", None));
    let read = read(&file);
    assert!(read.fault.is_none());
    assert_eq!(read.condition.unknown, 2);
    assert_eq!(read.condition.cut, Some(file.len() as u64));
}

#[test]
fn a_claim_that_cannot_be_is_refused_before_anything_is_kept_for_it() {
    let cases = [
        (head_and_payload(0, 2, 0, b"", Some([1 << 30, 0])), "claims"),
        (
            head_and_payload(0, 2, 0, b"", Some([0, u32::MAX])),
            "claims",
        ),
        (head_and_payload(0, 1, 0, b"{}", Some([2, 3])), "as long as"),
        (head_and_payload(0, 1, 7, b"{}", None), "unknown way"),
        (
            head_and_payload(0, 1, 1, b"{}", None),
            "compressed contents",
        ),
        (head_and_payload(0, 1, 0, b"{}", None), "missing field"),
        (head_and_payload(0, 2, 0, b"", None), "ends too early"),
        (head_and_payload(0, 6, 0, b"{}", None), "not there"),
        (
            head_and_payload(3, 1, 0, b"{}", None),
            "block 3 where block 0",
        ),
    ];
    for (block, expected) in cases {
        let mut file = HEADER.to_bytes().to_vec();
        file.extend(block);
        let fault = read(&file).fault.expect("a fault");
        assert_eq!(fault.offset, Header::BYTES as u64);
        assert!(fault.to_string().contains(expected), "{fault}");
    }
}

#[test]
fn a_few_bytes_that_claim_to_be_many_are_not_unpacked_beyond_the_claim() {
    let bomb = zstd::encode_all(&vec![b' '; 32 << 20][..], 3).expect("compressed");
    let mut file = HEADER.to_bytes().to_vec();
    let stored = u32::try_from(bomb.len()).expect("few");
    file.extend(head_and_payload(0, 1, 1, &bomb, Some([stored, 100])));
    let fault = read(&file).fault.expect("a fault");
    assert!(fault.to_string().contains("not as long"), "{fault}");
}

#[test]
fn what_follows_the_end_is_noticed() {
    let mut file = recording();
    let length = file.len();
    file.extend(b"more");
    let fault = read(&file).fault.expect("a fault");
    assert_eq!(fault.offset, length as u64);
    assert!(salvage(&file).fault.is_none());
}

#[test]
fn a_report_of_a_recording_is_that_of_its_last_snapshot_and_how_it_came_to_be() {
    let file = recording();
    let whole = report_of(&file, false);
    insta::assert_snapshot!("report_of_a_recording", whole);
    let mut expected = Vec::new();
    let last = snapshots().pop().expect("a snapshot");
    report::report(&last, &mut expected).expect("written to memory");
    let expected = String::from_utf8(expected).expect("text");
    assert!(whole.starts_with(&expected), "{whole}");
    let (start, _) = *blocks(&file).last().expect("a block");
    let cut = report_of(&file[..start + 5], false);
    assert!(cut.contains(&format!("cut at byte {start}")), "{cut}");
    let mut damaged = file.clone();
    damaged[Header::BYTES + HEAD] ^= 1;
    let salvaged = report_of(&damaged, true);
    assert!(salvaged.contains("bytes were damaged"), "{salvaged}");
    for text in [whole, cut, salvaged] {
        assert!(
            !text.replace('\n', "").contains(escape::is_hidden),
            "{text}"
        );
    }
}

/// What happened in a window is what the snapshots at its ends say together, wherever one comes from.
#[test]
fn a_film_shows_every_snapshot_in_any_order() {
    let count: usize = 150;
    let recording = seconds_of(count);
    let reader = Reader::new(Cursor::new(&recording[..]), false).expect("a recording");
    let mut film = Film::new(reader, Selection::default()).expect("a recording");
    assert_eq!(film.times(), [Duration::ZERO]);
    // Snapshots are read and found in turns.
    for number in 1..70 {
        assert!(film.find().expect("one more") && !film.is_whole());
        let at = number * 7 % (number + 1);
        let snapshot = film.snapshot(at, 0).expect("a snapshot");
        assert_eq!(snapshot.watched, Duration::from_secs(at as u64));
    }
    while film.find().expect("one more") {}
    assert!(film.is_whole());
    let times = film.times();
    let seconds = (0..count as u64).map(Duration::from_secs);
    assert_eq!(times, seconds.collect::<Vec<_>>());
    assert_eq!(film.began(), Duration::from_nanos(HEADER.realtime_ns));
    for (frame, earlier) in [(0, 0), (149, 148), (3, 2), (149, 0), (61, 59), (130, 70)] {
        let snapshot = film.snapshot(frame, earlier).expect("a snapshot");
        let [now, then] = [frame, earlier].map(|at| (at as u64).min(WATCHED));
        assert_eq!(snapshot.watched, Duration::from_secs(now));
        let since = Duration::from_secs(now - then);
        assert_eq!(snapshot.interval, (frame > earlier).then_some(since));
        let recent = &snapshot.devices[0].recent;
        let ios = recent.as_ref().map(Totals::ios);
        assert_eq!(ios, (frame > earlier).then_some(now - then));
    }
    let reader = Reader::new(Cursor::new(&recording[..]), false).expect("a recording");
    let none = Selector::parse("no-such-device").expect("a selector");
    let mut film = Film::new(reader, Selection::new(vec![none])).expect("a recording");
    while film.find().expect("one more") {}
    let snapshot = film.snapshot(5, 4).expect("a snapshot");
    assert!(snapshot.devices.is_empty());
}

/// After so many seconds the probes are away.
const WATCHED: u64 = 145;

/// A snapshot each second, with one more I/O in each that the probes saw.
fn seconds_of(count: usize) -> Vec<u8> {
    let mut encoder = Encoder::new(false).expect("an encoder");
    let mut writer = Writer::new(Vec::new(), &HEADER).expect("written to memory");
    let mut snapshot = snapshots().remove(0);
    for at in 0..count as u64 {
        snapshot.watched = Duration::from_secs(at.min(WATCHED));
        let totals = snapshot.devices[0].totals.as_mut().expect("totals");
        let placements = totals.placements.values_mut();
        for these in placements.take(1) {
            these.ios += u64::from(at <= WATCHED);
        }
        let frames = [
            encoder.picture(&picture(at, &snapshot)),
            encoder.ios(&records(at..at + 1), Some(Era::Bh)),
        ];
        for frame in frames {
            writer.write(&frame.expect("a block")).expect("written");
        }
    }
    writer.into_inner()
}

#[test]
fn a_file_that_is_no_recording_is_told_in_one_line_that_ends_with_6() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    let file = recording();
    let (second, _) = blocks(&file)[1];
    let mut damaged = file.clone();
    damaged[second] ^= 1;
    let cases: [(&str, &[u8], &str); 6] = [
        ("empty", b"", "byte 0: the file is empty"),
        ("text", b"{}", "byte 0: this is no recording"),
        (
            "short",
            &file[..40],
            "byte 0: the file ends within its header",
        ),
        ("header", &file[..64], "byte 64: the block makes no sense"),
        ("damaged", &damaged, "; --salvage reads what is left"),
        ("\u{1b}[2J", b"PNG", "\\u{1b}[2J: byte 0: this is no"),
    ];
    for (name, contents, expected) in cases {
        std::fs::write(place(name), contents).expect("written");
        let output = reported(&[place(name).as_os_str()]);
        let message = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(6), "{name}: {message}");
        assert!(message.contains(expected), "{name}: {message}");
        let path = escape::terminal(place(name).to_str().expect("a name")).into_owned();
        assert!(message.contains(&path), "{name}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(output.stdout.is_empty());
    }
    let offset = format!("byte {second}: there should be a block");
    let output = reported(&[place("damaged").as_os_str()]);
    let message = String::from_utf8(output.stderr).expect("text");
    assert!(message.contains(&offset), "{message}");
    let output = reported(&[place("damaged").as_os_str(), "--salvage".as_ref()]);
    assert!(output.status.success());

    let pipe = place("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let output = reported(&[pipe.as_os_str()]);
    let message = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(6), "{message}");
    assert!(message.contains("is a pipe"), "{message}");
}

/// Recordings that were made by the first program that wrote each version of the format.
#[test]
fn every_version_is_read() {
    let file = |version| {
        let name = format!("../tests/recordings/version-{version}.vtrec");
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a recording")
    };
    assert_eq!(
        VERSION, 1,
        "a new version needs a recording, and a line here"
    );
    let file = file(1);
    let read = read(&file);
    assert!(read.fault.is_none(), "{:?}", read.fault);
    assert_eq!((read.records.len(), read.snapshots.len()), (1_251, 15));
    for record in &read.records {
        decode::io(record, Era::Inline).expect("an I/O");
    }
    insta::assert_snapshot!("version_1", report_of(&file, false));
}

#[test]
fn what_travels_with_the_program_can_be_reported_on_by_anybody() {
    for demo in demo::ALL {
        let option = format!("--demo={}", demo.kernel);
        let output = reported(&[option.as_ref(), "--format=json".as_ref(), "root".as_ref()]);
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(document["lost"], 0);
        assert_eq!(document["devices"].as_array().expect("devices").len(), 1);
        let counted = document["account"]["finished"].as_u64();
        assert_eq!(document["recording"]["records"].as_u64(), counted);
        assert_eq!(document["recording"]["machine"]["redacted"], true);
    }
    let output = reported(&["--demo".as_ref()]);
    assert_eq!(output.stdout, reported(&["--demo=7.3".as_ref()]).stdout);
}

/// The programs counted the same I/Os that there are records of, each on its own.
#[test]
fn records_counted_anew_make_what_the_programs_counted() {
    for demo in demo::ALL {
        let option = format!("--demo={}", demo.kernel);
        let whole = document(&[option.as_ref()]);
        let anew = document(&[option.as_ref(), "--from=0s".as_ref()]);
        assert_eq!(anew["recording"], whole["recording"]);
        assert_eq!(anew["window"]["records"], whole["account"]["finished"]);
        assert_eq!(anew["inferred_reasons"], whole["inferred_reasons"]);
        let devices = [&anew, &whole].map(|it| it["devices"].as_array().expect("devices"));
        assert_eq!(devices[0].len(), devices[1].len());
        for (anew, whole) in devices[0].iter().zip(devices[1]) {
            for (field, value) in anew.as_object().expect("a device") {
                assert_eq!(*value, whole[field], "{field}");
            }
            assert!(anew.get("rejected").is_none(), "no record tells it");
        }
    }
}

#[test]
fn windows_side_by_side_make_the_whole() {
    let counts = |arguments: &[&str]| {
        let arguments = ["--demo"].iter().chain(arguments);
        let found = document(&arguments.map(OsStr::new).collect::<Vec<_>>());
        let [count, from, to] =
            ["records", "from_ns", "to_ns"].map(|field| found["window"][field].as_u64());
        (count.expect("a count"), from, to)
    };
    let (first, _, end) = counts(&["--to=3s"]);
    let (second, start, _) = counts(&["--from=3s", "--to=6500ms"]);
    let (third, _, last) = counts(&["--from=6500ms"]);
    assert_eq!((end, start), (Some(3_000_000_000), Some(3_000_000_000)));
    assert!([first, second, third].iter().all(|&count| count > 0));
    assert_eq!(first + second + third, counts(&["--from=0s"]).0);
    assert!(last > Some(6_500_000_000));
    assert_eq!(counts(&["--from=1h"]).0, 0);
    let text = reported(&["--demo".as_ref(), "--from=3s".as_ref(), "usr".as_ref()]);
    let text = String::from_utf8(text.stdout).expect("text");
    assert!(
        text.contains("device usr") && !text.contains("device root"),
        "{text}"
    );
    assert!(!text.contains("other devices"), "{text}");
}

/// Devices of which the last snapshot knows nothing are counted together, and a sample says that it is one.
#[test]
fn what_is_counted_anew_says_what_it_is_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    let mut encoder = Encoder::new(false).expect("an encoder");
    let mut writer = Writer::new(Vec::new(), &HEADER).expect("written to memory");
    let mut both = records(0..4);
    both[1].device += 9;
    both[2].outcome = 200;
    let snapshot = snapshots().remove(0);
    let frames = [
        encoder.machine(&machine()),
        encoder.picture(&picture(0, &snapshot)),
        encoder.ios(&both, Some(Era::Bh)),
    ];
    for frame in frames {
        writer.write(&frame.expect("a block")).expect("written");
    }
    std::fs::write(&path, writer.into_inner()).expect("written");
    let output = reported(&[path.as_os_str(), "--from=0s".as_ref()]);
    let text = String::from_utf8(output.stdout).expect("text");
    insta::assert_snapshot!("counted_anew", text);
    let message = String::from_utf8(output.stderr).expect("text");
    assert!(message.contains("1 records make no I/O"), "{message}");
    let anew = document(&[path.as_os_str(), "--from=0s".as_ref()]);
    assert_eq!(anew["other"]["ios"], 1);
    assert_eq!(anew["window"]["records"], 3);
}

/// Another device had the number before.
#[test]
fn a_number_that_is_used_again_gives_no_device_the_ios_of_another() {
    let snapshot = snapshots().remove(0);
    let mut now = VerityDevice::from(&snapshot.devices[0]);
    now.disk_sequence = Some(7);
    let renamed = VerityDevice {
        name: "before".to_owned(),
        disk_sequence: None,
        ..now.clone()
    };
    let mut shown = snapshot.clone();
    shown.devices[0].disk_sequence = now.disk_sequence;
    let another = VerityDevice {
        disk_sequence: Some(6),
        ..now.clone()
    };
    let names = &snapshot.kernel_names;
    for (before, own) in [(&renamed, 3), (&another, 3), (&now, 8)] {
        let noted = |device| Devices {
            monotonic_ns: 5_000_000_000,
            devices: vec![Entry::new(device, names, Some(Era::Bh))],
        };
        let mut encoder = Encoder::new(false).expect("an encoder");
        let mut writer = Writer::new(Vec::new(), &HEADER).expect("written to memory");
        let frames = [
            encoder.devices(&noted(before)),
            encoder.ios(&records(0..5), Some(Era::Bh)),
            encoder.devices(&noted(&now)),
            encoder.ios(&records(5..8), Some(Era::Bh)),
            encoder.picture(&picture(0, &shown)),
        ];
        for frame in frames {
            writer.write(&frame.expect("a block")).expect("written");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, writer.into_inner()).expect("written");
        let anew = document(&[path.as_os_str(), "--from=0s".as_ref()]);
        assert_eq!(anew["devices"][0]["ios"], own, "{}", before.name);
        let other = anew["other"]["ios"].as_u64().unwrap_or(0);
        assert_eq!(other, 8 - own, "{}", before.name);
    }
}

#[test]
fn limits_that_change_without_end_are_counted() {
    let mut encoder = Encoder::new(false).expect("an encoder");
    let mut writer = Writer::new(Vec::new(), &HEADER).expect("written to memory");
    for _ in 0..100 {
        let frame = encoder.parameters(&parameters());
        writer.write(&frame.expect("a block")).expect("written");
    }
    let frame = encoder.picture(&picture(0, &snapshots()[0]));
    writer.write(&frame.expect("a block")).expect("written");
    let text = report_of(&writer.into_inner(), false);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(", and 59 further changes"), "{text}");
    assert_eq!(text.matches("8192,0,8192,8192").count(), 41);
}

#[test]
fn a_document_that_cannot_be_is_an_error() {
    let snapshot = common::scenario("bh_always_with_fallbacks").snapshot();
    let document = serde_json::to_value(Document::new(&snapshot, None)).expect("JSON");
    let fault = |document: serde_json::Value| {
        let document: Document<'static> = serde_json::from_value(document).expect("a document");
        document.snapshot().expect_err("no snapshot").to_string()
    };
    let mut late = document.clone();
    late["taken_at_unix_ms"] = serde_json::json!(253_402_300_800_000_u64);
    assert_eq!(fault(late), "253402300800000 is more than there can be");
    let mut many = document.clone();
    many["devices"] = vec![document["devices"][0].clone(); 4_097].into();
    assert_eq!(fault(many), "4097 is more than there can be");
    let buckets = |document: &mut serde_json::Value,
                   change: &dyn Fn(&mut Vec<serde_json::Value>)| {
        let these = &mut document["devices"][0]["placements"]["bh"]["stages"]["total"]["buckets"];
        change(these.as_array_mut().expect("buckets"));
    };
    let mut repeated = document.clone();
    buckets(&mut repeated, &|these| these.push(these[0].clone()));
    let message = fault(repeated);
    assert!(message.ends_with("is out of order"), "{message}");
    let mut huge = document.clone();
    buckets(&mut huge, &|these| {
        these[0]["count"] = serde_json::json!(1_u64 << 48);
        let mut next = these[0].clone();
        next["lower_ns"] = serde_json::json!(50_000_000_000_u64);
        next["count"] = serde_json::json!(1);
        these.truncate(1);
        these.push(next);
    });
    assert_eq!(fault(huge), "281474976710657 is more than there can be");
}

#[test]
fn a_window_is_of_a_recording_and_of_what_is_counted() {
    let cases: [&[&str]; 5] = [
        &["--from=1s"],
        &["--demo", "--from=2s", "--to=2s"],
        &["--demo", "--to=0s"],
        &["--demo", "--from=1s", "--format=csv"],
        &["--demo", "--from=yesterday"],
    ];
    for arguments in cases {
        let arguments: Vec<_> = arguments.iter().map(OsStr::new).collect();
        assert_eq!(reported(&arguments).status.code(), Some(2), "{arguments:?}");
    }
}

fn document(arguments: &[&OsStr]) -> serde_json::Value {
    let output = reported(&[arguments, &["--format=json".as_ref()]].concat());
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_table_has_a_row_for_every_io() {
    let demo = demo::ALL[2];
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("table.csv");
    let to: [&OsStr; 4] = [
        "--demo=7.3".as_ref(),
        "--format=csv".as_ref(),
        "-o".as_ref(),
        path.as_os_str(),
    ];
    assert!(reported(&to).status.success());
    assert_eq!(reported(&to).status.code(), Some(2), "it exists");
    assert!(
        reported(&[&to[..], &["--force".as_ref()]].concat())
            .status
            .success()
    );
    let mut table = csv::Reader::from_path(&path).expect("a table");
    assert_eq!(table.headers().expect("a heading"), &table::COLUMNS[..]);
    let rows: Vec<_> = table.records().map(|row| row.expect("a row")).collect();
    let records = read(demo.bytes).records;
    assert_eq!(rows.len(), records.len());
    let at = |name| {
        let found = table::COLUMNS.iter().position(|&column| column == name);
        found.expect("a column")
    };
    let (total, stages) = (at("total_ns"), at("device_ns")..at("total_ns"));
    for (row, record) in rows.iter().zip(&records) {
        let stages = stages
            .clone()
            .filter_map(|stage| row[stage].parse::<u64>().ok());
        assert_eq!(row[total], stages.sum::<u64>().to_string());
        assert_eq!(row[at("seq")], record.seq.to_string());
    }
    let output = reported(&["--demo".as_ref(), "--format=csv".as_ref(), "usr".as_ref()]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(text.lines().count(), 1 + 600);
}

#[test]
fn a_hostile_command_stays_in_its_cell() {
    let mut record = records(0..1)[0];
    record.command = *b"\x1b[2J\",\n=1+1\0\0\0\0\0";
    let mut encoder = Encoder::new(false).expect("an encoder");
    let mut writer = Writer::new(Vec::new(), &HEADER).expect("written to memory");
    let frame = encoder.ios(&[record], Some(Era::Bh)).expect("a block");
    writer.write(&frame).expect("written");
    let file = writer.into_inner();
    let mut reader = Reader::new(Cursor::new(&file[..]), false).expect("a recording");
    let mut text = Vec::new();
    let undecoded = table::csv(&mut reader, None, &mut text).expect("a table");
    assert_eq!(undecoded, 0);
    let mut table = csv::Reader::from_reader(&text[..]);
    let rows: Vec<_> = table.records().map(|row| row.expect("a row")).collect();
    assert_eq!(rows.len(), 1);
    assert_eq!(&rows[0][21], "\\u{1b}[2J\",\\u{a}=1+1");
}

#[test]
fn a_page_says_what_the_document_does_and_shows_the_slowest_records() {
    for demo in demo::ALL {
        let option = format!("--demo={}", demo.kernel);
        let output = |format: &str| reported(&[option.as_ref(), format.as_ref()]).stdout;
        let text = String::from_utf8(output("--format=html")).expect("text");
        for outside in ["http:", "https:", "url(", "src="] {
            assert!(!text.contains(outside), "{outside}");
        }
        let page = page::checked(&text);
        let document = serde_json::from_slice(&output("--format=json")).expect("JSON");
        page::agrees(&page, &document);
        let mut records = read(demo.bytes).records;
        records.sort_by_key(|record| std::cmp::Reverse(record.total_ns));
        let rows = page::texts(&page, "section:has(> #slowest) tbody tr");
        assert_eq!(rows.len(), 20);
        for (row, record) in rows.iter().zip(&records) {
            let expected = format::duration(Nanos(record.total_ns));
            assert!(row.starts_with(&expected), "{expected}: {row}");
        }
        let periods = page::texts(&page, "section:has(> #over-time) tbody td:nth-child(2)");
        let counted: usize = periods
            .iter()
            .map(|it| it.parse::<usize>().expect("a count"))
            .sum();
        assert_eq!(counted, records.len());
    }
    let one = reported(&["--demo".as_ref(), "--format=html".as_ref(), "usr".as_ref()]).stdout;
    let page = page::checked(&String::from_utf8(one).expect("text"));
    let said = page::texts(&page, "#over-time + p").concat();
    assert!(said.contains("of the devices shown, 600"), "{said}");
}

#[test]
fn a_page_of_a_hostile_cut_or_damaged_recording_is_whole() {
    let file = recording();
    let all = page_of(&file, false);
    page::checked(&all);
    let (start, _) = *blocks(&file).last().expect("a block");
    let cut = page::checked(&page_of(&file[..start + 5], false));
    let warnings = page::texts(&cut, ".warnings").concat();
    assert!(
        warnings.contains(&format!("Cut: cut at byte {start}")),
        "{warnings}"
    );
    let mut damaged = file.clone();
    damaged[Header::BYTES + HEAD] ^= 1;
    let salvaged = page::checked(&page_of(&damaged, true));
    let warnings = page::texts(&salvaged, ".warnings").concat();
    assert!(warnings.contains("bytes were damaged"), "{warnings}");

    // Only a snapshot, whose devices are hostile, and one record by a hostile command.
    let snapshot = common::scenario("hostile_names").snapshot();
    let mut record = records(0..1)[0];
    record.command = *b"\x1b[2J\"'<script>\0\0";
    for has_records in [false, true] {
        let mut encoder = Encoder::new(false).expect("an encoder");
        let mut writer = Writer::new(Vec::new(), &HEADER).expect("written to memory");
        let mut frames = vec![encoder.picture(&picture(0, &snapshot))];
        if has_records {
            frames.push(encoder.ios(&[record], Some(Era::Bh)));
        }
        for frame in frames {
            writer.write(&frame.expect("a block")).expect("written");
        }
        let text = page_of(&writer.into_inner(), false);
        assert!(!text.contains("<script"), "{text}");
        let page = page::checked(&text);
        let rows = page::texts(&page, "section:has(> #slowest) tbody tr");
        assert_eq!(rows.len(), usize::from(has_records));
        for row in rows {
            assert!(row.contains("\\u{1b}[2J\"'<script>"), "{row}");
        }
    }
}

fn page_of(file: &[u8], salvages: bool) -> String {
    let mut reader = Reader::new(Cursor::new(file), salvages).expect("a recording");
    let start = reader.place();
    let overview = Overview::read(&mut reader).expect("a recording");
    reader.go_to(start).expect("a place");
    let gathered = Gathered::read(&mut reader, &overview, None).expect("a recording");
    let mut text = Vec::new();
    html::html(&overview, &gathered, &mut text).expect("written to memory");
    String::from_utf8(text).expect("text")
}

#[test]
fn devices_of_a_recording_are_chosen_as_those_of_a_machine() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    std::fs::write(&path, recording()).expect("written");
    let last = snapshots().pop().expect("a snapshot");
    let name = &last.devices[0].name;
    let output = reported(&[path.as_os_str(), name.as_ref(), "--format=json".as_ref()]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let devices = document["devices"].as_array().expect("devices");
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0]["name"], *name);
    assert_eq!(document["recording"]["records"], 200);
    let codes = [("no-such-device", 5), ("/usr", 2)];
    for (device, code) in codes {
        let output = reported(&[path.as_os_str(), device.as_ref()]);
        assert_eq!(output.status.code(), Some(code), "{device}");
    }
    let output = reported(&[path.as_os_str(), path.as_os_str()]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_folder_is_no_recording() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().as_os_str();
    for command in ["replay", "report", "compare"] {
        let arguments = [path, path];
        let count = if command == "compare" { 2 } else { 1 };
        let output = run(command, &arguments[..count]);
        let message = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(6), "{command}: {message}");
        assert!(
            message.contains("is a folder, and no recording"),
            "{message}"
        );
    }
}

#[test]
fn a_demo_is_exported_as_what_was_watched_would_be() {
    let output = run(
        "export",
        &["--once".as_ref(), "--demo=6.12".as_ref(), "root".as_ref()],
    );
    assert!(output.status.success());
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["schema_version"], 1);
    assert_eq!(document["kernel"]["era"], "bh");
    assert_eq!(document["devices"].as_array().map(Vec::len), Some(1));
    assert_eq!(document["devices"][0]["ios"], 651);
    assert!(document.get("recording").is_none());
}

#[test]
fn a_part_of_a_device_that_makes_no_sense_is_an_error() {
    let snapshot = common::scenario("bh_always_with_fallbacks").snapshot();
    let document = serde_json::to_value(Document::new(&snapshot, None)).expect("JSON");
    let read = |document: &serde_json::Value| {
        serde_json::from_value::<Document<'static>>(document.clone())
            .map(|document| document.snapshot().expect("a snapshot"))
    };
    let whole = read(&document).expect("a document");
    assert_eq!(whole.devices[0].totals, snapshot.devices[0].totals);
    for (field, value) in [
        ("ios", serde_json::json!("many")),
        ("placements", serde_json::json!([])),
        ("mix", serde_json::json!([{"size_bytes": -1}])),
        ("in_flight", serde_json::json!(null)),
    ] {
        let mut malformed = document.clone();
        malformed["devices"][0][field] = value;
        assert!(read(&malformed).is_err(), "{field}");
    }
    let mut unseen = document;
    let device = unseen["devices"][0].as_object_mut().expect("a device");
    let totals = [
        "ios",
        "bytes",
        "failed",
        "rejected",
        "incomplete",
        "loss",
        "placements",
        "attempts",
        "attempt_contexts",
        "mix",
    ];
    for field in totals {
        device.remove(field).expect(field);
    }
    let unseen = read(&unseen).expect("a document");
    assert_eq!(unseen.devices[0].totals, None);
    assert_eq!(unseen.devices[0].in_flight, snapshot.devices[0].in_flight);
}

fn reported(arguments: &[&OsStr]) -> std::process::Output {
    run("report", arguments)
}

fn run(command: &str, arguments: &[&OsStr]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_verity-trace"))
        .arg(command)
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn report_of(file: &[u8], salvages: bool) -> String {
    let mut reader = Reader::new(Cursor::new(file), salvages).expect("a recording");
    let read = Overview::read(&mut reader).expect("a recording");
    let mut text = Vec::new();
    overview::overview(&read, &mut text).expect("written to memory");
    String::from_utf8(text).expect("text")
}

fn read(file: &[u8]) -> Read {
    read_as(file, false)
}

fn salvage(file: &[u8]) -> Read {
    read_as(file, true)
}

fn read_as(file: &[u8], salvages: bool) -> Read {
    let mut read = Read::default();
    match Reader::new(Cursor::new(file), salvages) {
        Ok(mut reader) => {
            read.fault = fill(&mut read, &mut reader).err();
            read.condition = reader.condition();
        }
        Err(fault) => read.fault = Some(fault),
    }
    read
}

fn fill(read: &mut Read, reader: &mut Reader<Cursor<&[u8]>>) -> Result<(), Fault> {
    while let Some(block) = reader.next_block()? {
        match block {
            Block::Machine(it) => read.machines.push(it),
            Block::Ios(ios) => {
                let before = read.records.len();
                reader.records(&ios, &mut read.records)?;
                assert_eq!(read.records.len() - before, ios.span.records);
            }
            Block::Devices(it) => read.devices.push(serde_json::to_string(&it).expect("JSON")),
            Block::Parameters(it) => read.parameters.push(it),
            Block::Picture { picture, .. } => read
                .snapshots
                .push(picture.document.snapshot().expect("a snapshot")),
            Block::End(it) => read.ends.push(it),
        }
    }
    Ok(())
}

/// A recording with a block of every kind.
fn recording() -> Vec<u8> {
    let mut encoder = Encoder::new(false).expect("an encoder");
    let mut writer = Writer::new(Vec::new(), &HEADER).expect("written to memory");
    let snapshots = snapshots();
    let scenario = common::scenario("hostile_names").snapshot();
    let devices: Vec<VerityDevice> = scenario.devices.iter().map(VerityDevice::from).collect();
    let devices = Devices {
        monotonic_ns: 5_000_000_001,
        devices: devices
            .iter()
            .map(|it| Entry::new(it, &scenario.kernel_names, Some(Era::Bh)))
            .collect(),
    };
    let mut frames = vec![
        encoder.machine(&machine()),
        encoder.devices(&devices),
        encoder.parameters(&parameters()),
    ];
    for (at, snapshot) in (0..).zip(&snapshots) {
        frames.push(encoder.picture(&picture(at, snapshot)));
        let first = at * RECORDS as u64;
        frames.push(encoder.ios(&records(first..first + RECORDS as u64), Some(Era::Bh)));
    }
    frames.push(encoder.end(&end()));
    for frame in frames {
        writer.write(&frame.expect("a block")).expect("written");
    }
    writer.into_inner()
}

fn picture(at: u64, snapshot: &Snapshot) -> Picture<'_> {
    Picture {
        monotonic_ns: 5_000_000_000 + at * 1_000_000_000,
        kept: Kept {
            records: at * RECORDS as u64,
            ..Kept::default()
        },
        document: Document::new(snapshot, None),
    }
}

fn snapshots() -> Vec<Snapshot> {
    ["bh_always_with_fallbacks", "losses_of_every_kind"]
        .map(|name| common::scenario(name).snapshot())
        .into()
}

fn machine() -> Machine {
    Machine {
        version: "0.1.0".to_owned(),
        release: "7.3.4\u{1b}[2J".to_owned(),
        machine: "x86_64".to_owned(),
        host: Some("$(id)<script>".to_owned()),
        cpus: 2,
        cpu_model: None,
        memory_bytes: 1 << 30,
        command: Some(vec!["fio".to_owned(), "--name=x".to_owned()]),
        redacted: false,
        filter: Filter {
            slower_than_ns: 5_000_000,
            one_in: 10,
        },
        ring_bytes: None,
    }
}

const fn end() -> End {
    End {
        monotonic_ns: 7_000_000_000,
        kept: Kept {
            records: 200,
            faster: 30,
            sampled_out: 7,
        },
        ended: Ended::Command(3),
    }
}

fn parameters() -> Parameters {
    Parameters {
        monotonic_ns: 5_000_000_002,
        use_bh_bytes: Some(vec![8_192, 0, 8_192, 8_192]),
    }
}

/// Records of which no two are alike.
fn records(numbers: std::ops::Range<u64>) -> Vec<Record> {
    numbers
        .map(|number| Record {
            seq: (number % 3) << 47 | number,
            mapped_at: 5_000_000_000 + number * 1_234_567,
            sector: number * 7_919 % 2_097_152,
            total_ns: 40_000 + number,
            stages_ns: [30_000, 5_000 + number, ABSENT, ABSENT, 5_000],
            bytes: 4_096 << (number % 3),
            device: 253 << 20,
            submitter: 800,
            command: *b"fio\0\0\0\0\0\0\0\0\0\0\0\0\0",
            ..Record::zeroed()
        })
        .collect()
}

/// Where each block begins and ends.
fn blocks(file: &[u8]) -> Vec<(usize, usize)> {
    let mut blocks = Vec::new();
    let mut start = Header::BYTES;
    while start < file.len() {
        let stored = file[start + 12..start + 16].try_into().expect("4 bytes");
        let stored = usize::try_from(u32::from_le_bytes(stored)).expect("a length");
        blocks.push((start, start + HEAD + stored));
        start += HEAD + stored;
    }
    blocks
}

/// A block made by hand, which may claim other lengths than it has.
fn head_and_payload(
    number: u32,
    kind: u16,
    flags: u16,
    payload: &[u8],
    lengths: Option<[u32; 2]>,
) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length");
    let mut block = b"vblk".to_vec();
    block.extend(kind.to_le_bytes());
    block.extend(flags.to_le_bytes());
    block.extend(number.to_le_bytes());
    for length in lengths.unwrap_or([length; 2]) {
        block.extend(length.to_le_bytes());
    }
    block.extend(crc32fast::hash(payload).to_le_bytes());
    block.extend(crc32fast::hash(&block).to_le_bytes());
    block.extend(payload);
    block
}
