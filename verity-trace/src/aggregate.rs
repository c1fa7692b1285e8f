//! Counters become totals, totals become a snapshot: pure, from plain data.

mod since;
mod submitters;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use since::{begin_anew, cpus_since, relate, relate_to_start, since};
pub use submitters::Submitters;

use bytemuck::Zeroable as _;
use verity_trace_ebpf::counters::{
    CpuCounters, DeviceCounters, SIZES, SMALLEST_SIZE_BIT, SOFTIRQ_VECTORS, context_index,
    outcome_index,
};
use verity_trace_ebpf::hash_cache::HashCacheCounters;
use verity_trace_ebpf::loss::{DeviceLosses, Loss};
use verity_trace_ebpf::placement::{PAIRS, Placement as KernelPlacement, Stage, pair};
use verity_trace_ebpf::queue_counters::{CpuQueues, QueueWait};
use verity_trace_ebpf::reason::ALL_OUTCOMES;

use crate::cost::Cost;
use crate::decode::placement;
use crate::dm::VerityDevice;
use crate::histogram::Histogram;
use crate::snapshot::{
    self, Account, Completion, Context, Cpu, Device, DeviceNumber, Era, Failure, Gap, HashCache,
    InFlight, IoClass, Kernel, Kind, Other, Placement, PlacementTotals, Probe, Reads, Sampling,
    Snapshot, Softirq, Totals, Tracing,
};

/// The counters of one device slot, over all shards.
#[derive(Clone, Debug)]
pub struct DeviceReading {
    /// Its counters.
    pub counters: DeviceCounters,
    /// Its histograms, by pair of placement and stage.
    pub histograms: [Histogram; PAIRS],
    /// I/Os in flight.
    pub in_flight: InFlight,
    /// The first that failed.
    pub first_failure: Option<Failure>,
    /// What was not seen of them, as far as that can be told by device.
    pub losses: DeviceLosses,
    /// What verifications found in the cache of hash blocks.
    pub hash_cache: HashCacheCounters,
    /// How its I/Os waited for kverityd.
    pub queue_wait: QueueWait,
    /// Who submitted them; absent unless that is counted.
    pub submitters: Option<Submitters>,
}

impl Default for DeviceReading {
    fn default() -> Self {
        Self {
            counters: DeviceCounters::zeroed(),
            histograms: Default::default(),
            in_flight: InFlight::default(),
            first_failure: None,
            losses: DeviceLosses::default(),
            hash_cache: HashCacheCounters::default(),
            queue_wait: QueueWait::default(),
            submitters: None,
        }
    }
}

/// Everything that the programs counted, read at one moment.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// By the kernel's `dev_t`.
    pub devices: BTreeMap<u32, DeviceReading>,
    /// Devices without a slot of their own, and devices that are gone.
    pub other: DeviceReading,
    /// By number.
    pub cpus: Vec<CpuCounters>,
    /// Whether I/Os are seen.
    pub sees_ios: bool,
    /// Whether it is seen when a hash does not match.
    pub sees_mismatch: bool,
    /// Calls that the programs for the cache of hash blocks were not run for; absent unless it is
    /// watched.
    pub hash_cache_unseen: Option<u64>,
    /// Softirqs and workqueues by CPU; none unless they are watched.
    pub queues: Vec<CpuQueues>,
    /// Calls that the programs for them were not run for.
    pub queues_unseen: u64,
    /// How long verifications were queued on kverityd and on the BH workqueue, where I/Os are not seen.
    pub queued: [Histogram; 2],
    /// By kind.
    pub losses: BTreeMap<Loss, u64>,
    /// Whether the kernel keeps back what its kprobes missed.
    pub hides_misses: bool,
    /// Ends of I/Os that began before all probes were attached.
    pub before_attach: u64,
    /// What tracing costs, but for this process; absent while no probe has been attached.
    pub cost: Option<Cost>,
    /// Absent without a budget.
    pub sampling: Option<Sampling>,
}

impl DeviceReading {
    /// Adds what was counted elsewhere, and before: by a device that is gone, or before the probes were
    /// attached anew.
    pub fn add(&mut self, other: &Self) {
        add_device_counters(&mut self.counters, &other.counters);
        for (mine, theirs) in self.histograms.iter_mut().zip(&other.histograms) {
            mine.merge(theirs);
        }
        self.in_flight.merge(&other.in_flight);
        for (mine, theirs) in self.losses.iter_mut().zip(other.losses) {
            *mine += theirs;
        }
        self.first_failure = other.first_failure.or(self.first_failure);
        self.hash_cache.add(&other.hash_cache);
        self.queue_wait.add(&other.queue_wait);
        self.add_submitters(other.submitters.as_ref());
    }

