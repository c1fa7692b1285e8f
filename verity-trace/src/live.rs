//! The live probes as a source of readings and records.

pub mod bpf;
mod calibrate;
mod keys;
mod optional;
pub mod programs;
mod statistics;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aya::maps::{
    Array, HashMap as BpfHashMap, Map, MapData, PerCpuArray, PerCpuValues, Queue, RingBuf,
};
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use verity_trace_ebpf::counters::{
    CpuCounters, DeviceCounters, FirstFailure, Hook, Slots, counters_index, histogram_index,
};
use verity_trace_ebpf::hash_cache::{HashCacheCounters, MAX_CLIENTS, MAX_READS};
use verity_trace_ebpf::in_flight;
use verity_trace_ebpf::loss::Loss;
use verity_trace_ebpf::placement::{PAIRS, Placement, Stage, pair};
use verity_trace_ebpf::queue_counters::{CpuQueues, MAX_WORKERS, QueueWait};
use verity_trace_ebpf::settings::{MAX_SHARDS, OTHER_SLOT, Settings};
use verity_trace_ebpf::slot::SLOTS;

use crate::aggregate::{DeviceReading, Reading, add_device_counters};
use crate::budget::Budget;
use crate::dm::VerityDevice;
use crate::error::{Error, Result};
use crate::histogram::{Histogram, Nanos};
use crate::kernel::{self, Symbols, Types};
use crate::live::keys::Keys;
use crate::live::optional::{Optional, View};
use crate::live::programs::Programs;
use crate::live::statistics::{Program, Statistics};
use crate::snapshot::{Era, Failure, InFlight, Rung, Sampling};

/// The kernel programs; empty when the build had no tools for them.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/programs"));

/// How many faults are kept for showing: a kernel that does something unknown does it again.
const FAULTS_KEPT: usize = 8;

// A map value travels as the bytes of the type that the programs know it by.
type CounterBytes = [u64; size_of::<DeviceCounters>() / 8];
type CpuBytes = [u64; size_of::<CpuCounters>() / 8];
type InFlightBytes = [u64; size_of::<in_flight::InFlight>() / 8];
type HashCacheWords = [u64; size_of::<HashCacheCounters>() / 8];
type QueueWaitWords = [u64; size_of::<QueueWait>() / 8];
type CpuQueuesWords = [u64; size_of::<CpuQueues>() / 8];
type FailureBytes = [u64; size_of::<FirstFailure>() / 8];

/// What the user may choose.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many devices have counters of their own.
    pub max_devices: u32,
    /// The only rung to try.
    pub rung: Option<Rung>,
    /// Whether every I/O's record is wanted.
    pub records: bool,
    /// What tracing may cost before fewer records are sent.
    pub budget: Option<Budget>,
    /// Whether the cache of hash blocks is watched.
    pub hash_cache: bool,
    /// Whether softirqs and workqueues are watched in detail.
    pub queues: bool,
}

impl Options {
    fn views(&self) -> Vec<View> {
        let hash_cache = self.hash_cache.then_some(View::HashCache);
        let queues = self.queues.then_some(View::Queues);
        hash_cache.into_iter().chain(queues).collect()
    }
}

/// Attached probes. Dropping it removes everything from the kernel.
pub struct Session {
    // The programs go before the maps that they use.
    programs: Programs,
    optional: Optional,
    records: Option<RingBuf<MapData>>,
    logger: EbpfLogger<Faults>,
    faults: Faults,
    ebpf: Ebpf,
    keys: Keys,
    shards: u32,
    sees_mismatch: bool,
    statistics: Statistics,
    budget: Option<Budget>,
    sees_hash_cache: bool,
    sees_queues: bool,
    before: Before,
    /// Slots of devices that are gone, until the last of their I/Os has finished.
    retiring: Vec<u32>,
    /// What the option does on this kernel.
    pub era: Era,
}

