use std::collections::BTreeMap;

use super::*;
use crate::histogram::{Histogram, Nanos};
use crate::snapshot::{
    Account, Failure, InFlight, Kernel, Loss, Other, Placement, PlacementTotals, Reads, Rung,
    Stage, Totals, Tracing,
};
use crate::target::Table;

/// A device on which so many I/Os finished, each hundred of them faster than the next.
fn device(minor: u32, ios: u64) -> Device {
    let slots = (0..=ios / 100).map(|hundred| {
        let count = (ios - hundred * 100).min(100);
        (usize::try_from(hundred).expect("a slot").min(400), count)
    });
    let histogram = Histogram::from_slots(slots, Nanos(ios * 1_000));
    let these = PlacementTotals {
        ios,
        bytes: ios * 4_096,
        stages: BTreeMap::from([(Stage::Total, histogram)]),
        ..PlacementTotals::default()
    };
    let table = "1 8:1 8:2 4096 4096 16384 1 sha256 6d6f -";
    Device {
        name: "root".to_owned(),
        uuid: String::new(),
        number: DeviceNumber { major: 253, minor },
        disk_sequence: Some(minor.into()),
        table: Table::parse(table).expect("a verity table"),
        status: None,
        counted_in_other: false,
        totals: Some(Totals {
            placements: BTreeMap::from([(Placement::Kverityd, these)]),
            ..Totals::default()
        }),
        recent: None,
        in_flight: None,
        first_failure: None,
        before_attach: None,
        in_flight_before_attach: None,
    }
}

fn cpu(verifications: u64, longest: u64) -> Cpu {
    Cpu {
        softirq: Duration::from_millis(verifications),
        kverityd_verifications: verifications,
        queues: Some(crate::snapshot::CpuQueues {
            longest_verify: Some(Duration::from_micros(longest)),
            ..crate::snapshot::CpuQueues::default()
        }),
        ..Cpu::default()
    }
}

/// A moment so many milliseconds after the start; each second 10 I/Os finish.
fn at(ms: u64) -> Snapshot {
    Snapshot {
        taken_at: Duration::from_millis(1_795_000_000_000 + ms),
        watched: Duration::from_millis(ms),
        interval: None,
        kernel: Kernel {
            release: "6.12".to_owned(),
            host: "lab".to_owned(),
            cpus: 1,
            era: None,
        },
        tracing: Tracing::Attached(Rung::Fentry),
        probes: Vec::new(),
        gaps: Vec::new(),
        devices: vec![device(0, ms / 100)],
        kernel_names: BTreeMap::new(),
        queued: BTreeMap::new(),
        other: None,
        cpus: vec![cpu(ms / 100, 5)],
        recent_cpus: Vec::new(),
        use_bh_bytes: None,
        account: None,
        loss: BTreeMap::new(),
        hides_misses: false,
        before_attach: 0,
        hash_cache_unseen: None,
        queues_unseen: None,
        cost: None,
        sampling: None,
    }
}

fn seen(lookback: &Lookback, snapshot: &Snapshot, window: Window) -> Snapshot {
    let mut snapshot = snapshot.clone();
    let recent = lookback.recent(&snapshot, window);
    for device in &mut snapshot.devices {
        let did = recent.of(device).map(|did| did.totals().into_owned());
        device.recent = did;
    }
    snapshot.interval = recent.interval();
    snapshot.recent_cpus = recent.cpus().to_vec();
    lookback.count_anew(&mut snapshot);
    snapshot
}

#[test]
fn of_devices_with_counts_alone_the_same_is_found_out() {
    let mut lookback = Lookback::default();
    lookback.add(&Arc::new(at(9_000)));
    lookback.begin_anew(&Arc::new(at(10_000)));
    let mut now = at(13_000);
    now.devices.push(device(1, 40));
    lookback.add(&Arc::new(now.clone()));
    let mut counts = now.with_counts_alone();
    lookback.count_anew(&mut counts);
    for window in Window::ALL {
        let recent = lookback.recent(&now, window);
        let looked_up = lookback.recent_by_counts(&now, window);
        for (device, counts) in now.devices.iter().zip(&counts.devices) {
            let did = recent.of(device).expect("totals").totals();
            let times = did.stage(Stage::Total);
            assert!(times.count() > 0 && counts.totals.as_ref().is_some());
            assert_eq!(looked_up.of(counts).expect("totals").totals(), did);
        }
    }
    let stages = |totals: &Totals| totals.placements.values().any(|it| !it.stages.is_empty());
    assert!(
        !counts
            .devices
            .iter()
            .filter_map(|it| it.totals.as_ref())
            .any(stages)
    );
    // The counts are those of counting anew.
    let mut whole = now.clone();
    lookback.count_anew(&mut whole);
    assert_eq!(counts, whole.with_counts_alone());
}

