//! What belongs to the CPU that a program runs on. A program can be interrupted by another one on
//! the same CPU, so everything goes through a raw pointer, and what two programs add to is added
//! to atomically.

use core::arch::asm;
use core::mem::MaybeUninit;

use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use verity_trace_ebpf::counters::{CpuCounters, Hook};
use verity_trace_ebpf::in_flight::Verification;
use verity_trace_ebpf::settings::{
    IRQ_RESTORE_CALL, IRQ_SAVE_CALL, PREEMPT_DISABLE_CALL, PREEMPT_ENABLE_CALL,
};

use crate::account::add;
use crate::maps::CPUS;

/// Which of the three copies of a program runs (see [`Hook`]); they run in this order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The copy that handles what it sees.
    First,
    /// The copy that takes over what the first was not run for.
    Second,
    /// The copy that takes over what neither of the others was run for.
    Third,
}

/// This CPU's counters.
#[derive(Clone, Copy)]
pub struct ThisCpu(*mut CpuCounters);

/// The number of the CPU that the program runs on.
#[inline(always)]
pub fn number() -> u16 {
    // SAFETY: the helper has no preconditions.
    (unsafe { bpf_get_smp_processor_id() }) as u16
}

/// The time, in nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// Runs something that no other task of this CPU can interrupt, where the kernel offers that: while
/// a task is preempted inside a program, the kernel runs that program for nobody else on its CPU.
///
/// Enabling preemption gives way at once to a task that waits, and that would still be inside the
/// program. With interrupts off it does not; the kernel gives way right behind the program, where it
/// enables migration (`__bpf_prog_exit_recur`, kernel/bpf/trampoline.c), or at the next interrupt.
#[inline(always)]
pub fn without_preemption(run: impl FnOnce()) {
    // SAFETY: a call gives up the registers that are named, and user space makes it one of a
    // function without arguments, or removes it.
    unsafe {
        asm!(
            "call {id}", id = const PREEMPT_DISABLE_CALL,
            out("r0") _, out("r1") _, out("r2") _, out("r3") _, out("r4") _, out("r5") _,
        );
    }
    run();
    let mut interrupts = MaybeUninit::<u64>::uninit();
    // SAFETY: as above; the function that turns interrupts off keeps their state where it is told to,
    // and the one that turns them on takes it from there.
    unsafe {
        asm!(
            "r1 = {state}",
            "call {off}",
            "call {enable}",
            "r1 = {state}",
            "call {on}",
            state = in(reg) &raw mut interrupts,
            off = const IRQ_SAVE_CALL,
            enable = const PREEMPT_ENABLE_CALL,
            on = const IRQ_RESTORE_CALL,
            out("r0") _, out("r1") _, out("r2") _, out("r3") _, out("r4") _, out("r5") _,
        );
    }
}

impl ThisCpu {
    #[inline(always)]
    pub fn get() -> Option<Self> {
        CPUS.get_ptr_mut(0).map(Self)
    }

    /// Whether this copy has to handle the event of `key`.
    #[inline(always)]
    pub fn is_turn_of(self, turn: Turn, hook: Hook, key: u64) -> bool {
        // SAFETY: a field of this CPU's value in the map, which is never freed.
        let handled = unsafe { &raw mut (*self.0).now.handled[hook as usize] };
        // SAFETY: as above.
        unsafe {
            let is_handled = turn != Turn::First && *handled == key;
            *handled = if turn == Turn::Third { 0 } else { key };
            !is_handled
        }
    }

    /// Counts what the first copy would have handled, had it been run.
    #[inline(always)]
    pub fn took_over(self, turn: Turn, hook: Hook) {
        if turn != Turn::First {
            // SAFETY: as in `is_turn_of`.
            add(unsafe { &raw mut (*self.0).taken_over[hook as usize] }, 1);
        }
    }

    /// The identity of the next I/O that this copy sees mapped here (`Record::seq`). Each copy has
    /// a counter of its own, since one may interrupt the other.
    #[inline(always)]
    pub fn next_seq(self, turn: Turn) -> u64 {
        // SAFETY: as in `is_turn_of`; a program never interrupts itself.
        let count = unsafe {
            let mapped = &raw mut (*self.0).mapped[turn as usize];
            *mapped += 1;
            *mapped
        };
        u64::from(number()) << 48 | (turn as u64) << 46 | count
    }

    /// Counts a verification that begins here.
    #[inline(always)]
    pub fn count_verification(self, verification: Verification) {
        // SAFETY: as in `is_turn_of`.
        let counter = unsafe {
            match verification {
                Verification::Kverityd => &raw mut (*self.0).kverityd_verifications,
                Verification::Bh => &raw mut (*self.0).bh_verifications,
                Verification::Inline => &raw mut (*self.0).inline_verifications,
            }
        };
        add(counter, 1);
    }

    /// Adds the time of a verification that ran in softirq here.
    #[inline(always)]
    pub fn add_softirq_verification(self, ns: u64) {
        // SAFETY: as in `is_turn_of`.
        add(unsafe { &raw mut (*self.0).softirq_verify_ns }, ns);
    }

    #[inline(always)]
    pub fn enter_softirq(self) {
        // SAFETY: as in `is_turn_of`; softirqs do not nest on a CPU.
        unsafe { (*self.0).now.softirq_entered_at = now() };
    }

    #[inline(always)]
    pub fn leave_softirq(self, vector: u32) {
        // SAFETY: as in `enter_softirq`.
        let counters = unsafe { &mut *self.0 };
        let entered_at = core::mem::take(&mut counters.now.softirq_entered_at);
        if entered_at != 0
            && let Some(ns) = counters.softirq_ns.get_mut(vector as usize)
        {
            *ns += now().saturating_sub(entered_at);
        }
    }

    #[inline(always)]
    pub fn is_in_softirq(self) -> bool {
        // SAFETY: as in `is_turn_of`.
        unsafe { (*self.0).now.softirq_entered_at != 0 }
    }
}
