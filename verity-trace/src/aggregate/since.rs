//! What happened between two snapshots of the same source.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::snapshot::{
    Account, Cpu, CpuQueues, Device, DeviceNumber, HashCache, Other, PlacementTotals, QueueWait,
    Snapshot, Totals,
};

/// Says of a snapshot what happened since an earlier one of the same source.
pub fn relate(snapshot: &mut Snapshot, earlier: &Snapshot) {
    let earlier_devices = by_identity(earlier);
    relate_to(snapshot, earlier.watched, &earlier.cpus, |device| {
        let before = earlier_devices.get(&identity(device))?;
        before.totals.as_ref().map(Cow::Borrowed)
    });
}

/// The same where nothing is known of the earlier one but for how long it had been watched, and what each
/// CPU and each device had done; a device that had not been there has done nothing.
fn relate_to<'a>(
    snapshot: &mut Snapshot,
    watched: Duration,
    cpus: &[Cpu],
    totals: impl Fn(&Device) -> Option<Cow<'a, Totals>>,
) {
    snapshot.interval = Some(snapshot.watched.saturating_sub(watched));
    for device in &mut snapshot.devices {
        let before = totals(device).unwrap_or_default();
        device.recent = device.totals.as_ref().map(|now| since(now, &before));
    }
    snapshot.recent_cpus = cpus_since(&snapshot.cpus, cpus);
}

/// The same where there is no earlier one: all of it happened since the start.
pub fn relate_to_start(snapshot: &mut Snapshot) {
    relate_to(snapshot, Duration::ZERO, &[], |_| None);
}

/// Makes of a snapshot what it would be had watching begun with another one. Both have to have every device:
/// one that is missing is taken for one that is gone. Who submitted I/Os, and what tracing costs, stay what they are since tracing began; of a CPU's longest
/// verification is known only whether it came since.
pub fn begin_anew(snapshot: &mut Snapshot, start: &Snapshot) {
    snapshot.watched = snapshot.watched.saturating_sub(start.watched);
    let started = by_identity(start);
    for device in &mut snapshot.devices {
        let before = started.get(&identity(device));
        let Some(before) = before.and_then(|before| before.totals.as_ref()) else {
            continue;
        };
        let Some(totals) = &device.totals else {
            continue;
        };
        let submitters = totals.submitters.clone();
        device.totals = Some(Totals {
            submitters,
            ..since(totals, before)
        });
        device.first_failure = device.first_failure.filter(|_| before.failed() == 0);
        if let Some(reads) = &mut device.before_attach {
            reads.ios += before.ios();
            reads.bytes += before.bytes();
        }
    }
    snapshot.other = other_since(snapshot, start);
    for (placement, histogram) in &mut snapshot.queued {
        if let Some(before) = start.queued.get(placement) {
            *histogram = histogram.since(before);
        }
    }
    snapshot.queued.retain(|_, histogram| histogram.count() > 0);
    snapshot.cpus = cpus_since(&snapshot.cpus, &start.cpus);
    if let (Some(account), Some(before)) = (&mut snapshot.account, &start.account) {
        *account = account_since(account, before);
    }
    snapshot.loss = less_each(&snapshot.loss, Some(&start.loss));
    let less = |count: &mut u64, before: u64| *count = count.saturating_sub(before);
    less(&mut snapshot.before_attach, start.before_attach);
    snapshot.hash_cache_unseen = less_known(snapshot.hash_cache_unseen, start.hash_cache_unseen);
    snapshot.queues_unseen = less_known(snapshot.queues_unseen, start.queues_unseen);
    if let (Some(sampling), Some(before)) = (&mut snapshot.sampling, &start.sampling) {
        less(&mut sampling.sampled_out, before.sampled_out);
    }
}

/// What a device keeps, which may have another name later.
type Identity = (DeviceNumber, Option<u64>);

const fn identity(device: &Device) -> Identity {
    (device.number, device.disk_sequence)
}

fn by_identity(snapshot: &Snapshot) -> BTreeMap<Identity, &Device> {
    let devices = snapshot.devices.iter();
    devices.map(|device| (identity(device), device)).collect()
}

