//! Small loads whose outcome was worked out by hand, and what must hold for any load.

use proptest::prelude::*;

use super::begins::{Begin, Begins, each_begin};
use super::costs::{Bent, Costs, End, Knob, Learned, Way};
use super::load::{Arrival, Seen};
use super::outcome::Tally;
use super::servers::{Finished, Servers};
use super::trace::{After, Trace};
use super::*;
use crate::histogram::Nanos;
use crate::snapshot::{Completion, Context, Placement};

/// Kverityd, softirq, ksoftirqd, inline.
const DISPATCH: [u64; 4] = [50, 20, 70, 1];
/// From the end of one to the begin of the next.
const HAND_OVER: [u64; 4] = [5, 3, 3, 3];

const ON: Setting = Setting {
    option: true,
    use_bh_bytes: Some([8_192, 8_192, 8_192, 0]),
};
const OFF: Setting = Setting {
    option: false,
    ..ON
};

fn facts(era: Era) -> Facts {
    Facts {
        era,
        cpus: 2,
        is_unbound: false,
        gives_way: false,
        is_real_time: None,
    }
}

/// A read of 4 KiB by a process of its own on CPU 1 that CPU 0 completes in an interrupt at this moment, and that takes 100 ns
/// to verify.
fn at(completed_at: u64) -> Arrival {
    Arrival {
        mapped_at: completed_at - 10,
        device: 10,
        wait: 50,
        verify: 100,
        attempt: 0,
        retry_wait: 0,
        bytes: 4_096,
        submitter: u32::try_from(completed_at).expect("a small number"),
        submit_cpu: 1,
        complete_cpu: 0,
        verify_cpu: 0,
        class: 2,
        seen: Seen::Kverityd,
        completion: Completion::HardirqOrIrqsOff,
        option: true,
        is_ours: true,
        gave_way: false,
        context: None,
    }
}

/// What becomes of each, and the time in softirqs.
fn run(arrivals: &[Arrival], facts: Facts, setting: Setting) -> (Vec<Finished>, Outcome) {
    let learned = Learned::fixed(DISPATCH, HAND_OVER, 4_096, 100, 30);
    run_with(&learned, arrivals, facts, setting)
}

/// The same as if recorded under this setting, so that prefetching takes as long as it did.
fn run_with(
    learned: &Learned,
    arrivals: &[Arrival],
    facts: Facts,
    setting: Setting,
) -> (Vec<Finished>, Outcome) {
    let recorded = arrivals.iter().map(|it| Arrival {
        option: if it.is_ours {
            setting.option
        } else {
            it.option
        },
        ..*it
    });
    let arrivals: Vec<_> = recorded.collect();
    run_recorded(learned, &arrivals, facts, setting)
}

fn run_recorded(
    learned: &Learned,
    arrivals: &[Arrival],
    facts: Facts,
    setting: Setting,
) -> (Vec<Finished>, Outcome) {
    let costs = Costs::new(learned, &facts, None);
    let trace = Trace::new(arrivals, &costs);
    let servers = Servers::new(&trace, &costs, &facts, &setting, 1);
    let mut tally = Tally::new();
    let mut all = Vec::new();
    servers.run(&mut tally, |tally, finished| {
        tally.add(0, finished.placement, finished.wait, finished.total);
        all.push(finished);
    });
    all.sort_by_key(|it| it.io);
    (all, tally.outcome(None, 1))
}

/// Placement, wait and total of each.
fn rows(arrivals: &[Arrival], facts: Facts, setting: Setting) -> Vec<(Placement, u64, u64)> {
    let (all, _) = run(arrivals, facts, setting);
    all.into_iter()
        .map(|it| (it.placement, it.wait, it.total))
        .collect()
}

#[test]
fn a_worker_of_kverityd_takes_one_after_the_other_on_its_cpu() {
    use Placement::Kverityd;
    let other_cpu = Arrival {
        complete_cpu: 1,
        ..at(1_000)
    };
    let load = [at(1_000), at(1_010), at(1_020), other_cpu, at(2_000)];
    let expected = [
        (Kverityd, 50, 160),
        // It begins at 1,155, after the first, which ends at 1,150.
        (Kverityd, 145, 255),
        (Kverityd, 240, 350),
        (Kverityd, 50, 160),
        (Kverityd, 50, 160),
    ];
    let mut load = load.to_vec();
    load.sort_by_key(|it| it.mapped_at);
    let mut found = rows(&load, facts(Era::Bh), OFF);
    found.sort_by_key(|it| it.1);
    let mut expected = expected.to_vec();
    expected.sort_by_key(|it| it.1);
    assert_eq!(found, expected);
}

#[test]
fn before_6_3_any_worker_takes_it() {
    let unbound = Facts {
        is_unbound: true,
        ..facts(Era::Inert)
    };
    let found = rows(&[at(1_000), at(1_001), at(1_002)], unbound, ON);
    let waits: Vec<_> = found.iter().map(|it| it.1).collect();
    // Two CPUs have two workers. The third waits for the first of them, from 1,002 to 1,150 and 5 more.
    assert_eq!(waits, [50, 50, 153]);
}

#[test]
fn bh_takes_every_size_one_after_the_other_when_it_has_no_limit() {
    let large = Arrival {
        bytes: 1 << 20,
        verify: 500,
        ..at(1_010)
    };
    let (found, outcome) = run(&[at(1_000), large], facts(Era::Bh), ON);
    assert_eq!((found[0].placement, found[0].wait), (Placement::Bh, 20));
    // From 1,010 to 1,120 and 3 more.
    assert_eq!((found[1].placement, found[1].wait), (Placement::Bh, 113));
    assert_eq!(outcome.softirq_time(), Nanos(600));
    assert_eq!(outcome.longest_in_softirq, Some(Nanos(500)));
}

