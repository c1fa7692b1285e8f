//! Durations counted in the slots that the programs use: sparse, mergeable, with percentiles.

use std::iter::Sum;

use verity_trace_ebpf::slot::{self, ABOVE, SLOTS};

/// A duration in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(pub u64);

/// How often each slot was hit; slots that were not are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// In the order of the slots, each once.
    counts: Vec<(usize, u64)>,
    sum_ns: u64,
}

/// One slot that was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// First nanosecond of the slot.
    pub lower: Nanos,
    /// First nanosecond past it; absent for the slot above all others.
    pub upper: Option<Nanos>,
    /// How often it was hit.
    pub count: u64,
}

impl Histogram {
    /// A histogram from counts by slot and the exact sum of what was counted.
    #[must_use]
    pub fn from_slots(slots: impl IntoIterator<Item = (usize, u64)>, sum: Nanos) -> Self {
        let slots = slots.into_iter().filter(|&(_, count)| count > 0);
        let mut counts: Vec<_> = slots
            .map(|(slot, count)| (slot.min(ABOVE), count))
            .collect();
        counts.sort_by_key(|&(slot, _)| slot);
        counts.dedup_by(|&mut (slot, count), (kept, sum)| {
            let is_same = slot == *kept;
            if is_same {
                raise(sum, count);
            }
            is_same
        });
        counts.shrink_to_fit();
        Self {
            counts,
            sum_ns: sum.0,
        }
    }

    /// A histogram of these durations.
    #[must_use]
    pub fn from_values(values: impl IntoIterator<Item = Nanos>) -> Self {
        let mut histogram = Self::default();
        for value in values {
            histogram.add(value);
        }
        histogram
    }

    /// Counts one more duration.
    pub fn add(&mut self, Nanos(ns): Nanos) {
        let slot = slot::slot(ns);
        match self.counts.binary_search_by_key(&slot, |&(slot, _)| slot) {
            Ok(at) => raise(&mut self.counts[at].1, 1),
            Err(at) => self.counts.insert(at, (slot, 1)),
        }
        raise(&mut self.sum_ns, ns);
    }

    /// Adds another histogram's counts: over CPUs, devices, hosts or time.
    pub fn merge(&mut self, other: &Self) {
        let mut new = Vec::new();
        let mut at = 0;
        for &(slot, count) in &other.counts {
            while self.counts.get(at).is_some_and(|&(mine, _)| mine < slot) {
                at += 1;
            }
            match self.counts.get_mut(at) {
                Some((mine, sum)) if *mine == slot => raise(sum, count),
                _ => new.push((slot, count)),
            }
        }
        if !new.is_empty() {
            self.counts.append(&mut new);
            self.counts.sort_by_key(|&(slot, _)| slot);
        }
        raise(&mut self.sum_ns, other.sum_ns);
    }

    /// Adds to the sum of what was counted, where it was kept apart from the counts.
    pub fn add_sum(&mut self, sum: Nanos) {
        raise(&mut self.sum_ns, sum.0);
    }

    /// What was counted since `earlier`, a histogram of the same source.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = Vec::new();
        self.each_since(earlier, |slot, count| counts.push((slot, count)));
        counts.shrink_to_fit();
        Self {
            counts,
            sum_ns: self.sum_ns.saturating_sub(earlier.sum_ns),
        }
    }

    /// The same slot by slot.
    fn each_since(&self, earlier: &Self, mut take: impl FnMut(usize, u64)) {
        let mut before = &earlier.counts[..];
        for &(slot, count) in &self.counts {
            while let [(first, _), rest @ ..] = before
                && *first < slot
            {
                before = rest;
            }
            let known = match before {
                [(first, known), ..] if *first == slot => *known,
                _ => 0,
            };
            let new = count.saturating_sub(known);
            if new > 0 {
                take(slot, new);
            }
        }
    }

    /// The same, where the earlier counts are in the order of their slots.
    pub fn slots_since(
        &self,
        earlier: impl Iterator<Item = (usize, u64)>,
    ) -> impl Iterator<Item = (usize, u64)> {
        let mut earlier = earlier.peekable();
        self.counts.iter().filter_map(move |&(slot, count)| {
            while earlier.next_if(|&(before, _)| before < slot).is_some() {}
            let known = earlier.next_if(|&(before, _)| before == slot);
            let new = count.saturating_sub(known.map_or(0, |(_, count)| count));
            (new > 0).then_some((slot, new))
        })
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        let counts = self.counts.iter();
        counts.fold(0, |sum, &(_, count)| sum.saturating_add(count))
    }

    /// The exact sum of the durations.
    #[must_use]
    pub fn sum(&self) -> Nanos {
        Nanos(self.sum_ns)
    }

    /// The smallest value with at least `permille` of a thousand of all counts at or below it,
    /// at most 1/32 off; absent when nothing was counted.
    #[must_use]
    pub fn percentile(&self, permille: u64) -> Option<Nanos> {
        let total = self.count();
        let rank = (u128::from(total) * u128::from(permille))
            .div_ceil(1_000)
            .max(1);
        let mut seen = 0u128;
        self.counts.iter().find_map(|&(slot, count)| {
            seen += u128::from(count);
            (seen >= rank).then(|| Nanos(slot::middle_ns(slot)))
        })
    }

    /// The same by the number of the slot.
    pub fn slots(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.counts.iter().copied()
    }

    /// The slots that were hit, shortest first.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        self.counts.iter().map(|&(slot, count)| Bucket {
            lower: Nanos(slot::lower_ns(slot)),
            upper: (slot != ABOVE).then(|| Nanos(slot::lower_ns(slot + 1))),
            count,
        })
    }
}

