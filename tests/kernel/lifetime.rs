//! Identity and lifetime: whatever becomes of an I/O on its way, it is counted once.

use std::collections::BTreeMap;
use std::thread;

use serde_json::Value;

use crate::LabKernel::{self, Bh, Inert, Inline};
use crate::device::{Backing, Mapped, Verity};
use crate::knobs::ShortRequests;
use crate::load::{RandomReads, Running};
use crate::oracle::{DiskCounts, in_flight};
use crate::placement::NAME;
use crate::shell::{run, succeeds, wait_until};
use crate::tracer::{Document, Tracer};

const RECORDS: [&str; 2] = ["--records", "1000000"];

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("absent")
}

/// `CLOCK_MONOTONIC`, the clock of the records.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = std::time::Duration::try_from(now).expect("a time");
    u64::try_from(now.as_nanos()).expect("not that long")
}

/// The option comes and goes while fio reads, so many times: every I/O is counted once, and is verified
/// where the table says that it was mapped under.
pub fn reload_under_load(backing: &Backing, reloads: u64, reads: u64) {
    let device = backing.open(NAME, true);
    // Since when it has the option or has not; a time in which a reload went on is neither.
    let mut known = vec![(now(), Some(true))];
    let before = device.counts();
    let tracer = Tracer::start(&RECORDS);
    let job = ["--name=load", "--rw=randread", "--bs=4k", "--iodepth=32"];
    let load = Running::start(&device, &job);
    for reload in 0..reloads {
        load.run_for(reads);
        let option = reload % 2 == 1;
        known.push((now(), None));
        device.reload(option);
        known.push((now(), Some(option)));
    }
    load.run_for(reads);
    load.stop();
    let document = tracer.stop();
    let ios = device.counts().since(before).reads;
    drop(device);
    document.assert_exact(NAME, ios);
    if document.has_unseen() {
        return;
    }
    assert_eq!(document.records().len() as u64, ios);
    let mut seen = BTreeMap::new();
    for record in document.records() {
        let mapped_at: u64 = text(&record["mapped_at_ns"]).parse().expect("a time");
        let index = known.partition_point(|&(since, _)| since <= mapped_at);
        let Some(option) = known[index - 1].1 else {
            continue;
        };
        let placement = text(&record["placement"]);
        *seen.entry((option, placement)).or_default() += 1;
        let allowed: &[(&str, &str)] = match (option, LabKernel::running()) {
            (false, _) => &[("kverityd", "option-off")],
            (true, Inert) => &[("kverityd", "inert")],
            (true, Bh) => &[("bh", "absent"), ("fallback", "cache-miss")],
            (true, Inline) => &[
                ("bh", "absent"),
                ("inline", "absent"),
                ("fallback", "cache-miss"),
                ("kverityd", "need-resched"),
            ],
        };
        let found = (placement, text(&record["reason"]));
        assert!(allowed.contains(&found), "option {option}: {record}");
    }
    println!("{ios} I/Os over {reloads} reloads: {seen:?}");
    let with_option = |wanted| -> u64 {
        let these = seen.iter().filter(|((option, _), _)| *option == wanted);
        these.map(|(_, count)| count).sum()
    };
    assert!(with_option(true) >= reads && with_option(false) >= reads);
}

#[test]
fn a_table_reload_under_load_loses_nothing() {
    reload_under_load(&Backing::virtio(), 3, 300);
}

/// Devices of every kind over one another, all open at once.
struct Zoo {
    // What lies on another comes before it, since it has to be closed first.
    /// A device that may be written to, on `plain`.
    top: Mapped,
    /// Two on one data device, and `upper` on the second of them.
    plain: Verity,
    upper: Verity,
    lower: Verity,
    once: Verity,
    zeroes: Verity,
    corrected: Verity,
    encrypted: Verity,
    _crypt: Mapped,
    split: Verity,
    _parts: Mapped,
    disk_of_split: Backing,
    _short: ShortRequests,
}

/// The data block that is not what it should be, where there is one.
const WRONG: u64 = 7;

