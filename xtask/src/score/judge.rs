//! Whether what was foretold from the recording of one setting is what was measured under the other.

use super::documents::{Foretold, Measured};

/// From this change of the mean `total` on, one setting is better: below, `keep` is right.
const MATTERS: f64 = 0.02;
/// How far the median of `wait` may be off: as a share of what was measured, or in instructions, whichever is more.
const WAIT_SHARE: f64 = 0.25;
const WAIT_LEAST: f64 = 2_000.0;
/// What has to hold: verdicts that are right, and medians of `wait` that are near enough, as shares of all.
const VERDICTS: f64 = 0.9;
const WAITS: f64 = 0.8;

/// A case in one direction.
#[derive(Clone, Debug)]
pub struct Direction {
    pub case: String,
    /// Whether the kernel heeds the option.
    pub is_effective: bool,
    /// Whether the recording that is known has the option on.
    pub from_on: bool,
    /// What was measured: what is foretold is so from the first, and the second is the same load with other random numbers.
    pub pairs: [Pair; 2],
    pub foretold: Foretold,
}

/// What was measured of a load under both settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Under the setting that is known.
    pub own: Measured,
    pub other: Measured,
    /// The option on with the limits that are advised; absent where none are, or others were measured.
    pub limited: Option<Measured>,
}

impl Pair {
    /// How the mean `total` changes under the other setting, as a share.
    pub fn change(&self) -> f64 {
        change(&self.own, &self.other)
    }

    /// The same under the limits that are advised.
    pub fn change_limited(&self) -> Option<f64> {
        self.limited.map(|it| change(&self.own, &it))
    }
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What the verdict had to be of the option; absent where it would be another one the second time.
    pub expected: Option<&'static str>,
    /// Absent where nobody knows, since it would be otherwise the second time.
    pub verdict_is_right: Option<bool>,
    /// Absent where the kernel has one setting alone.
    pub wait_is_near: Option<bool>,
    /// A verdict that is wrong, and called certain or likely.
    pub misleads: bool,
}

impl Direction {
    /// How far off the median of `wait` is that was foretold; absent where none was.
    pub fn wait_off(&self) -> Option<f64> {
        Some(self.foretold.wait? - self.pairs[0].other.wait)
    }

    pub fn judge(&self) -> Judgement {
        let [expected, again] = self.pairs.map(|it| self.expected(&it));
        let expected = (expected == again).then_some(expected);
        let verdict = self.foretold.verdict.as_str();
        let verdict_is_right = match verdict {
            "limit" => self.both(|it| {
                it.change_limited().is_some_and(|it| it <= -MATTERS)
                    && it
                        .limited
                        .is_some_and(|limited| limited.total <= it.other.total * (1.0 + MATTERS))
            }),
            // For the sake of others, whatever it costs here.
            "disable" if self.foretold.effect == [None; 2] => {
                self.both(|it| it.own.softirq > it.other.softirq)
            }
            verdict => expected.map(|expected| verdict == expected),
        };
        let is_confident = ["certain", "likely"].contains(&self.foretold.certainty.as_str());
        let wait = self.pairs[0].other.wait;
        let allowed = WAIT_LEAST.max(WAIT_SHARE * wait);
        let is_near = self.wait_off().is_some_and(|off| off.abs() <= allowed);
        Judgement {
            expected,
            verdict_is_right,
            wait_is_near: self.is_effective.then_some(is_near),
            misleads: is_confident && verdict_is_right == Some(false),
        }
    }

    /// Whether something holds; absent where it does once and not again.
    fn both(&self, holds: impl Fn(&Pair) -> bool) -> Option<bool> {
        let [first, again] = [0, 1].map(|at| holds(&self.pairs[at]));
        (first == again).then_some(first)
    }

    fn expected(&self, pair: &Pair) -> &'static str {
        match self.from_on {
            _ if !self.is_effective => "not-effective",
            _ if pair.change() > -MATTERS => "keep",
            true => "disable",
            false => "enable",
        }
    }
}

/// How the mean `total` changes from one to the other, as a share.
fn change(from: &Measured, to: &Measured) -> f64 {
    to.total / from.total.max(1.0) - 1.0
}

