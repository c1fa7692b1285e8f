//! The shift from one recording to the other, and what can be said of it.
//!
//! Many series are compared, and by chance alone some would differ. The probability that any verdict of
//! a comparison of two runs of the same is wrong is kept at about 5 %: half of it for the totals of
//! devices, half for everything else, each by the method of Holm. Of slow moments that are few, or long against
//! the recording, it is not known how much they vary: what rests on them gets no verdict.

use super::bootstrap::{Estimate, LEAST_INDEPENDENT, Statistic, by_chance, students};

/// The probability that a comparison of two runs of the same names a difference.
pub const WRONG: f64 = 0.05;

/// What is said of B, set against A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// B takes less.
    Faster,
    /// B takes more.
    Slower,
    /// The rest.
    NoDifference,
}

impl Verdict {
    /// The words for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::NoDifference => "no difference that this data can show",
        }
    }

    /// What is said with A and B exchanged.
    #[must_use]
    pub const fn mirrored(self) -> Self {
        match self {
            Self::Faster => Self::Slower,
            Self::Slower => Self::Faster,
            Self::NoDifference => Self::NoDifference,
        }
    }
}

/// By how much one statistic of B differs from that of A.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// B - A in nanoseconds.
    pub ns: f64,
    /// The logarithm of B / A.
    pub logarithm: f64,
    /// As many independent intervals would tell as much, in the recording where they are fewer; absent with too few
    /// intervals or I/Os.
    pub independent: Option<f64>,
    /// Where both are in 95 of 100 cases; absent with too few intervals, independent ones included, or I/Os.
    pub range: Option<Range>,
    /// Whether it is more than the resolution of histograms.
    pub is_resolved: bool,
    /// Whether chance alone hardly gives it, once all comparisons are known.
    pub is_sure: bool,
    /// The verdict, once all comparisons are known.
    pub verdict: Verdict,
}

/// 95 % confidence intervals, of this comparison alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Of B - A in nanoseconds.
    pub ns: [f64; 2],
    /// Of the logarithm of B / A.
    pub logarithm: [f64; 2],
    /// How often chance alone gives such a shift.
    pub chance: f64,
}

impl Shift {
    /// The shift between two estimates. The values that are shown tell whether it can be seen at all.
    #[must_use]
    pub fn new(statistic: Statistic, [a, b]: [Estimate; 2], shown: [f64; 2]) -> Self {
        let logarithm = (b.ns / a.ns).ln();
        let spreads = a.spread.zip(b.spread);
        let independent = spreads.map(|_| a.independent.min(b.independent));
        let is_known = independent.is_some_and(|it| it >= LEAST_INDEPENDENT);
        let range = spreads.filter(|_| is_known).map(|(left, right)| {
            let spread = left.of_logarithm.hypot(right.of_logarithm);
            // Welch and Satterthwaite.
            let freedom = if spread > 0.0 {
                let part = |of: f64, freedom: f64| (of / spread).powi(4) / freedom;
                1.0 / (part(left.of_logarithm, left.freedom)
                    + part(right.of_logarithm, right.freedom))
            } else {
                left.freedom.min(right.freedom)
            };
            let times = students(0.975, freedom);
            let around = |middle: f64, spread: f64| {
                let half = if spread > 0.0 { times * spread } else { 0.0 };
                [middle - half, middle + half]
            };
            Range {
                ns: around(b.ns - a.ns, left.ns.hypot(right.ns)),
                logarithm: around(logarithm, spread),
                chance: match (logarithm == 0.0, spread > 0.0) {
                    (true, _) => 1.0,
                    (false, true) => by_chance(logarithm / spread, freedom),
                    (false, false) => 0.0,
                },
            }
        });
        Self {
            ns: b.ns - a.ns,
            logarithm,
            independent,
            range,
            is_resolved: is_resolved(statistic, shown),
            is_sure: false,
            verdict: Verdict::NoDifference,
        }
    }

    /// Whether it has no verdict since it rests on too few independent intervals.
    #[must_use]
    pub const fn is_dependent(&self) -> bool {
        self.independent.is_some() && self.range.is_none()
    }
}

/// Whether two values are further apart than histograms can tell.
///
/// A percentile is at most 1/32 off, so that two of less than 1/32 apart may be seen in neighbouring slots,
/// whose middles are at most 1/16 apart. A mean is exact.
fn is_resolved(statistic: Statistic, [a, b]: [f64; 2]) -> bool {
    let least: f64 = match statistic {
        Statistic::Mean => (1.0_f64 / 32.0).ln_1p(),
        Statistic::Median | Statistic::P99 => 1.0 / 16.0,
    };
    (b / a).ln().abs() > least
}

/// Gives the shifts of one family their verdicts; of all of them wrong ones are as rare as `wrong` says.
pub fn judge(mut shifts: Vec<&mut Shift>, wrong: f64) {
    let chance = |shift: &Shift| shift.range.map_or(f64::INFINITY, |range| range.chance);
    shifts.retain(|shift| shift.range.is_some());
    shifts.sort_by(|left, right| chance(left).total_cmp(&chance(right)));
    let count = shifts.len();
    for (before, shift) in shifts.into_iter().enumerate() {
        if chance(shift) > wrong / (count - before) as f64 {
            break;
        }
        shift.is_sure = true;
        if shift.is_resolved {
            shift.verdict = if shift.logarithm < 0.0 {
                Verdict::Faster
            } else {
                Verdict::Slower
            };
        }
    }
}
