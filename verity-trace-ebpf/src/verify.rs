//! Verification: `verity_verify_io`, where it begins, and `verity_finish_io`, the last moment at
//! which an I/O may be looked at.

use aya_ebpf::macros::{fentry, kprobe};
use aya_ebpf::programs::{FEntryContext, ProbeContext};
use verity_trace_ebpf::counters::Hook;
use verity_trace_ebpf::in_flight::Verification;
use verity_trace_ebpf::loss::Loss;
use verity_trace_ebpf::placement::Placement;

use crate::account;
use crate::cpu::{self, ThisCpu, Turn};
use crate::maps::{IN_FLIGHT, setting};
use crate::memory::{Memory, Typed, Untyped};

#[fentry(function = "verity_verify_io")]
fn verity_verify_io(ctx: FEntryContext) -> i32 {
    cpu::without_preemption(|| verify::<Typed>(ctx.arg(0), Turn::First));
    0
}

#[fentry(function = "verity_verify_io")]
fn verity_verify_io_second(ctx: FEntryContext) -> i32 {
    cpu::without_preemption(|| verify::<Typed>(ctx.arg(0), Turn::Second));
    0
}

#[fentry(function = "verity_verify_io")]
fn verity_verify_io_third(ctx: FEntryContext) -> i32 {
    cpu::without_preemption(|| verify::<Typed>(ctx.arg(0), Turn::Third));
    0
}

#[kprobe]
fn verity_verify_io_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(io) = ctx.arg(0) {
        verify::<Untyped>(io, Turn::First);
    }
    0
}

#[fentry(function = "verity_finish_io")]
fn verity_finish_io(ctx: FEntryContext) -> i32 {
    cpu::without_preemption(|| finish(ctx.arg(0), ctx.arg(1), Turn::First));
    0
}

#[fentry(function = "verity_finish_io")]
fn verity_finish_io_second(ctx: FEntryContext) -> i32 {
    cpu::without_preemption(|| finish(ctx.arg(0), ctx.arg(1), Turn::Second));
    0
}

#[fentry(function = "verity_finish_io")]
fn verity_finish_io_third(ctx: FEntryContext) -> i32 {
    cpu::without_preemption(|| finish(ctx.arg(0), ctx.arg(1), Turn::Third));
    0
}

#[kprobe]
fn verity_finish_io_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(io), Some(status)) = (ctx.arg(0), ctx.arg(1)) {
        finish(io, status, Turn::First);
    }
    0
}

/// A verification begins: the one moment at which `in_bh` can be trusted.
#[inline(always)]
fn verify<M: Memory>(io: u64, turn: Turn) {
    let Some(this) = ThisCpu::get() else {
        return;
    };
    if !this.is_turn_of(turn, Hook::VerifyIo, io) {
        return;
    }
    let Some(state) = IN_FLIGHT.get_ptr_mut(&io) else {
        this.took_over(turn, Hook::VerifyIo);
        return;
    };
    let in_bh: u8 = M::read(io, setting!(io_in_bh));
    let verification = if in_bh == 0 {
        Verification::Kverityd
    } else if setting!(can_be_inline) == 0 {
        Verification::Bh
    } else {
        // SAFETY: the events of one I/O come one after the other, so nothing else writes it now.
        unsafe { (*state).bh_or_inline() }
    };
    let in_softirq = this.is_in_softirq();
    // SAFETY: as above.
    let is_news = unsafe { (*state).verify(cpu::now(), cpu::number(), verification, in_softirq) };
    if is_news {
        this.count_verification(verification);
        this.took_over(turn, Hook::VerifyIo);
    }
}

/// An I/O finishes: its memory may belong to another one as soon as this returns.
#[inline(always)]
fn finish(io: u64, status: u8, turn: Turn) {
    let Some(this) = ThisCpu::get() else {
        return;
    };
    if !this.is_turn_of(turn, Hook::FinishIo, io) {
        return;
    }
    let Some(state) = IN_FLIGHT.get_ptr_mut(&io) else {
        // What another copy does not find is, nearly always, what the first has finished.
        if turn == Turn::First {
            account::lose(Loss::FinishWithoutStart);
        }
        return;
    };
    // SAFETY: as in `verify`; the record is made before the entry is given back.
    let (device_slot, record) =
        unsafe { ((*state).device_slot(), (*state).finish(cpu::now(), status)) };
    if IN_FLIGHT.remove(&io).is_err() {
        account::lose(Loss::MapBusy);
    }
    if let Some(placement) = Placement::from_number(record.placement) {
        account::finished(device_slot, placement, &record);
    }
    this.took_over(turn, Hook::FinishIo);
}
