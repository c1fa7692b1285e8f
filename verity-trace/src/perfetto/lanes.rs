//! Intervals that overlap, laid out so that no two on one lane do.

use std::collections::BTreeSet;

/// The lanes of one kind of intervals. They come in about the order of their ends, and for that order there are no
/// more lanes than intervals that overlap at one moment; in any order no two on one lane overlap.
#[derive(Debug, Default)]
pub struct Lanes {
    /// By the end of the last interval on it, each lane.
    free_from: BTreeSet<(u64, u64)>,
}

impl Lanes {
    /// The lane for an interval: of those that are free at its start the one that was in use last, or else one
    /// that `add` makes, if it does.
    pub fn place<E>(
        &mut self,
        (start, end): (u64, u64),
        add: impl FnOnce() -> Result<Option<u64>, E>,
    ) -> Result<Option<u64>, E> {
        let free = self.free_from.range(..=(start, u64::MAX)).next_back();
        let lane = match free.copied() {
            Some(found) => {
                self.free_from.remove(&found);
                Some(found.1)
            }
            None => add()?,
        };
        self.free_from.extend(lane.map(|lane| (end, lane)));
        Ok(lane)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn laid_out(intervals: &[(u64, u64)], most: u64) -> (Vec<Option<u64>>, u64) {
        let mut lanes = Lanes::default();
        let mut made = 0;
        let placed = intervals.iter().map(|&interval| {
            let add = || {
                made += 1;
                Ok::<_, Infallible>((made <= most).then_some(made))
            };
            lanes
                .place(interval, add)
                .unwrap_or_else(|never| match never {})
        });
        let placed = placed.collect();
        (placed, made)
    }

    #[test]
    fn what_follows_shares_a_lane_and_what_overlaps_does_not() {
        let intervals = [(0, 10), (10, 10), (10, 20), (5, 25), (20, 30), (0, 40)];
        let lanes = [1, 1, 1, 2, 1, 3].map(Some);
        assert_eq!(laid_out(&intervals, 9), (lanes.to_vec(), 3));
    }

    #[test]
    fn what_finds_no_lane_is_left_out() {
        let (lanes, _) = laid_out(&[(0, 10), (5, 15), (12, 20)], 1);
        assert_eq!(lanes, [Some(1), None, Some(1)]);
    }

    proptest! {
        #[test]
        fn no_two_on_a_lane_overlap_in_whatever_order(
            intervals in prop::collection::vec((0u64..200, 0u64..50), 0..80),
        ) {
            let intervals: Vec<_> =
                intervals.into_iter().map(|(start, length)| (start, start + length)).collect();
            let (lanes, _) = laid_out(&intervals, u64::MAX);
            let mut ends = std::collections::BTreeMap::new();
            for (&(start, end), lane) in intervals.iter().zip(lanes) {
                // Also in the order in which they came, which is the order of what begins and ends together.
                let before = ends.insert(lane, end).unwrap_or(0);
                prop_assert!(before <= start);
            }
        }

        #[test]
        fn in_the_order_of_ends_there_are_no_more_lanes_than_needed(
            intervals in prop::collection::vec((0u64..200, 1u64..50), 1..80),
        ) {
            let mut intervals: Vec<_> =
                intervals.into_iter().map(|(start, length)| (start, start + length)).collect();
            intervals.sort_by_key(|&(_, end)| end);
            let at = |moment| {
                intervals.iter().filter(|&&(start, end)| start <= moment && moment < end).count()
            };
            let most = (0..260).map(at).max().unwrap_or(0);
            let (_, made) = laid_out(&intervals, u64::MAX);
            prop_assert_eq!(made, most as u64);
        }
    }
}
