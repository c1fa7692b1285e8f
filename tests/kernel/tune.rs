//! `verity-trace tune` on real devices with I/O: everything is as before when it is done, however it ends, and nobody who
//! reads meanwhile sees an error.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{ChildStderr, Command, Output, Stdio};

use serde_json::Value;
use verity_trace::dm;

use crate::LabKernel::{self, Bh, Inert, Inline};
use crate::behaviour::assert_refuses;
use crate::device::Backing;
use crate::knobs::Limits;
use crate::load::Running;
use crate::placement::NAME;
use crate::shell::{KillOnDrop, run, succeeds, wait_until};
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

/// One that runs until something ends it.
struct Started {
    child: KillOnDrop,
    errors: BufReader<ChildStderr>,
}

/// What it printed, and how it ended.
struct Ended {
    document: String,
    said: String,
    code: Option<i32>,
}

impl Started {
    /// Returns once the device has the other setting of the option.
    fn new(arguments: &[&str]) -> Self {
        let found = is_on();
        Self::until(arguments, || is_on() != found)
    }

    /// The same; returns once that is so.
    fn until(arguments: &[&str], mut is_so: impl FnMut() -> bool) -> Self {
        let mut command =
            tune(&[&["--duration", "1m", "--precision", "0.001"], arguments].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = KillOnDrop(command.spawn().expect("verity-trace"));
        let errors = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut started = Self { child, errors };
        // Until it watches, a small machine has enough to do with that.
        let mut line = String::new();
        started.errors.read_line(&mut line).expect("a line");
        assert!(line.contains("trying"), "verity-trace said {line:?}");
        wait_until("the other setting is tried", || {
            let has_ended = started.child.try_wait().expect("verity-trace").is_some();
            has_ended || is_so()
        });
        started
    }

    fn end(self, signal: &str) -> Ended {
        run("kill", &[signal, &self.child.id().to_string()]);
        self.wait()
    }

    fn wait(mut self) -> Ended {
        let (mut document, mut said) = (String::new(), String::new());
        let mut out = self.child.stdout.take().expect("a pipe");
        out.read_to_string(&mut document).expect("text");
        self.errors.read_to_string(&mut said).expect("text");
        let code = self.child.wait().expect("verity-trace").code();
        Ended {
            document,
            said,
            code,
        }
    }
}

/// Asked here and not by dmsetup, which would leave a small machine no time for anything else.
fn is_on() -> bool {
    let devices = dm::verity_devices().expect("devices");
    let device = devices.iter().find(|it| it.name == NAME);
    device
        .expect("the device")
        .table
        .options
        .try_verify_in_tasklet
}

fn error_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn ios(document: &Value, side: &str, placement: &str) -> u64 {
    document[side]["placements"][placement]
        .as_u64()
        .unwrap_or(0)
}

/// Off and on in turn while fio reads, and off again.
#[test]
fn both_settings_are_tried_and_the_table_is_as_before() {
    if LabKernel::running() == Inert {
        return;
    }
    let document = tried(false, &["--duration", "5s"]);
    assert_eq!(document["left"], "as-found");
}

/// Only where that is asked for the better setting stays, if one is better.
pub fn the_better_setting_is_applied_where_that_is_asked_for() {
    if LabKernel::running() == Inert {
        return;
    }
    for option in [false, true] {
        let document = tried(option, &["--duration", "9s", "--apply"]);
        let verdict = document["verdict"].as_str();
        let stays = verdict == Some(if option { "disable" } else { "enable" });
        assert_eq!(document["left"], if stays { "applied" } else { "as-found" });
    }
}

/// Both settings of a device that has the option or not, while fio reads.
fn tried(option: bool, wishes: &[&str]) -> Value {
    let device = Backing::virtio().open(NAME, option);
    let before = table();
    let load = Running::start(&device, &JOB);
    let output = tune(&[&["--json"], wishes].concat()).output();
    let output = output.expect("verity-trace");
    assert_eq!(output.status.code(), Some(0), "{}", error_of(&output));
    // It would have ended at the first error.
    load.run_for(100);
    load.stop();
    let document = valid::written("tune", &String::from_utf8_lossy(&output.stdout));
    println!(
        "{} {} {}",
        document["change_of_mean_total"], document["verdict"], document["prediction"]
    );
    let is_applied = document["left"] == "applied";
    assert_eq!(table() == before, !is_applied);
    let is_on = table().contains("try_verify_in_tasklet");
    assert_eq!(is_on, option != is_applied, "{document}");
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
    document
}

/// A signal in the middle of it, with a load of its own.
pub fn a_signal_puts_back_what_was_found() {
    if LabKernel::running() == Inert {
        return;
    }
    let _device = Backing::virtio().open(NAME, false);
    let before = table();
    let started = Started::new(&["--load", "--json"]);
    assert_eq!(notes().len(), 1);
    let ended = started.end("-TERM");
    assert_eq!(ended.code, Some(128 + 15), "{}", ended.said);
    assert_eq!(table(), before);
    assert_at_rest();
    let document = valid::written("tune", &ended.document);
    assert_eq!(document["ended"], "signal");
    assert_eq!(document["left"], "as-found");
}

/// After SIGKILL the next one says how to undo it, and does.
pub fn what_a_killed_one_left_is_undone() {
    if LabKernel::running() == Inert {
        return;
    }
    let device = Backing::virtio().open(NAME, true);
    let before = table();
    let load = Running::start(&device, &JOB);
    kill_one(&[], &before);
    let refused = tune(&["--duration", "5s"]).output().expect("verity-trace");
    let said = error_of(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains(&format!("`verity-trace tune {NAME} --undo`")),
        "{said}"
    );
    assert_ne!(table(), before);
    undo("put verity0 back as it was found");
    assert_eq!(table(), before);
    load.run_for(100);
    load.stop();

    // One that was killed between a load and a resume left the table that it had loaded.
    kill_one(&["--load"], &before);
    let ours = table();
    give(&before);
    stage(&ours);
    undo("put verity0 back as it was found");
    assert_eq!(table(), before);

    // Where somebody else has changed it since, there is nothing to undo.
    kill_one(&["--load"], &before);
    let other = with_another_word(&before);
    give(&other);
    undo("somebody else");
    assert_eq!(table(), other);
}

/// Kills one while the device has another table than this one.
fn kill_one(arguments: &[&str], found: &str) {
    let ended = Started::new(arguments).end("-KILL");
    assert_eq!(ended.code, None, "{}", ended.said);
    assert_ne!(table(), found);
    assert_eq!(notes().len(), 1);
}

fn undo(says: &str) {
    let undone = tune(&["--undo"]).output().expect("verity-trace");
    let said = error_of(&undone);
    assert_eq!(undone.status.code(), Some(0), "{said}");
    assert!(said.contains(says), "{said}");
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
    stage(table);
    run("dmsetup", &["resume", NAME]);
}

fn stage(table: &str) {
    let table = table.trim();
    run("dmsetup", &["reload", "--readonly", NAME, "--table", table]);
}

/// Somebody else changes the table: theirs stays.
pub fn what_somebody_else_does_meanwhile_stays() {
    if LabKernel::running() == Inert {
        return;
    }
    let device = Backing::virtio().open(NAME, false);
    let before = table();
    let other = with_another_word(&before);
    let load = Running::start(&device, &JOB);
    let started = Started::new(&[]);
    give(&other);
    let Ended { said, code, .. } = started.wait();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("somebody else changed its table"), "{said}");
    assert_eq!(table(), other);
    assert_at_rest();
    load.run_for(100);
    load.stop();
}

