//! The state of an I/O between `verity_map` and `verity_finish_io`: a pure type.
//!
//! The programs read arguments and the clock and call it; everything that is decided about an I/O
//! is decided here, so that every order of events can be tried on the host.

use bytemuck::{Pod, Zeroable};

use crate::placement::{Placement, Stage};
use crate::record::{ABSENT, CLOCK, IN_SOFTIRQ, INCOMPLETE, INLINE_ATTEMPT, READ_AHEAD, Record};

/// A verification on kverityd began.
const KVERITYD: u8 = 1 << 7;

/// It was queued on the BH workqueue.
const QUEUED_ON_BH: u8 = 1 << 6;

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
    /// Thread group of the submitter.
    pub submitter: u32,
    /// CPU of the submitter.
    pub cpu: u16,
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
    seq: u64,
    mapped_at: u64,
    completed_at: u64,
    attempted_at: u64,
    gave_up_at: u64,
    verified_at: u64,
    sector: u64,
    device: u32,
    device_slot: u32,
    bytes: u32,
    submitter: u32,
    ioprio: u16,
    submit_cpu: u16,
    complete_cpu: u16,
    verify_cpu: u16,
    flags: u8,
    reserved: [u8; 7],
}

impl InFlight {
    /// The I/O enters `verity_map`.
    #[must_use]
    #[inline(always)]
    pub fn begin(now: u64, begin: &Begin) -> Self {
        Self {
            seq: begin.seq,
            mapped_at: now,
            completed_at: 0,
            attempted_at: 0,
            gave_up_at: 0,
            verified_at: 0,
            sector: begin.sector,
            device: begin.device,
            device_slot: begin.device_slot,
            bytes: begin.bytes,
            submitter: begin.submitter,
            ioprio: begin.ioprio,
            submit_cpu: begin.cpu,
            complete_cpu: 0,
            verify_cpu: 0,
            flags: if begin.read_ahead { READ_AHEAD } else { 0 },
            reserved: [0; 7],
        }
    }

    /// Whether nothing but its beginning was seen yet.
    #[must_use]
    #[inline(always)]
    pub fn is_fresh(&self) -> bool {
        self.completed_at == 0 && self.attempted_at == 0 && self.verified_at == 0
    }

    /// The data device completed it: `verity_end_io`. Returns whether this is news: each event is
    /// handled once, however many copies of a program see it.
    #[inline(always)]
    pub fn complete(&mut self, now: u64, cpu: u16) -> bool {
        let is_news = self.completed_at == 0;
        if is_news {
            self.completed_at = now;
            self.complete_cpu = cpu;
        }
        is_news
    }

    /// It is queued on `kverityd`; after an attempt in softirq this is the attempt's end.
    #[inline(always)]
    pub fn queue_on_kverityd(&mut self, now: u64) {
        if self.attempted_at != 0 && self.flags & KVERITYD == 0 && self.gave_up_at == 0 {
            self.gave_up_at = now;
        }
    }

