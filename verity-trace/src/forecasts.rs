//! The I/Os of some devices, gathered one by one for the model, and what it says of them. They count from when limits or
//! the device's table changed last, as an I/O from before says nothing of what holds since.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{Read, Seek};

use crate::decode::Io;
use crate::format;
use crate::histogram::Nanos;
use crate::overview::Overview;
use crate::recommend::Forecasts;
use crate::recording::{Block, Fault, Reader};
use crate::snapshot::{Device, DeviceNumber, Kernel, Snapshot, Totals};
use crate::target::Table;
use crate::what_if::{Facts, LoadBuilder, Setting, predict};

/// So many devices, those with most I/Os: each keeps up to 128 MB of them.
const DEVICES: usize = 4;

/// A forecast is the same each time.
const SEED: u64 = 1;

/// See the module.
#[derive(Debug)]
pub struct Gathering {
    loads: BTreeMap<DeviceNumber, LoadBuilder>,
    /// Devices that are not gathered, and why.
    refused: BTreeMap<DeviceNumber, String>,
}

impl Gathering {
    /// Nothing yet, for these devices under the settings that a snapshot says. Of so many I/Os one has a record.
    #[must_use]
    pub fn new(snapshot: &Snapshot, wants: impl Fn(DeviceNumber) -> bool, one_in: u64) -> Self {
        let devices = snapshot.devices.iter();
        let mut devices: Vec<_> = devices.filter(|it| wants(it.number)).collect();
        devices.sort_by_key(|device| Reverse(ios(device)));
        let left = devices.split_off(devices.len().min(DEVICES));
        let limits = snapshot.use_bh_bytes.as_deref();
        let use_bh_bytes = limits.and_then(|it| it.try_into().ok());
        let load = |device: &Device| {
            let setting = Setting {
                option: device.table.options.try_verify_in_tasklet,
                use_bh_bytes,
            };
            LoadBuilder::new(device.number, setting).sampled(one_in)
        };
        let why = format!("only the {DEVICES} devices with most I/Os are replayed: name this one");
        Self {
            loads: devices
                .into_iter()
                .map(|it| (it.number, load(it)))
                .collect(),
            refused: left
                .into_iter()
                .map(|it| (it.number, why.clone()))
                .collect(),
        }
    }

    /// Takes in an I/O, in the order of their ends.
    pub fn add(&mut self, io: &Io) {
        for load in self.loads.values_mut() {
            load.add(io);
        }
    }

    /// Leaves out what was mapped before, as limits changed then.
    fn begin_anew(&mut self, monotonic_ns: u64) {
        for load in self.loads.values_mut() {
            load.begin_anew(Nanos(monotonic_ns));
        }
    }

    /// The same for one device, whose table did.
    fn begin_anew_with(&mut self, number: DeviceNumber, monotonic_ns: u64) {
        if let Some(load) = self.loads.get_mut(&number) {
            load.begin_anew(Nanos(monotonic_ns));
        }
    }

    /// Gathers no more of a device, for this reason.
    fn refuse(&mut self, number: DeviceNumber, why: &str) {
        if self.loads.remove(&number).is_some() {
            self.refused.insert(number, why.to_owned());
        }
    }

    /// What the model says of each device, on this kernel.
    #[must_use]
    pub fn forecasts(self, kernel: &Kernel) -> Forecasts {
        let facts = Facts::of(kernel);
        let forecast = |load: LoadBuilder| {
            let facts = facts.ok_or("what this kernel makes of the option is not known")?;
            let load = load.build();
            let settings = load.settings(&facts);
            predict(&load, &facts, &settings, SEED).map_err(|error| error.to_string())
        };
        let loads = self.loads.into_iter();
        let forecasts = loads.map(|(number, load)| (number, forecast(load)));
        let refused = self.refused.into_iter();
        forecasts
            .chain(refused.map(|(number, why)| (number, Err(why))))
            .collect()
    }
}

fn ios(device: &Device) -> u64 {
    let seen = device.totals.as_ref().map_or(0, Totals::ios);
    seen + device.before_attach.map_or(0, |it| it.ios)
}

/// What the model says of these devices of a recording, which is read anew from where it is.
pub fn read<R: Read + Seek>(
    reader: &mut Reader<R>,
    overview: &Overview,
    wants: impl Fn(DeviceNumber) -> bool,
) -> Result<Forecasts, Fault> {
    let filter = overview.machine.as_ref().map(|machine| machine.filter);
    let one_in = filter.map_or(1, |filter| filter.one_in);
    let mut gathering = Gathering::new(&overview.snapshot, wants, one_in);
    let slow = filter.map_or(0, |filter| filter.slower_than_ns);
    if slow > 0 {
        let least = format::duration(Nanos(slow));
        let why = format!("the recording has records of I/Os alone that took at least {least}");
        let numbers: Vec<_> = gathering.loads.keys().copied().collect();
        for number in numbers {
            gathering.refuse(number, &why);
        }
    }
    let mut limits = None;
    let mut tables: BTreeMap<DeviceNumber, Table> = BTreeMap::new();
    while let Some(block) = reader.next_block()? {
        match block {
            Block::Parameters(noted) => {
                let before = limits.replace(noted.use_bh_bytes);
                if before.is_some() {
                    gathering.begin_anew(noted.monotonic_ns);
                }
            }
            Block::Ios(ios) if !gathering.loads.is_empty() => {
                reader.ios(&ios, |io| {
                    gathering.add(io);
                    Ok::<_, Fault>(())
                })?;
            }
            Block::Devices(noted) => {
                for device in &overview.snapshot.devices {
                    let mut entries = noted.devices.iter();
                    let entry = entries.find(|it| it.number() == Some(device.number));
                    let Some(entry) = entry else { continue };
                    if !entry.is(device) {
                        let why =
                            "its number was that of another device in a part of the recording";
                        gathering.refuse(device.number, why);
                    }
                    let Ok(table) = entry.table() else { continue };
                    let before = tables.insert(device.number, table);
                    if before.is_some_and(|it| tables.get(&device.number) != Some(&it)) {
                        gathering.begin_anew_with(device.number, noted.monotonic_ns);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(gathering.forecasts(&overview.snapshot.kernel))
}
