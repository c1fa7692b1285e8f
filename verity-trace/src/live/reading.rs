//! Everything that the programs counted, read from their maps.

use std::collections::BTreeMap;
use std::time::Duration;

use aya::maps::{Array, HashMap as BpfHashMap, PerCpuArray};
use rustix::time::ClockId;
use verity_trace_ebpf::counters::{
    CpuCounters, DeviceTotals, FirstFailure, Hook as Watched, QueueDelays, totals_index,
};
use verity_trace_ebpf::hash_cache::HashCacheCounters;
use verity_trace_ebpf::loss::{DeviceLosses, Loss};
use verity_trace_ebpf::placement::{Placement, Stage, pair};
use verity_trace_ebpf::queue_counters::{CpuQueues, QueueWait};
use verity_trace_ebpf::settings::OTHER_SLOT;
use verity_trace_ebpf::slot::SLOTS;
use verity_trace_ebpf::submitters::{self, Submitted};

use super::{
    FailureBytes, HashCacheWords, QueueWaitWords, Session, SubmittedWords, SubmitterWords,
    TotalsWords,
};
use crate::aggregate::{DeviceReading, Reading, Submitters, add_device_counters};
use crate::histogram::{Histogram, Nanos};
use crate::kernel;
use crate::live::optional::View;
use crate::snapshot::{Failure, InFlight, Reads, Rung, Sampling};

// A map value travels as the bytes of the type that the programs know it by.
type CpuQueuesWords = [u64; size_of::<CpuQueues>() / 8];
type DelayBytes = [u64; size_of::<QueueDelays>() / 8];

impl Session {
    /// Everything counted so far.
    pub fn read(&self) -> anyhow::Result<Reading> {
        // What has finished is read first, then what is lost, then what is in flight, and last what was
        // mapped: in this order no I/O is counted twice, and none that was not mapped.
        let mut devices = BTreeMap::new();
        let mut slots = Vec::new();
        for entry in &self.slots()? {
            let (device, slot) = entry?;
            devices.insert(device, self.device(slot)?);
            slots.push((device, slot));
        }
        let mut other = self.device(OTHER_SLOT)?;
        for &slot in &self.retiring {
            other.add(&self.device(slot)?);
        }
        let mut losses = self.losses()?;
        let mut submitters = self.submitters()?;
        let mut in_flight = self.in_flight()?;
        for (device, slot) in slots {
            if let Some(reading) = devices.get_mut(&device) {
                reading.in_flight = in_flight.remove(&slot).unwrap_or_default();
                reading.submitters = submitters.remove(&slot);
            }
        }
        for slot in self.retiring.iter().chain([&OTHER_SLOT]) {
            if let Some(these) = in_flight.remove(slot) {
                other.in_flight.merge(&these);
            }
            other.add_submitters(submitters.remove(slot).as_ref());
        }
        // An I/O that found no room is one loss, though its end is seen without its beginning.
        let untraced = losses.get(&Loss::TableFull).copied().unwrap_or(0);
        let unstarted = losses.entry(Loss::FinishWithoutStart).or_default();
        *unstarted = unstarted.saturating_sub(untraced);
        let before_attach = (self.before.ended + self.before.in_flight).min(*unstarted);
        *unstarted -= before_attach;
        let probe_misses = self.programs.probe_misses()?;
        if self.rung() == Rung::Kprobe {
            let missed = match probe_misses {
                Some(all) => all - self.before.probe_misses,
                // Every incomplete I/O lacks one event at least.
                None => devices
                    .values()
                    .chain([&other])
                    .map(|device| device.counters.incomplete)
                    .sum(),
            };
            losses.insert(Loss::ProbeMiss, missed);
        }
        Ok(Reading {
            devices,
            other,
            cpus: self.cpus(),
            sees_ios: self.rung != Rung::Tracepoint,
            sees_mismatch: self.plan.sees_mismatch(),
            hash_cache_unseen: self
                .sees(View::HashCache)
                .then(|| self.optional.missed(View::HashCache))
                .transpose()?,
            queues: self.queues()?,
            queues_unseen: self.optional.missed(View::Queues)?,
            queued: self.queued()?,
            losses,
            hides_misses: probe_misses.is_none(),
            before_attach,
            cost: Some(self.statistics.cost(&self.attached()?)?),
            sampling: self.sampling()?,
        })
    }

