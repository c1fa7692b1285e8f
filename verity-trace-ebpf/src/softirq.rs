//! Softirq entry and exit: whether this CPU is in one now, and the time spent in each vector.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::account;

#[btf_tracepoint(function = "softirq_entry")]
fn softirq_entry(_ctx: BtfTracePointContext) -> i32 {
    if let Some(cpu) = account::this_cpu() {
        // SAFETY: the helper has no preconditions.
        cpu.now.softirq_entered_at = unsafe { bpf_ktime_get_ns() };
    }
    0
}

#[btf_tracepoint(function = "softirq_exit")]
fn softirq_exit(ctx: BtfTracePointContext) -> i32 {
    let vector: u32 = ctx.arg(0);
    if let Some(cpu) = account::this_cpu() {
        let entered_at = core::mem::take(&mut cpu.now.softirq_entered_at);
        if entered_at != 0
            && let Some(ns) = cpu.softirq_ns.get_mut(vector as usize)
        {
            // SAFETY: the helper has no preconditions.
            *ns += unsafe { bpf_ktime_get_ns() }.saturating_sub(entered_at);
        }
    }
    0
}
