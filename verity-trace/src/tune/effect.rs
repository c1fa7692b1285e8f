//! What the setting changed: differences within pairs of blocks, and what they have in common.

use std::collections::BTreeMap;

use super::Side;
use super::block::{Block, Flaw};
use crate::compare::students;
use crate::snapshot::{Placement, Stage};
use crate::what_if::Estimate;

/// Fewer pairs say too little of how much pairs differ: with six the interval is 2.6 standard errors wide to each side,
/// with three 4.3.
pub const LEAST_PAIRS: usize = 6;

/// The stages in the order of an I/O's life, which add up to the last one.
const STAGES: [Stage; 6] = [
    Stage::Device,
    Stage::Wait,
    Stage::Attempt,
    Stage::RetryWait,
    Stage::Verify,
    Stage::Total,
];

/// A block under each of the two settings, one soon after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Of A and B.
    pub blocks: [Block; 2],
}

/// How long a stage takes under each setting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// The stage.
    pub stage: Stage,
    /// The mean over all I/Os in nanoseconds, those without the stage included: so the stages add up to `total`.
    pub means: [f64; 2],
    /// How much that of B is longer; absent with too few pairs.
    pub difference: Option<Estimate>,
    /// The mean over blocks of the median of those I/Os that have the stage; absent where a block has none.
    pub medians: Option<[f64; 2]>,
    /// The same of it.
    pub difference_of_medians: Option<Estimate>,
}

/// How much of a CPU's time softirqs take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Added {
    /// Its number.
    pub cpu: usize,
    /// Of all time, under each setting.
    pub softirq: [f64; 2],
    /// How much more of it B takes; absent with too few pairs.
    pub added: Option<Estimate>,
    /// That of verifications alone; absent where these are not seen.
    pub verification: Option<[f64; 2]>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Pairs from which something was concluded.
    pub pairs: usize,
    /// Pairs from which nothing was, by the reason.
    pub left_out: BTreeMap<Flaw, usize>,
    /// I/Os under each setting.
    pub ios: [u64; 2],
    /// Where these were verified.
    pub placements: [BTreeMap<Placement, u64>; 2],
    /// Those that failed.
    pub failed: [u64; 2],
    /// Each stage that happened.
    pub rows: Vec<Row>,
    /// The change of the mean `total` from A to B, as a part of it; absent with too few pairs.
    pub relative: Option<Estimate>,
    /// Each CPU.
    pub cpus: Vec<Added>,
}

impl Effects {
    /// Those of all pairs until now.
    #[must_use]
    pub fn of(pairs: &[Pair]) -> Self {
        let mut left_out = BTreeMap::new();
        let mut used = Vec::new();
        let mut failed = [0; 2];
        for pair in pairs {
            for (sum, block) in failed.iter_mut().zip(&pair.blocks) {
                *sum += block.failed;
            }
            match pair.blocks.iter().find_map(Block::flaw) {
                Some(flaw) => *left_out.entry(flaw).or_default() += 1,
                None => used.push(pair),
            }
        }
        let mut ios = [0; 2];
        let mut placements: [BTreeMap<Placement, u64>; 2] = Default::default();
        for pair in &used {
            for (at, block) in pair.blocks.iter().enumerate() {
                ios[at] += block.ios;
                for (&placement, &count) in &block.placements {
                    *placements[at].entry(placement).or_default() += count;
                }
            }
        }
        let total = Row::of(&used, Stage::Total);
        Self {
            pairs: used.len(),
            left_out,
            ios,
            placements,
            failed,
            rows: STAGES
                .into_iter()
                .filter_map(|it| Row::of(&used, it))
                .collect(),
            relative: total.and_then(|_| relative(&used)),
            cpus: cpus(&used),
        }
    }

    /// Whether the change of the mean `total` is known to within this part of it.
    #[must_use]
    pub fn is_known_to(&self, precision: f64) -> bool {
        self.relative
            .is_some_and(|it| (it.high - it.low) / 2.0 <= precision)
    }

    /// A stage.
    #[must_use]
    pub fn row(&self, stage: Stage) -> Option<&Row> {
        self.rows.iter().find(|row| row.stage == stage)
    }
}