/// What waits for a resume would be replaced, what is suspended would go on, and what is known of a corrupt device would
/// be erased.
#[test]
fn a_device_that_could_not_be_put_back_is_left_alone() {
    let (wrong, _below) = Backing::virtio().with_a_wrong_block(7);
    let device = wrong.open(NAME, true);
    let before = table();
    let refuses = |says| {
        let (code, says) = if LabKernel::running() == Inert {
            (4, "nothing to be tried")
        } else {
            (2, says)
        };
        assert_refuses(&mut tune(&["--duration", "5s"]), code, says);
    };
    stage(&before);
    refuses("staged another table");
    let staged = run("dmsetup", &["table", "--inactive", NAME]);
    assert_eq!(staged, before);
    run("dmsetup", &["clear", NAME]);
    run("dmsetup", &["suspend", NAME]);
    refuses("is suspended");
    run("dmsetup", &["resume", NAME]);
    assert!(!device.reads_block(7));
    refuses("its status is corruption");
    assert!(run("dmsetup", &["status", NAME]).contains(" C"));
    assert_eq!(table(), before);
    assert_at_rest();
}

#[test]
fn where_there_is_nothing_to_be_tried_it_says_so() {
    let _device = Backing::virtio().open(NAME, true);
    let before = table();
    let refuses = |arguments: &[&str], says| assert_refuses(&mut tune(arguments), 4, says);
    match LabKernel::running() {
        Inert => {
            refuses(&["--dry-run"], "nothing to be tried");
            refuses(&["--duration", "5s"], "nothing to be tried");
        }
        Bh => refuses(&["--limits", "0", "--dry-run"], "use_bh_bytes"),
        Inline => {}
    }
    assert_eq!(table(), before);
    assert_at_rest();
}

/// Limits instead of the option: also a killed one's are put back, by a run for any device.
pub fn limits_are_tried_and_as_before() {
    if LabKernel::running() != Inline {
        return;
    }
    let _limits = Limits::keep();
    let _device = Backing::virtio().open(NAME, true);
    let now = || fs::read_to_string(Limits::FILE).expect(Limits::FILE);
    let before = now();
    let limits = ["--limits", "0", "--load"];
    let mut command = tune(&[&["--duration", "9s", "--json"], &limits[..]].concat());
    let output = command.output().expect("verity-trace");
    assert_eq!(output.status.code(), Some(0), "{}", error_of(&output));
    assert_eq!(now(), before);
    let document = valid::written("tune", &String::from_utf8_lossy(&output.stdout));
    assert_eq!(document["b"]["name"], "kverityd with the no-sleep cache");
    let all = document["b"]["ios"].as_u64().expect("a count");
    assert!(all > 0, "{document}");
    assert_eq!(ios(&document, "b", "kverityd"), all, "{document}");

    let started = Started::until(&limits, || now() != before);
    let ended = started.end("-KILL");
    assert_eq!(ended.code, None, "{}", ended.said);
    assert_eq!(notes(), ["tune-use_bh_bytes.json"]);
    let other = Backing::virtio_with_one_queue().open("verity1", false);
    let mut command = Command::new("verity-trace");
    let undone = command.args(["tune", other.name(), "--undo"]).output();
    let undone = undone.expect("verity-trace");
    let said = error_of(&undone);
    assert_eq!(undone.status.code(), Some(0), "{said}");
    assert!(said.contains("put use_bh_bytes back"), "{said}");
    assert_eq!(now(), before);
    assert_at_rest();
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
