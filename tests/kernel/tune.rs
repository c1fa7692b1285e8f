//! `verity-trace tune` on real devices with I/O: everything is as before when it is done, however it ends, and nobody who
//! reads meanwhile sees an error.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::LabKernel::{self, Bh, Inert, Inline};
use crate::behaviour::assert_refuses;
use crate::device::Backing;
use crate::knobs::Limits;
use crate::load::Running;
use crate::placement::NAME;
use crate::shell::{run, succeeds, wait_until};
use crate::valid;

const JOB: [&str; 4] = ["--name=load", "--rw=randread", "--bs=4k", "--iodepth=8"];

fn tune(arguments: &[&str]) -> Command {
    let mut command = Command::new("verity-trace");
    command.args(["tune", NAME]).args(arguments);
    command.stdin(Stdio::null());
    command
}

fn table() -> String {
    run("dmsetup", &["table", NAME])
}

fn notes() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/run/verity-trace") else {
        return Vec::new();
    };
    let names = entries.map(|it| it.expect("an entry").file_name());
    let names = names.map(|it| it.to_string_lossy().into_owned());
    names.filter(|it| it.starts_with("tune-")).collect()
}

/// Nothing is staged, suspended or noted any more.
fn assert_at_rest() {
    let info = run("dmsetup", &["info", NAME]);
    assert!(info.contains("ACTIVE (READ-ONLY)"), "{info}");
    assert_eq!(run("dmsetup", &["table", "--inactive", NAME]).trim(), "");
    assert_eq!(notes(), [""; 0]);
}

