//! The task that a program runs in, and the context around it.

use core::arch::asm;

use aya_ebpf::helpers::generated::bpf_get_current_task_btf;
use verity_trace_ebpf::context::{Completion, Context, NAME_BYTES};
use verity_trace_ebpf::settings::IRQ_REGS;

use crate::cpu::ThisCpu;
use crate::maps::setting;
use crate::memory::{Memory as _, Typed};

/// What the handling of softirqs adds to a task's count (include/linux/preempt.h).
const SOFTIRQ_OFFSET: u32 = 0x100;

/// The address of the task that runs, which the verifier knows the type of.
#[inline(always)]
pub fn current() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_task_btf() as u64 }
}

/// The context of a verification that runs here.
#[inline(always)]
pub fn context(this: ThisCpu) -> Context {
    let task = current();
    Context::of(this.is_in_softirq(task), flags(task), || name(task))
}

/// Whether the task that runs is serving softirqs, on kernels where each task counts that
/// (`in_serving_softirq`, include/linux/preempt.h).
#[inline(always)]
pub fn serves_softirqs(task: u64) -> bool {
    Typed::read::<u32>(task, setting!(task_softirq_count)) & SOFTIRQ_OFFSET != 0
}

/// The flags of a task.
#[inline(always)]
pub fn flags(task: u64) -> u32 {
    Typed::read(task, setting!(task_flags))
}

/// The beginning of its name.
#[inline(always)]
pub fn name(task: u64) -> [u8; NAME_BYTES] {
    Typed::read::<u64>(task, setting!(task_comm)).to_ne_bytes()
}

/// The context of a completion that runs here; `sees_hardirq` is whether this program can tell.
#[inline(always)]
pub fn completion(this: ThisCpu, sees_hardirq: bool) -> Completion {
    let can_tell = sees_hardirq && setting!(has_irq_regs) != 0;
    if !can_tell {
        // An interrupt of a softirq would look like that softirq.
        Completion::Unknown
    } else if is_in_hardirq() {
        Completion::HardirqOrIrqsOff
    } else if this.is_in_softirq(current()) {
        Completion::Softirq
    } else {
        Completion::Task
    }
}

/// Whether this CPU handles an interrupt: it has that one's registers then (`set_irq_regs` in
/// `lib/irq_regs.c`), and none while it runs softirqs on the way out.
#[inline(always)]
fn is_in_hardirq() -> bool {
    let registers: u64;
    // SAFETY: user space makes the number the id of a per-CPU pointer, whose copy of this CPU helper
    // 154 (`bpf_this_cpu_ptr`) returns; a call gives up the registers that are named.
    unsafe {
        asm!(
            "r1 = {variable} ll",
            "call 154",
            "r0 = *(u64 *)(r0 + 0)",
            variable = const IRQ_REGS,
            out("r0") registers, out("r1") _, out("r2") _, out("r3") _, out("r4") _, out("r5") _,
        );
    }
    registers != 0
}
