//! The state of an I/O between `verity_map` and `verity_finish_io`: a pure type.
//!
//! The programs read arguments and the clock and call it; everything that is decided about an I/O
//! is decided here, so that every order of events can be tried on the host.

use bytemuck::{Pod, Zeroable};

use crate::context::{Completion, Context};
use crate::placement::{Placement, Stage};
use crate::reason::{Reason, outcome};
use crate::record::{
    ABSENT, CLOCK, COMMAND_BYTES, FEC, Finish, INCOMPLETE, INLINE_ATTEMPT, READ_AHEAD, RECHECKED,
    Record,
};

/// A verification on kverityd began.
const KVERITYD: u16 = 1 << 15;

/// It was queued on the BH workqueue.
const QUEUED_ON_BH: u16 = 1 << 14;

/// The device's table had the option when the I/O was verified.
const OPTION: u16 = 1 << 13;

/// The attempt returned that there is no memory.
const NO_MEMORY: u16 = 1 << 12;

/// A hash did not match, or a block could not be read.
const MISMATCH: u16 = 1 << 11;

/// The data device reported an error.
const DEVICE_ERROR: u16 = 1 << 10;

/// An attempt did not find a hash block in the cache.
const CACHE_MISS: u16 = 1 << 9;

/// What a record carries of the flags.
const RECORDED: u16 = READ_AHEAD | INLINE_ATTEMPT | RECHECKED | FEC;

/// Stands for a limit that was not read.
const NO_LIMIT: u64 = u64::MAX;

/// What `verity_map` tells about an I/O.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// See [`Record::seq`].
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
    /// See [`Record::submitter`].
    pub task: u32,
    /// See [`Record::cgroup`].
    pub cgroup: u64,
    /// See [`Record::command`].
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