/// How all of them went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Those of which it is known whether the verdict is right.
    pub directions: usize,
    pub verdicts: usize,
    pub with_waits: usize,
    pub waits: usize,
    pub misleading: usize,
}

impl Score {
    pub fn of(judgements: impl Iterator<Item = Judgement>) -> Self {
        judgements.fold(Self::default(), |score, it| Self {
            directions: score.directions + usize::from(it.verdict_is_right.is_some()),
            verdicts: score.verdicts + usize::from(it.verdict_is_right == Some(true)),
            with_waits: score.with_waits + usize::from(it.wait_is_near.is_some()),
            waits: score.waits + usize::from(it.wait_is_near == Some(true)),
            misleading: score.misleading + usize::from(it.misleads),
        })
    }

    /// A line for each threshold, with whether it holds.
    pub fn thresholds(&self) -> [(String, bool); 3] {
        let share = |what: &str, good: usize, of: usize, least: f64| {
            let is = good as f64 / of.max(1) as f64;
            let text = format!(
                "{what}: {good} of {of}, {:.1} %; at least {:.0} %",
                is * 100.0,
                least * 100.0
            );
            (text, of == 0 || is >= least)
        };
        let misleading = format!("confident and wrong: {}; none", self.misleading);
        [
            share(
                "verdicts that are right",
                self.verdicts,
                self.directions,
                VERDICTS,
            ),
            share(
                "median waits near enough",
                self.waits,
                self.with_waits,
                WAITS,
            ),
            (misleading, self.misleading == 0),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(total: f64, wait: f64) -> Measured {
        Measured {
            ios: 1_000,
            total,
            wait,
            softirq: 0.0,
        }
    }

    fn pair(other: Measured) -> Pair {
        Pair {
            own: measured(100_000.0, 20_000.0),
            other,
            limited: None,
        }
    }

    fn direction(verdict: &str, certainty: &str, wait: f64, other: Measured) -> Direction {
        Direction {
            case: "made up".to_owned(),
            is_effective: true,
            from_on: true,
            pairs: [pair(other); 2],
            foretold: Foretold::made_up(verdict, certainty, wait),
        }
    }

    #[test]
    fn a_change_of_two_percent_decides() {
        for (total, expected) in [
            (98_100.0, "keep"),
            (97_900.0, "disable"),
            (110_000.0, "keep"),
        ] {
            let it = direction("keep", "likely", 0.0, measured(total, 0.0));
            assert_eq!(it.judge().expected, Some(expected), "{total}");
            let off = Direction {
                from_on: false,
                ..it
            };
            let expected = expected.replace("disable", "enable");
            assert_eq!(off.judge().expected, Some(&*expected), "{total}");
        }
        let inert = Direction {
            is_effective: false,
            ..direction("not-effective", "certain", 0.0, measured(50_000.0, 0.0))
        };
        assert_eq!(inert.judge().verdict_is_right, Some(true));
        assert_eq!(inert.judge().wait_is_near, None);
    }

    #[test]
    fn what_does_not_repeat_is_not_scored() {
        let verdict = |changes: [f64; 2]| Direction {
            pairs: changes.map(|it| pair(measured(100_000.0 * (1.0 + it), 0.0))),
            ..direction("keep", "likely", 0.0, measured(90_000.0, 0.0))
        };
        for changes in [[-0.1, 0.1], [-0.019, -0.021]] {
            let judgement = verdict(changes).judge();
            assert_eq!((judgement.expected, judgement.misleads), (None, false));
            assert_eq!(Score::of([judgement].into_iter()).directions, 0);
        }
        assert!(verdict([-0.1, -0.03]).judge().misleads);
        assert_eq!(verdict([0.3, 0.01]).judge().verdict_is_right, Some(true));
        let inert = Direction {
            is_effective: false,
            ..verdict([-0.1, 0.1])
        };
        assert_eq!(inert.judge().expected, Some("not-effective"));
    }

    #[test]
    fn only_a_confident_verdict_misleads() {
        let other = measured(90_000.0, 0.0);
        for (verdict, certainty, misleads) in [
            ("keep", "likely", true),
            ("keep", "weak", false),
            ("not-enough-data", "none", false),
            ("disable", "likely", false),
        ] {
            let judgement = direction(verdict, certainty, 0.0, other).judge();
            assert_eq!(judgement.misleads, misleads, "{verdict} {certainty}");
        }
    }

    #[test]
    fn waits_are_near_by_a_share_or_by_instructions() {
        let near = |foretold, wait| {
            direction("keep", "weak", foretold, measured(0.0, wait))
                .judge()
                .wait_is_near
        };
        assert_eq!(near(3_900.0, 2_000.0), Some(true));
        assert_eq!(near(4_100.0, 2_000.0), Some(false));
        assert_eq!(near(12_400.0, 10_000.0), Some(true));
        assert_eq!(near(7_400.0, 10_000.0), Some(false));
        let mut unknown = direction("keep", "weak", 0.0, measured(0.0, 0.0));
        unknown.foretold.wait = None;
        assert_eq!(unknown.judge().wait_is_near, Some(false));
    }

    #[test]
    fn limits_are_right_where_they_gain_and_are_no_worse_than_none() {
        let limited = |totals: [f64; 2], other| Direction {
            pairs: totals.map(|total| Pair {
                limited: Some(measured(total, 0.0)),
                ..pair(measured(other, 0.0))
            }),
            ..direction("limit", "likely", 0.0, measured(other, 0.0))
        };
        let is_right = |it: Direction| it.judge().verdict_is_right;
        assert_eq!(is_right(limited([97_000.0; 2], 100_000.0)), Some(true));
        assert_eq!(is_right(limited([97_000.0; 2], 96_000.0)), Some(true));
        assert!(limited([99_000.0; 2], 100_000.0).judge().misleads);
        assert!(limited([97_000.0; 2], 90_000.0).judge().misleads);
        let unmeasured = direction("limit", "likely", 0.0, measured(100_000.0, 0.0));
        assert!(unmeasured.judge().misleads);
        let does_not_repeat = limited([97_000.0, 99_000.0], 100_000.0);
        assert_eq!(is_right(does_not_repeat), None);
    }

    #[test]
    fn limits_are_scored_where_the_option_alone_is_not() {
        let mut it = direction("limit", "likely", 0.0, measured(95_000.0, 0.0));
        it.pairs[1].other.total = 99_000.0;
        for pair in &mut it.pairs {
            pair.limited = Some(measured(95_000.0, 0.0));
        }
        let judgement = it.judge();
        assert_eq!(
            (judgement.expected, judgement.verdict_is_right),
            (None, Some(true))
        );
        assert_eq!(Score::of([judgement].into_iter()).directions, 1);
    }

    #[test]
    fn harm_to_others_is_softirq_time() {
        let mut harm = direction("disable", "likely", 0.0, measured(120_000.0, 0.0));
        harm.foretold.effect = [None; 2];
        assert!(harm.judge().misleads);
        harm.pairs[0].own.softirq = 1.0;
        assert_eq!(harm.judge().verdict_is_right, None);
        harm.pairs[1].own.softirq = 1.0;
        assert_eq!(harm.judge().verdict_is_right, Some(true));
    }

    #[test]
    fn a_score_says_what_holds() {
        let right = direction("keep", "likely", 1.0, measured(100_000.0, 0.0)).judge();
        let wrong = Judgement {
            verdict_is_right: Some(false),
            ..right
        };
        let held = |judgements: &[Judgement]| {
            let score = Score::of(judgements.iter().copied());
            score.thresholds().map(|(_, holds)| holds)
        };
        assert_eq!(held(&[right; 10]), [true; 3]);
        let far = Judgement {
            wait_is_near: Some(false),
            ..right
        };
        assert_eq!(held(&[right, right, right, far]), [true, false, true]);
        assert_eq!(held(&[right, wrong]), [false, true, true]);
        let misleads = Judgement {
            misleads: true,
            ..right
        };
        assert_eq!(held(&[misleads]), [true, true, false]);
    }
}
