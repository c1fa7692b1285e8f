//! The report and the JSON document of every scenario.

mod common;

use serde_json::Value;
use verity_trace::decode::Io;
use verity_trace::escape;
use verity_trace::export::{self, Records};
use verity_trace::histogram::Nanos;
use verity_trace::report;
use verity_trace::snapshot::{DeviceNumber, Snapshot};

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

#[test]
fn a_document_counts_every_io_once() {
    for (name, scenario) in common::scenarios() {
        let snapshot = scenario.snapshot();
        let document: Value = serde_json::from_str(&json_of(&snapshot, None)).expect("JSON");
        assert_eq!(document["schema_version"], export::SCHEMA_VERSION);
        let devices = list(&document["devices"]);
        assert_eq!(devices.len(), snapshot.devices.len());
        for (device, expected) in devices.iter().zip(&snapshot.devices) {
            let placements = device["placements"].as_object().expect("placements");
            let sum: u64 = placements.values().map(|it| integer(&it["ios"])).sum();
            assert_eq!(sum, integer(&device["ios"]), "{name}");
            assert_eq!(sum, expected.totals.ios(), "{name}");
            for placement in placements.values() {
                conserved(placement, &name);
            }
        }
        let kinds = document["loss"].as_object().expect("kinds");
        let lost: u64 = kinds.values().map(integer).sum();
        assert_eq!(lost, integer(&document["lost"]), "{name}");
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
        for output in [report_of(&snapshot), json_of(&snapshot, None)] {
            assert!(
                !output.replace('\n', "").contains(escape::is_hidden),
                "{name}"
            );
        }
    }
}

#[test]
fn hostile_names_are_read_back_as_they_are() {
    let snapshot = common::scenario("hostile_names").snapshot();
    let document: Value = serde_json::from_str(&json_of(&snapshot, None)).expect("JSON");
    for (device, expected) in list(&document["devices"]).iter().zip(&snapshot.devices) {
        assert_eq!(device["name"], expected.name);
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
    String::from_utf8(text).expect("text")
}

fn json_of(snapshot: &Snapshot, records: Option<Records<'_>>) -> String {
    let mut text = Vec::new();
    export::json(snapshot, records, &mut text).expect("written to memory");
    String::from_utf8(text).expect("text")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn integer(value: &Value) -> u64 {
    value.as_u64().expect("an integer")
}
