//! What belongs to the CPU that a program runs on. A program can be interrupted by another one on
//! the same CPU, so everything goes through a raw pointer, and what two programs add to is added
//! to atomically.

use core::arch::asm;
use core::mem::MaybeUninit;

use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use verity_trace_ebpf::counters::{CpuCounters, Hook, MAX_CPUS};
use verity_trace_ebpf::in_flight::Verification;
use verity_trace_ebpf::record::Finish;
use verity_trace_ebpf::settings::{
    IRQ_RESTORE_CALL, IRQ_SAVE_CALL, PREEMPT_DISABLE_CALL, PREEMPT_ENABLE_CALL,
};

use crate::account::add;
use crate::maps::{cpus, setting, shared};
use crate::memory::Memory;
use crate::task;

/// This CPU's counters.
#[derive(Clone, Copy)]
pub struct ThisCpu {
    counters: *mut CpuCounters,
    /// Its number.
    pub number: u16,
    /// Whether it is a guard that runs here.
    is_guard: bool,
}

/// The number of the CPU that the program runs on.
#[inline(always)]
pub fn number() -> u32 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_smp_processor_id() }
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

/// Runs a program, or its guard (see [`Hook`]), for an event; `run` returns whether the event is news.
#[inline(always)]
pub fn watch<M: Memory, const IS_GUARD: bool>(hook: Hook, run: impl FnOnce(ThisCpu) -> bool) {
    let run = || {
        let Some(this) = ThisCpu::get::<M>() else {
            return;
        };
        let this = ThisCpu {
            is_guard: IS_GUARD,
            ..this
        };
        if IS_GUARD {
            this.add_guarded(hook, 1);
            run(this);
        } else if !run(this) && is_guarded::<M>(hook) {
            // The guard has seen it.
            this.add_guarded(hook, -1);
        }
    };
    if M::IS_TYPED {
        without_preemption(run);
    } else {
        run();
    }
}

