//! Who submits I/Os, with `--submitters`, against counts of the programs that do.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::device::{Backing, Verity};
use crate::load::RandomReads;
use crate::shell::{run, succeeds, wait_until};
use crate::tracer::{Document, Tracer};

const SUBMITTERS: [&str; 1] = ["--submitters"];

/// Reads so many blocks of 4 KiB, one after the other, by a program of this name; returns its process.
fn read_as(name: &str, device: &Verity, blocks: u64) -> u64 {
    let path = format!("/tmp/{name}");
    if std::fs::symlink_metadata(&path).is_err() {
        let dd = run("sh", &["-c", "command -v dd"]);
        std::os::unix::fs::symlink(dd.trim(), &path).expect("another name for dd");
    }
    let mut dd = Command::new(&path)
        .arg0("dd")
        .args([
            &format!("if={}", device.path()),
            "of=/dev/null",
            "bs=4k",
            "iflag=direct",
            &format!("count={blocks}"),
        ])
        .stderr(Stdio::null())
        .spawn()
        .expect("dd");
    assert!(dd.wait().expect("its exit").success());
    dd.id().into()
}

/// Each submitter that is shown of a device, and the others; together they have all its I/Os.
fn submitters<'a>(document: &'a Document, name: &str) -> (&'a [Value], &'a Value) {
    let submitters = &document.device(name)["submitters"];
    let top = submitters["top"].as_array().expect("submitters");
    let others = &submitters["others"];
    for field in ["ios", "bytes"] {
        let number = |it: &Value| it[field].as_u64().unwrap_or_else(|| panic!("{it}"));
        let sum = top.iter().map(number).sum::<u64>() + number(others);
        assert_eq!(sum, document.count(name, field), "{name}: {submitters}");
    }
    (top, others)
}

/// The root of the unified hierarchy, and nobody here makes another.
const CGROUP: &str = "1";

fn nobody() -> Value {
    json!({ "submitters": 0, "ios": 0, "bytes": 0, "unlisted": 0 })
}

#[test]
fn each_process_has_what_it_read() {
    let backing = Backing::virtio();
    let [one, two] = ["one", "two"].map(|name| backing.open_with(name, &["--shared"]));
    let before = one.counts().reads + two.counts().reads;
    let tracer = Tracer::start(&SUBMITTERS);
    let much = read_as("reads-much", &one, 300);
    let little = read_as("reads-little", &one, 100);
    let elsewhere = read_as("reads-much", &two, 50);
    let fio = RandomReads::large(20).on(&two);
    let document = tracer.stop();
    if document.has_unseen() {
        let ios = one.counts().reads + two.counts().reads - before;
        return document.assert_accounted_together(&["one", "two"], ios);
    }
    assert_eq!(document.0["lost"], 0, "{}", document.0["loss"]);

    let (top, others) = submitters(&document, "one");
    let expected = [(much, "reads-much", 300), (little, "reads-little", 100)];
    // Whoever opens a device may read a few blocks of it, as udev does.
    for (submitter, command, ios) in expected {
        let found = top.iter().find(|it| it["submitter"] == submitter);
        let found = found.unwrap_or_else(|| panic!("no {submitter} in {top:?}"));
        assert_eq!(found["command"], command);
        assert_eq!(found["ios"], ios);
        assert_eq!(found["bytes"], ios * 4096);
        assert_eq!(found["cgroup"], CGROUP);
    }
    assert_eq!(top[0]["submitter"], much, "most first: {top:?}");
    assert_eq!(others, &nobody());

    let (top, others) = submitters(&document, "two");
    let of = |command: &str| {
        let found = top.iter().find(|it| it["command"] == command);
        found.unwrap_or_else(|| panic!("no {command} in {top:?}"))
    };
    assert_eq!(of("reads-much")["submitter"], elsewhere);
    assert_eq!(of("reads-much")["ios"], 50);
    assert_eq!(of("fio")["ios"], fio);
    assert_eq!(of("fio")["bytes"], fio * 65_536);
    assert_eq!(others, &nobody());
}

/// Beyond ten the rest is summed, and nothing is asked for by default.
#[test]
fn those_with_few_ios_are_summed() {
    let device = Backing::virtio().open("one", true);
    let tracer = Tracer::start(&SUBMITTERS);
    let blocks: Vec<u64> = (1..=13).collect();
    for &count in &blocks {
        read_as("reads-some", &device, count);
    }
    let document = tracer.stop();
    let (top, others) = submitters(&document, "one");
    let shown: Vec<_> = top.iter().map(|it| it["ios"].as_u64()).collect();
    let most: Vec<_> = blocks.iter().rev().take(10).map(|&it| Some(it)).collect();
    assert_eq!(shown, most);
    assert_eq!(
        others,
        &json!({ "submitters": 3, "ios": 6, "bytes": 6 * 4096, "unlisted": 0 })
    );
    let tracer = Tracer::start(&[]);
    read_as("reads-some", &device, 5);
    let document = tracer.stop();
    assert_eq!(document.device("one").get("submitters"), None);
}

/// A device that is gone leaves nothing to the next in its slot, and what it counted goes to the others.
#[test]
fn a_slot_is_given_on_without_its_submitters() {
    let backing = Backing::virtio();
    let keeper = backing.open_with("keeper", &["--shared"]);
    let first = backing.open_with("first", &["--shared"]);
    let tracer = Tracer::start(&["--submitters", "--max-devices", "1"]);
    let slot_is_free = || succeeds("bpftool", &["map", "peek", "name", "FREE_SLOTS"]);
    assert!(slot_is_free());
    read_as("reads-much", &first, 30);
    assert!(!slot_is_free());
    read_as("reads-on", &keeper, 20);
    first.close();
    wait_until("the slot is free again", slot_is_free);
    let next = backing.open_with("next", &["--shared"]);
    read_as("reads-more", &next, 40);
    let document = tracer.stop();
    drop((keeper, next));
    assert_eq!(document.0["lost"], 0, "{}", document.0["loss"]);
    let (top, others) = submitters(&document, "next");
    assert!(top.iter().all(|it| it["command"] != "reads-much"));
    assert_eq!(
        (&top[0]["command"], &top[0]["ios"]),
        (&json!("reads-more"), &json!(40))
    );
    assert_eq!(others, &nobody());
    let keeper = document.device("keeper");
    assert_eq!(keeper["counted_in_other"], true);
    assert!(keeper.get("ios").is_none(), "{keeper}");
    // What is gone, and what found no slot.
    let top = &document.0["other"]["submitters"]["top"];
    let of = |place: usize| (&top[place]["command"], &top[place]["ios"]);
    assert_eq!(of(0), (&json!("reads-much"), &json!(30)), "{top}");
    assert_eq!(of(1), (&json!("reads-on"), &json!(20)), "{top}");
}