    /// Adds others' submitters, if they were counted.
    pub fn add_submitters(&mut self, others: Option<&Submitters>) {
        if let Some(others) = others {
            self.submitters.get_or_insert_default().add(others);
        }
    }

    /// What has finished.
    #[must_use]
    pub fn finished(&self) -> Reads {
        let ios = KernelPlacement::ALL.map(|placement| self.counters.finished(placement));
        Reads {
            ios: ios.into_iter().sum(),
            bytes: self.counters.bytes.iter().sum(),
        }
    }

    /// The same in the words of an era.
    #[must_use]
    pub fn totals(&self, era: Era, reading: &Reading) -> Totals {
        let sees_mismatch = reading.sees_mismatch;
        let counters = &self.counters;
        let mut totals = Totals {
            rejected: counters.rejected,
            incomplete: counters.incomplete,
            loss: counted(Loss::ALL, &self.losses),
            rechecked: sees_mismatch.then_some(counters.rechecked),
            fec: sees_mismatch.then_some(counters.fec),
            attempt_contexts: counted(Context::ALL, &counters.attempt_contexts),
            mix: mix(counters, era),
            hash_cache: reading
                .hash_cache_unseen
                .map(|_| hash_cache(&self.hash_cache)),
            queue_wait: (!reading.queues.is_empty()).then_some(self.queue_wait),
            submitters: self.submitters.as_ref().map(Submitters::shown),
            ..Totals::default()
        };
        for kernel in KernelPlacement::ALL {
            let ios = counters.finished(kernel);
            if ios == 0 {
                continue;
            }
            let stages = Stage::ALL
                .into_iter()
                .filter_map(|stage| Some((stage, self.histograms[pair(kernel, stage)?].clone())))
                .filter(|(_, histogram)| histogram.count() > 0)
                .collect();
            let (completions, contexts) = by_context(counters, kernel);
            let finished = PlacementTotals {
                ios,
                bytes: counters.bytes[kernel.number()],
                failed: counters.failed[kernel.number()],
                reasons: BTreeMap::new(),
                completions: counted(Completion::ALL, &completions),
                contexts: if kernel == KernelPlacement::None {
                    BTreeMap::new()
                } else {
                    counted(Context::ALL, &contexts)
                },
                stages,
            };
            totals.placements.insert(placement(kernel, era), finished);
        }
        for (kind, ios) in &totals.mix {
            if let (Some(reason), Some(finished)) =
                (kind.reason, totals.placements.get_mut(&kind.placement))
            {
                *finished.reasons.entry(reason).or_default() += ios;
            }
        }
        let fallbacks = counters.finished(KernelPlacement::Fallback);
        let inline = counters.inline_attempts.min(fallbacks);
        for (attempt, count) in [
            (Placement::Inline, inline),
            (placement(KernelPlacement::Bh, era), fallbacks - inline),
        ] {
            if count > 0 {
                totals.attempts.insert(attempt, count);
            }
        }
        totals
    }
}

impl Reading {
    /// Adds what was counted before the probes were attached anew.
    pub fn add(&mut self, earlier: &Self) {
        for (&device, reading) in &earlier.devices {
            self.devices.entry(device).or_default().add(reading);
        }
        self.other.add(&earlier.other);
        if self.cpus.len() < earlier.cpus.len() {
            self.cpus.resize(earlier.cpus.len(), CpuCounters::zeroed());
        }
        for (mine, theirs) in self.cpus.iter_mut().zip(&earlier.cpus) {
            add_cpu_counters(mine, theirs);
        }
        for (&loss, &count) in &earlier.losses {
            *self.losses.entry(loss).or_default() += count;
        }
        self.sees_ios |= earlier.sees_ios;
        self.sees_mismatch |= earlier.sees_mismatch;
        self.hash_cache_unseen = [self.hash_cache_unseen, earlier.hash_cache_unseen]
            .into_iter()
            .flatten()
            .reduce(|mine, theirs| mine + theirs);
        if self.queues.len() < earlier.queues.len() {
            self.queues
                .resize(earlier.queues.len(), CpuQueues::default());
        }
        for (mine, theirs) in self.queues.iter_mut().zip(&earlier.queues) {
            mine.add(theirs);
        }
        self.queues_unseen += earlier.queues_unseen;
        self.hides_misses |= earlier.hides_misses;
        for (mine, theirs) in self.queued.iter_mut().zip(&earlier.queued) {
            mine.merge(theirs);
        }
        self.before_attach += earlier.before_attach;
        match (&mut self.cost, &earlier.cost) {
            (Some(mine), Some(theirs)) => mine.add(theirs),
            (None, theirs) => self.cost.clone_from(theirs),
            (Some(_), None) => {}
        }
        match (&mut self.sampling, earlier.sampling) {
            (Some(mine), Some(theirs)) => mine.sampled_out += theirs.sampled_out,
            (None, theirs) => self.sampling = theirs,
            (Some(_), None) => {}
        }
    }

