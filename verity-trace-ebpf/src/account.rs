//! The only way out: every counter, histogram, record and loss is written here.

use core::intrinsics::{AtomicOrdering, atomic_xadd, is_val_statically_known};

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use verity_trace_ebpf::context::Context;
use verity_trace_ebpf::counters::{
    DeviceCounters, Histograms, class_number, context_index, outcome_index, size_number,
    totals_index,
};
use verity_trace_ebpf::in_flight::{InFlight, OPTION_OFF, Plain};
use verity_trace_ebpf::loss::Loss;
use verity_trace_ebpf::placement::{PAIRS, Placement, Stage, VERIFIED_STAGES, pair};
use verity_trace_ebpf::record::{
    CLOCK, FEC, Finish, INCOMPLETE, INLINE_ATTEMPT, RECHECKED, Record,
};
use verity_trace_ebpf::slot::{SLOTS, slot};

use crate::cpu::ThisCpu;
use crate::maps::{DEVICE_LOSSES, FIRST_FAILURES, LOSSES, RECORDS, TOTALS, setting};
use crate::memory::opaque;
use crate::places::compare_and_set;
use crate::{queues, sampling, submissions};

/// Counts something that was not seen.
#[inline(always)]
pub fn lose(loss: Loss) {
    if let Some(count) = LOSSES.get_ptr_mut(loss as u32) {
        add(count, 1);
    }
}

/// Counts something that was not seen of a device.
#[inline(always)]
pub fn lose_of(device_slot: u32, loss: Loss) {
    lose(loss);
    if let Some(counts) = DEVICE_LOSSES.get_ptr_mut(device_slot) {
        // SAFETY: a pointer to a field of a valid value; the number is below their count.
        add(unsafe { counts.cast::<u64>().add(loss.number()) }, 1);
    }
}

/// A map that the target refused.
#[inline(always)]
pub fn rejected(this: ThisCpu, device_slot: u32) {
    if let Some(device) = Device::of(this, device_slot) {
        // SAFETY: a pointer to a field of a valid value.
        add(unsafe { &raw mut (*device.counters).rejected }, 1);
    }
}

/// An I/O that finished as nearly all do: as [`finished`], in fewer steps.
#[inline(always)]
pub fn finished_plainly(this: ThisCpu, state: &InFlight, plain: &Plain) {
    if let Some(device) = Device::of(this, state.device_slot()) {
        device.count(
            state,
            plain.placement,
            plain.outcome,
            plain.completion,
            plain.context,
        );
        let stages = device.stages_of_verified(plain.placement);
        stages.count::<0>(plain.device_ns);
        stages.count::<1>(plain.wait_ns);
        stages.count::<2>(plain.verify_ns);
        stages.count::<3>(plain.total_ns);
    }
    count_softirq(this, plain.context, || Some(plain.verify_ns));
    hand_on(state, plain.total_ns, || plain.finish());
}

/// The same of one that [`InFlight::is_plain_on_kverityd`], in still fewer.
#[inline(always)]
pub fn finished_on_kverityd(this: ThisCpu, state: &InFlight, now: u64) {
    if let Some(device) = Device::of(this, state.device_slot()) {
        device.count(
            state,
            Placement::Kverityd,
            OPTION_OFF,
            state.completion(),
            state.context(),
        );
        let stages = device.stages();
        stages.count::<{ number(Placement::Kverityd, Stage::Device) }>(state.device_ns());
        stages.count::<{ number(Placement::Kverityd, Stage::Wait) }>(state.wait_ns());
        stages.count::<{ number(Placement::Kverityd, Stage::Verify) }>(state.verify_ns(now));
        stages.count::<{ number(Placement::Kverityd, Stage::Total) }>(state.total_ns(now));
    }
    count_softirq(this, state.context(), || Some(state.verify_ns(now)));
    hand_on(state, state.total_ns(now), || {
        state.plain_on_kverityd(now).finish()
    });
}

/// Counts stages of one placement. Written out, so that each pair is a constant to the compiler: the
/// verifier accepts no index that it cannot bound.
macro_rules! count_stages {
    ($stages:ident, $finish:ident, $placement:ident: $($stage:ident),+) => {$(
        $stages.count_if::<{ number(Placement::$placement, Stage::$stage) }>(
            $finish.stage_ns(Stage::$stage),
        );
    )+};
}

