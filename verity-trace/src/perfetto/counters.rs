//! Counts over time, from the snapshots of a recording.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Write};
use std::time::Duration;

use super::packets::{Packets, Shows, Track};
use super::tracks::Tracks;
use crate::snapshot::{DeviceNumber, InFlight, Loss, Snapshot};

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
    last: Option<Seen>,
}

/// I/Os finished until some moment.
#[derive(Clone, Copy)]
struct Seen {
    at: u64,
    /// How long the probes had been attached.
    watched: Duration,
    ios: u64,
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
            let seen = Seen {
                at,
                watched: snapshot.watched,
                ios: totals.ios(),
            };
            counters.add(packets, seen, device.in_flight.as_ref())?;
        }
        self.last = Some(at);
        Ok(())
    }
}

impl Device {
    fn new<W: Write>(packets: &mut Packets<W>, group: Track) -> io::Result<Self> {
        Ok(Self {
            rate: packets.track("finished", Some(group), 1, Shows::Rate("I/O/s"))?,
            in_flight: packets.track("in flight", Some(group), 2, Shows::Count)?,
            last: None,
        })
    }

    fn add<W: Write>(
        &mut self,
        packets: &mut Packets<W>,
        seen: Seen,
        in_flight: Option<&InFlight>,
    ) -> io::Result<()> {
        // A count holds until the next: the rate until now is told of the moment before. Totals that
        // went down began anew.
        if let (Some(track), Some(before)) = (self.rate, self.last)
            && seen.at > before.at
            && seen.ios >= before.ios
        {
            let per_second = (seen.ios - before.ios) as f64 / seen.since(before).as_secs_f64();
            packets.rate(track, before.at, per_second)?;
        }
        self.last = Some(seen);
        if let (Some(track), Some(in_flight)) = (self.in_flight, in_flight) {
            packets.count(track, seen.at, in_flight.ios())?;
        }
        Ok(())
    }
}

impl Seen {
    /// The time that counts are divided by everywhere, or where there is none, what passed.
    fn since(self, before: Self) -> Duration {
        let watched = self.watched.saturating_sub(before.watched);
        if watched.is_zero() {
            Duration::from_nanos(self.at - before.at)
        } else {
            watched
        }
    }
}
