//! The I/Os that a view shows one by one: of each interval the slowest and the most recent, and the oldest of
//! those in flight.
//!
//! The counters have every I/O; of these it is only said that they happened.

mod pace;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
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

/// So many more there are of each kind and interval, the same number of each device: a filter for one device is to
/// find I/Os of it, however slow or busy others are.
const SHARED: usize = 256;

/// How many of so many devices are kept of each, at least one and at most [`KEPT`].
#[must_use]
pub fn of_each(devices: usize) -> usize {
    (SHARED / devices.max(1)).clamp(1, KEPT)
}

/// What is to be seen of one interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picked {
    /// The slowest that were seen, of all devices and of each, the slowest first.
    pub slowest: Vec<Io>,
    /// The last that were seen, of all devices and of each, the latest first.
    pub recent: Vec<Io>,
    /// So many of each device are among them, if there were as many.
    pub of_each: usize,
    /// Those in flight at its end; absent where nothing says which they are.
    pub in_flight: Option<StillInFlight>,
    /// Which could be picked; absent where I/Os are not seen one by one.
    pub seen: Option<Seen>,
    /// Whether there were records among them that make no I/O, and were left out.
    pub has_undecoded: bool,
    /// The interval, on some clock that never goes back while it is live.
    pub span: Range<Duration>,
    /// The devices that there were at its end.
    pub devices: BTreeMap<DeviceNumber, Name>,
}

/// With its number, a device that no other one is ever taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// What no other one has had since the boot, where the kernel says it.
    pub disk_sequence: Option<u64>,
    /// How it is called. It comes from outside: escape it before printing.
    pub name: String,
}

impl Name {
    /// What devices are called, by their numbers.
    #[must_use]
    pub fn of_all(devices: &[Device]) -> BTreeMap<DeviceNumber, Self> {
        let names = devices.iter().map(|device| (device.number, device.into()));
        names.collect()
    }

    /// Whether this is how a device of the same number is called.
    #[must_use]
    pub fn is_of(&self, device: &Device) -> bool {
        self.disk_sequence == device.disk_sequence && self.name == device.name
    }
}

impl From<&Device> for Name {
    fn from(device: &Device) -> Self {
        Self {
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

/// I/Os in flight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StillInFlight {
    /// How many each device has.
    pub ios: BTreeMap<DeviceNumber, u64>,
    /// The oldest of all devices and of each, the oldest first.
    pub oldest: Vec<Unfinished>,
}

impl StillInFlight {
    /// Counts them, and keeps the oldest: of all devices, and so many of each.
    #[must_use]
    pub fn of(mut all: Vec<Unfinished>, of_each: usize) -> Self {
        all.sort_by_key(|io| (Reverse(io.age), io.seq));
        let mut ios = BTreeMap::new();
        let mut place = 0;
        all.retain(|io| {
            let count = ios.entry(io.device).or_default();
            *count += 1;
            place += 1;
            place <= KEPT || *count <= of_each as u64
        });
        Self { ios, oldest: all }
    }
}

/// Picks from the records of one interval as they come.
#[derive(Clone, Debug, Default)]
pub struct Picker {
    all: Picks,
    /// By the kernel's `dev_t`.
    devices: HashMap<u32, Picks>,
    seen: u64,
}

/// What a picker has picked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picking {
    /// The slowest first.
    pub slowest: Vec<Io>,
    /// The latest first.
    pub recent: Vec<Io>,
    /// Whether there were records that make no I/O.
    pub has_undecoded: bool,
}

/// The slowest and the last records, each with its place among all that came.
#[derive(Clone, Debug)]
struct Picks {
    slowest: Slowest<(u64, Record)>,
    recent: VecDeque<(u64, Record)>,
}

impl Default for Picks {
    fn default() -> Self {
        Self {
            slowest: Slowest::of(KEPT),
            recent: VecDeque::new(),
        }
    }
}

impl Picks {
    fn take(&mut self, place: u64, record: &Record) {
        let total = Nanos(record.total_ns);
        self.slowest.add(total, || (place, *record));
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back((place, *record));
    }
}

impl Picker {
    /// Takes in a record.
    pub fn take(&mut self, record: &Record) {
        self.seen += 1;
        self.all.take(self.seen, record);
        let device = self.devices.entry(record.device).or_default();
        device.take(self.seen, record);
    }

