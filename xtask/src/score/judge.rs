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
    pub own: Measured,
    pub other: Measured,
    /// The option on with the limits that are advised; absent where none are, or others were measured.
    pub limited: Option<Measured>,
    pub foretold: Foretold,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What the verdict had to be.
    pub expected: &'static str,
    pub verdict_is_right: bool,
    /// Absent where the kernel has one setting alone.
    pub wait_is_near: Option<bool>,
    /// A verdict that is wrong, and called certain or likely.
    pub misleads: bool,
}

impl Direction {
    /// How the mean `total` changes under the other setting, as a share.
    pub fn change(&self) -> f64 {
        change(&self.own, &self.other)
    }

    /// How far off the median of `wait` is that was foretold; absent where none was.
    pub fn wait_off(&self) -> Option<f64> {
        Some(self.foretold.wait? - self.other.wait)
    }

    pub fn judge(&self) -> Judgement {
        let expected = self.expected();
        let verdict = self.foretold.verdict.as_str();
        let verdict_is_right = match verdict {
            "limit" => self.limited.is_some_and(|it| {
                change(&self.own, &it) <= -MATTERS && it.total <= self.other.total * (1.0 + MATTERS)
            }),
            // For the sake of others, whatever it costs here.
            "disable" if self.foretold.effect == [None; 2] => self.own.softirq > self.other.softirq,
            verdict => verdict == expected,
        };
        let is_confident = ["certain", "likely"].contains(&self.foretold.certainty.as_str());
        let allowed = WAIT_LEAST.max(WAIT_SHARE * self.other.wait);
        let is_near = self.wait_off().is_some_and(|off| off.abs() <= allowed);
        Judgement {
            expected,
            verdict_is_right,
            wait_is_near: self.is_effective.then_some(is_near),
            misleads: is_confident && !verdict_is_right,
        }
    }

    fn expected(&self) -> &'static str {
        match (self.is_effective, self.from_on) {
            (false, _) => "not-effective",
            _ if self.change() > -MATTERS => "keep",
            (true, true) => "disable",
            (true, false) => "enable",
        }
    }
}

fn change(from: &Measured, to: &Measured) -> f64 {
    to.total / from.total.max(1.0) - 1.0
}

/// How all of them went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    pub directions: usize,
    pub verdicts: usize,
    pub with_waits: usize,
    pub waits: usize,
    pub misleading: usize,
}

impl Score {
    pub fn of(judgements: impl Iterator<Item = Judgement>) -> Self {
        judgements.fold(Self::default(), |score, it| Self {
            directions: score.directions + 1,
            verdicts: score.verdicts + usize::from(it.verdict_is_right),
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

    fn direction(verdict: &str, certainty: &str, wait: f64, other: Measured) -> Direction {
        Direction {
            case: "made up".to_owned(),
            is_effective: true,
            from_on: true,
            own: measured(100_000.0, 20_000.0),
            other,
            limited: None,
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
            assert_eq!(it.judge().expected, expected, "{total}");
            let off = Direction {
                from_on: false,
                ..it
            };
            let expected = expected.replace("disable", "enable");
            assert_eq!(off.judge().expected, expected, "{total}");
        }
        let inert = Direction {
            is_effective: false,
            ..direction("not-effective", "certain", 0.0, measured(50_000.0, 0.0))
        };
        assert!(inert.judge().verdict_is_right);
        assert_eq!(inert.judge().wait_is_near, None);
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
        let limited = |total, other| Direction {
            limited: Some(measured(total, 0.0)),
            ..direction("limit", "likely", 0.0, measured(other, 0.0))
        };
        assert!(limited(97_000.0, 100_000.0).judge().verdict_is_right);
        assert!(limited(97_000.0, 96_000.0).judge().verdict_is_right);
        assert!(limited(99_000.0, 100_000.0).judge().misleads);
        assert!(limited(97_000.0, 90_000.0).judge().misleads);
        let unmeasured = direction("limit", "likely", 0.0, measured(100_000.0, 0.0));
        assert!(unmeasured.judge().misleads);
    }

    #[test]
    fn harm_to_others_is_softirq_time() {
        let mut harm = direction("disable", "likely", 0.0, measured(120_000.0, 0.0));
        harm.foretold.effect = [None; 2];
        assert!(harm.judge().misleads);
        harm.own.softirq = 1.0;
        assert!(harm.judge().verdict_is_right);
    }

    #[test]
    fn a_score_says_what_holds() {
        let right = direction("keep", "likely", 1.0, measured(100_000.0, 0.0)).judge();
        let wrong = Judgement {
            verdict_is_right: false,
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