fn recent(snapshot: &Snapshot) -> u64 {
    let recent = snapshot.devices[0].recent.as_ref();
    recent.expect("totals").ios()
}

#[test]
fn windows_are_as_long_as_they_are_called_at_any_moment() {
    for (step, devices) in [(100, 1), (1_003, 1), (1_003, 200), (10_000, 1)] {
        let mut lookback = Lookback::default();
        let part = part(devices);
        for ms in (50..1_500_000).step_by(step) {
            let mut now = at(ms);
            for minor in 1..u32::try_from(devices).expect("few") {
                now.devices.push(device(minor, 40));
            }
            lookback.add(&Arc::new(now.clone()));
            let most = if devices < MANY { 60 } else { 24 };
            assert!(
                lookback.kept.len() <= most,
                "{} at {ms}",
                lookback.kept.len()
            );
            if ms % 13 > 0 {
                continue;
            }
            for window in Window::ALL {
                let seen = seen(&lookback, &now, window);
                let span = seen.interval.expect("a window");
                let span_ms = u64::try_from(span.as_millis()).expect("a time");
                assert_eq!(recent(&seen), ms / 100 - (ms - span_ms) / 100);
                let began = seen.recent_cpus[0].kverityd_verifications;
                assert_eq!(began, recent(&seen));
                let Some(length) = window.length().filter(|&it| it < now.watched) else {
                    assert_eq!(span, now.watched);
                    continue;
                };
                let off = span.abs_diff(length);
                let step = Duration::from_millis(step as u64);
                let most = (length / part).max(step);
                assert!(off <= most, "{window:?} is {span:?} at {ms}");
            }
        }
    }
}

#[test]
fn what_devices_did_that_do_nothing_is_kept_once() {
    let mut lookback = Lookback::default();
    for ms in (0..=20_000).step_by(1_000) {
        let mut now = at(ms);
        now.devices.push(device(1, 40));
        lookback.add(&Arc::new(now.clone()));
    }
    let kept = |at: usize, device: usize| match &lookback.kept[at].what {
        What::Packed(devices, _) => devices.values().nth(device).expect("a device"),
        What::Whole(..) => panic!("it is old"),
    };
    assert!(lookback.kept.len() > 10);
    assert!(Arc::ptr_eq(kept(0, 1), kept(6, 1)));
    assert!(!Arc::ptr_eq(kept(0, 0), kept(6, 0)));
}

#[test]
fn a_histogram_of_a_window_has_what_finished_in_it() {
    let mut lookback = Lookback::default();
    for ms in (0..=30_000).step_by(1_000) {
        lookback.add(&Arc::new(at(ms)));
    }
    let now = seen(&lookback, &at(30_000), Window::TenSeconds);
    assert_eq!(now.interval, Some(Duration::from_secs(10)));
    let recent = now.devices[0].recent.as_ref().expect("totals");
    let late = Histogram::from_slots([(2, 100)], Nanos(100_000));
    assert_eq!(recent.stage(Stage::Total), late);
}

#[test]
fn a_device_that_is_new_counts_from_nothing_and_one_that_says_what_was_recent_is_left() {
    let mut lookback = Lookback::default();
    lookback.add(&Arc::new(at(5_000)));
    let mut now = at(6_000);
    now.devices[0] = device(7, 3);
    lookback.add(&Arc::new(now.clone()));
    assert_eq!(recent(&seen(&lookback, &now, Window::Second)), 3);

    let mut told = at(5_000);
    told.interval = Some(Duration::from_secs(2));
    told.devices[0].recent = Some(device(0, 4).totals.expect("totals"));
    let mut lookback = Lookback::default();
    lookback.add(&Arc::new(told.clone()));
    assert_eq!(seen(&lookback, &told, Window::Second), told);
    assert_eq!(recent(&seen(&lookback, &told, Window::All)), 50);
}

