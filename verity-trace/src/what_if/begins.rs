//! How verifications began: with a worker that was idle, or after another one.

use std::collections::HashMap;

use super::load::{Arrival, Seen};

/// What a worker did before it began with the verification of an I/O, or with its first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// It was idle when the data device completed the I/O; or the one before waited for a hash block, so that another was.
    Idle,
    /// It was busy then, and ended so long before.
    After(u64),
    /// It was busy then, and the one before waited for a hash block later: nothing says since when.
    Behind,
}

/// How both verifications of an I/O began: the second one of those whose attempt gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begins {
    pub first: Begin,
    pub again: Option<Begin>,
}

/// When the worker of a CPU last began with one, and when that ended: kverityd's, and BH.
#[derive(Default)]
struct Last(HashMap<(bool, u16), (u64, u64)>);

impl Last {
    /// How a verification began that could have since `ready`.
    fn begin(&self, on_kverityd: bool, cpu: u16, ready: u64, from: u64) -> Begin {
        match self.0.get(&(on_kverityd, cpu)) {
            Some(&(_, until)) if ready < until && until <= from => Begin::After(from - until),
            Some(&(before, until)) if ready < until && ready < before => Begin::Behind,
            _ => Begin::Idle,
        }
    }

    fn add(&mut self, on_kverityd: bool, cpu: u16, from: u64, until: u64) {
        let last = self.0.entry((on_kverityd, cpu)).or_default();
        *last = (*last).max((from, until));
    }
}

/// Tells of each I/O of a stretch of time, in the order in which they complete, its number and how it began.
pub(super) fn each_begin(span: &[Arrival], mut tell: impl FnMut(usize, &Arrival, Begins)) {
    let mut order: Vec<_> = (0..span.len()).collect();
    order.sort_by_key(|&it| span[it].completed_at());
    let mut last = Last::default();
    for number in order {
        let io = &span[number];
        let on_kverityd = io.seen == Seen::Kverityd;
        let cpu = if on_kverityd {
            io.verify_cpu
        } else {
            io.complete_cpu
        };
        let completed_at = io.completed_at();
        let from = completed_at + io.wait;
        let first = last.begin(on_kverityd, cpu, completed_at, from);
        let again = if io.seen.gave_up() {
            let attempted = from + u64::from(io.attempt);
            last.add(false, cpu, from, attempted);
            let from = attempted + u64::from(io.retry_wait);
            let again = last.begin(true, io.verify_cpu, attempted, from);
            last.add(true, io.verify_cpu, from, io.finished_at());
            Some(again)
        } else {
            last.add(on_kverityd, cpu, from, from + io.verify);
            None
        };
        tell(number, io, Begins { first, again });
    }
}
