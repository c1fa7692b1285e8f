//! The mean of some durations, and how far chance can have moved it.

use crate::histogram::{Histogram, Nanos};

/// Fewer durations say nothing of a mean: the standard error is then itself not known to within a seventh
/// (1 / sqrt(2 n) for a normal distribution).
pub const FEW: u64 = 30;

/// I/Os that follow each other are alike, so that they are worth fewer independent ones. How many is not to be
/// told from totals; as if one in four were, standard errors are twice what they would be otherwise.
const ALIKE: f64 = 4.0;

/// Nanoseconds that were computed, for a person.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a duration is not negative, and a cast ends at the longest"
)]
pub const fn nanos(ns: f64) -> Nanos {
    Nanos(ns as u64)
}

/// See the module; all in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// How many durations.
    pub count: u64,
    /// Their mean, which is exact.
    pub mean: f64,
    /// The standard error of it.
    pub error: f64,
}

impl Sample {
    /// Of these durations; absent where there are too few.
    pub fn of(histogram: &Histogram) -> Option<Self> {
        let count = histogram.count();
        if count < FEW {
            return None;
        }
        let mean = histogram.sum().0 as f64 / count as f64;
        let squares = histogram.buckets().map(|bucket| {
            let upper = bucket.upper.unwrap_or(bucket.lower);
            let Nanos(lower) = bucket.lower;
            let middle = f64::midpoint(lower as f64, upper.0 as f64);
            (middle - mean).powi(2) * bucket.count as f64
        });
        let variance = squares.sum::<f64>() / (count - 1) as f64;
        Some(Self {
            count,
            mean,
            error: (variance / count as f64 * ALIKE).sqrt(),
        })
    }

    /// What it may be at the most, but for one time in forty.
    pub fn high(&self) -> f64 {
        self.mean + 2.0 * self.error
    }

    /// What it is at the least, but for one time in forty.
    pub fn low(&self) -> f64 {
        (self.mean - 2.0 * self.error).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_durations_have_no_mean_that_one_could_use() {
        let of = |count: u64| Histogram::from_values((0..count).map(|_| Nanos(1_000)));
        assert_eq!(Sample::of(&of(FEW - 1)), None);
        let sample = Sample::of(&of(FEW)).expect("enough");
        assert!((sample.mean - 1_000.0).abs() < 1e-9, "{sample:?}");
    }

    #[test]
    fn an_error_shrinks_with_the_root_of_the_number() {
        let of = |count: u64| {
            let values = (0..count).map(|at| Nanos(if at % 2 == 0 { 10_000 } else { 90_000 }));
            Sample::of(&Histogram::from_values(values)).expect("enough")
        };
        let (few, many) = (of(100), of(10_000));
        assert!((few.error / many.error - 10.0).abs() < 0.1);
        assert!(few.low() < few.mean && few.mean < few.high());
    }
}
