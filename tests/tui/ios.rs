//! The view of I/Os one by one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use verity_trace::decode::{self, Io, Unfinished};
use verity_trace::histogram::Nanos;
use verity_trace::picked::{self, Both, Name, Picked, Picker, Seen, StillInFlight};
use verity_trace::snapshot::{Completion, Context, DeviceNumber, Era, Reason, Snapshot, Stage};
use verity_trace::tui::{App, Key, Message};
use verity_trace_ebpf::placement::Placement;
use verity_trace_ebpf::reason::outcome;
use verity_trace_ebpf::record::{ABSENT, RECHECKED, Record};

use crate::{app, filter, named, screen, snapshot};

const SECOND: Duration = Duration::from_secs(1);

fn dev(device: DeviceNumber) -> u32 {
    device.major << 20 | device.minor
}

fn io(device: DeviceNumber, seq: u64, record: Record) -> Io {
    let record = Record {
        seq,
        device: dev(device),
        submitter: 4_711,
        total_ns: record.stages_ns.iter().filter(|&&ns| ns != ABSENT).sum(),
        ..record
    };
    decode::io(&record, Era::Bh).expect("a record")
}

fn fallback(device: DeviceNumber) -> Io {
    let record = Record {
        stages_ns: [2_100_000, 40_000, 300_000, 4_000_000, 900_000],
        outcome: outcome(Placement::Fallback, Some(Reason::CacheMiss)),
        completion: Completion::Softirq as u8,
        attempt_context: Context::Softirq as u8,
        context: Context::Kworker as u8,
        command: *b"fio\x1b[2J\0\0\0\0\0\0\0\0\0",
        sector: 123_456,
        bytes: 4_096,
        submit_cpu: 0,
        complete_cpu: 1,
        verify_cpu: 1,
        ..bytemuck::Zeroable::zeroed()
    };
    io(device, 1, record)
}

fn failed(device: DeviceNumber) -> Io {
    let record = Record {
        stages_ns: [800_000, 10_000, ABSENT, ABSENT, 200_000],
        outcome: outcome(Placement::Bh, None),
        completion: Completion::Task as u8,
        context: Context::Ksoftirqd as u8,
        command: *b"systemd-udevd-wo",
        sector: 8,
        bytes: 1 << 20,
        flags: RECHECKED,
        status: 10,
        ..bytemuck::Zeroable::zeroed()
    };
    io(device, 2, record)
}

fn unfinished(device: DeviceNumber) -> Unfinished {
    Unfinished {
        seq: 3,
        device,
        age: Duration::from_millis(12_345),
        stage: Stage::Verify,
        sector: 99,
        bytes: 65_536,
        submitter: 1,
        command: "init".to_owned(),
        submit_cpu: 7,
    }
}

fn picked(snapshot: &Snapshot) -> Picked {
    let device = snapshot.devices[0].number;
    Picked {
        slowest: vec![fallback(device), failed(device)],
        recent: vec![failed(device), fallback(device)],
        of_each: picked::KEPT,
        in_flight: Some(StillInFlight {
            ios: BTreeMap::from([(device, 12)]),
            oldest: vec![unfinished(device)],
        }),
        seen: Some(Seen {
            one_in: 64,
            slow: Nanos(1_500_000),
            both: Both::Either,
            unsent: 0,
        }),
        has_undecoded: false,
        span: Duration::ZERO..SECOND,
        devices: Name::of_all(&snapshot.devices),
    }
}

/// The view of I/Os, from whichever one is shown.
fn ios(app: &mut App) -> String {
    loop {
        let shown = screen(app, 120, 60);
        if shown.contains("[I/Os]") {
            return shown;
        }
        app.update(Message::Key(Key::Tab));
    }
}

fn on_ios(snapshot: Snapshot, picked: Picked, columns: u16, rows: u16) -> App {
    let mut app = app(snapshot.clone(), columns, rows);
    app.update(Message::Picked(Arc::new(picked)));
    app.update(Message::Snapshot(Arc::new(snapshot)));
    while !screen(&app, columns, rows).contains("[I/Os]") {
        app.update(Message::Key(Key::Tab));
    }
    app
}

#[test]
fn ios_in_flight_slowest_and_most_recent() {
    for (columns, rows) in [(80, 24), (120, 40), (200, 60), (40, 12)] {
        let snapshot = snapshot("bh_always_with_fallbacks");
        let picked = picked(&snapshot);
        let app = on_ios(snapshot, picked, columns, rows);
        insta::assert_snapshot!(format!("{columns}x{rows}_ios"), screen(&app, columns, rows));
    }
}

#[test]
fn those_alone_are_shown_whose_device_the_filter_takes() {
    let snapshot = snapshot("bh_always_with_fallbacks");
    let picked = picked(&snapshot);
    let mut app = on_ios(snapshot, picked, 80, 40);
    assert!(screen(&app, 80, 40).contains("123456"));
    filter(&mut app, "no-such-device", Key::Enter);
    while !screen(&app, 80, 40).contains("[I/Os]") {
        app.update(Message::Key(Key::Tab));
    }
    let none = screen(&app, 80, 40);
    assert!(!none.contains("123456") && none.contains("none"), "{none}");
}

