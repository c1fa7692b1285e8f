//! The report and the JSON document of every scenario, and the list of devices.

mod common;
mod page;
mod valid;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use ratatui::text::Span;
use scraper::Html;
use serde_json::{Value, json};
use verity_trace::decode::Io;
use verity_trace::dm::VerityDevice;
use verity_trace::export::{self, Document, Records};
use verity_trace::histogram::Nanos;
use verity_trace::inventory::Inventory;
use verity_trace::metrics::{self, Limits};
use verity_trace::recommend::{Advice, Forecasts};
use verity_trace::snapshot::{
    DeviceNumber, Era, Failure, Kernel, Other, Probe, ProbeKind, Snapshot, Stage, When,
};
use verity_trace::target::{Status, Table};
use verity_trace::{devices, escape, format, html, recommend, report};

use common::Scenario;

#[test]
fn reports() {
    for (name, scenario) in common::scenarios() {
        insta::with_settings!({ description => scenario.description.clone() }, {
            insta::assert_snapshot!(format!("report_{name}"), report_of(&scenario.snapshot()));
        });
    }
}

#[test]
fn documents() {
    for name in [
        "failed_ios",
        "hostile_names",
        "losses_of_every_kind",
        "waiting_for_module",
        "attaching_failed",
        "cold_hash_cache",
        "softirqs_and_workqueues",
        "who_submits",
        "workqueues_alone",
    ] {
        let json = json_of(&common::scenario(name).snapshot(), None);
        insta::assert_snapshot!(format!("json_{name}"), json);
    }
}

#[test]
fn a_document_with_records() {
    let scenario = common::scenario("bh_always_with_fallbacks");
    let ios = ios(&scenario);
    let records = Records {
        ios: &ios,
        omitted: 5_038,
    };
    let json = json_of(&scenario.snapshot(), Some(records));
    let document: Value = serde_json::from_str(&json).expect("JSON");
    for (record, io) in list(&document["records"]).iter().zip(&ios) {
        let stages = record["stages_ns"].as_object().expect("stages");
        let sum: u64 = stages.values().map(integer).sum();
        assert_eq!(sum, integer(&record["total_ns"]));
        assert_eq!(record["seq"], io.seq.to_string());
    }
    insta::assert_snapshot!(
        "json_records",
        serde_json::to_string_pretty(&document["records"]).expect("JSON")
    );
    assert_eq!(document["records_omitted"], 5_038);
}

/// Takes so many bytes and then is gone, as a pager that one has left.
struct Reader(usize);

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = (self.0.checked_sub(bytes.len())).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_away_is_told_from_other_failures() {
    let scenario = common::scenario("bh_always_with_fallbacks");
    let (snapshot, ios) = (scenario.snapshot(), ios(&scenario));
    let advices = advices_of(&snapshot);
    let records = Some(Records {
        ios: &ios,
        omitted: 0,
    });
    let all = json_of(&snapshot, records).len();
    for bytes in [0, 100, all - 1] {
        let left = export::json(&snapshot, &advices, records, &mut Reader(bytes));
        let error = left.expect_err("nobody reads to the end");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{bytes}");
    }
    export::json(&snapshot, &advices, records, &mut Reader(all)).expect("read to the end");
}

#[test]
fn a_document_counts_every_io_once() {
    for (name, scenario) in common::scenarios() {
        let snapshot = scenario.snapshot();
        let document: Value = serde_json::from_str(&json_of(&snapshot, None)).expect("JSON");
        assert_eq!(document["schema_version"], export::SCHEMA_VERSION);
        let devices = list(&document["devices"]);
        assert_eq!(devices.len(), snapshot.devices.len());
        for (device, expected) in devices.iter().zip(&snapshot.devices) {
            let Some(totals) = &expected.totals else {
                assert!(device.get("ios").is_none(), "{name}");
                continue;
            };
            let placements = device["placements"].as_object().expect("placements");
            let sum: u64 = placements.values().map(|it| integer(&it["ios"])).sum();
            assert_eq!(sum, integer(&device["ios"]), "{name}");
            assert_eq!(sum, totals.ios(), "{name}");
            for placement in placements.values() {
                conserved(placement, &name);
            }
            if let Some(submitters) = device.get("submitters") {
                let top = list(&submitters["top"]);
                let top: u64 = top.iter().map(|it| integer(&it["ios"])).sum();
                assert_eq!(top + integer(&submitters["others"]["ios"]), sum, "{name}");
            }
        }
        let kinds = document["loss"].as_object().expect("kinds");
        let lost: u64 = kinds.values().map(integer).sum();
        assert_eq!(lost, integer(&document["lost"]), "{name}");
    }
}

