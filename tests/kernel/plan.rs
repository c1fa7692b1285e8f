//! The plan on a real kernel: what `doctor` says is what is attached, and the last rung counts right.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::LabKernel;
use crate::behaviour::assert_refuses;
use crate::bpf::{Bpftrace, CALLS, map_bytes, program_names};
use crate::device::Backing;
use crate::is_real_time;
use crate::load::RandomReads;
use crate::placement::NAME;
use crate::shell::run;
use crate::tracer::{Document, Tracer};
use crate::valid;

const RUNGS: [&str; 3] = ["fentry", "kprobe", "tracepoint"];

/// The programs that each rung puts into the kernel on this era: bpftool, not we, says what is there.
fn programs(rung: &str) -> Vec<&'static str> {
    let kernel = LabKernel::running();
    let mut programs = match rung {
        "fentry" => vec![
            "softirq_entry",
            "softirq_exit",
            "verity_end_io",
            "verity_finish_io",
            "verity_map",
            "verity_verify_io",
        ],
        "kprobe" => vec![
            "softirq_entry",
            "softirq_exit",
            "verity_end_io_kprobe",
            "verity_finish_io_kprobe",
            "verity_map_kprobe",
            "verity_verify_io_kprobe",
        ],
        _ => vec![
            "softirq_entry",
            "softirq_exit",
            "verification_begins",
            "verification_begins_second",
            "verification_queued",
        ],
    };
    // 6.1 attempts nothing, and passes a structure to verity_recheck by value.
    match rung {
        _ if kernel == LabKernel::Inert => {}
        "fentry" => programs.extend([
            "verity_recheck",
            "verity_fec_decode_exit",
            // Since the device has the option.
            "verity_verify_io_exit",
            "verity_verify_io_guard",
            "verity_finish_io_guard",
        ]),
        "kprobe" => programs.push("workqueue_queue_work"),
        _ => {}
    }
    // Where everything can be preempted all have a guard from the beginning.
    if rung == "fentry" && is_real_time() {
        programs.extend(["verity_end_io_guard", "verity_map_guard"]);
    }
    programs
}

/// What each rung does not see on this era.
pub fn expected_gaps(rung: &str) -> &'static [&'static str] {
    match (rung, LabKernel::running()) {
        ("fentry", LabKernel::Inert) => &["verity_recheck", "verity_fec_decode exit"],
        // Linux 6.14 is the first whose programs can keep their task from being preempted.
        ("fentry", LabKernel::Bh) if is_real_time() => &["bpf_preempt_disable"],
        _ => &[],
    }
}

/// The kernel keeps 15 bytes of a name, and the whole of it where a program has BTF.
fn cut(name: &str) -> &str {
    &name[..name.len().min(15)]
}

#[test]
fn what_doctor_says_is_what_is_attached() {
    let _device = Backing::virtio().open(NAME, true);
    for rung in RUNGS {
        let others = program_names();
        let diagnosis = diagnosis(&["--attach", rung]);
        assert_eq!(diagnosis["rung"], rung);
        assert_eq!(diagnosis["kernel"]["era"], LabKernel::running().era());
        let tracer = Tracer::start(&["--attach", rung]);
        let mut attached = program_names();
        attached.retain(|name| !others.contains(name));
        let mut attached: Vec<_> = attached.iter().map(|name| cut(name)).collect();
        attached.sort_unstable();
        let mut expected: Vec<_> = programs(rung).into_iter().map(cut).collect();
        expected.sort_unstable();
        assert_eq!(attached, expected, "{rung}");
        let tracing = tracer.stop().0["tracing"].clone();
        assert_eq!(tracing["probes"], diagnosis["probes"], "{rung}");
        assert_eq!(tracing["gaps"], diagnosis["gaps"], "{rung}");
        let gaps: Vec<_> = diagnosis["gaps"]
            .as_array()
            .expect("gaps")
            .iter()
            .map(|gap| &gap["missing"])
            .collect();
        assert_eq!(gaps, expected_gaps(rung), "{rung}");
    }
    assert_eq!(diagnosis(&[])["rung"], "fentry", "the best is the default");
}

/// The kernel's own account of each map, which before Linux 6.4 leaves out the rings.
#[test]
fn the_memory_that_is_planned_is_what_the_maps_take() {
    if LabKernel::running() == LabKernel::Inert {
        return;
    }
    let _device = Backing::virtio().open(NAME, true);
    for arguments in [
        &["--attach", "fentry"][..],
        &["--max-devices", "1"],
        &["--max-devices", "1", "--submitters", "--queues"],
        &["--attach", "tracepoint", "--submitters"],
    ] {
        let planned = diagnosis(arguments)["memory_bytes"]
            .as_u64()
            .expect("memory");
        let before = map_bytes();
        let tracer = Tracer::start(arguments);
        let taken = map_bytes() - before;
        drop(tracer.stop());
        eprintln!("{arguments:?}: planned {planned}, taken {taken}");
        assert!(planned.abs_diff(taken) < planned / 20, "{planned} {taken}");
    }
}

