//! What belongs to the CPU that a program runs on. A program can be interrupted by another one on
//! the same CPU, so everything goes through a raw pointer, and what two programs add to is added
//! to atomically.

use core::arch::asm;
use core::mem::MaybeUninit;

use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use verity_trace_ebpf::counters::{CpuCounters, Hook};
use verity_trace_ebpf::in_flight::Verification;
use verity_trace_ebpf::record::Finish;
use verity_trace_ebpf::settings::{
    IRQ_RESTORE_CALL, IRQ_SAVE_CALL, PREEMPT_DISABLE_CALL, PREEMPT_ENABLE_CALL,
};

use crate::account::add;
use crate::maps::{CPUS, setting};
use crate::memory::Memory;
use crate::task;

/// The copy of a program that handles what it sees (see [`Hook`]).
pub const FIRST: usize = 0;

/// The copy that runs after it and takes over what the first was not run for.
pub const SECOND: usize = 1;

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

/// Runs a copy of a program for the event of `pointer`: the first always, the second when the first
/// was not run for it. What runs gets the pointer as a plain number too.
#[inline(always)]
pub fn take_turn<M: Memory, const COPY: usize>(
    hook: Hook,
    pointer: u64,
    run: impl FnOnce(ThisCpu, u64),
) {
    let turn = || ThisCpu::get().filter(|this| this.is_turn_of::<COPY>(hook, pointer));
    if !M::IS_TYPED {
        if let Some(this) = turn() {
            run(this, pointer);
        }
        return;
    }
    let run = |this: ThisCpu| run(this, this.address_of_event::<COPY>(hook, pointer));
    if COPY == FIRST {
        // All of it: a task that is preempted inside the program makes it miss others.
        without_preemption(|| {
            if let Some(this) = turn() {
                run(this);
            }
        });
    } else if let Some(this) = turn() {
        without_preemption(|| run(this));
    }
}

/// A typed pointer as a plain number, which may be calculated with: what went through a map has no
/// type.
///
/// # Safety
///
/// `place` is one in a map that nothing else uses.
#[inline(always)]
unsafe fn address(place: *mut u64, pointer: u64) -> u64 {
    // SAFETY: as the caller says.
    unsafe {
        place.write_volatile(pointer);
        place.read_volatile()
    }
}

impl ThisCpu {
    #[inline(always)]
    pub fn get() -> Option<Self> {
        CPUS.get_ptr_mut(0).map(Self)
    }

    /// Whether this copy has to handle the event of `pointer`.
    #[inline(always)]
    fn is_turn_of<const COPY: usize>(self, hook: Hook, pointer: u64) -> bool {
        // SAFETY: a field of this CPU's value in the map, which is never freed.
        let handled = unsafe { &raw mut (*self.0).now.handled[hook as usize] };
        // SAFETY: as above.
        unsafe {
            let is_handled = COPY != FIRST && *handled == pointer;
            *handled = if COPY == FIRST { pointer } else { 0 };
            !is_handled
        }
    }

    /// A pointer to the work that is queued, as a plain number.
    #[inline(always)]
    pub fn address_of_work(self, pointer: u64) -> u64 {
        // SAFETY: as in `is_turn_of`; a program never interrupts itself.
        unsafe { address(&raw mut (*self.0).now.work, pointer) }
    }

    /// The pointer that a copy of a program was called for, as a plain number.
    #[inline(always)]
    fn address_of_event<const COPY: usize>(self, hook: Hook, pointer: u64) -> u64 {
        // SAFETY: as in `is_turn_of`; a program never interrupts itself.
        unsafe { address(&raw mut (*self.0).now.events[hook as usize][COPY], pointer) }
    }