    /// It is queued on the BH workqueue: its verification in BH is not the completion's.
    #[inline(always)]
    pub fn queue_on_bh(&mut self) {
        self.flags |= QUEUED_ON_BH;
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

    /// `verity_verify_io` begins. Returns whether this is news.
    #[inline(always)]
    pub fn verify(
        &mut self,
        now: u64,
        cpu: u16,
        verification: Verification,
        in_softirq: bool,
    ) -> bool {
        if let Verification::Kverityd = verification {
            if self.flags & KVERITYD != 0 {
                return false;
            }
            self.flags |= KVERITYD;
            self.verified_at = now;
        } else {
            if self.attempted_at != 0 {
                return false;
            }
            self.attempted_at = now;
            if let Verification::Inline = verification {
                self.flags |= INLINE_ATTEMPT;
            }
            if in_softirq {
                self.flags |= IN_SOFTIRQ;
            }
        }
        self.verify_cpu = cpu;
        true
    }

    /// `verity_finish_io` begins: the I/O becomes a record. `status` is a `blk_status_t`.
    #[must_use]
    #[inline(always)]
    pub fn finish(&self, now: u64, status: u8) -> Record {
        let mut clock = Cursor {
            at: self.mapped_at,
            went_back: false,
        };
        let mut stages = [ABSENT; Stage::PARTS];
        let mut flags = self.flags & !(KVERITYD | QUEUED_ON_BH);
        let placement = self.placement();
        if let Placement::None = placement {
            stages[Stage::Device.number()] = clock.advance(now);
            // Without an error the target always verifies, so the verification was missed.
            if status == 0 {
                flags |= INCOMPLETE;
            }
        } else {
            let attempted = self.attempted_at != 0;
            let first = if attempted {
                self.attempted_at
            } else {
                self.verified_at
            };
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
        Record {
            seq: self.seq,
            mapped_at: self.mapped_at,
            sector: self.sector,
            total_ns: clock.at - self.mapped_at,
            stages_ns: stages,
            device: self.device,
            bytes: self.bytes,
            submitter: self.submitter,
            ioprio: self.ioprio,
            submit_cpu: self.submit_cpu,
            complete_cpu: self.complete_cpu,
            verify_cpu: self.verify_cpu,
            status,
            placement: placement as u8,
            flags,
            reserved: 0,
        }
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
        submitter: 4711,
        cpu: 1,
    };

    fn begun() -> InFlight {
        InFlight::begin(1_000, &BEGIN)
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
        io.complete(1_100, 0);
        io.queue_on_kverityd(1_110);
        io.verify(1_150, 1, Verification::Kverityd, false);
        let record = io.finish(1_400, 0);
        assert_eq!(record.placement(), Some(Placement::Kverityd));
        assert_eq!(
            stages(&record),
            [Some(100), Some(50), None, None, Some(250)]
        );
        assert_eq!(record.total_ns, 400);
        assert_eq!(record.flags, 0);
        assert_eq!(
            (record.submit_cpu, record.complete_cpu, record.verify_cpu),
            (1, 0, 1)
        );
    }

    #[test]
    fn bh_and_inline_differ_by_how_they_were_started() {
        for (queued, placement) in [(true, Placement::Bh), (false, Placement::Inline)] {
            let mut io = begun();
            io.complete(1_100, 0);
            if queued {
                io.queue_on_bh();
            }
            io.verify(1_150, 0, io.bh_or_inline(), true);
            let record = io.finish(1_400, 0);
            assert_eq!(record.placement(), Some(placement));
            assert_eq!(
                stages(&record),
                [Some(100), Some(50), None, None, Some(250)]
            );
            assert_eq!(record.flags & !INLINE_ATTEMPT, IN_SOFTIRQ);
        }
    }

    #[test]
    fn a_fallback_keeps_its_attempt_apart_and_its_attempts_placement() {
        for (verification, inline) in [(Verification::Bh, false), (Verification::Inline, true)] {
            let mut io = begun();
            io.complete(1_100, 0);
            io.verify(1_150, 0, verification, true);
            io.queue_on_kverityd(1_170);
            io.verify(1_270, 0, Verification::Kverityd, false);
            let record = io.finish(1_500, 0);
            assert_eq!(record.placement(), Some(Placement::Fallback));
            assert_eq!(record.has(INLINE_ATTEMPT), inline);
            assert_eq!(
                stages(&record),
                [Some(100), Some(50), Some(20), Some(100), Some(230)]
            );
        }
    }

    #[test]
    fn an_early_finish_is_none_with_all_its_time_in_device() {
        let mut io = begun();
        io.complete(1_100, 0);
        let record = io.finish(1_101, 10);
        assert_eq!(record.placement(), Some(Placement::None));
        assert_eq!(stages(&record), [Some(101), None, None, None, None]);
        assert_eq!((record.status, record.total_ns), (10, 101));
    }

    #[test]
    fn each_event_is_handled_once() {
        let mut io = begun();
        assert!(io.is_fresh());
        assert!(io.complete(1_100, 0));
        assert!(!io.complete(1_101, 1));
        assert!(io.verify(1_150, 0, Verification::Bh, true));
        assert!(!io.verify(1_151, 1, Verification::Bh, true));
        io.queue_on_kverityd(1_170);
        io.queue_on_kverityd(1_171);
        assert!(io.verify(1_270, 0, Verification::Kverityd, false));
        assert!(!io.verify(1_271, 1, Verification::Kverityd, false));
        assert!(!io.is_fresh());
        let record = io.finish(1_500, 0);
        assert_eq!(
            stages(&record),
            [Some(100), Some(50), Some(20), Some(100), Some(230)]
        );
        assert_eq!((record.complete_cpu, record.verify_cpu), (0, 0));
    }

    #[test]
    fn a_success_without_verification_is_a_missed_verification() {
        let mut io = begun();
        io.complete(1_100, 0);
        let record = io.finish(1_400, 0);
        assert_eq!(record.placement(), Some(Placement::None));
        assert!(record.has(INCOMPLETE));
    }

    #[test]
    fn a_missed_completion_costs_two_stages_and_is_said() {
        let mut io = begun();
        io.verify(1_150, 0, Verification::Kverityd, false);
        let record = io.finish(1_400, 0);
        assert_eq!(stages(&record), [None, None, None, None, Some(250)]);
        assert_eq!(record.total_ns, 400);
        assert!(record.has(INCOMPLETE));
    }

    #[test]
    fn a_missed_requeue_costs_the_attempt_and_is_said() {
        let mut io = begun();
        io.complete(1_100, 0);
        io.verify(1_150, 0, Verification::Bh, true);
        io.verify(1_270, 0, Verification::Kverityd, false);
        let record = io.finish(1_500, 0);
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
        io.complete(1_100, 0);
        io.verify(1_150, 0, Verification::Bh, true);
        io.queue_on_kverityd(1_170);
        let record = io.finish(1_500, 0);
        assert_eq!(record.placement(), Some(Placement::Fallback));
        assert_eq!(stages(&record), [Some(100), Some(50), Some(20), None, None]);
        assert_eq!(record.total_ns, 500);
        assert!(record.has(INCOMPLETE));
    }

    #[test]
    fn a_clock_that_goes_back_is_counted_as_nothing() {
        let mut io = begun();
        io.complete(1_100, 0);
        io.verify(1_090, 1, Verification::Kverityd, false);
        let record = io.finish(1_200, 0);
        assert_eq!(stages(&record), [Some(100), Some(0), None, None, Some(100)]);
        assert!(record.has(CLOCK));
        assert_eq!(record.total_ns, 200);
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
            (verification, any::<bool>()).prop_map(|(how, softirq)| Event::Verify(how, softirq)),
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
                    Event::Complete => drop(io.complete(now, 0)),
                    Event::QueueOnKverityd => io.queue_on_kverityd(now),
                    Event::Verify(how, softirq) => drop(io.verify(now, 0, how, softirq)),
                }
            }
            let record = io.finish(end + 500, 0);
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
            io.complete(tick(), 0);
            if let Some(inline) = attempt {
                let how = if inline { Verification::Inline } else { Verification::Bh };
                io.verify(tick(), 0, how, true);
            }
            if attempt.is_none() || falls_back {
                io.queue_on_kverityd(tick());
                io.verify(tick(), 0, Verification::Kverityd, false);
            }
            let record = io.finish(tick(), 0);
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