/// What devices without a line did. Those that have gone since are among them, with all that they ever did.
fn other_since(snapshot: &Snapshot, start: &Snapshot) -> Option<Other> {
    let other = snapshot.other.as_ref()?;
    let devices = by_identity(snapshot);
    let is_gone = |device: &&Device| !devices.contains_key(&identity(device));
    let gone = start.devices.iter().filter(is_gone);
    let gone = gone.filter_map(|device| device.totals.as_ref());
    let before = start.other.iter().map(|other| &other.totals).chain(gone);
    let mut totals = since(&other.totals, &Totals::default());
    let mut had_failed = false;
    for before in before {
        totals = since(&totals, before);
        had_failed |= before.failed() > 0;
    }
    totals.submitters.clone_from(&other.totals.submitters);
    let is_needed = snapshot.devices.iter().any(|it| it.counted_in_other)
        || totals.ios() + totals.rejected + other.in_flight.ios() > 0
        || !totals.loss.is_empty();
    is_needed.then(|| Other {
        totals,
        in_flight: other.in_flight.clone(),
        first_failure: other.first_failure.filter(|_| !had_failed),
    })
}

/// I/Os that were in flight at the start are among those that were mapped since.
const fn account_since(now: &Account, before: &Account) -> Account {
    let mapped = now.mapped + before.in_flight;
    Account {
        mapped: mapped.saturating_sub(before.mapped),
        finished: now.finished.saturating_sub(before.finished),
        rejected: now.rejected.saturating_sub(before.rejected),
        in_flight: now.in_flight,
        lost: now.lost.saturating_sub(before.lost),
    }
}

/// What was counted since `earlier`, totals of the same device.
#[must_use]
pub fn since(now: &Totals, earlier: &Totals) -> Totals {
    let placements = now
        .placements
        .iter()
        .map(|(&placement, totals)| {
            let before = earlier.placements.get(&placement);
            let stages = totals
                .stages
                .iter()
                .map(|(&stage, histogram)| {
                    let before = before.and_then(|totals| totals.stages.get(&stage));
                    let recent =
                        before.map_or_else(|| histogram.clone(), |before| histogram.since(before));
                    (stage, recent)
                })
                .filter(|(_, histogram)| histogram.count() > 0)
                .collect();
            let less = |count: fn(&PlacementTotals) -> u64| {
                count(totals).saturating_sub(before.map_or(0, count))
            };
            let recent = PlacementTotals {
                ios: less(|totals| totals.ios),
                bytes: less(|totals| totals.bytes),
                failed: less(|totals| totals.failed),
                reasons: less_each(&totals.reasons, before.map(|totals| &totals.reasons)),
                completions: less_each(
                    &totals.completions,
                    before.map(|totals| &totals.completions),
                ),
                contexts: less_each(&totals.contexts, before.map(|totals| &totals.contexts)),
                stages,
            };
            (placement, recent)
        })
        .filter(|(_, totals)| totals.ios > 0)
        .collect();
    Totals {
        placements,
        rejected: now.rejected.saturating_sub(earlier.rejected),
        incomplete: now.incomplete.saturating_sub(earlier.incomplete),
        loss: less_each(&now.loss, Some(&earlier.loss)),
        attempts: less_each(&now.attempts, Some(&earlier.attempts)),
        attempt_contexts: less_each(&now.attempt_contexts, Some(&earlier.attempt_contexts)),
        rechecked: less_known(now.rechecked, earlier.rechecked),
        fec: less_known(now.fec, earlier.fec),
        mix: less_each(&now.mix, Some(&earlier.mix)),
        hash_cache: now.hash_cache.map(|now| {
            let earlier = earlier.hash_cache.unwrap_or_default();
            HashCache {
                hits: now.hits.saturating_sub(earlier.hits),
                misses: now.misses.saturating_sub(earlier.misses),
                awaited: now.awaited.saturating_sub(earlier.awaited),
                wait: now.wait.saturating_sub(earlier.wait),
                unmeasured: now.unmeasured.saturating_sub(earlier.unmeasured),
            }
        }),
        queue_wait: now.queue_wait.map(|now| {
            let earlier = earlier.queue_wait.unwrap_or_default();
            QueueWait {
                ios: now.ios.saturating_sub(earlier.ios),
                behind: now.behind.saturating_sub(earlier.behind),
                behind_ns: now.behind_ns.saturating_sub(earlier.behind_ns),
                wake_up_ns: now.wake_up_ns.saturating_sub(earlier.wake_up_ns),
                unsplit: now.unsplit.saturating_sub(earlier.unsplit),
            }
        }),
        // Those with most of them then may be others.
        submitters: None,
    }
}

