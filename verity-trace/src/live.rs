//! The live probes as a source of readings and records.

pub mod bpf;
pub mod calibrate;
pub mod maps;
mod mapping;
mod memory;
pub mod object;
mod optional;
pub mod programs;
mod reading;
mod statistics;
mod table;

use std::array;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aya::maps::{
    Array, HashMap as BpfHashMap, Map, MapData, PerCpuArray, PerCpuValues, Queue, RingBuf,
};
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use rustix::time::ClockId;
use verity_trace_ebpf::counters::{
    CpuCounters, Cpus, DeviceTotals, FirstFailure, Hook as Watched, MAX_CPUS, totals_index,
};
use verity_trace_ebpf::hash_cache::HashCacheCounters;
use verity_trace_ebpf::in_flight::InFlight;
use verity_trace_ebpf::loss::{DeviceLosses, Loss};
use verity_trace_ebpf::queue_counters::QueueWait;
use verity_trace_ebpf::sending::Sending;
use verity_trace_ebpf::settings::{MAX_SHARDS, Settings};
use verity_trace_ebpf::submitters::{self, Submitted, Submitter};

use crate::aggregate::{DeviceReading, Reading};
use crate::budget::Budget;
use crate::cost::Calibration;
use crate::decode::{self, Unfinished};
use crate::disks;
use crate::dm::VerityDevice;
use crate::error::{Error, Result};
use crate::kernel::{self, Symbols, Types};
use crate::live::mapping::Mapping;
use crate::live::object::with_settings;
use crate::live::optional::{Optional, View};
use crate::live::programs::{Needs, Programs, Stop};
use crate::live::statistics::{Program, Statistics};
use crate::live::table::Table;
use crate::plan::facts::{Facts, LIMITS, Part};
use crate::plan::{self, Plan, Refusals};
use crate::snapshot::{DeviceNumber, Era, Probe, Rung};

/// The kernel programs; empty when the build had no tools for them.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/programs"));

/// What a slot has that nobody uses.
static EMPTY: TotalsWords = [0; size_of::<DeviceTotals>() / 8];

/// After so long it is asked whether an I/O is in flight still.
const LONG: Duration = Duration::from_secs(2);

/// How many faults are kept for showing: a kernel that does something unknown does it again.
const FAULTS_KEPT: usize = 8;

// A map value travels as the bytes of the type that the programs know it by.
type TotalsWords = [u64; size_of::<DeviceTotals>() / 8];
type HashCacheWords = [u64; size_of::<HashCacheCounters>() / 8];
type QueueWaitWords = [u64; size_of::<QueueWait>() / 8];
type SubmitterWords = [u64; size_of::<Submitter>() / 8];
type SubmittedWords = [u64; size_of::<Submitted>() / 8];
type SendingWords = [u64; size_of::<Sending>() / 8];
type FailureBytes = [u64; size_of::<FirstFailure>() / 8];

/// What the user may choose.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many devices have counters of their own.
    pub max_devices: u32,
    /// The only rung to try.
    pub rung: Option<Rung>,
    /// Which records are wanted.
    pub records: Wanted,
    /// What tracing may cost before fewer records are sent.
    pub budget: Option<Budget>,
    /// Whether the cache of hash blocks is watched.
    pub hash_cache: bool,
    /// Whether softirqs and workqueues are watched in detail.
    pub queues: bool,
    /// Whether I/Os are counted by who submitted them.
    pub submitters: bool,
}

/// Which records leave the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// None.
    Nothing,
    /// Every I/O's; under a budget as many as it allows.
    Everything,
    /// Those that this asks for, without a quota.
    Only(Sending),
    /// Those that [`Session::send`] asks for; none until then.
    Some,
}

impl Wanted {
    /// What the programs are asked for from the beginning, where that is not everything.
    const fn asked_at_first(self) -> Option<Sending> {
        match self {
            Self::Nothing | Self::Everything => None,
            Self::Only(sending) => Some(sending),
            Self::Some => Some(Sending::NOTHING),
        }
    }
}

