//! Totals in few bytes: histograms are most of them, and take two or three for each slot that was hit.

use crate::histogram::{Histogram, Nanos};
use crate::snapshot::{Placement, PlacementTotals, Stage, Totals};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// All but the histograms, and who submitted.
    rest: Totals,
    histograms: Vec<(Placement, Stage, Box<[u8]>)>,
}

impl Packed {
    /// What totals take.
    pub fn new(totals: &Totals) -> Self {
        let placements = totals.placements.iter();
        let histograms = placements.flat_map(|(&placement, these)| {
            let stages = these.stages.iter();
            stages.map(move |(&stage, histogram)| (placement, stage, pack(histogram)))
        });
        Self {
            rest: totals.counts(),
            histograms: histograms.collect(),
        }
    }

    /// Whether these are the totals, of the same device, as far as counts alone tell.
    pub fn is_of(&self, totals: &Totals) -> bool {
        let counts = |it: &Totals| (it.ios(), it.bytes(), it.rejected, it.incomplete);
        counts(&self.rest) == counts(totals)
            && self.rest.loss == totals.loss
            && self.rest.hash_cache == totals.hash_cache
    }

    /// What happened with this placement; nothing of it says how long anything took.
    pub fn counts(&self, placement: Placement) -> Option<&PlacementTotals> {
        self.rest.placements.get(&placement)
    }

    /// How long all of a stage took together, and the counts by slot; nothing where it never happened.
    pub fn stage(&self, placement: Placement, stage: Stage) -> (Nanos, Counts<'_>) {
        let mut histograms = self.histograms.iter();
        let found = histograms.find(|it| (it.0, it.1) == (placement, stage));
        Counts::of(found.map_or(&[], |(_, _, bytes)| bytes))
    }

    /// The totals.
    pub fn totals(&self) -> Totals {
        let mut totals = self.rest.clone();
        for (placement, stage, bytes) in &self.histograms {
            if let Some(these) = totals.placements.get_mut(placement) {
                these.stages.insert(*stage, unpack(bytes));
            }
        }
        totals
    }
}

/// The sum, and then for each slot how far it is from the one before, and its count.
fn pack(histogram: &Histogram) -> Box<[u8]> {
    // Mostly as many as it takes.
    let mut bytes = Vec::with_capacity(10 + 3 * histogram.slots().count());
    put(&mut bytes, histogram.sum().0);
    let mut last = 0;
    for (slot, count) in histogram.slots() {
        put(&mut bytes, (slot - last) as u64);
        put(&mut bytes, count);
        last = slot;
    }
    bytes.into()
}

fn unpack(bytes: &[u8]) -> Histogram {
    let (sum, counts) = Counts::of(bytes);
    Histogram::from_slots(counts, sum)
}

/// Packed counts by slot, in the order of the slots.
pub struct Counts<'a> {
    bytes: &'a [u8],
    last: usize,
}

impl<'a> Counts<'a> {
    /// The sum of what was counted, and the counts.
    fn of(mut bytes: &'a [u8]) -> (Nanos, Self) {
        let sum = take(&mut bytes).unwrap_or(0);
        (Nanos(sum), Self { bytes, last: 0 })
    }
}

impl Iterator for Counts<'_> {
    type Item = (usize, u64);

    fn next(&mut self) -> Option<Self::Item> {
        let further = usize::try_from(take(&mut self.bytes)?).ok()?;
        self.last = self.last.checked_add(further)?;
        Some((self.last, take(&mut self.bytes)?))
    }
}

/// Seven bits a byte, the lowest first; all but the last have the highest bit.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    let mut shift = 0;
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_out_again(
            slots in prop::collection::btree_map(0usize..482, 1u64.., 0..60),
            sum: u64,
        ) {
            let histogram = Histogram::from_slots(slots, Nanos(sum));
            let packed = pack(&histogram);
            prop_assert_eq!(unpack(&packed), histogram);
        }

        #[test]
        fn bytes_that_are_none_do_not_panic(bytes: Vec<u8>) {
            unpack(&bytes);
        }
    }

    #[test]
    fn a_slot_takes_few_bytes() {
        let histogram = Histogram::from_slots((100..164).map(|slot| (slot, 900)), Nanos(1 << 30));
        assert!(pack(&histogram).len() <= 5 + 64 * 3);
    }
}