/// What CPUs did since an earlier moment; one that was not there had done nothing.
#[must_use]
pub fn cpus_since(now: &[Cpu], earlier: &[Cpu]) -> Vec<Cpu> {
    let since = |(at, cpu): (usize, &Cpu)| {
        // Mostly they are the same ones.
        let same = earlier.get(at).into_iter().chain(earlier);
        let before = same.into_iter().find(|before| before.number == cpu.number);
        before.map_or_else(|| cpu.clone(), |before| cpu_since(cpu, before))
    };
    now.iter().enumerate().map(since).collect()
}

fn cpu_since(now: &Cpu, earlier: &Cpu) -> Cpu {
    let times = now.softirqs.iter().map(|(&vector, &time)| {
        let before = earlier.softirqs.get(&vector).copied().unwrap_or_default();
        (vector, time.saturating_sub(before))
    });
    let softirqs: BTreeMap<_, _> = times.filter(|(_, time)| !time.is_zero()).collect();
    Cpu {
        number: now.number,
        block_softirq: now.block_softirq.saturating_sub(earlier.block_softirq),
        tasklet_softirq: now.tasklet_softirq.saturating_sub(earlier.tasklet_softirq),
        softirq: now.softirq.saturating_sub(earlier.softirq),
        softirqs,
        queues: now.queues.as_ref().map(|queues| {
            let earlier = earlier.queues.as_ref();
            earlier.map_or_else(|| queues.clone(), |earlier| queues_since(queues, earlier))
        }),
        softirq_verify: now
            .softirq_verify
            .map(|time| time.saturating_sub(earlier.softirq_verify.unwrap_or_default())),
        mapped: now.mapped.saturating_sub(earlier.mapped),
        kverityd_verifications: now
            .kverityd_verifications
            .saturating_sub(earlier.kverityd_verifications),
        bh_verifications: now
            .bh_verifications
            .saturating_sub(earlier.bh_verifications),
        inline_verifications: less_known(now.inline_verifications, earlier.inline_verifications),
    }
}

fn queues_since(now: &CpuQueues, earlier: &CpuQueues) -> CpuQueues {
    CpuQueues {
        softirqs: less_each(&now.softirqs, Some(&earlier.softirqs)),
        ksoftirqd: less_each(&now.ksoftirqd, Some(&earlier.ksoftirqd)),
        bh_works: now.bh_works.saturating_sub(earlier.bh_works),
        bh_limits: now.bh_limits.saturating_sub(earlier.bh_limits),
        // One that is no longer than all before it leaves no trace.
        longest_verify: now
            .longest_verify
            .filter(|_| now.longest_verify > earlier.longest_verify),
    }
}

/// The difference of counts that may be unknown.
fn less_known(now: Option<u64>, earlier: Option<u64>) -> Option<u64> {
    Some(now?.saturating_sub(earlier.unwrap_or(0)))
}

/// The differences of counts, those of 0 left out.
fn less_each<K: Ord + Copy>(
    now: &BTreeMap<K, u64>,
    earlier: Option<&BTreeMap<K, u64>>,
) -> BTreeMap<K, u64> {
    now.iter()
        .map(|(&key, &count)| {
            let before = earlier.and_then(|counts| counts.get(&key)).copied();
            (key, count.saturating_sub(before.unwrap_or(0)))
        })
        .filter(|&(_, count)| count > 0)
        .collect()
}
