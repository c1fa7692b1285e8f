//! Which tracks there are: one of the machine, below it one of each device and of each CPU, and below these what
//! has slices or counts. A track is made when there is something for it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::rc::Rc;

use super::lanes::Lanes;
use super::packets::{Packets, Shows, Track};
use super::span::Span;
use crate::escape;
use crate::recording::Devices;
use crate::snapshot::{Context, DeviceNumber};

/// Characters of a device-mapper name, at most (`DM_NAME_LEN`, include/uapi/linux/dm-ioctl.h).
const NAME: usize = 128;

/// The order of what is below the machine: counts, then devices by minor number, then CPUs.
const DEVICES: i32 = 1_000;
const CPUS: i32 = 2_000_000;

/// See the module.
pub struct Tracks {
    /// The machine's.
    pub root: Option<Track>,
    names: BTreeMap<DeviceNumber, String>,
    devices: BTreeMap<DeviceNumber, Device>,
    cpus: BTreeMap<u16, Cpu>,
}

/// A device that has tracks.
struct Device {
    title: Rc<str>,
    group: Track,
    lanes: Lanes,
}

/// A CPU that has tracks.
struct Cpu {
    group: Track,
    completions: Option<Track>,
    contexts: BTreeMap<Context, Lanes>,
}

impl Tracks {
    /// The machine's, with a text about it.
    pub fn new<W: Write>(packets: &mut Packets<W>, description: String) -> io::Result<Self> {
        let root =
            packets.described_track("verity-trace", None, 0, Shows::Tracks, Some(description))?;
        Ok(Self {
            root,
            names: BTreeMap::new(),
            devices: BTreeMap::new(),
            cpus: BTreeMap::new(),
        })
    }

    /// Devices have these names from now on. One whose number another had gets tracks of its own.
    pub fn rename(&mut self, noted: &Devices<'_>) {
        self.names = noted
            .devices
            .iter()
            .filter_map(|entry| Some((entry.number()?, entry.name().to_owned())))
            .collect();
        let names = &self.names;
        self.devices.retain(|number, device| {
            let name = names.get(number);
            name.is_none_or(|name| *device.title == *title(*number, Some(name)))
        });
    }

    /// What a device is called.
    pub fn title(&self, number: DeviceNumber) -> Rc<str> {
        match self.devices.get(&number) {
            Some(device) => Rc::clone(&device.title),
            None => title(number, self.names.get(&number)),
        }
    }

    /// The track that what is told of a device lies below.
    pub fn device<W: Write>(
        &mut self,
        packets: &mut Packets<W>,
        number: DeviceNumber,
    ) -> io::Result<Option<Track>> {
        Ok(self.device_of(packets, number)?.map(|device| device.group))
    }

    /// The track for an I/O of a device.
    pub fn io<W: Write>(
        &mut self,
        packets: &mut Packets<W>,
        number: DeviceNumber,
        span: Span,
    ) -> io::Result<Option<Track>> {
        let Some(device) = self.device_of(packets, number)? else {
            return Ok(None);
        };
        let group = Some(device.group);
        device
            .lanes
            .place(span, || packets.track("I/Os", group, 0, Shows::Slices))
    }

    /// The track for what completes on a CPU.
    pub fn completions<W: Write>(
        &mut self,
        packets: &mut Packets<W>,
        number: u16,
    ) -> io::Result<Option<Track>> {
        let Some(cpu) = self.cpu(packets, number)? else {
            return Ok(None);
        };
        if cpu.completions.is_none() {
            cpu.completions = packets.track("completions", Some(cpu.group), 0, Shows::Slices)?;
        }
        Ok(cpu.completions)
    }

    /// The track for a verification on a CPU. A softirq interrupts a worker, and another worker can have its turn
    /// before the first one is done: each context has lanes of its own.
    pub fn verification<W: Write>(
        &mut self,
        packets: &mut Packets<W>,
        number: u16,
        context: Context,
        span: Span,
    ) -> io::Result<Option<Track>> {
        let Some(cpu) = self.cpu(packets, number)? else {
            return Ok(None);
        };
        let group = Some(cpu.group);
        let rank = context as i32 + 1;
        let name = match context {
            Context::Unknown => "unknown context",
            known => known.name(),
        };
        let lanes = cpu.contexts.entry(context).or_default();
        lanes.place(span, || packets.track(name, group, rank, Shows::Slices))
    }

    fn device_of<W: Write>(
        &mut self,
        packets: &mut Packets<W>,
        number: DeviceNumber,
    ) -> io::Result<Option<&mut Device>> {
        if !self.devices.contains_key(&number) {
            let title = title(number, self.names.get(&number));
            let minor = i32::try_from(number.minor).unwrap_or(0) & 0xf_ffff;
            let group = packets.track(&title, self.root, DEVICES + minor, Shows::Tracks)?;
            let Some(group) = group else { return Ok(None) };
            let device = Device {
                title,
                group,
                lanes: Lanes::default(),
            };
            self.devices.insert(number, device);
        }
        Ok(self.devices.get_mut(&number))
    }

    fn cpu<W: Write>(
        &mut self,
        packets: &mut Packets<W>,
        number: u16,
    ) -> io::Result<Option<&mut Cpu>> {
        if !self.cpus.contains_key(&number) {
            let name = format!("CPU {number}");
            let rank = CPUS + i32::from(number);
            let group = packets.track(&name, self.root, rank, Shows::Tracks)?;
            let Some(group) = group else { return Ok(None) };
            let cpu = Cpu {
                group,
                completions: None,
                contexts: BTreeMap::new(),
            };
            self.cpus.insert(number, cpu);
        }
        Ok(self.cpus.get_mut(&number))
    }
}

fn title(number: DeviceNumber, name: Option<&String>) -> Rc<str> {
    let Some(name) = name else {
        return number.to_string().into();
    };
    let name: String = name.chars().take(NAME).collect();
    format!("{} ({number})", escape::terminal(&name)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_harmless_and_not_longer_than_a_name_can_be() {
        let number = DeviceNumber {
            major: 254,
            minor: 3,
        };
        assert_eq!(*title(number, None), *"254:3");
        let name = "a\u{1b}[2J\u{202e}".to_owned();
        assert_eq!(*title(number, Some(&name)), *"a\\u{1b}[2J\\u{202e} (254:3)");
        assert_eq!(title(number, Some(&"x".repeat(1 << 20))).len(), 128 + 8);
    }
}