/// By what this kernel decides where an I/O is verified.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Rules {
    /// It accepts the option and ignores it.
    pub is_inert: bool,
    /// It has `use_bh_bytes`.
    pub has_limits: bool,
    /// It leaves an I/O to kverityd when the CPU has another task to run.
    pub gives_way: bool,
    /// It is seen when a hash does not match; otherwise the status has to tell.
    pub sees_mismatch: bool,
    /// It is seen when an attempt does not find a hash block in the cache; otherwise that is what is
    /// left.
    pub sees_cache_misses: bool,
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
    ioprio: u16,
    submit_cpu: u16,
    complete_cpu: u16,
    verify_cpu: u16,
    flags: u16,
    completion: u8,
    context: u8,
    attempt_context: u8,
    reserved: [u8; 3],
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
        self.complete_cpu = 0;
        self.verify_cpu = 0;
        self.flags = if begin.read_ahead { READ_AHEAD } else { 0 };
        self.completion = Completion::Unknown as u8;
        self.context = Context::Unknown as u8;
        self.attempt_context = Context::Unknown as u8;
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

    /// The data device completed it: `verity_end_io`. `status` is the data device's `blk_status_t`.
    /// `limit` is how many bytes an I/O of its ioprio class may have to be verified in BH, absent
    /// when it was not read. Returns whether this is news: each event is handled once, however many
    /// copies of a program see it.
    #[inline(always)]
    pub fn complete(
        &mut self,
        now: u64,
        cpu: u16,
        completion: Completion,
        status: u8,
        limit: Option<u32>,
    ) -> bool {
        let is_news = self.completed_at == 0;
        if is_news {
            self.completed_at = now;
            self.complete_cpu = cpu;
            self.completion = completion as u8;
            if status != 0 {
                self.flags |= DEVICE_ERROR;
            }
            self.limit_to(limit);
        }
        is_news
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

    /// `verity_verify_io` begins, on a device whose table has the option or has not; `limit` is as for
    /// [`InFlight::complete`]. Returns whether this is news.
    #[inline(always)]
    pub fn verify(
        &mut self,
        now: u64,
        cpu: u16,
        verification: Verification,
        context: Context,
        option: bool,
        limit: Option<u32>,
    ) -> bool {
        if let Verification::Kverityd = verification {
            if self.flags & KVERITYD != 0 {
                return false;
            }
            self.flags |= KVERITYD;
            self.verified_at = now;
            self.context = context as u8;
            self.limit_to(limit);
        } else {
            if self.attempted_at != 0 {
                return false;
            }
            self.attempted_at = now;
            self.attempt_context = context as u8;
            if let Verification::Inline = verification {
                self.flags |= INLINE_ATTEMPT;
            }
        }
        if option {
            self.flags |= OPTION;
        }
        self.verify_cpu = cpu;
        true
    }

    /// The attempt did not find a hash block in the cache.
    #[inline(always)]
    pub fn miss_cache(&mut self) {
        self.flags |= CACHE_MISS;
    }

    /// A block is read again because its hash did not match.
    #[inline(always)]
    pub fn recheck(&mut self) {
        self.flags |= RECHECKED | MISMATCH;
    }

    /// Forward error correction is asked for, since a hash did not match or a block could not be read;
    /// it is tried only on a device that has it.
    #[inline(always)]
    pub fn correct(&mut self, is_tried: bool) {
        self.flags |= MISMATCH;
        if is_tried {
            self.flags |= FEC;
        }
    }

    /// The same as [`InFlight::finish`] in fewer steps, of an I/O that is as nearly all are; absent for any
    /// other. The rules are looked up only where they matter.
    #[must_use]
    #[inline(always)]
    pub fn finish_plainly(
        &self,
        now: u64,
        status: u8,
        rules: impl FnOnce() -> Rules,
    ) -> Option<Plain> {
        if status != 0 || self.flags & (RECHECKED | FEC) != 0 {
            return None;
        }
        let placement = self.placement();
        let (verified_at, context) = match placement {
            Placement::Kverityd if self.flags & QUEUED_ON_BH == 0 => {
                (self.verified_at, self.context)
            }
            Placement::Bh | Placement::Inline => (self.attempted_at, self.attempt_context),
            _ => return None,
        };
        let is_in_order = self.mapped_at <= self.completed_at
            && self.completed_at <= verified_at
            && verified_at <= now;
        if !is_in_order {
            return None;
        }
        let reason = match placement {
            Placement::Kverityd if self.flags & OPTION != 0 => {
                Some(self.reason_for_kverityd(rules()))
            }
            Placement::Kverityd => Some(Reason::OptionOff),
            _ => None,
        };
        Some(Plain {
            placement,
            outcome: outcome(placement, reason),
            completion: self.completion,
            context,
            flags: self.flags & RECORDED,
            device_ns: self.completed_at - self.mapped_at,
            wait_ns: verified_at - self.completed_at,
            verify_ns: now - verified_at,
            total_ns: now - self.mapped_at,
        })
    }

    /// `verity_finish_io` begins: what became of the I/O. `status` is a `blk_status_t`.
    #[must_use]
    #[inline(always)]
    pub fn finish(&self, now: u64, status: u8, rules: Rules) -> Finish {
        let placement = self.placement();
        let timeline = self.timeline(placement, now, status);
        let (context, attempt_context) = match placement {
            Placement::Bh | Placement::Inline => (self.attempt_context, Context::Unknown as u8),
            _ => (self.context, self.attempt_context),
        };
        Finish {
            total_ns: timeline.total_ns,
            stages_ns: timeline.stages_ns,
            flags: self.flags & RECORDED | timeline.flags,
            status,
            placement: placement as u8,
            outcome: outcome(placement, self.reason(placement, status, rules)),
            completion: self.completion,
            context,
            attempt_context,
        }
    }

    /// The stages of any I/O.
    #[inline(always)]
    fn timeline(&self, placement: Placement, now: u64, status: u8) -> Timeline {
        let mut clock = Cursor {
            at: self.mapped_at,
            went_back: false,
        };
        let mut stages = [ABSENT; Stage::PARTS];
        let mut flags = 0;
        if let Placement::None = placement {
            stages[Stage::Device.number()] = clock.advance(now);
            if self.verification_was_missed(status) {
                flags |= INCOMPLETE;
            }
        } else {
            let attempted = self.attempted_at != 0;
            let first = if attempted {
                self.attempted_at
            } else {
                self.verified_at
            };
            if let Placement::Kverityd = placement
                && self.flags & QUEUED_ON_BH != 0
            {
                // It was attempted, unseen.
                flags |= INCOMPLETE;
            }
            if self.completed_at == 0 {
                flags |= INCOMPLETE;
                clock.advance(first);
            } else {
                stages[Stage::Device.number()] = clock.advance(self.completed_at);
                stages[Stage::Wait.number()] = clock.advance(first);
            }
            let mut verify_began = true;
            if let Placement::Fallback = placement {
                verify_began = self.verified_at != 0;
                if self.gave_up_at == 0 || !verify_began {
                    flags |= INCOMPLETE;
                }
                if self.gave_up_at != 0 {
                    stages[Stage::Attempt.number()] = clock.advance(self.gave_up_at);
                }
                if !verify_began {
                    clock.advance(now);
                } else if self.gave_up_at == 0 {
                    clock.advance(self.verified_at);
                } else {
                    stages[Stage::RetryWait.number()] = clock.advance(self.verified_at);
                }
            }
            if verify_began {
                stages[Stage::Verify.number()] = clock.advance(now);
            }
        }
        if clock.went_back {
            flags |= CLOCK;
        }
        Timeline {
            stages_ns: stages,
            total_ns: clock.at - self.mapped_at,
            flags,
        }
    }

    /// Everything that is known about an I/O that finishes.
    #[must_use]
    #[inline(always)]
    pub fn record(&self, finish: &Finish) -> Record {
        Record {
            seq: self.seq,
            mapped_at: self.mapped_at,
            sector: self.sector,
            total_ns: finish.total_ns,
            stages_ns: finish.stages_ns,
            cgroup: self.cgroup,
            command: self.command,
            device: self.device,
            bytes: self.bytes,
            submitter: self.submitter,
            ioprio: self.ioprio,
            submit_cpu: self.submit_cpu,
            complete_cpu: self.complete_cpu,
            verify_cpu: self.verify_cpu,
            flags: finish.flags,
            status: finish.status,
            placement: finish.placement,
            outcome: finish.outcome,
            completion: finish.completion,
            context: finish.context,
            attempt_context: finish.attempt_context,
            reserved: [0; 4],
        }
    }

    /// Whether what finishes unverified should have been verified: without an error of the data device
    /// the target always verifies.
    #[inline(always)]
    fn verification_was_missed(&self, status: u8) -> bool {
        status == 0 || self.flags & DEVICE_ERROR == 0
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

    /// See [`Record::seq`].
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

    /// Where the device's counters are.
    #[must_use]
    #[inline(always)]
    pub fn device_slot(&self) -> u32 {
        self.device_slot
    }

    #[inline(always)]
    fn placement(&self) -> Placement {
        let on_kverityd = self.flags & KVERITYD != 0 || self.gave_up_at != 0;
        match (self.attempted_at != 0, on_kverityd) {
            (true, true) => Placement::Fallback,
            (true, false) if self.flags & INLINE_ATTEMPT != 0 => Placement::Inline,
            (true, false) => Placement::Bh,
            (false, true) => Placement::Kverityd,
            (false, false) => Placement::None,
        }
    }

    #[inline(always)]
    fn reason(&self, placement: Placement, status: u8, rules: Rules) -> Option<Reason> {
        match placement {
            Placement::Bh | Placement::Inline => None,
            Placement::Kverityd => Some(self.reason_for_kverityd(rules)),
            Placement::Fallback => Some(if self.flags & NO_MEMORY != 0 {
                Reason::NoMemory
            } else if self.flags & CACHE_MISS != 0 {
                Reason::CacheMiss
            } else if self.flags & MISMATCH != 0 || status != 0 && !rules.sees_mismatch {
                Reason::Mismatch
            } else if rules.sees_cache_misses {
                Reason::Unknown
            } else {
                Reason::CacheMiss
            }),
            Placement::None => Some(if self.verification_was_missed(status) {
                Reason::Unknown
            } else if self.flags & READ_AHEAD != 0 {
                Reason::ReadaheadError
            } else {
                Reason::DeviceError
            }),
        }
    }

    #[inline(always)]
    fn reason_for_kverityd(&self, rules: Rules) -> Reason {
        if self.flags & OPTION == 0 {
            Reason::OptionOff
        } else if rules.is_inert {
            Reason::Inert
        } else if !rules.has_limits || self.limit == NO_LIMIT || self.flags & QUEUED_ON_BH != 0 {
            Reason::Unknown
        } else if u64::from(self.bytes) > self.limit {
            Reason::TooLarge
        } else if rules.gives_way {
            Reason::NeedResched
        } else {
            Reason::Unknown
        }
    }
}

/// What became of an I/O that was verified once, on kverityd, in BH or inline, and finished without an
/// error, all of which was seen in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Where it was verified.
    pub placement: Placement,
    /// See [`Record::outcome`].
    pub outcome: u8,
    /// See [`Record::completion`].
    pub completion: u8,
    /// See [`Record::context`].
    pub context: u8,
    /// See [`Record::flags`].
    pub flags: u16,
    /// The length of [`Stage::Device`] in nanoseconds.
    pub device_ns: u64,
    /// The same of [`Stage::Wait`].
    pub wait_ns: u64,
    /// The same of [`Stage::Verify`].
    pub verify_ns: u64,
    /// The same of [`Stage::Total`].
    pub total_ns: u64,
}