impl Zoo {
    fn open() -> Self {
        let virtio = Backing::virtio();
        let shared = |name, options: &[&str]| {
            virtio.open_with(name, &[&["--shared", "--use-tasklets"], options].concat())
        };
        let plain = virtio.open_with("plain", &["--shared"]);
        let lower = shared("lower", &[]);
        let upper = virtio.on(&lower);
        let upper = upper.open_with("upper", &["--shared", "--use-tasklets"]);
        let top = Mapped::create("top", &format!("0 131072 linear {} 0", plain.path()));
        let once = shared("once", &["--check-at-most-once"]);

        let [zeroes, correctable, encryptable] = Backing::three_of_ram(8_192);
        let zeroes = zeroes.format(&[]);
        zeroes.corrupt(WRONG);
        let zeroes = zeroes.open_with("zeroes", &["--ignore-zero-blocks", "--use-tasklets"]);
        let parity = ["--fec-device=/dev/ram6", "--fec-roots=4"];
        let correctable = correctable.format(&parity);
        correctable.corrupt(WRONG);
        let options = [&parity[..], &["--use-tasklets"]].concat();
        let corrected = correctable.open_with("corrected", &options);
        let (encryptable, crypt) = encryptable.encrypted();

        let disk = Backing::virtio_with_one_queue();
        let short = disk.with_short_requests(64);
        let (in_parts, parts) = disk.in_two_parts();
        Self {
            top,
            plain,
            upper,
            lower,
            once,
            zeroes,
            corrected,
            encrypted: encryptable.open("encrypted", true),
            _crypt: crypt,
            split: in_parts.open("split", true),
            _parts: parts,
            disk_of_split: disk,
            _short: short,
        }
    }

    fn devices(&self) -> [&Verity; 8] {
        [
            &self.plain,
            &self.lower,
            &self.upper,
            &self.once,
            &self.zeroes,
            &self.corrected,
            &self.encrypted,
            &self.split,
        ]
    }

    /// Reads from all of them. Returns how many requests its disk had for `split`.
    fn read(&self) -> u64 {
        let dd = |device: &Verity, options: &[&str]| {
            let from = format!("if={}", device.path());
            run("dd", &[&[&from, "of=/dev/null"], options].concat());
        };
        dd(&self.plain, &["bs=1M", "count=16", "iflag=direct"]);
        dd(&self.plain, &["bs=64k", "count=64"]);
        let to = format!("of={}", self.top.path());
        let write = ["if=/dev/zero", &to, "bs=4k", "count=1", "oflag=direct"];
        for _ in 0..REFUSED {
            assert!(!succeeds("dd", &write), "verity cannot be written to");
        }
        thread::scope(|scope| {
            scope.spawn(|| RandomReads::small(300).on(&self.upper));
            scope.spawn(|| RandomReads::small(200).on(&self.lower));
        });
        for _ in 0..2 {
            RandomReads::large(100).on(&self.once);
        }
        RandomReads::small(200).on(&self.encrypted);
        for device in [&self.zeroes, &self.corrected] {
            assert!(device.reads_block(WRONG - 1) && device.reads_block(WRONG));
        }
        let before = self.disk_of_split.data_counts();
        // The seam is in the middle.
        dd(
            &self.split,
            &["bs=1M", "skip=24", "count=16", "iflag=direct"],
        );
        self.disk_of_split.data_counts().since(before).reads
    }
}

const REFUSED: u64 = 3;

