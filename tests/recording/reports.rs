//! Reports of a recording: text, documents, tables and pages.

use std::ffi::OsStr;
use std::io::Cursor;

use verity_trace::histogram::Nanos;
use verity_trace::html::Gathered;
use verity_trace::overview::Overview;
use verity_trace::recording::{Encoder, Header, Reader, Writer};
use verity_trace::snapshot::Era;
use verity_trace::{demo, escape, format, html, report, table};

use crate::{
    HEAD, HEADER, blocks, common, page, parameters, picture, read, recording, records, report_of,
    reported, run, snapshots,
};

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