/// Several together.
impl<'a> Sum<&'a Self> for Histogram {
    fn sum<I: Iterator<Item = &'a Self>>(histograms: I) -> Self {
        let mut together = Slots::default();
        for histogram in histograms {
            together.add(histogram.slots(), histogram.sum());
        }
        together.histogram()
    }
}

/// What becomes a histogram when all of it was added up: every slot.
#[derive(Clone, Debug)]
pub struct Slots {
    counts: [u64; SLOTS],
    sum_ns: u64,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            counts: [0; SLOTS],
            sum_ns: 0,
        }
    }
}

impl Slots {
    /// Adds counts by slot, and the sum of what was counted.
    pub fn add(&mut self, counts: impl Iterator<Item = (usize, u64)>, Nanos(sum_ns): Nanos) {
        for (slot, count) in counts {
            raise(&mut self.counts[slot.min(ABOVE)], count);
        }
        raise(&mut self.sum_ns, sum_ns);
    }

    /// Adds what was counted since `earlier`, a histogram of the same source.
    pub fn add_since(&mut self, now: &Histogram, earlier: &Histogram) {
        now.each_since(earlier, |slot, count| raise(&mut self.counts[slot], count));
        raise(&mut self.sum_ns, now.sum_ns.saturating_sub(earlier.sum_ns));
    }

    /// All of it.
    #[must_use]
    pub fn histogram(&self) -> Histogram {
        let hit = || {
            let counts = self.counts.iter().copied().enumerate();
            counts.filter(|&(_, count)| count > 0)
        };
        // As long as it will be, and not grown step by step.
        let mut counts = Vec::with_capacity(hit().count());
        counts.extend(hit());
        Histogram {
            counts,
            sum_ns: self.sum_ns,
        }
    }
}

/// What came from a file may be anything.
const fn raise(sum: &mut u64, by: u64) {
    *sum = sum.saturating_add(by);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_counted_has_no_percentile() {
        let histogram = Histogram::default();
        assert_eq!(histogram.percentile(500), None);
        assert_eq!(histogram.count(), 0);
    }

    #[test]
    fn sums_of_whatever_it_is_stay_sums() {
        let most = Histogram::from_slots([(3, u64::MAX), (3, 1), (4, u64::MAX)], Nanos(u64::MAX));
        let mut twice = most.clone();
        twice.merge(&most);
        twice.add_sum(Nanos(1));
        twice.add(Nanos(1));
        assert_eq!((twice.count(), twice.sum()), (u64::MAX, Nanos(u64::MAX)));
        assert!(twice.percentile(1_000).is_some());
    }

    #[test]
    fn since_leaves_what_is_new() {
        let before = Histogram::from_values([100, 200].map(Nanos));
        let mut after = before.clone();
        after.merge(&Histogram::from_values([300].map(Nanos)));
        assert_eq!(after.since(&before), Histogram::from_values([Nanos(300)]));
    }

    proptest! {
        #[test]
        fn a_percentile_is_at_most_one_part_in_32_off(
            mut values in prop::collection::vec(64u64..1 << 36, 1..200),
            permille in 1u64..=1_000,
        ) {
            let histogram = Histogram::from_values(values.iter().copied().map(Nanos));
            values.sort_unstable();
            let rank = (values.len() as u64 * permille).div_ceil(1_000).max(1);
            let exact = values[usize::try_from(rank).expect("a small rank") - 1];
            let found = histogram.percentile(permille).expect("values").0;
            prop_assert!(found.abs_diff(exact) * 32 <= exact);
        }

        #[test]
        fn merging_is_counting_together(
            left in prop::collection::vec(0u64..1 << 40, 0..50),
            right in prop::collection::vec(0u64..1 << 40, 0..50),
        ) {
            let mut merged = Histogram::from_values(left.iter().copied().map(Nanos));
            merged.merge(&Histogram::from_values(right.iter().copied().map(Nanos)));
            let both = left.iter().chain(&right).copied();
            let together = Histogram::from_values(both.map(Nanos));
            prop_assert_eq!(&merged, &together);
            let [left, right] = [left, right].map(|it| Histogram::from_values(it.into_iter().map(Nanos)));
            prop_assert_eq!(&merged, &[left, right].iter().sum());
        }

        #[test]
        fn what_is_new_and_what_was_before_are_all(
            before in prop::collection::vec(0u64..1 << 40, 0..50),
            new in prop::collection::vec(0u64..1 << 40, 0..50),
        ) {
            let before = Histogram::from_values(before.into_iter().map(Nanos));
            let new = Histogram::from_values(new.into_iter().map(Nanos));
            let mut all = before.clone();
            all.merge(&new);
            prop_assert_eq!(all.since(&before), new);
            prop_assert_eq!(Histogram::from_slots(all.slots(), all.sum()), all);
        }
    }
}