/// One that runs until something ends it; returns once the device has another table than this one.
fn started(arguments: &[&str], found: &str) -> Child {
    let mut command = tune(&[&["--duration", "1m", "--precision", "0.001"], arguments].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("verity-trace");
    let mut has_ended = || child.try_wait().expect("verity-trace").is_some();
    // Asked for the table all the time, a small machine would do little else.
    wait_until("something is changed", || {
        has_ended() || !notes().is_empty()
    });
    wait_until("the other setting is tried", || {
        has_ended() || table() != found
    });
    if has_ended() {
        let output = child.wait_with_output().expect("verity-trace");
        panic!("it ended: {}", error_of(&output));
    }
    child
}

fn end(child: Child, signal: &str) -> Output {
    run("kill", &[signal, &child.id().to_string()]);
    child.wait_with_output().expect("verity-trace")
}

fn error_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn ios(document: &Value, side: &str, placement: &str) -> u64 {
    document[side]["placements"][placement]
        .as_u64()
        .unwrap_or(0)
}

/// From off to on and from on to off, while fio reads. Only where that is asked for the better setting stays, if one is
/// better.
#[test]
fn both_settings_are_tried_and_the_table_is_as_before() {
    if LabKernel::running() == Inert {
        return;
    }
    for (option, applies) in [(false, true), (true, false)] {
        let device = Backing::virtio().open(NAME, option);
        let before = table();
        let load = Running::start(&device, &JOB);
        let wishes = if applies { &["--apply"][..] } else { &[] };
        let output = tune(&[&["--duration", "9s", "--json"], wishes].concat()).output();
        let output = output.expect("verity-trace");
        assert_eq!(output.status.code(), Some(0), "{}", error_of(&output));
        // It would have ended at the first error.
        load.run_for(100);
        load.stop();
        let document = valid::written("tune", &String::from_utf8_lossy(&output.stdout));
        println!(
            "{} {}",
            document["change_of_mean_total"], document["verdict"]
        );
        let stays = applies && document["verdict"] == "enable";
        assert_eq!(document["left"], if stays { "applied" } else { "as-found" });
        assert_eq!(table() == before, !stays);
        assert_eq!(table().contains("try_verify_in_tasklet"), option || stays);
        assert_at_rest();
        assert_eq!(document["found"], if option { "b" } else { "a" });
        assert!(document["pairs"].as_u64() > Some(0), "{document}");
        for side in ["a", "b"] {
            assert_eq!(document[side]["failed"], 0, "{document}");
        }
        // Off is kverityd alone, and on is not.
        let all = document["a"]["ios"].as_u64().expect("a count");
        assert_eq!(ios(&document, "a", "kverityd"), all, "{document}");
        let elsewhere = ["bh", "inline", "fallback"].map(|it| ios(&document, "b", it));
        assert!(elsewhere.iter().sum::<u64>() > 0, "{document}");
    }
}

/// A signal in the middle of it, with a load of its own.
#[test]
fn a_signal_puts_back_what_was_found() {
    if LabKernel::running() == Inert {
        return;
    }
    let _device = Backing::virtio().open(NAME, false);
    let before = table();
    let child = started(&["--load", "--json"], &before);
    assert_eq!(notes().len(), 1);
    let output = end(child, "-TERM");
    assert_eq!(
        output.status.code(),
        Some(128 + 15),
        "{}",
        error_of(&output)
    );
    assert_eq!(table(), before);
    assert_at_rest();
    let document = valid::written("tune", &String::from_utf8_lossy(&output.stdout));
    assert_eq!(document["ended"], "signal");
    assert_eq!(document["left"], "as-found");
}

/// After SIGKILL the next one says how to undo it, and does.
#[test]
fn what_a_killed_one_left_is_undone() {
    if LabKernel::running() == Inert {
        return;
    }
    let device = Backing::virtio().open(NAME, true);
    let before = table();
    let load = Running::start(&device, &JOB);
    let output = end(started(&[], &before), "-KILL");
    assert_eq!(output.status.code(), None);
    assert_ne!(table(), before);
    assert_eq!(notes().len(), 1);
    let refused = tune(&["--duration", "5s"]).output().expect("verity-trace");
    let said = error_of(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains(&format!("`verity-trace tune {NAME} --undo`")),
        "{said}"
    );
    assert_ne!(table(), before);
    let undone = tune(&["--undo"]).output().expect("verity-trace");
    assert_eq!(undone.status.code(), Some(0), "{}", error_of(&undone));
    assert_eq!(table(), before);
    assert_at_rest();
    load.run_for(100);
    load.stop();

    // Where somebody else has changed it since, there is nothing to undo.
    let output = end(started(&["--load"], &before), "-KILL");
    assert_eq!(output.status.code(), None);
    let other = with_another_word(&before);
    give(&other);
    let undone = tune(&["--undo"]).output().expect("verity-trace");
    let said = error_of(&undone);
    assert_eq!(undone.status.code(), Some(0), "{said}");
    assert!(said.contains("somebody else"), "{said}");
    assert_eq!(table(), other);
    assert_at_rest();
}

/// The same table with one word more that has nothing to do with this.
fn with_another_word(table: &str) -> String {
    let words: Vec<&str> = table.split_whitespace().collect();
    let option = words.get(14..).unwrap_or_default();
    let count = option.len() + 1;
    let options = [&["ignore_zero_blocks"], option].concat().join(" ");
    format!("{} {count} {options}\n", words[..13].join(" "))
}

fn give(table: &str) {
    run(
        "dmsetup",
        &["reload", "--readonly", NAME, "--table", table.trim()],
    );
    run("dmsetup", &["resume", NAME]);
}

/// Somebody else changes the table, or stages one: theirs stays.
#[test]
fn what_somebody_else_does_meanwhile_stays() {
    if LabKernel::running() == Inert {
        return;
    }
    let device = Backing::virtio().open(NAME, false);
    let before = table();
    let other = with_another_word(&before);
    let load = Running::start(&device, &JOB);
    let child = started(&[], &before);
    give(&other);
    let output = child.wait_with_output().expect("verity-trace");
    let said = error_of(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("somebody else changed its table"), "{said}");
    assert_eq!(table(), other);
    assert_at_rest();
    load.run_for(100);
    load.stop();

    // What waits for a resume would be replaced.
    run(
        "dmsetup",
        &["reload", "--readonly", NAME, "--table", before.trim()],
    );
    assert_refuses(&mut tune(&["--duration", "5s"]), 2, "staged another table");
    let staged = run("dmsetup", &["table", "--inactive", NAME]);
    assert_eq!(staged, before);
    run("dmsetup", &["clear", NAME]);
    run("dmsetup", &["suspend", NAME]);
    let refused = tune(&["--duration", "5s"]).output().expect("verity-trace");
    run("dmsetup", &["resume", NAME]);
    let said = error_of(&refused);
    assert!(said.contains("is suspended"), "{said}");
    assert_at_rest();
}

/// A reload would erase what it knows.
#[test]
fn a_corrupt_device_is_left_alone() {
    let brd = Backing::brd();
    brd.corrupt(7);
    let device = brd.open(NAME, true);
    assert!(!device.reads_block(7));
    let says = if LabKernel::running() == Inert {
        (4, "nothing to be tried")
    } else {
        (2, "its status is corruption")
    };
    assert_refuses(&mut tune(&["--duration", "5s"]), says.0, says.1);
    assert!(run("dmsetup", &["status", NAME]).contains(" C"));
}

#[test]
fn where_the_option_does_nothing_nothing_is_tried() {
    let _device = Backing::virtio().open(NAME, true);
    let before = table();
    match LabKernel::running() {
        Inert => {
            assert_refuses(&mut tune(&["--dry-run"]), 4, "nothing to be tried");
            assert_refuses(&mut tune(&["--duration", "5s"]), 4, "nothing to be tried");
        }
        Bh => assert_refuses(
            &mut tune(&["--limits", "0", "--dry-run"]),
            4,
            "use_bh_bytes",
        ),
        Inline => {
            let limits = Limits::keep();
            let output = tune(&["--limits", "0", "--load", "--duration", "9s", "--json"]);
            limits_are_tried(output);
            drop(limits);
        }
    }
    assert_eq!(table(), before);
    assert_at_rest();
}

fn limits_are_tried(mut command: Command) {
    let file = "/sys/module/dm_verity/parameters/use_bh_bytes";
    let before = fs::read_to_string(file).expect(file);
    let output = command.output().expect("verity-trace");
    assert_eq!(output.status.code(), Some(0), "{}", error_of(&output));
    assert_eq!(fs::read_to_string(file).expect(file), before);
    let document = valid::written("tune", &String::from_utf8_lossy(&output.stdout));
    assert_eq!(document["b"]["name"], "kverityd with the no-sleep cache");
    let all = document["b"]["ios"].as_u64().expect("a count");
    assert!(all > 0, "{document}");
    assert_eq!(ios(&document, "b", "kverityd"), all, "{document}");
}

/// What `--dry-run` prints is what is done: typed into a shell, with nothing waited for, it leaves what it found.
#[test]
fn the_steps_of_a_dry_run_can_be_typed() {
    if LabKernel::running() == Inert {
        return;
    }
    let device = Backing::virtio().open(NAME, false);
    let before = table();
    let output = tune(&["--dry-run", "--duration", "5s"])
        .output()
        .expect("verity-trace");
    assert_eq!(output.status.code(), Some(0), "{}", error_of(&output));
    assert_eq!(table(), before);
    let script = String::from_utf8(output.stdout).expect("text");
    let script = script.replace("sleep ", ": ");
    assert!(succeeds("sh", &["-e", "-c", &script]), "{script}");
    assert_eq!(table(), before);
    assert!(device.reads_block(1));
    assert_at_rest();
    assert!(!Path::new("/run/verity-trace/tune-253:0.json.new").exists());
}