impl Plain {
    /// The same as any I/O's.
    #[must_use]
    #[inline(always)]
    pub fn finish(&self) -> Finish {
        let mut stages_ns = [ABSENT; Stage::PARTS];
        stages_ns[Stage::Device.number()] = self.device_ns;
        stages_ns[Stage::Wait.number()] = self.wait_ns;
        stages_ns[Stage::Verify.number()] = self.verify_ns;
        Finish {
            total_ns: self.total_ns,
            stages_ns,
            flags: self.flags,
            status: 0,
            placement: self.placement as u8,
            outcome: self.outcome,
            completion: self.completion,
            context: self.context,
            attempt_context: Context::Unknown as u8,
        }
    }
}

/// How the time of an I/O was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Timeline {
    stages_ns: [u64; Stage::PARTS],
    total_ns: u64,
    /// What a record's flags say of it.
    flags: u16,
}

/// Walks over the events of an I/O in their order, so that its stages are contiguous whatever the
/// clocks of two CPUs say.
struct Cursor {
    at: u64,
    went_back: bool,
}

impl Cursor {
    #[inline(always)]
    fn advance(&mut self, to: u64) -> u64 {
        if to < self.at {
            self.went_back = true;
            return 0;
        }
        let ns = to - self.at;
        self.at = to;
        ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BEGIN: Begin = Begin {
        seq: 7,
        device: 0xfd_00003,
        device_slot: 2,
        sector: 64,
        bytes: 4096,
        ioprio: 16388,
        read_ahead: false,
        cpu: 1,
    };

    const RULES: Rules = Rules {
        is_inert: false,
        has_limits: true,
        gives_way: true,
        sees_mismatch: true,
        sees_cache_misses: false,
    };

    fn begun() -> InFlight {
        let mut io = InFlight::zeroed();
        io.begin(1_000, &BEGIN);
        io
    }

    fn finish(io: &InFlight, now: u64, status: u8) -> Record {
        io.record(&io.finish(now, status, RULES))
    }

    fn stages(record: &Record) -> [Option<u64>; Stage::PARTS] {
        let mut stages = [None; Stage::PARTS];
        for stage in Stage::ALL.into_iter().take(Stage::PARTS) {
            stages[stage.number()] = record.stage_ns(stage);
        }
        stages
    }

    #[test]
    fn kverityd_has_device_wait_and_verify() {
        let mut io = begun();
        io.complete(1_100, 0, Completion::Softirq, 0, None);
        io.queue_on_kverityd(1_110, None);
        io.verify(
            1_150,
            1,
            Verification::Kverityd,
            Context::Kworker,
            true,
            None,
        );
        let record = finish(&io, 1_400, 0);
        assert_eq!(record.placement(), Some(Placement::Kverityd));
        assert_eq!(
            stages(&record),
            [Some(100), Some(50), None, None, Some(250)]
        );
        assert_eq!(record.total_ns, 400);
        assert_eq!(record.flags, 0);
        assert_eq!(record.completion, Completion::Softirq as u8);
        assert_eq!(record.context, Context::Kworker as u8);
        assert_eq!(
            (record.submit_cpu, record.complete_cpu, record.verify_cpu),
            (1, 0, 1)
        );
    }

    #[test]
    fn bh_and_inline_differ_by_how_they_were_started() {
        for (queued, placement) in [(true, Placement::Bh), (false, Placement::Inline)] {
            let mut io = begun();
            io.complete(1_100, 0, Completion::Softirq, 0, None);
            if queued {
                io.queue_on_bh();
            }
            io.verify(1_150, 0, io.bh_or_inline(), Context::Softirq, true, None);
            let record = finish(&io, 1_400, 0);
            assert_eq!(record.placement(), Some(placement));
            assert_eq!(
                stages(&record),
                [Some(100), Some(50), None, None, Some(250)]
            );
            assert_eq!(record.flags & !INLINE_ATTEMPT, 0);
            assert_eq!(record.context, Context::Softirq as u8);
            assert_eq!(record.outcome(), Some((placement, None)));
        }
    }

    #[test]
    fn a_fallback_keeps_its_attempt_apart_and_its_attempts_placement() {
        for (verification, inline) in [(Verification::Bh, false), (Verification::Inline, true)] {
            let mut io = begun();
            io.complete(1_100, 0, Completion::Softirq, 0, None);
            io.verify(1_150, 0, verification, Context::Ksoftirqd, true, None);
            io.queue_on_kverityd(1_170, None);
            io.verify(
                1_270,
                0,
                Verification::Kverityd,
                Context::Kworker,
                true,
                None,
            );
            let record = finish(&io, 1_500, 0);
            assert_eq!(record.placement(), Some(Placement::Fallback));
            assert_eq!(record.has(INLINE_ATTEMPT), inline);
            assert_eq!(record.attempt_context, Context::Ksoftirqd as u8);
            assert_eq!(record.context, Context::Kworker as u8);
            assert_eq!(
                record.outcome(),
                Some((Placement::Fallback, Some(Reason::CacheMiss)))
            );
            assert_eq!(
                stages(&record),
                [Some(100), Some(50), Some(20), Some(100), Some(230)]
            );
        }
    }

    #[test]
    fn an_early_finish_is_none_with_all_its_time_in_device() {
        let mut io = begun();
        io.complete(1_100, 0, Completion::Softirq, 0, None);
        let record = finish(&io, 1_101, 10);
        assert_eq!(record.placement(), Some(Placement::None));
        assert_eq!(stages(&record), [Some(101), None, None, None, None]);
        assert_eq!((record.status, record.total_ns), (10, 101));
    }

    #[test]
    fn each_event_is_handled_once() {
        let mut io = begun();
        assert!(io.is_fresh());
        assert!(io.complete(1_100, 0, Completion::Softirq, 0, None));
        assert!(!io.complete(1_101, 1, Completion::Softirq, 0, None));
        assert!(io.verify(1_150, 0, Verification::Bh, Context::Softirq, true, None));
        assert!(!io.verify(1_151, 1, Verification::Bh, Context::Softirq, true, None));
        io.queue_on_kverityd(1_170, None);
        io.queue_on_kverityd(1_171, None);
        assert!(io.verify(
            1_270,
            0,
            Verification::Kverityd,
            Context::Kworker,
            true,
            None
        ));
        assert!(!io.verify(
            1_271,
            1,
            Verification::Kverityd,
            Context::Kworker,
            true,
            None
        ));
        assert!(!io.is_fresh());
        let record = finish(&io, 1_500, 0);
        assert_eq!(
            stages(&record),
            [Some(100), Some(50), Some(20), Some(100), Some(230)]
        );
        assert_eq!((record.complete_cpu, record.verify_cpu), (0, 0));
    }

    #[test]
    fn a_success_without_verification_is_a_missed_verification() {
        let mut io = begun();
        io.complete(1_100, 0, Completion::Softirq, 0, None);
        let record = finish(&io, 1_400, 0);
        assert_eq!(record.placement(), Some(Placement::None));
        assert!(record.has(INCOMPLETE));
    }

    #[test]
    fn a_missed_completion_costs_two_stages_and_is_said() {
        let mut io = begun();
        io.verify(
            1_150,
            0,
            Verification::Kverityd,
            Context::Kworker,
            true,
            None,
        );
        let record = finish(&io, 1_400, 0);
        assert_eq!(stages(&record), [None, None, None, None, Some(250)]);
        assert_eq!(record.total_ns, 400);
        assert!(record.has(INCOMPLETE));
    }

    #[test]
    fn a_missed_requeue_costs_the_attempt_and_is_said() {
        let mut io = begun();
        io.complete(1_100, 0, Completion::Softirq, 0, None);
        io.verify(1_150, 0, Verification::Bh, Context::Softirq, true, None);
        io.verify(
            1_270,
            0,
            Verification::Kverityd,
            Context::Kworker,
            true,
            None,
        );
        let record = finish(&io, 1_500, 0);
        assert_eq!(record.placement(), Some(Placement::Fallback));
        assert_eq!(
            stages(&record),
            [Some(100), Some(50), None, None, Some(230)]
        );
        assert!(record.has(INCOMPLETE));
    }

    #[test]
    fn a_missed_retry_is_a_fallback_all_the_same() {
        let mut io = begun();
        io.complete(1_100, 0, Completion::Softirq, 0, None);
        io.verify(1_150, 0, Verification::Bh, Context::Softirq, true, None);
        io.queue_on_kverityd(1_170, None);
        let record = finish(&io, 1_500, 0);
        assert_eq!(record.placement(), Some(Placement::Fallback));
        assert_eq!(stages(&record), [Some(100), Some(50), Some(20), None, None]);
        assert_eq!(record.total_ns, 500);
        assert!(record.has(INCOMPLETE));
    }

    #[test]
    fn a_clock_that_goes_back_is_counted_as_nothing() {
        let mut io = begun();
        io.complete(1_100, 0, Completion::Softirq, 0, None);
        io.verify(
            1_090,
            1,
            Verification::Kverityd,
            Context::Kworker,
            true,
            None,
        );
        let record = finish(&io, 1_200, 0);
        assert_eq!(stages(&record), [Some(100), Some(0), None, None, Some(100)]);
        assert!(record.has(CLOCK));
        assert_eq!(record.total_ns, 200);
    }

    fn reason(io: &InFlight, status: u8, rules: Rules) -> Option<Reason> {
        io.record(&io.finish(2_000, status, rules)).outcome()?.1
    }

    fn on_kverityd(option: bool, limit: Option<u32>) -> InFlight {
        let mut io = begun();
        io.complete(1_100, 0, Completion::Task, 0, None);
        io.queue_on_kverityd(1_110, limit);
        io.verify(
            1_150,
            1,
            Verification::Kverityd,
            Context::Kworker,
            option,
            None,
        );
        io
    }

    #[test]
    fn kverityd_has_a_reason_by_option_era_size_and_limit() {
        let reason = |option, limit, rules| reason(&on_kverityd(option, limit), 0, rules);
        let inert = Rules {
            is_inert: true,
            has_limits: false,
            ..RULES
        };
        assert_eq!(reason(false, Some(8_192), RULES), Some(Reason::OptionOff));
        assert_eq!(reason(false, None, inert), Some(Reason::OptionOff));
        assert_eq!(reason(true, None, inert), Some(Reason::Inert));
        assert_eq!(reason(true, Some(4_095), RULES), Some(Reason::TooLarge));
        assert_eq!(reason(true, Some(0), RULES), Some(Reason::TooLarge));
        assert_eq!(reason(true, Some(4_096), RULES), Some(Reason::NeedResched));
        let never_gives_way = Rules {
            gives_way: false,
            ..RULES
        };
        assert_eq!(
            reason(true, Some(4_096), never_gives_way),
            Some(Reason::Unknown)
        );
        assert_eq!(reason(true, None, RULES), Some(Reason::Unknown));
    }

    #[test]
    fn a_fallback_is_a_cache_miss_unless_something_else_was_seen() {
        let fallback = || {
            let mut io = begun();
            io.verify(1_150, 0, Verification::Bh, Context::Softirq, true, None);
            io.queue_on_kverityd(1_170, None);
            io.verify(
                1_270,
                0,
                Verification::Kverityd,
                Context::Kworker,
                true,
                None,
            );
            io
        };
        assert_eq!(reason(&fallback(), 0, RULES), Some(Reason::CacheMiss));
        let mut io = fallback();
        io.recheck();
        assert_eq!(reason(&io, 0, RULES), Some(Reason::Mismatch));
        assert!(io.finish(2_000, 0, RULES).has(RECHECKED));
        let mut io = fallback();
        io.correct(false);
        assert_eq!(reason(&io, 0, RULES), Some(Reason::Mismatch));
        assert!(!io.finish(2_000, 0, RULES).has(FEC));
        io.correct(true);
        assert!(io.finish(2_000, 0, RULES).has(FEC));
        let mut io = begun();
        io.verify(1_150, 0, Verification::Bh, Context::Softirq, true, None);
        io.give_up(1_170, true);
        io.verify(
            1_270,
            0,
            Verification::Kverityd,
            Context::Kworker,
            true,
            None,
        );
        assert_eq!(reason(&io, 0, RULES), Some(Reason::NoMemory));
        // Where a mismatch would be seen, another failure is none.
        assert_eq!(reason(&fallback(), 10, RULES), Some(Reason::CacheMiss));
        let blind = Rules {
            sees_mismatch: false,
            ..RULES
        };
        assert_eq!(reason(&fallback(), 10, blind), Some(Reason::Mismatch));
    }

    #[test]
    fn where_a_cache_miss_is_seen_it_is_not_inferred() {
        let sees = Rules {
            sees_cache_misses: true,
            ..RULES
        };
        let fallback = |missed: bool| {
            let mut io = begun();
            io.verify(1_150, 0, Verification::Bh, Context::Softirq, true, None);
            if missed {
                io.miss_cache();
            }
            io.give_up(1_170, false);
            io.verify(
                1_270,
                0,
                Verification::Kverityd,
                Context::Kworker,
                true,
                None,
            );
            io
        };
        assert_eq!(reason(&fallback(true), 0, sees), Some(Reason::CacheMiss));
        assert_eq!(reason(&fallback(false), 0, sees), Some(Reason::Unknown));
        let mut io = fallback(true);
        io.recheck();
        assert_eq!(
            reason(&io, 0, sees),
            Some(Reason::CacheMiss),
            "what kverityd finds later is not why the attempt gave up"
        );
    }

    #[test]
    fn the_wait_for_kverityd_begins_where_it_was_left_to_it() {
        let mut io = begun();
        assert_eq!(io.queued_at(), 0, "its completion was not seen");
        io.complete(1_100, 0, Completion::Softirq, 0, None);
        assert_eq!(io.queued_at(), 1_100);
        io.verify(1_150, 0, Verification::Bh, Context::Softirq, true, None);
        assert_eq!(io.queued_at(), 0, "the attempt's end was not seen");
        io.give_up(1_170, false);
        assert_eq!(io.queued_at(), 1_170);
    }

    #[test]
    fn what_was_not_verified_had_an_error() {
        let failed = |read_ahead| {
            let mut io = InFlight::zeroed();
            let begin = Begin {
                read_ahead,
                ..BEGIN
            };
            io.begin(1_000, &begin);
            io.complete(1_100, 0, Completion::HardirqOrIrqsOff, 10, None);
            io
        };
        assert_eq!(reason(&failed(false), 10, RULES), Some(Reason::DeviceError));
        assert_eq!(reason(&failed(false), 0, RULES), Some(Reason::Unknown));
        assert_eq!(
            reason(&failed(true), 10, RULES),
            Some(Reason::ReadaheadError)
        );
        assert!(!failed(false).finish(2_000, 10, RULES).has(INCOMPLETE));
    }

    #[test]
    fn what_should_have_been_verified_and_was_not_seen_to_be_is_incomplete_and_unknown() {
        let mut io = begun();
        io.complete(1_100, 0, Completion::Task, 0, None);
        io.queue_on_kverityd(1_110, Some(8_192));
        assert_eq!(reason(&io, 10, RULES), Some(Reason::Unknown));
        assert!(io.finish(2_000, 10, RULES).has(INCOMPLETE));

        let mut io = begun();
        io.complete(1_100, 0, Completion::Task, 0, None);
        io.queue_on_bh();
        io.queue_on_kverityd(1_170, Some(8_192));
        io.verify(
            1_270,
            0,
            Verification::Kverityd,
            Context::Kworker,
            true,
            None,
        );
        assert_eq!(reason(&io, 0, RULES), Some(Reason::Unknown));
        assert!(io.finish(2_000, 0, RULES).has(INCOMPLETE));
    }

    #[test]
    fn only_an_attempt_gives_up_for_want_of_memory() {
        let mut io = on_kverityd(true, Some(0));
        io.give_up(1_170, true);
        assert_eq!(reason(&io, 0, RULES), Some(Reason::TooLarge));
    }

    #[test]
    fn the_kernels_own_decision_tells_where_it_was_completed() {
        let mut io = begun();
        io.complete(1_100, 0, Completion::Task, 0, None);
        io.queue_on_bh();
        let record = finish(&io, 1_400, 0);
        assert_eq!(record.completion, Completion::HardirqOrIrqsOff as u8);
    }

    #[test]
    fn an_io_in_flight_is_in_one_stage() {
        let mut io = begun();
        assert_eq!((io.stage(), io.mapped_at()), (Stage::Device, Some(1_000)));
        io.complete(1_100, 0, Completion::Task, 0, None);
        assert_eq!(io.stage(), Stage::Wait);
        io.verify(1_150, 0, Verification::Bh, Context::Softirq, true, None);
        assert_eq!(io.stage(), Stage::Verify);
        io.queue_on_kverityd(1_170, None);
        assert_eq!(io.stage(), Stage::RetryWait);
        io.verify(
            1_270,
            0,
            Verification::Kverityd,
            Context::Kworker,
            true,
            None,
        );
        assert_eq!(io.stage(), Stage::Verify);
        io.end();
        assert_eq!(io.mapped_at(), None);
    }

    /// Everything that can happen to an I/O in flight.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Complete,
        QueueOnKverityd,
        Verify(Verification, bool),
    }

