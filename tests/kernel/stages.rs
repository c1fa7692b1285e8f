//! Records: stages, failures, and that every one of them is there.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::LabKernel::{self, Bh, Inert, Inline};
use crate::device::Backing;
use crate::knobs::PrefetchCluster;
use crate::load::RandomReads;
use crate::tracer::{Document, Tracer};

const NAME: &str = "verity0";

/// The stages that a placement has: the total is theirs exactly.
fn stages_of(placement: &str) -> BTreeSet<&'static str> {
    let stages: &[&str] = match placement {
        "fallback" => &["device", "wait", "attempt", "retry_wait", "verify"],
        "none" => &["device"],
        _ => &["device", "wait", "verify"],
    };
    stages.iter().copied().collect()
}

fn assert_sound(document: &Document) {
    let mut identities = BTreeSet::new();
    for record in document.records() {
        let placement = record["placement"].as_str().expect("a placement");
        let stages = record["stages_ns"].as_object().expect("stages");
        let names: BTreeSet<&str> = stages.keys().map(String::as_str).collect();
        assert_eq!(names, stages_of(placement), "{record}");
        let sum: u64 = stages.values().filter_map(Value::as_u64).sum();
        assert_eq!(Some(sum), record["total_ns"].as_u64(), "{record}");
        assert!(
            identities.insert(record["seq"].as_str().expect("a number")),
            "{record}"
        );
    }
}

/// Fallbacks included, and the histograms count what the records say.
#[test]
fn the_stages_of_every_record_add_up() {
    let _cluster = PrefetchCluster::smallest();
    let (backing, _delayed) = Backing::virtio().with_slow_hashes();
    let device = backing.open(NAME, true);
    let tracer = Tracer::start(&["--records", "100000"]);
    let ios = RandomReads::small(2_000).on(&device);
    let document = tracer.stop();
    drop(device);
    document.assert_exact(NAME, ios);
    assert_eq!(document.records().len() as u64, ios);
    assert_eq!(document.0["records_omitted"], 0);
    assert_sound(&document);

    let placements = document.device(NAME)["placements"]
        .as_object()
        .expect("placements");
    for (placement, totals) in placements {
        let records = document
            .records()
            .iter()
            .filter(|it| it["placement"] == placement.as_str());
        assert_eq!(Some(records.clone().count() as u64), totals["ios"].as_u64());
        for (stage, histogram) in totals["stages"].as_object().expect("stages") {
            let value = |record: &Value| match stage.as_str() {
                "total" => record["total_ns"].as_u64(),
                stage => record["stages_ns"][stage].as_u64(),
            };
            let sum: u64 = records.clone().filter_map(value).sum();
            assert_eq!(
                Some(sum),
                histogram["sum_ns"].as_u64(),
                "{placement} {stage}"
            );
            let counted: u64 = histogram["buckets"]
                .as_array()
                .expect("buckets")
                .iter()
                .filter_map(|bucket| bucket["count"].as_u64())
                .sum();
            assert_eq!(Some(counted), totals["ios"].as_u64(), "{placement} {stage}");
        }
    }
}

/// Records are kept as far as asked, and the rest is said.
#[test]
fn records_beyond_the_limit_are_counted() {
    let device = Backing::virtio().open(NAME, false);
    let tracer = Tracer::start(&["--records", "10"]);
    let ios = RandomReads::small(100).on(&device);
    let document = tracer.stop();
    assert_eq!(document.records().len(), 10);
    assert_eq!(document.0["records_omitted"].as_u64(), Some(ios - 10));
}

/// The read fails, the I/O is counted with its error, and the tool goes on.
#[test]
fn a_corrupt_block_is_a_failed_io() {
    let backing = Backing::brd();
    backing.corrupt(7);
    let device = backing.open(NAME, true);
    let tracer = Tracer::start(&["--records", "1000"]);
    assert!(device.reads_block(6), "the block before is good");
    assert!(!device.reads_block(7), "the corrupt block is not given out");
    assert!(device.reads_block(8), "the block after is good");
    let document = tracer.stop();
    drop(device);

    document.assert_exact(NAME, 3);
    assert_eq!(document.count(NAME, "failed"), 1);
    assert_sound(&document);
    let failed: Vec<&Value> = document
        .records()
        .iter()
        .filter(|record| record["status"] != 0)
        .collect();
    let [failed] = failed[..] else {
        panic!("{} failed records", failed.len())
    };
    assert_eq!(failed["sector"], 7 * 8);
    // BLK_STS_IOERR, include/linux/blk_types.h.
    assert_eq!(failed["status"], 10);
    // A softirq attempt that finds a mismatch leaves the verdict to kverityd.
    let placement = match LabKernel::running() {
        Inert => "kverityd",
        Bh | Inline => "fallback",
    };
    assert_eq!(failed["placement"], placement);
    let first = &document.device(NAME)["first_failure"];
    assert_eq!(
        (&first["sector"], &first["status"]),
        (&failed["sector"], &failed["status"])
    );
    if placement == "fallback" {
        assert_eq!(failed["reason"], "mismatch");
        assert_eq!(document.count(NAME, "rechecked"), 1);
    }
}

/// Data that the device below cannot read is not verified: the I/O ends as `none`, with the error.
#[test]
fn an_error_of_the_data_device_is_none() {
    let (backing, _broken) = Backing::virtio().with_a_broken_block(7);
    let device = backing.open(NAME, true);
    let tracer = Tracer::start(&["--records", "1000"]);
    assert!(device.reads_block(6) && !device.reads_block(7) && device.reads_block(8));
    let document = tracer.stop();
    drop(device);
    document.assert_exact(NAME, 3);
    assert_sound(&document);
    assert_eq!(document.ios(NAME, "none"), 1);
    assert_eq!(document.device(NAME)["placements"]["none"]["failed"], 1);
    assert_eq!(document.count(NAME, "failed"), 1);
}