/// How things stood when the last probe had been attached.
#[derive(Default)]
struct Before {
    /// I/Os in flight that began before; only their ends will be seen.
    in_flight: u64,
    /// Ends seen until then.
    ended: u64,
    /// What first copies missed until then less what other copies took over: these are attached
    /// before the first.
    missed: [i128; Hook::COUNT],
}

/// What the programs report through aya-log: things that no known kernel does.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Vec<String>>>);

impl log::Log for Faults {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() < FAULTS_KEPT {
            faults.push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Whether this build has kernel programs at all.
pub fn built() -> Result<()> {
    has_programs(OBJECT)
}

fn has_programs(object: &[u8]) -> Result<()> {
    if object.is_empty() {
        return Err(Error::Kernel(
            "built without kernel programs; run `cargo xtask setup` and build again".to_owned(),
        ));
    }
    Ok(())
}

impl Session {
    /// Loads the programs and attaches them. `devices` are those that exist now.
    pub fn attach(options: Options, devices: &[VerityDevice]) -> Result<Self> {
        built()?;
        let types = Types::read()?;
        let cpus = u32::try_from(kernel::possible_cpus()?).context("count the CPUs")?;
        let shards = cpus.next_power_of_two().min(MAX_SHARDS);
        let settings = Settings {
            shards: u64::from(shards),
            records: u64::from(options.records),
            samples: u64::from(options.budget.is_some()),
            sees_cache_misses: u64::from(options.hash_cache),
            sees_queues: u64::from(options.queues),
            verity_bufio: types.verity_bufio().unwrap_or(0),
            sees_mismatch: u64::from(types.sees_mismatch()),
            has_irq_regs: u64::from(types.variable(programs::IRQ_REGS_VARIABLE).is_some()),
            ..types.settings(&Symbols::read()?)?
        };
        let settings: [u64; size_of::<Settings>() / 8] = bytemuck::cast(settings);
        let slots = options.max_devices + 1;
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .override_global("SETTINGS", &settings, true)
            .map_max_entries("DEVICES", options.max_devices)
            .map_max_entries("FREE_SLOTS", options.max_devices)
            .map_max_entries("COUNTERS", counters_index(slots, 0, shards))
            .map_max_entries("FIRST_FAILURES", slots)
            .map_max_entries("HASH_CACHE", where_asked(options.hash_cache, slots))
            .map_max_entries("CLIENTS", where_asked(options.hash_cache, MAX_CLIENTS))
            .map_max_entries("READS", where_asked(options.hash_cache, MAX_READS))
            .map_max_entries("QUEUE_WAITS", where_asked(options.queues, slots))
            .map_max_entries("WORKERS", where_asked(options.queues, MAX_WORKERS))
            .map_max_entries("HISTOGRAMS", histogram_index(slots, 0, 0, shards))
            .load(OBJECT)
            .context("create the maps")?;
        let mut free: Queue<_, u32> = Queue::try_from(map_mut(&mut ebpf, "FREE_SLOTS")?)
            .context("open the map FREE_SLOTS")?;
        for slot in 1..=options.max_devices {
            free.push(slot, 0).context("fill the map FREE_SLOTS")?;
        }
        let calibration = calibrate::calibrate(&types);
        let programs = Programs::attach(&mut ebpf, OBJECT, &types, options.rung)?;
        let optional = Optional::attach(&mut ebpf, OBJECT, &types, &options.views())?;
        let records = if options.records {
            let map = ebpf.take_map("RECORDS").context("map RECORDS")?;
            Some(RingBuf::try_from(map).context("open the map RECORDS")?)
        } else {
            None
        };
        let keys = Keys::of(ebpf.map("KEYS").context("map KEYS")?)?;
        let faults = Faults::default();
        let logger = EbpfLogger::init_with_logger(&mut ebpf, faults.clone())
            .context("open the log of the kernel programs")?;
        let mut session = Self {
            programs,
            optional,
            records,
            logger,
            faults,
            ebpf,
            keys,
            shards,
            sees_mismatch: types.sees_mismatch(),
            statistics: Statistics::new(calibration),
            budget: options.budget,
            sees_hash_cache: options.hash_cache,
            sees_queues: options.queues,
            before: Before::default(),
            retiring: Vec::new(),
            era: types.era(),
        };
        session.measure(Instant::now())?;
        // In this order no end of an I/O that began before is left out of both.
        session.before.in_flight = devices.iter().map(in_flight).sum();
        session.before.ended = session.count_of(Loss::FinishWithoutStart)?;
        session.before.missed = session.missed()?;
        Ok(session)
    }