#[test]
fn where_there_are_limits_they_decide_by_class_and_bytes() {
    use Placement::{Bh, Kverityd};
    let large = Arrival {
        bytes: 8_193,
        ..at(2_000)
    };
    let idle = Arrival {
        class: 3,
        ..at(3_000)
    };
    let beyond = Arrival {
        class: 4,
        ..at(4_000)
    };
    let two_blocks = Arrival {
        bytes: 8_192,
        ..at(5_000)
    };
    let load = [at(1_000), large, idle, beyond, two_blocks];
    let found = rows(&load, facts(Era::Inline), ON);
    let placements: Vec<_> = found.iter().map(|it| it.0).collect();
    assert_eq!(placements, [Bh, Kverityd, Kverityd, Kverityd, Bh]);
}

#[test]
fn after_two_milliseconds_softirqs_are_left_to_ksoftirqd() {
    let long = |completed_at| Arrival {
        verify: 300_000,
        ..at(completed_at)
    };
    let load: Vec<_> = (0..9).map(|it| long(1_000 + it)).collect();
    let learned = |ksoftirqd| Learned::fixed([50, 20, ksoftirqd, 1], HAND_OVER, 4_096, 300_000, 30);
    let (found, _) = run_with(&learned(70), &load, facts(Era::Bh), ON);
    let waits: Vec<_> = found.iter().map(|it| it.wait).collect();
    assert_eq!(waits[6], 20 + 6 * 300_003 - 6);
    // Seven make 2.1 ms. Then ksoftirqd is woken, and goes on with the same.
    assert_eq!(waits[7], 20 + 7 * 300_003 + 70 - 7);
    assert_eq!(waits[8], 20 + 8 * 300_003 + 70 - 8);

    // The next interrupt is sooner than a slow ksoftirqd.
    let wakes_up_at = 1_020 + 7 * 300_003;
    let load = [load, vec![long(wakes_up_at + 400)]].concat();
    let (found, _) = run_with(&learned(1_000_000), &load, facts(Era::Bh), ON);
    assert_eq!(found[7].wait, wakes_up_at + 400 + 20 - 1_007);
}

#[test]
fn a_hundred_works_are_left_to_ksoftirqd_too() {
    let quick = |completed_at| Arrival {
        verify: 10,
        submit_cpu: 1,
        ..at(completed_at)
    };
    let load: Vec<_> = (0..102).map(|it| quick(1_000 + it)).collect();
    let found = rows(&load, facts(Era::Bh), ON);
    assert_eq!(found[99].1, 20 + 99 * 13 - 99);
    assert_eq!(found[100].1, 20 + 100 * 13 + 70 - 100);
}

#[test]
fn a_task_that_completes_leaves_bh_to_ksoftirqd_until_6_14() {
    let task = Arrival {
        completion: Completion::Task,
        ..at(1_000)
    };
    assert_eq!(
        rows(&[task], facts(Era::Bh), ON),
        [(Placement::Bh, 70, 180)]
    );
    let (found, outcome) = run(&[task], facts(Era::Inline), ON);
    assert_eq!((found[0].placement, found[0].wait), (Placement::Inline, 1));
    assert_eq!(outcome.softirq_time(), Nanos(0), "a task is no softirq");
}

#[test]
fn a_completion_that_verifies_keeps_the_next_one_waiting() {
    let softirq = |completed_at| Arrival {
        completion: Completion::Softirq,
        ..at(completed_at)
    };
    let (found, outcome) = run(&[softirq(1_000), softirq(1_040)], facts(Era::Inline), ON);
    assert_eq!((found[0].wait, found[0].total), (1, 111));
    // It is completed at 1,101, 61 later, and waits for nothing then.
    assert_eq!((found[1].wait, found[1].total), (1, 10 + 61 + 1 + 100));
    assert_eq!(outcome.softirq_time(), Nanos(200));
}

#[test]
fn what_was_recorded_inline_could_have_been_completed_sooner() {
    let inline = |completed_at| Arrival {
        mapped_at: 500,
        device: completed_at - 500,
        wait: 1,
        seen: Seen::Inline,
        completion: Completion::Softirq,
        submitter: 1,
        ..at(completed_at)
    };
    // The second is completed 4 after the first, which ends at 1,101, has been verified.
    let load = [inline(1_000), inline(1_105)];
    let found = rows(&load, facts(Era::Inline), OFF);
    assert_eq!(found[0], (Placement::Kverityd, 50, 500 + 50 + 100));
    // At 1,004 without that; kverityd is done with the first at 1,150, and begins 5 later.
    assert_eq!(found[1], (Placement::Kverityd, 151, 504 + 151 + 100));
}

#[test]
fn what_finds_no_hash_block_is_verified_again() {
    let cold = Arrival {
        verify: 5_000,
        ..at(1_000)
    };
    let (found, outcome) = run(&[cold, at(1_001)], facts(Era::Bh), ON);
    // Its hash block comes 4,850 after its completion, whoever waits for that, and kverityd hashes that one and the data.
    assert_eq!(found[0].placement, Placement::Fallback);
    assert_eq!((found[0].wait, found[0].total), (20, 10 + 4_850 + 200));
    assert_eq!((found[1].placement, found[1].wait), (Placement::Bh, 52));
    assert_eq!(outcome.softirq_time(), Nanos(130));

    // Where it comes while kverityd is woken, the attempt of 30 and kverityd's 50 are added.
    let learned = Learned::fixed(DISPATCH, HAND_OVER, 4_096, 10, 30);
    let soon = Arrival {
        verify: 40,
        ..at(1_000)
    };
    let (found, _) = run_with(&learned, &[soon], facts(Era::Bh), ON);
    assert_eq!(found[0].total, 10 + 20 + 30 + 50 + 2 * 10);
}

#[test]
fn a_hash_block_that_comes_while_an_io_waits_is_not_missing() {
    let busy = Arrival {
        bytes: 32_768,
        verify: 700,
        ..at(1_000)
    };
    let cold = Arrival {
        verify: 1_000,
        wait: 0,
        ..at(1_001)
    };
    let found = rows(&[busy, cold, at(1_002)], facts(Era::Bh), ON);
    assert_eq!(found[1].0, Placement::Fallback, "800 after its completion");
    let longer = Arrival {
        verify: 799,
        ..busy
    };
    let found = rows(&[longer, at(1_001), cold], facts(Era::Bh), ON);
    assert_eq!(found[2].0, Placement::Bh, "it waits for two");
}

