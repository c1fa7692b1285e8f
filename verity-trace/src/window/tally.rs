//! Counters and histograms of records, the same as the programs keep.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use verity_trace_ebpf::counters::{class_number, context_index, outcome_index, size_number};
use verity_trace_ebpf::placement::{PAIRS, Placement, Stage, pair};
use verity_trace_ebpf::record::{FEC, INCOMPLETE, INLINE_ATTEMPT, RECHECKED, Record};
use verity_trace_ebpf::slot::{SLOTS, slot};

use crate::aggregate::DeviceReading;
use crate::decode;
use crate::histogram::{Histogram, Nanos};
use crate::recording::Devices;
use crate::snapshot::{Completion, Context, Device, DeviceNumber};

/// Devices with a tally of their own, of some 80 KiB each; further ones share one.
const DEVICES: usize = 1_024;

/// See the module.
#[derive(Default)]
pub struct Tallies {
    /// Where the tally of a device is, by the kernel's `dev_t`.
    places: HashMap<u32, usize>,
    each: Vec<Tally>,
    others: Option<Tally>,
    /// The numbers that are not those of the devices that are shown, but of others that had them before
    /// or after.
    strangers: HashSet<DeviceNumber>,
    /// Records that were counted.
    pub records: u64,
    /// Records that make no I/O.
    pub undecoded: u64,
}

/// The I/Os of a device.
struct Tally {
    reading: DeviceReading,
    slots: Box<[[u64; SLOTS]]>,
    sums_ns: [u64; PAIRS],
}

impl Tallies {
    /// Takes note of whose number each is from here on.
    pub fn learn(&mut self, noted: &Devices<'_>, shown: &[Device]) {
        let shown: HashMap<_, _> = shown.iter().map(|it| (it.number, it)).collect();
        for entry in &noted.devices {
            let Some(number) = entry.number() else {
                continue;
            };
            if shown.get(&number).is_some_and(|device| !entry.is(device)) {
                self.strangers.insert(number);
            } else {
                self.strangers.remove(&number);
            }
        }
    }

    /// Counts those of the records that finished within the range.
    pub fn count(&mut self, records: &[Record], range: &Range<u64>) {
        let mut last = None;
        for record in records {
            let finish = record.mapped_at.wrapping_add(record.total_ns);
            if !range.contains(&finish) {
                continue;
            }
            // Records in a row are mostly of one device.
            let place = match last {
                Some((device, place)) if device == record.device => place,
                _ => self.place(record.device),
            };
            last = Some((record.device, place));
            let tally = match place {
                Some(place) => &mut self.each[place],
                None => self.others.get_or_insert_with(Tally::new),
            };
            if tally.count(record).is_some() {
                self.records += 1;
            } else {
                self.undecoded += 1;
            }
        }
    }

    fn place(&mut self, device: u32) -> Option<usize> {
        if self.strangers.contains(&decode::device_number(device)) {
            return None;
        }
        if let Some(&place) = self.places.get(&device) {
            return Some(place);
        }
        let place = self.each.len();
        if place == DEVICES {
            return None;
        }
        self.each.push(Tally::new());
        self.places.insert(device, place);
        Some(place)
    }

    /// What was counted of each device.
    pub fn devices(self) -> BTreeMap<DeviceNumber, DeviceReading> {
        let mut tallies: Vec<_> = self.each.into_iter().map(Some).collect();
        let places = self.places.into_iter();
        places
            .filter_map(|(device, place)| {
                let tally = tallies[place].take()?;
                Some((decode::device_number(device), tally.reading()))
            })
            .collect()
    }

    /// What was counted of those beyond the limit, and of those of which the number became another's.
    pub fn others(&mut self) -> Option<DeviceReading> {
        self.others.take().map(Tally::reading)
    }
}

impl Tally {
    fn new() -> Self {
        Self {
            reading: DeviceReading::default(),
            slots: vec![[0; SLOTS]; PAIRS].into(),
            sums_ns: [0; PAIRS],
        }
    }

    /// Counts an I/O; absent when the record makes none.
    fn count(&mut self, record: &Record) -> Option<()> {
        let (placement, _) = record.outcome()?;
        let completion = Completion::from_number(record.completion)?;
        let context = match placement {
            Placement::None => Context::Unknown,
            _ => Context::from_number(record.context)?,
        };
        let attempt = match placement {
            Placement::Fallback => Context::from_number(record.attempt_context)?,
            _ => Context::Unknown,
        };
        let counters = &mut self.reading.counters;
        let number = placement.number();
        let size = size_number(record.bytes);
        let class = class_number(record.ioprio);
        counters.outcomes[outcome_index(size, class, record.outcome)] += 1;
        counters.bytes[number] += u64::from(record.bytes);
        counters.contexts[context_index(number, completion as usize, context as usize)] += 1;
        if record.status != 0 {
            counters.failed[number] += 1;
        }
        if record.flags != 0 {
            counters.rechecked += u64::from(record.has(RECHECKED));
            counters.fec += u64::from(record.has(FEC));
            counters.incomplete += u64::from(record.has(INCOMPLETE));
        }
        if placement == Placement::Fallback {
            counters.inline_attempts += u64::from(record.has(INLINE_ATTEMPT));
            counters.attempt_contexts[attempt as usize] += 1;
        }
        for stage in Stage::ALL {
            if let (Some(pair), Some(ns)) = (pair(placement, stage), record.stage_ns(stage)) {
                self.slots[pair][slot(ns)] += 1;
                self.sums_ns[pair] = self.sums_ns[pair].wrapping_add(ns);
            }
        }
        Some(())
    }

    fn reading(mut self) -> DeviceReading {
        let pairs = self.slots.iter().zip(self.sums_ns);
        for (histogram, (slots, sum)) in self.reading.histograms.iter_mut().zip(pairs) {
            let counts = slots.iter().copied().enumerate();
            *histogram = Histogram::from_slots(counts, Nanos(sum));
        }
        self.reading
    }
}
