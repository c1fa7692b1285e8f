//! Verification: `verity_verify_io`, where it begins, and `verity_finish_io`, the last moment at
//! which an I/O may be looked at.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{fentry, kprobe};
use aya_ebpf::programs::{FEntryContext, ProbeContext};
use verity_trace_ebpf::counters::Hook;
use verity_trace_ebpf::in_flight::Verification;
use verity_trace_ebpf::loss::Loss;
use verity_trace_ebpf::placement::Placement;

use crate::account::{self, Copy};
use crate::maps::{IN_FLIGHT, setting};
use crate::memory::{Memory, Typed, Untyped};

#[fentry(function = "verity_verify_io")]
fn verity_verify_io(ctx: FEntryContext) -> i32 {
    verify::<Typed>(ctx.arg(0), Copy::First);
    0
}

#[fentry(function = "verity_verify_io")]
fn verity_verify_io_again(ctx: FEntryContext) -> i32 {
    verify::<Typed>(ctx.arg(0), Copy::Second);
    0
}

#[kprobe]
fn verity_verify_io_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(io) = ctx.arg(0) {
        verify::<Untyped>(io, Copy::First);
    }
    0
}

#[fentry(function = "verity_finish_io")]
fn verity_finish_io(ctx: FEntryContext) -> i32 {
    finish(ctx.arg(0), ctx.arg(1), Copy::First);
    0
}

#[fentry(function = "verity_finish_io")]
fn verity_finish_io_again(ctx: FEntryContext) -> i32 {
    finish(ctx.arg(0), ctx.arg(1), Copy::Second);
    0
}

#[kprobe]
fn verity_finish_io_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(io), Some(status)) = (ctx.arg(0), ctx.arg(1)) {
        finish(io, status, Copy::First);
    }
    0
}

/// A verification begins: the one moment at which `in_bh` can be trusted.
#[inline(always)]
fn verify<M: Memory>(io: u64, copy: Copy) {
    let Some(cpu) = account::this_cpu() else {
        return;
    };
    if !account::is_my_turn(cpu, Hook::VerifyIo, io, copy) {
        return;
    }
    let Some(state) = IN_FLIGHT.get_ptr_mut(&io) else {
        account::took_over(cpu, Hook::VerifyIo, copy);
        return;
    };
    let in_bh: u8 = M::read(io, setting!(io_in_bh));
    let bh_work = io.wrapping_add(setting!(io_bh_work));
    let verification = if in_bh == 0 {
        Verification::Regular
    } else if setting!(verity_bh_work) == 0 || cpu.now.bh_work == bh_work {
        Verification::Bh
    } else {
        Verification::Inline
    };
    let in_softirq = cpu.now.softirq_entered_at != 0;
    // SAFETY: the events of one I/O come one after the other, so nothing else writes it now.
    let is_news =
        unsafe { (*state).verify(bpf_ktime_get_ns(), account::cpu(), verification, in_softirq) };
    if is_news {
        account::verification(cpu, verification);
        account::took_over(cpu, Hook::VerifyIo, copy);
    }
}

/// An I/O finishes: its memory may belong to another one as soon as this returns.
#[inline(always)]
fn finish(io: u64, status: u8, copy: Copy) {
    let Some(cpu) = account::this_cpu() else {
        return;
    };
    if !account::is_my_turn(cpu, Hook::FinishIo, io, copy) {
        return;
    }
    let Some(state) = IN_FLIGHT.get_ptr_mut(&io) else {
        // Not found by the second copy it is, nearly always, what the first has finished.
        if copy == Copy::First {
            account::lose(Loss::FinishWithoutStart);
        }
        return;
    };
    // SAFETY: as in `verify`; the record is made before the entry is given back.
    let (device_slot, record) = unsafe {
        (
            (*state).device_slot(),
            (*state).finish(bpf_ktime_get_ns(), status),
        )
    };
    if IN_FLIGHT.remove(&io).is_err() {
        account::lose(Loss::MapBusy);
    }
    if let Some(placement) = Placement::from_number(record.placement) {
        account::finished(device_slot, placement, &record);
    }
    account::took_over(cpu, Hook::FinishIo, copy);
}