#[test]
fn while_one_reads_a_hash_block_another_worker_goes_on() {
    let cold = Arrival {
        verify: 5_000,
        ..at(1_000)
    };
    let found = rows(&[cold, at(1_001)], facts(Era::Bh), OFF);
    assert_eq!(found[0].2, 10 + 50 + 5_000);
    assert_eq!(found[1].1, 50 + 5 - 1);
}

#[test]
fn a_softirq_interrupts_kverityd() {
    let large = Arrival {
        bytes: 65_536,
        verify: 1_000,
        ..at(1_000)
    };
    let found = rows(&[large, at(1_500)], facts(Era::Inline), ON);
    assert_eq!(found[0], (Placement::Kverityd, 50, 10 + 50 + 1_000 + 100));
    assert_eq!(found[1], (Placement::Bh, 20, 130));
}

#[test]
fn who_waits_for_the_end_comes_earlier_when_that_is_earlier() {
    let first = Arrival {
        submitter: 7,
        ..at(1_000)
    };
    // Finished at 1,150; mapped 40 later.
    let second = Arrival {
        submitter: 7,
        mapped_at: 1_190,
        ..first
    };
    let load = [first, second];
    let (_, recorded) = run(&load, facts(Era::Bh), OFF);
    let (_, faster) = run(&load, facts(Era::Bh), ON);
    assert_eq!(recorded.duration, Nanos(160 + 40 + 160));
    assert_eq!(faster.duration, Nanos(130 + 40 + 130));
}

#[test]
fn a_task_needs_its_cpu_until_it_maps_the_next_io() {
    let first = Arrival {
        submitter: 7,
        submit_cpu: 1,
        complete_cpu: 1,
        verify_cpu: 1,
        ..at(910)
    };
    let other = Arrival {
        submit_cpu: 0,
        ..at(1_000)
    };
    // 100 after the end of the first one, of which the other one's verification took 90.
    let second = Arrival {
        mapped_at: 1_160,
        submitter: 7,
        submit_cpu: 0,
        ..at(1_170)
    };
    let load = [first, other, second];
    let (_, off) = run(&load, facts(Era::Bh), OFF);
    assert_eq!(off.duration, Nanos(1_160 + 160 - 900));
    // The first one ends at 1,030, the other one is verified from 1,020 to 1,120.
    let (_, on) = run(&load, facts(Era::Bh), ON);
    assert_eq!(on.duration, Nanos(1_030 + 90 + 10 + 130 - 900));
}

#[test]
fn what_a_task_completes_takes_longer_while_its_cpu_verifies() {
    let other = at(1_000);
    // On the same CPU the other one is verified from 1,050 to 1,150.
    let slow = Arrival {
        mapped_at: 1_040,
        device: 160,
        completion: Completion::Task,
        ..at(2_000)
    };
    let load = [other, slow];
    let costs = Learned::fixed(DISPATCH, HAND_OVER, 4_096, 100, 30);
    let facts = facts(Era::Bh);
    let costs = Costs::new(&costs, &facts, None);
    assert_eq!(Trace::new(&load, &costs).device(1), 60);
    let found = rows(&load, facts, OFF);
    assert_eq!(found[1].2, 160 + 50 + 100);
}

/// One process on a CPU, which completes each I/O itself and maps the next one 120 ns after that was verified; once it has
/// another one in flight, or never.
fn one_after_the_other(keeps_several: bool) -> Vec<Arrival> {
    let each = |number: u64| Arrival {
        mapped_at: 1_000 * number,
        device: 730,
        submitter: 7,
        submit_cpu: 0,
        completion: Completion::Task,
        ..at(1_000 * number + 730)
    };
    let mut load: Vec<_> = (1..=400).map(each).collect();
    if keeps_several {
        load[1].mapped_at -= 130;
    }
    load
}

/// The waits in BH.
fn waits_in_bh(load: &[Arrival], bent: Bent) -> Vec<u64> {
    let facts = facts(Era::Bh);
    let learned = Learned::from([load].into_iter(), &facts);
    let costs = Costs::new(&learned, &facts, bent);
    let trace = Trace::new(load, &costs);
    let mut waits = Vec::new();
    let servers = Servers::new(&trace, &costs, &facts, &ON, 1);
    servers.run(&mut Tally::new(), |_, it| waits.push(it.wait));
    waits
}

#[test]
fn a_task_with_more_to_map_does_so_before_ksoftirqd_verifies() {
    // 120 until it maps the next one, and 50 until kverityd prefetches for that; else the same 50, times 1.05.
    let waits = waits_in_bh(&one_after_the_other(true), None);
    let long = waits.iter().filter(|&&it| it >= 120 + 50).count();
    assert!((160..=240).contains(&long), "{waits:?}");
    let short = waits.iter().filter(|&&it| it <= 53).count();
    assert!((140..=240).contains(&short), "{waits:?}");
}

#[test]
fn ksoftirqd_is_one_of_all_that_would_have_the_cpu() {
    let alone = one_after_the_other(true);
    let mut three: Vec<_> = (0..3)
        .flat_map(|process| {
            alone.iter().map(move |it| Arrival {
                mapped_at: it.mapped_at + 300 * process,
                submitter: 7 + u32::try_from(process).expect("small"),
                ..*it
            })
        })
        .collect();
    three.sort_by_key(|it| it.mapped_at);
    // One of two, and three of four, in so many of a thousand.
    for (load, least, most) in [(alone, 400, 600), (three, 680, 820)] {
        let waits = waits_in_bh(&load, None);
        let long = waits.iter().filter(|&&it| it >= 120 + 50).count();
        let share = 1_000 * long / waits.len();
        assert!((least..=most).contains(&share), "{share}");
    }
}

