//! The only way out: every counter, histogram, record and loss is written here.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use verity_trace_ebpf::counters::{DeviceCounters, counters_index, histogram_index};
use verity_trace_ebpf::loss::Loss;
use verity_trace_ebpf::placement::{PAIRS, Placement, Stage, pair};
use verity_trace_ebpf::record::{CLOCK, IN_SOFTIRQ, INCOMPLETE, INLINE_ATTEMPT, Record};
use verity_trace_ebpf::slot;

use crate::cpu::{self, ThisCpu};
use crate::maps::{COUNTERS, HISTOGRAMS, LOSSES, RECORDS, setting};

/// Counts something that was not seen.
#[inline(always)]
pub fn lose(loss: Loss) {
    if let Some(count) = LOSSES.get_ptr_mut(loss as u32) {
        add(count, 1);
    }
}

/// A map that the target refused.
#[inline(always)]
pub fn rejected(device_slot: u32) {
    if let Some(counters) = device(device_slot) {
        // SAFETY: a pointer to a field of a valid value.
        add(unsafe { &raw mut (*counters).rejected }, 1);
    }
}

/// A finished I/O.
#[inline(always)]
pub fn finished(device_slot: u32, placement: Placement, record: &Record) {
    if let Some(counters) = device(device_slot) {
        // SAFETY: pointers to fields of a valid value, with indices of the arrays' own enums.
        unsafe {
            let number = placement.number();
            add(&raw mut (*counters).finished[number], 1);
            add(&raw mut (*counters).bytes[number], u64::from(record.bytes));
            if record.status != 0 {
                add(&raw mut (*counters).failed[number], 1);
            }
            if record.has(INCOMPLETE) {
                add(&raw mut (*counters).incomplete, 1);
            }
            if let Placement::Fallback = placement
                && record.has(INLINE_ATTEMPT)
            {
                add(&raw mut (*counters).inline_attempts, 1);
            }
        }
        // Written out, so that every stage is a constant to the compiler: the verifier accepts no
        // index into the record that it cannot bound.
        let stages = Stages {
            device_slot,
            placement,
            counters,
        };
        stages.count(Stage::Device, record);
        stages.count(Stage::Wait, record);
        stages.count(Stage::Attempt, record);
        stages.count(Stage::RetryWait, record);
        stages.count(Stage::Verify, record);
        stages.count(Stage::Total, record);
    }
    if record.has(CLOCK) {
        lose(Loss::Clock);
    }
    count_softirq(record);
    // Nobody sleeps on the ring buffer; a wake-up would be an interrupt in the middle of this program.
    if setting!(records) != 0
        && RECORDS
            .output::<Record>(record, BPF_RB_NO_WAKEUP.into())
            .is_err()
    {
        lose(Loss::RingFull);
    }
}

/// Where the stages of one I/O are counted.
struct Stages {
    device_slot: u32,
    placement: Placement,
    counters: *mut DeviceCounters,
}

impl Stages {
    #[inline(always)]
    fn count(&self, stage: Stage, record: &Record) {
        if let Some(pair) = pair(self.placement, stage)
            && let Some(ns) = record.stage_ns(stage)
            && pair < PAIRS
        {
            // SAFETY: a pointer to an element of a valid value; the index was checked.
            add(
                unsafe { (&raw mut (*self.counters).sum_ns).cast::<u64>().add(pair) },
                ns,
            );
            count_duration(self.device_slot, pair, ns);
        }
    }
}

#[inline(always)]
fn count_softirq(record: &Record) {
    if !record.has(IN_SOFTIRQ) {
        return;
    }
    let stage = match record.placement() {
        Some(Placement::Fallback) => Stage::Attempt,
        _ => Stage::Verify,
    };
    if let (Some(ns), Some(cpu)) = (record.stage_ns(stage), ThisCpu::get()) {
        cpu.add_softirq_verification(ns);
    }
}

#[inline(always)]
fn count_duration(device_slot: u32, pair: usize, ns: u64) {
    let index = histogram_index(device_slot, pair, shard(), setting!(shards) as u32);
    if let Some(slots) = HISTOGRAMS.get_ptr_mut(index) {
        let slot = slot::slot(ns);
        if slot < slot::SLOTS {
            // SAFETY: a pointer to an element of a valid value; the index was checked.
            add(unsafe { (&raw mut *slots).cast::<u64>().add(slot) }, 1);
        }
    }
}

#[inline(always)]
fn device(device_slot: u32) -> Option<*mut DeviceCounters> {
    let index = counters_index(device_slot, shard(), setting!(shards) as u32);
    COUNTERS.get_ptr_mut(index)
}

/// The shard of this CPU: a few CPUs share each copy of the counters, with atomic additions.
#[inline(always)]
fn shard() -> u32 {
    u32::from(cpu::number()) & (setting!(shards) as u32).wrapping_sub(1)
}

/// Adds atomically, so that a program that interrupts another on its CPU loses nothing.
#[inline(always)]
pub fn add(counter: *mut u64, n: u64) {
    // The target has additions and no compare-and-swap, so `core` leaves out `AtomicU64::fetch_add`.
    // SAFETY: callers pass a valid, aligned counter.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, n) };
}
