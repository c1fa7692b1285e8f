//! One finished I/O, as it travels through the ring buffer.

use bytemuck::{Pod, Zeroable};

use crate::placement::{Placement, Stage};

/// Stands in [`Record::stages_ns`] for a stage that did not happen or was not seen.
pub const ABSENT: u64 = u64::MAX;

/// The submitter asked for read-ahead (`REQ_RAHEAD`).
pub const READ_AHEAD: u8 = 1 << 0;
/// The verification, or the attempt that gave up, ran in softirq.
pub const IN_SOFTIRQ: u8 = 1 << 1;
/// Some event of this I/O was not seen, so its stages do not add up to its total.
pub const INCOMPLETE: u8 = 1 << 2;
/// Two clocks disagreed, and a negative difference was counted as 0.
pub const CLOCK: u8 = 1 << 3;
/// A softirq attempt ran inline; together with [`Placement::Fallback`] it is the attempt's placement.
pub const INLINE_ATTEMPT: u8 = 1 << 4;

/// One finished I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Record {
    /// Its identity: the number among all I/Os that one copy of a program saw mapped on one CPU,
    /// with the copy in bits 46 and 47 and the CPU in the bits above.
    pub seq: u64,
    /// When `verity_map` was entered, in nanoseconds of `CLOCK_MONOTONIC`.
    pub mapped_at: u64,
    /// The first sector on the device, in units of 512 bytes.
    pub sector: u64,
    /// Nanoseconds from `verity_map` to `verity_finish_io`.
    pub total_ns: u64,
    /// Nanoseconds by [`Stage`], [`ABSENT`] where there is none.
    pub stages_ns: [u64; Stage::PARTS],
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
    /// `blk_status_t` that it finished with; 0 is success.
    pub status: u8,
    /// The [`Placement`]'s number.
    pub placement: u8,
    /// The bits above.
    pub flags: u8,
    /// Always 0.
    pub reserved: u8,
}

impl Record {
    /// The length of a stage in nanoseconds.
    #[must_use]
    #[inline(always)]
    pub fn stage_ns(&self, stage: Stage) -> Option<u64> {
        match stage {
            Stage::Total => Some(self.total_ns),
            part => Some(self.stages_ns[part.number()]).filter(|&ns| ns != ABSENT),
        }
    }

    /// The placement; absent when the bytes are not a record.
    #[must_use]
    pub fn placement(&self) -> Option<Placement> {
        Placement::from_number(self.placement)
    }

    /// Whether a flag is set.
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}
