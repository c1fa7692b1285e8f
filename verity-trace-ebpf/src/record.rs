//! One finished I/O, as it travels through the ring buffer.

use bytemuck::{Pod, Zeroable};

use crate::placement::{Placement, Stage};
use crate::reason::{ALL_OUTCOMES, Outcome};

/// Stands in [`Record::stages_ns`] for a stage that did not happen or was not seen.
pub const ABSENT: u64 = u64::MAX;

/// The submitter asked for read-ahead (`REQ_RAHEAD`).
pub const READ_AHEAD: u16 = 1 << 0;
/// Some event of this I/O was not seen, so its stages do not add up to its total.
pub const INCOMPLETE: u16 = 1 << 1;
/// Two clocks disagreed, and a negative difference was counted as 0.
pub const CLOCK: u16 = 1 << 2;
/// A softirq attempt ran inline; together with [`Placement::Fallback`] it is the attempt's placement.
pub const INLINE_ATTEMPT: u16 = 1 << 3;
/// A block was read again because its hash did not match (`verity_recheck`).
pub const RECHECKED: u16 = 1 << 4;
/// Forward error correction was tried (`verity_fec_decode`).
pub const FEC: u16 = 1 << 5;

/// Bytes of a command's name, the last of them 0 (`TASK_COMM_LEN`, include/linux/sched.h).
pub const COMMAND_BYTES: usize = 16;

/// What became of an I/O, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Finish {
    /// See [`Record::total_ns`].
    pub total_ns: u64,
    /// See [`Record::stages_ns`].
    pub stages_ns: [u64; Stage::PARTS],
    /// See [`Record::flags`].
    pub flags: u16,
    /// See [`Record::status`].
    pub status: u8,
    /// See [`Record::placement`].
    pub placement: u8,
    /// See [`Record::outcome`].
    pub outcome: u8,
    /// See [`Record::completion`].
    pub completion: u8,
    /// See [`Record::context`].
    pub context: u8,
    /// See [`Record::attempt_context`].
    pub attempt_context: u8,
}

impl Finish {
    /// The length of a stage in nanoseconds.
    #[must_use]
    #[inline(always)]
    pub fn stage_ns(&self, stage: Stage) -> Option<u64> {
        stage_ns(self.total_ns, &self.stages_ns, stage)
    }

    /// Whether a flag is set.
    #[must_use]
    #[inline(always)]
    pub const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// One finished I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Record {
    /// Its identity: the number among all I/Os that one copy of a program saw mapped on one CPU,
    /// with the copy in bit 47 and the CPU in the bits above.
    pub seq: u64,
    /// When `verity_map` was entered, in nanoseconds of `CLOCK_MONOTONIC`.
    pub mapped_at: u64,
    /// The first sector on the device, in units of 512 bytes.
    pub sector: u64,
    /// Nanoseconds from `verity_map` to `verity_finish_io`.
    pub total_ns: u64,
    /// Nanoseconds by [`Stage`], [`ABSENT`] where there is none.
    pub stages_ns: [u64; Stage::PARTS],
    /// The submitter's cgroup in the unified hierarchy, as the inode number of its folder.
    pub cgroup: u64,
    /// The name of the submitting thread, ended by a 0.
    pub command: [u8; COMMAND_BYTES],
    /// The device-mapper device, as the kernel's `dev_t` (12 bits major, 20 bits minor).
    pub device: u32,
    /// Length in bytes.
    pub bytes: u32,
    /// Process (thread group) that submitted it.
    pub submitter: u32,
    /// `bi_ioprio`: class in the top 3 bits.
    pub ioprio: u16,
    /// CPU that submitted it.
    pub submit_cpu: u16,
    /// CPU that completed it.
    pub complete_cpu: u16,
    /// CPU that verified it.
    pub verify_cpu: u16,
    /// The bits above.
    pub flags: u16,
    /// `blk_status_t` that it finished with; 0 is success.
    pub status: u8,
    /// The [`Placement`]'s number.
    pub placement: u8,
    /// The number of the outcome: the placement once more, with its reason.
    pub outcome: u8,
    /// The number of the [`crate::context::Completion`].
    pub completion: u8,
    /// The number of the [`crate::context::Context`] of the verification, of a fallback the second.
    pub context: u8,
    /// The same of a fallback's attempt.
    pub attempt_context: u8,
    /// Always 0.
    pub reserved: [u8; 4],
}

impl Record {
    /// The length of a stage in nanoseconds.
    #[must_use]
    #[inline(always)]
    pub fn stage_ns(&self, stage: Stage) -> Option<u64> {
        stage_ns(self.total_ns, &self.stages_ns, stage)
    }

    /// The placement; absent when the bytes are not a record.
    #[must_use]
    pub fn placement(&self) -> Option<Placement> {
        Placement::from_number(self.placement)
    }

    /// The outcome; absent when the bytes are not a record.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        ALL_OUTCOMES.get(usize::from(self.outcome)).copied()
    }

    /// Whether a flag is set.
    #[must_use]
    pub const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

#[inline(always)]
fn stage_ns(total_ns: u64, stages_ns: &[u64; Stage::PARTS], stage: Stage) -> Option<u64> {
    match stage {
        Stage::Total => Some(total_ns),
        part => Some(stages_ns[part.number()]).filter(|&ns| ns != ABSENT),
    }
}