impl Options {
    /// The optional views that are asked for.
    fn wishes(&self) -> impl Iterator<Item = View> {
        let hash_cache = self.hash_cache.then_some(View::HashCache);
        let queues = self.queues.then_some(View::Queues);
        let submitters = self.submitters.then_some(View::Submitters);
        [hash_cache, queues, submitters].into_iter().flatten()
    }

    /// Those of them that can be had on a rung.
    fn views(&self, rung: Rung) -> Vec<View> {
        self.wishes()
            .filter(|view| view.gap(rung).is_none())
            .collect()
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
    table: Table,
    cpus: Mapping<Cpus>,
    cpu_numbers: usize,
    shards: u32,
    rung: Rung,
    statistics: Statistics,
    budget: Option<Budget>,
    /// Optional views that are attached.
    views: Vec<View>,
    before: Before,
    /// I/Os by device slot whose end went unseen, and which the table has no more.
    abandoned: BTreeMap<u32, u64>,
    /// The same of all slots, those included that were given back.
    abandoned_in_all: u64,
    /// Devices with old I/Os in the table of which the block layer said at the last look that none is in flight.
    idle: BTreeSet<u32>,
    /// The most that programs were seen to miss, by hook: what a guard has seen and its program not yet makes a
    /// look too low, and none too high.
    most_missed: [i128; Watched::COUNT],
    /// What has to be attached.
    needs: Needs,
    /// Slots of devices that are gone, until the last of their I/Os has finished.
    retiring: Vec<u32>,
    /// What is attached, and what is not.
    pub plan: Plan,
}

fn send(ebpf: &mut Ebpf, sending: Sending) -> anyhow::Result<()> {
    let mut map: Array<_, SendingWords> = Array::try_from(map_mut(ebpf, "SENDING")?)?;
    Ok(map.set(0, bytemuck::cast::<_, SendingWords>(sending), 0)?)
}

/// What is known of the running kernel.
struct Kernel<'a> {
    types: &'a Types,
    symbols: &'a Symbols,
    facts: &'a Facts,
    calibration: &'a Calibration,
}

