//! The metrics of every scenario: what is exposed, how many series there are at most, and that others' readers read it.

mod common;
mod python;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use verity_trace::cost::{Attachment, Calibration, Cost, ProgramRuns};
use verity_trace::escape;
use verity_trace::histogram::{Histogram, Nanos};
use verity_trace::metrics::{self, CATALOGUE, Kind, Limits};
use verity_trace::recommend::{self, Advice, Effect, Forecasts};
use verity_trace::snapshot::{
    Cpu, CpuQueues, DeviceNumber, HashCache, InFlight, Other, Placement, PlacementTotals,
    QueueWait, Reason, Snapshot, Softirq, Stage, Totals,
};
use verity_trace::target::Status;

/// At 64 devices.
const MOST_SERIES: usize = 20_000;

#[test]
fn names_follow_the_conventions() {
    let mut names = HashSet::new();
    for metric in CATALOGUE {
        let name = metric.name;
        assert!(names.insert(name), "{name} twice");
        assert!(name.starts_with("verity_trace_"), "{name}");
        let is_plain = |text: &str| text.chars().all(|it| it.is_ascii_lowercase() || it == '_');
        assert!(
            is_plain(name) && metric.labels.iter().all(|it| is_plain(it)),
            "{name}"
        );
        let (rest, expected) = match metric.kind {
            Kind::Counter => (name.strip_suffix("_total"), "_total"),
            Kind::Info => (name.strip_suffix("_info"), "_info"),
            Kind::Gauge | Kind::Histogram => {
                assert!(
                    !name.ends_with("_total") && !name.ends_with("_info"),
                    "{name}"
                );
                (Some(name), "")
            }
        };
        let rest = rest.unwrap_or_else(|| panic!("{name} does not end with {expected}"));
        for unit in ["seconds", "bytes", "ratio"] {
            let has = rest.ends_with(&format!("_{unit}"));
            assert_eq!(has, metric.unit == Some(unit), "{name}: {unit}");
        }
        let help = metric.help;
        assert!(
            !help.contains(['\n', '|', '\\', '"']) && !help.ends_with('.'),
            "{name}: {help}"
        );
        let has_reason = metric.labels.contains(&"reason");
        assert!(!has_reason || metric.kind == Kind::Counter, "{name}");
    }
}

#[test]
fn what_is_exposed() {
    for name in [
        "inline_and_bh_with_large_on_kverityd",
        "hostile_names",
        "waiting_for_module",
    ] {
        let scenario = common::scenario(name);
        insta::with_settings!({ description => scenario.description.clone() }, {
            let text = openmetrics(&scenario.snapshot());
            insta::assert_snapshot!(format!("metrics_{name}"), text);
        });
    }
}

#[test]
fn every_series_stands_once_and_has_the_labels_of_the_catalogue() {
    for (name, scenario) in common::scenarios() {
        let text = openmetrics(&scenario.snapshot());
        assert!(text.ends_with("# EOF\n"), "{name}");
        assert!(
            !text.replace('\n', "").contains(escape::is_hidden),
            "{name}"
        );
        let mut seen = HashSet::new();
        for line in series(&text) {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            assert!(seen.insert(series.to_owned()), "{name}: {series} twice");
            assert!(
                value.parse::<f64>().expect("a number").is_finite(),
                "{name}: {line}"
            );
            let metric = metric_of(series);
            let labels = labels(series);
            let labels: Vec<_> = labels
                .iter()
                .map(|(key, _)| key.as_str())
                .filter(|&key| key != "le")
                .collect();
            assert_eq!(labels, metric.labels, "{name}: {series}");
        }
    }
}

#[test]
fn at_64_devices_there_are_no_more_series_than_promised() {
    let (snapshot, advices) = most();
    let limits = Limits::default();
    assert_eq!(limits.devices, 64);
    let text = metrics::openmetrics(&snapshot, &advices, &limits);
    let count = series(&text).count();
    assert!(count <= MOST_SERIES, "{count}");
    // The made-up machine has all that can be on it, so the bound means something.
    assert!(count * 10 > MOST_SERIES * 9, "{count}");
    let exposed: HashSet<_> = series(&text).map(|line| metric_of(line).name).collect();
    for metric in CATALOGUE {
        let is_of_last_rung = metric.name == "verity_trace_queued_seconds";
        assert!(
            exposed.contains(metric.name) || is_of_last_rung,
            "{}",
            metric.name
        );
    }
    for metric in CATALOGUE.iter().filter(|it| it.kind == Kind::Histogram) {
        let bounds =
            series(&text).filter(|line| line.starts_with(&format!("{}_bucket", metric.name)));
        let bounds: HashSet<_> = bounds
            .flat_map(labels)
            .filter(|(key, _)| key == "le")
            .collect();
        assert!(bounds.len() <= 16, "{bounds:?}");
    }
}