#[test]
fn a_device_without_a_slot_has_no_counts_of_its_own() {
    let json = json_of(&common::scenario("seventy_devices").snapshot(), None);
    let document: Value = serde_json::from_str(&json).expect("JSON");
    let devices = list(&document["devices"]);
    let others: Vec<_> = devices
        .iter()
        .filter(|device| device["counted_in_other"] == true)
        .collect();
    assert_eq!(others.len(), 6);
    for device in others {
        for field in ["ios", "failed", "placements", "in_flight", "effective"] {
            assert!(device.get(field).is_none(), "{field}");
        }
    }
    assert_eq!(document["other"]["ios"], 1_200);
    assert_eq!(document["other"]["in_flight_stages"]["device"]["ios"], 3);
}

#[test]
fn a_percentile_past_the_buckets_is_said_to_be_a_bound() {
    let json = json_of(&common::scenario("past_the_buckets").snapshot(), None);
    let document: Value = serde_json::from_str(&json).expect("JSON");
    let stages = &document["devices"][0]["placements"]["kverityd"]["stages"];
    let device = &stages["device"];
    assert_eq!(device["p50_ns"], 83_968);
    assert_eq!(device["p99_ns"], 1_u64 << 36);
    assert_eq!(device["lower_bounds"], json!(["p99_ns", "p999_ns"]));
    assert_eq!(device.get("upper_bounds"), None);
    let wait = &stages["wait"];
    assert_eq!(wait["p50_ns"], 64);
    assert_eq!(wait["upper_bounds"], json!(["p50_ns", "p90_ns"]));
    assert_eq!(wait.get("lower_bounds"), None);
}

#[test]
fn a_document_becomes_its_snapshot_again() {
    for (name, scenario) in common::scenarios() {
        let snapshot = scenario.snapshot();
        let json = json_of(&snapshot, None);
        let document: Document<'_> = serde_json::from_str(&json).expect("a document");
        let found = document.snapshot().expect("a snapshot");
        assert_eq!(report_of(&found), report_of(&snapshot), "{name}");
        assert_eq!(json_of(&found, None), json, "{name}");
        let known = Snapshot {
            interval: None,
            ..snapshot
        };
        for (found, known) in found.devices.iter().zip(&known.devices) {
            assert_eq!(found.totals, known.totals, "{name}");
            assert_eq!(found.in_flight, known.in_flight, "{name}");
            assert_eq!(found.counted_in_other, known.counted_in_other, "{name}");
        }
        assert_eq!(found.other, known.other, "{name}");
        assert_eq!(found.cost, known.cost, "{name}");
        assert_eq!(found.cpus, known.cpus, "{name}");
    }
}

/// What no scenario has.
#[test]
fn probes_and_a_failure_of_others_are_read_back() {
    let snapshot = with_probes();
    let json = json_of(&snapshot, None);
    let document: Document<'_> = serde_json::from_str(&json).expect("a document");
    let found = document.snapshot().expect("a snapshot");
    assert_eq!(found.probes, snapshot.probes);
    assert_eq!(found.other, snapshot.other);
    assert_eq!(json_of(&found, None), json);
    let changed = json.replace("with-option", "on Sundays");
    let document: Document<'_> = serde_json::from_str(&changed).expect("a document");
    assert!(document.snapshot().is_err());
}

/// Recordings keep documents for years.
#[test]
fn a_document_without_fields_that_were_added_is_read() {
    let json = json_of(&with_probes(), None);
    let mut document: Value = serde_json::from_str(&json).expect("JSON");
    let mut remove = |list: &str, field: &str| {
        for object in document
            .pointer_mut(list)
            .and_then(Value::as_array_mut)
            .expect("a list")
        {
            let removed = object.as_object_mut().and_then(|it| it.remove(field));
            assert!(removed.is_some(), "{field}");
        }
    };
    remove("/tracing/probes", "when");
    remove("/devices", "counted_in_other");
    let document: Document<'_> = serde_json::from_value(document).expect("a document");
    let found = document.snapshot().expect("a snapshot");
    assert!(found.probes.iter().all(|it| it.when == When::Always));
    assert!(found.devices.iter().all(|it| !it.counted_in_other));
}