    /// What was counted of the I/Os of a device that have finished.
    pub fn finished(&self, device: u32) -> anyhow::Result<Reads> {
        let Ok(slot) = self.slots()?.get(&device, 0) else {
            return Ok(Reads::default());
        };
        Ok(self.device(slot)?.finished())
    }

    /// What a device's slot has counted.
    pub(super) fn device(&self, slot: u32) -> anyhow::Result<DeviceReading> {
        let totals: Array<_, TotalsWords> = Array::try_from(self.map("TOTALS")?)?;
        let mut reading = DeviceReading {
            first_failure: self.first_failure(slot)?,
            losses: self.device_losses(slot)?,
            hash_cache: self.hash_cache(slot)?,
            queue_wait: self.queue_wait(slot)?,
            ..DeviceReading::default()
        };
        let mut shards = Vec::new();
        for shard in 0..self.shards {
            let words = Box::new(totals.get(&totals_index(slot, shard, self.shards), 0)?);
            let these: &DeviceTotals = bytemuck::cast_ref(&*words);
            add_device_counters(&mut reading.counters, &these.counters);
            shards.push(words);
        }
        for placement in Placement::ALL {
            if reading.counters.finished(placement) == 0 {
                continue;
            }
            for pair in Stage::ALL
                .into_iter()
                .filter_map(|stage| pair(placement, stage))
            {
                for words in &shards {
                    let these: &DeviceTotals = bytemuck::cast_ref(&**words);
                    let slots = &these.histograms[pair * SLOTS..][..SLOTS];
                    let counts = slots.iter().copied().enumerate();
                    reading.histograms[pair].merge(&Histogram::from_slots(counts, Nanos(0)));
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

    /// What was not seen of a device, as far as that can be told.
    fn device_losses(&self, slot: u32) -> anyhow::Result<DeviceLosses> {
        let losses: Array<_, DeviceLosses> = Array::try_from(self.map("DEVICE_LOSSES")?)?;
        let mut losses = losses.get(&slot, 0)?;
        losses[Loss::StartWithoutFinish.number()] += self.abandoned.get(&slot).unwrap_or(&0);
        Ok(losses)
    }

    /// I/Os in flight by device slot, counted by walking the table.
    pub(super) fn in_flight(&self) -> anyhow::Result<BTreeMap<u32, InFlight>> {
        let mut by_slot: BTreeMap<u32, InFlight> = BTreeMap::new();
        let now = kernel::clock(ClockId::Monotonic)?;
        for state in self.table.in_flight() {
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

    /// What verifications of a device found in the cache of hash blocks.
    fn hash_cache(&self, slot: u32) -> anyhow::Result<HashCacheCounters> {
        let mut all = HashCacheCounters::default();
        if self.sees(View::HashCache) {
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
        if self.sees(View::Queues) {
            let waits: PerCpuArray<_, QueueWaitWords> =
                PerCpuArray::try_from(self.map("QUEUE_WAITS")?)?;
            for &words in waits.get(&slot, 0)?.iter() {
                all.add(&bytemuck::cast(words));
            }
        }
        Ok(all)
    }

    /// Who submitted I/Os, by device slot; nobody unless that is counted.
    pub(super) fn submitters(&self) -> anyhow::Result<BTreeMap<u32, Submitters>> {
        let mut by_slot: BTreeMap<u32, Submitters> = BTreeMap::new();
        if !self.sees(View::Submitters) {
            return Ok(by_slot);
        }
        let counted: BpfHashMap<_, u64, SubmitterWords> =
            BpfHashMap::try_from(self.map("SUBMITTERS")?)?;
        for entry in &counted {
            let (key, words) = entry?;
            let (slot, task) = submitters::parts(key);
            let these = by_slot.entry(slot).or_default();
            these.tasks.insert(task, bytemuck::cast(words));
        }
        let unlisted: Array<_, SubmittedWords> = Array::try_from(self.map("UNLISTED")?)?;
        for (slot, words) in (0..).zip(unlisted.iter()) {
            let unlisted: Submitted = bytemuck::cast(words?);
            if unlisted.ios > 0 {
                by_slot.entry(slot).or_default().unlisted = unlisted;
            }
        }
        Ok(by_slot)
    }

    /// Softirqs and workqueues by CPU; none unless they are watched.
    fn queues(&self) -> anyhow::Result<Vec<CpuQueues>> {
        if !self.sees(View::Queues) {
            return Ok(Vec::new());
        }
        let cpus: PerCpuArray<_, CpuQueuesWords> = PerCpuArray::try_from(self.map("CPU_QUEUES")?)?;
        let values = cpus.get(&0, 0)?;
        Ok(values.iter().map(|&words| bytemuck::cast(words)).collect())
    }

    fn sampling(&self) -> anyhow::Result<Option<Sampling>> {
        let Some(budget) = self.budget else {
            return Ok(None);
        };
        Ok(Some(Sampling {
            one_in: budget.one_in(),
            sampled_out: self.unsent()?,
        }))
    }

    /// Records that were not sent although there was room for them.
    pub fn unsent(&self) -> anyhow::Result<u64> {
        let counts: PerCpuArray<_, u64> = PerCpuArray::try_from(self.map("UNSENT")?)?;
        Ok(counts.get(&0, 0)?.iter().sum())
    }

    /// How long verifications were queued, on kverityd and on the BH workqueue.
    fn queued(&self) -> anyhow::Result<[Histogram; 2]> {
        let delays: Array<_, DelayBytes> = Array::try_from(self.map("QUEUE_DELAYS")?)?;
        let mut queued = [Histogram::default(), Histogram::default()];
        for (index, histogram) in (0..).zip(&mut queued) {
            let QueueDelays { sum_ns, slots } = bytemuck::cast(delays.get(&index, 0)?);
            *histogram = Histogram::from_slots(slots.into_iter().enumerate(), Nanos(sum_ns));
        }
        Ok(queued)
    }

    /// What each CPU did since all probes are attached.
    pub(super) fn cpus(&self) -> Vec<CpuCounters> {
        let cpus: *mut CpuCounters = self.cpus.value().cast();
        // SAFETY: the value has this many; the programs write to it meanwhile.
        let read = |number| unsafe { cpus.add(number).read_volatile() };
        let mut counters: Vec<_> = (0..self.cpu_numbers).map(read).collect();
        for (cpu, before) in counters.iter_mut().zip(&self.before.softirqs) {
            for (ns, before) in cpu.softirq_ns.iter_mut().zip(before.softirq_ns) {
                *ns = ns.saturating_sub(before);
            }
            let verified = &mut cpu.softirq_verify_ns;
            *verified = verified.saturating_sub(before.softirq_verify_ns);
        }
        counters
    }

    fn losses(&self) -> anyhow::Result<BTreeMap<Loss, u64>> {
        let mut losses = BTreeMap::new();
        for loss in Loss::ALL {
            losses.insert(loss, self.count_of(loss)?);
        }
        *losses.entry(Loss::StartWithoutFinish).or_default() += self.abandoned_in_all;
        let now = self.missed()?;
        let lost: i128 = (0..Watched::COUNT)
            .map(|hook| now[hook].max(self.most_missed[hook]) - self.before.missed[hook])
            .map(|missed| missed.max(0))
            .sum();
        let unguarded = self.missed_unguarded()? - self.before.missed_unguarded;
        let recursion = u64::try_from(lost)? + unguarded;
        *losses.entry(Loss::Recursion).or_default() += recursion;
        Ok(losses)
    }

    /// What programs without a guard missed.
    pub(super) fn missed_unguarded(&self) -> anyhow::Result<u64> {
        Ok(self.programs.missed_unguarded()? + self.programs.missed_by_kprobes(&self.ebpf)?)
    }

    pub(super) fn count_of(&self, loss: Loss) -> anyhow::Result<u64> {
        let counts: Array<_, u64> = Array::try_from(self.map("LOSSES")?)?;
        Ok(counts.get(&u32::try_from(loss.number())?, 0)?)
    }

    /// What the programs of each hook missed and their guards did not see.
    pub(super) fn missed(&self) -> anyhow::Result<[i128; Watched::COUNT]> {
        // In this order an event between the two is no loss.
        let missed = self.programs.missed()?;
        let cpus = self.cpus();
        Ok(std::array::from_fn(|hook| {
            let guarded: i64 = cpus.iter().map(|cpu| cpu.guarded[hook]).sum();
            i128::from(missed[hook]) - i128::from(guarded)
        }))
    }
}
