//! What `tune` prints, from made-up blocks, and that what it prints to be typed is a script.

mod common;
mod valid;

use std::process::Command;
use std::time::Duration;

use verity_trace::aggregate::relate_to_start;
use verity_trace::dm::Line;
use verity_trace::histogram::{Histogram, Nanos};
use verity_trace::recommend::Verdict;
use verity_trace::snapshot::{Era, Kernel, Loss, Placement, Stage};
use verity_trace::tune::{
    Block, Cpu, Effects, Ended, Flaw, Left, Load, Pair, Predicted, Report, Settings, Tables, Times,
    json, steps, text, verdict,
};
use verity_trace::what_if::Estimate;

const LIMITS: [u64; 4] = [8192, 8192, 8192, 0];

fn estimate(low: f64, value: f64, high: f64) -> Estimate {
    Estimate { value, low, high }
}

/// What was verified is in it, whatever there was.
#[test]
fn a_block_has_all_that_was_verified() {
    for (name, scenario) in common::scenarios() {
        let mut end = scenario.snapshot();
        let start = end.clone();
        relate_to_start(&mut end);
        for device in &end.devices {
            let block = Block::of(&start, &end, device.number);
            let totals = device.totals.as_ref();
            assert_eq!(
                block.is_some(),
                totals.is_some(),
                "{name}: {}",
                scenario.description
            );
            let (Some(block), Some(totals)) = (block, totals) else {
                continue;
            };
            let none = totals
                .placements
                .get(&Placement::None)
                .map_or(0, |it| it.ios);
            assert_eq!(block.ios, totals.ios() - none, "{name}");
            assert_eq!(block.failed, totals.failed(), "{name}");
        }
    }
}

/// The stages add up, and what was lost on the machine counts as this device's.
#[test]
fn a_block_is_what_happened_between_two_snapshots() {
    let mut end = common::scenario("bh_always_with_fallbacks").snapshot();
    let mut start = end.clone();
    start.loss.clear();
    relate_to_start(&mut end);
    let device = &end.devices[0];
    let totals = device.totals.clone().expect("totals");
    let block = Block::of(&start, &end, device.number).expect("a block");
    let none = totals
        .placements
        .get(&Placement::None)
        .map_or(0, |it| it.ios);
    assert_eq!(block.ios, totals.ios() - none);
    let stages: f64 = [
        Stage::Device,
        Stage::Wait,
        Stage::Attempt,
        Stage::RetryWait,
        Stage::Verify,
    ]
    .map(|stage| block.mean(stage))
    .into_iter()
    .sum();
    let total = block.mean(Stage::Total);
    assert!(
        (stages - total).abs() <= total / 100.0,
        "{stages} of {total}"
    );
    assert_eq!(block.cpus.len(), end.cpus.len());
    end.loss.insert(Loss::Recursion, block.ios);
    let lossy = Block::of(&start, &end, device.number).expect("a block");
    assert_eq!(lossy.flaw(), Some(Flaw::Loss));
    end.loss.insert(Loss::Recursion, 0);
    end.loss.insert(Loss::RingFull, block.ios);
    let counted = Block::of(&start, &end, device.number).expect("a block");
    assert_eq!(
        counted.flaw(),
        block.flaw(),
        "what a full ring lost is in all counts"
    );
    assert_eq!(
        Block::of(&start, &end, "1:1".parse().expect("a number")),
        None
    );
}

fn block(wait: u64, softirq: f64) -> Block {
    let all = |ns: u64| Histogram::from_values((0..100).map(|at| Nanos(ns + at)));
    Block {
        ios: 100,
        stages: [
            (Stage::Device, all(100_000)),
            (Stage::Wait, all(wait)),
            (Stage::Verify, all(20_000)),
            (Stage::Total, all(120_000 + wait)),
        ]
        .into(),
        placements: [(Placement::Kverityd, 60), (Placement::Bh, 40)].into(),
        cpus: (0..2)
            .map(|cpu| {
                let verification = Some(softirq / 2.0);
                (
                    cpu,
                    Cpu {
                        softirq,
                        verification,
                    },
                )
            })
            .collect(),
        ..Block::default()
    }
}

fn report() -> Report {
    let pairs: Vec<_> = (0..8)
        .map(|at| Pair {
            blocks: [
                block(50_000 + at * 100, 0.01),
                block(10_000 + at * 70, 0.02 + at as f64 * 1e-4),
            ],
        })
        .collect();
    let settings = Settings::option(false, Some(LIMITS));
    let effects = Effects::of(&pairs);
    let (verdict, reason) = verdict(&settings, &effects);
    Report {
        kernel: Kernel {
            release: "7.3.4".to_owned(),
            host: "lab".to_owned(),
            cpus: 2,
            era: Some(Era::Inline),
        },
        name: "usr\u{1b}[2J".to_owned(),
        number: "253:0".parse().expect("a number"),
        settings,
        seed: 1,
        times: Times::of(Duration::from_mins(2)),
        took: Duration::from_secs(51),
        load: None,
        effects,
        prediction: Ok(Predicted {
            ios: 4_000,
            wait: [
                estimate(49_000.0, 50_000.0, 51_000.0),
                estimate(9_000.0, 11_000.0, 13_000.0),
            ],
            median_wait: [
                estimate(40_000.0, 41_000.0, 42_000.0),
                estimate(8_000.0, 9_000.0, 9_500.0),
            ],
            total: [
                estimate(169_000.0, 170_000.0, 171_000.0),
                estimate(128_000.0, 131_000.0, 134_000.0),
            ],
            change: estimate(-42_000.0, -39_000.0, -36_000.0),
        }),
        verdict,
        reason,
        ended: Ended::Precise,
        left: Left::AsFound,
        remarks: vec!["each block began with a new table".to_owned()],
    }
}

