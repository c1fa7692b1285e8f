//! What takes long: the full tier alone runs it (`cargo xtask test --full`); the sampled one leaves
//! this module out by name and says how many tests that were.

use crate::LabKernel;
use crate::behaviour::{assert_refuses, report};
use crate::bpf::{objects, wait_until_only};
use crate::context::check_the_whole_matrix;
use crate::device::Backing;
use crate::load::RandomReads;
use crate::placement::{NAME, trace};
use crate::tracer::Tracer;

/// Every backing that decides the completion's context, a long storm each.
#[test]
fn long_storms_are_exact() {
    for (backing, option) in [
        (Backing::virtio(), true),
        (Backing::brd(), true),
        (Backing::virtio(), false),
        (Backing::brd(), false),
    ] {
        let device = backing.open(NAME, option);
        let storm = RandomReads {
            depth: 64,
            ..RandomReads::small(50_000)
        };
        trace(&device, storm);
    }
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
