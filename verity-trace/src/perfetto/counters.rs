//! Counts over time, from the snapshots of a recording.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Write};

use super::packets::{Packets, Shows, Track};
use super::tracks::Tracks;
use crate::snapshot::{DeviceNumber, InFlight, Loss, Snapshot, Totals};

/// See the module.
pub struct Counters {
    lost: Option<Track>,
    /// Kinds of loss that happened.
    losses: BTreeMap<Loss, Option<Track>>,
    /// By the device's track, so that another device of the same number is another one.
    devices: BTreeMap<Track, Device>,
    /// When the last snapshot was made.
    last: Option<u64>,
}

/// The counters of a device.
struct Device {
    rate: Option<Track>,
    in_flight: Option<Track>,
    /// I/Os finished until some moment.
    last: Option<(u64, u64)>,
}

impl Counters {
    /// The losses of the machine stand above all else, also while there are none.
    pub fn new<W: Write>(packets: &mut Packets<W>, tracks: &Tracks) -> io::Result<Self> {
        Ok(Self {
            lost: packets.track("lost", tracks.root, 0, Shows::Count)?,
            losses: BTreeMap::new(),
            devices: BTreeMap::new(),
            last: None,
        })
    }

    /// Writes what a snapshot says of these devices, and of the machine.
    pub fn add<W: Write>(
        &mut self,
        packets: &mut Packets<W>,
        tracks: &mut Tracks,
        at: u64,
        snapshot: &Snapshot,
        wanted: &impl Fn(DeviceNumber) -> bool,
    ) -> io::Result<()> {
        let at = at.min(i64::MAX.cast_unsigned());
        if let Some(track) = self.lost {
            packets.count(track, at, snapshot.lost())?;
        }
        for (&loss, &count) in &snapshot.loss {
            let track = match self.losses.entry(loss) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    let name = format!("lost: {}", loss.name());
                    let rank = loss as i32 + 1;
                    let track = packets.track(&name, tracks.root, rank, Shows::Count)?;
                    // Until the snapshot before there was none.
                    if let Some((track, before)) = track.zip(self.last) {
                        packets.count(track, before, 0)?;
                    }
                    *new.insert(track)
                }
            };
            if let Some(track) = track {
                packets.count(track, at, count)?;
            }
        }
        for device in &snapshot.devices {
            let Some(totals) = device.totals.as_ref() else {
                continue;
            };
            if !wanted(device.number) {
                continue;
            }
            let Some(group) = tracks.device(packets, device.number)? else {
                continue;
            };
            let counters = match self.devices.entry(group) {
                Entry::Occupied(it) => it.into_mut(),
                Entry::Vacant(it) => it.insert(Device::new(packets, group)?),
            };
            counters.add(packets, at, totals, device.in_flight.as_ref())?;
        }
        self.last = Some(at);
        Ok(())
    }
}

impl Device {
    fn new<W: Write>(packets: &mut Packets<W>, group: Track) -> io::Result<Self> {
        Ok(Self {
            rate: packets.track("finished", Some(group), 1, Shows::Rate("I/Os/s"))?,
            in_flight: packets.track("in flight", Some(group), 2, Shows::Count)?,
            last: None,
        })
    }

    fn add<W: Write>(
        &mut self,
        packets: &mut Packets<W>,
        at: u64,
        totals: &Totals,
        in_flight: Option<&InFlight>,
    ) -> io::Result<()> {
        let ios = totals.ios();
        // A count holds until the next: the rate until now is told of the moment before. Totals that
        // went down began anew.
        if let (Some(track), Some((before, known))) = (self.rate, self.last)
            && at > before
            && ios >= known
        {
            let seconds = (at - before) as f64 / 1e9;
            packets.rate(track, before, (ios - known) as f64 / seconds)?;
        }
        self.last = Some((at, ios));
        if let (Some(track), Some(in_flight)) = (self.in_flight, in_flight) {
            packets.count(track, at, in_flight.ios())?;
        }
        Ok(())
    }
}
