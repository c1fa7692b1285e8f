//! When which setting is measured.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use super::Side;

/// So many pairs fit into the time that there is: enough to know how much they differ.
const PAIRS: u32 = 20;
/// A block that is shorter has few I/Os, one that is longer lets the load change within a pair.
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);

/// How long everything takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// What is thrown away after each switch, in which the cache of hash blocks fills.
    pub warm_up: Duration,
    /// What is measured then.
    pub block: Duration,
    /// As many pairs as there is time for.
    pub pairs: u32,
}

impl Times {
    /// For all of the time: before the pairs, a block as long as one with its warm-up is watched as the device was
    /// found.
    #[must_use]
    pub fn of(duration: Duration) -> Self {
        // A warm-up is half as long as a block.
        let block = (duration / (3 * PAIRS)).clamp(SHORTEST, LONGEST);
        let warm_up = block / 2;
        let both = (block + warm_up).as_nanos();
        let blocks = duration.as_nanos() / both;
        let pairs = u32::try_from(blocks.saturating_sub(1) / 2).unwrap_or(u32::MAX);
        Self {
            warm_up,
            block,
            pairs,
        }
    }

    /// How long the device is watched as it was found.
    #[must_use]
    pub fn first(&self) -> Duration {
        self.warm_up + self.block
    }
}

/// The order of the blocks: the same for the same seed.
#[derive(Clone, Debug)]
pub struct Order(Pcg64Mcg);

impl Order {
    /// That of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed))
    }
}

/// Pair after pair, for ever.
impl Iterator for Order {
    type Item = [Side; 2];

    fn next(&mut self) -> Option<[Side; 2]> {
        let first = if self.0.random::<bool>() {
            Side::A
        } else {
            Side::B
        };
        Some([first, first.other()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_order_is_that_of_the_seed_and_no_side_is_always_first() {
        let order = |seed| Order::new(seed).take(64).collect::<Vec<_>>();
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let first = order(1).iter().filter(|it| it[0] == Side::A).count();
        assert!((16..=48).contains(&first), "{first}");
    }

    proptest! {
        #[test]
        fn every_pair_has_both(seed in any::<u64>()) {
            for [first, second] in Order::new(seed).take(100) {
                prop_assert_eq!(second, first.other());
            }
        }

        #[test]
        fn all_of_it_fits_into_the_time(millis in 1_000u64..=86_400_000) {
            let duration = Duration::from_millis(millis);
            let times = Times::of(duration);
            let all = times.first() + (times.block + times.warm_up) * 2 * times.pairs;
            prop_assert!(all <= duration, "{times:?}");
            prop_assert!(times.block >= SHORTEST && times.block <= LONGEST);
        }
    }
}
