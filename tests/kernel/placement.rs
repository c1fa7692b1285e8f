//! Where each kernel verifies, for every load exactly as many I/Os as fio did.

use crate::LabKernel::{self, Bh, Inert, Inline};
use crate::bpf::{Bpftrace, CALLS};
use crate::device::{Backing, Verity};
use crate::is_real_time;
use crate::knobs::PrefetchCluster;
use crate::load::RandomReads;
use crate::tracer::{Document, Tracer};

pub const NAME: &str = "verity0";

/// Traces a load on an open device; what came out is exact.
pub fn trace(device: &Verity, load: RandomReads) -> (Document, u64) {
    let tracer = Tracer::start(&[]);
    let ios = load.on(device);
    let document = tracer.stop();
    assert_eq!(ios, load.count, "fio did what was asked");
    document.assert_exact(NAME, ios);
    assert_eq!(document.0["kernel"]["era"], LabKernel::running().era());
    assert_eq!(document.0["tracing"]["rung"], "fentry");
    let bytes = document.count(NAME, "ios") * load.kib * 1024;
    assert_eq!(document.count(NAME, "bytes"), bytes);
    (document, ios)
}

/// Every I/O, but for one of which an event went unseen: where it was is not always known.
fn assert_all_on_kverityd(document: &Document) {
    let [ios, incomplete] = ["ios", "incomplete"].map(|field| document.count(NAME, field));
    let there = document.ios(NAME, "kverityd");
    assert!(
        (ios - incomplete..=ios).contains(&there),
        "{there} of {ios}, {incomplete} incomplete"
    );
}

#[test]
fn option_off_every_io_is_on_kverityd() {
    let device = Backing::virtio().open(NAME, false);
    let (document, _) = trace(&device, RandomReads::small(5_000));
    assert_all_on_kverityd(&document);
    assert_eq!(document.device(NAME)["option"], false);
    assert_eq!(document.device(NAME)["effective"], false);
}

/// Small reads with the option on: 6.12 queues every I/O on the BH workqueue; 7.3 verifies most of them
/// where the completion's context lets it, unless the CPU has to reschedule (`verity_end_io`).
fn with_the_option_on(backing: &Backing, mostly: &str) -> Document {
    let device = backing.open(NAME, true);
    device.warm_up();
    let (document, ios) = trace(&device, RandomReads::small(5_000));
    let of = |placement| document.ios(NAME, placement);
    assert_eq!(of("none"), 0);
    match LabKernel::running() {
        Inert => assert_eq!(of("kverityd"), ios),
        Bh => assert_eq!(of("bh") + of("fallback"), ios),
        Inline => assert!(of(mostly) > ios / 2, "{} of {ios} {mostly}", of(mostly)),
    }
    document
}

/// From hardirq 7.3 goes to the BH workqueue; with `PREEMPT_RT` it completes in the interrupt's thread, and
/// verifies right there.
#[test]
fn option_on_completing_in_hardirq() {
    let mostly = if is_real_time() { "inline" } else { "bh" };
    let document = with_the_option_on(&Backing::virtio(), mostly);
    let is_inert = LabKernel::running() == Inert;
    assert_eq!(document.device(NAME)["effective"], !is_inert);
}

/// In the task that reads 7.3 verifies right there.
#[test]
fn option_on_completing_in_task() {
    let document = with_the_option_on(&Backing::brd(), "inline");
    if LabKernel::running() == Inline {
        assert_eq!(document.ios(NAME, "bh"), 0, "no completion in hardirq");
    }
}

/// 64 KiB: 6.12 has no limit; 7.3 sends what is above `use_bh_bytes` to kverityd.
#[test]
fn option_on_large_reads() {
    for backing in [Backing::virtio(), Backing::brd()] {
        let device = backing.open(NAME, true);
        device.warm_up();
        let (document, ios) = trace(&device, RandomReads::large(500));
        let of = |placement| document.ios(NAME, placement);
        match LabKernel::running() {
            Inert | Inline => assert_all_on_kverityd(&document),
            Bh => assert_eq!(of("bh") + of("fallback"), ios),
        }
    }
}