/// A device that nobody would find among the slowest of all, or the last, or the oldest.
#[test]
fn a_filter_shows_what_a_quiet_device_did_beside_busy_ones() {
    let names = ["busy", "quiet", "idle"];
    let snapshot = named("bh_always_with_fallbacks", &names);
    let [busy, quiet, _] = [0, 1, 2].map(|at| snapshot.devices[at].number);
    let of_each = picked::of_each(names.len());
    let mut picker = Picker::default();
    for seq in 0..1_000 {
        let device = if seq < 3 { quiet } else { busy };
        picker.take(&Record {
            seq,
            device: dev(device),
            sector: 70_000 + seq,
            total_ns: 1_000 + seq,
            stages_ns: [900 + seq, 50, ABSENT, ABSENT, 50],
            outcome: outcome(Placement::Bh, None),
            ..bytemuck::Zeroable::zeroed()
        });
    }
    let found = picker.pick(Era::Bh, of_each);
    let in_flight = (0..200).map(|number| Unfinished {
        seq: number,
        device: if number < 2 { quiet } else { busy },
        age: Duration::from_micros(number),
        sector: 90_000 + number,
        ..unfinished(busy)
    });
    let these = Picked {
        slowest: found.slowest,
        recent: found.recent,
        of_each,
        in_flight: Some(StillInFlight::of(in_flight.collect(), of_each)),
        ..picked(&snapshot)
    };
    let mut app = on_ios(snapshot, these, 120, 60);
    let all = screen(&app, 120, 60);
    assert!(
        all.contains("in flight: 200, of which these are the 32 oldest"),
        "{all}"
    );
    assert!(!all.contains("quiet"), "{all}");
    filter(&mut app, "quiet", Key::Enter);
    let quiet = ios(&mut app);
    assert!(quiet.contains("in flight: 2, the oldest first"), "{quiet}");
    for sector in [90_000, 90_001, 70_000, 70_001, 70_002] {
        assert!(quiet.contains(&format!("at {sector}")), "{sector}: {quiet}");
    }
    assert!(
        !quiet.contains("busy") && !quiet.contains("are kept"),
        "{quiet}"
    );
    filter(&mut app, "idle", Key::Enter);
    let idle = ios(&mut app);
    assert!(idle.contains("in flight: 0\n"), "{idle}");
    assert_eq!(idle.matches(": none").count(), 2, "{idle}");
}

/// Of many devices less is kept than the lists have lines, and that is said.
#[test]
fn devices_that_share_what_is_kept_say_so() {
    let snapshot = snapshot("seventy_devices");
    let picked = Picked {
        of_each: picked::of_each(snapshot.devices.len()),
        ..picked(&snapshot)
    };
    let mut app = on_ios(snapshot, picked, 120, 40);
    assert!(!screen(&app, 120, 40).contains("are kept"));
    filter(&mut app, "image-3*", Key::Enter);
    let shown = ios(&mut app);
    assert!(
        shown.contains("of each the 3 slowest and the 3 most recent"),
        "{shown}"
    );
}

#[test]
fn a_recording_does_not_say_which_are_in_flight() {
    let snapshot = snapshot("bh_always_with_fallbacks");
    let picked = Picked {
        in_flight: None,
        seen: Some(Seen::EVERYTHING),
        ..picked(&snapshot)
    };
    let shown = screen(&on_ios(snapshot, picked, 120, 40), 120, 40);
    assert!(shown.contains("every I/O is looked at"), "{shown}");
    assert!(
        shown.contains("which ones a recording does not say"),
        "{shown}"
    );
    assert!(!shown.contains("init 1"), "{shown}");
}

#[test]
fn what_was_not_looked_at_is_said() {
    let snapshot = snapshot("bh_always_with_fallbacks");
    let mut picked = picked(&snapshot);
    picked.has_undecoded = true;
    picked.seen = picked.seen.map(|seen| Seen { unsent: 7, ..seen });
    let shown = screen(&on_ios(snapshot.clone(), picked.clone(), 120, 40), 120, 40);
    assert!(shown.contains("but for 7 that came"), "{shown}");
    assert!(shown.contains("some records make no I/O"), "{shown}");
    picked.seen = None;
    let unseen = screen(&on_ios(snapshot, picked, 120, 40), 120, 40);
    assert!(unseen.contains("not seen one by one"), "{unseen}");
    assert!(!unseen.contains("in flight: 12"), "{unseen}");
}

#[test]
fn an_io_keeps_the_name_of_its_device_when_another_one_has_the_number() {
    let mut snapshot = snapshot("bh_always_with_fallbacks");
    let picked = picked(&snapshot);
    let old = snapshot.devices[0].name.clone();
    "successor".clone_into(&mut snapshot.devices[0].name);
    let mut app = on_ios(snapshot, picked, 120, 40);
    let shown = screen(&app, 120, 40);
    assert!(
        shown.contains(&format!("{old}  4 KiB at 123456")),
        "{shown}"
    );
    filter(&mut app, "successor", Key::Enter);
    while !screen(&app, 120, 40).contains("[I/Os]") {
        app.update(Message::Key(Key::Tab));
    }
    assert!(!screen(&app, 120, 40).contains("123456"));
}

#[test]
fn a_paused_picture_keeps_its_ios() {
    let snapshot = snapshot("bh_always_with_fallbacks");
    let first = picked(&snapshot);
    let mut app = on_ios(snapshot.clone(), first.clone(), 120, 40);
    app.update(Message::Key(Key::Char(' ')));
    let paused = screen(&app, 120, 40);
    let later = snapshot.taken_at + Duration::from_secs(1);
    app.update(Message::Picked(Arc::new(Picked {
        slowest: Vec::new(),
        recent: Vec::new(),
        in_flight: Some(StillInFlight::default()),
        span: SECOND..2 * SECOND,
        ..first
    })));
    app.update(Message::Snapshot(Arc::new(Snapshot {
        taken_at: later,
        ..snapshot
    })));
    assert_eq!(screen(&app, 120, 40), paused);
    app.update(Message::Key(Key::Char(' ')));
    assert_ne!(screen(&app, 120, 40), paused);
}
