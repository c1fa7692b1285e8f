//! What takes long: the full tier alone runs it (`cargo xtask test --full`); the sampled one leaves
//! this module out by name and says how many tests that were.

use std::process::{Child, Command, Stdio};

use crate::LabKernel;
use crate::behaviour::{assert_refuses, report};
use crate::bpf::{links, objects, wait_until_only};
use crate::context::check_the_whole_matrix;
use crate::device::{Backing, Verity};
use crate::lifetime::{hundreds_in_flight, reload_under_load};
use crate::load::RandomReads;
use crate::oracle::agrees_with_dm_stats;
use crate::placement::{NAME, storm};
use crate::shell::wait_until;
use crate::storm::{identities_go_on_after_attaching_anew, kprobes_account_for_all, mixed_storm};
use crate::tracer::{Document, Tracer};

/// Every backing that decides the completion's context, a long storm each.
#[test]
fn long_storms_are_exact() {
    for option in [true, false] {
        for backing in [Backing::virtio(), Backing::brd()] {
            storm(&backing, option, 50_000);
        }
    }
}

/// Two contexts of completion, twelve changes of everything that can be changed: each limit with the
/// option on and off, twice.
#[test]
fn long_mixed_storms_are_accounted_for() {
    for disk in [Backing::virtio(), Backing::brd()] {
        mixed_storm(&disk, 12, 500);
    }
}

#[test]
fn many_reloads_under_load_lose_nothing() {
    for disk in [Backing::virtio(), Backing::brd()] {
        reload_under_load(&disk, 10, 1_000);
    }
}

/// dm-stats as the other meter, for every placement that there is.
#[test]
fn long_loads_are_those_of_dm_stats() {
    for disk in [Backing::virtio(), Backing::brd()] {
        for option in [true, false] {
            let device = disk.open(NAME, option);
            device.warm_up();
            agrees_with_dm_stats(&device, RandomReads::small(10_000));
            agrees_with_dm_stats(&device, RandomReads::large(1_000));
        }
    }
}

#[test]
fn hundreds_in_flight_for_long_are_exact() {
    for disk in [
        Backing::virtio(),
        Backing::virtio_with_one_queue(),
        Backing::brd(),
    ] {
        hundreds_in_flight(&disk.open(NAME, true), 40_000);
    }
}

#[test]
fn no_identity_is_given_twice() {
    identities_go_on_after_attaching_anew();
}

/// A kprobe's own losses, of many more I/Os.
#[test]
fn kprobes_account_for_long_loads() {
    kprobes_account_for_all(20_000);
}

/// Every way to complete, with the option on and off, small and large.
#[test]
fn the_matrix_of_completions_is_as_expected() {
    check_the_whole_matrix();
}

/// A function carries at most 38 programs (`BPF_MAX_TRAMP_LINKS`, include/linux/bpf.h), on 7.3 36, and a
/// tracer attaches three to `verity_map`, and where an attempt can be made also to `verity_verify_io`, which
/// comes first. The thirteenth does without the optional one where there is room for two; the next gets no fentry there,
/// and goes on with kprobes.
#[test]
fn kprobes_where_fentry_cannot_be_had() {
    let device = Backing::virtio().open(NAME, false);
    let before = objects();
    let few = ["--max-devices", "1"];
    let crowd: Vec<Tracer> = (0..12).map(|_| Tracer::start(&few)).collect();
    let has_room = room() == 38;
    let thirteenth = has_room.then(|| Tracer::start(&few));
    let tracer = Tracer::start(&few);
    let mut forced = report();
    forced.args(["--attach", "fentry"]);
    let full = match LabKernel::running() {
        LabKernel::Inert => "verity_map",
        LabKernel::Bh | LabKernel::Inline => "verity_verify_io",
    };
    assert_refuses(&mut forced, 4, full);
    RandomReads::small(100).on(&device);
    let document = tracer.stop();
    assert_eq!(document.0["tracing"]["rung"], "kprobe");
    assert!(document.count(NAME, "ios") > 0);
    for tracer in crowd {
        let document = tracer.stop();
        assert_eq!(document.0["tracing"]["rung"], "fentry");
        document.assert_exact(NAME, 100);
    }
    if let Some(tracer) = thirteenth {
        let document = tracer.stop();
        assert_eq!(document.0["tracing"]["rung"], "fentry");
        let gaps = document.0["tracing"]["gaps"].to_string();
        assert!(gaps.contains("verity_map exit"), "{gaps}");
        document.assert_exact(NAME, 100);
    }
    wait_until_only(&before);
}

/// Programs of somebody else on `verity_map` leave room for two: the exit gives way, and the rung stays.
/// With one more it is kprobes, and why is said.
#[test]
fn a_full_function_costs_its_optional_probe_first() {
    let device = Backing::virtio().open(NAME, false);
    let _crowd = Crowd::on_map(room() - 2);
    let (document, ios) = small_trace(&device);
    assert_eq!(document.0["tracing"]["rung"], "fentry");
    assert_gap(&document, "verity_map exit");
    document.assert_exact(NAME, ios);
    let _last = Crowd::on_map(1);
    let (document, _) = small_trace(&device);
    assert_eq!(document.0["tracing"]["rung"], "kprobe");
    assert_gap(&document, "fentry");
    assert_refuses(report().args(["--attach", "fentry"]), 4, "verity_map");
}

/// How many programs a function carries: `BPF_MAX_TRAMP_LINKS`, include/linux/bpf.h; on 7.3 the code that
/// calls more does not fit the page that it has (`bpf_trampoline_update`, kernel/bpf/trampoline.c).
fn room() -> usize {
    if crate::name().starts_with('7') {
        36
    } else {
        38
    }
}

fn small_trace(device: &Verity) -> (Document, u64) {
    let tracer = Tracer::start(&["--max-devices", "1"]);
    let ios = RandomReads::small(200).on(device);
    (tracer.stop(), ios)
}

/// There is no room on `verity_map`, and this is said to be missing because of it.
fn assert_gap(document: &Document, missing: &str) {
    let tracing = &document.0["tracing"];
    let gaps = tracing["gaps"].as_array().expect("gaps");
    let gap = gaps.iter().find(|gap| gap["missing"] == missing);
    let gap = gap.unwrap_or_else(|| panic!("no gap {missing}: {tracing}"));
    let why = gap["why"].as_str().expect("a reason");
    assert!(why.contains("verity_map"), "{why}");
    let remedy = gap["remedy"].as_str().expect("a remedy");
    assert!(remedy.contains("another tracer"), "{remedy}");
}

/// Other programs on a function, by bpftrace.
struct Crowd(Child);

impl Crowd {
    fn on_map(count: usize) -> Self {
        let before = links();
        let script = "fentry:dm_verity:verity_map { @ = count(); }\n".repeat(count);
        let mut bpftrace = Command::new("bpftrace");
        bpftrace.args(["-e", &script]).stdout(Stdio::null());
        let crowd = Self(bpftrace.spawn().expect("bpftrace"));
        for attached in 1..=count {
            wait_until("bpftrace attaches one more", || {
                links() >= before + attached
            });
        }
        crowd
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // It has ended already where something went wrong.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
