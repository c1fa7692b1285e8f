//! How it starts, ends and gives way: nothing is left in the kernel, the module can be removed, and
//! what cannot be done is said in one line.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::LabKernel;
use crate::bpf::{objects, wait_until_only};
use crate::device::Backing;
use crate::knobs::HiddenAddresses;
use crate::load::RandomReads;
use crate::screen::Screen;
use crate::shell::{run, succeeds, wait_until};
use crate::tracer::Tracer;

const NAME: &str = "verity0";

#[test]
fn nothing_is_left_in_the_kernel() {
    let device = Backing::virtio().open(NAME, true);
    let before = objects();
    let ends: [fn(Tracer); 4] = [
        |tracer| drop(tracer.stop()),
        |tracer| assert_eq!(tracer.kill("-TERM"), Some(128 + 15)),
        |tracer| assert_eq!(tracer.kill("-HUP"), Some(128 + 1)),
        |tracer| assert_eq!(tracer.kill("-KILL"), None),
    ];
    for end in ends {
        let tracer = Tracer::start(&["--records", "10"]);
        assert!(objects().len() > before.len() + 10, "probes are attached");
        RandomReads::small(100).on(&device);
        end(tracer);
        wait_until_only(&before);
    }
}

/// The live view waits for the module and for a device, lets both go, and picks them up again.
#[test]
fn the_live_view_gives_way_and_comes_back() {
    if Path::new("/sys/module/dm_verity").exists() {
        run("modprobe", &["-r", "dm_verity"]);
    }
    let mut screen = Screen::start(&["top", "--interval", "200ms"]);
    screen.wait_for("waiting for dm_verity");
    run("modprobe", &["dm_verity"]);
    screen.wait_for("waiting for a verity device");
    // What stands beside the option once an I/O was counted.
    let effect = match LabKernel::running() {
        LabKernel::Inert => "on, inert",
        LabKernel::Bh | LabKernel::Inline => "on, effective",
    };
    for _ in 0..2 {
        let device = Backing::virtio().open(NAME, true);
        screen.wait_for("fentry");
        RandomReads::small(100).on(&device);
        screen.wait_for(effect);
        device.close();
        screen.wait_for("waiting for a verity device");
        wait_until("the module can be removed", || {
            succeeds("rmmod", &["dm_verity"])
        });
        screen.wait_for("waiting for dm_verity");
    }
    screen.press("q");
    assert_eq!(screen.exit_code(), 0);
}

/// A signal ends the live view, and the terminal is given back.
#[test]
fn the_live_view_ends_on_a_signal() {
    let _device = Backing::virtio().open(NAME, true);
    let before = objects();
    let mut screen = Screen::start(&["top", "--interval", "200ms"]);
    screen.wait_for(NAME);
    screen.click("CPUs");
    screen.wait_for("[CPUs]");
    run("kill", &["-TERM", &screen.pid()]);
    assert_eq!(screen.exit_code(), 128 + 15);
    let is_as_before = !screen.is_alternate() && !screen.asks_for_mouse();
    assert!(is_as_before, "the terminal is as before");
    wait_until_only(&before);
}

/// One line on standard error and the documented exit code.
pub fn assert_refuses(command: &mut Command, code: i32, says: &str) {
    let output = command.output().expect("verity-trace");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(says), "{text}");
    assert!(output.stdout.is_empty());
}

pub fn report() -> Command {
    let mut command = Command::new("verity-trace");
    command.args(["report", "--duration", "10ms"]);
    command
}

#[test]
fn without_a_verity_device_a_report_says_so() {
    assert_refuses(&mut report(), 5, "no dm-verity device");
}

#[test]
fn without_privilege_it_says_so() {
    let _device = Backing::virtio().open(NAME, true);
    let mut command = report();
    command.uid(65_534).gid(65_534);
    assert_refuses(&mut command, 3, "root");
}

#[test]
fn without_btf_it_says_so() {
    let _device = Backing::virtio().open(NAME, true);
    run("mount", &["-t", "tmpfs", "none", "/sys/kernel/btf"]);
    let hidden = report().output().expect("verity-trace");
    run("umount", &["/sys/kernel/btf"]);
    assert_eq!(hidden.status.code(), Some(4));
    let text = String::from_utf8_lossy(&hidden.stderr);
    assert!(text.contains("CONFIG_DEBUG_INFO_BTF"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

/// Hidden addresses make a BH verification look like an inline one; where there is no inline they hide
/// the end of an attempt, and where there is no attempt nothing.
#[test]
fn with_hidden_addresses_it_says_what_is_lost() {
    let _device = Backing::virtio().open(NAME, true);
    let restricted = HiddenAddresses::set(2);
    let hidden = report().output().expect("verity-trace");
    drop(restricted);
    let said = [&hidden.stdout[..], &hidden.stderr].concat();
    let text = String::from_utf8_lossy(&said);
    assert_eq!(hidden.status.code(), Some(0), "{text}");
    // Only `use_bh_bytes` is read by its address.
    let is_lost = LabKernel::running() == LabKernel::Inline;
    assert_eq!(text.contains("kptr_restrict"), is_lost, "{text}");
}