    fn event() -> impl Strategy<Value = Event> {
        let verification = prop_oneof![
            Just(Verification::Kverityd),
            Just(Verification::Bh),
            Just(Verification::Inline),
        ];
        prop_oneof![
            Just(Event::Complete),
            Just(Event::QueueOnKverityd),
            (verification, any::<bool>()).prop_map(|(how, option)| Event::Verify(how, option)),
        ]
    }

    proptest! {
        /// Possible orders and impossible ones, with clocks that may disagree: the record is always
        /// one that can be counted, and its stages add up unless it says that it is incomplete.
        #[test]
        fn any_order_of_events_makes_a_sound_record(
            events in prop::collection::vec((event(), 0u64..2_000), 0..8),
            end in 0u64..3_000,
        ) {
            let mut io = begun();
            for &(event, now) in &events {
                let now = now + 500;
                match event {
                    Event::Complete => {
                        io.complete(now, 0, Completion::Task, 0, None);
                    }
                    Event::QueueOnKverityd => io.queue_on_kverityd(now, None),
                    Event::Verify(how, option) => {
                        io.verify(now, 0, how, Context::Softirq, option, None);
                    }
                }
            }
            let record = finish(&io, end + 500, 0);
            let placement = record.placement().expect("a placement");
            let sum: u64 = stages(&record).into_iter().flatten().sum();
            if record.has(INCOMPLETE) {
                prop_assert!(sum <= record.total_ns);
            } else {
                prop_assert_eq!(sum, record.total_ns);
            }
            for stage in Stage::ALL {
                if record.stage_ns(stage).is_some() {
                    prop_assert!(crate::placement::pair(placement, stage).is_some());
                }
            }
            let verified = events.iter().any(|(event, _)| matches!(event, Event::Verify(..)));
            prop_assert_eq!(placement == Placement::None, !verified);
        }

        /// The short way leads where the long one does.
        #[test]
        fn what_finishes_plainly_finishes_so(
            times in prop::array::uniform5(0u64..8),
            flags: u16,
            bytes in prop_oneof![Just(4_096), Just(8_192), Just(16_384)],
            limit in prop_oneof![Just(8_192), Just(NO_LIMIT)],
            status in 0u8..2,
            is_inert: bool,
            has_limits: bool,
            gives_way: bool,
        ) {
            let [completed_at, attempted_at, gave_up_at, verified_at, now] = times;
            let flags = if verified_at == 0 { flags & !KVERITYD } else { flags | KVERITYD };
            let io = InFlight {
                mapped_at: 4,
                completed_at,
                attempted_at,
                gave_up_at: if attempted_at == 0 { 0 } else { gave_up_at },
                verified_at,
                bytes,
                limit,
                flags,
                completion: Completion::Task as u8,
                context: if verified_at == 0 { Context::Unknown } else { Context::Kworker } as u8,
                attempt_context: if attempted_at == 0 { Context::Unknown } else { Context::Softirq } as u8,
                ..InFlight::zeroed()
            };
            let rules = Rules { is_inert, has_limits, gives_way, ..RULES };
            if let Some(plain) = io.finish_plainly(now, status, || rules) {
                prop_assert_eq!(plain.finish(), io.finish(now, status, rules));
            }
        }

        /// What nearly every I/O does is plain.
        #[test]
        fn one_verification_in_order_is_plain(
            gaps in prop::array::uniform3(0u64..1_000_000),
            how in prop_oneof![
                Just(Verification::Kverityd),
                Just(Verification::Bh),
                Just(Verification::Inline),
            ],
        ) {
            let [device, wait, verify] = gaps;
            let mut io = begun();
            io.complete(1_000 + device, 0, Completion::Task, 0, None);
            io.verify(1_000 + device + wait, 0, how, Context::Softirq, true, None);
            let plain = io.finish_plainly(1_000 + device + wait + verify, 0, || RULES);
            let plain = plain.expect("a plain end");
            prop_assert_eq!([plain.device_ns, plain.wait_ns, plain.verify_ns], gaps);
        }

        /// The orders that the kernel can produce never make an incomplete record.
        #[test]
        fn an_order_that_the_kernel_produces_is_complete(
            gaps in prop::array::uniform5(0u64..1_000_000),
            attempt in prop::option::of(any::<bool>()),
            falls_back: bool,
        ) {
            let mut now = 1_000;
            let mut at = gaps.into_iter().map(|gap| { now += gap; now });
            let mut tick = move || at.next().expect("five gaps");
            let mut io = begun();
            io.complete(tick(), 0, Completion::Task, 0, None);
            if let Some(inline) = attempt {
                let how = if inline { Verification::Inline } else { Verification::Bh };
                io.verify(tick(), 0, how, Context::Softirq, true, None);
            }
            if attempt.is_none() || falls_back {
                io.queue_on_kverityd(tick(), None);
                io.verify(tick(), 0, Verification::Kverityd, Context::Kworker, true, None);
            }
            let record = finish(&io, tick(), 0);
            prop_assert!(!record.has(INCOMPLETE | CLOCK));
            prop_assert_eq!(stages(&record).into_iter().flatten().sum::<u64>(), record.total_ns);
            let expected = match (attempt, falls_back) {
                (None, _) => Placement::Kverityd,
                (Some(_), true) => Placement::Fallback,
                (Some(true), false) => Placement::Inline,
                (Some(false), false) => Placement::Bh,
            };
            prop_assert_eq!(record.placement(), Some(expected));
        }
    }
}