    /// What was picked since the last time, so many of each device at least.
    pub fn pick(&mut self, era: Era, of_each: usize) -> Picking {
        let Self { all, devices, .. } = mem::take(self);
        let each = || devices.values();
        let slowest = each().flat_map(|it| it.slowest.items().take(of_each));
        let mut slowest: Vec<_> = all.slowest.items().chain(slowest).collect();
        slowest.sort_by_key(|(place, record)| (Reverse(record.total_ns), *place));
        let recent = each().flat_map(|it| it.recent.iter().rev().take(of_each));
        let mut recent: Vec<_> = all.recent.iter().chain(recent).collect();
        recent.sort_by_key(|(place, _)| Reverse(*place));
        let mut has_undecoded = false;
        let mut ios = |mut records: Vec<&(u64, Record)>| -> Vec<Io> {
            records.dedup_by_key(|(place, _)| *place);
            let ios = records.iter().map(|(_, record)| decode::io(record, era));
            let ios = ios.inspect(|io| has_undecoded |= io.is_err());
            ios.flatten().collect()
        };
        let (slowest, recent) = (ios(slowest), ios(recent));
        Picking {
            slowest,
            recent,
            has_undecoded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Stage;
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
        let shown = picker.pick(Era::Inline, 1);
        let counts = (shown.slowest.len(), shown.recent.len());
        assert_eq!(counts, (KEPT - 1, KEPT - 1));
        assert!(shown.has_undecoded);
        let totals = shown.slowest.iter().map(|io| io.total.0);
        assert!(totals.eq((69..100).rev()));
        assert_eq!(shown.recent[0].seq, 99);
        assert_eq!(picker.pick(Era::Inline, 1), Picking::default());
    }

    #[test]
    fn of_each_device_there_are_some_however_slow_and_busy_others_are() {
        let mut picker = Picker::default();
        for seq in 0..1_000 {
            let device = u32::from(seq % 100 == 0);
            picker.take(&Record {
                seq,
                device,
                total_ns: if device == 1 { seq } else { 1_000_000 },
                ..Record::zeroed()
            });
        }
        let shown = picker.pick(Era::Inline, 4);
        let of_second = |ios: &[Io]| -> Vec<u64> {
            let ios = ios.iter().filter(|io| io.device.minor == 1);
            ios.map(|io| io.seq).collect()
        };
        assert_eq!(of_second(&shown.slowest), [900, 800, 700, 600]);
        assert_eq!(of_second(&shown.recent), [900, 800, 700, 600]);
        assert_eq!(shown.slowest.len(), KEPT + 4);
        assert!(shown.recent.is_sorted_by_key(|io| Reverse(io.seq)));
    }

    #[test]
    fn the_oldest_in_flight_are_those_of_all_devices_and_of_each() {
        let io = |device, age| Unfinished {
            seq: age,
            device: decode::device_number(device),
            age: Duration::from_micros(age),
            stage: Stage::Device,
            sector: 0,
            bytes: 0,
            submitter: 0,
            command: String::new(),
            submit_cpu: 0,
        };
        let busy = (0..1_000).map(|age| io(0, 1_000 + age));
        let all = (0..9).map(|age| io(1, age)).chain(busy);
        let found = StillInFlight::of(all.collect(), 3);
        let counts: Vec<_> = found.ios.values().copied().collect();
        assert_eq!(counts, [1_000, 9]);
        let ages = found.oldest.iter().map(|it| it.seq);
        assert!(ages.eq((1_968..2_000).rev().chain([8, 7, 6])));
    }

    #[test]
    fn many_devices_share_what_is_kept_and_each_has_some() {
        let shares = [0, 1, 8, 9, 64, 500, 1_000_000].map(of_each);
        assert_eq!(shares, [32, 32, 32, 28, 4, 1, 1]);
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
