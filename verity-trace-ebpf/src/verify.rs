//! Verification: `verity_verify_io`, where it begins, and `verity_finish_io`, the last moment at
//! which an I/O may be looked at.

use core::arch::asm;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_get_func_ret;
use aya_ebpf::macros::{fentry, fexit, kprobe};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext};
use aya_log_ebpf::warn;
use verity_trace_ebpf::counters::Hook;
use verity_trace_ebpf::in_flight::{Rules, Verification};
use verity_trace_ebpf::loss::Loss;
use verity_trace_ebpf::placement::Placement;
use verity_trace_ebpf::settings::BH_WORKER_POOLS;

use crate::account;
use crate::bufio;
use crate::cpu;
use crate::limits::limit_of;
use crate::maps::{setting, shared};
use crate::memory::{Memory, Typed, Untyped, cast, scalar_arg};
use crate::places::find;
use crate::task;

const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;
const EOPNOTSUPP: i32 = 95;

#[fentry(function = "verity_verify_io")]
fn verity_verify_io(ctx: FEntryContext) -> i32 {
    verify::<Typed, false>(ctx.arg(0));
    0
}

#[fentry(function = "verity_verify_io")]
fn verity_verify_io_guard(ctx: FEntryContext) -> i32 {
    verify::<Typed, true>(ctx.arg(0));
    0
}

#[fexit(function = "verity_verify_io")]
fn verity_verify_io_exit(ctx: FExitContext) -> i32 {
    let returned: i32 = ctx.arg(1);
    if (returned == -EAGAIN || returned == -ENOMEM)
        && let Some(place) = find::<Typed>(scalar_arg(&ctx, 0))
    {
        // SAFETY: the events of one I/O come one after the other, so nothing else writes it now.
        let state = unsafe { &mut *place.state };
        if state.is_on_kverityd() {
            warn!(
                &ctx,
                "verity_verify_io returned {} on kverityd, which no known kernel does", returned
            );
        }
        state.give_up(cpu::now(), returned == -ENOMEM);
    }
    0
}

#[kprobe]
fn verity_verify_io_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(io) = ctx.arg(0) {
        verify::<Untyped, false>(io);
    }
    0
}

#[fentry(function = "verity_recheck")]
fn verity_recheck(ctx: FEntryContext) -> i32 {
    if let Some(place) = find::<Typed>(scalar_arg(&ctx, 1)) {
        // SAFETY: as in `verity_verify_io_exit`.
        unsafe { (*place.state).recheck() };
    }
    0
}

#[fexit(function = "verity_fec_decode")]
fn verity_fec_decode_exit(ctx: FExitContext) -> i32 {
    let mut returned = 0;
    // SAFETY: the helper writes one value, and fails for no program of this kind.
    unsafe { bpf_get_func_ret(ctx.as_ptr(), &raw mut returned) };
    if let Some(place) = find::<Typed>(scalar_arg(&ctx, 1)) {
        // SAFETY: as in `verity_verify_io_exit`.
        unsafe { (*place.state).correct(returned as i32 != -EOPNOTSUPP) };
    }
    0
}

#[fentry(function = "verity_finish_io")]
fn verity_finish_io(ctx: FEntryContext) -> i32 {
    finish::<Typed, false>(ctx.arg(0), ctx.arg(1));
    0
}

#[fentry(function = "verity_finish_io")]
fn verity_finish_io_guard(ctx: FEntryContext) -> i32 {
    finish::<Typed, true>(ctx.arg(0), ctx.arg(1));
    0
}

#[kprobe]
fn verity_finish_io_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(io), Some(status)) = (ctx.arg(0), ctx.arg(1)) {
        finish::<Untyped, false>(io, status);
    }
    0
}

/// A verification begins: the one moment at which `in_bh` can be trusted.
#[inline(always)]
fn verify<M: Memory, const IS_GUARD: bool>(io: u64) {
    cpu::watch::<M, IS_GUARD>(Hook::VerifyIo, move |this| {
        let address = this.address_of_event::<M, IS_GUARD>(Hook::VerifyIo, io);
        let Some(place) = find::<M>(address) else {
            return false;
        };
        // SAFETY: the events of one I/O come one after the other, so nothing else writes it now.
        let state = unsafe { &mut *place.state };
        let in_bh: u8 = M::read(io, setting!(io_in_bh));
        if state.has_begun(in_bh != 0) {
            return false;
        }
        let verification = if in_bh == 0 {
            Verification::Kverityd
        } else if setting!(can_be_inline) == 0 {
            Verification::Bh
        } else {
            if M::IS_TYPED && setting!(has_bh_worker_pools) != 0 && is_work_of_bh(address) {
                state.queue_on_bh();
            }
            state.bh_or_inline()
        };
        let verity: u64 = M::read(io, setting!(io_verity));
        let options: u8 = M::read(verity, setting!(verity_option));
        let option = u64::from(options) & setting!(verity_option_mask) != 0;
        let mut limit = None;
        if option {
            see_option::<M>();
            if in_bh == 0 {
                limit = limit_of::<M>(state.ioprio());
            }
        }
        let context = task::context(this);
        state.verify(
            cpu::now(),
            this.number,
            verification,
            context,
            option,
            limit,
        );
        this.count_verification(verification);
        if M::IS_TYPED && setting!(sees_cache_misses) != 0 {
            bufio::verification::<M>(state.device_slot(), address, verity, in_bh != 0);
        }
        true
    });
}

