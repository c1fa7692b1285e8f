//! How many records are asked for, so that there are enough to show whatever the load is, and few enough to
//! cost next to nothing: the programs send so many at most until the next look into their buffer.

use std::time::Duration;

use verity_trace_ebpf::sending::Sending;

use super::{Both, Seen};
use crate::histogram::Nanos;

/// So many slow I/Os, and so many others, are to be seen between two looks at most.
const ENOUGH: u64 = 100;

/// Fewer than this, and more are asked for.
const FEW: u64 = ENOUGH / 4;

/// So many records the programs send between two looks, whatever was asked for.
const QUOTA: i64 = 400;

/// What came in less time than this says nothing of the load.
const SHORTEST_LOOK: Duration = Duration::from_millis(100);

/// After so many looks with few, more are asked for; after twice as many where that was too much the last time,
/// up to the second number.
const CALM: [u32; 2] = [5, 80];

/// Most I/Os that share one record.
const MOST: u64 = 1 << 20;

/// An I/O that took less is never called slow.
const SHORTEST: u64 = 1_000;

/// See the module.
#[derive(Clone, Debug)]
pub struct Pace {
    one_in: u64,
    slow_ns: u64,
    look: Look,
    /// Looks with few slow ones, and with few others, one after the other.
    calm: [u32; 2],
    /// How many of them it takes until more are asked for.
    patience: u32,
    /// The least that was asked for since somebody wanted to know, and what was not sent of it.
    seen: Seen,
}

/// What came since the last look.
#[derive(Clone, Debug, Default)]
struct Look {
    time: Duration,
    /// How long the slow ones took.
    slow: Vec<u64>,
    sampled: u64,
    /// Records that came and are not to be seen.
    unwanted: u64,
    /// Those that were not sent.
    unsent: u64,
}

impl Default for Pace {
    /// Few at first: nobody knows yet how many I/Os there are.
    fn default() -> Self {
        let (one_in, slow_ns) = (64, 1_000_000);
        Self {
            one_in,
            slow_ns,
            look: Look::default(),
            calm: [0; 2],
            patience: CALM[0],
            seen: seen(one_in, slow_ns),
        }
    }
}

impl Pace {
    /// A record came, of an I/O that took so long.
    pub fn saw(&mut self, total_ns: u64) {
        if total_ns < self.slow_ns {
            self.look.sampled += 1;
        } else {
            self.look.slow.push(total_ns);
        }
    }

    /// What is asked for from now on, after so long. There came so many records that are not to be seen, and so
    /// many were not sent.
    pub fn ask(&mut self, time: Duration, unwanted: u64, unsent: u64) -> Sending {
        self.look.time += time;
        self.look.unwanted += unwanted;
        self.look.unsent += unsent;
        self.seen.unsent += unsent;
        if self.look.time >= SHORTEST_LOOK {
            self.adapt();
            self.seen = self.seen.and(seen(self.one_in, self.slow_ns));
        }
        Sending {
            one_in: self.one_in,
            slow_ns: self.slow_ns,
            quota: QUOTA,
        }
    }

    /// What came meanwhile was not asked for.
    pub fn forget(&mut self) {
        self.look = Look::default();
    }

    /// What had records since the last time.
    pub fn seen(&mut self) -> Seen {
        let now = seen(self.one_in, self.slow_ns);
        std::mem::replace(&mut self.seen, now)
    }

    fn adapt(&mut self) {
        let Look {
            mut slow,
            sampled,
            unwanted,
            unsent,
            ..
        } = std::mem::take(&mut self.look);
        let (slow_came, sampled_came) = (slow.len() as u64, sampled);
        let came = slow_came + sampled_came;
        // What is not to be seen, or was not sent, is taken for the same mixture; where nothing else came, for both
        // too slow and too many.
        let all = came + unwanted + unsent;
        let of_all = |count: u64| match came {
            0 => all,
            came => count.saturating_mul(all) / came,
        };
        // Of the slow ones as many are sampled.
        let sampled = of_all(sampled_came + slow_came / self.one_in);
        let all_slow = of_all(slow_came);
        self.calm = [
            if all_slow < FEW { self.calm[0] + 1 } else { 0 },
            if sampled < FEW { self.calm[1] + 1 } else { 0 },
        ];
        if unsent > 0 {
            self.patience = (self.patience * 2).min(CALM[1]);
        }
        let mut is_relaxed = false;
        if sampled > ENOUGH {
            let times = (sampled / ENOUGH + 1).next_power_of_two();
            self.one_in = self.one_in.saturating_mul(times).min(MOST);
        } else if self.calm[1] >= self.patience {
            self.one_in = (self.one_in / 2).max(1);
            is_relaxed = true;
        }
        if all_slow > ENOUGH {
            slow.sort_unstable_by(|a, b| b.cmp(a));
            let enough = usize::try_from(ENOUGH * slow_came / all_slow).unwrap_or(usize::MAX);
            let least = slow.get(enough.min(slow.len().saturating_sub(1)));
            let least = least.copied().unwrap_or(self.slow_ns.saturating_mul(2));
            // More, since many may have taken equally long.
            self.slow_ns = least.saturating_add(1);
        } else if self.calm[0] >= self.patience {
            self.slow_ns = (self.slow_ns - self.slow_ns / 4).max(SHORTEST);
            is_relaxed = true;
        }
        if is_relaxed {
            self.calm = [0; 2];
            self.patience = (self.patience / 2).max(CALM[0]);
        }
    }
}

