//! `verity-trace devices`, held against dmsetup and veritysetup, and arguments that select devices.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::LabKernel::{self, Bh, Inert, Inline};
use crate::behaviour::assert_refuses;
use crate::device::{Backing, Mapped, Verity};
use crate::knobs::HiddenAddresses;
use crate::load::RandomReads;
use crate::screen::Screen;
use crate::shell::run;
use crate::tracer::Tracer;
use crate::valid;

const PLAIN: &str = "plain";
const FULL: &str = "full-of-options";

fn list(arguments: &[&str]) -> Value {
    let text = run(
        "verity-trace",
        &[&["devices", "--json"], arguments].concat(),
    );
    valid::written("devices", &text)
}

fn names(arguments: &[&str]) -> Vec<String> {
    let document = list(arguments);
    let devices = document["devices"].as_array().expect("devices");
    let name = |device: &Value| device["name"].as_str().expect("a name").to_owned();
    devices.iter().map(name).collect()
}

fn device(name: &str) -> Value {
    let document = list(&[name]);
    let devices = document["devices"].as_array().expect("devices");
    assert_eq!(devices.len(), 1, "{document}");
    devices[0].clone()
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Two devices on one data device, `plain` and one with the options that every kernel has.
fn two_on_one_disk() -> (Verity, Verity) {
    let backing = Backing::virtio();
    let plain = backing.open_with(PLAIN, &["--shared"]);
    let options = [
        "--shared",
        "--use-tasklets",
        "--check-at-most-once",
        "--ignore-zero-blocks",
        "--ignore-corruption",
    ];
    (plain, backing.open_with(FULL, &options))
}

/// The parameters of a table line made from what the document says, in the kernel's order.
fn parameters(device: &Value) -> String {
    let options = &device["options"];
    let mut words = Vec::new();
    match options["on_corruption"].as_str().expect("a mode") {
        "eio" => {}
        mode => words.push(format!(
            "{mode}_{}corruption",
            if mode == "ignore" { "" } else { "on_" }
        )),
    }
    match options["on_error"].as_str().expect("a mode") {
        "eio" => {}
        mode => words.push(format!("{mode}_on_error")),
    }
    for flag in [
        "ignore_zero_blocks",
        "check_at_most_once",
        "try_verify_in_tasklet",
    ] {
        if options[flag].as_bool().expect("a flag") {
            words.push(flag.to_owned());
        }
    }
    if let Some(fec) = options.get("fec") {
        words.extend([
            "use_fec_from_device".to_owned(),
            text(&fec["device"]["number"]),
        ]);
        for (word, field) in [
            ("fec_blocks", "blocks"),
            ("fec_start", "start_block"),
            ("fec_roots", "roots"),
        ] {
            words.extend([word.to_owned(), text(&fec[field])]);
        }
    }
    assert_eq!(options["unknown"], json!([]));
    let mut line = vec![
        text(&device["hash_type"]),
        text(&device["data_device"]["number"]),
        text(&device["hash_device"]["number"]),
    ];
    for field in [
        "data_block_bytes",
        "hash_block_bytes",
        "data_blocks",
        "hash_start_block",
        "algorithm",
        "root_hash",
    ] {
        line.push(text(&device[field]));
    }
    line.push(device.get("salt").map_or_else(|| "-".to_owned(), text));
    if !words.is_empty() {
        line.push(words.len().to_string());
        line.extend(words);
    }
    line.join(" ")
}

/// What stands behind the target's name in dmsetup's line.
fn dmsetup(command: &str, name: &str) -> String {
    let line = run("dmsetup", &[command, name]);
    let (_, parameters) = line.split_once(" verity ").expect("a verity target");
    parameters.trim().to_owned()
}

fn assert_is_what_dmsetup_says(name: &str) {
    let device = device(name);
    assert_eq!(parameters(&device), dmsetup("table", name));
    let status = dmsetup("status", name);
    let mut status = status.split(' ');
    let verdict = match status.next() {
        Some("V") => "valid",
        Some("C") => "corruption",
        other => panic!("status {other:?}"),
    };
    assert_eq!(device["status"], verdict);
    let corrected = status.next().filter(|&it| it != "-").map(str::to_owned);
    assert_eq!(device.get("fec_corrected").map(text), corrected);
    for (field, column) in [
        ("name", "name"),
        ("uuid", "uuid"),
        ("kernel_name", "blkdevname"),
    ] {
        let said = run(
            "dmsetup",
            &["info", "-c", "--noheadings", "-o", column, name],
        );
        let found = device.get(field).map_or_else(String::new, text);
        assert_eq!(found, said.trim(), "{column}");
    }
    let number = [
        "info",
        "-c",
        "--noheadings",
        "--separator",
        ":",
        "-o",
        "major,minor",
        name,
    ];
    assert_eq!(text(&device["number"]), run("dmsetup", &number).trim());
}

fn assert_is_what_veritysetup_says(name: &str) {
    let device = device(name);
    let said = run("veritysetup", &["status", name]);
    let line = |label: &str| {
        said.lines()
            .find_map(|line| line.trim().strip_prefix(label)?.strip_prefix(':'))
            .unwrap_or_else(|| panic!("no {label} in {said}"))
            .trim()
    };
    for (label, field) in [
        ("hash type", "hash_type"),
        ("data block", "data_block_bytes"),
        ("hash block", "hash_block_bytes"),
        ("hash name", "algorithm"),
        ("root hash", "root_hash"),
    ] {
        assert_eq!(text(&device[field]), line(label), "{label}");
    }
    assert_eq!(
        device.get("salt").map_or_else(|| "-".to_owned(), text),
        line("salt")
    );
    for (label, field) in [
        ("data device", "data_device"),
        ("hash device", "hash_device"),
    ] {
        let path = format!("/dev/{}", text(&device[field]["kernel_name"]));
        assert_eq!(path, line(label), "{label}");
    }
    let sectors = |blocks: &str, bytes: &str| {
        let number = |field: &str| device[field].as_u64().expect("a number");
        format!("{}", number(blocks) * number(bytes) / 512)
    };
    let size = sectors("data_blocks", "data_block_bytes");
    assert_eq!(line("size").split(' ').next(), Some(size.as_str()));
    let offset = sectors("hash_start_block", "hash_block_bytes");
    assert_eq!(line("hash offset").split(' ').next(), Some(offset.as_str()));
    let verdict = match line("status") {
        "verified" => "valid",
        "corrupted" => "corruption",
        other => other,
    };
    assert_eq!(device["status"], verdict);
}

#[test]
fn every_field_is_what_dmsetup_and_veritysetup_say() {
    let _devices = two_on_one_disk();
    assert_eq!(names(&[]), [PLAIN, FULL], "both, on one data device");
    for name in [PLAIN, FULL] {
        assert_is_what_dmsetup_says(name);
        assert_is_what_veritysetup_says(name);
    }
    let document = list(&[]);
    assert_eq!(document["schema_version"], 1);
    assert_eq!(document["kernel"]["era"], LabKernel::running().era());
    let effective = match LabKernel::running() {
        Inert => json!(false),
        Bh | Inline => Value::Null,
    };
    for (device, option) in [
        (&document["devices"][0], false),
        (&document["devices"][1], true),
    ] {
        assert_eq!(device["option"], option);
        assert_eq!(
            device["effective"], effective,
            "absent where tracing has to tell"
        );
    }
    let shown = run("verity-trace", &["devices"]);
    for line in shown.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let inert = shown.contains("on, inert");
    assert_eq!(inert, LabKernel::running() == Inert, "{shown}");
}

/// RAM disks with an ext4 file system, its hashes and its parity.
fn formatted() -> Backing {
    let disks = Backing::ram_disks(3, 8_192);
    let file_system = ["-q", "-t", "ext4", "-O", "^has_journal", "-b", "4096"];
    run("mke2fs", &[&file_system[..], &["/dev/ram0"]].concat());
    disks.format(&[
        "--fec-device=/dev/ram2",
        "--fec-roots=4",
        "--salt=-",
        "--hash=sha512",
    ])
}

/// Forward error correction, no salt and a long hash; what was repaired is counted on Linux 7.
#[test]
fn forward_error_correction() {
    let formatted = formatted();
    let with_fec = ["--fec-device=/dev/ram2", "--fec-roots=4"];
    let verity = formatted.open_with(PLAIN, &with_fec);
    assert_is_what_dmsetup_says(PLAIN);
    assert_is_what_veritysetup_says(PLAIN);
    let fec = device(PLAIN)["options"]["fec"].clone();
    assert_eq!(fec["device"]["kernel_name"], "ram2");
    assert_eq!(fec["roots"], 4);
    assert_eq!(device(PLAIN).get("salt"), None);
    verity.close();

    formatted.corrupt(7);
    let verity = formatted.open_with(PLAIN, &with_fec);
    assert!(verity.reads_block(7), "it is repaired");
    assert_is_what_dmsetup_says(PLAIN);
    let corrected = device(PLAIN)["fec_corrected"].as_u64();
    // Before 7.0 the status is one letter (`verity_status`, drivers/md/dm-verity-target.c).
    if crate::name().starts_with('7') {
        assert!(corrected > Some(0), "{corrected:?}");
    } else {
        assert_eq!(corrected, None);
    }
    verity.close();

    let verity = formatted.open_with(PLAIN, &[]);
    assert!(!verity.reads_block(7), "nothing repairs it");
    assert_eq!(device(PLAIN)["status"], "corruption");
    assert_is_what_dmsetup_says(PLAIN);
    assert_is_what_veritysetup_says(PLAIN);
}

/// The modes that end the machine if something is wrong, on a device where nothing is.
#[test]
fn modes_of_corruption_and_error() {
    let _plain = Backing::virtio().open_with(PLAIN, &["--shared"]);
    let line = run("dmsetup", &["table", PLAIN]);
    let modes: &[&str] = match LabKernel::running() {
        Inert => &["1 restart_on_corruption", "1 panic_on_corruption"],
        Bh | Inline => &[
            "2 restart_on_corruption restart_on_error",
            "2 panic_on_corruption panic_on_error",
        ],
    };
    for mode in modes {
        let _mapped = Mapped::read_only("modes", &format!("{} {mode}", line.trim()));
        assert_is_what_dmsetup_says("modes");
    }
}

#[test]
fn every_form_selects() {
    let _devices = two_on_one_disk();
    let plain = device(PLAIN);
    let (number, kernel_name) = (text(&plain["number"]), text(&plain["kernel_name"]));
    for argument in [
        PLAIN.to_owned(),
        format!("/dev/mapper/{PLAIN}"),
        number,
        format!("/dev/{kernel_name}"),
        kernel_name,
        "p?a*".to_owned(),
    ] {
        assert_eq!(names(&[&argument]), [PLAIN], "{argument}");
    }
    assert_eq!(names(&["*"]), [PLAIN, FULL]);
    assert_eq!(names(&["full-*", PLAIN]), [PLAIN, FULL]);
    for (argument, says) in [
        (
            "none-*",
            "`none-*` fits no dm-verity device; there is plain, full-of-options",
        ),
        ("253:4000", "`253:4000` fits no"),
        ("/usr", "which is no dm-verity device and lies on none"),
        ("/no/such", "`/no/such` is no mount point"),
    ] {
        for command in [&["devices"][..], &["report"], &["export", "--once"]] {
            let mut command = verity_trace(command);
            assert_refuses(command.args([PLAIN, argument]), 5, says);
        }
    }
}

fn verity_trace(arguments: &[&str]) -> Command {
    let mut command = Command::new("verity-trace");
    command.args(arguments);
    command
}

/// The verity device itself, then a device that lies on it.
#[test]
fn a_mount_point_selects_what_it_lies_on() {
    let formatted = formatted();
    let verity = formatted.open_with(PLAIN, &[]);
    let _other = Backing::virtio().open("other", false);
    assert_is_selected_where_mounted(&verity.path());
    let table = format!("0 16384 linear {} 0", verity.path());
    let top = Mapped::read_only("top", &table);
    assert_is_selected_where_mounted(&top.path());
}

fn assert_is_selected_where_mounted(path: &str) {
    run("mkdir", &["-p", "/tmp/on verity"]);
    run("mount", &["-t", "ext4", "-o", "ro", path, "/tmp/on verity"]);
    let selected = names(&["/tmp/on verity/"]);
    let exported = Tracer::start(&["/tmp/on verity"]).stop();
    run("umount", &["/tmp/on verity"]);
    assert_eq!(selected, [PLAIN], "{path}");
    assert_eq!(exported.0["devices"][0]["name"], PLAIN, "{path}");
    assert_eq!(exported.0["devices"].as_array().map(Vec::len), Some(1));
}

/// What is not selected is traced all the same and not shown, its records neither.
#[test]
fn a_selection_limits_what_is_exported() {
    let (plain, full) = two_on_one_disk();
    let tracer = Tracer::start(&["--records", "10000", "full-*"]);
    let unselected = RandomReads::small(300).on(&plain);
    let ios = RandomReads::small(200).on(&full);
    let document = tracer.stop();
    assert_eq!(document.0["devices"].as_array().map(Vec::len), Some(1));
    document.assert_exact(FULL, ios);
    assert_eq!(document.records().len() as u64, ios);
    assert_eq!(document.0["records_omitted"], 0);
    let verifications: u64 = document.0["cpus"]
        .as_array()
        .expect("CPUs")
        .iter()
        .flat_map(|cpu| {
            ["kverityd", "bh", "inline"].map(|it| cpu[format!("{it}_verifications")].as_u64())
        })
        .flatten()
        .sum();
    assert!(
        verifications >= ios + unselected,
        "the machine's: {verifications}"
    );
}

/// A device that fits and comes later is shown; one that does not fit never is.
#[test]
fn the_live_view_waits_for_what_is_selected() {
    let backing = Backing::virtio();
    let _plain = backing.open_with(PLAIN, &["--shared"]);
    let mut screen = Screen::start(&["top", "--interval", "200ms", "late-*"]);
    screen.wait_for("waiting for a verity device that is to be shown");
    let _late = backing.open_with("late-one", &["--shared"]);
    screen.wait_for("late-one");
    assert!(!screen.shows(PLAIN));
    screen.press("q");
    assert_eq!(screen.exit_code(), 0);
}

/// Who is no verity device is not asked all the time, and yet found once its table is one of verity. A verity
/// table cannot be replaced by another target's, so it is the second.
#[test]
fn a_device_that_becomes_a_verity_device_is_found() {
    const OTHER: &str = "another";
    let _plain = Backing::virtio().open_with(PLAIN, &["--shared"]);
    let verity = run("dmsetup", &["table", PLAIN]);
    let words: Vec<&str> = verity.split_whitespace().collect();
    // Start, length, target and its version, then the data device.
    let linear = format!("0 {} linear {} 0", words[1], words[4]);
    let _other = Mapped::read_only(OTHER, &linear);
    assert_eq!(names(&[]), [PLAIN]);
    let mut screen = Screen::start(&["top", "--interval", "200ms"]);
    screen.wait_for(PLAIN);
    assert!(!screen.shows(OTHER));
    run(
        "dmsetup",
        &["reload", "--readonly", OTHER, "--table", verity.trim()],
    );
    run("dmsetup", &["resume", OTHER]);
    screen.wait_for(OTHER);
    screen.press("q");
    assert_eq!(screen.exit_code(), 0);
}

#[test]
fn devices_without_any_without_privilege_and_without_btf() {
    assert_refuses(&mut verity_trace(&["devices"]), 5, "no dm-verity device");
    let _device = Backing::virtio().open(PLAIN, true);
    let mut command = verity_trace(&["devices"]);
    command.uid(65_534).gid(65_534);
    assert_refuses(&mut command, 3, "root");
    let restricted = HiddenAddresses::set(2);
    run("mount", &["-t", "tmpfs", "none", "/sys/kernel/btf"]);
    let listed = list(&[]);
    run("umount", &["/sys/kernel/btf"]);
    drop(restricted);
    assert_eq!(listed["kernel"]["era"], LabKernel::running().era());
    assert_eq!(listed["devices"][0]["name"], PLAIN);
}
