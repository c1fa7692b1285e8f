//! The I/Os that a view shows one by one: of each interval the slowest and the most recent, and the oldest of
//! those in flight.
//!
//! The counters have every I/O; of these it is only said that they happened.

mod pace;

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;
use std::time::Duration;

use verity_trace_ebpf::record::Record;

use crate::decode::{self, Io, Unfinished};
use crate::histogram::Nanos;
use crate::slowest::Slowest;
use crate::snapshot::{Device, DeviceNumber, Era};

pub use pace::Pace;

/// How many are kept of each kind and interval, of all devices together.
pub const KEPT: usize = 32;

/// What is to be seen of one interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picked {
    /// The slowest that were seen, the slowest first.
    pub slowest: Vec<Io>,
    /// The last that were seen, the latest first.
    pub recent: Vec<Io>,
    /// How many were in flight at its end, and the oldest of them first; absent where nothing says which they
    /// are.
    pub in_flight: Option<(u64, Vec<Unfinished>)>,
    /// Which could be picked; absent where I/Os are not seen one by one.
    pub seen: Option<Seen>,
    /// Whether there were records among them that make no I/O, and were left out.
    pub has_undecoded: bool,
    /// The interval, on some clock that never goes back while it is live.
    pub span: Range<Duration>,
    /// The devices that there were at its end.
    pub devices: Vec<Name>,
}

/// A device that no other one is ever taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Its number, which another one may have later.
    pub number: DeviceNumber,
    /// What no other one has had since the boot, where the kernel says it.
    pub disk_sequence: Option<u64>,
    /// How it is called. It comes from outside: escape it before printing.
    pub name: String,
}

impl Name {
    /// Whether this is how a device is called.
    #[must_use]
    pub fn is_of(&self, device: &Device) -> bool {
        self.number == device.number
            && self.disk_sequence == device.disk_sequence
            && self.name == device.name
    }
}

impl From<&Device> for Name {
    fn from(device: &Device) -> Self {
        Self {
            number: device.number,
            disk_sequence: device.disk_sequence,
            name: device.name.clone(),
        }
    }
}

/// Which I/Os have records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Of so many one, by chance.
    pub one_in: u64,
    /// Those that took so long at least.
    pub slow: Nanos,
    /// How the two go together.
    pub both: Both,
    /// Those of them that have none all the same, since there were too many at once.
    pub unsent: u64,
}

/// How sampling and a threshold go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Both {
    /// Live: what is slow has a record, and so has one in so many others.
    Either,
    /// In a recording: one in so many of what is slow has a record.
    AtOnce,
}

impl Seen {
    /// Every one.
    pub const EVERYTHING: Self = Self {
        one_in: 1,
        slow: Nanos(0),
        both: Both::AtOnce,
        unsent: 0,
    };

    /// What two intervals have in common.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            one_in: self.one_in.max(other.one_in),
            slow: self.slow.max(other.slow),
            both: other.both,
            unsent: self.unsent + other.unsent,
        }
    }

    /// Whether every I/O has a record.
    #[must_use]
    pub fn is_everything(self) -> bool {
        let slow = match self.both {
            Both::Either => Nanos(0),
            Both::AtOnce => self.slow,
        };
        self.one_in <= 1 && slow == Nanos(0) && self.unsent == 0
    }
}

/// Picks from the records of one interval as they come.
#[derive(Clone, Debug)]
pub struct Picker {
    slowest: Slowest<Record>,
    recent: VecDeque<Record>,
}

impl Default for Picker {
    fn default() -> Self {
        Self {
            slowest: Slowest::of(KEPT),
            recent: VecDeque::with_capacity(KEPT),
        }
    }
}

impl Picker {
    /// Takes in a record.
    pub fn take(&mut self, record: &Record) {
        self.slowest.add(Nanos(record.total_ns), || *record);
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(*record);
    }

    /// What was picked since the last time: the slowest, the most recent, and whether records make no I/O.
    pub fn pick(&mut self, era: Era) -> (Vec<Io>, Vec<Io>, bool) {
        let picked = mem::take(self);
        let mut has_undecoded = false;
        let mut io = |record: &Record| {
            let io = decode::io(record, era).ok();
            has_undecoded |= io.is_none();
            io
        };
        let slowest = picked.slowest.items().filter_map(&mut io).collect();
        let recent = picked.recent.iter().rev().filter_map(&mut io).collect();
        (slowest, recent, has_undecoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable as _;

    #[test]
    fn the_slowest_come_first_and_the_latest() {
        let mut picker = Picker::default();
        for seq in 0..100 {
            picker.take(&Record {
                seq,
                total_ns: (seq * 37) % 100,
                ..Record::zeroed()
            });
        }
        picker.take(&Record {
            total_ns: 1_000,
            outcome: 77,
            ..Record::zeroed()
        });
        let (slowest, recent, has_undecoded) = picker.pick(Era::Inline);
        assert_eq!((slowest.len(), recent.len()), (KEPT - 1, KEPT - 1));
        assert!(has_undecoded);
        let totals = slowest.iter().map(|io| io.total.0);
        assert!(totals.eq((69..100).rev()));
        assert_eq!(recent[0].seq, 99);
        assert_eq!(picker.pick(Era::Inline), (Vec::new(), Vec::new(), false));
    }

    #[test]
    fn what_intervals_have_in_common_is_the_least() {
        let seen = |one_in, slow, unsent| Seen {
            one_in,
            slow: Nanos(slow),
            both: Both::Either,
            unsent,
        };
        assert!(seen(1, 1_000, 0).is_everything());
        assert!(!seen(1, 1_000, 3).is_everything());
        assert_eq!(seen(1, 9, 1).and(seen(64, 5, 2)), seen(64, 9, 3));
        assert!(Seen::EVERYTHING.is_everything());
        assert!(
            !Seen {
                slow: Nanos(1),
                ..Seen::EVERYTHING
            }
            .is_everything()
        );
    }
}