/// A finished I/O, which the table still knows.
#[inline(always)]
pub fn finished(this: ThisCpu, state: &InFlight, placement: Placement, finish: &Finish) {
    if let Some(device) = Device::of(this, state.device_slot()) {
        device.count(
            state,
            placement,
            finish.outcome,
            finish.completion,
            finish.context,
        );
        let counters = device.counters;
        // SAFETY: a pointer to a field of a valid value.
        unsafe {
            if finish.status != 0 {
                add_at(&raw mut (*counters).failed, placement.number(), 1);
                remember_failure(state.device_slot(), state.sector(), finish.status);
            }
            if finish.flags != 0 {
                count_flags(state.device_slot(), counters, placement, finish);
            }
        }
        match placement {
            Placement::Kverityd | Placement::Bh | Placement::Inline => {
                let stages = device.stages_of_verified(placement);
                stages.count_if::<0>(finish.stage_ns(VERIFIED_STAGES[0]));
                stages.count_if::<1>(finish.stage_ns(VERIFIED_STAGES[1]));
                stages.count_if::<2>(finish.stage_ns(VERIFIED_STAGES[2]));
                stages.count_if::<3>(finish.stage_ns(VERIFIED_STAGES[3]));
            }
            Placement::Fallback => {
                let context = usize::from(finish.attempt_context);
                // SAFETY: as above.
                unsafe { add_at(&raw mut (*counters).attempt_contexts, context, 1) };
                let stages = device.stages();
                count_stages!(stages, finish, Fallback: Device, Wait, Attempt, RetryWait, Verify, Total);
            }
            Placement::None => {
                let stages = device.stages();
                count_stages!(stages, finish, None: Device, Total);
            }
        }
    }
    match placement {
        Placement::Fallback => count_softirq(this, finish.attempt_context, || {
            finish.stage_ns(Stage::Attempt)
        }),
        _ => count_softirq(this, finish.context, || finish.stage_ns(Stage::Verify)),
    }
    hand_on(state, finish.total_ns, || *finish);
}

/// Counts an I/O for who submitted it, and sends its record, where these are wanted.
#[inline(always)]
fn hand_on(state: &InFlight, total_ns: u64, finish: impl FnOnce() -> Finish) {
    if setting!(counts_submitters) != 0 {
        submissions::finished(state);
    }
    if setting!(records) != 0 && sampling::is_sent(state.seq(), total_ns) {
        // Nobody sleeps on the ring buffer; a wake-up would be an interrupt in the middle of this
        // program.
        if let Some(mut entry) = RECORDS.reserve::<Record>(0) {
            entry.write(state.record(&finish()));
            entry.submit(BPF_RB_NO_WAKEUP.into());
        } else {
            lose_of(state.device_slot(), Loss::RingFull);
        }
    }
}

/// Where the I/Os of one device that finish on this CPU are counted.
struct Device {
    this: ThisCpu,
    counters: *mut DeviceCounters,
    histograms: *mut Histograms,
}

impl Device {
    #[inline(always)]
    fn of(this: ThisCpu, device_slot: u32) -> Option<Self> {
        // A few CPUs share each copy, with atomic additions.
        let shards = setting!(shards) as u32;
        let shard = u32::from(this.number) & (shards - 1);
        let totals = TOTALS.get_ptr_mut(totals_index(device_slot, shard, shards))?;
        // SAFETY: pointers to fields of a valid value.
        unsafe {
            Some(Self {
                this,
                counters: &raw mut (*totals).counters,
                histograms: &raw mut (*totals).histograms,
            })
        }
    }

    /// What is counted of every I/O.
    #[inline(always)]
    fn count(
        &self,
        state: &InFlight,
        placement: Placement,
        outcome: u8,
        completion: u8,
        context: u8,
    ) {
        let counters = self.counters;
        let number = placement.number();
        let size = size_number(state.bytes());
        let class = class_number(state.ioprio());
        let outcome = outcome_index(size, class, outcome);
        let context = context_index(number, completion.into(), context.into());
        // SAFETY: pointers to fields of a valid value, with indices of the arrays' own enums.
        unsafe {
            add_at(&raw mut (*counters).outcomes, outcome, 1);
            add_at(&raw mut (*counters).bytes, number, state.bytes().into());
            add_at(&raw mut (*counters).contexts, context, 1);
        }
    }

    /// The stages of all placements, by [`pair`].
    #[inline(always)]
    fn stages(&self) -> Stages {
        Stages {
            this: self.this,
            // SAFETY: a pointer to a field of a valid value.
            sums: unsafe { &raw mut (*self.counters).sum_ns }.cast(),
            slots: self.histograms.cast(),
        }
    }

