//! Everything at once, and nothing gone: what was mapped is accounted for, and every identity is there
//! once or lies in a gap that was counted.

use std::collections::{BTreeMap, BTreeSet};

use crate::LabKernel::{self, Bh, Inert, Inline};
use crate::bpf::{CountRuns, kprobes, module_references, objects, wait_until_only};
use crate::device::{Backing, Mapped, Verity};
use crate::knobs::Limits;
use crate::load::{RandomReads, Running};
use crate::placement::NAME;
use crate::shell::{succeeds, wait_until};
use crate::tracer::{Document, Tracer};

/// The block that cannot be verified.
const WRONG: u64 = 7;

/// 4 KiB to 1 MiB, every ioprio class, direct and buffered; a read that fails ends nothing. Small reads
/// are as many as there can be, and the others leave time for them.
const JOBS: [&str; 23] = [
    "--rw=randread",
    "--continue_on_error=io",
    "--name=small",
    "--bs=4k",
    "--iodepth=8",
    "--name=of-all-sizes",
    "--bsrange=4k-1m",
    "--blockalign=4k",
    "--rate_iops=10",
    "--name=idle",
    "--bs=4k",
    "--prioclass=3",
    "--rate_iops=50",
    "--name=real-time",
    "--bs=8k",
    "--prioclass=1",
    "--prio=4",
    "--rate_iops=50",
    "--name=buffered",
    "--bs=16k",
    "--direct=0",
    "--ioengine=psync",
    "--rate_iops=50",
];

/// Between any two changes of table and limits so many reads finish.
pub fn mixed_storm(disk: &Backing, changes: usize, reads: u64) {
    let (backing, wrong) = disk.with_a_wrong_block(WRONG);
    let device = backing.open(NAME, true);
    let top = Mapped::create("top", &format!("0 131072 linear {} 0", device.path()));
    let limits = Limits::keep();
    let before = device.counts();
    let tracer = Tracer::start(&["--records", "1000000"]);
    let other = Tracer::start(&[]);
    let load = Running::start(&device, &JOBS);
    for change in 0..changes {
        load.run_for(reads);
        disturb(&device, &top, change);
        limits.set([[0; 4], [8_192, 8_192, 8_192, 0], [u32::MAX; 4]][change % 3]);
    }
    assert_nothing_is_twice(&other.stop());
    load.stop();
    let document = tracer.stop();
    let counts = device.counts().since(before);
    drop((top, device, wrong));

    document.assert_conserved();
    document.assert_accounted(NAME, counts.reads);
    let count = |field| document.count(NAME, field);
    assert!(count("ios") < counts.reads || count("bytes") == counts.sectors * 512);
    assert!(count("rejected") + document.loss("recursion") >= changes as u64);
    assert!(count("failed") > 0, "the wrong block was read");
    assert_reasons(&document);
    assert_identities(&document);
}

/// Another table, pages that have to be read again, a read that fails and a write that is refused.
fn disturb(device: &Verity, top: &Mapped, change: usize) {
    device.reload(change % 2 == 1);
    std::fs::write("/proc/sys/vm/drop_caches", "1").expect("drop the page cache");
    assert!(!device.reads_block(WRONG), "the wrong block is given out");
    let to = format!("of={}", top.path());
    let write = ["if=/dev/zero", &to, "bs=4k", "count=1", "oflag=direct"];
    assert!(!succeeds("dd", &write), "verity cannot be written to");
}

/// While I/Os come and go nothing is accounted for twice.
fn assert_nothing_is_twice(document: &Document) {
    let account = &document.0["account"];
    println!("under load: {account}");
    assert!(document.became() <= document.mapped("mapped"), "{account}");
    assert!(document.mapped("finished") > 0, "{account}");
}

/// Every I/O that was not verified in BH or inline says why.
fn assert_reasons(document: &Document) {
    let placements = document.device(NAME)["placements"].as_object();
    let mut all = BTreeMap::new();
    for (placement, totals) in placements.expect("placements") {
        for (reason, count) in totals["reasons"].as_object().expect("reasons") {
            all.insert((placement, reason), count);
            // An event that was missed may be what would have told.
            let count = count.as_u64().expect("a count");
            let missed = document.loss("recursion");
            assert!(
                reason != "unknown" || count <= missed,
                "{placement}: {count}"
            );
        }
    }
    println!("{} I/Os: {all:?}", document.count(NAME, "ios"));
}

