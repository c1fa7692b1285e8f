//! The values of the counter maps: plain 64-bit numbers, added to atomically wherever two programs
//! may add to one.

use bytemuck::{Pod, Zeroable};

use crate::context::{Completion, Context};
use crate::placement::{PAIRS, Placement};
use crate::reason::{ALL_OUTCOMES, OUTCOMES};
use crate::record::Finish;
use crate::slot::{SLOTS, highest_bit};

/// How often each slot was hit, for one device and one shard: [`SLOTS`] for each pair of placement and
/// stage.
pub type Histograms = [u64; PAIRS * SLOTS];

/// What one device did, in one shard.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct DeviceTotals {
    /// Counters.
    pub counters: DeviceCounters,
    /// Histograms.
    pub histograms: Histograms,
}

/// How long verifications were queued on one workqueue, as the workqueue's tracepoints tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct QueueDelays {
    /// Their sum, in nanoseconds.
    pub sum_ns: u64,
    /// How often each slot was hit.
    pub slots: [u64; SLOTS],
}

/// Where a device slot is in the map of totals.
#[must_use]
#[inline(always)]
pub const fn totals_index(device_slot: u32, shard: u32, shards: u32) -> u32 {
    device_slot * shards + shard
}

/// How many sizes of I/Os are told apart, by powers of two.
pub const SIZES: usize = 16;

/// The smallest size that is told apart, as a power of two; the largest stands for all above it too.
pub const SMALLEST_SIZE_BIT: u32 = 9;

/// How many ioprio classes there are (`IOPRIO_CLASS_*`, include/uapi/linux/ioprio.h).
pub const CLASSES: usize = 4;

/// Where the class is in an ioprio (`IOPRIO_CLASS_SHIFT`, include/uapi/linux/ioprio.h).
pub const CLASS_SHIFT: u16 = 13;

/// The number of a size in [`DeviceCounters::outcomes`]; always below [`SIZES`].
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a bit of 64")]
pub const fn size_number(bytes: u32) -> usize {
    let number = highest_bit((bytes >> SMALLEST_SIZE_BIT) as u64) as usize;
    if number < SIZES { number } else { SIZES - 1 }
}

/// The number of an ioprio's class; one that does not exist counts as none.
#[must_use]
#[inline(always)]
pub const fn class_number(ioprio: u16) -> usize {
    let class = (ioprio >> CLASS_SHIFT) as usize;
    if class < CLASSES { class } else { 0 }
}

/// Rows of the arrays that follow are powers of two: one mask then proves an index to the verifier.
const PLACEMENT_SLOTS: usize = Placement::COUNT.next_power_of_two();
const CONTEXT_SLOTS: usize = Context::COUNT.next_power_of_two();
/// See [`outcome_index`].
pub const OUTCOME_SLOTS: usize = OUTCOMES.next_power_of_two();

/// Where an outcome is counted in [`DeviceCounters::outcomes`].
#[must_use]
#[inline(always)]
pub const fn outcome_index(size: usize, class: usize, outcome: u8) -> usize {
    (size * CLASSES + class) * OUTCOME_SLOTS + outcome as usize
}

/// Where a placement with the contexts of its completion and its verification is counted in
/// [`DeviceCounters::contexts`].
#[must_use]
#[inline(always)]
pub const fn context_index(placement: usize, completion: usize, context: usize) -> usize {
    (placement * Completion::COUNT + completion) * CONTEXT_SLOTS + context
}

/// The counters of one device in one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct DeviceCounters {
    /// Maps that the target refused; these are not I/Os.
    pub rejected: u64,
    /// Finished I/Os of which some event was not seen.
    pub incomplete: u64,
    /// Fallbacks whose attempt ran inline; the others ran on the BH workqueue.
    pub inline_attempts: u64,
    /// I/Os of which a block was read again because its hash did not match.
    pub rechecked: u64,
    /// I/Os for which forward error correction was tried.
    pub fec: u64,
    /// I/Os finished, by [`outcome_index`].
    pub outcomes: [u64; SIZES * CLASSES * OUTCOME_SLOTS],
    /// Bytes of the I/Os finished, by placement.
    pub bytes: [u64; PLACEMENT_SLOTS],
    /// I/Os that finished with an error status, by placement.
    pub failed: [u64; PLACEMENT_SLOTS],
    /// Nanoseconds, by pair of placement and stage.
    pub sum_ns: [u64; PAIRS.next_power_of_two()],
    /// I/Os finished, by [`context_index`].
    pub contexts: [u64; PLACEMENT_SLOTS * Completion::COUNT * CONTEXT_SLOTS],
    /// Fallbacks, by the context of their attempt.
    pub attempt_contexts: [u64; CONTEXT_SLOTS],
}