#[test]
fn one_that_was_not_seen_to_do_so_waits_for_each_as_far_as_is_known() {
    let load = one_after_the_other(false);
    assert!(waits_in_bh(&load, None).iter().all(|&it| it <= 53));
    let waits = waits_in_bh(&load, Some((Knob::GoesOn, End::Low)));
    assert!(waits.iter().any(|&it| it >= 120 + 50), "{waits:?}");
    let facts = facts(Era::Bh);
    let learned = Learned::from([load.as_slice()].into_iter(), &facts);
    assert!(learned.knobs(&facts).contains(&Knob::GoesOn));
}

#[test]
fn a_softirq_delays_what_a_task_hands_to_its_device() {
    // The first one is verified in BH from 1,020 to 1,120, after an interrupt at 1,000. The device has what is mapped 25 after that.
    let mapped = |mapped_at, device| Arrival {
        mapped_at,
        device,
        submit_cpu: 0,
        ..at(2_000)
    };
    let (facts, first) = (facts(Era::Inline), at(1_000));
    let cases = [
        (1_010, 500, 100),
        (970, 500, 0),
        (990, 500, 100),
        (1_010, 40, 100),
    ];
    for (mapped_at, device, delayed) in cases {
        let mut load = [first, mapped(mapped_at, device)];
        load.sort_by_key(|it| it.mapped_at);
        let total = |setting| {
            let (found, _) = run(&load, facts, setting);
            let later = found.iter().max_by_key(|it| it.total);
            later.expect("two").total
        };
        assert_eq!(total(ON), device + delayed + 20 + 100, "{mapped_at}");
        if device > 100 {
            assert_eq!(total(OFF), device + 50 + 100, "{mapped_at}");
        }
    }
    let in_bh = |it: Arrival| Arrival {
        wait: 20,
        seen: Seen::Softirq,
        context: Some(Context::Softirq),
        ..it
    };
    let load = [in_bh(first), in_bh(mapped(1_010, 600))];
    // From 1,010 to 1,100, as far as is seen: the interrupt comes with the softirq.
    assert_eq!(device_of_second(&load, facts), 510);
}

/// How long the second one's device takes without what came between.
fn device_of_second(load: &[Arrival], facts: Facts) -> u64 {
    let learned = Learned::fixed(DISPATCH, HAND_OVER, 4_096, 100, 30);
    let costs = Costs::new(&learned, &facts, None);
    Trace::new(load, &costs).device(1)
}

#[test]
fn a_task_that_may_sleep_lets_kverityd_verify_before_its_device_has_an_io() {
    // The first one is verified on kverityd from 1,050 to 1,150; the device has the second one 150 after it was mapped, or 25.
    let second = |mapped_at| Arrival {
        mapped_at,
        device: 500,
        submit_cpu: 0,
        ..at(2_000)
    };
    let first = at(1_000);
    for (mapped_at, taken) in [(1_010, 100), (890, 0)] {
        let mut load = [first, second(mapped_at)];
        load.sort_by_key(|it| it.mapped_at);
        let (found, _) = run(&load, facts(Era::Bh), OFF);
        let longest = found.iter().map(|it| it.total).max();
        assert_eq!(longest, Some(500 + 50 + 100), "{mapped_at}");
        if mapped_at > 1_000 {
            assert_eq!(device_of_second(&load, facts(Era::Bh)), 500 - taken);
            assert_eq!(device_of_second(&load, facts(Era::Inline)), 500);
        }
    }
}

#[test]
fn what_bytes_take_of_a_task_is_seen_where_it_waits_for_none() {
    // Of 4 KiB it maps the next one 400 later, of 64 KiB 1,000: 360 and 1 for each 102 bytes.
    let mut mapped_at = 1_000;
    let load: Vec<_> = (0..40)
        .map(|number| {
            let bytes = if number % 2 == 0 { 4_096 } else { 65_536 };
            let io = Arrival {
                mapped_at,
                device: 90_000,
                bytes,
                submitter: 7,
                ..at(mapped_at + 90_000)
            };
            mapped_at += if bytes == 4_096 { 400 } else { 1_000 };
            io
        })
        .collect();
    let facts = facts(Era::Bh);
    let learned = Learned::from([load.as_slice()].into_iter(), &facts);
    let costs = Costs::new(&learned, &facts, None);
    assert_eq!(
        [0, 1].map(|it| costs.of_bytes(&load[it])),
        [40, 640],
        "360 + 40, and 360 + 640"
    );
    // 0.7 of what all have in common, and what its bytes take.
    assert_eq!((costs.hands_over(), costs.of_bytes(&load[1])), (252, 640));
    assert_eq!(Trace::new(&load, &costs).spacing(&load[0]), 360);

    // kverityd is let before the task hands over the bytes of the second one, and not while it does.
    for (mapped_at, expected) in [(19_900, 1_900), (19_700, 2_000)] {
        let second = Arrival {
            mapped_at,
            device: 2_000,
            bytes: 65_536,
            submit_cpu: 0,
            ..at(30_000)
        };
        let mut load = [at(20_000), second];
        load.sort_by_key(|it| it.mapped_at);
        let trace = Trace::new(&load, &costs);
        let number = load.iter().position(|it| it.bytes == 65_536).expect("one");
        let number = u32::try_from(number).expect("small");
        assert_eq!(trace.device(number), expected, "{mapped_at}");
    }

    let few = Learned::from([&load[..16]].into_iter(), &facts);
    let costs = Costs::new(&few, &facts, None);
    assert_eq!(
        costs.of_bytes(&load[1]),
        0,
        "eight of each size are no line"
    );
}

#[test]
fn what_a_slow_softirq_took_of_kverityd_is_not_there_without_it() {
    // kverityd verifies from 1,100 to 6,100, of which a softirq that should have taken 100 took 500, until 6,050.
    let gave_up = Arrival {
        wait: 20,
        attempt: 30,
        retry_wait: 50,
        verify: 5_000,
        seen: Seen::SoftirqGaveUp,
        ..at(1_000)
    };
    let slow = Arrival {
        wait: 20,
        verify: 500,
        seen: Seen::Softirq,
        ..at(5_530)
    };
    let learned = Learned::fixed(DISPATCH, HAND_OVER, 4_096, 100, 30);
    for (era, took) in [(Era::Bh, 4_600), (Era::Inline, 5_100)] {
        let (found, _) = run_recorded(&learned, &[gave_up, slow], facts(era), OFF);
        let prefetch = if era == Era::Bh { 7 } else { 0 };
        assert_eq!(found[0].total, 10 + prefetch + took, "{era:?}");
    }
}

