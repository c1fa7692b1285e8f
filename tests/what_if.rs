//! The what-if model, on recordings and on loads of which is known what becomes of them.

use std::collections::BTreeMap;
use std::io::Cursor;

use verity_trace::decode::Io;
use verity_trace::demo;
use verity_trace::forecasts;
use verity_trace::histogram::Nanos;
use verity_trace::overview::Overview;
use verity_trace::recording::{Fault, Reader};
use verity_trace::snapshot::{Completion, Context, DeviceNumber, Era, Placement, Reason, Stage};
use verity_trace::what_if::{
    Estimate, Facts, Forecast, Load, LoadBuilder, NotEnough, Outcome, Setting, Unknown, predict,
};

const DEVICE: DeviceNumber = DeviceNumber {
    major: 253,
    minor: 0,
};
const LIMITS: [u64; 4] = [8_192, 8_192, 8_192, 0];

/// The load of each device of a recording.
fn loads(bytes: &[u8]) -> (Facts, BTreeMap<String, Load>) {
    let mut ios: Vec<Io> = Vec::new();
    let mut reader = Reader::new(Cursor::new(bytes), false).expect("a recording");
    let overview = Overview::read_with(&mut reader, |reader, block| {
        if let verity_trace::recording::Block::Ios(these) = block {
            reader.ios(these, |io| {
                ios.push(io.clone());
                Ok::<_, Fault>(())
            })?;
        }
        Ok(())
    });
    let overview = overview.expect("a recording");
    // What came before the limits changed was under another setting.
    let since = overview.parameters.last().map_or(0, |it| it.monotonic_ns);
    ios.retain(|io| io.mapped_at.0 >= since);
    let snapshot = overview.snapshot;
    let facts = Facts::of(&snapshot.kernel).expect("an era");
    let limits = snapshot.use_bh_bytes.as_deref();
    let limits: Option<[u64; 4]> = limits.map(|it| it.try_into().expect("four classes"));
    let devices = snapshot.devices.iter().map(|device| {
        let recorded = Setting {
            option: device.table.options.try_verify_in_tasklet,
            use_bh_bytes: limits,
        };
        let load = Load::new(device.number, recorded, &ios);
        (device.name.clone(), load)
    });
    (facts, devices.collect())
}

fn forecast(load: &Load, facts: &Facts) -> Forecast {
    predict(load, facts, &load.settings(facts), 1).expect("enough I/Os")
}

/// How far the model is off where it can be seen, as shares of what was measured.
fn off(forecast: &Forecast) -> [f64; 2] {
    let share = |own: f64, measured: f64| (own - measured).abs() / measured;
    let (own, measured) = (&forecast.own, &forecast.measured);
    [
        share(own.wait.median.value, measured.wait.median.value),
        share(own.total.mean.value, measured.total.mean.value),
    ]
}

#[test]
fn of_the_demo_recordings_the_recorded_setting_is_forecast_as_it_was() {
    for demo in demo::ALL {
        let (facts, loads) = loads(demo.bytes);
        assert_eq!(loads.len(), 2, "{}", demo.kernel);
        for (name, load) in loads {
            let forecast = forecast(&load, &facts);
            let [wait, total] = off(&forecast);
            let what = format!("{} {name}: wait {wait:.3}, total {total:.3}", demo.kernel);
            assert!(wait < 0.25, "{what}");
            assert!(total < 0.15, "{what}");
            assert_eq!(forecast.own.ios, forecast.measured.ios, "{what}");
            for (setting, outcome) in &forecast.settings {
                assert_eq!(outcome.ios, load.ios(), "{what}");
                check(outcome, &what);
                // The other device of these has no option.
                let is_off = !setting.option && name == "root";
                if is_off || !facts.era.can_attempt() {
                    assert_eq!(outcome.softirq_time(), Nanos(0), "{what} {setting:?}");
                }
            }
        }
    }
}

/// That it is an outcome at all.
fn check(outcome: &Outcome, what: &str) {
    let estimates = [
        outcome.wait.mean,
        outcome.wait.median,
        outcome.total.mean,
        outcome.total.median,
        outcome.change,
    ];
    for estimate in estimates {
        assert!(estimate.low <= estimate.value, "{what} {outcome:?}");
        assert!(estimate.value <= estimate.high, "{what} {outcome:?}");
    }
    assert_eq!(outcome.placements.values().sum::<u64>(), outcome.ios);
    assert_eq!(outcome.wait.histogram.count(), outcome.ios, "{what}");
}