/// Since when an attempt that gives up is seen to, unless the program that sees it is running on that CPU.
#[inline(always)]
fn sees_giving_up_since<M: Memory>() -> Option<u64> {
    // SAFETY: a pointer to a valid value, which user space writes to.
    let since = unsafe { (&raw const (*shared::<M>()?).sees_giving_up_since).read_volatile() };
    (since != 0).then_some(since)
}

/// A verification is one of a device with the option.
#[inline(always)]
fn see_option<M: Memory>() {
    if let Some(shared) = shared::<M>() {
        // SAFETY: a pointer to a field of a valid value. It is read first, since every CPU keeps a copy of it.
        unsafe {
            let has_option = &raw mut (*shared).has_option;
            if has_option.read_volatile() == 0 {
                has_option.write_volatile(1);
            }
        }
    }
}

/// Whether this CPU's BH worker runs the work of an I/O: then the completion did not call it.
#[inline(always)]
fn is_work_of_bh(io: u64) -> bool {
    let workers = setting!(pool_workers);
    let first: u64;
    // SAFETY: user space makes the number the id of the per-CPU array of BH pools, whose copy of this CPU
    // helper 154 (`bpf_this_cpu_ptr`) returns, and the offset one within it; a call gives up the
    // registers that are named.
    unsafe {
        asm!(
            "r1 = {variable} ll",
            "call 154",
            "r0 += {workers}",
            "r0 = *(u64 *)(r0 + 0)",
            variable = const BH_WORKER_POOLS,
            workers = in(reg) workers,
            out("r0") first, out("r1") _, out("r2") _, out("r3") _, out("r4") _, out("r5") _,
        );
    }
    // A BH pool has one worker (`init_cpu_worker_pool`, kernel/workqueue.c).
    let worker = first.wrapping_sub(setting!(worker_node));
    let work: u64 = if setting!(worker_type) != 0 {
        let worker = cast(worker, setting!(worker_type));
        Typed::read(worker, setting!(worker_current_work))
    } else {
        Untyped::read(worker, setting!(worker_current_work))
    };
    work == io.wrapping_add(setting!(io_bh_work))
}

/// An I/O finishes: its memory may belong to another one as soon as this returns.
#[inline(always)]
fn finish<M: Memory, const IS_GUARD: bool>(io: u64, status: u8) {
    cpu::watch::<M, IS_GUARD>(Hook::FinishIo, move |this| {
        let address = this.address_of_event::<M, IS_GUARD>(Hook::FinishIo, io);
        let Some(place) = find::<M>(address) else {
            // What has a guard is, nearly always, not found because that has finished it.
            if IS_GUARD || !cpu::is_guarded::<M>(Hook::FinishIo) {
                account::lose(Loss::FinishWithoutStart);
            }
            return false;
        };
        let rules = || Rules {
            is_inert: setting!(is_inert) != 0,
            has_limits: setting!(can_be_inline) != 0,
            gives_way: setting!(gives_way) != 0,
            // The programs that see it are attached with the typed ones alone.
            sees_mismatch: M::IS_TYPED && setting!(sees_mismatch) != 0,
            sees_cache_misses: setting!(sees_cache_misses) != 0,
        };
        // SAFETY: as in `verify`.
        let state = unsafe { &*place.state };
        let now = cpu::now();
        if state.is_plain_on_kverityd(now, status) {
            account::finished_on_kverityd(this, state, now);
        } else if let Some(plain) = state.finish_plainly(now, status, rules) {
            account::finished_plainly(this, state, &plain);
        } else {
            if M::IS_TYPED
                && let Some(since) = sees_giving_up_since::<M>()
                && state.gave_up_unseen_since(since)
            {
                account::lose_of(state.device_slot(), Loss::Recursion);
            }
            let finish = this.put::<IS_GUARD>(&state.finish(now, status, rules()));
            // SAFETY: it was put into a valid value.
            let finish = unsafe { &*finish };
            if let Some(placement) = Placement::from_number(finish.placement) {
                account::finished(this, state, placement, finish);
            }
        }
        place.release();
        true
    });
}