    /// How dm-verity's functions are watched.
    #[must_use]
    pub fn rung(&self) -> Rung {
        self.programs.rung
    }

    /// Measures what tracing costs, some of the time, and sends as many records as the budget allows.
    pub fn measure(&mut self, now: Instant) -> anyhow::Result<()> {
        let mut programs = self.programs.list(&self.ebpf)?;
        programs.extend(self.optional.list());
        let counted = self.statistics.tick(&programs, now)?;
        if let (Some(share), Some(budget)) = (counted.and_then(|it| it.share()), self.budget) {
            let budget = budget.after(share);
            self.budget = Some(budget);
            let mut sampling: Array<_, u64> =
                Array::try_from(map_mut(&mut self.ebpf, "SAMPLING")?)?;
            sampling.set(0, budget.one_in() - 1, 0)?;
        }
        Ok(())
    }

    /// Hands over the bytes of every record that is waiting.
    pub fn drain(&mut self, mut record: impl FnMut(&[u8])) {
        if let Some(records) = &mut self.records {
            while let Some(bytes) = records.next() {
                record(&bytes);
            }
        }
    }

    /// What the programs reported, if anything.
    pub fn faults(&mut self) -> Vec<String> {
        self.logger.flush();
        self.faults
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Everything counted so far.
    pub fn read(&self) -> anyhow::Result<Reading> {
        let in_flight = self.in_flight()?;
        let read = |slot: u32| -> anyhow::Result<DeviceReading> {
            let mut reading = self.device(slot)?;
            reading.in_flight = in_flight.get(&slot).cloned().unwrap_or_default();
            reading.first_failure = self.first_failure(slot)?;
            reading.hash_cache = self.hash_cache(slot)?;
            reading.queue_wait = self.queue_wait(slot)?;
            Ok(reading)
        };
        let mut devices = BTreeMap::new();
        for entry in &self.slots()? {
            let (device, slot) = entry?;
            devices.insert(device, read(slot)?);
        }
        let mut other = read(OTHER_SLOT)?;
        for &slot in &self.retiring {
            other.add(&read(slot)?);
        }
        let mut losses = self.losses()?;
        // An I/O that found no room is one loss, though its end is seen without its beginning.
        let untraced = losses.get(&Loss::TableFull).copied().unwrap_or(0);
        let unstarted = losses.entry(Loss::FinishWithoutStart).or_default();
        *unstarted = unstarted.saturating_sub(untraced);
        let before_attach = (self.before.ended + self.before.in_flight).min(*unstarted);
        *unstarted -= before_attach;
        if self.rung() == Rung::Kprobe {
            // What a kprobe does not fire for is not counted by the kernel; every incomplete I/O
            // is one such event at least.
            let incomplete = devices
                .values()
                .chain([&other])
                .map(|device| device.counters.incomplete)
                .sum();
            losses.insert(Loss::ProbeMiss, incomplete);
        }
        Ok(Reading {
            devices,
            other,
            cpus: self.cpus()?,
            sees_mismatch: self.sees_mismatch && self.rung() == Rung::Fentry,
            sees_hash_cache: self.sees_hash_cache,
            hash_cache_unseen: self.optional.missed(View::HashCache)?,
            queues: self.queues()?,
            queues_unseen: self.optional.missed(View::Queues)?,
            losses,
            before_attach,
            cost: Some(self.statistics.cost(&self.attached()?)?),
            sampling: self.sampling()?,
        })
    }

    /// A device is gone: its slot is given back once the last of its I/Os has finished, and
    /// [`Session::retired`] then returns what it counted.
    pub fn retire(&mut self, device: u32) -> anyhow::Result<()> {
        let mut slots: BpfHashMap<_, u32, u32> =
            BpfHashMap::try_from(map_mut(&mut self.ebpf, "DEVICES")?)?;
        if let Ok(slot) = slots.get(&device, 0) {
            slots.remove(&device)?;
            self.retiring.push(slot);
        }
        Ok(())
    }

    /// What devices that are gone have counted, once: their slots are free again.
    pub fn retired(&mut self) -> anyhow::Result<DeviceReading> {
        let mut counted = DeviceReading::default();
        if self.retiring.is_empty() {
            return Ok(counted);
        }
        let in_flight = self.in_flight()?;
        let (busy, idle) = std::mem::take(&mut self.retiring)
            .into_iter()
            .partition(|slot| in_flight.contains_key(slot));
        self.retiring = busy;
        for slot in idle {
            let mut reading = self.device(slot)?;
            reading.first_failure = self.first_failure(slot)?;
            reading.hash_cache = self.hash_cache(slot)?;
            reading.queue_wait = self.queue_wait(slot)?;
            counted.add(&reading);
            self.clear(slot)?;
        }
        Ok(counted)
    }

    fn clear(&mut self, slot: u32) -> anyhow::Result<()> {
        let shards = self.shards;
        let mut counters: Array<_, CounterBytes> =
            Array::try_from(map_mut(&mut self.ebpf, "COUNTERS")?)?;
        for shard in 0..shards {
            let zeroes = [0; size_of::<DeviceCounters>() / 8];
            counters.set(counters_index(slot, shard, shards), zeroes, 0)?;
        }
        let mut histograms: Array<_, Slots> =
            Array::try_from(map_mut(&mut self.ebpf, "HISTOGRAMS")?)?;
        for pair in 0..PAIRS {
            for shard in 0..shards {
                histograms.set(histogram_index(slot, pair, shard, shards), [0; SLOTS], 0)?;
            }
        }
        let mut failures: Array<_, FailureBytes> =
            Array::try_from(map_mut(&mut self.ebpf, "FIRST_FAILURES")?)?;
        failures.set(slot, FailureBytes::default(), 0)?;
        if self.sees_hash_cache {
            self.forget_clients(slot)?;
            self.clear_per_cpu::<HashCacheWords>("HASH_CACHE", slot)?;
        }
        if self.sees_queues {
            self.clear_per_cpu::<QueueWaitWords>("QUEUE_WAITS", slot)?;
        }
        let mut free: Queue<_, u32> = Queue::try_from(map_mut(&mut self.ebpf, "FREE_SLOTS")?)?;
        free.push(slot, 0)?;
        Ok(())
    }

    /// Detaches the probes and reads the counters for the last time.
    pub fn detach(mut self) -> anyhow::Result<Reading> {
        self.programs.detach();
        Ok(self.read()?.detached())
    }

    fn slots(&self) -> anyhow::Result<BpfHashMap<&MapData, u32, u32>> {
        Ok(BpfHashMap::try_from(self.map("DEVICES")?)?)
    }

    fn device(&self, slot: u32) -> anyhow::Result<DeviceReading> {
        let counters: Array<_, CounterBytes> = Array::try_from(self.map("COUNTERS")?)?;
        let histograms: Array<_, Slots> = Array::try_from(self.map("HISTOGRAMS")?)?;
        let mut reading = DeviceReading::default();
        for shard in 0..self.shards {
            let words = counters.get(&counters_index(slot, shard, self.shards), 0)?;
            add_device_counters(&mut reading.counters, &bytemuck::cast(words));
        }
        for placement in Placement::ALL {
            if reading.counters.finished(placement) == 0 {
                continue;
            }
            for pair in Stage::ALL
                .into_iter()
                .filter_map(|stage| pair(placement, stage))
            {
                for shard in 0..self.shards {
                    let index = histogram_index(slot, pair, shard, self.shards);
                    let counts = histograms.get(&index, 0)?;
                    let part = Histogram::from_slots(counts.into_iter().enumerate(), Nanos(0));
                    reading.histograms[pair].merge(&part);
                }
                reading.histograms[pair].add_sum(Nanos(reading.counters.sum_ns[pair]));
            }
        }
        Ok(reading)
    }

    /// The first I/O of a device that failed.
    fn first_failure(&self, slot: u32) -> anyhow::Result<Option<Failure>> {
        let failures: Array<_, FailureBytes> = Array::try_from(self.map("FIRST_FAILURES")?)?;
        let first: FirstFailure = bytemuck::cast(failures.get(&slot, 0)?);
        Ok((first.is_written != 0).then(|| Failure {
            sector: first.sector,
            status: u8::try_from(first.status).unwrap_or(u8::MAX),
        }))
    }

    /// I/Os in flight by device slot, counted by walking the table.
    fn in_flight(&self) -> anyhow::Result<BTreeMap<u32, InFlight>> {
        let states: Array<_, InFlightBytes> = Array::try_from(self.map("IN_FLIGHT")?)?;
        let mut by_slot: BTreeMap<u32, InFlight> = BTreeMap::new();
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now = Duration::try_from(now).context("read the clock")?;
        for place in self.keys.used() {
            let state: in_flight::InFlight = bytemuck::cast(states.get(&place, 0)?);
            // One that has just begun or finished has no beginning.
            if let Some(mapped_at) = state.mapped_at() {
                let age = now.saturating_sub(Duration::from_nanos(mapped_at));
                by_slot
                    .entry(state.device_slot())
                    .or_default()
                    .add(state.stage(), age);
            }
        }
        Ok(by_slot)
    }

    /// Every program that is attached.
    fn attached(&self) -> anyhow::Result<Vec<Program<'_>>> {
        let mut programs = self.programs.list(&self.ebpf)?;
        programs.extend(self.optional.list());
        Ok(programs)
    }