#[test]
fn an_inert_kernel_forecasts_no_difference() {
    let (facts, loads) = loads(demo::ALL[0].bytes);
    assert_eq!(facts.era, Era::Inert);
    for load in loads.values() {
        for (setting, outcome) in &forecast(load, &facts).settings {
            assert_eq!(outcome.change, Estimate::default(), "{setting:?}");
        }
    }
}

/// I/Os as kverityd verified them, with one at a time: wait 6 us, verification 10 us.
fn one_at_a_time(count: u64) -> Vec<Io> {
    (0..count)
        .map(|number| {
            let jitter = number * 7_919 % 400;
            let stages = BTreeMap::from([
                (Stage::Device, Nanos(20_000 + jitter)),
                (Stage::Wait, Nanos(6_000 + jitter)),
                (Stage::Verify, Nanos(10_000 + jitter)),
            ]);
            Io {
                seq: number,
                device: DEVICE,
                mapped_at: Nanos(1_000_000 + 100_000 * number),
                sector: 0,
                bytes: 4_096,
                placement: Placement::Kverityd,
                attempt: None,
                total: Nanos(stages.values().map(|it| it.0).sum()),
                stages,
                status: 0,
                ioprio: 2 << 13,
                read_ahead: false,
                reason: Some(Reason::OptionOff),
                completion: Completion::HardirqOrIrqsOff,
                context: Some(Context::Kworker),
                attempt_context: None,
                submitter: 1,
                command: String::new(),
                cgroup: 0,
                submit_cpu: 0,
                complete_cpu: Some(0),
                verify_cpu: Some(0),
                rechecked: false,
                fec: false,
                incomplete: false,
                clock: false,
            }
        })
        .collect()
}

fn setting(option: bool) -> Setting {
    Setting {
        option,
        use_bh_bytes: Some(LIMITS),
    }
}

const FACTS: Facts = Facts {
    era: Era::Inline,
    cpus: 2,
    is_unbound: false,
    gives_way: false,
    is_real_time: None,
};

#[test]
fn a_forecast_of_bh_is_as_wide_as_what_is_not_known_of_it() {
    let load = Load::new(DEVICE, setting(false), &one_at_a_time(2_000));
    let forecast = predict(&load, &FACTS, &[setting(true)], 1).expect("enough");
    assert!(off(&forecast)[0] < 0.01, "{forecast:?}");
    let (_, on) = &forecast.settings[0];
    assert!((on.share(Placement::Bh) - 1.0).abs() < 1e-9);
    let (wait, own) = (on.wait.median, forecast.own.wait.median.value);
    assert!(wait.low > 0.0 && wait.high < own, "{wait:?}");
    assert!(wait.high > 1.5 * wait.low, "{wait:?}");
    let (change, total) = (on.change, forecast.measured.total.mean.value);
    assert!(change.value < 0.0, "{change:?}");
    // What no prior and no chance explains, either.
    assert!(change.high - change.value >= 0.15 * total, "{change:?}");
    assert!(change.value - change.low >= 0.15 * total, "{change:?}");
    assert!(on.softirq_time().0 > 2_000 * 9_000, "{on:?}");
    assert!(!forecast.unknown.is_empty());
}

#[test]
fn a_seed_makes_a_forecast() {
    let load = Load::new(DEVICE, setting(false), &one_at_a_time(500));
    let of = |seed| predict(&load, &FACTS, &[setting(true)], seed).expect("enough");
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
}

#[test]
fn too_few_ios_or_those_of_another_setting_make_no_forecast() {
    let few = Load::new(DEVICE, setting(false), &one_at_a_time(99));
    let found = predict(&few, &FACTS, &[], 1);
    assert_eq!(
        found,
        Err(NotEnough::Ios {
            ios: 99,
            least: 100
        })
    );
    let on = Load::new(DEVICE, setting(true), &one_at_a_time(200));
    let found = predict(&on, &FACTS, &[], 1);
    assert_eq!(found, Err(NotEnough::Mixed { of: 200, ios: 200 }));
}

#[test]
fn what_was_not_seen_whole_or_not_verified_is_left_out() {
    let mut ios = one_at_a_time(203);
    ios[0].incomplete = true;
    ios[1].placement = Placement::None;
    ios[2].status = 10;
    let mut builder = LoadBuilder::new(DEVICE, setting(false)).sampled(4);
    for io in &ios {
        builder.add(io);
    }
    let load = builder.build();
    assert_eq!((load.ios(), load.unverified()), (200, 1));
    let unknown = forecast(&load, &FACTS).unknown;
    assert!(unknown.contains(&Unknown::Sampled(4)));
    assert!(unknown.contains(&Unknown::Incomplete(9)));
}

