//! The workqueue's tracepoint, filtered to dm-verity's work functions: other subsystems have works
//! of the same name, and kverityd runs prefetches too. User space attaches it only on kernels where
//! it tells something: when a softirq attempt gave up, and BH from inline.
//!
//! A work is queued with interrupts off (`__queue_work`, kernel/workqueue.c), so nothing comes
//! between this program and itself, and it misses none.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::cpu;
use crate::maps::{IN_FLIGHT, setting};
use crate::memory::{Memory as _, Typed};

#[btf_tracepoint(function = "workqueue_queue_work")]
fn workqueue_queue_work(ctx: BtfTracePointContext) -> i32 {
    let work: u64 = ctx.arg(2);
    let function: u64 = Typed::read(work, setting!(work_func));
    if function == setting!(verity_work) {
        let io = work.wrapping_sub(setting!(io_work));
        if let Some(state) = IN_FLIGHT.get_ptr_mut(&io) {
            // SAFETY: the events of one I/O come one after the other.
            unsafe { (*state).queue_on_kverityd(cpu::now()) };
        }
    } else if setting!(can_be_inline) != 0 && function == setting!(verity_bh_work) {
        let io = work.wrapping_sub(setting!(io_bh_work));
        if let Some(state) = IN_FLIGHT.get_ptr_mut(&io) {
            // SAFETY: as above.
            unsafe { (*state).queue_on_bh() };
        }
    }
    0
}
