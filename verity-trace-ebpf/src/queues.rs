//! Softirqs and workqueues in detail: attached only when asked for, since they run for every softirq
//! and every work of the machine.
//!
//! What a worker did right before an I/O's verification tells whether the I/O waited for that, or for
//! the worker to wake up. A worker that sleeps within a work lets another begin, and this one is then
//! woken: such a wait counts as one for the wake-up alone.

use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::{LruHashMap, PerCpuArray};
use aya_ebpf::programs::BtfTracePointContext;
use verity_trace_ebpf::context::Context;
use verity_trace_ebpf::queue_counters::{
    CpuQueues, MAX_WORKERS, QueueWait, TASKLET_SOFTIRQ, split,
};

use crate::account::add;
use crate::cpu::{self, ThisCpu};
use crate::maps::setting;
use crate::memory::{Memory as _, Typed};
use crate::places::{compare_and_set, find};
use crate::task;

/// What each CPU did.
#[map]
static CPU_QUEUES: PerCpuArray<CpuQueues> = PerCpuArray::with_max_entries(1, 0);

/// How I/Os waited for kverityd, by device slot; user space sets how many there are.
#[map]
static QUEUE_WAITS: PerCpuArray<QueueWait> = PerCpuArray::with_max_entries(1, 0);

/// When each worker that has verified ended its last work; 0 while it has not. One that is pushed out
/// begins anew with its next verification, which is then not split.
#[map]
static WORKERS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(MAX_WORKERS, 0);

#[btf_tracepoint(function = "softirq_entry")]
fn queues_softirq_entry(ctx: BtfTracePointContext) -> i32 {
    let vector: u32 = ctx.arg(0);
    let Some(queues) = CPU_QUEUES.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: pointers to fields of this CPU's value; softirqs do not nest on a CPU.
    unsafe {
        if let Some(count) = (*queues).softirqs.get_mut(vector as usize) {
            *count += 1;
        }
        let task = task::current();
        let context = Context::of(true, task::flags(task), || task::name(task));
        if let Context::Ksoftirqd = context
            && let Some(count) = (*queues).ksoftirqd.get_mut(vector as usize)
        {
            *count += 1;
        }
        if vector == TASKLET_SOFTIRQ {
            (*queues).now.entered_at = cpu::now();
            (*queues).now.works = 0;
        }
    }
    0
}

#[btf_tracepoint(function = "softirq_exit")]
fn queues_softirq_exit(ctx: BtfTracePointContext) -> i32 {
    let vector: u32 = ctx.arg(0);
    if vector == TASKLET_SOFTIRQ
        && let Some(queues) = CPU_QUEUES.get_ptr_mut(0)
    {
        // SAFETY: as in `queues_softirq_entry`.
        unsafe {
            if (*queues).is_at_limit(cpu::now()) {
                (*queues).bh_limits += 1;
            }
            (*queues).bh_works += core::mem::take(&mut (*queues).now.works);
        }
    }
    0
}

#[btf_tracepoint(function = "workqueue_execute_start")]
fn queues_execute_start(ctx: BtfTracePointContext) -> i32 {
    let work: u64 = ctx.arg(0);
    let (Some(this), Some(queues)) = (ThisCpu::get::<Typed>(), CPU_QUEUES.get_ptr_mut(0)) else {
        return 0;
    };
    if this.is_in_softirq(task::current()) {
        // SAFETY: as in `queues_softirq_entry`.
        unsafe { (*queues).now.works += 1 };
        return 0;
    }
    let function: u64 = Typed::read(work, setting!(work_func));
    if setting!(verity_work) != 0 && function != setting!(verity_work) {
        return 0;
    }
    // SAFETY: a pointer to a field of a valid value; a program never interrupts itself.
    let address = unsafe {
        let scratch = &raw mut (*queues).now.scratch;
        scratch.write_volatile(work);
        scratch.read_volatile()
    };
    split_wait(address.wrapping_sub(setting!(io_work)));
    0
}

#[btf_tracepoint(function = "workqueue_execute_end")]
fn queues_execute_end(_ctx: BtfTracePointContext) -> i32 {
    if ThisCpu::get::<Typed>().is_some_and(|this| this.is_in_softirq(task::current())) {
        return 0;
    }
    if let Some(free_at) = WORKERS.get_ptr_mut(&bpf_get_current_pid_tgid()) {
        // SAFETY: a pointer to a valid value, which this worker alone uses.
        unsafe { *free_at = cpu::now() };
    }
    0
}

/// A worker begins with a work, which is kverityd's with an I/O if that is in flight: where the kernel
/// hides the address of `verity_work`, nothing else tells.
#[inline(always)]
fn split_wait(io: u64) {
    let Some(place) = find::<Typed>(io) else {
        return;
    };
    // SAFETY: a pointer to a valid state.
    let (slot, queued_at) = unsafe { ((*place.state).device_slot(), (*place.state).queued_at()) };
    let Some(waits) = QUEUE_WAITS.get_ptr_mut(slot) else {
        return;
    };
    let worker = bpf_get_current_pid_tgid();
    // SAFETY: the value is copied at once.
    let free_at = unsafe { WORKERS.get(&worker) }.copied();
    if free_at.is_none() {
        // A worker that finds no room is not known, and its next wait is not split either.
        let _ = WORKERS.insert(&worker, &0, BPF_ANY.into());
    }
    // SAFETY: pointers to fields of a valid value.
    unsafe {
        match free_at {
            Some(free_at) if free_at != 0 && queued_at != 0 => {
                let (behind, wake_up) = split(queued_at, free_at, cpu::now());
                add(&raw mut (*waits).ios, 1);
                add(&raw mut (*waits).wake_up_ns, wake_up);
                if behind > 0 {
                    add(&raw mut (*waits).behind, 1);
                    add(&raw mut (*waits).behind_ns, behind);
                }
            }
            _ => add(&raw mut (*waits).unsplit, 1),
        }
    }
}

/// A verification in softirq took so long.
#[inline(always)]
pub fn verified_in_softirq(ns: u64) {
    if setting!(sees_queues) == 0 {
        return;
    }
    let Some(queues) = CPU_QUEUES.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: a pointer to a field of a valid value.
    let longest = unsafe { &raw mut (*queues).longest_verify_ns };
    // Once more where a program that interrupted this one was first.
    for _ in 0..2 {
        // SAFETY: as above.
        let before = unsafe { longest.read_volatile() };
        if ns <= before || compare_and_set(longest, before, ns) {
            return;
        }
    }
}
