//! The state of an I/O between `verity_map` and `verity_finish_io`: a pure type.
//!
//! The programs read arguments and the clock and call it; everything that is decided about an I/O
//! is decided here, so that every order of events can be tried on the host.

mod finish;
#[cfg(test)]
mod tests;

pub use finish::{OPTION_OFF, Plain, Rules};

use bytemuck::{Pod, Zeroable};

use crate::context::{Completion, Context};
use crate::placement::Stage;
use crate::record::{COMMAND_BYTES, FEC, INLINE_ATTEMPT, READ_AHEAD, RECHECKED};

/// A verification on kverityd began.
const KVERITYD: u32 = 1 << 15;

/// It was queued on the BH workqueue.
const QUEUED_ON_BH: u32 = 1 << 14;

/// The device's table had the option when the I/O was verified.
const OPTION: u32 = 1 << 13;

/// The attempt returned that there is no memory.
const NO_MEMORY: u32 = 1 << 12;

/// A hash did not match, or a block could not be read.
const MISMATCH: u32 = 1 << 11;

/// The data device reported an error.
const DEVICE_ERROR: u32 = 1 << 10;

/// An attempt did not find a hash block in the cache.
const CACHE_MISS: u32 = 1 << 9;

/// What a record carries of the flags.
const RECORDED: u32 = (READ_AHEAD | INLINE_ATTEMPT | RECHECKED | FEC) as u32;

/// Stands for a limit that was not read.
const NO_LIMIT: u64 = u64::MAX;

/// What `verity_map` tells about an I/O.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// See [`Record::seq`](crate::record::Record::seq).
    pub seq: u64,
    /// The device-mapper device as the kernel's `dev_t`.
    pub device: u32,
    /// Where the device's counters are.
    pub device_slot: u32,
    /// First sector on the device, in units of 512 bytes.
    pub sector: u64,
    /// Length in bytes.
    pub bytes: u32,
    /// `bi_ioprio`.
    pub ioprio: u16,
    /// Whether it is read-ahead.
    pub read_ahead: bool,
    /// CPU of the submitter.
    pub cpu: u16,
}

/// Who submitted an I/O.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// See [`Record::submitter`](crate::record::Record::submitter).
    pub task: u32,
    /// See [`Record::cgroup`](crate::record::Record::cgroup).
    pub cgroup: u64,
    /// See [`Record::command`](crate::record::Record::command).
    pub command: &'a [u8; COMMAND_BYTES],
}

/// How a call of `verity_verify_io` runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// On `kverityd`, where it may sleep.
    Kverityd,
    /// As a work of the BH workqueue, or in a tasklet.
    Bh,
    /// Called by the completion.
    Inline,
}

/// An I/O in flight. Times are nanoseconds of `CLOCK_MONOTONIC`; 0 means that it did not happen yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct InFlight {
    // What begins as 0 does not lie together: the compiler would call a function that writes one byte
    // after the other.
    mapped_at: u64,
    completed_at: u64,
    seq: u64,
    attempted_at: u64,
    sector: u64,
    gave_up_at: u64,
    limit: u64,
    verified_at: u64,
    cgroup: u64,
    command: [u8; COMMAND_BYTES],
    device: u32,
    device_slot: u32,
    bytes: u32,
    submitter: u32,
    flags: u32,
    ioprio: u16,
    submit_cpu: u16,
    // These begin as 0 together, which the compiler makes one instruction of.
    complete_cpu: u16,
    verify_cpu: u16,
    completion: u8,
    context: u8,
    attempt_context: u8,
    reserved: u8,
}

impl InFlight {
    /// The I/O enters `verity_map`: whatever was here before is gone. Written field by field, since
    /// a copy of the whole would be made on a stack of 512 bytes.
    #[inline(always)]
    pub fn begin(&mut self, now: u64, begin: &Begin) {
        self.completed_at = 0;
        self.attempted_at = 0;
        self.gave_up_at = 0;
        self.verified_at = 0;
        self.seq = begin.seq;
        self.sector = begin.sector;
        self.limit = NO_LIMIT;
        self.device = begin.device;
        self.device_slot = begin.device_slot;
        self.bytes = begin.bytes;
        self.ioprio = begin.ioprio;
        self.submit_cpu = begin.cpu;
        self.flags = if begin.read_ahead {
            READ_AHEAD.into()
        } else {
            0
        };
        self.complete_cpu = 0;
        self.verify_cpu = 0;
        self.completion = Completion::Unknown as u8;
        self.context = Context::Unknown as u8;
        self.attempt_context = Context::Unknown as u8;
        self.reserved = 0;
        // Last: who walks the table takes what has a beginning for whole. Nothing on this target orders
        // it for other CPUs, which may for a moment see an I/O in the stage of the one before it.
        self.mapped_at = now;
    }

