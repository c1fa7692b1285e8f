//! Many I/Os at once, in every order that the kernel can bring about, with and without events that are
//! not seen: the table of I/Os in flight and their states, driven as the programs drive them.

use std::cell::Cell;
use std::collections::BTreeMap;

use bytemuck::Zeroable as _;
use proptest::prelude::*;
use verity_trace_ebpf::context::{Completion, Context};
use verity_trace_ebpf::in_flight::{Begin, InFlight, Rules, Verification};
use verity_trace_ebpf::placement::{Placement, Stage};
use verity_trace_ebpf::reason::Reason;
use verity_trace_ebpf::record::{INCOMPLETE, Record};
use verity_trace_ebpf::table::{self, Claimed, Keys, WAYS, is_in_flight, set_of};

const RULES: Rules = Rules {
    is_inert: false,
    has_limits: true,
    gives_way: true,
    sees_mismatch: true,
    sees_cache_misses: false,
};

/// The keys of one set.
struct Set([Cell<u64>; WAYS as usize]);

impl Keys for Set {
    fn get(&self, way: u32) -> u64 {
        self.0[way as usize].get()
    }

    fn exchange(&self, way: u32, from: u64, to: u64) -> bool {
        let key = &self.0[way as usize];
        let is_from = key.get() == from;
        if is_from {
            key.set(to);
        }
        is_from
    }

    fn opaque(number: u64) -> u64 {
        number
    }
}

/// What the programs keep, and what they counted.
#[derive(Default)]
struct Tracer {
    sets: BTreeMap<usize, Set>,
    states: BTreeMap<(usize, u32), InFlight>,
    records: Vec<Record>,
    mapped: u64,
    rejected: u64,
    started_without_finish: u64,
    finished_without_start: u64,
    full: u64,
    /// Whether the programs have guards.
    has_guards: bool,
    /// What each CPU's `guarded` adds up to.
    guarded: i64,
    /// Events that a program was not run for.
    missed: i64,
    /// Those of them that its guard was not run for either.
    unseen: i64,
}

/// Which of the two see an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    by_guard: bool,
    by_program: bool,
}

impl Tracer {
    fn set(&mut self, io: u64) -> &Set {
        self.sets
            .entry(set_of(io))
            .or_insert_with(|| Set(Default::default()))
    }

    fn find(&mut self, io: u64) -> Option<u32> {
        table::find(self.set(io), io)
    }

    fn state(&mut self, io: u64) -> Option<&mut InFlight> {
        let way = self.find(io)?;
        self.states.get_mut(&(set_of(io), way))
    }

    fn release(&mut self, io: u64) {
        let way = self.find(io).expect("it is in flight");
        self.states
            .get_mut(&(set_of(io), way))
            .expect("a state")
            .end();
        table::release(self.set(io), way);
    }

    fn map(&mut self, now: u64, io: u64, is_guard: bool) -> bool {
        let way = match table::claim(self.set(io), io) {
            Claimed::New(way) => way,
            Claimed::Again(way) => {
                let is_fresh = self.state(io).is_some_and(|state| state.is_fresh());
                if !is_guard && is_fresh && self.has_guards {
                    return false;
                }
                self.started_without_finish += 1;
                way
            }
            Claimed::Full if is_guard => return self.leave_to_program(),
            Claimed::Full => {
                self.full += 1;
                return true;
            }
        };
        self.mapped += 1;
        let begin = Begin {
            seq: self.mapped,
            device: 0,
            device_slot: 1,
            sector: io,
            bytes: 4_096,
            ioprio: 0,
            read_ahead: false,
            cpu: 0,
        };
        self.states
            .entry((set_of(io), way))
            .or_insert_with(InFlight::zeroed)
            .begin(now, &begin);
        true
    }

    fn reject(&mut self, is_guard: bool) -> bool {
        if is_guard {
            return self.leave_to_program();
        }
        self.mapped += 1;
        self.rejected += 1;
        true
    }

    fn leave_to_program(&mut self) -> bool {
        self.guarded -= 1;
        true
    }

