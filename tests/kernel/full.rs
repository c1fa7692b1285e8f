//! What takes long: the full tier alone runs it (`cargo xtask test --full`); the sampled one leaves
//! this module out by name and says how many tests that were.

use std::process::{Command, Stdio};

use crate::LabKernel;
use crate::behaviour::{assert_refuses, report};
use crate::bpf::{links, objects, wait_until_only};
use crate::context::check_the_whole_matrix;
use crate::device::{Backing, Verity};
use crate::exporting::memory_stays_as_it_is;
use crate::lifetime::{hundreds_in_flight, reload_under_load};
use crate::load::RandomReads;
use crate::oracle::agrees_with_dm_stats;
use crate::placement::{NAME, storm};
use crate::shell::{KillOnDrop, wait_until};
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

/// What `recommend` prints, typed in.
mod recommend {
    use crate::recommend;

    #[test]
    fn what_is_typed_does_that() {
        recommend::what_is_typed_does_that_and_nothing_else();
    }

    #[test]
    fn a_corrupt_device_is_left_alone() {
        recommend::nothing_is_typed_on_a_corrupt_device();
    }
}

/// `tune`, however it ends.
mod tune {
    use crate::tune;

    #[test]
    fn the_better_setting_is_applied() {
        tune::the_better_setting_is_applied_where_that_is_asked_for();
    }

    #[test]
    fn a_signal_puts_back_what_was_found() {
        tune::a_signal_puts_back_what_was_found();
    }

    #[test]
    fn what_a_killed_one_left_is_undone() {
        tune::what_a_killed_one_left_is_undone();
    }

    #[test]
    fn what_somebody_else_does_stays() {
        tune::what_somebody_else_does_meanwhile_stays();
    }

    #[test]
    fn limits_are_tried() {
        tune::limits_are_tried_and_as_before();
    }
}

/// A kprobe's own losses, of many more I/Os.
#[test]
fn kprobes_account_for_long_loads() {
    kprobes_account_for_all(20_000);
}

/// As long as somebody may leave it running.
#[test]
fn exporting_for_long_takes_no_more_memory() {
    memory_stays_as_it_is();
}

/// `serve`, and what is read from it meanwhile.
mod serve {
    use crate::serving;

    #[test]
    fn a_prometheus_has_what_was_watched() {
        serving::a_prometheus_has_what_was_watched();
    }

    #[test]
    fn many_scrapes_hold_up_nothing() {
        serving::many_scrapes_hold_up_nothing();
    }
}

/// Every way to complete, with the option on and off, small and large.
#[test]
fn the_matrix_of_completions_is_as_expected() {
    check_the_whole_matrix();
}

/// Programs of somebody else on `verity_map` leave room for one. With one more it is kprobes, and why is
/// said.
#[test]
fn kprobes_where_fentry_cannot_be_had() {
    let device = Backing::virtio().open(NAME, false);
    let before = objects();
    let others = crowd("verity_map", room() - 1);
    let (document, ios) = small_trace(&device);
    assert_eq!(document.0["tracing"]["rung"], "fentry");
    document.assert_exact(NAME, ios);
    let last = crowd("verity_map", 1);
    let (document, _) = small_trace(&device);
    assert_eq!(document.0["tracing"]["rung"], "kprobe");
    assert_gap(&document, "fentry", "verity_map");
    assert!(document.count(NAME, "ios") > 0);
    assert_refuses(report().args(["--attach", "fentry"]), 4, "verity_map");
    drop((others, last));
    wait_until_only(&before);
}

/// With room for two on `verity_verify_io` the program there has no guard, with room for one its exit is not
/// seen, and the rung stays.
#[test]
fn a_full_function_costs_what_is_optional_first() {
    if LabKernel::running() == LabKernel::Inert {
        return;
    }
    let device = Backing::virtio().open(NAME, true);
    device.warm_up();
    let others = crowd("verity_verify_io", room() - 2);
    let (document, ios) = small_trace(&device);
    assert_eq!(document.0["tracing"]["rung"], "fentry");
    assert_gap(&document, "verity_verify_io guard", "verity_verify_io");
    document.assert_accounted(NAME, ios);
    let last = crowd("verity_verify_io", 1);
    let (document, ios) = small_trace(&device);
    assert_eq!(document.0["tracing"]["rung"], "fentry");
    assert_gap(&document, "verity_verify_io exit", "verity_verify_io");
    document.assert_accounted(NAME, ios);
    drop((others, last));
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

/// There is no room on a function, and this is said to be missing because of it.
fn assert_gap(document: &Document, missing: &str, function: &str) {
    let tracing = &document.0["tracing"];
    let gaps = tracing["gaps"].as_array().expect("gaps");
    let gap = gaps.iter().find(|gap| gap["missing"] == missing);
    let gap = gap.unwrap_or_else(|| panic!("no gap {missing}: {tracing}"));
    let why = gap["why"].as_str().expect("a reason");
    assert!(why.contains(function), "{why}");
    let remedy = gap["remedy"].as_str().expect("a remedy");
    assert!(remedy.contains("another tracer"), "{remedy}");
}

/// Other programs on a function, by a bpftrace that has them until it is dropped.
fn crowd(function: &str, count: usize) -> KillOnDrop {
    let before = links();
    let script = format!("fentry:dm_verity:{function} {{ @ = count(); }}\n").repeat(count);
    let mut bpftrace = Command::new("bpftrace");
    bpftrace.args(["-e", &script]).stdout(Stdio::null());
    let bpftrace = KillOnDrop(bpftrace.spawn().expect("bpftrace"));
    for attached in 1..=count {
        wait_until("bpftrace attaches one more", || {
            links() >= before + attached
        });
    }
    bpftrace
}
