//! What was written is read back, also what other versions wrote, in any order.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use verity_trace::export::Document;
use verity_trace::recording::{Condition, Encoder, Parameters, Reader, VERSION, Writer};
use verity_trace::replay::Film;
use verity_trace::selection::{Selection, Selector};
use verity_trace::snapshot::{Era, Totals};
use verity_trace::{decode, demo, report};

use crate::{
    HEADER, common, end, machine, parameters, picture, read, recording, records, report_of,
    snapshots,
};

#[test]
fn what_was_written_is_read_back() {
    let read = read(&recording());
    assert!(read.fault.is_none());
    assert_eq!(read.records, records(0..200));
    assert_eq!(read.machines, [machine()]);
    assert_eq!(read.parameters, [parameters()]);
    assert_eq!(read.ends, [end()]);
    assert_eq!(read.devices.len(), 1);
    assert!(read.devices[0].contains("sha256"), "{}", read.devices[0]);
    let expected = snapshots();
    assert_eq!(read.snapshots.len(), expected.len());
    for (found, expected) in read.snapshots.iter().zip(&expected) {
        assert_eq!(found.watched, expected.watched);
        assert_eq!(found.loss, expected.loss);
        assert_eq!(found.devices.len(), expected.devices.len());
        for (found, expected) in found.devices.iter().zip(&expected.devices) {
            assert_eq!(found.totals, expected.totals);
        }
    }
    let whole = Condition {
        ended: true,
        ..Condition::default()
    };
    assert_eq!(read.condition, whole);
}

#[test]
fn the_snapshot_of_every_scenario_is_read_back() {
    let scenarios = common::scenarios();
    let mut encoder = Encoder::new(false).expect("an encoder");
    let mut writer = Writer::new(Vec::new(), &HEADER).expect("written to memory");
    for (_, scenario) in &scenarios {
        let frame = encoder.picture(&picture(0, &scenario.snapshot()));
        writer.write(&frame.expect("a block")).expect("written");
    }
    let read = read(&writer.into_inner());
    for ((name, scenario), found) in scenarios.iter().zip(&read.snapshots) {
        let json = |snapshot| {
            let document = Document::new(snapshot, None);
            serde_json::to_string(&document).expect("JSON")
        };
        let description = &scenario.description;
        assert_eq!(
            json(found),
            json(&scenario.snapshot()),
            "{name}: {description}"
        );
    }
    assert_eq!(read.snapshots.len(), scenarios.len());
}

/// Recordings that were made by the first program that wrote each version of the format.
#[test]
fn every_version_is_read() {
    let file = |version| {
        let name = format!("../tests/recordings/version-{version}.vtrec");
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a recording")
    };
    assert_eq!(
        VERSION, 1,
        "a new version needs a recording, and a line here"
    );
    let file = file(1);
    let read = read(&file);
    assert!(read.fault.is_none(), "{:?}", read.fault);
    assert_eq!((read.records.len(), read.snapshots.len()), (1_251, 15));
    for record in &read.records {
        decode::io(record, Era::Inline).expect("an I/O");
    }
    insta::assert_snapshot!("version_1", report_of(&file, false));
}

/// What happened in a window is what the snapshots at its ends say together, wherever one comes from.
#[test]
fn a_film_shows_every_snapshot_in_any_order() {
    let count: usize = 150;
    let recording = seconds_of(count);
    let reader = Reader::new(Cursor::new(&recording[..]), false).expect("a recording");
    let mut film = Film::new(reader, Selection::default()).expect("a recording");
    assert_eq!(film.times(), [Duration::ZERO]);
    // Snapshots are read and found in turns.
    for number in 1..70 {
        assert!(film.find().expect("one more") && !film.is_whole());
        let at = number * 7 % (number + 1);
        let snapshot = film.snapshot(at, Some(0)).expect("a snapshot");
        assert_eq!(snapshot.watched, Duration::from_secs(at as u64));
    }
    while film.find().expect("one more") {}
    assert!(film.is_whole());
    let times = film.times();
    let seconds = (0..count as u64).map(Duration::from_secs);
    assert_eq!(times, seconds.collect::<Vec<_>>());
    assert_eq!(film.began(), Duration::from_nanos(HEADER.realtime_ns));
    for (frame, earlier) in [(0, 0), (149, 148), (3, 2), (149, 0), (61, 59), (130, 70)] {
        let snapshot = film.snapshot(frame, Some(earlier)).expect("a snapshot");
        let [now, then] = [frame, earlier].map(|at| (at as u64).min(WATCHED));
        assert_eq!(snapshot.watched, Duration::from_secs(now));
        let since = Duration::from_secs(now - then);
        assert_eq!(snapshot.interval, (frame > earlier).then_some(since));
        let recent = &snapshot.devices[0].recent;
        let ios = recent.as_ref().map(Totals::ios);
        assert_eq!(ios, (frame > earlier).then_some(now - then));
        assert_eq!(snapshot.use_bh_bytes, limits(frame));
        let all = film.snapshot(frame, None).expect("a snapshot");
        assert_eq!(all.interval, Some(all.watched));
        let device = &all.devices[0];
        let [recent, totals] =
            [&device.recent, &device.totals].map(|it| it.as_ref().map(Totals::ios));
        assert_eq!(recent, totals);
    }
    let reader = Reader::new(Cursor::new(&recording[..]), false).expect("a recording");
    let none = Selector::parse("no-such-device").expect("a selector");
    let mut film = Film::new(reader, Selection::new(vec![none])).expect("a recording");
    while film.find().expect("one more") {}
    let snapshot = film.snapshot(5, Some(4)).expect("a snapshot");
    assert!(snapshot.devices.is_empty());
}