/// On every kind of device the block layer counts as many I/Os and bytes as we do.
#[test]
fn every_kind_of_device_is_counted_as_the_block_layer_does() {
    let zoo = Zoo::open();
    let before = zoo.devices().map(Verity::counts);
    let tracer = Tracer::start(&RECORDS);
    let requests = zoo.read();
    let document = tracer.stop();
    let counts: Vec<_> = std::iter::zip(zoo.devices(), before)
        .map(|(device, before)| (device.name(), device.counts().since(before)))
        .collect();
    if document.has_unseen() {
        let names: Vec<_> = counts.iter().map(|&(name, _)| name).collect();
        let ios = counts.iter().map(|(_, counts)| counts.reads).sum();
        return document.assert_accounted_together(&names, ios);
    }
    for (name, counts) in counts {
        println!("{name}: {counts:?}");
        let refused = if name == "plain" { REFUSED } else { 0 };
        document.assert_counted(name, counts.reads, refused);
        assert_eq!(
            document.count(name, "bytes"),
            counts.sectors * 512,
            "{name}"
        );
        assert_eq!(document.count(name, "failed"), 0, "{name}");
    }
    let (loss, cost) = (&document.0["loss"], &document.0["tracing"]["self_cost"]);
    assert_eq!(document.0["lost"], 0, "{loss}, {cost}");

    // A write comes through to the target from a device that may be written to and lies on it: the
    // kernel warns, and lets it go (`bio_check_ro`, block/blk-core.c). `verity_map` refuses it.
    assert_eq!(document.mapped("rejected"), REFUSED);
    assert_eq!(
        document.records().len() as u64,
        document.mapped("finished"),
        "what is refused is no I/O"
    );
    let of = |name: &str| {
        let number = document.device(name)["number"].clone();
        document
            .records()
            .iter()
            .filter(move |it| it["device"] == number)
    };
    let is_ahead = |record: &&Value| record["read_ahead"] == true;
    assert!(
        of("plain").any(|it| is_ahead(&it)),
        "sequential reads read ahead"
    );

    // What is read from the upper one is read from the lower one too.
    let (upper, lower) = (
        document.count("upper", "ios"),
        document.count("lower", "ios"),
    );
    assert_eq!((upper, lower), (300, 500));
    // A lower verity device and dm-crypt complete in a worker or in softirq, never in hardirq.
    assert_placements(&document, "upper", "inline");
    assert_placements(&document, "encrypted", "inline");
    // 64 KiB each, and those of the second time are not verified again.
    assert_eq!(document.count("once", "ios"), 200);
    assert_placements(&document, "once", "kverityd");
    assert!(requests >= 256, "{requests} requests of at most 64 KiB");
    assert!(document.count("split", "ios") < 32, "of about 1 MiB");
    let corrected = of("corrected").find(|it| it["sector"] == WRONG * 8);
    assert_correction(&document, corrected.expect("its record"));
    drop(zoo);
}

/// Where a device with the option on has its I/Os verified; on 7.3 at least some there, and the others
/// where the kernel gives way or an attempt gave up.
fn assert_placements(document: &Document, name: &str, there: &str) {
    let ios = document.count(name, "ios");
    let of = |placement| document.ios(name, placement);
    match LabKernel::running() {
        Inert => assert_eq!(of("kverityd"), ios, "{name}"),
        Bh => assert_eq!(of("bh") + of("fallback"), ios, "{name}"),
        Inline => {
            assert_eq!(of("bh") + of("none"), 0, "{name}");
            assert!(of(there) > 0, "{name}: none of {ios} {there}");
        }
    }
}

/// An attempt in softirq leaves a correction to kverityd. On 6.1 it cannot be seen: `verity_recheck` takes
/// a structure by value, which no program can be given.
fn assert_correction(document: &Document, record: &Value) {
    let (placement, reason, seen) = match LabKernel::running() {
        Inert => ("kverityd", "inert", None),
        Bh | Inline => ("fallback", "mismatch", Some(1)),
    };
    assert_eq!(text(&record["placement"]), placement, "{record}");
    assert_eq!(text(&record["reason"]), reason, "{record}");
    assert_eq!(record["status"], 0, "{record}");
    assert_eq!(record["fec"], seen.is_some(), "{record}");
    let fec = document.device("corrected").get("fec");
    assert_eq!(fec.and_then(Value::as_u64), seen);
}

/// What a device read before it was watched, as an object of the document.
fn before_attach(document: &Document, name: &str) -> DiskCounts {
    let before = &document.device(name)["before_attach"];
    let number = |field: &str| before[field].as_u64().unwrap_or_else(|| panic!("{before}"));
    DiskCounts {
        reads: number("ios"),
        sectors: number("bytes") / 512,
    }
}

