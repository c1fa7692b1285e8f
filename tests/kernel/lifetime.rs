//! Identity and lifetime: whatever becomes of an I/O on its way, it is counted once.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::LabKernel::{self, Bh, Inert, Inline};
use crate::device::{Backing, Mapped, Verity};
use crate::load::{RandomReads, Running};
use crate::oracle::trace_against_diskstats;
use crate::placement::NAME;
use crate::shell::{run, succeeds};
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
    let (document, ios) = trace_against_diskstats(&device, NAME, &RECORDS, || {
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
    });
    drop(device);
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

/// Two devices over the same data, read at once.
#[test]
fn two_devices_on_one_data_device_are_told_apart() {
    let backing = Backing::virtio();
    let first = backing.open_with("first", &["--shared"]);
    let second = backing.open_with("second", &["--shared", "--use-tasklets"]);
    let tracer = Tracer::start(&[]);
    let (ios, others) = std::thread::scope(|scope| {
        let others = scope.spawn(|| RandomReads::small(700).on(&second));
        let ios = RandomReads::small(500).on(&first);
        (ios, others.join().expect("fio"))
    });
    let document = tracer.stop();
    document.assert_exact("first", ios);
    document.assert_exact("second", others);
    assert_eq!(document.ios("first", "kverityd"), ios);
}

/// Each I/O of the upper device is one of the lower, whose `verity_finish_io` calls the upper's
/// `verity_end_io`: in a worker or in softirq, and never in hardirq.
#[test]
fn verity_on_verity_is_two_ios_of_one() {
    let backing = Backing::virtio();
    let lower = backing.open_with("lower", &["--shared", "--use-tasklets"]);
    let upper = backing
        .on(&lower)
        .open_with(NAME, &["--use-tasklets", "--shared"]);
    upper.warm_up();
    let before = (lower.counts(), upper.counts());
    let tracer = Tracer::start(&[]);
    let ios = RandomReads::small(1_000).on(&upper);
    let document = tracer.stop();
    for (device, name, before) in [(&lower, "lower", before.0), (&upper, NAME, before.1)] {
        assert_eq!(device.counts().since(before).reads, ios, "{name}");
        document.assert_exact(name, ios);
    }
    let of = |placement| document.ios(NAME, placement);
    match LabKernel::running() {
        Inert => assert_eq!(of("kverityd"), ios),
        Bh => assert_eq!(of("bh") + of("fallback"), ios),
        Inline => {
            assert_eq!(of("bh"), 0, "no completion in hardirq");
            assert!(of("inline") > ios / 2, "{} of {ios} inline", of("inline"));
        }
    }
    drop(upper);
    drop(lower);
}

/// dm-crypt completes in its own worker, and `verity_end_io` is nested in its work.
#[test]
fn verity_on_dm_crypt() {
    let (backing, crypt) = Backing::ram_disks(2, 8_192).encrypted();
    let device = backing.open(NAME, true);
    device.warm_up();
    let (document, ios) = trace_against_diskstats(&device, NAME, &RECORDS, || {
        RandomReads::small(500).on(&device);
    });
    let of = |placement| document.ios(NAME, placement);
    match LabKernel::running() {
        Inert => assert_eq!(of("kverityd"), ios),
        Bh => assert_eq!(of("bh") + of("fallback"), ios),
        Inline => assert!(of("inline") > ios / 2, "{} of {ios} inline", of("inline")),
    }
    drop(device);
    drop(crypt);
}

/// 1 MiB at a time over two parts of a disk that takes 64 KiB at once: what is split below is one I/O
/// here, and completes once.
#[test]
fn what_is_split_below_is_one_io() {
    let disk = Backing::virtio();
    let _short = disk.with_short_requests(64);
    let (backing, parts) = disk.in_two_parts();
    let device = backing.open(NAME, true);
    device.warm_up();
    let from = format!("if={}", device.path());
    let before = disk.data_counts();
    let (document, ios) = trace_against_diskstats(&device, NAME, &[], || {
        run("dd", &[&from, "of=/dev/null", "bs=1M", "iflag=direct"]);
    });
    let requests = disk.data_counts().since(before);
    assert_eq!(document.count(NAME, "bytes"), 64 << 20);
    assert_eq!(requests.sectors * 512, 64 << 20);
    assert!(requests.reads >= 1_024, "{requests:?} for {ios} I/Os");
    assert!(ios < 128, "{ios} I/Os of about 1 MiB");
    drop(device);
    drop(parts);
}

