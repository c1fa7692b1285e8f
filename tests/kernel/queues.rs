//! Softirqs and workqueues in detail, with `--queues`.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::LabKernel::{self, Bh, Inert, Inline};
use crate::device::Backing;
use crate::is_real_time;
use crate::load::RandomReads;
use crate::tracer::{Document, Tracer};

const NAME: &str = "verity0";

/// How often each softirq has run on all CPUs, as the kernel counts (`/proc/softirqs`).
fn kernel_counts() -> BTreeMap<String, u64> {
    let text = fs::read_to_string("/proc/softirqs").expect("/proc/softirqs");
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(name, counts)| {
            let counts = counts.split_whitespace().map(str::parse::<u64>);
            (name.trim().to_owned(), counts.flatten().sum())
        })
        .collect()
}

/// A sum over all CPUs.
fn over_cpus(document: &Document, number: impl Fn(&Value) -> u64) -> u64 {
    let cpus = document.0["cpus"].as_array().expect("CPUs");
    cpus.iter().map(|cpu| number(&cpu["queues"])).sum()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

#[test]
fn softirqs_are_counted_as_the_kernel_does() {
    let device = Backing::virtio().open(NAME, true);
    let attaching = kernel_counts();
    let tracer = Tracer::start(&["--queues"]);
    let attached = kernel_counts();
    let ios = RandomReads::small(2_000).on(&device);
    let stopping = kernel_counts();
    let document = tracer.stop();
    let stopped = kernel_counts();
    drop(device);
    document.assert_exact(NAME, ios);
    assert!(document.watches("queues_softirq_entry"));
    // A softirq does not interrupt another, so that what may be unseen is works alone.
    for (vector, &before) in &attaching {
        let counted = over_cpus(&document, |it| number(&it["softirqs"][vector]));
        let least = stopping[vector] - attached[vector];
        let most = stopped[vector] - before;
        assert!((least..=most).contains(&counted), "{vector}: {counted}");
        let in_thread = over_cpus(&document, |it| number(&it["ksoftirqd"][vector]));
        assert!(in_thread <= counted, "{vector}");
    }
    let ran = |vector| stopping[vector] - attached[vector];
    assert!(ran("BLOCK") + ran("TASKLET") > 0);
}

/// virtio completes in hardirq, so with the option on every I/O goes through the BH workqueue where there
/// is one.
#[test]
fn works_of_the_bh_workqueue_and_the_longest_verification_are_seen() {
    let device = Backing::virtio().open(NAME, true);
    device.warm_up();
    let tracer = Tracer::start(&["--queues", "--records", "10000"]);
    let ios = RandomReads::small(2_000).on(&device);
    let document = tracer.stop();
    drop(device);
    document.assert_exact(NAME, ios);
    let works = over_cpus(&document, |it| number(&it["bh_works"]));
    let limits = over_cpus(&document, |it| number(&it["bh_limits_inferred"]));
    match LabKernel::running() {
        Inert => assert_eq!((works, limits), (0, 0), "there is no BH workqueue"),
        // The thread of an interrupt needs no workqueue.
        Inline if is_real_time() => assert_eq!(document.ios(NAME, "bh"), 0),
        Bh | Inline => {
            let bh = document.ios(NAME, "bh");
            // The program does not run where it interrupts itself: that is counted, not lost.
            let unseen = number(&document.0["queues_unseen"]);
            assert!(
                bh > 0 && works + unseen >= bh,
                "{works} works, {unseen} unseen, {bh} I/Os"
            );
        }
    }
    let in_softirq = |context: &Value| *context == "softirq" || *context == "ksoftirqd";
    let longest = document.records().iter().filter_map(|record| {
        if in_softirq(&record["attempt_context"]) {
            record["stages_ns"]["attempt"].as_u64()
        } else if in_softirq(&record["context"]) {
            record["stages_ns"]["verify"].as_u64()
        } else {
            None
        }
    });
    let cpus = document.0["cpus"].as_array().expect("CPUs");
    let seen = cpus
        .iter()
        .filter_map(|cpu| cpu["queues"]["longest_softirq_verify_ns"].as_u64());
    assert_eq!(seen.max(), longest.max());
}

/// A completion in a task raises the softirq from there, which wakes the thread for it.
#[test]
fn softirqs_that_are_left_to_their_thread_are_counted() {
    let device = Backing::brd().open(NAME, true);
    let tracer = Tracer::start(&["--queues"]);
    let ios = RandomReads::small(1_000).on(&device);
    let document = tracer.stop();
    drop(device);
    document.assert_exact(NAME, ios);
    let verified = number(&document.device(NAME)["placements"]["bh"]["contexts"]["ksoftirqd"]);
    let handed_over = over_cpus(&document, |it| number(&it["ksoftirqd"]["TASKLET"]));
    if LabKernel::running() == Bh {
        assert!(verified > 0, "{}", document.device(NAME));
    }
    assert!(verified == 0 || handed_over > 0);
}

#[test]
fn the_wait_for_kverityd_is_split() {
    let device = Backing::virtio().open(NAME, false);
    let tracer = Tracer::start(&["--queues"]);
    let ios = RandomReads::small(2_000).on(&device);
    let document = tracer.stop();
    drop(device);
    document.assert_exact(NAME, ios);
    let unseen = number(&document.0["queues_unseen"]);
    let device = document.device(NAME);
    let [split, behind, behind_ns, wake_up_ns, unsplit] =
        ["ios", "behind", "behind_ns", "wake_up_ns", "unsplit"]
            .map(|it| device["kverityd_queue"][it].as_u64().expect("a number"));
    assert!(split + unsplit <= ios && ios <= split + unsplit + unseen);
    assert!(split > 0 && behind <= split);
    assert_eq!(behind == 0, behind_ns == 0);
    // The wait ends with the verification, which the worker begins right after it begins with the I/O.
    let wait = number(&device["placements"]["kverityd"]["stages"]["wait"]["sum_ns"]);
    assert!(
        behind_ns + wake_up_ns <= wait,
        "{behind_ns} + {wake_up_ns} > {wait}"
    );
}

/// What an optional view needs is not there on every rung: the rest is traced all the same.
#[test]
fn a_view_that_the_rung_cannot_have_is_left_out_and_said() {
    let device = Backing::virtio().open(NAME, true);
    for (rung, view, field) in [
        ("kprobe", "--hash-cache", "hash_cache_unseen"),
        ("tracepoint", "--queues", "queues_unseen"),
    ] {
        let tracer = Tracer::start(&["--attach", rung, view]);
        RandomReads::small(10).on(&device);
        let document = tracer.stop();
        assert_eq!(document.0["tracing"]["rung"], rung);
        let gaps = document.0["tracing"]["gaps"].as_array().expect("gaps");
        let gap = gaps.iter().find(|gap| gap["missing"] == view);
        let why = gap.unwrap_or_else(|| panic!("{gaps:?}"))["why"].to_string();
        assert!(why.contains(rung), "{why}");
        assert!(document.0.get(field).is_none());
    }
}