impl DeviceCounters {
    /// I/Os finished with this placement.
    #[must_use]
    pub fn finished(&self, placement: Placement) -> u64 {
        self.outcomes
            .chunks_exact(OUTCOME_SLOTS)
            .flat_map(|outcomes| outcomes.iter().zip(ALL_OUTCOMES))
            .filter(|(_, outcome)| outcome.0 == placement)
            .map(|(count, _)| count)
            .sum()
    }
}

/// The first I/O of a device that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FirstFailure {
    /// 1 once there is one.
    pub is_taken: u64,
    /// 1 once the rest is written.
    pub is_written: u64,
    /// Its first sector on the device.
    pub sector: u64,
    /// Its `blk_status_t`.
    pub status: u64,
}

/// How many softirq vectors Linux has (`NR_SOFTIRQS`, include/linux/interrupt.h).
pub const SOFTIRQ_VECTORS: usize = 10;

/// A function of dm-verity that every I/O passes.
///
/// The kernel does not run a tracing program that is already running on its CPU: a BH verification
/// that interrupts one of kverityd would go unseen, and on a preemptible kernel so would everything
/// while a task is preempted inside the program. Where that can happen user space attaches a guard too:
/// the same program once more, which runs right before the other. Then both would have to be interrupted
/// at once for an event to be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Hook {
    /// `verity_map`.
    Map = 0,
    /// `verity_end_io`.
    EndIo = 1,
    /// `verity_verify_io`.
    VerifyIo = 2,
    /// `verity_finish_io`.
    FinishIo = 3,
}

impl Hook {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// Every one, in the order of its number.
    pub const ALL: [Self; Self::COUNT] = [Self::Map, Self::EndIo, Self::VerifyIo, Self::FinishIo];

    /// Its bit in [`Shared::guarded`].
    #[must_use]
    #[inline(always)]
    pub const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// What all CPUs share beside counters. It is written seldom, so that each of them keeps a copy in its
/// cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Shared {
    /// How often user space has given a slot back: what a CPU remembers of slots from before is void.
    pub generation: u64,
    /// 1 once a verification was one of a device with the option.
    pub has_option: u64,
    /// The hooks that have a guard, by [`Hook::bit`]; user space writes it.
    pub guarded: u64,
    /// Since when it is seen that an attempt gives up, in nanoseconds of `CLOCK_MONOTONIC`; 0 while it is not.
    /// User space writes it.
    pub sees_giving_up_since: u64,
}

/// Most CPUs that are told apart: a power of two.
pub const MAX_CPUS: usize = 2_048;

/// What each CPU did.
pub type Cpus = [CpuCounters; MAX_CPUS];

/// What one CPU did; it shares no cache line with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CpuCounters {
    /// I/Os that the program and its guard saw mapped: the lower part of `Record::seq`.
    pub mapped: [u64; 2],
    /// Nanoseconds in each softirq vector.
    pub softirq_ns: [u64; SOFTIRQ_VECTORS],
    /// Nanoseconds of verification in softirq, attempts that gave up included.
    pub softirq_verify_ns: u64,
    /// Verifications that began on `kverityd`.
    pub kverityd_verifications: u64,
    /// Verifications that began on the BH workqueue or in a tasklet, attempts included.
    pub bh_verifications: u64,
    /// Verifications that began inline, attempts included.
    pub inline_verifications: u64,
    /// By [`Hook`]: events that a guard saw less those of which the program then found that. What is left are
    /// those that the kernel ran the guard for and not the program. It goes below 0 for a moment.
    pub guarded: [i64; Hook::COUNT],
    /// What this CPU is doing now.
    pub now: CpuState,
    reserved: u64,
}

const _: () = assert!(size_of::<CpuCounters>() == 384);

/// What one CPU is doing; 0 stands for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CpuState {
    /// When the softirq that runs now was entered.
    pub softirq_entered_at: u64,
    /// The device that this CPU saw an I/O of last, with its slot in the upper half. It lies between two
    /// fields that become 0 at once, since the compiler would call a function for that.
    pub device: u64,
    /// The task that the softirq runs in, by address.
    pub softirq_task: u64,
    /// What became of the I/O that the program for `verity_finish_io` and its guard account for.
    pub results: [Finish; 2],
    /// What user space had called the slots' current generation then, plus 1.
    pub generation: u64,
    /// By [`Hook`], of the program and its guard: where the pointer that it is called for becomes a number.
    pub events: [[u64; 2]; Hook::COUNT],
    /// The same for the program of `workqueue_queue_work`.
    pub work: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_two_and_the_ends_take_the_rest() {
        let numbers = [0, 512, 1_023, 1_024, 4_096, 65_536, 1 << 20, u32::MAX].map(size_number);
        assert_eq!(numbers, [0, 0, 0, 1, 3, 7, 11, 15]);
    }

    #[test]
    fn an_ioprio_class_that_does_not_exist_counts_as_none() {
        assert_eq!(
            [0, 16_388, 3 << 13, 7 << 13].map(class_number),
            [0, 2, 3, 0]
        );
    }
}
