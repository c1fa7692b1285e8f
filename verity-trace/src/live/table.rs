//! A walk over the table of I/Os in flight.

use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::Map;
use verity_trace_ebpf::in_flight::InFlight;
use verity_trace_ebpf::table::{SETS, Set, Sets, WAYS, is_in_flight, released};

use super::mapping::Mapping;

/// The map of I/Os in flight, which the programs write to.
pub struct Table(Mapping<Sets>);

impl Table {
    /// Maps it into memory.
    pub fn of(map: &Map) -> anyhow::Result<Self> {
        Mapping::of(map).map(Self)
    }

    /// The I/Os in flight, each as it is when its place is read.
    pub fn in_flight(&self) -> impl Iterator<Item = InFlight> {
        (0..SETS as usize).flat_map(|set| {
            // SAFETY: the mapping has this many sets and lives as long as `self`; the programs write
            // to it meanwhile.
            let (keys, states) = unsafe {
                let set = self.0.value().cast::<Set>().add(set);
                (&raw const (*set).keys, &raw const (*set).states)
            };
            // SAFETY: as above.
            let keys = unsafe { keys.read_volatile() };
            let used = keys.into_iter().enumerate();
            used.filter(|&(_, key)| is_in_flight(key))
                // SAFETY: as above; a set has as many states as keys.
                .map(move |(way, _)| unsafe { states.cast::<InFlight>().add(way).read_volatile() })
        })
    }

    /// Gives the places back of I/Os that have finished unseen; returns whose they were.
    pub fn abandon(&self, has_finished: impl Fn(&InFlight) -> bool) -> Vec<InFlight> {
        let mut abandoned = Vec::new();
        for set in 0..SETS as usize {
            // SAFETY: as in `in_flight`.
            let (keys, states) = unsafe {
                let set = self.0.value().cast::<Set>().add(set);
                (&raw mut (*set).keys, &raw const (*set).states)
            };
            for way in 0..WAYS as usize {
                // SAFETY: as above; keys are aligned, and programs change them atomically.
                let (key, state) = unsafe {
                    let key = AtomicU64::from_ptr(keys.cast::<u64>().add(way));
                    (key, states.cast::<InFlight>().add(way))
                };
                let found = key.load(Ordering::Acquire);
                // SAFETY: as above.
                let state = is_in_flight(found).then(|| unsafe { state.read_volatile() });
                // A program that finds the place free or taken anew in between leaves another key, unless the
                // same memory begins another I/O right then: that one is then lost, and counted.
                if let Some(state) = state.filter(&has_finished)
                    && key
                        .compare_exchange(
                            found,
                            released(found),
                            Ordering::AcqRel,
                            Ordering::Relaxed,
                        )
                        .is_ok()
                {
                    abandoned.push(state);
                }
            }
        }
        abandoned
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;
    use verity_trace_ebpf::in_flight::Begin;
    use verity_trace_ebpf::table::{self, Claimed, Keys, set_of};

    use super::*;

    /// The keys of a set, as the programs use them.
    struct InSet(*mut Set);

    impl Keys for InSet {
        fn get(&self, way: u32) -> u64 {
            // SAFETY: the set is one of the table's.
            unsafe { (*self.0).keys[way as usize] }
        }

        fn exchange(&self, way: u32, from: u64, to: u64) -> bool {
            let is_from = self.get(way) == from;
            if is_from {
                // SAFETY: as above.
                unsafe { (*self.0).keys[way as usize] = to };
            }
            is_from
        }

        fn opaque(number: u64) -> u64 {
            number
        }
    }

    fn begin(table: &Table, io: u64, now: u64) {
        // SAFETY: a table has this set.
        let set = unsafe { table.0.value().cast::<Set>().add(set_of(io)) };
        let (Claimed::New(way) | Claimed::Again(way)) = table::claim(&InSet(set), io) else {
            panic!("there is room");
        };
        let mut state = InFlight::zeroed();
        let begin = Begin {
            seq: now,
            device: 1,
            device_slot: 1,
            sector: 0,
            bytes: 4_096,
            ioprio: 0,
            read_ahead: false,
            cpu: 0,
        };
        state.begin(now, &begin);
        // SAFETY: a set has this place.
        unsafe { (*set).states[way as usize] = state };
    }

    #[test]
    fn what_is_abandoned_leaves_its_place_and_the_others_stay() {
        let table = Table(Mapping::anonymous());
        let memories: Vec<u64> = (0..1_000)
            .map(|number| 0xffff_8881_0200_0000 + number * 704)
            .collect();
        for (&io, now) in memories.iter().zip(1..) {
            begin(&table, io, now);
        }
        assert_eq!(table.in_flight().count(), 1_000);
        let abandoned =
            table.abandon(|state| state.mapped_at().is_some_and(|it| it.is_multiple_of(4)));
        assert_eq!(abandoned.len(), 250);
        assert!(abandoned.iter().all(|state| state.seq().is_multiple_of(4)));
        assert_eq!(table.in_flight().count(), 750);
        assert!(table.abandon(|_| false).is_empty());
        begin(&table, memories[3], 4);
        assert_eq!(table.in_flight().count(), 751, "the memory is used again");
    }
}