    /// What verifications of a device found in the cache of hash blocks.
    fn hash_cache(&self, slot: u32) -> anyhow::Result<HashCacheCounters> {
        let mut all = HashCacheCounters::default();
        if self.sees_hash_cache {
            let counters: PerCpuArray<_, HashCacheWords> =
                PerCpuArray::try_from(self.map("HASH_CACHE")?)?;
            for &words in counters.get(&slot, 0)?.iter() {
                all.add(&bytemuck::cast(words));
            }
        }
        Ok(all)
    }

    /// How a device's I/Os waited for kverityd.
    fn queue_wait(&self, slot: u32) -> anyhow::Result<QueueWait> {
        let mut all = QueueWait::default();
        if self.sees_queues {
            let waits: PerCpuArray<_, QueueWaitWords> =
                PerCpuArray::try_from(self.map("QUEUE_WAITS")?)?;
            for &words in waits.get(&slot, 0)?.iter() {
                all.add(&bytemuck::cast(words));
            }
        }
        Ok(all)
    }

    /// Softirqs and workqueues by CPU; none unless they are watched.
    fn queues(&self) -> anyhow::Result<Vec<CpuQueues>> {
        if !self.sees_queues {
            return Ok(Vec::new());
        }
        let cpus: PerCpuArray<_, CpuQueuesWords> = PerCpuArray::try_from(self.map("CPU_QUEUES")?)?;
        let values = cpus.get(&0, 0)?;
        Ok(values.iter().map(|&words| bytemuck::cast(words)).collect())
    }