fn with_probes() -> Snapshot {
    let probe = |when| Probe {
        name: "verity_verify_io",
        target: "verity_verify_io",
        kind: ProbeKind::Fentry,
        without: "everything",
        when,
    };
    Snapshot {
        probes: When::ALL.map(probe).into(),
        other: Some(Other {
            first_failure: Some(Failure {
                sector: 8,
                status: 10,
            }),
            ..Other::default()
        }),
        ..common::scenario("failed_ios").snapshot()
    }
}

#[test]
fn a_document_with_a_word_that_is_none_is_no_snapshot() {
    let json = json_of(&common::scenario("failed_ios").snapshot(), None);
    for word in ["bh", "best-effort", "device-error", "fentry"] {
        let changed = json.replace(&format!("\"{word}\""), "\"\\u001b[2J\"");
        assert_ne!(changed, json, "{word}");
        let document: Document<'_> = serde_json::from_str(&changed).expect("a document");
        assert!(document.snapshot().is_err(), "{word}");
    }
}

#[test]
fn a_stage_that_did_not_happen_is_absent() {
    let json = json_of(&common::scenario("failed_ios").snapshot(), None);
    let document: Value = serde_json::from_str(&json).expect("JSON");
    let stages = &document["devices"][0]["placements"]["none"]["stages"];
    let names: Vec<_> = stages.as_object().expect("stages").keys().collect();
    assert_eq!(names, ["device", "total"]);
}

#[test]
fn no_output_holds_a_hidden_character() {
    for (name, scenario) in common::scenarios() {
        let snapshot = scenario.snapshot();
        let (advices, limits) = (advices_of(&snapshot), Limits::default());
        let mut line = Vec::new();
        export::line(&snapshot, &advices, None, &mut line).expect("written to memory");
        for output in [
            report_of(&snapshot),
            json_of(&snapshot, None),
            String::from_utf8(line).expect("text"),
            metrics::openmetrics(&snapshot, &advices, &limits),
            metrics::text(&snapshot, &advices, &limits),
        ] {
            assert!(
                !output.replace('\n', "").contains(escape::is_hidden),
                "{name}"
            );
        }
    }
}

#[test]
fn pages_say_what_documents_say() {
    for (name, scenario) in common::scenarios() {
        let snapshot = scenario.snapshot();
        let page = page_of(&snapshot);
        let document = serde_json::from_str(&json_of(&snapshot, None)).expect("JSON");
        page::agrees(&page, &document);
        let all = page::texts(&page, "#text + details pre").concat();
        assert_eq!(all, report_of(&snapshot), "{name}");
    }
}

/// Devices that are gone, or have no slot, can have failed as any other.
#[test]
fn a_page_tells_what_failed_and_hangs_on_devices_without_a_line() {
    let mut snapshot = common::scenario("bh_always_with_fallbacks").snapshot();
    snapshot.loss.clear();
    let mut other = common::scenario("failed_ios").snapshot().devices.remove(0);
    let failed = other.totals.as_ref().expect("totals").failed();
    let mut in_flight = other.in_flight.take().expect("seen");
    in_flight.add(Stage::Wait, Duration::from_secs(45));
    snapshot.other = Some(Other {
        totals: other.totals.take().expect("totals"),
        in_flight,
        first_failure: None,
    });
    let page = page_of(&snapshot);
    let warnings = page::texts(&page, ".warnings").concat();
    let name = "other devices, without a slot of their own or gone";
    let expected = [
        format!("Failed: {name}: {failed} I/Os"),
        format!("Hangs: {name}: the oldest I/O in flight is 45.0 s old and in the stage wait"),
    ];
    for expected in expected {
        assert!(warnings.contains(&expected), "{warnings}");
    }
    // Beside one on which verification took less.
    let one = common::scenario("failed_ios").snapshot().devices.remove(1);
    snapshot.devices = vec![one];
    let said = page::texts(&page_of(&snapshot), ".summary").concat();
    assert!(
        said.contains(&format!("The largest part of it was on {name}: ")),
        "{said}"
    );
}

#[test]
fn a_page_says_when_a_watch_began() {
    let snapshot = common::scenario("bh_always_with_fallbacks").snapshot();
    let began = snapshot.taken_at.saturating_sub(snapshot.watched);
    let began = SystemTime::UNIX_EPOCH + began;
    let expected = format!(
        "watched {} from {}",
        format::span(snapshot.watched),
        humantime::format_rfc3339_seconds(began)
    );
    let said = page::texts(&page_of(&snapshot), "header").concat();
    assert!(said.contains(&expected), "{expected}: {said}");
}

