//! The cache of hash blocks, with `--hash-cache`.

use serde_json::Value;

use crate::LabKernel::{self, Bh, Inert, Inline};
use crate::device::Backing;
use crate::knobs::PrefetchCluster;
use crate::load::RandomReads;
use crate::preempts_anywhere;
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
    /// Calls that went unseen: so far may the rest be off.
    unseen: u64,
}

impl Lookups {
    fn of(document: &Document) -> Self {
        let found = &document.device(NAME)["hash_cache"];
        let number = |field: &str| found[field].as_u64().unwrap_or_else(|| panic!("{found}"));
        assert_eq!(number("unmeasured"), 0);
        let unseen = document.0["hash_cache_unseen"].as_u64().expect("a number");
        // Only a kernel that preempts tasks anywhere can do so in the first instructions of a program.
        if !preempts_anywhere() {
            assert_eq!(unseen, 0);
        }
        Self {
            unseen,
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
    for (option, reads, blocks) in [
        (true, RandomReads::small(1_000), 1),
        (false, RandomReads::large(100), 16),
    ] {
        let device = Backing::virtio().open(NAME, option);
        device.warm_up();
        let tracer = Tracer::start(&["--hash-cache"]);
        let ios = reads.on(&device);
        let document = tracer.stop();
        drop(device);
        document.assert_exact(NAME, ios);
        let found = Lookups::of(&document);
        let looked_up = ios * blocks;
        assert!(
            (looked_up - found.unseen..=looked_up).contains(&found.hits),
            "option {option}, {blocks} blocks: {} and {} unseen of {looked_up}",
            found.hits,
            found.unseen
        );
        assert_eq!((found.misses, found.awaited, found.wait_ns), (0, 0, 0));
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
    assert!(document.watches("hash_get"));
    document.assert_exact(NAME, ios);
    let found = Lookups::of(&document);
    let gave_up = document.ios(NAME, "fallback");
    let reasons = &document.device(NAME)["placements"]["fallback"]["reasons"];
    match LabKernel::running() {
        Inert => assert_eq!(gave_up, 0),
        Bh | Inline => {
            let missed = reasons["cache-miss"].as_u64().expect("a number");
            assert!(0 < missed && missed <= gave_up, "{reasons}");
            let unknown = reasons["unknown"].as_u64().unwrap_or(0);
            assert_eq!(missed + unknown, gave_up, "{reasons}");
            assert!(unknown <= found.unseen, "{reasons}");
        }
    }
    let inferred = document.0["inferred_reasons"].as_array().expect("reasons");
    assert_eq!(inferred, &[Value::from("need-resched")]);
    // An attempt gives up at the first block that it misses; every other miss reads its block.
    let submitted = (found.misses + found.unseen)
        .checked_sub(gave_up)
        .expect("misses");
    assert!(0 < submitted + found.awaited, "somebody had to read");
    assert!(
        submitted <= reads + found.unseen,
        "{submitted} of {reads} reads"
    );
    assert!(
        found.wait_ns >= submitted.saturating_sub(2 * found.unseen) * DELAY_NS,
        "{}",
        found.wait_ns
    );
    assert!(found.hits > 0);
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