    /// The identity of an I/O of the session that came after this reading: each session numbers from 1,
    /// on each CPU and for each copy of the program (`Record::seq`).
    #[must_use]
    pub fn renumbered(&self, seq: u64) -> u64 {
        let (cpu, copy) = (seq >> 48, (seq >> 47 & 1) as usize);
        let cpu = usize::try_from(cpu).ok().and_then(|cpu| self.cpus.get(cpu));
        seq + cpu.map_or(0, |cpu| cpu.mapped[copy])
    }

    /// The devices that have no slot, in a reading of one session, when there are `slots` and all are
    /// taken: what they do is counted in `other`. While a slot is free, who has none has done nothing.
    #[must_use]
    pub fn without_slot(&self, devices: &[VerityDevice], slots: u32) -> BTreeSet<DeviceNumber> {
        if self.devices.len() < slots as usize {
            return BTreeSet::new();
        }
        let numbers = devices.iter().map(|device| device.number);
        numbers
            .filter(|&number| !self.devices.contains_key(&encode(number)))
            .collect()
    }

    /// Moves what a device that is gone has counted to the others.
    pub fn retire(&mut self, device: u32) {
        if let Some(reading) = self.devices.remove(&device) {
            self.other.add(&reading);
        }
    }

    /// What is kept when the probes leave: I/Os that were still in flight will not be seen to finish.
    #[must_use]
    pub fn detached(mut self) -> Self {
        let lost = self.in_flight();
        *self.losses.entry(Loss::StartWithoutFinish).or_default() += lost;
        for reading in self.all_mut() {
            let lost = std::mem::take(&mut reading.in_flight).ios();
            reading.losses[Loss::StartWithoutFinish.number()] += lost;
        }
        self
    }

    /// What became of what was mapped; absent when nothing was watched.
    fn account(&self) -> Option<Account> {
        (!self.cpus.is_empty()).then(|| Account {
            mapped: self.cpus.iter().flat_map(|cpu| cpu.mapped).sum(),
            finished: self.all().map(|reading| reading.finished().ios).sum(),
            rejected: self.all().map(|reading| reading.counters.rejected).sum(),
            in_flight: self.in_flight(),
            lost: self
                .losses
                .get(&Loss::StartWithoutFinish)
                .copied()
                .unwrap_or(0),
        })
    }

    fn in_flight(&self) -> u64 {
        self.all().map(|reading| reading.in_flight.ios()).sum()
    }

    fn all(&self) -> impl Iterator<Item = &DeviceReading> {
        self.devices.values().chain([&self.other])
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut DeviceReading> {
        self.devices.values_mut().chain([&mut self.other])
    }
}

/// What a snapshot is made of, beside the counters.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Since the Unix epoch.
    pub taken_at: Duration,
    /// How long the probes have been attached.
    pub watched: Duration,
    /// The machine.
    pub kernel: Kernel,
    /// Whether dm-verity is watched.
    pub tracing: Tracing,
    /// CPU time of this process while the probes were attached.
    pub process: Duration,
    /// The probes that are attached.
    pub probes: Vec<Probe>,
    /// What this kernel does not let be seen.
    pub gaps: Vec<Gap>,
    /// The verity devices that exist.
    pub devices: Vec<VerityDevice>,
    /// Those of them whose I/Os are counted in [`Reading::other`].
    pub without_slot: BTreeSet<DeviceNumber>,
    /// The kernel's names of these and of those that they lie on.
    pub kernel_names: BTreeMap<String, String>,
    /// What each had read before its I/Os were seen, as far as that is known.
    pub before_attach: BTreeMap<DeviceNumber, Reads>,
    /// How many I/Os each has in flight since before they were seen, as far as that is known.
    pub in_flight_before_attach: BTreeMap<DeviceNumber, u64>,
    /// The module's limits.
    pub use_bh_bytes: Option<Vec<u64>>,
}

