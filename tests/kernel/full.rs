//! What takes long: the full tier alone runs it (`cargo xtask test --full`); the sampled one leaves
//! this module out by name and says how many tests that were.

use crate::LabKernel;
use crate::behaviour::{assert_refuses, report};
use crate::bpf::{objects, wait_until_only};
use crate::context::check_the_whole_matrix;
use crate::device::Backing;
use crate::lifetime::{hundreds_in_flight, reload_under_load};
use crate::load::RandomReads;
use crate::oracle::agrees_with_dm_stats;
use crate::placement::{NAME, storm};
use crate::storm::{identities_go_on_after_attaching_anew, kprobes_account_for_all, mixed_storm};
use crate::tracer::Tracer;

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

/// A function carries at most 38 programs (`BPF_MAX_TRAMP_LINKS`, include/linux/bpf.h), and a tracer
/// attaches three to `verity_map`, on 6.12 also to `verity_verify_io`, which comes first: the
/// thirteenth gets no fentry there, and goes on with kprobes.
#[test]
fn kprobes_where_fentry_cannot_be_had() {
    let device = Backing::virtio().open(NAME, false);
    let before = objects();
    let few = ["--max-devices", "1"];
    let crowd: Vec<Tracer> = (0..12).map(|_| Tracer::start(&few)).collect();
    let tracer = Tracer::start(&few);
    let mut forced = report();
    forced.args(["--attach", "fentry"]);
    let full = match LabKernel::running() {
        LabKernel::Bh => "verity_verify_io",
        LabKernel::Inert | LabKernel::Inline => "verity_map",
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
    wait_until_only(&before);
}