    fn finish(&mut self, now: u64, io: u64, status: u8, is_guard: bool) -> bool {
        let Some(state) = self.state(io) else {
            if is_guard || !self.has_guards {
                self.finished_without_start += 1;
            }
            return false;
        };
        let record = state.record(&state.finish(now, status, RULES));
        self.records.push(record);
        self.release(io);
        true
    }

    /// What a program does, or its guard; returns whether the event is news to it.
    fn see(&mut self, now: u64, io: u64, event: Event, is_guard: bool) -> bool {
        match event {
            Event::Map => return self.map(now, io, is_guard),
            Event::Reject => return self.reject(is_guard),
            Event::Finish(status) => return self.finish(now, io, status, is_guard),
            Event::Complete(_) | Event::Verify(_) | Event::GiveUp => {}
        }
        let Some(state) = self.state(io) else {
            return false;
        };
        match event {
            Event::Complete(_) if state.is_completed() => return false,
            Event::Complete(status) => {
                state.complete(now, 0, Completion::Task, status, Some(8_192));
            }
            Event::Verify(how) if state.has_begun(how != Verification::Kverityd) => return false,
            Event::Verify(how) => state.verify(now, 0, how, Context::Softirq, true, None),
            _ => state.give_up(now, false),
        }
        true
    }

    /// An event, as the kernel runs programs for it (`cpu::watch` in the programs).
    fn watch(&mut self, now: u64, io: u64, event: Event, seen: Seen) {
        if seen.by_guard {
            self.guarded += 1;
            self.see(now, io, event, true);
        }
        if !seen.by_program {
            self.missed += 1;
            self.unseen += i64::from(!seen.by_guard);
        } else if !self.see(now, io, event, false) && self.has_guards {
            self.guarded -= 1;
        }
    }

    fn has_no_key_twice(&self) -> bool {
        self.sets.values().all(|set| {
            let mut keys: Vec<_> = set.0.iter().map(|key| key.get() & !1).collect();
            keys.retain(|&key| key != 0);
            keys.sort_unstable();
            keys.is_sorted_by(|one, next| one < next)
        })
    }

    fn in_flight(&self) -> u64 {
        let keys = self.sets.values().flat_map(|set| &set.0);
        keys.filter(|key| is_in_flight(key.get()))
            .map(|_| 1)
            .sum::<u64>()
    }
}

/// What becomes of an I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Rejected,
    DeviceError,
    Kverityd,
    Bh,
    Inline,
    BhThenKverityd,
    InlineThenKverityd,
}

/// What happens to an I/O, one after the other; the last makes its memory free for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Map,
    Reject,
    Complete(u8),
    Verify(Verification),
    GiveUp,
    Finish(u8),
}

impl Fate {
    fn events(self) -> Vec<Event> {
        use Event::{Complete, Finish, GiveUp, Map, Reject, Verify};
        let on_kverityd = Verify(Verification::Kverityd);
        match self {
            Self::Rejected => vec![Reject],
            Self::DeviceError => vec![Map, Complete(10), Finish(10)],
            Self::Kverityd => vec![Map, Complete(0), on_kverityd, Finish(0)],
            Self::Bh => vec![Map, Complete(0), Verify(Verification::Bh), Finish(0)],
            Self::Inline => vec![Map, Complete(0), Verify(Verification::Inline), Finish(0)],
            Self::BhThenKverityd => vec![
                Map,
                Complete(0),
                Verify(Verification::Bh),
                GiveUp,
                on_kverityd,
                Finish(0),
            ],
            Self::InlineThenKverityd => vec![
                Map,
                Complete(0),
                Verify(Verification::Inline),
                GiveUp,
                on_kverityd,
                Finish(0),
            ],
        }
    }

    fn placement(self) -> Option<Placement> {
        match self {
            Self::Rejected => None,
            Self::DeviceError => Some(Placement::None),
            Self::Kverityd => Some(Placement::Kverityd),
            Self::Bh => Some(Placement::Bh),
            Self::Inline => Some(Placement::Inline),
            Self::BhThenKverityd | Self::InlineThenKverityd => Some(Placement::Fallback),
        }
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::Rejected),
        Just(Fate::DeviceError),
        Just(Fate::Kverityd),
        Just(Fate::Bh),
        Just(Fate::Inline),
        Just(Fate::BhThenKverityd),
        Just(Fate::InlineThenKverityd),
    ]
}

