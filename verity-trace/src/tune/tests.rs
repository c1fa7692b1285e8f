use super::*;
use crate::histogram::{Histogram, Nanos};
use crate::snapshot::Stage;
use crate::what_if::{Distribution, Forecast, Outcome};

const LIMITS: [u64; 4] = [8192, 8192, 8192, 0];

fn estimate(low: f64, value: f64, high: f64) -> Estimate {
    Estimate { value, low, high }
}

fn effects(relative: Option<Estimate>) -> Effects {
    Effects {
        pairs: 8,
        relative,
        ..Effects::default()
    }
}

#[test]
fn the_verdict_is_for_what_was_found() {
    let off = Settings::option(false, Some(LIMITS));
    let on = Settings::option(true, Some(LIMITS));
    let tried = Settings::limits(LIMITS, [0; 4]);
    let faster = estimate(-0.12, -0.1, -0.08);
    let slower = estimate(0.08, 0.1, 0.12);
    let cases = [
        (off, faster, Verdict::Enable),
        (off, slower, Verdict::Keep),
        (on, faster, Verdict::Keep),
        (on, slower, Verdict::Disable),
        (tried, faster, Verdict::Limit([0; 4])),
        (tried, slower, Verdict::Keep),
        // What is less than 2 % is nothing to change it for.
        (off, estimate(-0.019, -0.015, -0.011), Verdict::Keep),
        (off, estimate(-0.025, -0.015, -0.005), Verdict::Keep),
        (off, estimate(-0.01, 0.0, 0.01), Verdict::Keep),
        (off, estimate(-0.08, -0.03, 0.02), Verdict::NotEnoughData),
        (off, estimate(-0.05, 0.0, 0.05), Verdict::NotEnoughData),
    ];
    for (settings, change, expected) in cases {
        let (verdict, reason) = verdict(&settings, &effects(Some(change)));
        assert_eq!(verdict, expected, "{change:?}: {reason}");
    }
    let (verdict, reason) = verdict(&off, &effects(None));
    assert_eq!(verdict, Verdict::NotEnoughData);
    assert!(reason.contains("8 of at least 6"), "{reason}");
}

#[test]
fn kverityd_with_the_option_on_is_not_called_off() {
    let option = Settings::option(true, Some(LIMITS));
    assert_eq!([Side::A, Side::B].map(|it| option.name(it)), ["off", "on"]);
    let none = Settings::limits(LIMITS, tried(LIMITS, 0));
    assert_eq!(none.name(Side::A), "use_bh_bytes 8192,8192,8192,0");
    assert_eq!(none.name(Side::B), "kverityd with the no-sleep cache");
    let more = Settings::limits(LIMITS, tried(LIMITS, 65_536));
    assert_eq!(more.name(Side::B), "use_bh_bytes 65536,65536,65536,0");
    assert_eq!(tried([1, 2, 3, 4], 65_536), [65_536, 65_536, 65_536, 4]);
}

fn outcome(wait: f64, total: f64, change: f64, softirq: u64) -> Outcome {
    let distribution = |value: f64| Distribution {
        histogram: Histogram::default(),
        mean: estimate(value - 1.0, value, value + 1.0),
        median: estimate(value / 2.0 - 1.0, value / 2.0, value / 2.0 + 1.0),
    };
    Outcome {
        ios: 500,
        wait: distribution(wait),
        total: distribution(total),
        change: estimate(change - 10.0, change, change + 20.0),
        placements: [].into(),
        softirq: [(1, Nanos(softirq))].into(),
        longest_in_softirq: None,
        duration: Nanos(1_000),
    }
}

/// Whichever setting was found, a prediction is of A and B.
#[test]
fn a_prediction_is_from_a_to_b() {
    for (is_on, wait, total, change) in [
        (
            false,
            [100.0, 40.0],
            [1_000.0, 940.0],
            [-70.0, -60.0, -40.0],
        ),
        (true, [40.0, 100.0], [940.0, 1_000.0], [40.0, 60.0, 70.0]),
    ] {
        let settings = Settings::option(is_on, Some(LIMITS));
        let own = outcome(100.0, 1_000.0, 0.0, 10);
        let forecast = Forecast {
            measured: own.clone(),
            own,
            settings: vec![(
                settings.of(settings.found.other()),
                outcome(40.0, 940.0, -60.0, 250),
            )],
            unknown: Vec::new(),
        };
        let predicted = Predicted::of(&forecast, &settings).expect("a prediction");
        let found = predicted.change;
        let mean = |stage| predicted.stages[&stage].mean.map(|it| it.value).to_vec();
        let found = [
            mean(Stage::Wait),
            mean(Stage::Total),
            vec![found.low, found.value, found.high],
        ];
        assert_eq!(found, [wait.to_vec(), total.to_vec(), change.to_vec()]);
        let softirq = if is_on { [0.25, 0.01] } else { [0.01, 0.25] };
        assert_eq!(predicted.softirq, [(1, softirq)].into());
        let other = Settings::limits(LIMITS, [0; 4]);
        assert!(Predicted::of(&forecast, &other).is_err());
    }
}
