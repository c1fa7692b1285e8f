//! The workqueue's tracepoints, filtered to dm-verity's work functions: other subsystems have works
//! of the same name, and kverityd runs prefetches too. User space attaches them only on kernels where
//! they tell something: when a softirq attempt gave up, and BH from inline.
//!
//! A work is queued with interrupts off (`__queue_work`, kernel/workqueue.c), so that program is
//! never interrupted. The start of one on kverityd can be by the start of one on the BH workqueue,
//! which must not be missed: it has a second copy (see `Hook`), and noting a start twice changes
//! nothing.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::cpu::{self, ThisCpu};
use crate::maps::{IN_FLIGHT, setting};
use crate::memory::{Memory as _, Typed};

#[btf_tracepoint(function = "workqueue_queue_work")]
fn workqueue_queue_work(ctx: BtfTracePointContext) -> i32 {
    queue(ctx.arg(2));
    0
}

#[btf_tracepoint(function = "workqueue_execute_start")]
fn workqueue_execute_start(ctx: BtfTracePointContext) -> i32 {
    start(ctx.arg(0));
    0
}

#[btf_tracepoint(function = "workqueue_execute_start")]
fn workqueue_execute_start_second(ctx: BtfTracePointContext) -> i32 {
    start(ctx.arg(0));
    0
}

#[btf_tracepoint(function = "workqueue_execute_end")]
fn workqueue_execute_end(ctx: BtfTracePointContext) -> i32 {
    // The work itself may be another I/O's by now: only its address is looked at.
    if let Some(cpu) = ThisCpu::get() {
        cpu.take_bh_work(ctx.arg(0));
    }
    0
}

/// A work is queued; on kverityd it may be one whose softirq attempt gave up.
#[inline(always)]
fn queue(work: u64) {
    if is(work, setting!(verity_work)) {
        let io = work.wrapping_sub(setting!(io_work));
        if let Some(state) = IN_FLIGHT.get_ptr_mut(&io) {
            // SAFETY: the events of one I/O come one after the other.
            unsafe { (*state).queue_on_kverityd(cpu::now()) };
        }
    }
}

/// A work starts; on the BH workqueue it keeps its CPU until it ends.
#[inline(always)]
fn start(work: u64) {
    if is(work, setting!(verity_bh_work))
        && let Some(cpu) = ThisCpu::get()
    {
        cpu.start_bh_work(work);
    }
}

/// Whether a work runs this function; an unknown function is nobody's.
#[inline(always)]
fn is(work: u64, function: u64) -> bool {
    function != 0 && Typed::read::<u64>(work, setting!(work_func)) == function
}