impl Row {
    /// Absent where no I/O has the stage.
    fn of(pairs: &[&Pair], stage: Stage) -> Option<Self> {
        let happened = |block: &Block| block.stages.contains_key(&stage);
        if !pairs.iter().flat_map(|pair| &pair.blocks).any(happened) {
            return None;
        }
        let means: Vec<_> = pairs
            .iter()
            .map(|pair| pair.blocks.each_ref().map(|block| block.mean(stage)))
            .collect();
        let medians = pairs.iter().map(|pair| {
            let [a, b] = &pair.blocks;
            Some([a.median(stage)?, b.median(stage)?])
        });
        let medians: Option<Vec<_>> = medians.collect();
        Some(Self {
            stage,
            means: averages(&means),
            difference: interval(&differences(&means)),
            medians: medians.as_deref().map(averages),
            difference_of_medians: medians.and_then(|it| interval(&differences(&it))),
        })
    }
}

/// From the logarithms, so that a pair under a heavy load weighs as much as one under a light load.
fn relative(pairs: &[&Pair]) -> Option<Estimate> {
    let logarithms = pairs.iter().map(|pair| {
        let [a, b] = pair
            .blocks
            .each_ref()
            .map(|it| it.mean(Stage::Total).max(1.0));
        (b / a).ln()
    });
    let found = interval(&logarithms.collect::<Vec<_>>())?;
    Some(Estimate {
        value: found.value.exp_m1(),
        low: found.low.exp_m1(),
        high: found.high.exp_m1(),
    })
}

fn cpus(pairs: &[&Pair]) -> Vec<Added> {
    let mut numbers: Vec<usize> = pairs
        .iter()
        .flat_map(|pair| &pair.blocks)
        .flat_map(|block| block.cpus.keys().copied())
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    let added = |cpu: usize| {
        let of = |side: Side, pair: &Pair| pair.blocks[side as usize].cpus.get(&cpu).copied();
        // One that was not there the whole time is left out.
        let both = pairs
            .iter()
            .map(|pair| Some([of(Side::A, pair)?, of(Side::B, pair)?]));
        let both: Vec<_> = both.collect::<Option<_>>()?;
        let softirq: Vec<_> = both.iter().map(|it| it.map(|cpu| cpu.softirq)).collect();
        let verification = both
            .iter()
            .map(|[a, b]| Some([a.verification?, b.verification?]));
        let verification: Option<Vec<_>> = verification.collect();
        Some(Added {
            cpu,
            softirq: averages(&softirq),
            added: interval(&differences(&softirq)),
            verification: verification.as_deref().map(averages),
        })
    };
    numbers.into_iter().filter_map(added).collect()
}

fn averages(pairs: &[[f64; 2]]) -> [f64; 2] {
    let count = pairs.len().max(1) as f64;
    [0, 1].map(|at| pairs.iter().map(|pair| pair[at]).sum::<f64>() / count)
}

fn differences(pairs: &[[f64; 2]]) -> Vec<f64> {
    pairs.iter().map(|[a, b]| b - a).collect()
}