#[test]
fn a_softirq_that_interrupts_kverityd_hashes_slowly_before_6_15() {
    // An attempt of 30 gives up at 1,050; kverityd waits for the hash block until 5,850, and hashes for 200 then. The other one is verified
    // in BH from 5,900 on.
    let cold = Arrival {
        verify: 5_000,
        ..at(1_000)
    };
    let load = [cold, at(5_880)];
    for (era, took) in [(Era::Bh, 1_000), (Era::Inline, 100)] {
        let found = rows(&load, facts(era), ON);
        assert_eq!(found[1], (Placement::Bh, 20, 10 + 20 + took), "{era:?}");
    }
    let by_task = load.map(|it| Arrival {
        completion: Completion::Task,
        ..it
    });
    let found = rows(&by_task, facts(Era::Bh), ON);
    assert!(
        found[1].2 < 400,
        "kverityd delays the task, and ksoftirqd waits for it: {found:?}"
    );
}

#[test]
fn a_second_verification_tells_how_long_kverityd_takes_to_begin() {
    // BH after 20, or an attempt of 30 and kverityd 170 after that.
    let load: Vec<_> = (1..=100)
        .map(|number| {
            let gives_up = number % 2 == 0;
            Arrival {
                wait: 20,
                attempt: if gives_up { 30 } else { 0 },
                retry_wait: if gives_up { 170 } else { 0 },
                verify: if gives_up { 5_000 } else { 100 },
                seen: if gives_up {
                    Seen::SoftirqGaveUp
                } else {
                    Seen::Softirq
                },
                context: Some(Context::Softirq),
                ..at(20_000 * number)
            }
        })
        .collect();
    let facts = facts(Era::Bh);
    let learned = Learned::from([load.as_slice()].into_iter(), &facts);
    let (found, _) = run_with(&learned, &load, facts, OFF);
    assert!(found.iter().all(|it| it.wait == 170), "{found:?}");
}

#[test]
fn no_interrupt_is_the_reason_where_many_verifications_are_long() {
    let facts = facts(Era::Bh);
    for (one_in, may_be_interrupts) in [(100, true), (4, false)] {
        let load: Vec<_> = (1..=400)
            .map(|number| Arrival {
                verify: if number % one_in == 0 { 5_000 } else { 100 },
                ..at(10_000 * number)
            })
            .collect();
        let learned = Learned::from([load.as_slice()].into_iter(), &facts);
        let costs = Costs::new(&learned, &facts, Some((Knob::Cold, End::High)));
        let long = load.iter().find(|it| it.verify > 100).expect("one");
        let is_cold = costs.read_after(long, true).is_some();
        assert_eq!(is_cold, !may_be_interrupts, "one in {one_in}");
    }
}

#[test]
fn a_task_that_was_let_in_peace_has_kverityd_prefetch_before_without_the_option() {
    // In units of what kverityd takes to begin: 50, so 200 for a prefetch, and 7 more where clients of the cache may sleep.
    let in_context = |context, mapped_at| Arrival {
        mapped_at,
        device: 40,
        wait: 60,
        seen: Seen::Softirq,
        completion: Completion::Task,
        context: Some(context),
        submitter: 7,
        submit_cpu: 0,
        ..at(1_000)
    };
    let load = [
        in_context(Context::Softirq, 1_000),
        in_context(Context::Ksoftirqd, 2_000),
        // Its task maps the next one before it is verified: the prefetch was for that.
        in_context(Context::Softirq, 3_000),
        in_context(Context::Ksoftirqd, 3_050),
    ];
    let learned = Learned::fixed(DISPATCH, HAND_OVER, 4_096, 100, 30);
    let totals = |load: &[Arrival], setting| -> Vec<_> {
        let (found, _) = run_recorded(&learned, load, facts(Era::Bh), setting);
        found.iter().map(|it| it.total - it.wait - 100).collect()
    };
    assert_eq!(totals(&load[..3], OFF), [247, 47, 247]);
    assert_eq!(totals(&load, OFF)[..3], [247, 47, 47]);
    assert_eq!(totals(&load[..2], ON), [40, 40]);
    let without = |mapped_at| Arrival {
        seen: Seen::Kverityd,
        option: false,
        ..in_context(Context::Kworker, mapped_at)
    };
    assert_eq!(totals(&[without(1_000), without(2_000)], ON), [33, 33]);
}

#[test]
fn a_task_maps_its_ios_in_their_order() {
    let mapped = |mapped_at, device| Arrival {
        mapped_at,
        device,
        submitter: 7,
        ..at(1_000)
    };
    let learned = Learned::fixed(DISPATCH, HAND_OVER, 4_096, 100, 30);
    let facts = facts(Era::Inline);
    let costs = Costs::new(&learned, &facts, None);
    let load = [
        mapped(1_000, 100),
        mapped(1_400, 10),
        mapped(1_400, 20),
        mapped(1_400, 30),
    ];
    let trace = Trace::new(&load, &costs);
    let followers = trace.followers(0, After::Finish).map(|(io, _)| io);
    assert_eq!(followers.collect::<Vec<_>>(), [1, 2, 3]);

    // Idle I/O stays on kverityd and ends at 1,430, which the third one follows after 25. The fourth follows the second one at once, which
    // the option makes end at 1,430 too, in the place of 1,460. A task needs 10 for each, so the fourth comes then.
    let idle = Arrival {
        class: 3,
        ..mapped(1_000, 280)
    };
    let faster = Arrival {
        complete_cpu: 2,
        verify_cpu: 2,
        ..mapped(1_010, 300)
    };
    let load = [idle, faster, mapped(1_455, 10), mapped(1_461, 5_000)];
    let (_, outcome) = run(&load, facts, ON);
    assert_eq!(outcome.duration, Nanos(455 + 10 + 5_000 + 20 + 100));
}