/// What the workqueues show, against a count of every call of `verity_verify_io` by bpftrace.
#[test]
fn the_last_rung_counts_every_verification_that_is_queued() {
    for (backing, in_task, option) in [
        (Backing::virtio(), false, false),
        (Backing::virtio(), false, true),
        (Backing::brd(), true, true),
    ] {
        let device = backing.open(NAME, option);
        device.warm_up();
        let bpftrace = Bpftrace::start(CALLS);
        let tracer = Tracer::start(&["--attach", "tracepoint", "--submitters"]);
        let load = RandomReads {
            depth: 64,
            ..RandomReads::small(3_000)
        };
        let ios = load.on(&device);
        let document = tracer.stop();
        let calls = bpftrace.stop_calls();
        let [kverityd, bh] = ["kverityd", "bh"].map(|placement| queued(&document, placement));
        let all = calls.verify_io;
        let said = format!("{in_task} {option}: kverityd {kverityd}, bh {bh} of {ios}; {calls:?}");
        eprintln!("{said}");
        match (LabKernel::running(), option) {
            (LabKernel::Inert, _) | (_, false) => {
                assert_eq!([kverityd, bh], [ios, 0], "{said}");
            }
            // Every size goes to the BH workqueue first; what is beyond are fallbacks.
            (LabKernel::Bh, true) => assert_eq!([kverityd, bh], [all - ios, ios], "{said}"),
            // The completion verifies by itself where it can, which nothing here shows: in a task always,
            // unless the CPU has to reschedule. An interrupt's thread is a task, too.
            (LabKernel::Inline, true) if in_task || is_real_time() => {
                assert_eq!(bh, 0, "{said}");
                assert!(kverityd < all, "{said}");
            }
            (LabKernel::Inline, true) => {
                assert!(kverityd + bh <= all, "{said}");
                // How many are left to kverityd depends on how often the CPU has to reschedule.
                assert!(bh > 0, "{said}");
            }
        }
        assert_eq!(document.0["lost"], 0, "{}", document.0["loss"]);
        let by_cpu = |field: &str| -> u64 {
            let cpus = document.0["cpus"].as_array().expect("CPUs");
            cpus.iter().filter_map(|cpu| cpu[field].as_u64()).sum()
        };
        assert_eq!(by_cpu("kverityd_verifications"), kverityd);
        assert_eq!(by_cpu("bh_verifications"), bh);
        let gaps = document.0["tracing"]["gaps"].to_string();
        assert!(gaps.contains("--submitters"), "{gaps}");
        let device = document.device(NAME);
        for absent in [
            "ios",
            "placements",
            "in_flight",
            "effective",
            "before_attach",
            "submitters",
        ] {
            assert!(device.get(absent).is_none(), "{absent} is not seen");
        }
        assert!(document.0["cpus"][0].get("inline_verifications").is_none());
    }
}

#[test]
fn doctor_says_what_it_can_without_the_module() {
    if Path::new("/sys/module/dm_verity").exists() {
        run("modprobe", &["-r", "dm_verity"]);
    }
    let output = doctor(&[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("modprobe dm_verity"));
    run("modprobe", &["dm_verity"]);
    let output = doctor(&[]);
    assert_eq!(output.status.code(), Some(0));
    let text = text(&output.stdout);
    assert!(
        text.contains("rung       fentry"),
        "without a device: {text}"
    );
}

#[test]
fn doctor_says_what_it_can_without_btf() {
    run("modprobe", &["dm_verity"]);
    run("mount", &["-t", "tmpfs", "none", "/sys/kernel/btf"]);
    let hidden = doctor(&[]);
    run("umount", &["/sys/kernel/btf"]);
    assert_eq!(hidden.status.code(), Some(4));
    assert_eq!(text(&hidden.stderr).lines().count(), 1);
    let text = text(&hidden.stdout);
    assert!(text.contains("CONFIG_DEBUG_INFO_BTF=y"), "{text}");
    let era = LabKernel::running().era();
    assert!(text.contains(&format!("era        {era}:")), "{text}");
}

/// A module without BTF of its own: the workqueues are left.
#[test]
fn without_the_modules_btf_it_is_the_last_rung() {
    let device = Backing::virtio().open(NAME, false);
    let vmlinux = std::fs::read("/sys/kernel/btf/vmlinux").expect("the kernel's BTF");
    run("mount", &["-t", "tmpfs", "none", "/sys/kernel/btf"]);
    std::fs::write("/sys/kernel/btf/vmlinux", vmlinux).expect("a copy of it");
    let tracer = Tracer::start(&[]);
    run("umount", &["/sys/kernel/btf"]);
    let ios = RandomReads::small(300).on(&device);
    let document = tracer.stop();
    assert_eq!(document.0["tracing"]["rung"], "tracepoint");
    let gaps = document.0["tracing"]["gaps"].to_string();
    assert!(gaps.contains("CONFIG_DEBUG_INFO_BTF_MODULES"), "{gaps}");
    assert_eq!(queued(&document, "kverityd"), ios);
}

#[test]
fn doctor_needs_root() {
    for arguments in [&[][..], &["--json"], &["--facts"]] {
        let mut command = Command::new("verity-trace");
        command.arg("doctor").args(arguments);
        command.uid(65_534).gid(65_534);
        assert_refuses(&mut command, 3, "root");
    }
}

/// The facts that are kept are this kernel's.
#[test]
fn doctor_gathers_facts() {
    run("modprobe", &["dm_verity"]);
    let output = doctor(&["--facts"]);
    assert_eq!(output.status.code(), Some(0));
    let facts: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let release = run("uname", &["-r"]);
    assert_eq!(facts["release"], release.trim());
    assert_eq!(facts["dm_verity"], "module");
    assert_eq!(
        facts["functions"]["verity_map"],
        serde_json::json!(["*dm_target", "*bio"])
    );
}

fn queued(document: &Document, placement: &str) -> u64 {
    document.0["queued"][placement]["count"]
        .as_u64()
        .unwrap_or(0)
}

fn diagnosis(arguments: &[&str]) -> Value {
    let output = doctor(&[&["--json"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    valid::written("doctor", &text(&output.stdout))
}

fn doctor(arguments: &[&str]) -> Output {
    Command::new("verity-trace")
        .arg("doctor")
        .args(arguments)
        .output()
        .expect("verity-trace")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