/// The picture of this moment; what happened recently only an earlier one tells ([`relate`]).
#[must_use]
pub fn snapshot(moment: Moment, reading: &Reading) -> Snapshot {
    let era = moment.kernel.era.unwrap_or(Era::NoOption);
    // Where nothing was watched yet there was nothing to miss.
    let sees_ios = reading.sees_ios || reading.cpus.is_empty();
    let devices = moment
        .devices
        .into_iter()
        .map(|device| {
            let found = reading.devices.get(&encode(device.number));
            let totals = found.map_or_else(Totals::default, |found| found.totals(era, reading));
            let counted_in_other = moment.without_slot.contains(&device.number);
            let is_counted = sees_ios && !counted_in_other;
            Device {
                name: device.name,
                uuid: device.uuid,
                number: device.number,
                disk_sequence: device.disk_sequence,
                table: device.table,
                status: device.status,
                counted_in_other,
                recent: None,
                totals: is_counted.then_some(totals),
                in_flight: is_counted.then(|| {
                    found
                        .map(|reading| reading.in_flight.clone())
                        .unwrap_or_default()
                }),
                first_failure: found.and_then(|reading| reading.first_failure),
                // What was seen of it since cannot be told from what was seen of others.
                before_attach: (moment.before_attach.get(&device.number).copied())
                    .filter(|_| !counted_in_other),
                in_flight_before_attach: moment
                    .in_flight_before_attach
                    .get(&device.number)
                    .copied()
                    .filter(|_| !counted_in_other),
            }
        })
        .collect();
    let other = Other {
        totals: reading.other.totals(era, reading),
        in_flight: reading.other.in_flight.clone(),
        first_failure: reading.other.first_failure,
    };
    let is_other_needed = !moment.without_slot.is_empty() || has_counted(&other);
    Snapshot {
        taken_at: moment.taken_at,
        watched: moment.watched,
        interval: None,
        kernel: moment.kernel,
        tracing: moment.tracing,
        probes: moment.probes,
        gaps: moment.gaps,
        devices,
        kernel_names: moment.kernel_names,
        queued: [KernelPlacement::Kverityd, KernelPlacement::Bh]
            .into_iter()
            .zip(&reading.queued)
            .filter(|(_, histogram)| histogram.count() > 0)
            .map(|(kernel, histogram)| (placement(kernel, era), histogram.clone()))
            .collect(),
        other: is_other_needed.then_some(other),
        cpus: (0..)
            .zip(&reading.cpus)
            .map(|(number, counters)| cpu(number, counters, reading.queues.get(number), sees_ios))
            .collect(),
        recent_cpus: Vec::new(),
        use_bh_bytes: moment.use_bh_bytes,
        account: sees_ios.then(|| reading.account()).flatten(),
        loss: reading
            .losses
            .iter()
            .map(|(&loss, &count)| (loss, count))
            .filter(|&(_, count)| count > 0)
            .collect(),
        hides_misses: reading.hides_misses,
        before_attach: reading.before_attach,
        hash_cache_unseen: reading.hash_cache_unseen,
        queues_unseen: (!reading.queues.is_empty()).then_some(reading.queues_unseen),
        cost: reading.cost.clone().map(|cost| Cost {
            process: moment.process,
            ..cost
        }),
        sampling: reading.sampling,
    }
}

fn has_counted(other: &Other) -> bool {
    let totals = &other.totals;
    totals.ios() + totals.rejected + other.in_flight.ios() > 0 || !totals.loss.is_empty()
}

fn hash_cache(counters: &HashCacheCounters) -> HashCache {
    HashCache {
        hits: counters.hits,
        misses: counters.misses,
        awaited: counters.awaited,
        wait: Duration::from_nanos(counters.wait_ns),
        unmeasured: counters.unmeasured,
    }
}

/// Counts by what they count, those of 0 left out.
fn counted<K: Ord, const N: usize>(keys: [K; N], counts: &[u64]) -> BTreeMap<K, u64> {
    std::iter::zip(keys, counts.iter().copied())
        .filter(|&(_, count)| count > 0)
        .collect()
}