#[test]
fn what_a_task_maps_without_waiting_keeps_its_distance() {
    let mapped = |mapped_at, device| Arrival {
        mapped_at,
        device,
        submitter: 7,
        option: false,
        ..at(1_000)
    };
    // All but the first follow its end at 1,160. A task needs 10 for each: the lower quartile of 10, 600 and 600.
    let load = [
        mapped(1_000, 10),
        mapped(1_200, 90_000),
        mapped(1_210, 90_000),
        mapped(1_810, 90_000),
        mapped(2_410, 90_000),
    ];
    let (_, outcome) = run(&load, facts(Era::Inline), OFF);
    assert_eq!(outcome.duration, Nanos(1_410 + 90_000 + 50 + 100));
}

#[test]
fn tasks_that_share_a_cpu_submit_one_after_the_other() {
    let mapped = |submitter, mapped_at, device| Arrival {
        mapped_at,
        device,
        submitter,
        option: false,
        ..at(1_000)
    };
    // The first task's I/O ends at 1,130 in BH; it maps its next one 200 after that, and hands it over for 25 more. The other one's ends at
    // 1,233: it has the CPU from 1,355 on, and maps its next one 210 after that. Alone it would have from 1,130 on.
    let load = [
        mapped(7, 1_000, 10),
        mapped(8, 1_000, 10),
        mapped(7, 1_360, 100),
        mapped(8, 1_370, 5_000),
    ];
    let (_, alone) = run(&[load[1], load[3]], facts(Era::Inline), ON);
    let (_, shared) = run(&load, facts(Era::Inline), ON);
    assert_eq!(
        shared.duration.0 - alone.duration.0,
        1_355 - 1_130,
        "{shared:?} {alone:?}"
    );
}

#[test]
fn times_at_the_end_of_what_is_possible_end() {
    let late = (1 << 62) - 5;
    let mapped = |mapped_at| Arrival {
        mapped_at,
        device: 0,
        wait: 0,
        verify: 0,
        submitter: 7,
        ..at(1_000)
    };
    let load: Vec<_> = (1..=98)
        .map(|number| mapped(1_000 * number))
        .chain([mapped(late), mapped(late)])
        .collect();
    for era in Era::ALL {
        for setting in [ON, OFF] {
            assert_eq!(run(&load, facts(era), setting).0.len(), 100);
        }
    }
}

#[test]
fn what_a_locked_cache_kept_waiting_does_so_without_the_option_alone() {
    // It began only once the one before, which waited for a hash block until 10,100, had ended.
    let cold = Arrival {
        verify: 9_000,
        option: false,
        ..at(1_050)
    };
    let kept = Arrival {
        wait: 8_110,
        option: false,
        ..at(2_000)
    };
    let load = [cold, kept];
    let learned = Learned::fixed(DISPATCH, HAND_OVER, 4_096, 100, 30);
    let wait = |setting| {
        let (found, _) = run_recorded(&learned, &load, facts(Era::Inline), setting);
        found[1].wait
    };
    assert_eq!(wait(OFF), 8_110);
    assert_eq!(wait(ON), 20);
}

#[test]
fn the_few_that_gave_up_say_only_half_of_how_long_kverityd_takes() {
    let facts = facts(Era::Bh);
    for (one_in, most) in [(20, 210), (2, 800)] {
        let load: Vec<_> = (1..=2_000)
            .map(|number| {
                let gives_up = number % one_in == 0;
                Arrival {
                    wait: 20,
                    attempt: if gives_up { 30 } else { 0 },
                    retry_wait: if gives_up {
                        u32::try_from(number % 1_000).expect("small")
                    } else {
                        0
                    },
                    seen: if gives_up {
                        Seen::SoftirqGaveUp
                    } else {
                        Seen::Softirq
                    },
                    ..at(20_000 * number)
                }
            })
            .collect();
        let learned = Learned::from([load.as_slice()].into_iter(), &facts);
        let costs = Costs::new(&learned, &facts, None);
        let longest = costs.dispatch(Way::Kverityd, u32::MAX);
        assert_eq!(longest <= 510, one_in == 20, "one in {one_in}: {longest}");
        assert!(longest >= most, "one in {one_in}: {longest}");
    }
}

/// 20 ns each, in BH, where 100 ns lie between two.
fn in_bh(device: u64) -> Vec<Arrival> {
    let all = (1..=40).map(|number| Arrival {
        mapped_at: 1_000 * number - device,
        device,
        wait: 20,
        submit_cpu: 0,
        seen: Seen::Softirq,
        context: Some(Context::Softirq),
        ..at(1_000 * number)
    });
    all.collect()
}

#[test]
fn kverityd_waits_for_a_task_that_may_be_in_the_kernel() {
    // Two and a half times as long as BH, once a task lets it, which it does 3.3 times that after it has mapped an I/O.
    for (device, least, most) in [(500, 45, 55), (10, 200, 210)] {
        let load = in_bh(device);
        let facts = facts(Era::Bh);
        let learned = Learned::from([load.as_slice()].into_iter(), &facts);
        let (found, _) = run_with(&learned, &load, facts, OFF);
        let is_near = |it: &Finished| (least..=most).contains(&it.wait);
        assert!(found.iter().all(is_near), "{device}: {found:?}");
    }
}

#[test]
fn bh_begins_as_soon_as_where_nobody_was_ahead() {
    let load: Vec<_> = in_bh(500)
        .into_iter()
        .enumerate()
        .map(|(at, it)| Arrival {
            wait: if at % 4 == 0 { 50 } else { 300 },
            seen: Seen::Kverityd,
            context: None,
            ..it
        })
        .collect();
    let facts = facts(Era::Bh);
    let learned = Learned::from([load.as_slice()].into_iter(), &facts);
    let (found, _) = run_with(&learned, &load, facts, ON);
    assert!(found.iter().all(|it| it.wait < 25), "{found:?}");
}

