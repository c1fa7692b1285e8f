//! The cache of hash blocks, with `--hash-cache`.

use serde_json::Value;

use crate::LabKernel::{self, Bh, Inert, Inline};
use crate::device::Backing;
use crate::knobs::PrefetchCluster;
use crate::load::RandomReads;
use crate::shell::run;
use crate::tracer::{Document, Tracer};

const NAME: &str = "verity0";

/// How late the slow hash device is, in nanoseconds.
const DELAY_NS: u64 = 20_000_000;

/// What the document says of the look-ups.
struct Lookups {
    hits: u64,
    misses: u64,
    awaited: u64,
    wait_ns: u64,
}

impl Lookups {
    fn of(document: &Document) -> Self {
        let found = &document.device(NAME)["hash_cache"];
        let number = |field: &str| found[field].as_u64().unwrap_or_else(|| panic!("{found}"));
        assert_eq!(number("unmeasured"), 0);
        assert_eq!(document.0["hash_cache_unseen"], 0);
        Self {
            hits: number("hits"),
            misses: number("misses"),
            awaited: number("awaited"),
            wait_ns: number("wait_ns"),
        }
    }
}

/// A block of data is checked against one block of hashes, and that one against the next level only
/// until it has been checked once (`verity_hash_for_block`, drivers/md/dm-verity-target.c).
#[test]
fn a_hot_cache_is_hit_once_for_each_block() {
    for option in [false, true] {
        for (reads, blocks) in [
            (RandomReads::small(1_000), 1),
            (RandomReads::large(100), 16),
        ] {
            let device = Backing::virtio().open(NAME, option);
            device.warm_up();
            let tracer = Tracer::start(&["--hash-cache"]);
            let ios = reads.on(&device);
            let document = tracer.stop();
            drop(device);
            document.assert_exact(NAME, ios);
            let found = Lookups::of(&document);
            assert_eq!(
                (found.hits, found.misses, found.awaited, found.wait_ns),
                (ios * blocks, 0, 0, 0),
                "option {option}, {blocks} blocks"
            );
        }
    }
}

/// A cold cache in front of a slow device: why an attempt gave up is seen.
#[test]
fn a_cold_cache_is_missed_and_waited_for() {
    let _cluster = PrefetchCluster::smallest();
    let (backing, delayed) = Backing::virtio().with_slow_hashes();
    let device = backing.open(NAME, true);
    let tracer = Tracer::start(&["--hash-cache"]);
    let before = reads_of(&delayed.path());
    let ios = RandomReads::small(1_000).on(&device);
    let document = tracer.stop();
    let reads = reads_of(&delayed.path()) - before;
    drop(device);
    document.assert_exact(NAME, ios);
    let found = Lookups::of(&document);
    let gave_up = document.ios(NAME, "fallback");
    let reasons = &document.device(NAME)["placements"]["fallback"]["reasons"];
    match LabKernel::running() {
        Inert => assert_eq!(gave_up, 0),
        Bh | Inline => {
            assert!(gave_up > 0);
            assert_eq!(reasons, &serde_json::json!({ "cache-miss": gave_up }));
        }
    }
    let inferred = document.0["inferred_reasons"].as_array().expect("reasons");
    assert_eq!(inferred, &[Value::from("need-resched")]);
    // An attempt gives up at the first block that it misses; every other miss reads its block.
    let submitted = found.misses.checked_sub(gave_up).expect("misses");
    assert!(0 < submitted + found.awaited, "somebody had to read");
    assert!(submitted <= reads, "{submitted} of {reads} reads");
    assert!(found.wait_ns >= submitted * DELAY_NS, "{}", found.wait_ns);
    assert!(found.hits > 0);
}

/// Without the option nothing of it is said, and the reason is inferred.
#[test]
fn what_was_not_asked_for_is_absent() {
    let device = Backing::virtio().open(NAME, true);
    let tracer = Tracer::start(&[]);
    let ios = RandomReads::small(100).on(&device);
    let document = tracer.stop();
    drop(device);
    document.assert_exact(NAME, ios);
    assert!(document.device(NAME).get("hash_cache").is_none());
    assert!(document.0.get("hash_cache_unseen").is_none());
    let inferred = document.0["inferred_reasons"].as_array().expect("reasons");
    assert!(inferred.contains(&Value::from("cache-miss")));
}

/// Reads that a block device has completed (Documentation/admin-guide/iostats.rst).
fn reads_of(device: &str) -> u64 {
    let number = [
        "info",
        "-c",
        "--noheadings",
        "--separator=:",
        "-o",
        "major,minor",
    ];
    let number = run("dmsetup", &[&number[..], &[device]].concat());
    let text = run("cat", &[&format!("/sys/dev/block/{}/stat", number.trim())]);
    let first = text.split_whitespace().next().expect("a number");
    first.parse().expect("a number")
}
