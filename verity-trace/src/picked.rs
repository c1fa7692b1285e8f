//! The I/Os that a view shows one by one: of each interval the slowest and the most recent, and the oldest of
//! those in flight.
//!
//! The counters have every I/O; of these it is only said that they happened.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::mem;
use std::time::Duration;

use verity_trace_ebpf::sending::Sending;

use crate::decode::{Io, Waiting};
use crate::histogram::Nanos;
use crate::slowest::Slowest;

/// How many are kept of each kind and interval.
pub const KEPT: usize = 32;

/// So many records of each kind are wanted at most between two looks into the kernel's buffer.
const ENOUGH: usize = 100;

/// Fewer than this, and more are asked for.
const FEW: usize = ENOUGH / 4;

/// Most I/Os that share one record.
const MOST: u64 = 1 << 20;

/// An I/O that took less is never called slow.
const SHORTEST: u64 = 1_000;

/// What is to be seen of one interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picked {
    /// The slowest that were seen, the slowest first.
    pub slowest: Vec<Io>,
    /// The last that were seen, the latest first.
    pub recent: Vec<Io>,
    /// Those in flight, the oldest first; absent where nothing says which they are.
    pub waiting: Option<Vec<Waiting>>,
    /// What was seen.
    pub seen: Seen,
    /// When, since the Unix epoch.
    pub taken_at: Duration,
}

/// Which I/Os have records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// Every one.
    #[default]
    All,
    /// One in so many, and all that took so long at least.
    Chosen {
        /// Of so many one.
        one_in: u64,
        /// So long.
        slow: Nanos,
    },
    /// What a recording has: one in so many of those that took so long at least.
    Recorded {
        /// Of so many one.
        one_in: u64,
        /// So long.
        slow: Nanos,
    },
}

/// Picks from the records as they come.
#[derive(Debug)]
pub struct Picker {
    pace: Pace,
    slowest: Slowest,
    recent: VecDeque<Io>,
    /// Of the slow ones since the last look, how long the slowest took.
    slow: BinaryHeap<Reverse<Nanos>>,
    /// How many slow ones there were, and how many others.
    counts: Counts,
}

/// Records between two looks.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    slow: usize,
    sampled: usize,
}

impl Default for Picker {
    fn default() -> Self {
        Self {
            pace: Pace::START,
            slowest: Slowest::of(KEPT),
            recent: VecDeque::new(),
            slow: BinaryHeap::new(),
            counts: Counts::default(),
        }
    }
}

impl Picker {
    /// Takes in an I/O.
    pub fn take(&mut self, io: Io) {
        if io.total.0 < self.pace.slow_ns {
            self.counts.sampled += 1;
        } else {
            self.counts.slow += 1;
            self.slow.push(Reverse(io.total));
            if self.slow.len() > ENOUGH {
                self.slow.pop();
            }
        }
        self.slowest.add(&io);
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(io);
    }

    /// Which records are wanted from now on, after a look into the kernel's buffer.
    pub fn sending(&mut self) -> Sending {
        let counts = mem::take(&mut self.counts);
        let least = self.slow.peek().map_or(0, |&Reverse(Nanos(ns))| ns);
        self.slow.clear();
        self.pace = self.pace.after(counts, least);
        self.pace.sending()
    }

    /// What was picked since the last time.
    pub fn pick(
        &mut self,
        taken_at: Duration,
        waiting: Option<Vec<Waiting>>,
        seen: Seen,
    ) -> Picked {
        let slowest = mem::replace(&mut self.slowest, Slowest::of(KEPT));
        Picked {
            slowest: slowest.ios().cloned().collect(),
            recent: mem::take(&mut self.recent).into_iter().rev().collect(),
            waiting,
            seen,
            taken_at,
        }
    }

    /// Of which I/Os there are records now, where all are that were asked for.
    #[must_use]
    pub const fn seen(&self) -> Seen {
        self.pace.seen()
    }
}

/// How many records are asked for, so that there are enough to show whatever the load is, and few enough to
/// cost next to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    one_in: u64,
    slow_ns: u64,
}

impl Pace {
    /// Few at first: nobody knows yet how many I/Os there are.
    const START: Self = Self {
        one_in: 64,
        slow_ns: 1_000_000,
    };