/// A write comes through to the target from a device that may be written to and lies on it: the kernel
/// warns, and lets it go (`bio_check_ro`, block/blk-core.c). `verity_map` refuses it.
#[test]
fn a_refused_map_is_no_io() {
    let device = Backing::virtio().open(NAME, true);
    let table = format!("0 131072 linear {} 0", device.path());
    let top = Mapped::create("top", &table);
    let to = format!("of={}", top.path());
    let write = ["if=/dev/zero", &to, "bs=4k", "count=1", "oflag=direct"];
    let before = device.counts();
    let tracer = Tracer::start(&RECORDS);
    for _ in 0..3 {
        assert!(!succeeds("dd", &write), "verity cannot be written to");
    }
    let ios = RandomReads::small(100).on(&device);
    let document = tracer.stop();
    assert_eq!(device.counts().since(before).reads, ios);
    drop(top);
    drop(device);
    document.assert_conserved();
    assert_eq!(document.count(NAME, "ios"), ios);
    assert_eq!(document.count(NAME, "rejected"), 3);
    assert_eq!(document.0["account"]["rejected"], 3);
    assert_eq!(document.0["account"]["mapped"].as_u64(), Some(ios + 3));
    assert_eq!(document.records().len() as u64, ios);
    assert_eq!(document.0["lost"], 0, "{}", document.0["loss"]);
}

/// A block that was verified is not verified again, and its I/O is an I/O all the same.
#[test]
fn check_at_most_once() {
    let device = Backing::virtio().open_with(NAME, &["--check-at-most-once", "--use-tasklets"]);
    for _ in 0..2 {
        let (document, ios) = trace_against_diskstats(&device, NAME, &[], || {
            RandomReads::large(200).on(&device);
        });
        assert_eq!(ios, 200);
        let of = |placement| document.ios(NAME, placement);
        match LabKernel::running() {
            Inert | Inline => assert_eq!(of("kverityd"), ios),
            Bh => assert_eq!(of("bh") + of("fallback"), ios),
        }
    }
}

/// A block that should be zeroes is neither read nor verified: not even a wrong one fails.
#[test]
fn ignored_zero_blocks_are_ios() {
    let backing = Backing::ram_disks(2, 8_192).format(&[]);
    backing.corrupt(7);
    let device = backing.open_with(NAME, &["--ignore-zero-blocks", "--use-tasklets"]);
    let (document, ios) = trace_against_diskstats(&device, NAME, &[], || {
        assert!(device.reads_block(6) && device.reads_block(7));
        RandomReads::small(200).on(&device);
    });
    assert_eq!(ios, 202);
    assert_eq!(document.count(NAME, "failed"), 0);
    assert_eq!(document.count(NAME, "rejected"), 0);
    drop(device);
}

/// What was corrected did not fail, and was corrected by kverityd.
#[test]
fn a_corrected_block_is_one_io_that_did_not_fail() {
    let parity = ["--fec-device=/dev/ram2", "--fec-roots=4"];
    let backing = Backing::ram_disks(3, 8_192).format(&parity);
    backing.corrupt(7);
    let options = [&parity[..], &["--use-tasklets"]].concat();
    let device = backing.open_with(NAME, &options);
    let (document, ios) = trace_against_diskstats(&device, NAME, &RECORDS, || {
        assert!(device.reads_block(6) && device.reads_block(7) && device.reads_block(8));
    });
    drop(device);
    assert_eq!(ios, 3);
    assert_eq!(document.count(NAME, "failed"), 0);
    let record = document
        .records()
        .iter()
        .find(|record| record["sector"] == 7 * 8)
        .expect("the record of the block");
    println!("{record}");
    assert_correction(&document, record);
}

fn assert_correction(document: &Document, record: &Value) {
    let seen = document.device(NAME).get("fec").and_then(Value::as_u64);
    let (placement, reason) = match LabKernel::running() {
        Inert => ("kverityd", "inert"),
        Bh | Inline => ("fallback", "mismatch"),
    };
    assert_eq!(text(&record["placement"]), placement);
    assert_eq!(text(&record["reason"]), reason);
    assert_eq!(record["status"], 0);
    assert_eq!(seen, Some(1));
    assert_eq!(record["fec"], true);
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
