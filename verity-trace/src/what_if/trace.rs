//! A stretch of the load as a program of what follows what: an I/O comes as long after the end of the one before it
//! as it did in the recording, so that a setting that is faster also brings the next one earlier.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::load::{Arrival, Seen};
use crate::snapshot::Completion;

/// A completion that follows the end of the verification before it so soon had waited for it: what a CPU needs from
/// one to the next. Source: in the lab 500 to 1,500 instructions; half the prior for a wake-up on hardware.
const SOON_NS: u64 = 2_500;

/// No I/O.
const NONE: u32 = u32::MAX;

/// What of an I/O lets the next one come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It had finished.
    Finish,
    /// Its submitter, which completed it itself, could go on.
    Return,
}

/// An I/O that waits for another one.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// The first that waits for this one.
    first: u32,
    /// The next that waits for the same one as this.
    next: u32,
    after: After,
    /// Nanoseconds from there until it is mapped.
    gap: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Trace<'a> {
    /// In the order in which they were mapped.
    pub arrivals: &'a [Arrival],
    links: Vec<Link>,
    /// Those that wait for none.
    roots: Vec<u32>,
    /// The stage `device` without what it waited for other verifications; empty when none did.
    devices: Vec<u64>,
}

impl<'a> Trace<'a> {
    /// Of I/Os in the order in which they were mapped.
    pub fn new(arrivals: &'a [Arrival]) -> Self {
        let mut links: Vec<_> = arrivals
            .iter()
            .map(|_| Link {
                first: NONE,
                next: NONE,
                after: After::Finish,
                gap: 0,
            })
            .collect();
        let mut roots = Vec::new();
        let mut submitters: HashMap<u32, Submitter> = HashMap::new();
        for (number, arrival) in (0..).zip(arrivals) {
            let submitter = submitters.entry(arrival.submitter).or_default();
            match submitter.last_before(arrival.mapped_at) {
                Some((time, before, after)) => {
                    let first = &mut links[before as usize].first;
                    let next = std::mem::replace(first, number);
                    links[number as usize] = Link {
                        first: NONE,
                        next,
                        after,
                        gap: arrival.mapped_at - time,
                    };
                }
                None => roots.push(number),
            }
            submitter.begin(number, arrival);
        }
        Self {
            arrivals,
            links,
            roots,
            devices: without_waiting(arrivals),
        }
    }

    /// Those that wait for none.
    pub fn roots(&self) -> &[u32] {
        &self.roots
    }

    /// How long the data device takes.
    pub fn device(&self, io: u32) -> u64 {
        let at = io as usize;
        let shortened = self.devices.get(at).copied();
        shortened.unwrap_or(self.arrivals[at].device)
    }

    /// Those that come after this, and how long after it.
    pub fn followers(&self, io: u32, after: After) -> impl Iterator<Item = (u32, u64)> {
        let first = self.links[io as usize].first;
        std::iter::successors(Some(first).filter(|&it| it != NONE), |&it| {
            Some(self.links[it as usize].next).filter(|&it| it != NONE)
        })
        .map(|it| (it, self.links[it as usize]))
        .filter(move |(_, link)| link.after == after)
        .map(|(it, link)| (it, link.gap))
    }
}

/// What one process waits for.
#[derive(Default)]
struct Submitter {
    /// What is still to come.
    coming: BinaryHeap<Reverse<(u64, u32, bool)>>,
    last: Option<(u64, u32, After)>,
}

impl Submitter {
    fn begin(&mut self, number: u32, arrival: &Arrival) {
        self.coming
            .push(Reverse((arrival.finished_at(), number, true)));
        if returns_early(arrival) {
            let time = arrival.completed_at();
            self.coming.push(Reverse((time, number, false)));
        }
    }

    /// The last thing that happened before.
    fn last_before(&mut self, now: u64) -> Option<(u64, u32, After)> {
        while let Some(&Reverse((time, number, is_finish))) = self.coming.peek() {
            if time > now {
                break;
            }
            self.coming.pop();
            let after = if is_finish {
                After::Finish
            } else {
                After::Return
            };
            self.last = Some((time, number, after));
        }
        self.last
    }
}

/// Whether the submitter went on before its I/O had finished: it completed it itself, and left the verification to
/// somebody else.
fn returns_early(arrival: &Arrival) -> bool {
    arrival.completion == Completion::Task
        && !matches!(arrival.seen, Seen::Inline | Seen::InlineGaveUp)
}

/// The stage `device` of each without the time that a completion in softirq waited for the verifications that the CPU
/// did inline before; nothing where there was no such thing.
fn without_waiting(arrivals: &[Arrival]) -> Vec<u64> {
    let waits = |it: &Arrival| {
        it.completion == Completion::Softirq && matches!(it.seen, Seen::Inline | Seen::InlineGaveUp)
    };
    if !arrivals.iter().any(waits) {
        return Vec::new();
    }
    let mut order: Vec<_> = (0..arrivals.len())
        .filter(|&it| waits(&arrivals[it]))
        .collect();
    order.sort_by_key(|&it| arrivals[it].completed_at());
    let mut devices: Vec<_> = arrivals.iter().map(|it| it.device).collect();
    let least = order.iter().map(|&it| arrivals[it].device).min();
    let least = least.unwrap_or(0);
    // By CPU: when the verification before began and ended, and how much earlier it could have been.
    let mut before: HashMap<u16, (u64, u64, u64)> = HashMap::new();
    for at in order {
        let arrival = &arrivals[at];
        let completed_at = arrival.completed_at();
        let held = match before.get(&arrival.complete_cpu) {
            Some(&(began, ended, held))
                if completed_at >= ended
                    && completed_at - ended <= SOON_NS
                    && arrival.mapped_at < began =>
            {
                held + (ended - began)
            }
            _ => 0,
        };
        let held = held.min(arrival.device.saturating_sub(least));
        devices[at] = arrival.device - held;
        let ended = completed_at + arrival.wait;
        let busy = if arrival.seen.gave_up() {
            u64::from(arrival.attempt)
        } else {
            arrival.verify
        };
        before.insert(arrival.complete_cpu, (completed_at, ended + busy, held));
    }
    devices
}