/// One piece of memory, and the fates of the I/Os that use it one after the other.
fn memory() -> impl Strategy<Value = Vec<Fate>> {
    prop::collection::vec(fate(), 0..6)
}

/// Runs all I/Os to their ends without guards: `turns` says whose event comes next, and `is_seen` which are
/// seen.
fn run(
    memories: &[Vec<Fate>],
    turns: impl FnMut(usize) -> usize,
    mut is_seen: impl FnMut(Event) -> bool,
) -> Tracer {
    watch(Tracer::default(), memories, turns, |event| Seen {
        by_guard: false,
        by_program: is_seen(event),
    })
}

/// The same with guards or without.
fn watch(
    mut tracer: Tracer,
    memories: &[Vec<Fate>],
    mut turns: impl FnMut(usize) -> usize,
    mut seen: impl FnMut(Event) -> Seen,
) -> Tracer {
    let mut left: Vec<(u64, Vec<Event>)> = std::iter::zip(addresses(), memories)
        .map(|(io, fates)| (io, fates.iter().flat_map(|fate| fate.events()).collect()))
        .collect();
    let mut now = 1_000;
    loop {
        left.retain(|(_, events)| !events.is_empty());
        if left.is_empty() {
            return tracer;
        }
        let turn = turns(left.len());
        let (io, events) = &mut left[turn];
        let event = events.remove(0);
        now += 7;
        let seen = seen(event);
        tracer.watch(now, *io, event, seen);
    }
}

/// Addresses of which 12 share a set: more than it has places.
fn addresses() -> impl Iterator<Item = u64> {
    let first = 0xffff_8881_0200_0000_u64;
    let set = set_of(first);
    (0..)
        .map(move |number| first + number * 640)
        .filter(move |&io| set_of(io) == set)
        .take(12)
}

fn stages_add_up(record: &Record) -> bool {
    let parts = Stage::ALL.into_iter().take(Stage::PARTS);
    parts.filter_map(|it| record.stage_ns(it)).sum::<u64>() == record.total_ns
}