/// A hash block that is not in the cache makes a softirq attempt give up. bpftrace, which knows
/// nothing of us, counts the calls of `verity_verify_io`; every one beyond the first of an I/O is a
/// fallback's second.
#[test]
fn a_cold_hash_cache_falls_back_as_often_as_bpftrace_counts() {
    let _cluster = PrefetchCluster::smallest();
    let (backing, _delayed) = Backing::virtio().with_slow_hashes();
    let device = backing.open(NAME, true);
    let bpftrace = Bpftrace::start(CALLS);
    let (document, ios) = trace(&device, RandomReads::small(1_000));
    let calls = bpftrace.stop_calls();
    assert_eq!(calls.finish_io, ios, "bpftrace saw every I/O: {calls:?}");
    let fallbacks = document.ios(NAME, "fallback");
    assert_eq!(calls.verify_io - ios, fallbacks);
    match LabKernel::running() {
        Inert => assert_eq!(fallbacks, 0),
        Bh | Inline => assert!(fallbacks > 0),
    }
    drop(device);
}

/// Many at once, on a cold hash cache: softirq attempts interrupt kverityd where it verifies.
pub fn storm(backing: &Backing, option: bool, count: u64) {
    let device = backing.open(NAME, option);
    let storm = RandomReads {
        depth: 64,
        ..RandomReads::small(count)
    };
    trace(&device, storm);
}

#[test]
fn storms_are_exact() {
    for backing in [Backing::virtio(), Backing::brd()] {
        storm(&backing, true, 2_000);
    }
}

/// Probes that are attached in the middle of a load see every I/O that begins from then on, and call
/// the ends of earlier ones what they are.
#[test]
fn attaching_under_load_is_no_loss() {
    let device = Backing::virtio().open(NAME, true);
    let load = RandomReads::small(20_000);
    let documents = std::thread::scope(|scope| {
        let running = scope.spawn(|| load.on(&device));
        let mut documents = Vec::new();
        while !running.is_finished() {
            documents.push(Tracer::start(&[]).stop());
        }
        documents
    });
    assert!(documents.len() > 1, "the load ended too early");
    for document in documents {
        let missed = if document.has_unseen() {
            document.loss("recursion")
        } else {
            0
        };
        // A call that is missed is one loss, and may cost the I/O that it was for, or a part of it.
        let (lost, kinds) = (document.0["lost"].as_u64(), &document.0["loss"]);
        assert!(lost.is_some_and(|lost| lost <= 2 * missed), "{kinds}");
        assert!(document.count(NAME, "incomplete") <= missed, "{kinds}");
    }
}

/// A device that takes the number of one that is gone starts from nothing; what the other counted is
/// kept, and nothing of it is lost.
#[test]
fn a_device_number_that_is_used_again_is_another_device() {
    let keeper = Backing::brd().open("keeper", false);
    let first = Backing::virtio().open("first", false);
    let number = |document: &Document, name: &str| document.device(name)["number"].clone();
    let before = Tracer::start(&["--duration", "10ms"]).read();
    let tracer = Tracer::start(&[]);
    RandomReads::small(300).on(&first);
    first.close();
    let second = Backing::virtio().open("second", false);
    RandomReads::small(200).on(&second);
    RandomReads::small(100).on(&keeper);
    let document = tracer.stop();
    assert_eq!(number(&document, "second"), number(&before, "first"));
    assert_eq!(document.count("keeper", "ios"), 100);
    let second_ios = document.count("second", "ios");
    let other = document.0["other"]["ios"].as_u64().expect("what is gone");
    // Reads between the change and its discovery count for either.
    assert_eq!(second_ios + other, 500);
    assert!(other >= 300, "{other} of the first device");
    assert_eq!(document.0["lost"], 0, "{}", document.0["loss"]);
}