/// Whether this hook has a guard.
#[inline(always)]
pub fn is_guarded<M: Memory>(hook: Hook) -> bool {
    // SAFETY: a pointer to a valid value, which user space writes to.
    shared::<M>().is_some_and(
        |shared| unsafe { (&raw const (*shared).guarded).read_volatile() } & hook.bit() != 0,
    )
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
    pub fn get<M: Memory>() -> Option<Self> {
        let cpus: *mut CpuCounters = cpus::<M>()?.cast();
        let number = number();
        // User space refuses a machine that has more. The mask is for the verifier.
        let index = number as usize & (MAX_CPUS - 1);
        Some(Self {
            // SAFETY: the value has this many.
            counters: unsafe { cpus.add(index) },
            number: number as u16,
            is_guard: false,
        })
    }

    #[inline(always)]
    fn add_guarded(self, hook: Hook, n: i64) {
        // SAFETY: a pointer to a field of this CPU's value in the map, which is never freed.
        let guarded = unsafe { &raw mut (*self.counters).guarded[hook as usize] };
        add(guarded.cast(), n.cast_unsigned());
    }

    /// A pointer to the work that is queued, as a plain number.
    #[inline(always)]
    pub fn address_of_work(self, pointer: u64) -> u64 {
        // SAFETY: as in `add_guarded`; a program never interrupts itself.
        unsafe { address(&raw mut (*self.counters).now.work, pointer) }
    }

    /// The pointer that a program or its guard was called for, as a plain number.
    #[inline(always)]
    pub fn address_of_event<M: Memory, const IS_GUARD: bool>(
        self,
        hook: Hook,
        pointer: u64,
    ) -> u64 {
        if !M::IS_TYPED {
            return pointer;
        }
        // SAFETY: as in `add_guarded`; a program never interrupts itself.
        unsafe {
            let place = &raw mut (*self.counters).now.events[hook as usize][usize::from(IS_GUARD)];
            address(place, pointer)
        }
    }

    /// A guard does nothing for the event: the program alone handles it. Returns that it is news.
    #[inline(always)]
    pub fn leave_to_program(self, hook: Hook) -> bool {
        self.add_guarded(hook, -1);
        true
    }

    /// The same number, of which the verifier knows nothing: else it would walk through all that follows once for
    /// each way in which it can come about. For the end of an I/O, whose pointer is a number by then.
    #[inline(always)]
    pub fn forget(self, number: u64) -> u64 {
        // SAFETY: as in `add_guarded`; the program and its guard have a place each.
        unsafe {
            let events = &raw mut (*self.counters).now.events[Hook::FinishIo as usize];
            address(events.cast::<u64>().add(usize::from(self.is_guard)), number)
        }
    }

    /// Puts what became of an I/O where the verifier knows nothing of what it holds: otherwise it would walk through
    /// the accounting once for each way in which a record can come about.
    #[inline(always)]
    pub fn put<const IS_GUARD: bool>(self, finish: &Finish) -> *const Finish {
        // SAFETY: as in `add_guarded`; each has its own, and a program never interrupts itself.
        unsafe {
            let mut result = &raw mut (*self.counters).now.results[usize::from(IS_GUARD)];
            result.write(*finish);
            // Without this the compiler remembers what it wrote.
            asm!("{0} = {0}", inout(reg) result, options(preserves_flags, nostack));
            result
        }
    }

    /// The slot of a device, if its I/O was the last one seen here in this generation of slots.
    #[inline(always)]
    pub fn slot_of(self, device: u32, generation: u64) -> Option<u32> {
        // SAFETY: as in `add_guarded`. A program that interrupts this one leaves a pair that belongs
        // together, since the generation only changes when a device is gone.
        let (known, since) =
            unsafe { ((*self.counters).now.device, (*self.counters).now.generation) };
        (known as u32 == device && since == generation + 1).then_some((known >> 32) as u32)
    }

    /// Keeps a device's slot for the next I/O.
    #[inline(always)]
    pub fn keep_slot(self, device: u32, slot: u32, generation: u64) {
        // SAFETY: as in `slot_of`.
        unsafe {
            (*self.counters).now.device = u64::from(slot) << 32 | u64::from(device);
            (*self.counters).now.generation = generation + 1;
        }
    }

    /// The identity of the next I/O that is mapped here (`Record::seq`). A guard has a counter of its own,
    /// since one may interrupt the other.
    #[inline(always)]
    pub fn next_seq<const IS_GUARD: bool>(self) -> u64 {
        // SAFETY: as in `add_guarded`; a program never interrupts itself.
        let count = unsafe {
            let mapped = &raw mut (*self.counters).mapped[usize::from(IS_GUARD)];
            *mapped += 1;
            *mapped
        };
        u64::from(self.number) << 48 | u64::from(IS_GUARD) << 47 | count
    }

    /// Counts a verification that begins here.
    #[inline(always)]
    pub fn count_verification(self, verification: Verification) {
        // SAFETY: as in `add_guarded`.
        let counter = unsafe {
            match verification {
                Verification::Kverityd => &raw mut (*self.counters).kverityd_verifications,
                Verification::Bh => &raw mut (*self.counters).bh_verifications,
                Verification::Inline => &raw mut (*self.counters).inline_verifications,
            }
        };
        add(counter, 1);
    }

    /// Adds the time of a verification that ran in softirq here.
    #[inline(always)]
    pub fn add_softirq_verification(self, ns: u64) {
        // SAFETY: as in `add_guarded`.
        add(unsafe { &raw mut (*self.counters).softirq_verify_ns }, ns);
    }

    #[inline(always)]
    pub fn enter_softirq(self) {
        // SAFETY: as in `add_guarded`; softirqs do not nest on a CPU, and where one can preempt another
        // (see `is_in_softirq`), only the time of the first goes uncounted.
        unsafe {
            (*self.counters).now.softirq_entered_at = now();
            (*self.counters).now.softirq_task = task::current();
        }
    }

    #[inline(always)]
    pub fn leave_softirq(self, vector: u32) {
        // SAFETY: as in `enter_softirq`.
        let counters = unsafe { &mut *self.counters };
        let entered_at = core::mem::take(&mut counters.now.softirq_entered_at);
        counters.now.softirq_task = 0;
        if entered_at != 0
            && let Some(ns) = counters.softirq_ns.get_mut(vector as usize)
        {
            *ns += now().saturating_sub(entered_at);
        }
    }

    /// Whether a softirq runs here, in the task that does. On `PREEMPT_RT` one can be preempted, since Linux 6.18 also by another
    /// softirq: then what is known of the CPU may be the other's, and the task is asked.
    #[inline(always)]
    pub fn is_in_softirq(self, task: u64) -> bool {
        if setting!(task_softirq_count) != 0 {
            return task::serves_softirqs(task);
        }
        // SAFETY: as in `add_guarded`.
        unsafe { (*self.counters).now.softirq_task == task }
    }
}
