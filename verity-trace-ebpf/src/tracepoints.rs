//! The last rung: what the workqueue's tracepoints alone tell, on kernels where dm-verity's functions
//! cannot be watched. A verification is a work of dm-verity's; what is called directly is invisible.
//!
//! A work is told apart by its function: other subsystems have works of the same name, kverityd runs
//! prefetches too, and since Linux 7.0 one work serves both workqueues.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use verity_trace_ebpf::in_flight::Verification;
use verity_trace_ebpf::loss::Loss;
use verity_trace_ebpf::slot;

use crate::account::{self, add};
use crate::cpu::{self, ThisCpu};
use crate::maps::{QUEUE_DELAYS, QUEUED, setting};
use crate::memory::{Memory as _, Typed, opaque};

/// `EEXIST`, include/uapi/asm-generic/errno-base.h.
const EEXIST: i32 = 17;

/// A work is queued with interrupts off (`__queue_work`, kernel/workqueue.c), so nothing comes between
/// this program and itself, and it misses none.
#[btf_tracepoint(function = "workqueue_queue_work")]
fn verification_queued(ctx: BtfTracePointContext) -> i32 {
    let work: u64 = ctx.arg(2);
    if verification(work).is_some() {
        let (work, now) = (opaque(work), cpu::now());
        match QUEUED.insert(&work, &now, BPF_NOEXIST.into()) {
            Ok(()) => {}
            Err(error) if error == -EEXIST => {
                // Both copies of the other program were running when it began before.
                account::lose(Loss::Recursion);
                let _ = QUEUED.insert(&work, &now, BPF_ANY.into());
            }
            Err(_) => account::lose(Loss::TableFull),
        }
    }
    0
}

#[btf_tracepoint(function = "workqueue_execute_start")]
fn verification_begins(ctx: BtfTracePointContext) -> i32 {
    begin(ctx.arg(0));
    0
}

/// The kernel does not run a program that is already running on its CPU, as where a BH verification
/// interrupts the beginning of another work. This copy then counts it; whatever the first has counted is
/// not queued any more.
#[btf_tracepoint(function = "workqueue_execute_start")]
fn verification_begins_second(ctx: BtfTracePointContext) -> i32 {
    begin(ctx.arg(0));
    0
}

#[inline(always)]
fn begin(work: u64) {
    let Some(verification) = verification(work) else {
        return;
    };
    let work = opaque(work);
    // SAFETY: the value is copied at once, and a work that is queued does not begin twice.
    let Some(queued_at) = unsafe { QUEUED.get(&work) }.copied() else {
        return;
    };
    if QUEUED.remove(&work).is_err() {
        return;
    }
    if let Some(this) = ThisCpu::get::<Typed>() {
        this.count_verification(verification);
    }
    let ns = cpu::now().saturating_sub(queued_at);
    let index = match verification {
        Verification::Kverityd => 0,
        Verification::Bh | Verification::Inline => 1,
    };
    if let Some(delays) = QUEUE_DELAYS.get_ptr_mut(index) {
        let slot = slot::slot(ns);
        // SAFETY: pointers to fields of a valid value; the index is checked.
        unsafe {
            add(&raw mut (*delays).sum_ns, ns);
            if slot < slot::SLOTS {
                add((&raw mut (*delays).slots).cast::<u64>().add(slot), 1);
            }
        }
    }
}

/// Which verification a work is, if any.
#[inline(always)]
fn verification(work: u64) -> Option<Verification> {
    let function: u64 = Typed::read(work, setting!(work_func));
    if function == setting!(verity_work) {
        Some(Verification::Kverityd)
    } else if setting!(verity_bh_work) != 0 && function == setting!(verity_bh_work) {
        Some(Verification::Bh)
    } else {
        None
    }
}