    /// Who submitted it, which is kept only for who asks for it: thread group and cgroup. Returns where the name of
    /// the thread belongs.
    #[inline(always)]
    pub fn submitted_by(&mut self, submitter: u32, cgroup: u64) -> &mut [u8; COMMAND_BYTES] {
        self.submitter = submitter;
        self.cgroup = cgroup;
        &mut self.command
    }

    /// Who submitted it.
    #[must_use]
    #[inline(always)]
    pub fn submitter(&self) -> Origin<'_> {
        Origin {
            task: self.submitter,
            cgroup: self.cgroup,
            command: &self.command,
        }
    }

    /// Nothing is in flight here any more.
    #[inline(always)]
    pub fn end(&mut self) {
        self.mapped_at = 0;
    }

    /// Whether nothing but its beginning was seen yet.
    #[must_use]
    #[inline(always)]
    pub fn is_fresh(&self) -> bool {
        self.completed_at == 0 && self.attempted_at == 0 && self.verified_at == 0
    }

    /// Whether the data device has completed it. Each event is handled once, however many programs see it.
    #[must_use]
    #[inline(always)]
    pub fn is_completed(&self) -> bool {
        self.completed_at != 0
    }

    /// The data device completed it: `verity_end_io`, once. `status` is the data device's `blk_status_t`.
    /// `limit` is how many bytes an I/O of its ioprio class may have to be verified in BH, absent
    /// when it was not read.
    #[inline(always)]
    pub fn complete(
        &mut self,
        now: u64,
        cpu: u16,
        completion: Completion,
        status: u8,
        limit: Option<u32>,
    ) {
        self.completed_at = now;
        self.complete_cpu = cpu;
        self.completion = completion as u8;
        if status != 0 {
            self.flags |= DEVICE_ERROR;
        }
        self.limit_to(limit);
    }

    /// Keeps the first limit that was read: the kernel's own look is nearest to it.
    #[inline(always)]
    fn limit_to(&mut self, limit: Option<u32>) {
        if let Some(limit) = limit
            && self.limit == NO_LIMIT
        {
            self.limit = u64::from(limit);
        }
    }

    /// An attempt in softirq ends without a verdict; `no_memory` is whether it found no memory.
    #[inline(always)]
    pub fn give_up(&mut self, now: u64, no_memory: bool) {
        if self.attempted_at != 0 && self.flags & KVERITYD == 0 && self.gave_up_at == 0 {
            self.gave_up_at = now;
            if no_memory {
                self.flags |= NO_MEMORY;
            }
        }
    }

    /// It is queued on `kverityd`; after an attempt in softirq this is the attempt's end. `limit` is as
    /// for [`InFlight::complete`].
    #[inline(always)]
    pub fn queue_on_kverityd(&mut self, now: u64, limit: Option<u32>) {
        self.give_up(now, false);
        self.limit_to(limit);
    }

    /// It is queued on the BH workqueue: its verification in BH is not the completion's. Where the
    /// kernel can verify inline it does this only in hardirq or with interrupts off.
    #[inline(always)]
    pub fn queue_on_bh(&mut self) {
        self.flags |= QUEUED_ON_BH;
        self.completion = Completion::HardirqOrIrqsOff as u8;
    }

    /// What a verification is that the kernel calls one in BH.
    #[must_use]
    #[inline(always)]
    pub fn bh_or_inline(&self) -> Verification {
        if self.flags & QUEUED_ON_BH == 0 {
            Verification::Inline
        } else {
            Verification::Bh
        }
    }

    /// Whether a verification on kverityd has begun, or, `in_bh`, one outside of it: each begins once.
    #[must_use]
    #[inline(always)]
    pub fn has_begun(&self, in_bh: bool) -> bool {
        if in_bh {
            self.attempted_at != 0
        } else {
            self.is_on_kverityd()
        }
    }

    /// Whether kverityd verified what an attempt had begun with since then, and its giving up was not seen.
    #[must_use]
    #[inline(always)]
    pub fn gave_up_unseen_since(&self, since: u64) -> bool {
        let is_fallback = self.is_on_kverityd() && self.attempted_at != 0;
        is_fallback && self.gave_up_at == 0 && self.attempted_at >= since
    }

    /// Whether kverityd verifies it.
    #[must_use]
    #[inline(always)]
    pub fn is_on_kverityd(&self) -> bool {
        self.flags & KVERITYD != 0
    }

    /// `verity_verify_io` begins what has not begun, on a device whose table has the option or has not;
    /// `limit` is as for [`InFlight::complete`].
    #[inline(always)]
    pub fn verify(
        &mut self,
        now: u64,
        cpu: u16,
        verification: Verification,
        context: Context,
        option: bool,
        limit: Option<u32>,
    ) {
        if let Verification::Kverityd = verification {
            self.flags |= KVERITYD;
            self.verified_at = now;
            self.context = context as u8;
            self.limit_to(limit);
        } else {
            self.attempted_at = now;
            self.attempt_context = context as u8;
            if let Verification::Inline = verification {
                self.flags |= u32::from(INLINE_ATTEMPT);
            }
        }
        if option {
            self.flags |= OPTION;
        }
        self.verify_cpu = cpu;
    }

    /// The attempt did not find a hash block in the cache.
    #[inline(always)]
    pub fn miss_cache(&mut self) {
        self.flags |= CACHE_MISS;
    }

    /// A block is read again because its hash did not match.
    #[inline(always)]
    pub fn recheck(&mut self) {
        self.flags |= u32::from(RECHECKED) | MISMATCH;
    }

    /// Forward error correction is asked for, since a hash did not match or a block could not be read;
    /// it is tried only on a device that has it.
    #[inline(always)]
    pub fn correct(&mut self, is_tried: bool) {
        self.flags |= MISMATCH;
        if is_tried {
            self.flags |= u32::from(FEC);
        }
    }

    /// When it entered `verity_map`; absent when nothing is in flight here.
    #[must_use]
    pub fn mapped_at(&self) -> Option<u64> {
        (self.mapped_at != 0).then_some(self.mapped_at)
    }

    /// The stage that it is in. A verification that goes on may yet turn out to be an attempt.
    #[must_use]
    pub fn stage(&self) -> Stage {
        if self.flags & KVERITYD != 0 {
            Stage::Verify
        } else if self.gave_up_at != 0 {
            Stage::RetryWait
        } else if self.attempted_at != 0 {
            Stage::Verify
        } else if self.completed_at != 0 {
            Stage::Wait
        } else {
            Stage::Device
        }
    }

    /// See [`Record::seq`](crate::record::Record::seq).
    #[must_use]
    #[inline(always)]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// When it began to wait for kverityd; 0 when that was not seen.
    #[must_use]
    #[inline(always)]
    pub fn queued_at(&self) -> u64 {
        if self.attempted_at != 0 {
            self.gave_up_at
        } else {
            self.completed_at
        }
    }

    /// First sector on the device, in units of 512 bytes.
    #[must_use]
    #[inline(always)]
    pub fn sector(&self) -> u64 {
        self.sector
    }

    /// Length in bytes.
    #[must_use]
    #[inline(always)]
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// `bi_ioprio`.
    #[must_use]
    #[inline(always)]
    pub fn ioprio(&self) -> u16 {
        self.ioprio
    }

    /// CPU of the submitter.
    #[must_use]
    pub fn submit_cpu(&self) -> u16 {
        self.submit_cpu
    }

    /// The device-mapper device as the kernel's `dev_t`.
    #[must_use]
    pub fn device(&self) -> u32 {
        self.device
    }

    /// Where the device's counters are.
    #[must_use]
    #[inline(always)]
    pub fn device_slot(&self) -> u32 {
        self.device_slot
    }
}