/// Each identity appears once, or lies in a gap: what was refused, what was not seen to end, and what
/// found no room for its record.
fn assert_identities(document: &Document) {
    let mut seen = BTreeSet::new();
    // The highest number of each CPU and copy of the program.
    let mut last: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for record in document.records() {
        let seq: u64 = record["seq"]
            .as_str()
            .and_then(|seq| seq.parse().ok())
            .expect("a number");
        assert!(seen.insert(seq), "twice: {record}");
        let (cpu, copy, number) = (seq >> 48, seq >> 47 & 1, seq & ((1 << 47) - 1));
        assert_eq!(Some(cpu), record["submit_cpu"].as_u64(), "{record}");
        let last = last.entry((cpu, copy)).or_default();
        *last = number.max(*last);
    }
    for cpu in document.0["cpus"].as_array().expect("CPUs") {
        let of_this = last.iter().filter(|((it, _), _)| cpu["number"] == *it);
        let given: u64 = of_this.map(|(_, number)| number).sum();
        assert!(Some(given) <= cpu["mapped"].as_u64(), "{given}: {cpu}");
    }
    let gaps = document.mapped("mapped") - seen.len() as u64;
    let unended = document.mapped("lost") + document.mapped("in_flight");
    let counted = document.mapped("rejected") + unended + document.loss("ring-full");
    assert_eq!(gaps, counted);
    assert_eq!(document.0["records_omitted"], 0);
}

/// The probes leave with the last device and come back with the next: numbers go on.
pub fn identities_go_on_after_attaching_anew() {
    let first = Backing::virtio().open("first", false);
    let tracer = Tracer::start(&["--records", "1000"]);
    // Of the device, and of each function that is watched. Links are no measure: to find out what a program costs, some are made
    // before the probes come.
    let attached = module_references();
    let ios = RandomReads::small(100).on(&first);
    first.close();
    wait_until("the probes have left", || module_references() == 0);
    let second = Backing::virtio().open("second", false);
    wait_until("the probes are back", || module_references() == attached);
    let others = RandomReads::small(100).on(&second);
    let document = tracer.stop();
    assert_eq!(document.records().len() as u64, ios + others);
    assert_eq!(document.mapped("mapped"), ios + others);
    document.assert_conserved();
    assert_identities(&document);
}

#[test]
fn a_mixed_storm_is_accounted_for() {
    mixed_storm(&Backing::virtio(), 4, 200);
}

/// A kprobe does not fire inside another kprobe's handler. What the kernel counts of that adds up, and
/// so do the I/Os: seen in full, seen in part, and of which the end was not seen.
pub fn kprobes_account_for_all(count: u64) {
    let device = Backing::virtio().open(NAME, true);
    device.warm_up();
    let before = objects();
    let _runs = CountRuns::start();
    let tracer = Tracer::start(&["--attach", "kprobe"]);
    let load = RandomReads {
        depth: 32,
        ..RandomReads::small(count)
    };
    let ios = load.on(&device);
    let probes = kprobes();
    let document = tracer.stop();
    wait_until_only(&before);
    let loss = |kind: &str| document.loss(kind);
    println!("{probes:?}; {}", document.0["loss"]);
    assert_eq!(document.0["tracing"]["rung"], "kprobe");

    let (seen, incomplete) = (
        document.count(NAME, "ios"),
        document.count(NAME, "incomplete"),
    );
    let (complete, in_flight) = (seen - incomplete, document.count(NAME, "in_flight"));
    let unseen = loss("start-without-finish") + loss("finish-without-start") + in_flight;
    println!("{complete} complete, {incomplete} incomplete, {unseen} unseen of {ios}");
    assert_eq!(complete + incomplete + unseen, ios);
    document.assert_conserved();
    assert_eq!(
        document.loss_of(NAME, "start-without-finish"),
        loss("start-without-finish")
    );

    assert_eq!(probes.len(), 4, "{probes:?}");
    let is_hidden = LabKernel::running() == Inert;
    assert_eq!(document.0["loss_is_lower_bound"], is_hidden);
    let mut all = 0;
    for (name, probe) in &probes {
        match probe.misses {
            // With a hot hash cache no attempt gives up, and each function is called once for an I/O.
            Some(missed) => assert_eq!(probe.hits + missed, ios, "{name}: {probe:?}"),
            None => assert!(is_hidden && probe.hits <= ios, "{name}: {probe:?}"),
        }
        all += probe.misses.unwrap_or(0);
    }
    match LabKernel::running() {
        Inert => assert_eq!(loss("probe-miss"), incomplete),
        Bh | Inline => assert_eq!(loss("probe-miss") + loss("recursion"), all),
    }
}

#[test]
fn kprobes_account_for_what_they_miss() {
    kprobes_account_for_all(4_000);
}