/// The mean with the interval that holds it in 95 of 100 cases, by Student's t; absent with too few.
fn interval(values: &[f64]) -> Option<Estimate> {
    if values.len() < LEAST_PAIRS {
        return None;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let error = (squares / (count - 1.0) / count).sqrt();
    let half = students(0.975, count - 1.0) * error;
    Some(Estimate {
        value: mean,
        low: mean - half,
        high: mean + half,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{Histogram, Nanos};
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand_pcg::Pcg64Mcg;

    /// A block of so many I/Os that all waited and took so long.
    fn block(ios: u64, wait: u64, total: u64) -> Block {
        let all = |ns: u64| Histogram::from_values((0..ios).map(|_| Nanos(ns)));
        Block {
            ios,
            stages: [(Stage::Wait, all(wait)), (Stage::Total, all(total))].into(),
            placements: [(Placement::Kverityd, ios)].into(),
            cpus: [(
                0,
                super::super::Cpu {
                    softirq: 0.1,
                    verification: Some(total as f64 / 1e6),
                },
            )]
            .into(),
            ..Block::default()
        }
    }

    fn pair(a: u64, b: u64) -> Pair {
        Pair {
            blocks: [block(100, a / 2, a), block(100, b / 2, b)],
        }
    }

    fn assert_near(found: [f64; 2], expected: [f64; 2]) {
        let pairs = found.iter().zip(&expected);
        let is_near = pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(is_near, "{found:?} and not {expected:?}");
    }

    #[test]
    fn pairs_that_agree_have_a_narrow_interval() {
        let pairs = vec![pair(10_000, 8_000); LEAST_PAIRS];
        let effects = Effects::of(&pairs);
        let total = effects.row(Stage::Total).expect("it happened");
        assert_near(total.means, [10_000.0, 8_000.0]);
        let difference = total.difference.expect("enough pairs");
        assert_near([difference.low, difference.high], [-2_000.0; 2]);
        let relative = effects.relative.expect("enough pairs");
        assert!((relative.value + 0.2).abs() < 1e-9, "{relative:?}");
        assert!(effects.is_known_to(1e-6));
        assert!(effects.row(Stage::Attempt).is_none(), "it never happened");
        let cpu = effects.cpus[0];
        assert_near(cpu.verification.expect("it was seen"), [0.01, 0.008]);
        let added = cpu.added.expect("enough pairs");
        assert_near([added.low, added.high], [0.0; 2]);
    }

    #[test]
    fn too_few_pairs_have_no_interval() {
        let effects = Effects::of(&vec![pair(10_000, 8_000); LEAST_PAIRS - 1]);
        assert_eq!(effects.relative, None);
        assert!(!effects.is_known_to(1.0));
        assert_eq!(Effects::of(&[]).rows, []);
    }

    #[test]
    fn a_pair_with_a_flaw_is_left_out_and_counted() {
        let mut pairs = vec![pair(10_000, 8_000); LEAST_PAIRS];
        pairs[0].blocks[1] = block(3, 1, 1_000_000);
        let mut lossy = pair(10_000, 90_000);
        lossy.blocks[0].loss = 0.02;
        lossy.blocks[0].failed = 4;
        pairs.push(lossy);
        pairs.push(pair(10_000, 8_000));
        let effects = Effects::of(&pairs);
        assert_eq!(effects.pairs, LEAST_PAIRS);
        let expected = [(Flaw::FewIos, 1), (Flaw::Loss, 1)];
        assert_eq!(effects.left_out, expected.into());
        assert_eq!(effects.failed, [4, 0], "nobody may overlook it");
        let total = effects.row(Stage::Total).expect("it happened");
        assert_near(total.means, [10_000.0, 8_000.0]);
    }

    /// A load that gets slower all the time, and a setting that saves a tenth.
    #[test]
    fn what_changes_slowly_is_in_both() {
        let pairs: Vec<_> = (0..20)
            .map(|at| pair(10_000 + 1_000 * at, 9_000 + 900 * at))
            .collect();
        let relative = Effects::of(&pairs).relative.expect("enough pairs");
        assert!((relative.value + 0.1).abs() < 1e-4, "{relative:?}");
        assert!(relative.high < -0.099, "{relative:?}");
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "durations"
    )]
    /// Stopping when the interval is narrow enough keeps most of what it promises.
    #[test]
    fn the_interval_holds_the_truth_as_often_as_it_says() {
        let mut random = Pcg64Mcg::seed_from_u64(7);
        let mut noise = || (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        let (mut held, runs) = (0, 400);
        for _ in 0..runs {
            let mut pairs = Vec::new();
            let effects = loop {
                let slow = 100_000.0 * (1.0 + 0.1 * noise());
                let one = |off: f64, noise: f64| (slow * off * (1.0 + 0.03 * noise)) as u64;
                let (a, b) = (one(1.0, noise()), one(0.95, noise()));
                pairs.push(pair(a, b));
                let effects = Effects::of(&pairs);
                if pairs.len() == 20 || effects.is_known_to(0.02) {
                    break effects;
                }
            };
            let relative = effects.relative.expect("enough pairs");
            held += u32::from(relative.low <= -0.05 && -0.05 <= relative.high);
        }
        assert!(held * 100 >= runs * 88, "{held} of {runs}");
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_value(values in prop::collection::vec(-1e6f64..1e6, LEAST_PAIRS..40)) {
            let found = interval(&values).expect("enough");
            prop_assert!(found.low <= found.value && found.value <= found.high);
        }

        /// The stages of an I/O add up, and so do the differences of their means.
        #[test]
        fn exchanged_settings_have_the_opposite_difference(
            values in prop::collection::vec((1_000u64..1_000_000, 1_000u64..1_000_000), LEAST_PAIRS..20),
        ) {
            let pairs: Vec<_> = values.iter().map(|&(a, b)| pair(a, b)).collect();
            let exchanged: Vec<_> = values.iter().map(|&(a, b)| pair(b, a)).collect();
            let of = |pairs: &[Pair]| Effects::of(pairs).row(Stage::Total).and_then(|it| it.difference);
            let (one, other) = (of(&pairs).expect("enough"), of(&exchanged).expect("enough"));
            prop_assert!((one.value + other.value).abs() < 1e-3);
            prop_assert!((one.low + other.high).abs() < 1e-3);
        }
    }
}