/// The I/Os of a placement by the context of their completion, and by that of their verification.
fn by_context(
    counters: &DeviceCounters,
    placement: KernelPlacement,
) -> ([u64; Completion::COUNT], [u64; Context::COUNT]) {
    let mut completions = [0; Completion::COUNT];
    let mut contexts = [0; Context::COUNT];
    for (completion, of_completion) in completions.iter_mut().enumerate() {
        for (context, of_context) in contexts.iter_mut().enumerate() {
            let ios = counters.contexts[context_index(placement.number(), completion, context)];
            *of_completion += ios;
            *of_context += ios;
        }
    }
    (completions, contexts)
}

/// The counters of outcomes in the words of the era.
fn mix(counters: &DeviceCounters, era: Era) -> BTreeMap<Kind, u64> {
    let mut mix = BTreeMap::new();
    for (size, bit) in (0..SIZES).zip(SMALLEST_SIZE_BIT..) {
        for (number, class) in IoClass::ALL.into_iter().enumerate() {
            let outcomes = &counters.outcomes[outcome_index(size, number, 0)..];
            for ((kernel, reason), &ios) in ALL_OUTCOMES.into_iter().zip(outcomes) {
                if ios > 0 {
                    let kind = Kind {
                        size: 1 << bit,
                        class,
                        placement: placement(kernel, era),
                        reason,
                    };
                    mix.insert(kind, ios);
                }
            }
        }
    }
    mix
}

fn cpu(number: usize, counters: &CpuCounters, queues: Option<&CpuQueues>, sees_ios: bool) -> Cpu {
    let softirqs: BTreeMap<_, _> = by_vector(&counters.softirq_ns)
        .into_iter()
        .map(|(vector, ns)| (vector, Duration::from_nanos(ns)))
        .collect();
    let time_in = |vector| softirqs.get(&vector).copied().unwrap_or_default();
    Cpu {
        number,
        block_softirq: time_in(Softirq::BLOCK),
        tasklet_softirq: time_in(Softirq::TASKLET),
        softirq: softirqs.values().sum(),
        queues: queues.map(|queues| snapshot::CpuQueues {
            softirqs: by_vector(&queues.softirqs),
            ksoftirqd: by_vector(&queues.ksoftirqd),
            bh_works: queues.bh_works,
            bh_limits: queues.bh_limits,
            longest_verify: (queues.longest_verify_ns > 0)
                .then(|| Duration::from_nanos(queues.longest_verify_ns)),
        }),
        softirqs,
        softirq_verify: sees_ios.then(|| Duration::from_nanos(counters.softirq_verify_ns)),
        mapped: counters.mapped.iter().sum(),
        kverityd_verifications: counters.kverityd_verifications,
        bh_verifications: counters.bh_verifications,
        inline_verifications: sees_ios.then_some(counters.inline_verifications),
    }
}

/// Counts by softirq vector, those of 0 left out.
fn by_vector(counts: &[u64; SOFTIRQ_VECTORS]) -> BTreeMap<Softirq, u64> {
    counted(
        std::array::from_fn::<_, SOFTIRQ_VECTORS, _>(Softirq),
        counts,
    )
}

/// The kernel's internal `dev_t` of a device number: the reverse of `decode::device_number`.
#[must_use]
pub const fn encode(number: DeviceNumber) -> u32 {
    number.major << 20 | number.minor
}

/// Adds the counters of one shard to another's.
pub fn add_device_counters(to: &mut DeviceCounters, from: &DeviceCounters) {
    add_words(bytemuck::bytes_of_mut(to), bytemuck::bytes_of(from));
}

fn add_cpu_counters(to: &mut CpuCounters, from: &CpuCounters) {
    let now = to.now;
    add_words(bytemuck::bytes_of_mut(to), bytemuck::bytes_of(from));
    to.now = now;
}