const fn seen(one_in: u64, slow_ns: u64) -> Seen {
    Seen {
        one_in,
        slow: Nanos(slow_ns),
        both: Both::Either,
        unsent: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOOK: Duration = Duration::from_millis(200);

    /// The programs, and somebody who looks.
    struct Machine {
        pace: Pace,
        sending: Sending,
        seq: u64,
    }

    impl Machine {
        fn new() -> Self {
            let mut pace = Pace::default();
            let sending = pace.ask(Duration::ZERO, 0, 0);
            Self {
                pace,
                sending,
                seq: 0,
            }
        }

        /// So many I/Os finish; returns how many records were sent of them, and how many were not.
        fn look(&mut self, time: Duration, totals: impl Iterator<Item = u64>) -> (u64, u64) {
            let (mut sent, mut unsent) = (0, 0);
            for total_ns in totals {
                self.seq += 1;
                if self.sending.asks_for(self.seq, total_ns) {
                    if self.sending.quota > 0 {
                        self.sending.quota -= 1;
                        self.pace.saw(total_ns);
                        sent += 1;
                    } else {
                        unsent += 1;
                    }
                }
            }
            self.sending = self.pace.ask(time, 0, unsent);
            (sent, unsent)
        }
    }

    fn spread(ios: u64, spread: u64) -> impl Iterator<Item = u64> + Clone {
        (0..ios).map(move |at| 10_000 + at.wrapping_mul(0x9e37_79b9_7f4a_7c15) % spread)
    }

    #[test]
    fn a_small_load_is_seen_whole_before_long() {
        let mut machine = Machine::new();
        for _ in 0..200 {
            machine.look(LOOK, spread(20, 1_000));
        }
        machine.pace.seen();
        assert_eq!(machine.look(LOOK, spread(20, 1_000)), (20, 0));
        assert!(machine.pace.seen().is_everything());
    }

    #[test]
    fn a_burst_takes_no_more_than_the_quota_and_is_not_called_everything() {
        let mut machine = Machine::new();
        for _ in 0..200 {
            machine.look(LOOK, spread(20, 1_000));
        }
        machine.pace.seen();
        let (sent, unsent) = machine.look(LOOK, spread(60_000, 1_000_000));
        assert_eq!(sent, QUOTA.unsigned_abs());
        let seen = machine.pace.seen();
        assert_eq!(seen.unsent, unsent);
        assert!(!seen.is_everything() && seen.one_in > 64, "{seen:?}");
        assert_eq!(machine.look(LOOK, spread(60_000, 1_000_000)).1, 0);
    }

    /// Somebody else's I/Os are sent too, and are not to be seen.
    #[test]
    fn what_is_not_to_be_seen_takes_its_part() {
        let mut pace = Pace::default();
        let before = pace.ask(Duration::ZERO, 0, 0);
        for _ in 0..10 {
            pace.saw(2_000_000);
            let after = pace.ask(LOOK, 400, 60_000);
            assert!(after.slow_ns > before.slow_ns);
        }
        let nothing_came = Pace::default().ask(LOOK, 400, 60_000);
        assert!(nothing_came.slow_ns > before.slow_ns && nothing_came.one_in > before.one_in);
    }

    #[test]
    fn a_short_look_says_nothing() {
        let mut machine = Machine::new();
        for _ in 0..50 {
            machine.look(LOOK, spread(20_000, 1_000_000));
        }
        let before = machine.sending.slow_ns;
        for _ in 0..20 {
            machine.look(Duration::from_millis(1), spread(100, 1_000_000));
        }
        assert_eq!(machine.sending.slow_ns, before);
    }

    proptest! {
        /// Whatever the load is, before long there is enough to be seen, and most of the time nothing that was
        /// asked for is left out.
        #[test]
        fn it_comes_to_rest(
            ios in 1u64..20_000,
            width in prop::sample::select(vec![1, 100, 1_000, 100_000, 10_000_000]),
        ) {
            let mut machine = Machine::new();
            let looks: Vec<_> = (0..90).map(|_| machine.look(LOOK, spread(ios, width))).collect();
            let settled = &looks[40..];
            let enough = settled.iter().filter(|look| look.0 >= FEW.min(ios) / 3);
            prop_assert!(enough.count() * 10 >= settled.len() * 9, "{settled:?}");
            let overrun = settled.iter().filter(|look| look.1 > 0).count();
            prop_assert!(overrun * 4 <= settled.len(), "{settled:?}");
        }
    }
}