#[test]
fn each_begins_as_late_as_it_did_where_its_worker_was_idle() {
    // What has its hash blocks does not wait for a prefetch.
    let load: Vec<_> = (1..=100)
        .map(|number| {
            let (wait, verify) = if number % 2 == 0 {
                (50, 100)
            } else {
                (190, 2_000)
            };
            Arrival {
                wait,
                verify,
                ..at(10_000 * number)
            }
        })
        .collect();
    let facts = facts(Era::Bh);
    let learned = Learned::from([load.as_slice()].into_iter(), &facts);
    let (found, _) = run_with(&learned, &load, facts, OFF);
    for it in &found {
        assert_eq!(it.wait, load[it.io as usize].wait, "{it:?}");
    }
}

#[test]
fn while_one_waits_for_a_hash_block_the_next_one_finds_an_idle_worker() {
    // The first of each two waits for 5,000; the other one comes 1,000 after it.
    let load: Vec<_> = (1..=100)
        .flat_map(|number| {
            let cold = Arrival {
                verify: 5_000,
                ..at(20_000 * number)
            };
            let warm = Arrival {
                wait: 70,
                ..at(20_000 * number + 1_000)
            };
            [cold, warm]
        })
        .collect();
    let facts = facts(Era::Bh);
    let learned = Learned::from([load.as_slice()].into_iter(), &facts);
    let (found, _) = run_with(&learned, &load, facts, OFF);
    for it in &found {
        let io = &load[it.io as usize];
        assert_eq!((it.wait, it.total), (io.wait, io.total()), "{it:?}");
    }
}

#[test]
fn what_queues_behind_a_missing_hash_block_is_no_measure_of_an_idle_worker() {
    // Five at once, each of which hashes for 100 and has waited for 4,900.
    let load: Vec<_> = (0..5)
        .map(|number| Arrival {
            wait: 50 + 105 * number,
            verify: 5_000,
            ..at(1_000 + number)
        })
        .collect();
    let mut begins = Vec::new();
    each_begin(&load, |_, _, it| begins.push(it.first));
    let [first, rest @ ..] = begins.as_slice() else {
        panic!("there are five");
    };
    assert_eq!(*first, Begin::Idle);
    assert!(rest.iter().all(|it| *it == Begin::Behind), "{rest:?}");
}

#[test]
fn the_second_verification_of_a_fallback_keeps_kverityd_busy() {
    let fallback = Arrival {
        wait: 20,
        attempt: 30,
        retry_wait: 50,
        verify: 1_000,
        seen: Seen::SoftirqGaveUp,
        ..at(1_000)
    };
    let next = Arrival {
        wait: 960,
        ..at(1_150)
    };
    let mut begins = Vec::new();
    each_begin(&[fallback, next], |_, _, it| begins.push(it));
    let expected = [
        Begins {
            first: Begin::Idle,
            again: Some(Begin::Idle),
        },
        Begins {
            first: Begin::After(10),
            again: None,
        },
    ];
    assert_eq!(begins, expected);
}

#[test]
fn a_few_waits_say_as_little_of_one_io_as_of_all() {
    // Nothing is taken from 20 waits, here of kverityd behind a task.
    let mut load = in_bh(10);
    load.extend((1..=20).map(|number| Arrival {
        wait: 5_000,
        class: 3,
        ..at(100_000 * number)
    }));
    let facts = facts(Era::Inline);
    let learned = Learned::from([load.as_slice()].into_iter(), &facts);
    let (found, _) = run_with(&learned, &load, facts, ON);
    assert!(found.iter().all(|it| it.wait < 500), "{found:?}");
}

#[test]
fn ksoftirqd_waits_for_tasks_as_kverityd_does_and_for_no_prefetch() {
    // 50 where kverityd has the CPU at once, 150 behind a prefetch, 9,000 behind a task whose slice has to end.
    let waits = [50, 150, 9_000];
    let load: Vec<_> = (1..=99)
        .map(|number| Arrival {
            wait: waits[usize::try_from(number).expect("small") % 3],
            completion: Completion::Task,
            ..at(20_000 * number)
        })
        .collect();
    let facts = facts(Era::Bh);
    let learned = Learned::from([load.as_slice()].into_iter(), &facts);
    let (found, _) = run_with(&learned, &load, facts, ON);
    for it in &found {
        let expected = if load[it.io as usize].wait == 9_000 {
            9_450
        } else {
            53
        };
        assert_eq!((it.placement, it.wait), (Placement::Bh, expected), "{it:?}");
    }
}

#[test]
fn where_most_hash_blocks_are_missing_the_fastest_verification_had_its_own() {
    let facts = facts(Era::Bh);
    let load: Vec<_> = (1..=200)
        .map(|number| Arrival {
            verify: if number % 10 == 0 { 100 } else { 5_000 },
            ..at(10_000 * number)
        })
        .collect();
    let learned = Learned::from([load.as_slice()].into_iter(), &facts);
    let costs = Costs::new(&learned, &facts, None);
    assert_eq!(costs.warm(&load[0]), 100);
    assert_eq!(costs.read_after(&load[0], false), Some(50 + 4_800));
    // What a softirq verified had them all, whatever kverityd waited for.
    let all_cold = load.iter().map(|it| Arrival {
        verify: 5_000,
        ..*it
    });
    let both: Vec<_> = in_bh(10).into_iter().chain(all_cold).collect();
    let learned = Learned::from([both.as_slice()].into_iter(), &facts);
    let costs = Costs::new(&learned, &facts, None);
    assert!(costs.warm(&load[0]) <= 100);
}

/// A load of one process or of several, from whichever of its I/Os one likes.
fn loads() -> impl Strategy<Value = Vec<Arrival>> {
    let one = (
        (0u64..20_000, 1u64..3_000, 0u64..2_000, 0u64..5_000),
        (0usize..5, 0u8..5, 0u16..3, 0u32..3, 0usize..4),
        any::<bool>(),
    );
    prop::collection::vec(one, 1..80).prop_map(|all| {
        let mut load: Vec<_> = all
            .into_iter()
            .map(|(times, kinds, is_ours)| made_up(times, kinds, is_ours))
            .collect();
        load.sort_by_key(|it| it.mapped_at);
        load
    })
}