    /// The clients of dm-bufio of a device that is gone: their addresses may become somebody else's.
    fn forget_clients(&mut self, slot: u32) -> anyhow::Result<()> {
        let mut clients: BpfHashMap<_, u64, u32> =
            BpfHashMap::try_from(map_mut(&mut self.ebpf, "CLIENTS")?)?;
        // One that the kernel pushes out meanwhile is as good as removed.
        let known: Vec<_> = clients.iter().filter_map(Result::ok).collect();
        for (client, _) in known.into_iter().filter(|&(_, theirs)| theirs == slot) {
            let _ = clients.remove(&client);
        }
        Ok(())
    }

    fn clear_per_cpu<V: aya::Pod + Default>(
        &mut self,
        name: &str,
        slot: u32,
    ) -> anyhow::Result<()> {
        let cpus = kernel::possible_cpus()?;
        let mut values: PerCpuArray<_, V> = PerCpuArray::try_from(map_mut(&mut self.ebpf, name)?)?;
        values.set(slot, PerCpuValues::try_from(vec![V::default(); cpus])?, 0)?;
        Ok(())
    }

    fn sampling(&self) -> anyhow::Result<Option<Sampling>> {
        let Some(budget) = self.budget else {
            return Ok(None);
        };
        let counts: PerCpuArray<_, u64> = PerCpuArray::try_from(self.map("SAMPLED_OUT")?)?;
        Ok(Some(Sampling {
            one_in: budget.one_in(),
            sampled_out: counts.get(&0, 0)?.iter().sum(),
        }))
    }

