//! Orders of events that the kernel has, and some that it has not.

use proptest::prelude::*;

use super::*;
use crate::placement::Placement;
use crate::reason::Reason;
use crate::record::{CLOCK, INCOMPLETE, Record};

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
    assert!(io.is_fresh() && !io.is_completed());
    io.complete(1_100, 0, Completion::Softirq, 0, None);
    assert!(!io.is_fresh() && io.is_completed());
    assert!(!io.has_begun(true));
    io.verify(1_150, 0, Verification::Bh, Context::Softirq, true, None);
    assert!(io.has_begun(true) && !io.has_begun(false));
    io.queue_on_kverityd(1_170, None);
    io.queue_on_kverityd(1_171, None);
    assert!(!io.is_on_kverityd());
    io.verify(
        1_270,
        0,
        Verification::Kverityd,
        Context::Kworker,
        true,
        None,
    );
    assert!(io.has_begun(true) && io.has_begun(false) && io.is_on_kverityd());
    let record = finish(&io, 1_500, 0);
    assert_eq!(
        stages(&record),
        [Some(100), Some(50), Some(20), Some(100), Some(230)]
    );
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
fn only_what_an_attempt_that_gave_up_left_to_kverityd_gave_up_unseen() {
    let attempted = || {
        let mut io = begun();
        io.verify(1_200, 1, Verification::Bh, Context::Softirq, true, None);
        io
    };
    assert!(!attempted().gave_up_unseen_since(0), "it goes on");
    let mut unseen = attempted();
    unseen.verify(
        1_500,
        2,
        Verification::Kverityd,
        Context::Kworker,
        true,
        None,
    );
    assert!(unseen.gave_up_unseen_since(1_200));
    assert!(!unseen.gave_up_unseen_since(1_201), "nobody looked");
    let mut seen = attempted();
    seen.give_up(1_400, false);
    seen.verify(
        1_500,
        2,
        Verification::Kverityd,
        Context::Kworker,
        true,
        None,
    );
    assert!(!seen.gave_up_unseen_since(0));
    let mut never = begun();
    never.verify(
        1_500,
        2,
        Verification::Kverityd,
        Context::Kworker,
        true,
        None,
    );
    assert!(!never.gave_up_unseen_since(0));
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
        flags in 0u32..1 << 16,
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
        if io.is_plain_on_kverityd(now, status) {
            let plain = io.plain_on_kverityd(now);
            prop_assert_eq!(plain.finish(), io.finish(now, status, rules));
            prop_assert_eq!(Some(plain), io.finish_plainly(now, status, || rules));
        }
    }

    /// On a device without the option what nearly every I/O does is plainer still.
    #[test]
    fn one_verification_on_kverityd_in_order_is_plain_there(
        gaps in prop::array::uniform3(0u64..1_000_000),
        option: bool,
        status in 0u8..2,
    ) {
        let [device, wait, verify] = gaps;
        let mut io = begun();
        io.complete(1_000 + device, 0, Completion::Task, 0, None);
        let verified_at = 1_000 + device + wait;
        io.verify(verified_at, 0, Verification::Kverityd, Context::Kworker, option, None);
        let now = verified_at + verify;
        prop_assert_eq!(io.is_plain_on_kverityd(now, status), !option && status == 0);
        if !option && status == 0 {
            prop_assert_eq!(io.plain_on_kverityd(now).finish(), io.finish(now, 0, RULES));
            let stages = [io.device_ns(), io.wait_ns(), io.verify_ns(now), io.total_ns(now)];
            prop_assert_eq!(stages, [device, wait, verify, device + wait + verify]);
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