    /// Puts what became of an I/O where the verifier knows nothing of what it holds: otherwise it would walk through
    /// the accounting once for each way in which a record can come about.
    #[inline(always)]
    pub fn put<const COPY: usize>(self, finish: &Finish) -> *const Finish {
        // SAFETY: as in `is_turn_of`; each copy has its own, and a program never interrupts itself.
        unsafe {
            let mut result = &raw mut (*self.0).now.results[COPY];
            result.write(*finish);
            // Without this the compiler remembers what it wrote.
            asm!("{0} = {0}", inout(reg) result, options(preserves_flags, nostack));
            result
        }
    }

    /// Whether a verification here was one of a device with the option.
    #[inline(always)]
    pub fn has_option(self) -> bool {
        // SAFETY: as in `is_turn_of`.
        unsafe { (*self.0).now.has_option != 0 }
    }

    /// A device with the option was seen here.
    #[inline(always)]
    pub fn saw_option(self) {
        // SAFETY: as in `is_turn_of`.
        unsafe { (*self.0).now.has_option = 1 };
    }

    /// The slot of a device, if its I/O was the last one seen here in this generation of slots.
    #[inline(always)]
    pub fn slot_of(self, device: u32, generation: u64) -> Option<u32> {
        // SAFETY: as in `is_turn_of`. A program that interrupts this one leaves a pair that belongs
        // together, since the generation only changes when a device is gone.
        let (known, since) = unsafe { ((*self.0).now.device, (*self.0).now.generation) };
        (known as u32 == device && since == generation + 1).then_some((known >> 32) as u32)
    }

    /// Keeps a device's slot for the next I/O.
    #[inline(always)]
    pub fn keep_slot(self, device: u32, slot: u32, generation: u64) {
        // SAFETY: as in `slot_of`.
        unsafe {
            (*self.0).now.device = u64::from(slot) << 32 | u64::from(device);
            (*self.0).now.generation = generation + 1;
        }
    }

    /// Counts what the first copy would have handled, had it been run.
    #[inline(always)]
    pub fn took_over<const COPY: usize>(self, hook: Hook) {
        if COPY != FIRST {
            // SAFETY: as in `is_turn_of`.
            add(unsafe { &raw mut (*self.0).taken_over[hook as usize] }, 1);
        }
    }

    /// The identity of the next I/O that this copy sees mapped here (`Record::seq`). Each copy has
    /// a counter of its own, since one may interrupt the other.
    #[inline(always)]
    pub fn next_seq<const COPY: usize>(self) -> u64 {
        // SAFETY: as in `is_turn_of`; a program never interrupts itself.
        let count = unsafe {
            let mapped = &raw mut (*self.0).mapped[COPY];
            *mapped += 1;
            *mapped
        };
        u64::from(number()) << 48 | (COPY as u64) << 47 | count
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
        // SAFETY: as in `is_turn_of`; softirqs do not nest on a CPU, and where one can preempt another
        // (see `is_in_softirq`), only the time of the first goes uncounted.
        unsafe {
            (*self.0).now.softirq_entered_at = now();
            (*self.0).now.softirq_task = task::current();
        }
    }

    #[inline(always)]
    pub fn leave_softirq(self, vector: u32) {
        // SAFETY: as in `enter_softirq`.
        let counters = unsafe { &mut *self.0 };
        let entered_at = core::mem::take(&mut counters.now.softirq_entered_at);
        counters.now.softirq_task = 0;
        if entered_at != 0
            && let Some(ns) = counters.softirq_ns.get_mut(vector as usize)
        {
            *ns += now().saturating_sub(entered_at);
        }
    }

    /// Whether a softirq runs here. On `PREEMPT_RT` one can be preempted, since Linux 6.18 also by another
    /// softirq: then what is known of the CPU may be the other's, and the task is asked.
    #[inline(always)]
    pub fn is_in_softirq(self) -> bool {
        if setting!(task_softirq_count) != 0 {
            return task::serves_softirqs();
        }
        // SAFETY: as in `is_turn_of`.
        unsafe { (*self.0).now.softirq_task == task::current() }
    }
}
