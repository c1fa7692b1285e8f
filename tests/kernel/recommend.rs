//! `verity-trace recommend` of real devices: what it concludes from their I/Os, and that what it prints to be typed does
//! that to the device and nothing else.

use std::fs;

use serde_json::Value;

use crate::LabKernel::{self, Bh, Inert, Inline};
use crate::device::{Backing, Verity};
use crate::knobs::Limits;
use crate::load::Running;
use crate::placement::NAME;
use crate::shell::{run, succeeds};
use crate::valid;

const SMALL: [&str; 4] = ["--name=small", "--rw=randread", "--bs=4k", "--iodepth=8"];
const LARGE: [&str; 4] = ["--name=large", "--rw=randread", "--bs=1m", "--iodepth=4"];
const OPTION: &str = "try_verify_in_tasklet";

/// With the option as it changes nothing: what is advised follows from the kernel and from what was seen.
#[test]
fn what_is_advised_follows_from_what_was_seen() {
    let inert = LabKernel::running() == Inert;
    let device = Backing::virtio().open(NAME, inert);
    let advice = advised(&device, &SMALL, "2s");
    assert_adds_up(&advice);
    let verdict = advice["verdict"].as_str().expect("a verdict");
    if inert {
        assert_eq!(verdict, "not-effective");
        assert_eq!(advice["findings"][0]["rule"], "option-inert");
        assert_switches(device, &advice);
    } else {
        let expected = ["enable", "keep", "not-enough-data"];
        assert!(expected.contains(&verdict), "{advice}");
        assert_eq!(value(&advice, "tried in BH or inline"), None);
    }
}

/// One verification takes all the time that softirqs have, which a limit ends, or the option off where there are no
/// limits or not even a block is verified soon enough.
pub fn what_is_typed_does_that_and_nothing_else() {
    if LabKernel::running() == Inert {
        return;
    }
    let options = ["--use-tasklets", "--ignore-zero-blocks"];
    let device = Backing::virtio().open_with(NAME, &options);
    let limits = Limits::keep();
    limits.set([8_192, 8_192, 2 << 20, 0]);
    let advice = advised(&device, &LARGE, "5s");
    assert_adds_up(&advice);
    let verdict = advice["verdict"].as_str().expect("a verdict");
    match (LabKernel::running(), verdict) {
        (Inline, "limit") => assert_sets_limits(&advice),
        (Inline | Bh, "disable") => assert_switches(device, &advice),
        _ => panic!("{advice}"),
    }
}

/// A new table would erase that a block did not match its hash.
pub fn nothing_is_typed_on_a_corrupt_device() {
    let (wrong, _below) = Backing::virtio().with_a_wrong_block(7);
    let device = wrong.open(NAME, true);
    assert!(!device.reads_block(7));
    // As far as possible from the block that ends fio.
    let far = ["--name=far", "--rw=randread", "--bs=4k", "--offset=32m"];
    let advice = advised(&device, &far, "2s");
    assert_eq!(advice["commands"], Value::Array(Vec::new()), "{advice}");
    if LabKernel::running() == Inert {
        assert_eq!(advice["verdict"], "not-effective");
        let risk = advice["risk"].to_string();
        assert!(risk.contains("its status is not valid"), "{risk}");
    } else {
        assert_eq!(advice["verdict"], "keep");
        assert_eq!(advice["findings"][0]["rule"], "not-the-question");
    }
}

/// What is advised for the device, while fio reads.
fn advised(device: &Verity, job: &[&str], duration: &str) -> Value {
    let load = Running::start(device, job);
    let arguments = ["recommend", "--json", "--duration", duration, NAME];
    let document = valid::written("recommend", &run("verity-trace", &arguments));
    load.stop();
    let advice = document["advice"][0].clone();
    assert_eq!(advice["name"], NAME, "{document}");
    println!(
        "{} {} {}",
        advice["verdict"], advice["confidence"], advice["findings"]
    );
    advice
}

