//! Losses are told by device, where they can be.

use serde_json::json;

use crate::device::Backing;
use crate::load::RandomReads;
use crate::shell::{run, wait_until};
use crate::tracer::Tracer;

/// More records than the ring buffer has room for: 4 MiB of 128 bytes each, with 8 before each.
const MORE_THAN_FIT: u64 = 33_000;

/// Nobody takes records out, so the ring buffer is full in the end, and only one device still reads.
#[test]
fn a_full_ring_is_the_loss_of_the_device_that_met_it() {
    let backing = Backing::brd();
    let [quiet, busy] = ["quiet", "busy"].map(|name| backing.open_with(name, &["--shared"]));
    let tracer = Tracer::start(&["--records", "1000000"]);
    let stat = format!("/proc/{}/stat", tracer.pid());
    run("kill", &["-STOP", &tracer.pid()]);
    wait_until("the tracer has stopped", || {
        let stat = std::fs::read_to_string(&stat).expect("its state");
        stat.contains(") T ")
    });
    let few = RandomReads::small(200).on(&quiet);
    let many = RandomReads::small(MORE_THAN_FIT).on(&busy);
    run("kill", &["-CONT", &tracer.pid()]);
    let document = tracer.stop();
    let lost = document.loss("ring-full");
    assert!(lost > 0, "{}", document.0["loss"]);
    document.assert_conserved();
    let [quiet, busy] = ["quiet", "busy"].map(|name| document.count(name, "ios"));
    assert_eq!(document.records().len() as u64 + lost, quiet + busy);
    assert_eq!(document.loss_of("busy", "ring-full"), lost);
    assert_eq!(document.loss_of("quiet", "ring-full"), 0);
    if document.has_unseen() {
        assert!(quiet <= few && busy <= many);
    } else {
        assert_eq!(document.0["loss"], json!({ "ring-full": lost }));
        document.assert_counted("quiet", few, 0);
        document.assert_counted("busy", many, 0);
    }
}
