//! The statistics against made-up processes of which the truth is known.

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_pcg::Pcg64Mcg;

use super::bootstrap::{Estimate, estimates};
use super::shift::judge;
use super::timeline::{Series, together};
use super::*;

/// Seconds, I/Os a second, and how long a slow moment lasts, in seconds.
const PROCESS: (f64, f64, f64) = (80.0, 75.0, 0.2);
const INTERVALS: usize = 100;
/// Draws: few, for the sake of time.
const FEW: usize = 60;

/// The I/Os of a machine that has slow moments: the logarithm of their latency is a process of which each
/// value hangs on the one before, and noise.
fn made_up(random: &mut Pcg64Mcg, scale: f64) -> Series {
    made_up_of(random, scale, PROCESS.2)
}

/// The same with slow moments of another length.
fn made_up_of(random: &mut Pcg64Mcg, scale: f64, moment: f64) -> Series {
    let (seconds, rate, _) = PROCESS;
    let keeps = (-1.0 / (rate * moment)).exp();
    let mut level = normal(random);
    let mut at = 0.0;
    let mut series = vec![Histogram::default(); INTERVALS];
    while at < seconds {
        level = keeps * level + (1.0 - keeps * keeps).sqrt() * normal(random);
        let ns = scale * 1e6 * (0.3 * level + 0.3 * normal(random)).exp();
        let interval = at / seconds * INTERVALS as f64;
        series[whole(interval).min(INTERVALS - 1)].add(Nanos(whole(ns) as u64));
        at += (0.5 + random.random::<f64>()) / rate;
    }
    series
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "neither negative nor large"
)]
fn whole(value: f64) -> usize {
    value as usize
}