#[test]
fn what_is_of_another_source_is_not_set_against_this_one() {
    let mut lookback = Lookback::default();
    lookback.add(&Arc::new(at(50_000)));
    lookback.begin_anew(&Arc::new(at(51_000)));
    lookback.add(&Arc::new(at(2_000)));
    assert_eq!(recent(&seen(&lookback, &at(2_000), Window::Second)), 20);
}

#[test]
fn everything_begins_anew() {
    let mut lookback = Lookback::default();
    let mut before = at(10_000);
    before.loss = BTreeMap::from([(Loss::RingFull, 3)]);
    before.devices.push(device(1, 40));
    before.account = Some(Account {
        mapped: 147,
        finished: 140,
        in_flight: 7,
        ..Account::default()
    });
    before.devices[0].before_attach = Some(Reads { ios: 5, bytes: 50 });
    lookback.add(&Arc::new(at(9_000)));
    lookback.begin_anew(&Arc::new(before.clone()));
    let same = seen(&lookback, &before, Window::All);
    assert_eq!(
        (same.watched, same.interval),
        (Duration::ZERO, Some(Duration::ZERO))
    );
    assert_eq!(recent(&same), 0);

    // The second device goes, and what it did is counted with the others.
    let mut now = at(13_000);
    now.loss = BTreeMap::from([(Loss::RingFull, 3), (Loss::Clock, 1)]);
    now.other = Some(Other {
        totals: device(1, 42).totals.expect("totals"),
        in_flight: InFlight::default(),
        first_failure: None,
    });
    now.account = Some(Account {
        mapped: 180,
        finished: 172,
        in_flight: 8,
        ..Account::default()
    });
    now.devices[0].before_attach = Some(Reads { ios: 5, bytes: 50 });
    now.cpus = vec![cpu(130, 9)];
    lookback.add(&Arc::new(now.clone()));
    for window in [Window::TenSeconds, Window::All] {
        let seen = seen(&lookback, &now, window);
        assert_eq!(recent(&seen), 30, "{window:?}");
        let totals = seen.devices[0].totals.as_ref().expect("totals");
        assert_eq!(totals.ios(), 30);
        assert_eq!(seen.watched, Duration::from_secs(3));
        assert_eq!(seen.loss, BTreeMap::from([(Loss::Clock, 1)]));
        let other = seen.other.as_ref().expect("two more");
        assert_eq!(other.totals.ios(), 2);
        let account = seen.account.expect("an account");
        assert_eq!((account.mapped, account.finished), (40, 32));
        let reads = seen.devices[0].before_attach.expect("reads");
        assert_eq!((reads.ios, reads.bytes), (105, 50 + 100 * 4_096));
        let longest = |it: &Snapshot| it.cpus[0].queues.as_ref().and_then(|it| it.longest_verify);
        assert_eq!(longest(&seen), Some(Duration::from_micros(9)));
        assert_eq!(longest(&same), None);
    }
}

#[test]
fn a_failure_from_before_is_none_of_what_began_anew() {
    let failed = |count: u64, ms| {
        let mut snapshot = at(ms);
        let device = &mut snapshot.devices[0];
        device.first_failure = (count > 0).then_some(Failure {
            sector: 8,
            status: 10,
        });
        let totals = device.totals.as_mut().expect("totals");
        let these = totals.placements.values_mut().next().expect("I/Os");
        these.failed = count;
        snapshot
    };
    for (before, now, expected) in [(0, 2, (2, true)), (1, 3, (2, false)), (1, 1, (0, false))] {
        let mut lookback = Lookback::default();
        lookback.begin_anew(&Arc::new(failed(before, 1_000)));
        let seen = seen(&lookback, &failed(now, 2_000), Window::All);
        let device = &seen.devices[0];
        let totals = device.totals.as_ref().expect("totals");
        assert_eq!((totals.failed(), device.first_failure.is_some()), expected);
    }
}