/// Two processes, each on a CPU of its own but for so many I/Os at first, that map an I/O by turns, so often.
fn by_turns(together: usize, every: Nanos) -> Vec<Io> {
    let mut ios = one_at_a_time(400);
    for (number, io) in ios.iter_mut().enumerate() {
        let process = number % 2;
        io.submitter = [1, 2][process];
        io.submit_cpu = if number < together {
            0
        } else {
            [0, 1][process]
        };
        io.mapped_at = Nanos(1_000_000 + every.0 * number as u64);
    }
    ios
}

#[test]
fn how_processes_on_a_cpu_wait_for_each_other_is_not_known() {
    let interleaved = |ios: &[Io]| {
        let load = Load::new(DEVICE, setting(false), ios);
        let unknown = forecast(&load, &FACTS).unknown;
        unknown.into_iter().find_map(|it| match it {
            Unknown::Interleaved(permille) => Some(permille),
            _ => None,
        })
    };
    // Each I/O takes about 36 us, so that the one before is in flight.
    let every = Nanos(20_000);
    // All but the first.
    assert_eq!(interleaved(&by_turns(400, every)), Some(997));
    assert_eq!(interleaved(&by_turns(40, every)), Some(100));
    // Too few to matter.
    assert_eq!(interleaved(&by_turns(10, every)), None);
    assert_eq!(interleaved(&by_turns(0, every)), None);
    // Each begins after the one before has ended.
    assert_eq!(interleaved(&by_turns(400, Nanos(100_000))), None);
}

#[test]
fn only_what_came_after_the_setting_changed_counts() {
    let ios = one_at_a_time(400);
    let changed_at = ios[150].mapped_at;
    let mut builder = LoadBuilder::new(DEVICE, setting(false));
    let (before, after) = ios.split_at(100);
    // 50 of them were in flight, or on their way here.
    for io in before {
        builder.add(io);
    }
    builder.begin_anew(changed_at);
    for io in after {
        builder.add(io);
    }
    let load = builder.build();
    assert_eq!(load.ios(), 250);
    assert_eq!(load, {
        let mut builder = LoadBuilder::new(DEVICE, setting(false));
        builder.begin_anew(changed_at);
        for io in &ios {
            builder.add(io);
        }
        builder.build()
    });
    let unknown = forecast(&load, &FACTS).unknown;
    assert!(unknown.contains(&Unknown::Earlier(150)), "{unknown:?}");
}

/// Limits change midway in the one of Linux 7.3.
#[test]
fn of_every_device_of_a_demo_there_is_a_forecast() {
    for demo in demo::ALL {
        let mut reader = Reader::new(Cursor::new(demo.bytes), false).expect("a recording");
        let start = reader.place();
        let overview = Overview::read(&mut reader).expect("a recording");
        reader.go_to(start).expect("the start");
        let forecasts = forecasts::read(&mut reader, &overview, |_| true).expect("a recording");
        assert_eq!(forecasts.len(), 2, "{}", demo.kernel);
        for forecast in forecasts.values() {
            let forecast = forecast.as_ref().expect("a forecast");
            let changes = forecast
                .unknown
                .iter()
                .any(|it| matches!(it, Unknown::Earlier(_)));
            assert_eq!(changes, demo.kernel == "7.3", "{}", demo.kernel);
        }
    }
}

#[test]
fn the_limits_that_are_tried_are_those_that_the_load_needs() {
    let mut ios = one_at_a_time(300);
    for io in ios.iter_mut().step_by(3) {
        io.bytes = 65_536;
    }
    let load = Load::new(DEVICE, setting(false), &ios);
    let limits: Vec<_> = load
        .settings(&FACTS)
        .iter()
        .map(|it| (it.option, it.use_bh_bytes.map(|it| it[2])))
        .collect();
    let swept = [4_096, 65_536].map(|it| (true, Some(it)));
    let expected = [
        (false, Some(8_192)),
        (true, Some(8_192)),
        swept[0],
        swept[1],
    ];
    assert_eq!(limits, expected);
    let bh = load.settings(&Facts {
        era: Era::Bh,
        ..FACTS
    });
    assert_eq!(bh.len(), 2, "there are no limits before 6.15");
}