/// Both are structures of 64-bit counters alone.
fn add_words(to: &mut [u8], from: &[u8]) {
    let to: &mut [u64] = bytemuck::cast_slice_mut(to);
    let from: &[u64] = bytemuck::cast_slice(from);
    for (to, from) in to.iter_mut().zip(from) {
        *to = to.wrapping_add(*from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;
    use crate::histogram::Nanos;
    use crate::snapshot::Reason;
    use crate::target::Table;
    use verity_trace_ebpf::reason::outcome;

    const NUMBER: DeviceNumber = DeviceNumber {
        major: 253,
        minor: 3,
    };

    fn moment(watched: u64) -> Moment {
        Moment {
            taken_at: Duration::from_secs(1_000 + watched),
            watched: Duration::from_secs(watched),
            kernel: Kernel {
                release: "6.12".to_owned(),
                host: "lab".to_owned(),
                cpus: 2,
                era: Some(Era::Bh),
            },
            tracing: Tracing::WaitingForDevice,
            process: Duration::ZERO,
            probes: Vec::new(),
            gaps: Vec::new(),
            devices: vec![VerityDevice {
                name: "root".to_owned(),
                uuid: String::new(),
                number: NUMBER,
                disk_sequence: Some(9),
                table: Table::parse(
                    "1 8:1 8:2 4096 4096 16384 1 sha256 6d6f - 1 try_verify_in_tasklet",
                )
                .expect("a verity table"),
                status: None,
            }],
            without_slot: BTreeSet::new(),
            kernel_names: BTreeMap::new(),
            before_attach: BTreeMap::new(),
            in_flight_before_attach: BTreeMap::new(),
            use_bh_bytes: None,
        }
    }

    fn reading(bh: u64, fallbacks: u64) -> Reading {
        let mut device = DeviceReading::default();
        device.counters.outcomes[outcome_index(3, 2, outcome(KernelPlacement::Bh, None))] = bh;
        device.counters.bytes[KernelPlacement::Bh.number()] = bh * 4096;
        let fallback = outcome(KernelPlacement::Fallback, Some(Reason::CacheMiss));
        device.counters.outcomes[outcome_index(3, 2, fallback)] = fallbacks;
        device.counters.inline_attempts = fallbacks / 2;
        let pair = pair(KernelPlacement::Bh, Stage::Wait).expect("a pair");
        device.histograms[pair] = Histogram::from_values((0..bh).map(|_| Nanos(1_000)));
        Reading {
            devices: BTreeMap::from([(encode(NUMBER), device)]),
            losses: BTreeMap::from([(Loss::RingFull, 0), (Loss::Clock, 2)]),
            ..Reading::default()
        }
    }

    fn since(earlier: &Snapshot, mut snapshot: Snapshot) -> Snapshot {
        relate(&mut snapshot, earlier);
        snapshot
    }

    #[test]
    fn the_first_snapshot_has_totals_and_nothing_recent() {
        let snapshot = snapshot(moment(1), &reading(10, 4));
        let device = &snapshot.devices[0];
        let totals = device.totals.as_ref().expect("I/Os are seen");
        assert_eq!(totals.ios(), 14);
        assert_eq!(totals.placements[&Placement::Bh].bytes, 40_960);
        assert_eq!(
            totals.placements[&Placement::Fallback].reasons,
            BTreeMap::from([(Reason::CacheMiss, 4)])
        );
        let kind = Kind {
            size: 4096,
            class: IoClass::BestEffort,
            placement: Placement::Bh,
            reason: None,
        };
        assert_eq!(totals.mix[&kind], 10);
        assert_eq!(
            totals.attempts,
            BTreeMap::from([(Placement::Bh, 2), (Placement::Inline, 2)])
        );
        assert_eq!(device.recent, None);
        assert_eq!(snapshot.interval, None);
        assert_eq!(snapshot.loss, BTreeMap::from([(Loss::Clock, 2)]));
        assert_eq!(snapshot.other, None);
    }

    #[test]
    fn recent_is_the_difference_to_the_snapshot_before() {
        let first = snapshot(moment(1), &reading(10, 4));
        let second = since(&first, snapshot(moment(3), &reading(15, 4)));
        let recent = second.devices[0].recent.as_ref().expect("an interval");
        assert_eq!(second.interval, Some(Duration::from_secs(2)));
        assert_eq!(recent.ios(), 5);
        assert_eq!(recent.stage(Stage::Wait).count(), 5);
        assert!(!recent.placements.contains_key(&Placement::Fallback));
    }

    #[test]
    fn a_device_with_the_number_of_one_that_is_gone_is_another() {
        let first = snapshot(moment(1), &reading(10, 4));
        let mut later = moment(2);
        later.devices[0].disk_sequence = Some(10);
        let mut counted = reading(10, 4);
        counted.retire(encode(NUMBER));
        let second = since(&first, snapshot(later, &counted));
        assert_eq!(second.devices[0].totals.as_ref().map(Totals::ios), Some(0));
        assert_eq!(second.devices[0].recent.as_ref().map(Totals::ios), Some(0));
        assert_eq!(other_totals(&second).map(Totals::ios), Some(14));
    }

    fn other_totals(snapshot: &Snapshot) -> Option<&Totals> {
        snapshot.other.as_ref().map(|other| &other.totals)
    }

    #[test]
    fn a_device_without_a_slot_is_not_idle_but_counted_in_other() {
        let mut moment = moment(1);
        let second = DeviceNumber {
            major: 253,
            minor: 4,
        };
        moment.devices.push(VerityDevice {
            number: second,
            ..moment.devices[0].clone()
        });
        let mut counted = reading(10, 4);
        assert!(counted.without_slot(&moment.devices, 2).is_empty());
        let idle = snapshot(moment.clone(), &counted);
        assert_eq!(idle.devices[1].totals, Some(Totals::default()));
        assert_eq!(idle.other, None);

        moment.before_attach.insert(second, Reads::default());
        moment.without_slot = counted.without_slot(&moment.devices, 1);
        assert_eq!(moment.without_slot, BTreeSet::from([second]));
        let stuck = Duration::from_secs(3);
        counted.other.in_flight.add(Stage::Device, stuck);
        let full = since(&idle, snapshot(moment, &counted));
        let [with, without] = [&full.devices[0], &full.devices[1]];
        assert_eq!(with.totals.as_ref().map(Totals::ios), Some(14));
        assert!(!with.counted_in_other && without.counted_in_other);
        assert_eq!(
            (&without.totals, &without.recent, &without.in_flight),
            (&None, &None, &None)
        );
        assert_eq!(without.before_attach, None);
        let other = full.other.expect("a device is counted there");
        assert_eq!(other.in_flight.oldest(), Some((Stage::Device, stuck)));
    }

    #[test]
    fn what_others_have_in_flight_and_their_first_failure_is_kept() {
        let mut counted = reading(10, 4);
        let failure = Failure {
            sector: 8,
            status: 10,
        };
        for device in counted.devices.values_mut() {
            device.first_failure = Some(failure);
        }
        counted.retire(encode(NUMBER));
        let mut moment = moment(1);
        moment.devices.clear();
        let gone = snapshot(moment.clone(), &counted).other;
        assert_eq!(gone.and_then(|it| it.first_failure), Some(failure));
        let mut hung = Reading::default();
        hung.other.in_flight.add(Stage::Wait, Duration::ZERO);
        let hung = snapshot(moment, &hung).other;
        assert_eq!(hung.map(|it| it.in_flight.ios()), Some(1));
    }

    #[test]
    fn a_loss_that_can_be_told_by_device_is_that_devices_and_goes_with_it() {
        let mut counted = reading(10, 4);
        counted.losses = BTreeMap::from([(Loss::RingFull, 7), (Loss::Recursion, 2)]);
        for device in counted.devices.values_mut() {
            device.losses[Loss::RingFull.number()] = 4;
        }
        counted.other.losses[Loss::RingFull.number()] = 3;
        let first = snapshot(moment(1), &counted);
        let loss_of = |totals: Option<&Totals>| totals.map(|totals| totals.loss.clone());
        let ring_full = |count| Some(BTreeMap::from([(Loss::RingFull, count)]));
        assert_eq!(loss_of(first.devices[0].totals.as_ref()), ring_full(4));
        assert_eq!(loss_of(other_totals(&first)), ring_full(3));
        assert_eq!(first.lost(), 9);
        counted.retire(encode(NUMBER));
        let second = since(&first, snapshot(moment(2), &counted));
        assert_eq!(
            loss_of(second.devices[0].totals.as_ref()),
            Some(BTreeMap::new())
        );
        assert_eq!(loss_of(other_totals(&second)), ring_full(7));
        assert_eq!(second.lost(), 9);
    }

    #[test]
    fn what_was_read_before_is_that_devices_and_in_no_total() {
        let mut moment = moment(1);
        let reads = Reads {
            ios: 300,
            bytes: 1_228_800,
        };
        assert_eq!(
            snapshot(moment.clone(), &reading(10, 4)).devices[0].before_attach,
            None
        );
        moment.before_attach.insert(NUMBER, reads);
        let snapshot = snapshot(moment, &reading(10, 4));
        assert_eq!(snapshot.devices[0].before_attach, Some(reads));
        let totals = snapshot.devices[0].totals.as_ref();
        assert_eq!(totals.map(Totals::ios), Some(14));
        assert_eq!(snapshot.before_attach, 0);
    }

    #[test]
    fn a_device_that_is_new_counts_from_nothing() {
        let mut first = snapshot(moment(1), &reading(10, 4));
        first.devices.clear();
        let second = since(&first, snapshot(moment(2), &reading(15, 4)));
        assert_eq!(second.devices[0].recent.as_ref().map(Totals::ios), Some(19));
    }

    #[test]
    fn what_was_counted_before_attaching_anew_is_kept() {
        let mut before = reading(10, 0);
        before
            .devices
            .values_mut()
            .for_each(|device| device.in_flight.add(Stage::Wait, Duration::from_secs(1)));
        let mut now = reading(1, 0);
        now.add(&before.detached());
        let device = &now.devices[&encode(NUMBER)];
        assert_eq!(device.counters.finished(KernelPlacement::Bh), 11);
        assert_eq!(device.in_flight.ios(), 0);
        assert_eq!(now.losses[&Loss::Clock], 4);
        assert_eq!(now.losses[&Loss::StartWithoutFinish], 1);
        assert_eq!(device.losses[Loss::StartWithoutFinish.number()], 1);
    }

    #[test]
    fn what_was_mapped_is_accounted_for_on_every_device_and_before() {
        let mut earlier = reading(2, 1);
        let mut cpu = CpuCounters::zeroed();
        cpu.mapped = [3, 1];
        earlier.cpus = vec![cpu];
        earlier
            .other
            .in_flight
            .add(Stage::Device, Duration::from_secs(1));
        let mut now = reading(4, 0);
        cpu.mapped = [6, 0];
        now.cpus = vec![cpu];
        now.sees_ios = true;
        now.other.counters.rejected = 1;
        now.other
            .in_flight
            .add(Stage::Device, Duration::from_secs(1));
        now.add(&earlier.detached());
        let account = snapshot(moment(1), &now).account;
        let expected = Account {
            mapped: 10,
            finished: 7,
            rejected: 1,
            in_flight: 1,
            lost: 1,
        };
        assert_eq!(account, Some(expected));
        let unwatched = snapshot(moment(1), &Reading::default());
        assert_eq!(unwatched.account, None);
    }

    #[test]
    fn an_identity_is_not_given_again_after_attaching_anew() {
        let mut cpu = CpuCounters::zeroed();
        cpu.mapped = [5, 2];
        let earlier = Reading {
            cpus: vec![CpuCounters::zeroed(), cpu],
            ..Reading::default()
        };
        let seq = |cpu: u64, copy: u64, count: u64| cpu << 48 | copy << 47 | count;
        for (given, expected) in [
            (seq(0, 0, 1), seq(0, 0, 1)),
            (seq(1, 0, 1), seq(1, 0, 6)),
            (seq(1, 1, 1), seq(1, 1, 3)),
            (seq(2, 0, 1), seq(2, 0, 1)),
        ] {
            assert_eq!(earlier.renumbered(given), expected);
        }
    }

    #[test]
    fn where_ios_are_not_seen_their_counts_are_absent_and_not_0() {
        let mut bh = CpuCounters::zeroed();
        bh.bh_verifications = 3;
        let reading = Reading {
            cpus: vec![bh],
            queued: [
                Histogram::default(),
                Histogram::from_values([1, 2, 3].map(Nanos)),
            ],
            ..Reading::default()
        };
        let first = snapshot(moment(1), &reading);
        let second = since(&first, snapshot(moment(2), &reading));
        for device in first.devices.iter().chain(&second.devices) {
            assert_eq!(device.totals, None);
            assert_eq!(device.recent, None);
            assert_eq!(device.in_flight, None);
            assert_eq!(device.effective(), None);
        }
        assert_eq!(first.cpus[0].bh_verifications, 3);
        assert_eq!(first.cpus[0].softirq_verify, None);
        assert_eq!(first.cpus[0].inline_verifications, None);
        let queued: Vec<_> = first.queued.keys().collect();
        assert_eq!(queued, [&Placement::Bh]);
        assert_eq!(first.queued[&Placement::Bh].count(), 3);
    }

    #[test]
    fn device_numbers_survive_encoding() {
        assert_eq!(decode::device_number(encode(NUMBER)), NUMBER);
    }
}