#[test]
fn what_has_no_series_of_its_own_is_added_up() {
    let (snapshot, advices) = most();
    let all = metrics::openmetrics(
        &snapshot,
        &advices,
        &Limits {
            devices: 1_000,
            cpus: 1_000,
        },
    );
    let few = metrics::openmetrics(
        &snapshot,
        &advices,
        &Limits {
            devices: 3,
            cpus: 2,
        },
    );
    assert_eq!(sums(&all), sums(&few));
    let folded = snapshot.devices.len() - 3;
    assert!(
        few.contains(&format!("verity_trace_devices_folded {folded}.0\n")),
        "{few}"
    );
    let devices: HashSet<_> = series(&few)
        .flat_map(labels)
        .filter_map(|(key, value)| (key == "device").then_some(value))
        .collect();
    assert_eq!(
        devices,
        ["device-0", "device-1", "device-2", "other"]
            .map(str::to_owned)
            .into()
    );
}

#[test]
fn no_device_is_taken_for_another_one() {
    let mut snapshot = common::scenario("seventy_devices").snapshot();
    snapshot.devices.truncate(4);
    let names = ["other", "\u{1b}", "\\u{1b}", "plain"];
    for (device, name) in snapshot.devices.iter_mut().zip(names) {
        name.clone_into(&mut device.name);
    }
    let text = openmetrics(&snapshot);
    assert!(text.contains("verity_trace_devices_folded 2.0\n"), "{text}");
    let infos = series(&text).filter(|it| it.starts_with("verity_trace_device_info"));
    let names: Vec<_> = infos.map(|line| labels(line)[0].1.clone()).collect();
    assert_eq!(names, ["\\\\u{1b}", "plain"]);
}

#[test]
fn what_is_unknown_has_no_series() {
    let text = openmetrics(&common::scenario("workqueues_alone").snapshot());
    for absent in [
        "verity_trace_io_total",
        "verity_trace_stage_seconds",
        "verity_trace_io_in_flight",
        "verity_trace_advice_info",
    ] {
        assert!(!text.contains(absent), "{absent}");
    }
    assert!(
        text.contains("verity_trace_queued_seconds_count{placement=\"bh\"}"),
        "{text}"
    );
    let text = openmetrics(&common::scenario("nothing_happened_yet").snapshot());
    assert!(
        text.contains("verity_trace_io_total{device=\"root\",placement=\"kverityd\"} 0\n"),
        "{text}"
    );
    assert!(!text.contains("verity_trace_io_oldest_seconds"), "{text}");
}