fn page(report: &Report) -> String {
    let mut out = Vec::new();
    text(report, &mut out).expect("written");
    String::from_utf8(out).expect("text")
}

#[test]
fn pages() {
    let measured = report();
    insta::assert_snapshot!("tune", page(&measured));
    let stopped = Report {
        effects: Effects::default(),
        prediction: Err(
            "there are 3 I/Os that were seen whole; at least 100 are needed".to_owned(),
        ),
        verdict: Verdict::NotEnoughData,
        reason: "0 of at least 6 pairs of blocks could be used".to_owned(),
        load: Some(Load {
            bytes: 4096,
            depth: 4,
        }),
        ended: Ended::Stopped("somebody else changed its table".to_owned()),
        left: Left::NotPutBack {
            why: "its status is corruption".to_owned(),
            command: "dmsetup reload usr --readonly --table '0 8 verity 1' && dmsetup resume usr"
                .to_owned(),
        },
        ..report()
    };
    insta::assert_snapshot!("tune_stopped", page(&stopped));
    for report in [&measured, &stopped] {
        document(report);
    }
    for page in [page(&measured), page(&stopped)] {
        assert!(!page.contains('\u{1b}'), "{page}");
        for line in page.lines().filter(|it| !it.contains("dmsetup")) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn the_document_says_what_the_page_says() {
    let document = document(&report());
    assert_eq!(document["verdict"], "enable");
    assert_eq!(document["found"], "a");
    assert_eq!(document["a"]["name"], "off");
    assert_eq!(document["b"]["ios"], 800);
    assert_eq!(document["pairs"], 8);
    assert_eq!(document["left"], "as-found");
    let stages = document["stages"].as_object().expect("stages");
    let names: Vec<_> = stages.keys().map(String::as_str).collect();
    assert_eq!(names, ["device", "total", "verify", "wait"]);
    let sum: f64 = ["device", "wait", "verify"]
        .map(|stage| stages[stage]["mean_ns"][0].as_f64().expect("a mean"))
        .into_iter()
        .sum();
    let total = stages["total"]["mean_ns"][0].as_f64().expect("a mean");
    assert!((sum - total).abs() < 200.0, "{sum} of {total}");
    assert!(document["prediction"]["p50_wait_ns"][1]["value"].is_number());
}

#[test]
fn every_step_can_be_typed() {
    let lines = ["1 8:1 8:2 - 0", "1 8:1 8:2 - 1 it's"].map(|it| Line {
        sectors: 8,
        parameters: it.to_owned(),
    });
    let times = Times::of(Duration::from_secs(5));
    let number = "253:0".parse().expect("a number");
    let script = |name: &str, settings: &Settings, tables: &Tables<'_>| {
        let mut out = Vec::new();
        steps((name, number), settings, tables, times, 1, &mut out).expect("a script");
        String::from_utf8(out).expect("text")
    };
    let option = Settings::option(false, None);
    let [a, b] = &lines;
    let table = script("a b", &option, &Tables::Lines([a, b]));
    assert!(
        table.contains("dmsetup reload /dev/dm-0 --readonly"),
        "{table}"
    );
    let limits = Settings::limits(LIMITS, [0; 4]);
    let limits = script("usr", &limits, &Tables::Limits([LIMITS, [0; 4]]));
    for text in [&table, &limits] {
        let steps: Vec<_> = text
            .lines()
            .filter(|it| it.starts_with("switch \""))
            .collect();
        let pairs = usize::try_from(times.pairs).expect("few");
        assert!(steps.len() >= 2 * pairs, "{text}");
        // Each begins with what the one before it left, and the last one leaves what was found.
        let mut now = "$a";
        for step in steps {
            let mut words = step.split('"');
            assert_eq!(words.nth(1), Some(now), "{step}");
            now = words.nth(1).expect("a table");
        }
        assert_eq!(now, "$a", "{text}");
        let mut shell = Command::new("sh");
        let checked = shell.args(["-n", "-c", text]).status().expect("a shell");
        assert!(checked.success(), "{text}");
    }
}

fn document(report: &Report) -> serde_json::Value {
    let mut out = Vec::new();
    json(report, &mut out).expect("written to memory");
    valid::written("tune", &String::from_utf8(out).expect("text"))
}
