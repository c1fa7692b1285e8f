//! The one owner of the source: keeps the probes attached while a verity device exists, and makes
//! snapshots. The clock is read here and nowhere further in.

mod attached;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use verity_trace_ebpf::record::Record;
use verity_trace_ebpf::sending::Sending;

use attached::{Attached, Clocks};

use crate::aggregate::{self, DeviceReading, Moment, Reading};
use crate::decode::{self, DecodeError, Unfinished};
use crate::disks;
use crate::dm::{self, Finder, VerityDevice};
use crate::error::{Error, Result};
use crate::inventory;
use crate::kernel;
use crate::live::{self, Options, Session};
use crate::picked::Pace;
use crate::plan::{NEEDS_BTF, NO_BTF};
use crate::selection::Selection;
use crate::snapshot::{DeviceNumber, Era, Kernel, Loss, Reads, Rung, Snapshot, Tracing};

/// How often it is looked whether devices came or went.
pub const TICK: Duration = Duration::from_millis(200);

/// The probes leave when no verity device has existed for so long, so that the module can be
/// removed; a table reload is shorter.
const LINGER: Duration = Duration::from_secs(2);

/// A failed attachment is tried again after so long.
const RETRY: Duration = Duration::from_secs(5);

/// How many faults are kept when the probes leave, however often they come back.
const FAULTS_KEPT: usize = 8;

/// See the module.
pub struct Collector {
    options: Options,
    /// What snapshots and records are limited to; everything is traced.
    selection: Selection,
    kernel: Kernel,
    attached: Attached,
    session: Option<Session>,
    earlier: Reading,
    /// What programs that have left reported.
    faults: Vec<String>,
    failed: Option<(Instant, String)>,
    finder: Finder,
    devices: Vec<VerityDevice>,
    /// Devices whose records are wanted, those included that went away in the last tick.
    recorded: BTreeSet<DeviceNumber>,
    /// Records of programs that have left, and that nobody has taken yet.
    left: Vec<Record>,
    /// Records that came and were not wanted.
    unwanted: u64,
    /// What the programs that are attached had not sent at the last look.
    unsent: u64,
    /// What those that have left did not send, and nobody has asked for yet.
    left_unsent: u64,
    device_seen: Instant,
    /// What each device whose I/Os are seen had read before, as far as that is known.
    before_attach: BTreeMap<DeviceNumber, Option<Reads>>,
    /// The fewest I/Os that each may have had in flight since before they were seen; absent before the first look.
    in_flight_before: BTreeMap<DeviceNumber, Option<u64>>,
}

/// Says at once, before anything is drawn or waited for, what makes tracing impossible.
fn preflight() -> Result<()> {
    live::built()?;
    dm::require_root()?;
    if !kernel::has_btf("vmlinux") {
        return Err(Error::Kernel(format!("{NO_BTF}; {NEEDS_BTF}")));
    }
    Ok(())
}

impl Collector {
    /// Attaches to the verity devices that exist. Without any, or where a part of the selection
    /// fits none, it is an error, unless the caller waits for one.
    pub fn start(options: Options, selection: Selection, waits: bool) -> Result<Self> {
        preflight()?;
        let mut finder = Finder::default();
        let devices = finder.find()?;
        if !waits {
            selection.all_of(&devices, &selection.mounts()?)?;
        }
        let now = Instant::now();
        let mut collector = Self {
            options,
            selection,
            kernel: kernel::machine(),
            attached: Attached::default(),
            session: None,
            earlier: Reading::default(),
            faults: Vec::new(),
            failed: None,
            finder,
            devices,
            recorded: BTreeSet::new(),
            left: Vec::new(),
            unwanted: 0,
            unsent: 0,
            left_unsent: 0,
            device_seen: now,
            before_attach: BTreeMap::new(),
            in_flight_before: BTreeMap::new(),
        };
        collector.recorded = collector.wanted(&collector.devices)?;
        if !collector.devices.is_empty() {
            collector.attach()?;
        }
        Ok(collector)
    }