/// Others' readers are given every scenario, also those with names that try to command something.
#[test]
fn what_is_exposed_is_read_as_it_was_meant() {
    let advised = |snapshot: Snapshot| {
        let advices = recommend::advices(&snapshot, &Forecasts::new(), None);
        (snapshot, advices)
    };
    let scenarios = common::scenarios().into_iter();
    let mut all: BTreeMap<_, _> = scenarios
        .map(|(name, scenario)| (name, advised(scenario.snapshot())))
        .collect();
    let mut quoted = common::scenario("hostile_names").snapshot();
    "\"} 1\n# EOF\n\\u{1b}\\".clone_into(&mut quoted.devices[0].name);
    all.insert("quotes".to_owned(), advised(quoted));
    all.insert("everything".to_owned(), most());
    let folder = tempfile::tempdir().expect("a folder");
    for (name, (snapshot, advices)) in &all {
        let text = metrics::openmetrics(snapshot, advices, &Limits::default());
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let read = python::read("read_openmetrics.py", folder.path());
    for (name, (snapshot, advices)) in &all {
        let text = metrics::openmetrics(snapshot, advices, &Limits::default());
        agrees(name, &text, &read[name], snapshot);
        checked_by_promtool(&metrics::text(snapshot, advices, &Limits::default()));
    }
}

/// That what was read is what was written.
fn agrees(name: &str, text: &str, read: &Value, snapshot: &Snapshot) {
    let families = read.as_array().expect("families");
    let samples = families
        .iter()
        .flat_map(|it| it["samples"].as_array().expect("samples"));
    assert_eq!(samples.clone().count(), series(text).count(), "{name}");
    for family in families {
        let first = family["samples"][0]["name"].as_str().expect("a name");
        let metric = metric_of(first);
        let unit = metric.unit.unwrap_or_default();
        assert_eq!(family["kind"], metric.kind.name(), "{name}: {first}");
        assert_eq!(family["unit"], unit, "{name}: {first}");
        assert_eq!(family["help"], metric.help, "{name}: {first}");
    }
    let read: HashSet<_> = samples
        .filter(|it| it["name"] == "verity_trace_device_info")
        .map(|it| it["labels"]["device"].as_str().expect("a name"))
        .collect();
    let devices = snapshot.devices.iter().filter(|it| !it.counted_in_other);
    let names: Vec<_> = devices
        .take(Limits::default().devices)
        .map(|it| escape::terminal(&it.name))
        .collect();
    assert_eq!(read, names.iter().map(Cow::as_ref).collect(), "{name}");
}

/// Prometheus' own text format, as node_exporter reads it.
fn checked_by_promtool(text: &str) {
    let promtool =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/prometheus/bin/promtool");
    assert!(
        promtool.exists(),
        "{} is missing: run `cargo xtask setup`",
        promtool.display()
    );
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).expect("promtool reads");
    drop(input);
    let output = child.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    assert!(
        output.status.success() && said.concat().is_empty(),
        "{said:?}"
    );
}

/// Counters and histograms by metric and all labels but those that are folded.
fn sums(text: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for line in series(text) {
        let (name, value) = line.rsplit_once(' ').expect("a value");
        let metric = metric_of(name);
        let is_time =
            metric.unit == Some("seconds") && !line.contains("_bucket") && !line.contains("_count");
        if matches!(metric.kind, Kind::Counter | Kind::Histogram) && !is_time {
            let labels = labels(name)
                .into_iter()
                .filter(|(key, _)| !["device", "cpu"].contains(&key.as_str()));
            let key = format!(
                "{} {:?}",
                name.split('{').next().expect("a name"),
                labels.collect::<Vec<_>>()
            );
            *sums.entry(key).or_default() += value.parse::<u64>().expect("a count");
        }
    }
    assert!(sums.len() > 50, "{}", sums.len());
    sums
}

/// Everything that a machine of the newest era can have, on more devices and CPUs than have series of their own.
fn most() -> (Snapshot, Vec<Advice>) {
    let mut snapshot = common::scenario("inline_and_bh_with_large_on_kverityd").snapshot();
    let template = snapshot.devices[0].clone();
    snapshot.devices = (0..70)
        .map(|minor| {
            let mut device = template.clone();
            device.name = format!("device-{minor}");
            device.number = DeviceNumber { major: 253, minor };
            device.status = Some(Status {
                fec_corrected: Some(3),
                ..Status::parse("C").expect("a status")
            });
            device.totals = Some(totals());
            device.in_flight = Some(in_flight());
            device.in_flight_before_attach = Some(2);
            device
        })
        .collect();
    snapshot.other = Some(Other {
        totals: totals(),
        in_flight: in_flight(),
        first_failure: None,
    });
    snapshot.use_bh_bytes = Some(vec![8_192; 4]);
    snapshot.cpus = (0..300)
        .map(|number| Cpu {
            number,
            softirqs: Softirq::ALL.map(|it| (it, Duration::from_micros(7))).into(),
            softirq_verify: Some(Duration::from_micros(3)),
            queues: Some(CpuQueues {
                longest_verify: Some(Duration::from_micros(2)),
                ..CpuQueues::default()
            }),
            inline_verifications: Some(1),
            ..Cpu::default()
        })
        .collect();
    snapshot.cost = Some(cost());
    let mut advices = recommend::advices(&snapshot, &Forecasts::new(), None);
    for advice in &mut advices {
        advice.confidence.effect = Some(Effect {
            best: -0.5,
            worst: Some(0.25),
        });
    }
    (snapshot, advices)
}

