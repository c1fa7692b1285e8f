//! One of the two recordings, read once from its start to its end.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use verity_trace_ebpf::placement::Stage;

use super::timeline::{Load, Observed, Series, Timeline, together};
use crate::histogram::{Histogram, Nanos};
use crate::overview::Overview;
use crate::recording::{Block, Fault, Reader};
use crate::snapshot::{Device, DeviceNumber, Placement};
use crate::target::Table;

/// Devices that are kept apart, as when a part of a recording is counted anew. No machine has more of them.
pub const DEVICES: usize = 1_024;

/// See the module.
#[derive(Debug)]
pub struct Side {
    /// What it says beside its records.
    pub overview: Overview,
    /// Records that make no I/O.
    pub undecoded: u64,
    /// Records of devices beyond [`DEVICES`].
    pub uncompared: u64,
    /// The intervals.
    pub timeline: Timeline,
    /// The I/Os of each device by its name.
    pub observed: BTreeMap<String, Observed>,
    /// What the table of each device said last.
    pub tables: BTreeMap<String, Table>,
}

impl Side {
    /// Reads a recording.
    pub fn read<R: Read + Seek>(reader: &mut Reader<R>) -> Result<Self, Fault> {
        let mut timeline = Timeline::default();
        let mut observed: BTreeMap<String, Observed> = BTreeMap::new();
        let mut names: BTreeMap<DeviceNumber, String> = BTreeMap::new();
        let mut tables = BTreeMap::new();
        let (mut undecoded, mut uncompared) = (0, 0);
        let overview = Overview::read_with(reader, |reader, block| {
            match block {
                Block::Devices(it) => {
                    for entry in &it.devices {
                        let (Some(number), Ok(table)) = (entry.number(), entry.table()) else {
                            continue;
                        };
                        if is_full(&tables, entry.name()) {
                            // It is another device now, of which the name is not kept.
                            names.remove(&number);
                            continue;
                        }
                        names.insert(number, entry.name().to_owned());
                        tables.insert(entry.name().to_owned(), table);
                    }
                }
                Block::Ios(ios) => {
                    undecoded += reader.ios(ios, |io| {
                        let finished = io.mapped_at.0.saturating_add(io.total.0);
                        let (interval, merged) = timeline.interval(finished);
                        for _ in 0..merged {
                            observed.values_mut().for_each(Observed::merge);
                        }
                        let known = names.get(&io.device).cloned();
                        let name = known.unwrap_or_else(|| io.device.to_string());
                        if is_full(&observed, &name) {
                            uncompared += 1;
                        } else {
                            observed.entry(name).or_default().add(io, interval);
                        }
                        Ok::<_, Fault>(())
                    })?;
                }
                _ => {}
            }
            Ok(())
        })?;
        let mut side = Self {
            overview,
            undecoded,
            uncompared,
            timeline,
            observed,
            tables,
        };
        side.name_devices();
        Ok(side)
    }

    /// Where no note of devices came before the records, the last snapshot may know their names.
    fn name_devices(&mut self) {
        for device in &self.overview.snapshot.devices {
            let table = device.table.clone();
            self.tables.entry(device.name.clone()).or_insert(table);
            if let Some(found) = self.observed.remove(&device.number.to_string()) {
                let named = self.observed.entry(device.name.clone()).or_default();
                named.join(&found);
            }
        }
    }

    /// The names of all devices.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        let seen = self.observed.keys().chain(self.tables.keys());
        let mut names: Vec<_> = seen.map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter()
    }

    fn device(&self, name: &str) -> Option<&Device> {
        let mut devices = self.overview.snapshot.devices.iter();
        devices.find(|device| device.name == name)
    }

    /// Why its records tell nothing of how long I/Os take; absent where they do.
    #[must_use]
    pub fn is_filtered(&self) -> Option<Nanos> {
        let filter = self.overview.machine.as_ref()?.filter;
        (filter.slower_than_ns > 0).then_some(Nanos(filter.slower_than_ns))
    }

    /// How many I/Os each record stands for.
    #[must_use]
    pub fn one_in(&self) -> u64 {
        let machine = self.overview.machine.as_ref();
        machine.map_or(1, |it| it.filter.one_in.max(1))
    }

    /// The I/Os of a device one by one, where there are any that can be compared.
    #[must_use]
    pub fn records(&self, name: &str) -> Option<&Observed> {
        let observed = self.observed.get(name)?;
        self.is_filtered().is_none().then_some(observed)
    }

    /// How many I/Os of a device each placement has.
    pub fn placements(&self, name: &str) -> BTreeMap<Placement, u64> {
        if let Some(observed) = self.records(name) {
            let placements = observed.series.iter();
            let ios = |stages: &BTreeMap<Stage, Series>| {
                stages
                    .get(&Stage::Total)
                    .map_or(0, |it| together(it).count())
            };
            return placements.map(|(&it, stages)| (it, ios(stages))).collect();
        }
        let totals = self.device(name).and_then(|it| it.totals.as_ref());
        totals.map_or_else(BTreeMap::new, |totals| {
            let placements = totals.placements.iter();
            placements.map(|(&it, these)| (it, these.ios)).collect()
        })
    }

    /// How long a stage took, from the records, or else from the last snapshot.
    pub fn histogram(&self, name: &str, placement: Option<Placement>, stage: Stage) -> Histogram {
        if let Some(observed) = self.records(name) {
            return together(&observed.stage(placement, stage));
        }
        let totals = self.device(name).and_then(|it| it.totals.as_ref());
        totals.map_or_else(Histogram::default, |totals| match placement {
            None => totals.stage(stage),
            Some(placement) => {
                let these = totals.placements.get(&placement);
                let found = these.and_then(|it| it.stages.get(&stage));
                found.cloned().unwrap_or_default()
            }
        })
    }

    /// What the I/Os of a device were.
    #[must_use]
    pub fn load(&self, name: &str) -> Option<Load> {
        if let Some(observed) = self.records(name) {
            return Some(observed.load.clone());
        }
        let totals = self.device(name)?.totals.as_ref()?;
        Some(Load::from(totals))
    }

    /// I/Os a second of a device; absent where no time is known.
    #[must_use]
    pub fn rate(&self, name: &str) -> Option<f64> {
        if let Some(observed) = self.records(name) {
            let (first, last) = self.overview.ends_ns?;
            let seconds = last.saturating_sub(first) as f64 / 1e9;
            let ios = observed.load.ios.saturating_mul(self.one_in());
            return (seconds > 0.0).then(|| ios as f64 / seconds);
        }
        let seconds = self.overview.snapshot.watched.as_secs_f64();
        let ios = self.device(name)?.totals.as_ref()?.ios();
        (seconds > 0.0).then(|| ios as f64 / seconds)
    }
}

/// Whether one more name would be too many.
fn is_full<T>(kept: &BTreeMap<String, T>, name: &str) -> bool {
    kept.len() >= DEVICES && !kept.contains_key(name)
}
