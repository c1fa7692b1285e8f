//! What the live view shows beside counts.

use std::thread;

use crate::device::Backing;
use crate::load::RandomReads;
use crate::screen::Screen;

const NAME: &str = "verity0";

/// All that the programs can be asked for at once: the largest ones that the verifier sees.
const EVERYTHING: [&str; 6] = [
    "top",
    "--interval",
    "200ms",
    "--queues",
    "--hash-cache",
    "--submitters",
];

/// Those that have finished, and one whose disk hangs.
#[test]
fn ios_are_shown_one_by_one() {
    let (backing, disk) = Backing::virtio().in_two_parts();
    let device = backing.open(NAME, true);
    let mut screen = Screen::start(&EVERYTHING);
    screen.wait_for("fentry");
    screen.press("\t\t\t\t");
    screen.wait_for("[I/Os]");
    screen.wait_for("in flight: 0");
    RandomReads::small(40).on(&device);
    // The slowest come first, wherever they were verified: with cold hash blocks, or a CPU that has other tasks to
    // run, that is kverityd in every era.
    screen.wait_for("4 KiB at ");
    screen.wait_for("  fio ");
    thread::scope(|scope| {
        let suspended = disk.suspend();
        scope.spawn(|| device.reads_block(7));
        screen.wait_for("in device");
        screen.wait_for("4 KiB at 56  dd ");
        drop(suspended);
    });
    screen.wait_for("in flight: 0");
    screen.press("q");
    assert_eq!(screen.exit_code(), 0);
    drop(device);
    drop(disk);
}