    /// Attaches when there is a verity device, detaches when there has been none for a while.
    pub fn tick(&mut self) -> Result<()> {
        self.look()?;
        let now = Instant::now();
        if let Some(session) = &mut self.session {
            session
                .measure(now)
                .context("measure the cost of tracing")?;
            session.keep_up(&self.devices)?;
        }
        if !self.devices.is_empty() {
            self.device_seen = now;
            let tried = self
                .failed
                .as_ref()
                .is_some_and(|(at, _)| now.duration_since(*at) < RETRY);
            if self.session.is_none()
                && !tried
                && let Err(error) = self.attach()
            {
                self.failed = Some((now, error.to_string()));
            }
        } else if now.duration_since(self.device_seen) >= LINGER {
            self.detach()?;
            self.failed = None;
        }
        Ok(())
    }

    /// The picture now, of the devices that are wanted.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        let mut snapshot = self.whole_snapshot()?;
        if let Some(selected) = self.selected()? {
            snapshot
                .devices
                .retain(|device| selected.contains(&device.number));
        }
        Ok(snapshot)
    }

    /// The devices that are wanted; absent when all are.
    pub fn selected(&self) -> Result<Option<BTreeSet<DeviceNumber>>> {
        if self.selection.is_everything() {
            return Ok(None);
        }
        self.wanted(&self.devices).map(Some)
    }

    /// The picture now, with every device in it, so that one that is wanted later has a past.
    pub fn whole_snapshot(&mut self) -> Result<Snapshot> {
        // One that came since the last tick has counted already.
        self.look()?;
        let in_flight = self.in_flight();
        let mut reading = match &self.session {
            Some(session) => session.read().context("read the counters")?,
            None => Reading::default(),
        };
        self.lower_in_flight_before(&in_flight, &reading);
        let retiring = self.session.as_ref().map_or(0, Session::retiring);
        let slots = self
            .options
            .max_devices
            .saturating_sub(u32::try_from(retiring).unwrap_or(u32::MAX));
        let without_slot = reading.without_slot(&self.devices, slots);
        reading.add(&self.earlier);
        let session = self.session.as_ref();
        let attached = self.attached.until(Clocks::read()?);
        let moment = Moment {
            taken_at: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
            watched: attached.time,
            kernel: self.kernel.clone(),
            tracing: self.tracing(),
            process: attached.process,
            probes: session.map(Session::probes).unwrap_or_default(),
            gaps: session
                .map(|session| session.plan.gaps.clone())
                .unwrap_or_default(),
            devices: self.devices.clone(),
            without_slot,
            kernel_names: inventory::kernel_names(&self.devices),
            before_attach: self
                .before_attach
                .iter()
                .filter_map(|(&device, &reads)| Some((device, reads?)))
                .collect(),
            in_flight_before_attach: self
                .in_flight_before
                .iter()
                .filter_map(|(&device, &ios)| Some((device, ios?)))
                .collect(),
            use_bh_bytes: kernel::use_bh_bytes(),
        };
        Ok(aggregate::snapshot(moment, &reading))
    }

    /// Hands over every record that is waiting and wanted, as `decode` makes it. What does not decode is
    /// counted as a loss.
    pub fn drain<T>(
        &mut self,
        decode: impl Fn(&Record, Era) -> Result<T, DecodeError>,
        mut take: impl FnMut(T),
    ) {
        let era = self.kernel.era.unwrap_or(Era::NoOption);
        let mut undecoded = 0;
        let mut hand_on = |record: &Record| match decode(record, era) {
            Ok(it) => take(it),
            Err(_) => undecoded += 1,
        };
        for record in mem::take(&mut self.left) {
            hand_on(&record);
        }
        if let Some(mut session) = self.session.take() {
            session.drain(|bytes| self.keep(bytes, &mut hand_on));
            self.session = Some(session);
        }
        self.lose_undecoded(undecoded);
    }

    /// Hands over a record that is wanted.
    fn keep(&mut self, bytes: &[u8], mut take: impl FnMut(&Record)) {
        let Ok(mut record) = decode::record(bytes) else {
            self.lose_undecoded(1);
            return;
        };
        let device = decode::device_number(record.device);
        if self.is_wanted(device) {
            record.seq = self.earlier.renumbered(record.seq);
            take(&record);
        } else {
            self.unwanted += 1;
        }
    }

    /// Says which records are wanted from now on, where not all are, so long after the last time. Programs that
    /// come later send none until then.
    pub fn ask(&mut self, pace: &mut Pace, time: Duration) -> Result<()> {
        let unwanted = mem::take(&mut self.unwanted);
        let unsent = self.newly_unsent()?;
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let sending = pace.ask(time, unwanted, unsent);
        Ok(session.send(sending).context("choose records")?)
    }

    /// Records that the programs did not send since this was asked for the last time: where all that are wanted come
    /// without a quota, those that were not wanted.
    pub fn newly_unsent(&mut self) -> Result<u64> {
        let left = mem::take(&mut self.left_unsent);
        let Some(session) = &self.session else {
            return Ok(left);
        };
        let unsent = session.unsent().context("read the counters")?;
        Ok(left + unsent.saturating_sub(mem::replace(&mut self.unsent, unsent)))
    }

    /// The I/Os in flight; absent where I/Os are not seen.
    pub fn unfinished(&self) -> Result<Option<Vec<Unfinished>>> {
        let Some(session) = self.session.as_ref().filter(|_| self.sees_ios()) else {
            return Ok(None);
        };
        let is_wanted = |device| self.is_wanted(device);
        let mut ios = session
            .unfinished(is_wanted)
            .context("look for what is in flight")?;
        for io in &mut ios {
            io.seq = self.earlier.renumbered(io.seq);
        }
        Ok(Some(ios))
    }

    fn is_wanted(&self, device: DeviceNumber) -> bool {
        self.selection.is_everything() || self.recorded.contains(&device)
    }

    fn lose_undecoded(&mut self, count: u64) {
        if count > 0 {
            *self.earlier.losses.entry(Loss::Decode).or_default() += count;
        }
    }

    /// Has the programs send every record from now on, where not all are sent. Programs that come later send none
    /// until it is said again.
    pub fn send_records(&mut self) -> Result<()> {
        if let Some(session) = &mut self.session {
            session
                .send(Sending::EVERYTHING)
                .context("choose records")?;
        }
        Ok(())
    }

    /// Has them send none from now on.
    pub fn send_no_records(&mut self) -> Result<()> {
        if let Some(session) = &mut self.session {
            session.send(Sending::NOTHING).context("choose records")?;
        }
        Ok(())
    }

    /// The verity devices that there were at the last look.
    #[must_use]
    pub fn devices(&self) -> &[VerityDevice] {
        &self.devices
    }

    /// Things that the kernel programs saw and no known kernel does: the first ones.
    pub fn faults(&mut self) -> Vec<String> {
        let mut faults = self.faults.clone();
        faults.extend(self.session.iter_mut().flat_map(Session::faults));
        faults.truncate(FAULTS_KEPT);
        faults
    }

    fn wanted(&self, devices: &[VerityDevice]) -> Result<BTreeSet<DeviceNumber>> {
        let wanted = self.selection.of(devices, &self.selection.mounts()?);
        Ok(wanted.into_iter().map(|device| device.number).collect())
    }

    /// Finds out which devices there are now.
    fn look(&mut self) -> Result<()> {
        let devices = self.finder.find()?;
        let before = mem::replace(&mut self.devices, devices);
        self.retire(&before)?;
        self.recorded = self.wanted(&before)?;
        self.recorded.extend(self.wanted(&self.devices)?);
        if self.sees_ios() {
            // Whoever came since the probes were attached has done nothing unseen.
            for device in &self.devices {
                let came = self.before_attach.entry(device.number);
                came.or_insert(Some(Reads::default()));
                let came = self.in_flight_before.entry(device.number);
                came.or_insert(Some(0));
            }
        }
        Ok(())
    }

    /// What devices that are gone have counted goes to the others, so that another device with the
    /// same number starts from nothing.
    fn retire(&mut self, before: &[VerityDevice]) -> Result<()> {
        for gone in before {
            let is_there = self.devices.iter().any(|device| {
                device.number == gone.number && device.disk_sequence == gone.disk_sequence
            });
            if !is_there {
                self.before_attach.remove(&gone.number);
                self.in_flight_before.remove(&gone.number);
                let device = aggregate::encode(gone.number);
                self.earlier.retire(device);
                if let Some(session) = &mut self.session {
                    session.retire(device).context("retire a device")?;
                }
            }
        }
        if let Some(session) = &mut self.session {
            let retired = session.retired().context("retire a device")?;
            self.earlier.other.add(&retired);
        }
        Ok(())
    }

    fn attach(&mut self) -> Result<()> {
        let session = Session::attach(self.options, &self.devices)?;
        self.kernel.era = session.era();
        self.session = Some(session);
        self.unsent = 0;
        self.attached.begin(Clocks::read()?);
        self.failed = None;
        self.remember_before()
    }

    /// What the devices have read until now, less what was seen of it. In this order no I/O that has finished
    /// is in both; of a device that is busy, what finishes between the two looks is in neither.
    fn remember_before(&mut self) -> Result<()> {
        // One that came while the probes were being attached was not seen from its beginning either.
        self.look()?;
        let Some(session) = self.session.as_ref().filter(|_| self.sees_ios()) else {
            return Ok(());
        };
        for device in &self.devices {
            let reads = disks::reads(device.number).ok();
            let number = aggregate::encode(device.number);
            let seen = session.finished(number).context("read the counters")?;
            let earlier = self.earlier.devices.get(&number);
            let earlier = earlier.map_or_else(Reads::default, DeviceReading::finished);
            let before = reads.map(|reads| Reads {
                ios: reads.ios.saturating_sub(seen.ios + earlier.ios),
                bytes: reads.bytes.saturating_sub(seen.bytes + earlier.bytes),
            });
            self.before_attach.insert(device.number, before);
            self.in_flight_before.insert(device.number, None);
        }
        Ok(())
    }

    /// I/Os that the block layer has in flight, of devices where some that were not seen to begin may be among them.
    fn in_flight(&self) -> BTreeMap<DeviceNumber, u64> {
        let may_have = self.in_flight_before.iter();
        let may_have = may_have.filter(|&(_, &ios)| ios != Some(0));
        may_have
            .filter_map(|(&device, _)| Some((device, disks::in_flight(device)?)))
            .collect()
    }

    /// What the block layer had in flight before a reading and after it, and the reading has not, began before it could
    /// be seen. It only gets less, and what comes and goes meanwhile makes one look too high or too low: the lowest one
    /// counts.
    fn lower_in_flight_before(&mut self, before: &BTreeMap<DeviceNumber, u64>, reading: &Reading) {
        for (&device, &before) in before {
            let Some(after) = disks::in_flight(device) else {
                continue;
            };
            let seen = reading.devices.get(&aggregate::encode(device));
            let seen = seen.map_or(0, |it| it.in_flight.ios());
            let unseen = before.min(after).saturating_sub(seen);
            let lowest = self.in_flight_before.entry(device).or_default();
            *lowest = Some(lowest.map_or(unseen, |lowest| lowest.min(unseen)));
        }
    }

    /// Whether the probes see I/Os.
    fn sees_ios(&self) -> bool {
        let rung = self.session.as_ref().map(Session::rung);
        rung.is_some_and(|rung| rung != Rung::Tracepoint)
    }

    fn detach(&mut self) -> Result<()> {
        self.faults = self.faults();
        self.left_unsent = self.newly_unsent()?;
        if let Some(session) = self.session.take() {
            self.attached.end(Clocks::read()?);
            let mut left = mem::take(&mut self.left);
            let reading = session.detach(|bytes| self.keep(bytes, |record| left.push(*record)));
            self.left = left;
            self.earlier.add(&reading.context("read the counters")?);
            self.before_attach.clear();
            self.in_flight_before.clear();
        }
        Ok(())
    }

    fn tracing(&self) -> Tracing {
        match (&self.session, &self.failed) {
            (Some(session), _) => Tracing::Attached(session.rung()),
            (None, Some((_, sentence))) => Tracing::Failed(sentence.clone()),
            (None, None) if kernel::has_dm_verity() => Tracing::WaitingForDevice,
            (None, None) => Tracing::WaitingForModule,
        }
    }
}