    const fn sending(self) -> Sending {
        Sending {
            mask: self.one_in - 1,
            slow_ns: self.slow_ns,
        }
    }

    const fn seen(self) -> Seen {
        if self.one_in == 1 {
            return Seen::All;
        }
        Seen::Chosen {
            one_in: self.one_in,
            slow: Nanos(self.slow_ns),
        }
    }

    /// Where there were many, as many fewer are wanted; where there were few, more. `least` is how long the
    /// fastest took of those slow ones that would have been enough.
    fn after(self, counts: Counts, least: u64) -> Self {
        // Of the slow ones as many would have been sampled.
        let sampled = counts.sampled + counts.slow / usize::try_from(self.one_in).unwrap_or(1);
        let one_in = match sampled {
            0..FEW => (self.one_in / 2).max(1),
            FEW..=ENOUGH => self.one_in,
            many => (self.one_in * (many / ENOUGH + 1).next_power_of_two() as u64).min(MOST),
        };
        let slow_ns = match counts.slow {
            0..FEW => (self.slow_ns - self.slow_ns / 4).max(SHORTEST),
            FEW..=ENOUGH => self.slow_ns,
            // More, though many may have taken equally long.
            _ => least.saturating_add(1),
        };
        Self { one_in, slow_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable as _;
    use proptest::prelude::*;
    use verity_trace_ebpf::record::Record;

    use crate::decode;
    use crate::snapshot::Era;

    fn io(seq: u64, total_ns: u64) -> Io {
        let record = Record {
            seq,
            total_ns,
            ..Record::zeroed()
        };
        decode::io(&record, Era::Inline).expect("a record")
    }

    /// Shows a picker what the kernel would have sent it of so many I/Os; returns how many those were.
    fn look(picker: &mut Picker, ios: u64, total_ns: impl Fn(u64) -> u64) -> usize {
        let sending = picker.pace.sending();
        let sent = (0..ios).filter(|&seq| sending.sends(seq, total_ns(seq)));
        let sent = sent.map(|seq| picker.take(io(seq, total_ns(seq)))).count();
        picker.sending();
        sent
    }

    #[test]
    fn the_slowest_come_first_and_the_latest() {
        let mut picker = Picker::default();
        for seq in 0..100 {
            picker.take(io(seq, (seq * 37) % 100));
        }
        let these = picker.pick(Duration::ZERO, None, Seen::All);
        assert_eq!((these.slowest.len(), these.recent.len()), (KEPT, KEPT));
        let totals: Vec<_> = these.slowest.iter().map(|io| io.total.0).collect();
        assert!(totals.iter().copied().eq((68..100).rev()), "{totals:?}");
        assert_eq!(these.recent[0].seq, 99);
        assert_eq!(picker.pick(Duration::ZERO, None, Seen::All).slowest, []);
    }

    #[test]
    fn a_small_load_is_seen_whole_before_long() {
        let mut picker = Picker::default();
        for _ in 0..40 {
            look(&mut picker, 20, |seq| 50_000 + seq);
        }
        assert_eq!(look(&mut picker, 20, |seq| 50_000 + seq), 20);
        assert_eq!(picker.seen(), Seen::All);
    }

    #[test]
    fn after_one_look_at_a_burst_few_are_sent() {
        let mut picker = Picker::default();
        for _ in 0..40 {
            look(&mut picker, 20, |_| 50_000);
        }
        let total_ns = |seq: u64| 50_000 + seq.wrapping_mul(0x9e37_79b9) % 1_000_000;
        assert_eq!(look(&mut picker, 60_000, total_ns), 60_000);
        assert!(look(&mut picker, 60_000, total_ns) < 3 * ENOUGH);
    }

    proptest! {
        /// Whatever the load is, before long there are enough records and not many more.
        #[test]
        fn it_comes_to_rest(ios in 1u64..20_000, spread in 1u64..10_000_000) {
            let total_ns = |seq: u64| 10_000 + seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) % spread;
            let mut picker = Picker::default();
            for _ in 0..30 {
                look(&mut picker, ios, total_ns);
            }
            let sent = look(&mut picker, ios, total_ns);
            prop_assert!(sent <= 3 * ENOUGH, "{sent} of {ios}");
            prop_assert!(sent >= FEW.min(usize::try_from(ios).unwrap_or(FEW)) / 2, "{sent} of {ios}");
        }
    }
}