    /// Those of one of the placements that are verified once, in the order of [`VERIFIED_STAGES`]: what
    /// `pair` gives for these, without a branch for each.
    #[inline(always)]
    fn stages_of_verified(&self, placement: Placement) -> Stages {
        let Stages { this, sums, slots } = self.stages();
        let first = placement.number() * VERIFIED_STAGES.len();
        // The mask is for the verifier.
        let first = opaque(first as u64) as usize & 0xf;
        // SAFETY: pointers to elements of valid values, which have 4 pairs more.
        unsafe {
            Stages {
                this,
                sums: sums.add(first),
                slots: slots.add(first * SLOTS),
            }
        }
    }
}

/// What the flags of an I/O say, which most have none of.
///
/// # Safety
///
/// `counters` points to a valid value.
#[inline(always)]
unsafe fn count_flags(
    device_slot: u32,
    counters: *mut DeviceCounters,
    placement: Placement,
    finish: &Finish,
) {
    // SAFETY: pointers to fields of a valid value.
    unsafe {
        if finish.has(RECHECKED) {
            add(&raw mut (*counters).rechecked, 1);
        }
        if finish.has(FEC) {
            add(&raw mut (*counters).fec, 1);
        }
        if finish.has(INCOMPLETE) {
            add(&raw mut (*counters).incomplete, 1);
        }
        if let Placement::Fallback = placement
            && finish.has(INLINE_ATTEMPT)
        {
            add(&raw mut (*counters).inline_attempts, 1);
        }
    }
    if finish.has(CLOCK) {
        lose_of(device_slot, Loss::Clock);
    }
}

/// The number of a pair that exists.
const fn number(placement: Placement, stage: Stage) -> usize {
    pair(placement, stage).expect("a pair that exists")
}

/// Nothing follows it in the histograms.
const LAST_PAIR: usize = PAIRS - 1;

/// Where the stages of one I/O are counted.
struct Stages {
    this: ThisCpu,
    sums: *mut u64,
    slots: *mut u64,
}

impl Stages {
    #[inline(always)]
    fn count_if<const PAIR: usize>(&self, ns: Option<u64>) {
        if let Some(ns) = ns {
            self.count::<PAIR>(ns);
        }
    }

    #[inline(always)]
    fn count<const PAIR: usize>(&self, ns: u64) {
        let slot = self.this.forget(slot(ns) as u64) as usize;
        // The check is for the verifier. A mask takes less, and proves as much where another pair follows.
        let mask = SLOTS.next_power_of_two() - 1;
        let slot = if PAIR < LAST_PAIR { slot & mask } else { slot };
        if PAIR < LAST_PAIR || slot < SLOTS {
            // SAFETY: pointers to elements of valid values; the index was checked.
            unsafe {
                add(self.sums.add(PAIR), ns);
                add(self.slots.add(PAIR * SLOTS + slot), 1);
            }
        }
    }
}

/// Keeps where a device failed first.
#[inline(always)]
fn remember_failure(device_slot: u32, sector: u64, status: u8) {
    if let Some(first) = FIRST_FAILURES.get_ptr_mut(device_slot) {
        // SAFETY: pointers to fields of a valid value; only who takes it writes the rest.
        unsafe {
            if compare_and_set(&raw mut (*first).is_taken, 0, 1) {
                (*first).sector = sector;
                (*first).status = u64::from(status);
                compare_and_set(&raw mut (*first).is_written, 0, 1);
            }
        }
    }
}

/// Counts the time of a verification that ran in softirq.
#[inline(always)]
fn count_softirq(this: ThisCpu, context: u8, ns: impl FnOnce() -> Option<u64>) {
    if [Context::Softirq as u8, Context::Ksoftirqd as u8].contains(&context)
        && let Some(ns) = ns()
    {
        this.add_softirq_verification(ns);
        queues::verified_in_softirq(ns);
    }
}

/// Adds to one of some counters, which are as many as a power of two.
#[inline(always)]
fn add_at<const N: usize>(counters: *mut [u64; N], index: usize, n: u64) {
    const { assert!(N.is_power_of_two()) };
    let index = if is_val_statically_known(index) {
        index
    } else {
        opaque(index as u64) as usize & (N - 1)
    };
    // SAFETY: callers pass valid counters, and the index is one of theirs.
    add(unsafe { counters.cast::<u64>().add(index) }, n);
}

/// Adds atomically, so that a program that interrupts another on its CPU loses nothing.
#[inline(always)]
pub fn add(counter: *mut u64, n: u64) {
    // The target has additions and no compare-and-swap, so `core` leaves out `AtomicU64::fetch_add`.
    // SAFETY: callers pass a valid, aligned counter.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, n) };
}
