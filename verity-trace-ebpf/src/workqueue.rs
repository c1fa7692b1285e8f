//! The workqueue's tracepoint, filtered to dm-verity's work functions: other subsystems have works
//! of the same name, and kverityd runs prefetches too. Every work of the machine pays for it, so user
//! space attaches it only where nothing else tells when a softirq attempt gave up, and BH from inline.
//!
//! A work is queued with interrupts off (`__queue_work`, kernel/workqueue.c), so nothing comes
//! between this program and itself, and it misses none.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::cpu::{self, ThisCpu};
use crate::limits::limit_of;
use crate::maps::setting;
use crate::memory::{Memory as _, Typed};
use crate::places::find;

#[btf_tracepoint(function = "workqueue_queue_work")]
fn workqueue_queue_work(ctx: BtfTracePointContext) -> i32 {
    let work: u64 = ctx.arg(2);
    let function: u64 = Typed::read(work, setting!(work_func));
    let Some(this) = ThisCpu::get::<Typed>() else {
        return 0;
    };
    if function == setting!(verity_work) {
        let io = this.address_of_work(work).wrapping_sub(setting!(io_work));
        if let Some(place) = find::<Typed>(io) {
            // SAFETY: the events of one I/O come one after the other.
            let state = unsafe { &mut *place.state };
            state.queue_on_kverityd(cpu::now(), limit_of::<Typed>(state.ioprio()));
        }
    } else if setting!(can_be_inline) != 0 && function == setting!(verity_bh_work) {
        let io = this
            .address_of_work(work)
            .wrapping_sub(setting!(io_bh_work));
        if let Some(place) = find::<Typed>(io) {
            // SAFETY: as above.
            unsafe { (*place.state).queue_on_bh() };
        }
    }
    0
}
