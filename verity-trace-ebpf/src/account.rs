//! The only way out: every counter, histogram, record and loss is written here.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use verity_trace_ebpf::context::Context;
use verity_trace_ebpf::counters::{
    DeviceCounters, class_number, completion_index, context_index, counters_index, histogram_index,
    outcome_index, size_number,
};
use verity_trace_ebpf::loss::Loss;
use verity_trace_ebpf::placement::{Placement, Stage, pair};
use verity_trace_ebpf::record::{CLOCK, FEC, INCOMPLETE, INLINE_ATTEMPT, RECHECKED, Record};
use verity_trace_ebpf::slot;

use crate::cpu::{self, ThisCpu};
use crate::maps::{COUNTERS, FIRST_FAILURES, HISTOGRAMS, LOSSES, RECORDS, setting};
use crate::memory::opaque;
use crate::places::compare_and_set;
use crate::{queues, sampling};

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
            let size = size_number(record.bytes);
            let class = class_number(record.ioprio);
            add_at(
                &raw mut (*counters).outcomes,
                outcome_index(size, class, record.outcome),
                1,
            );
            add_at(&raw mut (*counters).bytes, number, u64::from(record.bytes));
            let completion = completion_index(number, usize::from(record.completion));
            add_at(&raw mut (*counters).completions, completion, 1);
            let context = context_index(number, usize::from(record.context));
            add_at(&raw mut (*counters).contexts, context, 1);
            if let Placement::Fallback = placement {
                let context = usize::from(record.attempt_context);
                add_at(&raw mut (*counters).attempt_contexts, context, 1);
            }
            if record.status != 0 {
                add_at(&raw mut (*counters).failed, number, 1);
                remember_failure(device_slot, record);
            }
            if record.has(RECHECKED) {
                add(&raw mut (*counters).rechecked, 1);
            }
            if record.has(FEC) {
                add(&raw mut (*counters).fec, 1);
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
    count_softirq(placement, record);
    // Nobody sleeps on the ring buffer; a wake-up would be an interrupt in the middle of this program.
    if setting!(records) != 0
        && sampling::is_sent(record.seq)
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
        {
            // SAFETY: a pointer to a field of a valid value.
            add_at(unsafe { &raw mut (*self.counters).sum_ns }, pair, ns);
            count_duration(self.device_slot, pair, ns);
        }
    }
}

/// Keeps where a device failed first.
#[inline(always)]
fn remember_failure(device_slot: u32, record: &Record) {
    if let Some(first) = FIRST_FAILURES.get_ptr_mut(device_slot) {
        // SAFETY: pointers to fields of a valid value; only who takes it writes the rest.
        unsafe {
            if compare_and_set(&raw mut (*first).is_taken, 0, 1) {
                (*first).sector = record.sector;
                (*first).status = u64::from(record.status);
                compare_and_set(&raw mut (*first).is_written, 0, 1);
            }
        }
    }
}

#[inline(always)]
fn count_softirq(placement: Placement, record: &Record) {
    let (context, stage) = match placement {
        Placement::Fallback => (record.attempt_context, Stage::Attempt),
        _ => (record.context, Stage::Verify),
    };
    if [Context::Softirq as u8, Context::Ksoftirqd as u8].contains(&context)
        && let (Some(ns), Some(cpu)) = (record.stage_ns(stage), ThisCpu::get())
    {
        cpu.add_softirq_verification(ns);
        queues::verified_in_softirq(ns);
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

/// Adds to one of some counters, which are as many as a power of two.
#[inline(always)]
fn add_at<const N: usize>(counters: *mut [u64; N], index: usize, n: u64) {
    const { assert!(N.is_power_of_two()) };
    let index = opaque(index as u64) as usize & (N - 1);
    // SAFETY: callers pass valid counters, and the index is one of theirs.
    add(unsafe { counters.cast::<u64>().add(index) }, n);
}

/// Adds atomically, so that a program that interrupts another on its CPU loses nothing.
#[inline(always)]
pub fn add(counter: *mut u64, n: u64) {
    // The target has additions and no compare-and-swap, so `core` leaves out `AtomicU64::fetch_add`.
    // SAFETY: callers pass a valid, aligned counter.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, n) };
}