/// How things stood when the last probe had been attached, and what was missed when it had not.
#[derive(Default)]
struct Before {
    /// I/Os in flight that began before; only their ends will be seen.
    in_flight: u64,
    /// Ends seen until then.
    ended: u64,
    /// What programs missed before and their guards did not see.
    missed: [i128; Watched::COUNT],
    /// What programs without a guard missed before.
    missed_unguarded: u64,
    /// What kprobes did not fire for before.
    probe_misses: u64,
    /// What each CPU had counted; of it the time of softirqs matters.
    softirqs: Vec<CpuCounters>,
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
        let session = Self::find_rung(options, devices);
        memory::give_back();
        session
    }

    fn find_rung(options: Options, devices: &[VerityDevice]) -> Result<Self> {
        let types = Types::read()?;
        let symbols = Symbols::read()?;
        let facts = kernel::facts(&types, &symbols)?;
        let calibration = calibrate::calibrate(&types);
        let mut refusals = Refusals::default();
        // What the kernel refuses is left out, or takes another rung: each turn refuses one more.
        loop {
            let plan = plan::plan(&facts, options.rung, &refusals);
            let Some(rung) = plan.rung else {
                return Err(Error::Kernel(impossible(options.rung, &plan)));
            };
            let kernel = Kernel {
                types: &types,
                symbols: &symbols,
                facts: &facts,
                calibration: &calibration,
            };
            match Self::carry_out(plan.clone(), rung, &kernel, options, devices) {
                Ok(session) => return Ok(session),
                Err(Stop::Refused(refusal)) => refusals.add(&plan, refusal),
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
    }

    fn carry_out(
        mut plan: Plan,
        rung: Rung,
        kernel: &Kernel<'_>,
        options: Options,
        devices: &[VerityDevice],
    ) -> Result<Self, Stop> {
        let types = kernel.types;
        let views = options.views(rung);
        plan.gaps.extend(options.optional(rung, types).1);
        let counts_submitters = views.contains(&View::Submitters);
        let cpus = u32::try_from(kernel::possible_cpus()?).context("count the CPUs")?;
        let cpu_numbers = kernel::cpu_numbers()?;
        if cpu_numbers > MAX_CPUS {
            return Err(Stop::Failed(Error::Kernel(format!(
                "this machine can have CPUs with {cpu_numbers} numbers, and verity-trace tells {MAX_CPUS} apart"
            ))));
        }
        let shards = cpus.next_power_of_two().min(MAX_SHARDS);
        let address = |name| kernel.symbols.address(name).unwrap_or(0);
        let wants_records = options.records != Wanted::Nothing;
        let has_quota = options.records == Wanted::Some;
        let asked = options.records.asked_at_first();
        let reads_limits = plan::settings::reads_limits(kernel.facts);
        let settings = Settings {
            shards: u64::from(shards),
            records: u64::from(wants_records),
            samples: u64::from(options.budget.is_some() || asked.is_some()),
            has_quota: u64::from(has_quota),
            keeps_submitters: u64::from(wants_records || counts_submitters),
            counts_submitters: u64::from(counts_submitters),
            sees_cache_misses: u64::from(views.contains(&View::HashCache)),
            sees_queues: u64::from(views.contains(&View::Queues)),
            verity_bufio: types
                .member(Part::Verity, "dm_verity", "bufio")
                .unwrap_or(0)
                / 8,
            verity_work: address("verity_work"),
            verity_bh_work: address("verity_bh_work"),
            use_bh_bytes: if reads_limits { address(LIMITS) } else { 0 },
            number_type: types.cast_type("refcount_struct").map_or(0, u64::from),
            worker_type: types.cast_type("worker").map_or(0, u64::from),
            ..plan::settings::settings(kernel.facts, &plan)
        };
        let object = with_settings(OBJECT, settings)?;
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        for (map, entries) in maps::entries(options.max_devices, shards, rung, &views) {
            loader.map_max_entries(map, entries);
        }
        let mut ebpf = loader.load(&object).context("create the maps")?;
        let mut free: Queue<_, u32> = Queue::try_from(map_mut(&mut ebpf, "FREE_SLOTS")?)
            .context("open the map FREE_SLOTS")?;
        for slot in 1..=maps::devices(options.max_devices, rung) {
            free.push(slot, 0).context("fill the map FREE_SLOTS")?;
        }
        if let Some(sending) = asked {
            send(&mut ebpf, sending)?;
        }
        let needs = Needs {
            attempts: attempts(&plan, devices),
            nested_completions: completions_nest(devices),
            guards: kernel.facts.can_be_preempted() && !kernel.facts.can_hold_preemption()
                || kernel.facts.is_real_time(),
        };
        let programs = Programs::attach(&mut ebpf, &object, types, &plan, needs)?;
        let optional = Optional::attach(&mut ebpf, &object, types, &views)?;
        let records = if wants_records {
            let map = ebpf.take_map("RECORDS").context("map RECORDS")?;
            Some(RingBuf::try_from(map).context("open the map RECORDS")?)
        } else {
            None
        };
        let table = Table::of(ebpf.map("IN_FLIGHT").context("map IN_FLIGHT")?)?;
        let counters = Mapping::of(ebpf.map("CPUS").context("map CPUS")?)?;
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
            table,
            cpus: counters,
            cpu_numbers,
            shards,
            rung,
            statistics: Statistics::new(kernel.calibration.clone()),
            budget: options.budget,
            views,
            before: Before::default(),
            abandoned: BTreeMap::new(),
            abandoned_in_all: 0,
            idle: BTreeSet::new(),
            most_missed: [0; Watched::COUNT],
            needs,
            retiring: Vec::new(),
            plan,
        };
        session.begin(devices)?;
        Ok(session)
    }

    /// Attaches the last probe, from which on I/Os are seen, and notes how things stand before and after it.
    fn begin(&mut self, devices: &[VerityDevice]) -> Result<(), Stop> {
        self.remember_missed()?;
        self.programs.begin(&mut self.ebpf, self.needs)?;
        self.plan.gaps.extend(self.programs.take_gaps());
        self.measure(Instant::now())?;
        Ok(self.remember_before(devices)?)
    }

    /// What was missed before the first I/O is seen to begin: nothing that is missed later is left out.
    fn remember_missed(&mut self) -> anyhow::Result<()> {
        // What has been seen by a guard and not yet by its program is no loss.
        self.before.missed = self.missed()?.map(|missed| missed.max(0));
        self.before.missed_unguarded = self.missed_unguarded()?;
        self.before.probe_misses = self.programs.probe_misses()?.unwrap_or(0);
        Ok(())
    }

    /// How things stand now that the last probe is attached.
    fn remember_before(&mut self, devices: &[VerityDevice]) -> anyhow::Result<()> {
        self.before.softirqs = self.cpus();
        if self.rung == Rung::Tracepoint {
            // I/Os are not seen, and of verifications only those whose queueing was.
            return Ok(());
        }
        // In this order no end of an I/O that began before is left out of both.
        let now = kernel::clock(ClockId::Monotonic)?;
        let all: u64 = devices
            .iter()
            .filter_map(|device| disks::in_flight(device.number))
            .sum();
        let began = |state: &InFlight| state.mapped_at().map(Duration::from_nanos);
        let is_before = |state: &InFlight| began(state).is_some_and(|it| it < now);
        let seen = self.table.in_flight().filter(is_before).count() as u64;
        self.before.in_flight = all.saturating_sub(seen);
        self.before.ended = self.count_of(Loss::FinishWithoutStart)?;
        Ok(())
    }

    /// How dm-verity's functions are watched.
    #[must_use]
    pub const fn rung(&self) -> Rung {
        self.rung
    }

    /// How many slots devices have that are gone.
    #[must_use]
    pub const fn retiring(&self) -> usize {
        self.retiring.len()
    }

    /// What is watched.
    #[must_use]
    pub fn probes(&self) -> Vec<Probe> {
        let mut probes = self.plan.probes();
        probes.extend(self.optional.probes());
        probes
    }

    /// What the option does on this kernel.
    #[must_use]
    pub fn era(&self) -> Option<Era> {
        self.plan.era.map(|(era, _)| era)
    }

    /// Attaches what is needed from now on: what sees attempts once a device has the option, and guards where
    /// something was missed.
    pub fn keep_up(&mut self, devices: &[VerityDevice]) -> Result<()> {
        self.needs = Needs {
            attempts: attempts(&self.plan, devices),
            nested_completions: completions_nest(devices),
            ..self.needs
        };
        self.programs.keep_up(self.needs)?;
        self.plan.gaps.extend(self.programs.take_gaps());
        self.abandon_finished()
            .context("look for what is in flight")?;
        let missed = self.missed().context("read what was missed")?;
        self.most_missed = array::from_fn(|hook| self.most_missed[hook].max(missed[hook]));
        Ok(())
    }

    /// Counts as lost what the table has in flight for long on devices that are gone, and on those of which the
    /// block layer says twice that nothing is: its end went unseen.
    fn abandon_finished(&mut self) -> anyhow::Result<()> {
        let long_ago = kernel::clock(ClockId::Monotonic)?.saturating_sub(LONG);
        let is_old = |state: &InFlight| {
            let mapped_at = state.mapped_at().map(Duration::from_nanos);
            mapped_at.is_some_and(|mapped_at| mapped_at < long_ago)
        };
        let is_gone = |state: &InFlight| self.retiring.contains(&state.device_slot());
        let old: BTreeSet<u32> = self
            .table
            .in_flight()
            .filter(|state| is_old(state) && !is_gone(state))
            .map(|state| state.device())
            .collect();
        let is_idle = |&device: &u32| disks::in_flight(decode::device_number(device)) == Some(0);
        let idle: BTreeSet<u32> = old.into_iter().filter(is_idle).collect();
        let has_finished = |state: &InFlight| {
            let device = state.device();
            is_old(state)
                && (is_gone(state) || idle.contains(&device) && self.idle.contains(&device))
        };
        let abandoned = self.table.abandon(has_finished);
        self.idle = idle;
        for state in abandoned {
            *self.abandoned.entry(state.device_slot()).or_default() += 1;
            self.abandoned_in_all += 1;
        }
        Ok(())
    }

    /// Measures what tracing costs, some of the time, and sends as many records as the budget allows.
    pub fn measure(&mut self, now: Instant) -> anyhow::Result<()> {
        let mut programs = self.programs.list(&self.ebpf)?;
        programs.extend(self.optional.list());
        let counted = self.statistics.tick(&programs, now)?;
        if let (Some(share), Some(budget)) = (counted.and_then(|it| it.share()), self.budget) {
            let budget = budget.after(share);
            self.budget = Some(budget);
            self.send(Sending {
                one_in: budget.one_in(),
                ..Sending::default()
            })?;
        }
        Ok(())
    }

    /// Says which records are to be sent from now on.
    pub fn send(&mut self, sending: Sending) -> anyhow::Result<()> {
        send(&mut self.ebpf, sending)
    }

    /// The I/Os in flight on devices that are wanted.
    pub fn unfinished(
        &self,
        is_wanted: impl Fn(DeviceNumber) -> bool,
    ) -> anyhow::Result<Vec<Unfinished>> {
        let now = kernel::clock(ClockId::Monotonic)?;
        let states = self.table.in_flight();
        let ios = states
            .filter(|state| is_wanted(decode::device_number(state.device())))
            .filter_map(|state| Unfinished::of(&state, now));
        Ok(ios.collect())
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

    /// A device is gone: its slot is given back once the last of its I/Os has finished, and
    /// [`Session::retired`] then returns what it counted.
    pub fn retire(&mut self, device: u32) -> anyhow::Result<()> {
        let mut slots: BpfHashMap<_, u32, u32> =
            BpfHashMap::try_from(map_mut(&mut self.ebpf, "DEVICES")?)?;
        if let Ok(slot) = slots.get(&device, 0) {
            slots.remove(&device)?;
            self.retiring.push(slot);
            self.programs.begin_generation();
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
        let submitters = self.submitters()?;
        for slot in idle {
            counted.add(&self.device(slot)?);
            counted.add_submitters(submitters.get(&slot));
            self.clear(slot)?;
        }
        Ok(counted)
    }

    fn clear(&mut self, slot: u32) -> anyhow::Result<()> {
        let shards = self.shards;
        let mut totals: Array<_, TotalsWords> =
            Array::try_from(map_mut(&mut self.ebpf, "TOTALS")?)?;
        for shard in 0..shards {
            totals.set(totals_index(slot, shard, shards), EMPTY, 0)?;
        }
        let mut failures: Array<_, FailureBytes> =
            Array::try_from(map_mut(&mut self.ebpf, "FIRST_FAILURES")?)?;
        failures.set(slot, FailureBytes::default(), 0)?;
        let mut losses: Array<_, DeviceLosses> =
            Array::try_from(map_mut(&mut self.ebpf, "DEVICE_LOSSES")?)?;
        losses.set(slot, DeviceLosses::default(), 0)?;
        if self.sees(View::HashCache) {
            self.forget_clients(slot)?;
            self.clear_per_cpu::<HashCacheWords>("HASH_CACHE", slot)?;
        }
        if self.sees(View::Submitters) {
            self.forget_submitters(slot)?;
        }
        if self.sees(View::Queues) {
            self.clear_per_cpu::<QueueWaitWords>("QUEUE_WAITS", slot)?;
        }
        self.abandoned.remove(&slot);
        let mut free: Queue<_, u32> = Queue::try_from(map_mut(&mut self.ebpf, "FREE_SLOTS")?)?;
        free.push(slot, 0)?;
        Ok(())
    }

    /// Detaches the probes, hands over the bytes of every record that is waiting, and reads the counters for
    /// the last time.
    pub fn detach(mut self, record: impl FnMut(&[u8])) -> anyhow::Result<Reading> {
        self.programs.detach();
        self.drain(record);
        Ok(self.read()?.detached())
    }

    fn slots(&self) -> anyhow::Result<BpfHashMap<&MapData, u32, u32>> {
        Ok(BpfHashMap::try_from(self.map("DEVICES")?)?)
    }

    fn sees(&self, view: View) -> bool {
        self.views.contains(&view)
    }

    /// Every program that is attached.
    fn attached(&self) -> anyhow::Result<Vec<Program<'_>>> {
        let mut programs = self.programs.list(&self.ebpf)?;
        programs.extend(self.optional.list());
        Ok(programs)
    }

    /// Who submitted I/Os of a device that is gone.
    fn forget_submitters(&mut self, slot: u32) -> anyhow::Result<()> {
        let mut counted: BpfHashMap<_, u64, SubmitterWords> =
            BpfHashMap::try_from(map_mut(&mut self.ebpf, "SUBMITTERS")?)?;
        let keys: Result<Vec<_>, _> = counted.keys().collect();
        for key in keys? {
            if submitters::parts(key).0 == slot {
                counted.remove(&key)?;
            }
        }
        let mut unlisted: Array<_, SubmittedWords> =
            Array::try_from(map_mut(&mut self.ebpf, "UNLISTED")?)?;
        unlisted.set(slot, SubmittedWords::default(), 0)?;
        Ok(())
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

    fn map(&self, name: &str) -> anyhow::Result<&Map> {
        self.ebpf.map(name).with_context(|| format!("map {name}"))
    }
}

/// Why there is no rung, in one line.
#[must_use]
pub fn impossible(wish: Option<Rung>, plan: &Plan) -> String {
    let obstacles = plan.obstacles();
    match wish {
        Some(rung) => format!(
            "this kernel cannot be traced by {}: {obstacles}",
            rung.name()
        ),
        None => format!("this kernel cannot be traced: {obstacles}"),
    }
}

fn map_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Map> {
    let map = ebpf.map_mut(name).with_context(|| format!("map {name}"))?;
    Ok(map)
}

/// Whether verifications outside of kverityd are to be expected.
fn attempts(plan: &Plan, devices: &[VerityDevice]) -> bool {
    let can_attempt = plan.era.is_some_and(|(era, _)| era.can_attempt());
    let has_option = |device: &VerityDevice| device.table.options.try_verify_in_tasklet;
    can_attempt && devices.iter().any(has_option)
}

/// Major number of md's devices (include/uapi/linux/major.h).
const MD: u32 = 9;

/// Whether a completion is expected to interrupt another: their data devices have more than one driver, and so may
/// complete in softirq and in a task; or one lies on others by device-mapper (`dm-crypt`) or md, and so may do both.
/// Elsewhere the first that does is missed, and there is a guard from then on.
fn completions_nest(devices: &[VerityDevice]) -> bool {
    let driver = |device: &VerityDevice| -> Option<u32> {
        let (major, _) = device.table.data_device.split_once(':')?;
        major.parse().ok()
    };
    let stacked =
        |device: &VerityDevice| [Some(device.number.major), Some(MD)].contains(&driver(device));
    let drivers: BTreeSet<_> = devices.iter().map(driver).collect();
    drivers.len() > 1 || devices.iter().any(stacked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Table;

    #[test]
    fn completions_nest_where_drivers_differ_or_devices_are_stacked() {
        let on = |data_device: &str| VerityDevice {
            name: "lab".to_owned(),
            uuid: String::new(),
            number: "253:0".parse().expect("a device number"),
            disk_sequence: None,
            table: Table::parse(&format!("1 {data_device} 254:16 4096 4096 9 1 sha256 be -"))
                .expect("a table"),
            status: None,
        };
        assert!(!completions_nest(&[]));
        assert!(!completions_nest(&[on("254:0"), on("254:16")]));
        assert!(completions_nest(&[on("254:0"), on("1:0")]));
        assert!(completions_nest(&[on("253:1")]));
        assert!(completions_nest(&[on("9:0")]));
    }

    #[test]
    fn an_object_without_programs_is_said_and_has_its_exit_code() {
        let error = has_programs(&[]).expect_err("nothing to load");
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains("cargo xtask setup"));
        assert!(has_programs(&[0x7f]).is_ok());
    }
}