/// Each interval has the I/Os that finished in it, in whatever order intervals are looked at.
#[test]
fn a_film_has_the_ios_of_every_interval() {
    for demo in demo::ALL {
        let kernel = demo.kernel;
        let reader = || Reader::new(Cursor::new(demo.bytes), false).expect("a recording");
        let mut film = Film::new(reader(), Selection::default()).expect("a recording");
        while film.find().expect("one more") {}
        let count = film.times().len();
        let picked: Vec<_> = (0..count)
            .map(|at| film.picked(at).expect("I/Os"))
            .collect();
        assert!(picked.iter().any(|it| !it.recent.is_empty()), "{kernel}");
        for at in (0..count).rev() {
            assert_eq!(film.picked(at).expect("I/Os"), picked[at], "{kernel}");
        }
        let slowest = picked.iter().flat_map(|it| &it.slowest);
        let identities: BTreeSet<_> = slowest.clone().map(|io| io.seq).collect();
        assert_eq!(identities.len(), slowest.count(), "{kernel}");
    }
}

/// After so many seconds the probes are away.
const WATCHED: u64 = 145;

/// The module's limits at each second, as [`seconds_of`] has them.
fn limits(second: usize) -> Option<Vec<u64>> {
    match second {
        0..60 => None,
        60..100 => Some(vec![8_192; 4]),
        _ => Some(vec![0; 4]),
    }
}

/// A snapshot each second, with one more I/O in each that the probes saw.
fn seconds_of(count: usize) -> Vec<u8> {
    let mut encoder = Encoder::new(false).expect("an encoder");
    let mut writer = Writer::new(Vec::new(), &HEADER).expect("written to memory");
    let mut snapshot = snapshots().remove(0);
    for at in 0..count as u64 {
        snapshot.watched = Duration::from_secs(at.min(WATCHED));
        let second = usize::try_from(at).expect("a small number");
        if limits(second) != limits(second.saturating_sub(1)) {
            let parameters = Parameters {
                monotonic_ns: at * 1_000_000_000 - 3,
                use_bh_bytes: limits(second),
            };
            let frame = encoder.parameters(&parameters).expect("a block");
            writer.write(&frame).expect("written");
        }
        let totals = snapshot.devices[0].totals.as_mut().expect("totals");
        let placements = totals.placements.values_mut();
        for these in placements.take(1) {
            these.ios += u64::from(at <= WATCHED);
        }
        let frames = [
            encoder.picture(&picture(at, &snapshot)),
            encoder.ios(&records(at..at + 1), Some(Era::Bh)),
        ];
        for frame in frames {
            writer.write(&frame.expect("a block")).expect("written");
        }
    }
    writer.into_inner()
}

/// A ring that runs for months: 2^48 bytes are eight hours at 10 GB/s, and a thousand I/Os in flight add up to
/// 2^60 ns in two weeks.
#[test]
fn what_a_fast_machine_counts_in_months_is_read() {
    let snapshot = common::scenario("bh_always_with_fallbacks").snapshot();
    let document = serde_json::to_value(Document::new(&snapshot, None)).expect("JSON");
    let with_bytes = |bytes: u64| {
        let mut document = document.clone();
        let bh = &mut document["devices"][0]["placements"]["bh"];
        bh["bytes"] = serde_json::json!(bytes);
        bh["stages"]["total"]["sum_ns"] = serde_json::json!(u64::MAX);
        let document: Document<'static> = serde_json::from_value(document).expect("a document");
        document.snapshot()
    };
    let months = with_bytes(1 << 60).expect("a snapshot");
    let totals = months.devices[0].totals.as_ref().expect("totals");
    assert!(totals.bytes() >= 1 << 60);
    let mut text = Vec::new();
    report::report(&months, &mut text).expect("written to memory");
    let refused = with_bytes(u64::MAX).expect_err("no snapshot");
    assert!(refused.to_string().ends_with("is more than there can be"));
}
