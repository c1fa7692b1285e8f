//! The values of the counter maps: plain 64-bit numbers, added to atomically wherever two programs
//! may add to one.

use bytemuck::{Pod, Zeroable};

use crate::placement::{PAIRS, Placement};
use crate::slot::SLOTS;

/// How often each slot was hit, for one device, one pair of placement and stage, and one shard.
pub type Slots = [u64; SLOTS];

/// Where the counters of a device slot are in the map of counters.
#[must_use]
#[inline(always)]
pub const fn counters_index(device_slot: u32, shard: u32, shards: u32) -> u32 {
    device_slot * shards + shard
}

/// Where the histogram of a device slot and a pair of placement and stage is in the map of
/// histograms.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a pair is below PAIRS")]
pub const fn histogram_index(device_slot: u32, pair: usize, shard: u32, shards: u32) -> u32 {
    (device_slot * PAIRS as u32 + pair as u32) * shards + shard
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
    /// I/Os finished, by placement.
    pub finished: [u64; Placement::COUNT],
    /// Bytes of the I/Os finished, by placement.
    pub bytes: [u64; Placement::COUNT],
    /// I/Os that finished with an error status, by placement.
    pub failed: [u64; Placement::COUNT],
    /// Nanoseconds, by pair of placement and stage.
    pub sum_ns: [u64; PAIRS],
}

/// How many softirq vectors Linux has (`NR_SOFTIRQS`, include/linux/interrupt.h).
pub const SOFTIRQ_VECTORS: usize = 10;

/// A function of dm-verity that is watched by three copies of one program.
///
/// The kernel does not run a tracing program that is already running on its CPU: a BH verification
/// that interrupts one of kverityd would go unseen, and on a preemptible kernel so would everything
/// while a task is preempted inside the program. Each copy runs right after the one before it and
/// takes over what that was not run for; all of them would have to be interrupted at once for an
/// event to be lost.
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
}

/// What one CPU did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CpuCounters {
    /// I/Os that each copy of a program saw mapped: the lower part of `Record::seq`.
    pub mapped: [u64; 3],
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
    /// Events by [`Hook`] that another copy of a program took over from the first.
    pub taken_over: [u64; Hook::COUNT],
    /// What this CPU is doing now.
    pub now: CpuState,
}

/// What one CPU is doing; 0 stands for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CpuState {
    /// When the softirq that runs now was entered.
    pub softirq_entered_at: u64,
    /// By [`Hook`]: what a copy of a program has handled and the last copy not yet seen.
    pub handled: [u64; Hook::COUNT],
}