fn page_of(snapshot: &Snapshot) -> Html {
    let mut text = Vec::new();
    html::live(snapshot, &advices_of(snapshot), &mut text).expect("written to memory");
    page::checked(&String::from_utf8(text).expect("text"))
}

#[test]
fn hostile_names_are_read_back_as_they_are() {
    let snapshot = common::scenario("hostile_names").snapshot();
    let document: Value = serde_json::from_str(&json_of(&snapshot, None)).expect("JSON");
    for (device, expected) in list(&document["devices"]).iter().zip(&snapshot.devices) {
        assert_eq!(device["name"], expected.name);
    }
}

#[test]
fn devices_in_text() {
    insta::assert_snapshot!("devices", devices_of(&inventory(Era::Inline)));
    insta::assert_snapshot!("devices_inert", devices_of(&inventory(Era::Inert)));
    insta::assert_snapshot!("devices_hostile", devices_of(&hostile()));
}

#[test]
fn devices_in_json() {
    insta::assert_snapshot!("devices_json", devices_json_of(&inventory(Era::Inert)));
    insta::assert_snapshot!("devices_json_hostile", devices_json_of(&hostile()));
}

#[test]
fn every_device_fits_a_terminal_and_hides_nothing() {
    for inventory in [inventory(Era::Inert), inventory(Era::Inline), hostile()] {
        for line in devices_of(&inventory).lines() {
            assert!(Span::raw(line).width() <= 80, "{line}");
            assert!(!line.contains(escape::is_hidden), "{line}");
        }
        let json = devices_json_of(&inventory);
        assert!(!json.replace('\n', "").contains(escape::is_hidden));
        let document: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(document["schema_version"], export::SCHEMA_VERSION);
        for (device, expected) in list(&document["devices"]).iter().zip(&inventory.devices) {
            assert_eq!(device["name"], expected.name);
            assert_eq!(device["algorithm"], expected.table.algorithm);
        }
    }
}

/// A device without options, and one with nearly all of them.
fn inventory(era: Era) -> Inventory {
    let root = "4fa5d3b7c8e1a2964fa5d3b7c8e1a2964fa5d3b7c8e1a2964fa5d3b7c8e1a296";
    let salt = "6c61622073616c74206f66207665726974792d74726163652c20333220622121";
    let plain = format!("1 254:0 254:16 4096 4096 16384 1 sha256 {root} {salt}");
    let full = format!(
        "1 254:0 254:32 4096 1024 16384 0 sha512 {root}{root} - 17 restart_on_corruption \
         panic_on_error ignore_zero_blocks check_at_most_once try_verify_in_tasklet \
         use_fec_from_device 8:3 fec_blocks 16513 fec_start 16600 fec_roots 2 \
         root_hash_sig_key_desc cryptsetup:2f5f1d3c-7d0e-4b0a-9a57-0c1d2e3f4a5b new_option 7"
    );
    inventory_of(
        era,
        vec![
            device(
                "usr",
                "CRYPT-VERITY-2f5f1d3c7d0e4b0a9a570c1d2e3f4a5b-usr",
                &plain,
                "V -",
            ),
            device("image", "", &full, "C 3"),
        ],
    )
}

/// Devices whose strings try to command the terminal, a browser, a shell or the reader.
fn hostile() -> Inventory {
    let evil = "\u{1b}[2J\u{1b}[31mred";
    let line = format!("1 {evil} 254:16 4096 4096 8 1 {evil} {evil} {evil} 2 $(id)<script> {evil}");
    let long = "a-name-as-long-as-device-mapper-allows-".repeat(4);
    inventory_of(
        Era::Bh,
        vec![
            device(evil, "\u{9b}31m", &line, evil),
            device(
                "$(id)<script>alert(1)</script>",
                "line\nbreak",
                &line,
                "$(id) <b>",
            ),
            device(&"根ファイル".repeat(12), "gpj\u{202e}exe", &line, ""),
            device(&long[..127], &long[..127], &line, "V"),
        ],
    )
}

