//! Softirq entry and exit: whether this CPU is in one now, and the time spent in each vector.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::cpu::ThisCpu;
use crate::memory::Typed;

#[btf_tracepoint(function = "softirq_entry")]
fn softirq_entry(_ctx: BtfTracePointContext) -> i32 {
    if let Some(cpu) = ThisCpu::get::<Typed>() {
        cpu.enter_softirq();
    }
    0
}

#[btf_tracepoint(function = "softirq_exit")]
fn softirq_exit(ctx: BtfTracePointContext) -> i32 {
    if let Some(cpu) = ThisCpu::get::<Typed>() {
        cpu.leave_softirq(ctx.arg(0));
    }
    0
}
