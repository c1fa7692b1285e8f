//! What became of an I/O, when it finishes: where it was verified, why there, and how its time was spent.

use super::{
    CACHE_MISS, DEVICE_ERROR, InFlight, KVERITYD, MISMATCH, NO_LIMIT, NO_MEMORY, OPTION,
    QUEUED_ON_BH, RECORDED,
};
use crate::context::Context;
use crate::placement::{Placement, Stage};
use crate::reason::{Reason, outcome};
use crate::record::{
    ABSENT, CLOCK, FEC, Finish, INCOMPLETE, INLINE_ATTEMPT, READ_AHEAD, RECHECKED, Record,
};

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

/// The outcome of every I/O of a device without the option that kverityd verified at once.
pub const OPTION_OFF: u8 = outcome(Placement::Kverityd, Some(Reason::OptionOff));

/// A number, which the compiler does not keep from when it was read before.
#[inline(always)]
fn again<T: Copy>(number: &T) -> T {
    // SAFETY: a reference is valid and aligned.
    unsafe { core::ptr::read_volatile(number) }
}

impl InFlight {
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
        if status != 0 || self.flags & u32::from(RECHECKED | FEC) != 0 {
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
            flags: self.recorded(),
            device_ns: self.completed_at - self.mapped_at,
            wait_ns: verified_at - self.completed_at,
            verify_ns: now - verified_at,
            total_ns: now - self.mapped_at,
        })
    }

    /// Whether this is what nearly every I/O of a device without the option is: [`InFlight::finish_plainly`] makes
    /// of it what [`InFlight::plain_on_kverityd`] does in still fewer steps.
    #[must_use]
    #[inline(always)]
    pub fn is_plain_on_kverityd(&self, now: u64, status: u8) -> bool {
        status == 0
            && self.flags & !u32::from(READ_AHEAD) == KVERITYD
            && self.attempted_at == 0
            && self.mapped_at <= self.completed_at
            && self.completed_at <= self.verified_at
            && self.verified_at <= now
    }

    /// What became of an I/O that [`InFlight::is_plain_on_kverityd`]. Everything is read again, since a place on the
    /// stack for each number costs more.
    #[must_use]
    #[inline(always)]
    pub fn plain_on_kverityd(&self, now: u64) -> Plain {
        Plain {
            placement: Placement::Kverityd,
            outcome: OPTION_OFF,
            completion: again(&self.completion),
            context: again(&self.context),
            flags: self.recorded(),
            device_ns: self.device_ns(),
            wait_ns: self.wait_ns(),
            verify_ns: self.verify_ns(now),
            total_ns: self.total_ns(now),
        }
    }

    /// [`Plain::device_ns`] of such an I/O.
    #[must_use]
    #[inline(always)]
    pub fn device_ns(&self) -> u64 {
        again(&self.completed_at) - again(&self.mapped_at)
    }

    /// The same of [`Plain::wait_ns`].
    #[must_use]
    #[inline(always)]
    pub fn wait_ns(&self) -> u64 {
        again(&self.verified_at) - again(&self.completed_at)
    }

    /// The same of [`Plain::verify_ns`].
    #[must_use]
    #[inline(always)]
    pub fn verify_ns(&self, now: u64) -> u64 {
        now - again(&self.verified_at)
    }

    /// The same of [`Plain::total_ns`].
    #[must_use]
    #[inline(always)]
    pub fn total_ns(&self, now: u64) -> u64 {
        now - again(&self.mapped_at)
    }

    /// The same of [`Plain::completion`].
    #[must_use]
    #[inline(always)]
    pub fn completion(&self) -> u8 {
        again(&self.completion)
    }

    /// The same of [`Plain::context`].
    #[must_use]
    #[inline(always)]
    pub fn context(&self) -> u8 {
        again(&self.context)
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
            flags: self.recorded() | timeline.flags,
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

    /// What a record carries of the flags.
    #[inline(always)]
    fn recorded(&self) -> u16 {
        (self.flags & RECORDED) as u16
    }

    #[inline(always)]
    fn placement(&self) -> Placement {
        let on_kverityd = self.flags & KVERITYD != 0 || self.gave_up_at != 0;
        match (self.attempted_at != 0, on_kverityd) {
            (true, true) => Placement::Fallback,
            (true, false) if self.flags & u32::from(INLINE_ATTEMPT) != 0 => Placement::Inline,
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
            } else if self.flags & u32::from(READ_AHEAD) != 0 {
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