fn inventory_of(era: Era, devices: Vec<VerityDevice>) -> Inventory {
    let devices = devices
        .into_iter()
        .zip(0..)
        .map(|(device, minor)| VerityDevice {
            number: DeviceNumber { major: 253, minor },
            ..device
        });
    let names = [
        ("253:0", "dm-0"),
        ("254:0", "vda"),
        ("254:16", "vd\u{1b}[0mb"),
    ];
    Inventory {
        taken_at: Duration::from_secs(1_795_000_000),
        kernel: Kernel {
            release: "7.3.4\u{1b}]0;title\u{7}".to_owned(),
            host: "lab".to_owned(),
            cpus: 2,
            era: Some(era),
        },
        devices: devices.collect(),
        kernel_names: names
            .map(|(number, name)| (number.to_owned(), name.to_owned()))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
    }
}

fn device(name: &str, uuid: &str, line: &str, status: &str) -> VerityDevice {
    VerityDevice {
        name: name.to_owned(),
        uuid: uuid.to_owned(),
        number: DeviceNumber { major: 0, minor: 0 },
        disk_sequence: None,
        table: Table::parse(line).expect("a verity table"),
        status: Status::parse(status),
    }
}

/// One I/O of each group, with numbers that JavaScript would round.
fn ios(scenario: &Scenario) -> Vec<Io> {
    let groups = scenario.devices.iter().flat_map(|device| &device.ios);
    (0x3_0000_0000_0001..)
        .zip(groups)
        .map(|(seq, group)| Io {
            seq,
            device: DeviceNumber {
                major: 253,
                minor: 0,
            },
            mapped_at: Nanos(9_007_199_254_740_993),
            sector: 2_048,
            bytes: u32::try_from(group.bytes).expect("a length"),
            placement: common::placement(&group.placement),
            attempt: group.attempt.as_deref().map(common::placement),
            stages: group
                .stages
                .iter()
                .map(|(name, &ns)| (common::stage(name), Nanos(ns)))
                .collect(),
            total: Nanos(group.stages.values().sum()),
            status: 0,
            ioprio: 0,
            read_ahead: false,
            reason: group.reason.as_deref().map(common::reason),
            completion: common::completion(&group.completion),
            context: group.context.as_deref().map(common::context),
            attempt_context: group.attempt_context.as_deref().map(common::context),
            submitter: 812,
            command: "fio".to_owned(),
            cgroup: 9_007_199_254_740_993,
            submit_cpu: 1,
            complete_cpu: Some(0),
            verify_cpu: Some(0),
            rechecked: false,
            fec: false,
            incomplete: false,
            clock: false,
        })
        .collect()
}

fn conserved(placement: &Value, name: &str) {
    for histogram in placement["stages"].as_object().expect("stages").values() {
        let buckets = list(&histogram["buckets"]);
        let sum: u64 = buckets.iter().map(|it| integer(&it["count"])).sum();
        assert_eq!(sum, integer(&histogram["count"]), "{name}");
        assert_eq!(sum, integer(&placement["ios"]), "{name}");
        for bucket in buckets {
            assert!(
                bucket["upper_ns"].is_null()
                    || integer(&bucket["lower_ns"]) < integer(&bucket["upper_ns"])
            );
        }
    }
}

fn report_of(snapshot: &Snapshot) -> String {
    let mut text = Vec::new();
    report::report(snapshot, &mut text).expect("written to memory");
    recommend::section(&advices_of(snapshot), &mut text).expect("written to memory");
    String::from_utf8(text).expect("text")
}

fn advices_of(snapshot: &Snapshot) -> Vec<Advice> {
    recommend::advices(snapshot, &Forecasts::new(), None)
}

fn json_of(snapshot: &Snapshot, records: Option<Records<'_>>) -> String {
    let mut text = Vec::new();
    let advices = advices_of(snapshot);
    export::json(snapshot, &advices, records, &mut text).expect("written to memory");
    let text = String::from_utf8(text).expect("text");
    valid::written("export", &text);
    text
}

fn devices_of(inventory: &Inventory) -> String {
    let mut text = Vec::new();
    devices::devices(inventory, &mut text).expect("written to memory");
    String::from_utf8(text).expect("text")
}

fn devices_json_of(inventory: &Inventory) -> String {
    let mut text = Vec::new();
    export::devices(inventory, &mut text).expect("written to memory");
    let text = String::from_utf8(text).expect("text");
    valid::written("devices", &text);
    text
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn integer(value: &Value) -> u64 {
    value.as_u64().expect("an integer")
}