fn made_up(
    (mapped_at, device, wait, verify): (u64, u64, u64, u64),
    (seen, class, cpu, submitter, completion): (usize, u8, u16, u32, usize),
    is_ours: bool,
) -> Arrival {
    let seen = [
        Seen::Kverityd,
        Seen::Softirq,
        Seen::Inline,
        Seen::SoftirqGaveUp,
        Seen::InlineGaveUp,
    ][seen];
    let gave_up = seen.gave_up();
    Arrival {
        mapped_at,
        device,
        wait,
        verify,
        attempt: if gave_up { 40 } else { 0 },
        retry_wait: if gave_up { 60 } else { 0 },
        bytes: 4_096 << (class * 2),
        submitter,
        submit_cpu: cpu,
        complete_cpu: cpu,
        verify_cpu: cpu,
        class,
        seen,
        completion: Completion::ALL[completion],
        option: is_ours,
        is_ours,
        gave_way: seen == Seen::Kverityd && wait % 7 == 0,
        context: None,
    }
}

fn eras() -> impl Strategy<Value = Facts> {
    (0usize..5, any::<bool>(), any::<bool>()).prop_map(|(era, is_unbound, gives_way)| Facts {
        is_unbound,
        gives_way,
        ..facts(Era::ALL[era])
    })
}

proptest! {
    #[test]
    fn every_io_finishes_once_and_takes_at_least_its_stages(
        load in loads(),
        facts in eras(),
        option in any::<bool>(),
        recorded in any::<bool>(),
    ) {
        let load: Vec<_> = load
            .into_iter()
            .map(|it| Arrival {
                option: it.option && recorded,
                context: [None, Some(Context::Softirq), Some(Context::Ksoftirqd)]
                    [usize::from(it.submit_cpu) % 3],
                ..it
            })
            .collect();
        let learned = Learned::from([load.as_slice()].into_iter(), &facts);
        let setting = if option { ON } else { OFF };
        let (found, outcome) = run_recorded(&learned, &load, facts, setting);
        let finished: Vec<_> = found.iter().map(|it| it.io).collect();
        let all: Vec<_> = (0..u32::try_from(load.len()).expect("few")).collect();
        prop_assert_eq!(finished, all);
        prop_assert_eq!(outcome.ios, load.len() as u64);
        let costs = Costs::new(&learned, &facts, None);
        let trace = Trace::new(&load, &costs);
        for it in &found {
            let io = &load[it.io as usize];
            let verify = match it.placement {
                Placement::Fallback => costs.attempt(io) + costs.warm(io),
                Placement::Kverityd => costs.warm(io).min(costs.verify(io, false)),
                _ => costs.verify(io, true),
            };
            let device = trace.device(it.io).saturating_sub(costs.prefetch_sleeps());
            let least = device + it.wait + verify;
            prop_assert!(it.total >= least, "{it:?} of {io:?}");
        }
        let (again, _) = run_recorded(&learned, &load, facts, setting);
        prop_assert_eq!(found, again);
    }

    #[test]
    fn without_the_option_or_an_era_that_heeds_it_kverityd_has_all(
        load in loads(),
        facts in eras(),
    ) {
        let load: Vec<_> = load.into_iter().map(|it| Arrival { is_ours: true, ..it }).collect();
        let setting = if facts.era.can_attempt() { OFF } else { ON };
        let (found, outcome) = run(&load, facts, setting);
        prop_assert!(found.iter().all(|it| it.placement == Placement::Kverityd));
        prop_assert_eq!(outcome.longest_in_softirq, None);
    }

    #[test]
    fn when_verifying_and_waking_cost_the_same_nothing_changes(
        load in loads(),
        dispatch in 0u64..200,
    ) {
        let load: Vec<_> = load
            .into_iter()
            .zip(9..)
            .map(|(it, cpu)| Arrival {
                wait: dispatch,
                verify: 0,
                // No softirq and no other I/O is in the way of what maps it.
                submit_cpu: cpu,
                is_ours: true,
                seen: Seen::Kverityd,
                completion: Completion::HardirqOrIrqsOff,
                ..it
            })
            .collect();
        let learned = Learned::fixed([dispatch; 4], [0; 4], 4_096, 0, 0);
        let (off, _) = run_with(&learned, &load, facts(Era::Bh), OFF);
        let (on, _) = run_with(&learned, &load, facts(Era::Bh), ON);
        for (off, on) in off.iter().zip(&on) {
            prop_assert_eq!((off.wait, off.total), (on.wait, on.total));
        }
    }
}

#[test]
fn the_middle_of_measured_verifications_is_a_line() {
    // 1,000 ns and 500 for each block, with a few that are far off.
    let load: Vec<_> = (0..400u64)
        .map(|number| {
            let blocks = [1, 2, 8, 32][usize::try_from(number % 4).expect("small")];
            let verify = 1_000 + 500 * blocks;
            Arrival {
                bytes: u32::try_from(4_096 * blocks).expect("small"),
                verify: if number % 10 == 9 {
                    90 * verify
                } else {
                    verify
                },
                ..at(1_000 + 100_000 * number)
            }
        })
        .collect();
    let facts = facts(Era::Bh);
    let learned = Learned::from([load.as_slice()].into_iter(), &facts);
    let costs = Costs::new(&learned, &facts, None);
    for (blocks, expected) in [(1, 1_500), (2, 2_000), (4, 3_000), (64, 33_000)] {
        let io = Arrival {
            bytes: 4_096 * blocks,
            ..at(1_000)
        };
        assert_eq!(costs.warm(&io), expected, "{blocks} blocks");
    }
    assert_eq!(costs.read_after(&load[0], false), None);
    let cold = &load[9];
    let waited_for = cold.wait + cold.verify - costs.hashes_cold(cold);
    assert_eq!(costs.read_after(cold, false), Some(waited_for));
}
