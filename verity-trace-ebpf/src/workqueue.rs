//! The workqueue's tracepoint, filtered to dm-verity's work functions: other subsystems have works
//! of the same name, and kverityd runs prefetches too. User space attaches it only on kernels where
//! it tells something: when a softirq attempt gave up, and BH from inline.
//!
//! A work is queued with interrupts off (`__queue_work`, kernel/workqueue.c), so nothing comes
//! between this program and itself, and it misses none.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use verity_trace_ebpf::counters::{CLASS_SHIFT, CLASSES, Scratch};
use verity_trace_ebpf::in_flight::InFlight;

use crate::cpu::{self, ThisCpu};
use crate::maps::setting;
use crate::memory::{Memory as _, Typed};
use crate::places::find;

#[btf_tracepoint(function = "workqueue_queue_work")]
fn workqueue_queue_work(ctx: BtfTracePointContext) -> i32 {
    let work: u64 = ctx.arg(2);
    let function: u64 = Typed::read(work, setting!(work_func));
    let Some(this) = ThisCpu::get() else {
        return 0;
    };
    if function == setting!(verity_work) {
        let io = this
            .address(work, Scratch::QueueWork)
            .wrapping_sub(setting!(io_work));
        if let Some(place) = find(io) {
            // SAFETY: the events of one I/O come one after the other.
            unsafe { (*place.state).queue_on_kverityd(cpu::now(), limit(place.state)) };
        }
    } else if setting!(can_be_inline) != 0 && function == setting!(verity_bh_work) {
        let io = this
            .address(work, Scratch::QueueWork)
            .wrapping_sub(setting!(io_bh_work));
        if let Some(place) = find(io) {
            // SAFETY: as above.
            unsafe { (*place.state).queue_on_bh() };
        }
    }
    0
}

/// How many bytes an I/O of this ioprio class may have to be verified in BH. The kernel has just read
/// the same (`verity_use_bh`, drivers/md/dm-verity-target.c).
#[inline(always)]
fn limit(state: *const InFlight) -> Option<u32> {
    let limits = setting!(use_bh_bytes);
    if limits == 0 {
        return None;
    }
    // SAFETY: a pointer to a valid state.
    let class = u64::from(unsafe { (*state).ioprio() } >> CLASS_SHIFT);
    if class >= CLASSES as u64 {
        return Some(0);
    }
    let limit = limits + class * size_of::<u32>() as u64;
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(limit as *const u32) }.ok()
}