/// A number of its evidence.
fn value(advice: &Value, what: &str) -> Option<f64> {
    let mut evidence = advice["evidence"].as_array().expect("evidence").iter();
    evidence.find(|it| it["what"] == what)?["value"].as_f64()
}

/// Enough I/Os, and stages that are within the total.
fn assert_adds_up(advice: &Value) {
    let number = |what| value(advice, what).unwrap_or_else(|| panic!("no {what}: {advice}"));
    assert!(number("I/Os verified") >= 100.0, "{advice}");
    let stages = number("device, mean") + number("verify, mean");
    assert!(stages > 0.0 && stages <= number("total, mean"), "{advice}");
}

fn commands(advice: &Value) -> Vec<Value> {
    let commands = advice["commands"].as_array().expect("commands").clone();
    assert!(!commands.is_empty(), "{advice}");
    commands
}

/// Types the commands for this device and what undoes them: those for now, and those for the next activation.
fn assert_switches(device: Verity, advice: &Value) {
    let [now, later] = &commands(advice)[..] else {
        panic!("{advice}");
    };
    let before = table();
    let is_on = before.contains(OPTION);
    type_in(&now["lines"]);
    let after = table();
    assert_eq!(after.contains(OPTION), !is_on, "{after}");
    assert_eq!(without_option(&after), without_option(&before));
    assert_is_whole(&device);
    // Typed once more it does nothing, since the table is not the one that was seen.
    assert!(!is_typed(&now["lines"]));
    assert_eq!(table(), after);
    type_in(&now["undo"]);
    assert_eq!(table(), before);
    assert_is_whole(&device);
    device.close();
    for (lines, expected) in [(&later["lines"], &after), (&later["undo"], &before)] {
        type_in(lines);
        let device = Verity::named(NAME);
        assert_eq!(&table(), expected);
        assert_is_whole(&device);
    }
}

/// Types the command that sets limits, and what undoes it.
fn assert_sets_limits(advice: &Value) {
    let [command] = &commands(advice)[..] else {
        panic!("{advice}");
    };
    let now = || fs::read_to_string(Limits::FILE).expect(Limits::FILE);
    let (before, table_before) = (now(), table());
    type_in(&command["lines"]);
    let values = advice["use_bh_bytes"].as_array().expect("limits").iter();
    let values: Vec<_> = values.map(Value::to_string).collect();
    assert_eq!(now().trim(), values.join(","));
    assert_ne!(now(), before);
    type_in(&command["undo"]);
    assert_eq!(now(), before);
    assert_eq!(table(), table_before);
}

/// It can be read and not be written to, and nothing waits.
fn assert_is_whole(device: &Verity) {
    assert!(device.reads_block(1));
    let info = run("dmsetup", &["info", NAME]);
    assert!(info.contains("ACTIVE (READ-ONLY)"), "{info}");
    assert_eq!(run("blockdev", &["--getro", &device.path()]).trim(), "1");
    assert_eq!(run("dmsetup", &["table", "--inactive", NAME]).trim(), "");
}

fn table() -> String {
    run("dmsetup", &["table", NAME])
}

/// A table's words without the option, and without the number of options, which has to be right.
fn without_option(table: &str) -> Vec<String> {
    let words: Vec<_> = table.split_whitespace().map(str::to_owned).collect();
    let (fixed, options) = words.split_at(13);
    let options = options.split_first().map_or(&[][..], |(count, options)| {
        assert_eq!(count, &options.len().to_string(), "{table}");
        options
    });
    let options = options.iter().filter(|word| *word != OPTION);
    fixed.iter().chain(options).cloned().collect()
}

fn type_in(lines: &Value) {
    assert!(is_typed(lines), "{lines}");
}

/// Whether a shell says that it went well.
fn is_typed(lines: &Value) -> bool {
    let lines = lines.as_array().expect("lines").iter();
    let lines: Vec<_> = lines.map(|it| it.as_str().expect("a line")).collect();
    assert!(!lines.is_empty());
    succeeds("sh", &["-ec", &lines.join("\n")])
}