proptest! {
    /// When everything is seen, every I/O is one record, complete and right, as long as there is room.
    #[test]
    fn what_is_seen_is_exact(
        memories in prop::collection::vec(memory(), 0..=WAYS as usize),
        order in prop::collection::vec(any::<prop::sample::Index>(), 300),
    ) {
        let mut order = order.into_iter();
        let tracer = run(&memories, |left| order.next().map_or(0, |it| it.index(left)), |_| true);
        let fates = || memories.iter().flatten();
        let count = |placement| fates().filter(|it| it.placement() == placement).count();
        for placement in Placement::ALL {
            let seen = tracer.records.iter().filter(|it| it.placement() == Some(placement));
            prop_assert_eq!(seen.count(), count(Some(placement)));
        }
        prop_assert_eq!(tracer.rejected, count(None) as u64);
        for record in &tracer.records {
            prop_assert!(stages_add_up(record) && !record.has(INCOMPLETE));
            prop_assert_ne!(record.outcome().and_then(|it| it.1), Some(Reason::Unknown));
        }
        let mut identities: Vec<_> = tracer.records.iter().map(|it| it.seq).collect();
        identities.sort_unstable();
        identities.dedup();
        prop_assert_eq!(identities.len(), tracer.records.len());
        prop_assert_eq!(tracer.in_flight(), 0);
        prop_assert_eq!(tracer.full + tracer.started_without_finish, 0);
        prop_assert_eq!(tracer.finished_without_start, 0);
    }

    /// Whatever is not seen, and however little room there is: all that was mapped is accounted for, and
    /// a record whose stages do not add up says so.
    #[test]
    fn what_is_not_seen_is_accounted_for(
        memories in prop::collection::vec(memory(), 0..12),
        order in prop::collection::vec(any::<prop::sample::Index>(), 400),
        seen in prop::collection::vec(prop::bool::weighted(0.9), 400),
    ) {
        let (mut order, mut seen) = (order.into_iter(), seen.into_iter());
        let mut finishes = 0;
        let tracer = run(
            &memories,
            |left| order.next().map_or(0, |it| it.index(left)),
            |event| {
                let is_seen = seen.next().unwrap_or(true);
                finishes += u64::from(is_seen && matches!(event, Event::Finish(_)));
                is_seen
            },
        );
        let finished = tracer.records.len() as u64;
        let known = finished + tracer.rejected + tracer.in_flight() + tracer.started_without_finish;
        prop_assert_eq!(tracer.mapped, known);
        prop_assert_eq!(finished + tracer.finished_without_start, finishes);
        prop_assert!(tracer.has_no_key_twice());
        for record in &tracer.records {
            prop_assert!(stages_add_up(record) || record.has(INCOMPLETE));
        }
    }

    /// What one of the two sees is seen once; and what neither does is never said to be less.
    #[test]
    fn a_guard_sees_what_its_program_was_not_run_for(
        memories in prop::collection::vec(memory(), 0..=WAYS as usize),
        order in prop::collection::vec(any::<prop::sample::Index>(), 300),
        seen in prop::collection::vec((prop::bool::weighted(0.8), prop::bool::weighted(0.8)), 400),
        either: bool,
    ) {
        let (mut order, mut seen) = (order.into_iter(), seen.into_iter());
        let guarded = Tracer { has_guards: true, ..Tracer::default() };
        let tracer = watch(
            guarded,
            &memories,
            |left| order.next().map_or(0, |it| it.index(left)),
            |event| {
                let (by_guard, by_program) = seen.next().unwrap_or((true, true));
                // An attempt's end is told by one program alone, and what is refused too.
                let is_unguarded = matches!(event, Event::GiveUp | Event::Reject);
                let by_guard = by_guard && event != Event::GiveUp;
                let is_sure = either || is_unguarded;
                let by_program = by_program || is_unguarded;
                Seen { by_guard, by_program: by_program || is_sure && !by_guard }
            },
        );
        let lost = tracer.missed - tracer.guarded;
        if either {
            prop_assert_eq!((tracer.unseen, lost), (0, 0));
            let finished = memories.iter().flatten().filter(|it| it.placement().is_some()).count();
            prop_assert_eq!(tracer.records.len(), finished);
            prop_assert!(tracer.records.iter().all(|it| stages_add_up(it) && !it.has(INCOMPLETE)));
            let rejected = memories.iter().flatten().count() - finished;
            prop_assert_eq!(tracer.rejected, rejected as u64);
            prop_assert_eq!(tracer.started_without_finish + tracer.finished_without_start, 0);
        } else {
            prop_assert!(lost >= tracer.unseen, "{} of {}", lost, tracer.unseen);
        }
        prop_assert!(tracer.has_no_key_twice());
    }

    /// Memory that is used again finds its place where it was.
    #[test]
    fn memory_keeps_its_place(order in prop::collection::vec(0..WAYS as usize, 1..40)) {
        let mut tracer = Tracer::default();
        let memories: Vec<_> = addresses().take(WAYS as usize).collect();
        let mut ways = BTreeMap::new();
        for index in order {
            let io = memories[index];
            let Claimed::New(way) = table::claim(tracer.set(io), io) else {
                return Err(TestCaseError::fail("there is room for all"));
            };
            prop_assert_eq!(*ways.entry(io).or_insert(way), way);
            table::release(tracer.set(io), way);
        }
    }

    /// A missed completion costs two stages, and the I/O is still counted where it was verified.
    #[test]
    fn a_missed_completion_costs_no_io(fates in memory()) {
        let tracer = run(
            std::slice::from_ref(&fates),
            |_| 0,
            |event| !matches!(event, Event::Complete(0)),
        );
        let seen: Vec<_> = tracer.records.iter().map(Record::placement).collect();
        let expected: Vec<_> = fates.iter().filter_map(|it| it.placement()).map(Some).collect();
        prop_assert_eq!(seen, expected);
    }
}