/// With what was read before attaching, a document has all that the block layer ever counted; a device that
/// came later has nothing that was not seen.
#[test]
fn what_was_read_before_attaching_is_told_by_device() {
    let backing = Backing::virtio();
    let early = backing.open_with("early", &["--shared"]);
    assert_eq!(RandomReads::small(200).on(&early), 200);
    assert_eq!(RandomReads::large(100).on(&early), 100);
    let before = early.counts();
    assert!(before.reads >= 300, "{before:?}");
    let tracer = Tracer::start(&[]);
    let ios = RandomReads::small(500).on(&early);
    let late = backing.open_with("late", &["--shared"]);
    RandomReads::small(100).on(&late);
    let late_ios = late.counts().reads;
    let document = tracer.stop();
    assert_eq!(document.0["before_attach"], 0, "nothing was under way");
    assert_eq!(before_attach(&document, "early"), before);
    for name in ["early", "late"] {
        assert_eq!(
            document.device(name)["in_flight_before_attach"],
            0,
            "{name}"
        );
    }
    let nothing = DiskCounts {
        reads: 0,
        sectors: 0,
    };
    assert_eq!(before_attach(&document, "late"), nothing);
    if document.has_unseen() {
        return document.assert_accounted_together(&["early", "late"], ios + late_ios);
    }
    document.assert_exact("early", ios);
    for device in [&early, &late] {
        let (name, counts) = (device.name(), device.counts());
        let before = before_attach(&document, name);
        let seen = DiskCounts {
            reads: document.count(name, "ios"),
            sectors: document.count(name, "bytes") / 512,
        };
        assert_eq!(counts.since(before), seen, "{name}");
    }
}

/// A disk that hung before tracing began: nobody saw what is in flight begin, and it is told all the same.
#[test]
fn what_hung_before_attaching_is_told() {
    let (backing, disk) = Backing::virtio().in_two_parts();
    let device = backing.open(NAME, false);
    let document = thread::scope(|scope| {
        let suspended = disk.suspend();
        scope.spawn(|| device.reads_block(7));
        wait_until("a read hangs", || in_flight(&device.path()) == 1);
        let document = Tracer::start(&[]).stop();
        drop(suspended);
        document
    });
    assert_eq!(document.device(NAME)["in_flight_before_attach"], 1);
    assert_eq!(document.device(NAME)["in_flight"], 0);
    assert_eq!(document.0["lost"], 0, "{}", document.0["loss"]);
    drop(device);
    drop(disk);
}

/// A device that is busy when tracing begins: no I/O is counted both before and since, but for one that
/// is in flight then where the block layer counts it as it begins.
#[test]
fn of_a_busy_device_no_io_is_counted_twice() {
    let device = Backing::virtio().open(NAME, true);
    let load = Running::start(&device, &["--name=load", "--rw=randread", "--iodepth=1"]);
    load.run_for(100);
    let tracer = Tracer::start(&[]);
    load.run_for(500);
    load.stop();
    let document = tracer.stop();
    let counts = device.counts();
    let (before, ios) = (before_attach(&document, NAME), document.count(NAME, "ios"));
    println!("{before:?} and {ios} of {counts:?}");
    assert!(before.reads >= 100 && ios >= 100);
    let in_both = match LabKernel::running() {
        Inert => 1,
        Bh | Inline => 0,
    };
    assert!(before.reads + ios <= counts.reads + in_both);
}

/// More than a thousand at once.
pub fn hundreds_in_flight(device: &Verity, count: u64) {
    let before = device.counts();
    let tracer = Tracer::start(&[]);
    let load = RandomReads {
        depth: 256,
        jobs: 4,
        ..RandomReads::small(count)
    };
    let ios = load.on(device);
    let document = tracer.stop();
    assert_eq!((ios, device.counts().since(before).reads), (count, count));
    document.assert_accounted(NAME, ios);
}

#[test]
fn hundreds_in_flight_are_exact() {
    hundreds_in_flight(&Backing::virtio().open(NAME, true), 4_000);
}