    fn cpus(&self) -> anyhow::Result<Vec<CpuCounters>> {
        let cpus: PerCpuArray<_, CpuBytes> = PerCpuArray::try_from(self.map("CPUS")?)?;
        let values = cpus.get(&0, 0)?;
        Ok(values.iter().map(|&words| bytemuck::cast(words)).collect())
    }

    fn losses(&self) -> anyhow::Result<BTreeMap<Loss, u64>> {
        let mut losses = BTreeMap::new();
        for loss in Loss::ALL {
            losses.insert(loss, self.count_of(loss)?);
        }
        let lost: i128 = std::iter::zip(self.missed()?, self.before.missed)
            .map(|(now, before)| (now - before).max(0))
            .sum();
        let recursion = u64::try_from(lost)? + self.programs.missed_by_kprobes(&self.ebpf)?;
        *losses.entry(Loss::Recursion).or_default() += recursion;
        Ok(losses)
    }

    fn count_of(&self, loss: Loss) -> anyhow::Result<u64> {
        let counts: Array<_, u64> = Array::try_from(self.map("LOSSES")?)?;
        Ok(counts.get(&u32::try_from(loss.number())?, 0)?)
    }

    /// What first copies missed less what other copies took over, by hook.
    fn missed(&self) -> anyhow::Result<[i128; Hook::COUNT]> {
        // In this order an event between the two is no loss.
        let missed = self.programs.missed()?;
        let cpus = self.cpus()?;
        Ok(std::array::from_fn(|hook| {
            let taken_over: u64 = cpus.iter().map(|cpu| cpu.taken_over[hook]).sum();
            i128::from(missed[hook]) - i128::from(taken_over)
        }))
    }

    fn map(&self, name: &str) -> anyhow::Result<&Map> {
        self.ebpf.map(name).with_context(|| format!("map {name}"))
    }
}

/// The size of a map that only an optional view uses: no map can have none.
const fn where_asked(is_asked: bool, entries: u32) -> u32 {
    if is_asked { entries } else { 1 }
}

fn map_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Map> {
    let map = ebpf.map_mut(name).with_context(|| format!("map {name}"))?;
    Ok(map)
}

/// I/Os that the block layer counts as in flight on a device; 0 when it does not say.
fn in_flight(device: &VerityDevice) -> u64 {
    let path: PathBuf = format!("/sys/dev/block/{}/inflight", device.number).into();
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .split_ascii_whitespace()
        .filter_map(|word| word.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_without_programs_is_said_and_has_its_exit_code() {
        let error = has_programs(&[]).expect_err("nothing to load");
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains("cargo xtask setup"));
        assert!(has_programs(&[0x7f]).is_ok());
    }
}