fn totals() -> Totals {
    let reasons = |placement| -> &[Reason] {
        match placement {
            Placement::Kverityd => &[
                Reason::OptionOff,
                Reason::Inert,
                Reason::TooLarge,
                Reason::NeedResched,
                Reason::Unknown,
            ],
            Placement::Fallback => &[
                Reason::CacheMiss,
                Reason::Mismatch,
                Reason::NoMemory,
                Reason::Unknown,
            ],
            Placement::None => &[Reason::DeviceError, Reason::ReadaheadError, Reason::Unknown],
            _ => &[],
        }
    };
    let placements = [
        Placement::Kverityd,
        Placement::Bh,
        Placement::Inline,
        Placement::Fallback,
        Placement::None,
    ];
    let placements = placements.map(|placement| {
        let stages: &[Stage] = if placement == Placement::None {
            &[Stage::Device, Stage::Total]
        } else {
            &Stage::ALL
        };
        let took = Histogram::from_values([50, 5_000, 500_000, 50_000_000_000].map(Nanos));
        let totals = PlacementTotals {
            ios: 4,
            bytes: 16_384,
            failed: 1,
            reasons: reasons(placement).iter().map(|&it| (it, 1)).collect(),
            stages: stages.iter().map(|&it| (it, took.clone())).collect(),
            ..PlacementTotals::default()
        };
        (placement, totals)
    });
    Totals {
        placements: placements.into(),
        attempts: [(Placement::Bh, 2), (Placement::Inline, 2)].into(),
        rechecked: Some(1),
        fec: Some(1),
        hash_cache: Some(HashCache {
            hits: 5,
            ..HashCache::default()
        }),
        queue_wait: Some(QueueWait {
            ios: 1,
            behind: 1,
            behind_ns: 5,
            wake_up_ns: 5,
            unsplit: 0,
        }),
        ..Totals::default()
    }
}

fn in_flight() -> InFlight {
    let mut in_flight = InFlight::default();
    for stage in [Stage::Device, Stage::Wait, Stage::Verify] {
        in_flight.add(stage, Duration::from_secs(3));
    }
    in_flight
}

fn cost() -> Cost {
    let programs = [
        "verity_finish_io",
        "softirq_entry",
        "workqueue_queue_work",
        "hash_get",
    ];
    Cost {
        measured: Duration::from_secs(1),
        programs: programs
            .map(|name| ProgramRuns {
                name,
                attachment: Attachment::Fentry,
                runs: 10,
                run_ns: 1_000,
            })
            .into(),
        calibration: Calibration::default(),
        process: Duration::from_millis(5),
    }
}

fn openmetrics(snapshot: &Snapshot) -> String {
    let advices = recommend::advices(snapshot, &Forecasts::new(), None);
    metrics::openmetrics(snapshot, &advices, &Limits::default())
}

fn series(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

/// The metric of the catalogue that a line is of.
fn metric_of(line: &str) -> &'static metrics::Metric {
    let name = line.split(['{', ' ']).next().expect("a name");
    let found = CATALOGUE.iter().find(|metric| {
        let rest = name.strip_prefix(metric.name);
        let suffixes: &[&str] = match metric.kind {
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        rest.is_some_and(|rest| suffixes.contains(&rest))
    });
    found.unwrap_or_else(|| panic!("{name} is not in the catalogue"))
}

/// The labels of a line, as they are written.
fn labels(line: &str) -> Vec<(String, String)> {
    let Some((_, rest)) = line.split_once('{') else {
        return Vec::new();
    };
    let mut labels = Vec::new();
    let mut rest = rest;
    while let Some((key, after)) = rest.trim_start_matches(',').split_once("=\"") {
        let mut is_escaped = false;
        let end = after.find(|it| {
            let ends = it == '"' && !is_escaped;
            is_escaped = it == '\\' && !is_escaped;
            ends
        });
        let end = end.expect("a closing quote");
        labels.push((key.to_owned(), after[..end].to_owned()));
        rest = &after[end + 1..];
        if rest.starts_with('}') {
            break;
        }
    }
    labels
}