/// Box and Muller.
fn normal(random: &mut Pcg64Mcg) -> f64 {
    let radius = (-2.0 * random.random::<f64>().max(1e-12).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}

fn compared(a: &Series, b: &Series, draws: usize) -> Row {
    judged(
        [a, b].map(|it| estimates(it, 1, draws).expect("I/Os")),
        [a, b],
    )
}

/// The same as if every interval were independent.
fn trusting(a: &Series, b: &Series, draws: usize) -> Row {
    let estimates = [a, b].map(|it| {
        let estimates = estimates(it, 1, draws).expect("I/Os");
        estimates.map(|estimate| Estimate {
            independent: f64::INFINITY,
            ..estimate
        })
    });
    judged(estimates, [a, b])
}

fn judged([left, right]: [[Estimate; 3]; 2], [a, b]: [&Series; 2]) -> Row {
    let histograms = [a, b].map(|it| together(it));
    let shown = histograms.each_ref().map(shown);
    let mut shifts = [0, 1, 2].map(|at| {
        let shown = shown.map(|values| values[at]);
        Shift::new(Statistic::ALL[at], [left[at], right[at]], shown)
    });
    judge(shifts.iter_mut().collect(), WRONG / 2.0);
    Row {
        placement: None,
        stage: Stage::Total,
        histograms,
        shifts: Ok(shifts),
    }
}

fn verdicts(row: &Row) -> Vec<Verdict> {
    row.shifts
        .iter()
        .flatten()
        .map(|shift| shift.verdict)
        .collect()
}

#[test]
fn two_runs_of_the_same_are_rarely_called_different() {
    let runs = 100;
    let (mut wrong, mut naive) = (0, 0);
    for seed in 0..runs {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let [a, b] = [1.0, 1.0].map(|scale| made_up(&mut random, scale));
        let row = compared(&a, &b, FEW);
        wrong += u64::from(row.verdict() != Verdict::NoDifference);
        // What follows from taking the I/Os for independent.
        let error = |series: &Series| {
            0.3 * 2.0_f64.sqrt() * 1.25 / (together(series).count() as f64).sqrt()
        };
        let shift = row.shifts.expect("shifts")[0];
        let least = 1.96 * error(&a).hypot(error(&b));
        naive += u64::from(shift.logarithm.abs() > least);
    }
    assert!(wrong * 100 <= runs * 7, "{wrong} of {runs}");
    assert!(
        naive * 100 > runs * 30,
        "{naive} of {runs}: the process is no challenge"
    );
}

/// Of slow moments that last a tenth and a fifth of the recording there are too few to tell how much they vary.
#[test]
fn long_moments_are_named_and_make_no_difference() {
    let runs = 40;
    for moment in [8.0, 16.0] {
        let (mut wrong, mut trusted) = (0, 0);
        for seed in 0..runs {
            let mut random = Pcg64Mcg::seed_from_u64(3_000 + seed);
            let [a, b] = [1.0, 1.0].map(|scale| made_up_of(&mut random, scale, moment));
            let is_wrong = |row: &Row| u64::from(row.verdict() != Verdict::NoDifference);
            trusted += is_wrong(&trusting(&a, &b, FEW));
            let row = compared(&a, &b, FEW);
            wrong += is_wrong(&row);
            if row.shifts.iter().flatten().any(Shift::is_dependent) {
                assert!(row.reason().contains("too few independent intervals"));
            }
        }
        assert!(trusted * 100 > runs * 12, "{moment}: {trusted} of {runs}");
        assert!(wrong * 100 <= runs * 8, "{moment}: {wrong} of {runs}");
    }
}

/// Three pauses in one recording and none in the other may be chance, however long they are.
#[test]
fn a_few_pauses_prove_nothing_of_the_mean() {
    let mut random = Pcg64Mcg::seed_from_u64(4_000);
    let a = made_up(&mut random, 1.0);
    let mut b = a.clone();
    for at in [17, 40, 83] {
        for _ in 0..30 {
            b[at].add(Nanos(2_000_000_000));
        }
    }
    assert_eq!(trusting(&a, &b, FEW).verdict(), Verdict::Slower);
    let row = compared(&a, &b, FEW);
    assert_eq!(verdicts(&row), [Verdict::NoDifference; 3]);
    let reason = row.reason();
    let expected = "too few independent intervals of time (mean 3, p99 3; it takes 10)";
    assert!(reason.contains(expected), "{reason}");
}

/// Nearly all I/Os are in two moments, and however the machine was just then, all of the recording is.
#[test]
fn two_bursts_in_a_long_calm_are_two_intervals() {
    let bursts = |ns: u64| {
        let few = [950_000, 1_000_000, 1_050_000].map(Nanos);
        let mut series = vec![Histogram::from_values(few); INTERVALS];
        for at in [10, 70] {
            for number in 0..5_000 {
                series[at].add(Nanos(ns + 10 * number));
            }
        }
        series
    };
    let (a, b) = (bursts(780_000), bursts(1_200_000));
    assert_eq!(trusting(&a, &b, FEW).verdict(), Verdict::Slower);
    let row = compared(&a, &b, FEW);
    assert_eq!(row.verdict(), Verdict::NoDifference);
    let reason = row.reason();
    let expected = "too few independent intervals of time (p50 2, mean 2, p99 2; it takes 10)";
    assert!(reason.starts_with(expected), "{reason}");
}

#[test]
fn a_shift_of_a_fifth_is_found() {
    let runs = 30;
    let mut found = 0;
    for seed in 0..runs {
        let mut random = Pcg64Mcg::seed_from_u64(1_000 + seed);
        let [a, b] = [1.0, 1.2].map(|scale| made_up(&mut random, scale));
        found += u64::from(compared(&a, &b, FEW).verdict() == Verdict::Slower);
    }
    assert!(found * 10 >= runs * 9, "{found} of {runs}");
}

#[test]
fn many_comparisons_do_not_make_a_difference_out_of_chance() {
    let runs = 8;
    let mut wrong = 0;
    for seed in 0..runs {
        let mut random = Pcg64Mcg::seed_from_u64(2_000 + seed);
        let mut all = Vec::new();
        for _ in 0..12 {
            let [a, b] = [1.0, 1.0].map(|scale| made_up(&mut random, scale));
            all.extend(compared(&a, &b, FEW).shifts.expect("shifts"));
        }
        for shift in &mut all {
            shift.verdict = Verdict::NoDifference;
        }
        judge(all.iter_mut().collect(), WRONG / 2.0);
        let named = |it: &Shift| it.verdict != Verdict::NoDifference;
        wrong += u64::from(all.iter().any(named));
    }
    assert!(wrong <= 1, "{wrong} of {runs}");
}

#[test]
fn a_shift_below_the_resolution_is_none_however_sure_it_is() {
    // All I/Os alike, on either side of the edge of a slot; and two slots apart.
    for (a, b, expected) in [
        (1_048_575, 1_048_577, Verdict::NoDifference),
        (1_000_000, 1_020_000, Verdict::NoDifference),
        (1_000_000, 1_200_000, Verdict::Slower),
        (1_200_000, 1_000_000, Verdict::Faster),
    ] {
        let [a, b] = [a, b].map(|ns| {
            let interval = Histogram::from_values([Nanos(ns); 50]);
            vec![interval; 40]
        });
        let row = compared(&a, &b, FEW);
        assert_eq!(row.verdict(), expected);
        if expected == Verdict::NoDifference {
            let reason = row.reason();
            assert!(
                reason.contains("is below the resolution of 1/16"),
                "{reason}"
            );
        }
    }
}

#[test]
fn a_small_shift_that_is_sure_is_not_said_to_come_by_chance() {
    let [a, b] = [1_000_000, 1_020_000].map(|ns| {
        let interval = Histogram::from_values([Nanos(ns); 50]);
        vec![interval; 40]
    });
    let mut row = compared(&a, &b, FEW);
    let [median, mean, p99] = row.shifts.as_mut().expect("shifts");
    assert!(median.is_sure && mean.is_sure && p99.is_sure);
    (p99.is_sure, p99.is_resolved) = (false, true);
    let reason = row.reason();
    assert!(
        reason.starts_with("what does not come by chance"),
        "{reason}"
    );
    for shift in row.shifts.iter_mut().flatten() {
        shift.is_sure = false;
    }
    assert_eq!(row.reason(), "such shifts also come by chance");
    row.shifts.as_mut().expect("shifts")[1].range = None;
    let reason = row.reason();
    assert!(
        reason.starts_with(
            "such shifts also come by chance; too few independent intervals of time (mean 40;"
        ),
        "{reason}"
    );
}

#[test]
fn few_intervals_and_few_ios_have_no_spread() {
    let interval = Histogram::from_values([1_000, 2_000, 3_000].map(Nanos));
    let spreads = |intervals: usize| {
        let series = vec![interval.clone(); intervals];
        let found = estimates(&series, 1, FEW).expect("I/Os");
        found.map(|it| it.spread.is_some())
    };
    assert_eq!(spreads(LEAST_INTERVALS - 1), [false; 3]);
    assert_eq!(spreads(33), [false; 3]);
    assert_eq!(spreads(34), [true, true, false]);
    assert_eq!(spreads(334), [true; 3]);
    assert_eq!(estimates(&[], 1, FEW), None);
}

fn series() -> impl Strategy<Value = Series> {
    let interval = prop::collection::vec(500u64..1 << 34, 0..12);
    prop::collection::vec(interval, 25..60).prop_map(|intervals| {
        let intervals = intervals.into_iter();
        intervals
            .map(|values| Histogram::from_values(values.into_iter().map(Nanos)))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_recording_does_not_differ_from_itself(a in series()) {
        prop_assume!(a.iter().any(|it| it.count() > 0));
        let row = compared(&a, &a, 30);
        prop_assert_eq!(verdicts(&row), [Verdict::NoDifference; 3]);
    }

    #[test]
    fn exchanging_the_two_mirrors_everything(a in series(), b in series(), times in 1u64..6) {
        let b: Series = b
            .iter()
            .map(|it| Histogram::from_values(it.buckets().flat_map(|bucket| {
                let value = Nanos(bucket.lower.0.saturating_mul(times));
                std::iter::repeat_n(value, usize::try_from(bucket.count).unwrap_or(0))
            })))
            .collect();
        prop_assume!([&a, &b].iter().all(|it| it.iter().any(|it| it.count() > 0)));
        let (one, other) = (compared(&a, &b, 30), compared(&b, &a, 30));
        let mirrored: Vec<_> = verdicts(&other).into_iter().map(Verdict::mirrored).collect();
        prop_assert_eq!(verdicts(&one), mirrored);
        // Where they contradict each other, either is slower.
        let is_mixed = [Verdict::Slower, Verdict::Faster]
            .iter()
            .all(|verdict| verdicts(&one).contains(verdict));
        let expected = if is_mixed { Verdict::Slower } else { other.verdict().mirrored() };
        prop_assert_eq!(one.verdict(), expected);
        for (one, other) in one.shifts.iter().flatten().zip(other.shifts.iter().flatten()) {
            prop_assert!((one.logarithm + other.logarithm).abs() < 1e-9);
        }
    }
}
