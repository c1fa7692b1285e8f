//! A stretch of the load as a program of what follows what: an I/O comes as long after the end of the one before it
//! as it did in the recording, so that a setting that is faster also brings the next one earlier.
//!
//! A task that submits, and one that completes, needs its CPU for that. What a verification took of it meanwhile is taken
//! out here, and comes back where one does so under another setting.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::begins::{Begin, Begins, each_begin};
use super::costs::{Costs, Way};
use super::load::{Arrival, Seen};
use crate::snapshot::Completion;

/// A completion that follows the end of the verification before it so soon had waited for it: what a CPU needs from
/// one to the next. Source: in the lab 500 to 1,500 instructions; half the prior for a wake-up on hardware.
const SOON_NS: u64 = 2_500;

/// One in so many times between two I/Os of a task is shorter than it needs for one: where it maps several at once.
const SHORT: usize = 4;

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
    /// The first that waits for this one, and the last.
    first: u32,
    last: u32,
    /// The next that waits for the same one as this.
    next: u32,
    /// The one that the same submitter mapped before on the same CPU.
    previous: u32,
    after: After,
    /// Nanoseconds from there, or from when its task could go on after the one before, until it is mapped, without verifications on
    /// the CPU that maps it.
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
    /// By submitter and CPU: how long it needs from one I/O to the next, beside what its bytes take.
    spacing: HashMap<(u32, u16), u64>,
    /// Submitters that mapped an I/O while they had another one under way.
    several: HashSet<u32>,
    /// The stage `device` without what it waited for other verifications.
    devices: Vec<u64>,
    /// How each began.
    begins: Vec<Begins>,
    /// Those that BH verified while kverityd prefetched for them.
    in_own_prefetch: Vec<bool>,
    /// How long each waited that the cache of hash blocks made wait; 0 for others.
    stalls: Vec<u64>,
    /// How long softirqs that hash without the vector unit interrupted kverityd while it verified each; 0 for others.
    interruptions: Vec<u64>,
}

impl<'a> Trace<'a> {
    /// Of I/Os in the order in which they were mapped.
    pub fn new(arrivals: &'a [Arrival], costs: &Costs<'_>) -> Self {
        let busy = Busy::new(arrivals, costs, true);
        let interrupted = Busy::new(arrivals, costs, false);
        let mut links: Vec<_> = arrivals
            .iter()
            .map(|_| Link {
                first: NONE,
                last: NONE,
                next: NONE,
                previous: NONE,
                after: After::Finish,
                gap: 0,
            })
            .collect();
        let spacing = spacings(arrivals, &busy, costs);
        let mut last_mapped: HashMap<(u32, u16), u32> = HashMap::new();
        let mut roots = Vec::new();
        let mut submitters: HashMap<u32, Submitter> = HashMap::new();
        let mut several = HashSet::new();
        for (number, arrival) in (0..).zip(arrivals) {
            let submitter = submitters.entry(arrival.submitter).or_default();
            let task = (arrival.submitter, arrival.submit_cpu);
            let previous = last_mapped.insert(task, number);
            links[number as usize].previous = previous.unwrap_or(NONE);
            let free_at = previous.map_or(0, |previous| {
                let before = &arrivals[previous as usize];
                let needs = spacing.get(&task).copied().unwrap_or(0) + costs.of_bytes(before);
                busy.until(before.submit_cpu, before.mapped_at, needs)
            });
            match submitter.last_before(arrival.mapped_at) {
                Some((time, before, after)) => {
                    let from = time.max(free_at).min(arrival.mapped_at);
                    let Link { first, last, .. } = &mut links[before as usize];
                    let last = std::mem::replace(last, number);
                    if last == NONE {
                        *first = number;
                    } else {
                        links[last as usize].next = number;
                    }
                    let link = &mut links[number as usize];
                    link.after = after;
                    link.gap = busy.rest(arrival.submit_cpu, from, arrival.mapped_at);
                }
                None => roots.push(number),
            }
            if !several.contains(&arrival.submitter) && submitter.has_one_in_flight() {
                several.insert(arrival.submitter);
            }
            submitter.begin(number, arrival);
        }
        let idle = Begins {
            first: Begin::Idle,
            again: None,
        };
        let mut begins = vec![idle; arrivals.len()];
        each_begin(arrivals, |number, _, it| begins[number] = it);
        Self {
            begins,
            spacing,
            several,
            arrivals,
            links,
            roots,
            in_own_prefetch: in_own_prefetch(arrivals),
            stalls: stalls(arrivals, costs),
            interruptions: interruptions(arrivals, costs),
            devices: without_waiting(arrivals, (&busy, &interrupted), costs),
        }
    }

    /// Those that wait for none.
    pub fn roots(&self) -> &[u32] {
        &self.roots
    }

    /// How long the task that maps this one needs for it, until it can map the next one; 0 where that is not known.
    pub fn spacing(&self, io: &Arrival) -> u64 {
        let spacing = self.spacing.get(&(io.submitter, io.submit_cpu));
        spacing.copied().unwrap_or(0)
    }

    /// The one that the same submitter mapped before this one, on the same CPU.
    pub fn previous(&self, io: u32) -> Option<u32> {
        let previous = self.links[io as usize].previous;
        Some(previous).filter(|&it| it != NONE)
    }

    /// How long it is mapped after what lets it come, and after its task is done with the one before.
    pub fn gap(&self, io: u32) -> u64 {
        self.links[io as usize].gap
    }

    /// Whether this one keeps several I/Os in flight.
    pub fn keeps_several(&self, submitter: u32) -> bool {
        self.several.contains(&submitter)
    }

    /// How the verification of this one began, and how long that took, where it found its worker idle.
    pub fn dispatch(&self, io: u32) -> Option<(Way, u64)> {
        let arrival = &self.arrivals[io as usize];
        let is_idle = self.begins[io as usize].first == Begin::Idle;
        is_idle.then(|| (Way::of(arrival), arrival.wait))
    }

    /// How long kverityd took to begin with this one after an attempt, where it was idle.
    pub fn again(&self, io: u32) -> Option<u64> {
        let is_idle = self.begins[io as usize].again == Some(Begin::Idle);
        is_idle.then(|| u64::from(self.arrivals[io as usize].retry_wait))
    }

    /// Whether BH verified this one while kverityd prefetched for it.
    pub fn in_own_prefetch(&self, io: u32) -> bool {
        self.in_own_prefetch[io as usize]
    }

    /// How long this one waited that the cache of hash blocks made wait; 0 where it did not.
    pub fn stall(&self, io: u32) -> u64 {
        self.stalls[io as usize]
    }

    /// How long softirqs that hash without the vector unit interrupted kverityd while it verified this one; 0 where none did.
    pub fn interruption(&self, io: u32) -> u64 {
        self.interruptions[io as usize]
    }

    /// How long the data device takes.
    pub fn device(&self, io: u32) -> u64 {
        self.devices[io as usize]
    }

    /// Those that come after this, in the order in which they were mapped, and how long after it.
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

    /// Whether any of those that it mapped is still under way.
    fn has_one_in_flight(&self) -> bool {
        self.coming
            .iter()
            .any(|Reverse((.., is_finish))| *is_finish)
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

/// Those that BH verified while kverityd prefetched for them, and not for one that their task mapped after them.
fn in_own_prefetch(arrivals: &[Arrival]) -> Vec<bool> {
    let mut next_mapped: HashMap<u32, u64> = HashMap::new();
    let mut all = vec![false; arrivals.len()];
    for (io, is_in) in arrivals.iter().zip(&mut all).rev() {
        let next = next_mapped.insert(io.submitter, io.mapped_at);
        *is_in = io.in_prefetch() && next.is_none_or(|next| next > io.completed_at() + io.wait);
    }
    all
}

/// How long each waited that kverityd began with only after one that had waited for a hash block, though another worker goes on
/// meanwhile: the cache was locked. Without `try_verify_in_tasklet` it is, until it has read the block that it would throw out
/// (`__get_unclaimed_buffer` and `__make_buffer_clean`, drivers/md/dm-bufio.c).
fn stalls(arrivals: &[Arrival], costs: &Costs<'_>) -> Vec<u64> {
    let begins_at = |it: usize| arrivals[it].completed_at() + arrivals[it].wait;
    let mut order: Vec<_> = (0..arrivals.len())
        .filter(|&it| arrivals[it].seen == Seen::Kverityd)
        .collect();
    order.sort_by_key(|&it| begins_at(it));
    let mut all = vec![0; arrivals.len()];
    // By CPU, of our device and of others, whose caches are others: until when the one before was verified that waited for a hash
    // block, or 0.
    let mut cold_until: HashMap<(bool, u16), u64> = HashMap::new();
    for at in order {
        let io = &arrivals[at];
        let is_cold = costs.read_after(io, false).is_some();
        let until = if is_cold { io.finished_at() } else { 0 };
        let before = cold_until.insert((io.is_ours, io.verify_cpu), until);
        let before = before.unwrap_or(0);
        if io.completed_at() < before && before <= begins_at(at) {
            all[at] = io.wait;
        }
    }
    all
}

/// How long softirqs that hash without the vector unit interrupted kverityd while it verified each: such a one had that in use, so it
/// hashed too, and is done soon after.
fn interruptions(arrivals: &[Arrival], costs: &Costs<'_>) -> Vec<u64> {
    // By CPU: when kverityd was done with each.
    let mut done: HashMap<u16, Vec<(u64, usize)>> = HashMap::new();
    for (at, io) in arrivals.iter().enumerate() {
        if io.seen == Seen::Kverityd || io.seen.gave_up() {
            let done = done.entry(io.verify_cpu).or_default();
            done.push((io.finished_at(), at));
        }
    }
    for done in done.values_mut() {
        done.sort_unstable();
    }
    let mut softirqs: Vec<_> = arrivals.iter().filter(|it| costs.lacks_simd(it)).collect();
    // Of several in one interruption the last one first.
    softirqs.sort_by_key(|it| Reverse(it.finished_at()));
    let mut all = vec![0_u64; arrivals.len()];
    for softirq in softirqs {
        let ended_at = softirq.finished_at();
        let began_at = ended_at - softirq.verify;
        let Some(done) = done.get(&softirq.complete_cpu) else {
            continue;
        };
        let next = done.partition_point(|&(done_at, _)| done_at < ended_at);
        let Some(&(done_at, at)) = done.get(next) else {
            continue;
        };
        let io = &arrivals[at];
        let hashed = (done_at - ended_at).saturating_sub(all[at]);
        let is_soon = hashed <= costs.warm(io).saturating_mul(2);
        if is_soon && done_at - io.verify < began_at {
            all[at] = all[at].saturating_add(softirq.verify);
        }
    }
    all
}

/// By submitter and CPU: how long it needs from one I/O to the next, beside what its bytes take.
fn spacings(arrivals: &[Arrival], busy: &Busy, costs: &Costs<'_>) -> HashMap<(u32, u16), u64> {
    let mut all: HashMap<(u32, u16), Vec<u64>> = HashMap::new();
    each_spacing(arrivals, |io, next| {
        let passed = busy.rest(io.submit_cpu, io.mapped_at, next.mapped_at);
        let task = (io.submitter, io.submit_cpu);
        let passed = passed.saturating_sub(costs.of_bytes(io));
        all.entry(task).or_default().push(passed);
    });
    all.into_iter()
        .map(|(task, mut passed)| {
            passed.sort_unstable();
            (task, passed[passed.len() / SHORT])
        })
        .collect()
}

/// Tells of each I/O, in the order in which they were mapped, that its submitter mapped another one after it, on the same CPU and
/// without waiting for any, and which.
pub(super) fn each_spacing(arrivals: &[Arrival], mut tell: impl FnMut(&Arrival, &Arrival)) {
    let mut submitters: HashMap<u32, (Submitter, Option<&Arrival>)> = HashMap::new();
    for (number, arrival) in (0..).zip(arrivals) {
        let (submitter, before) = submitters.entry(arrival.submitter).or_default();
        let last = submitter.last_before(arrival.mapped_at);
        if let Some(before) = before.replace(arrival)
            && last.is_none_or(|(time, ..)| time <= before.mapped_at)
            && before.submit_cpu == arrival.submit_cpu
        {
            tell(before, arrival);
        }
        submitter.begin(number, arrival);
    }
}

/// Whether the submitter went on before its I/O had finished: it completed it itself, and left the verification to
/// somebody else.
fn returns_early(arrival: &Arrival) -> bool {
    arrival.completion == Completion::Task
        && !matches!(arrival.seen, Seen::Inline | Seen::InlineGaveUp)
}

/// When the CPUs verified.
struct Busy(HashMap<u16, Vec<Stretch>>);

/// A time without a pause.
struct Stretch {
    from: u64,
    until: u64,
    /// How long all before took.
    before: u64,
}

impl Busy {
    /// On kverityd too, or only in softirqs, from the interrupt on, and by the completions themselves.
    fn new(arrivals: &[Arrival], costs: &Costs<'_>, with_kverityd: bool) -> Self {
        let interrupt = costs.interrupt();
        let mut all: HashMap<u16, Vec<(u64, u64)>> = HashMap::new();
        for io in arrivals {
            let interrupted = match Way::of(io) {
                Way::Softirq => io.wait.min(interrupt),
                Way::Kverityd | Way::Ksoftirqd | Way::Inline => 0,
            };
            let from = io.completed_at().saturating_add(io.wait - interrupted);
            let on_kverityd = with_kverityd.then(|| io.verify.min(costs.warm(io)));
            let (cpu, took) = match io.seen {
                Seen::Kverityd => match on_kverityd {
                    Some(took) => (io.verify_cpu, took),
                    None => continue,
                },
                Seen::Softirq | Seen::Inline => (io.complete_cpu, io.verify),
                Seen::SoftirqGaveUp | Seen::InlineGaveUp => {
                    (io.complete_cpu, u64::from(io.attempt))
                }
            };
            let until = from.saturating_add(took);
            all.entry(cpu).or_default().push((from, until));
            if let Some(took) = on_kverityd.filter(|_| io.seen.gave_up()) {
                let end = io.finished_at();
                let from = end.saturating_sub(took);
                all.entry(io.verify_cpu).or_default().push((from, end));
            }
        }
        Self(
            all.into_iter()
                .map(|(cpu, it)| (cpu, stretches(it)))
                .collect(),
        )
    }

    /// How much of this time the CPU did something else.
    fn rest(&self, cpu: u16, from: u64, until: u64) -> u64 {
        let Some(stretches) = self.0.get(&cpu) else {
            return until - from;
        };
        // Until then, since the beginning.
        let spent = |moment: u64| {
            let after = stretches.partition_point(|it| it.from < moment);
            let last = after.checked_sub(1).and_then(|at| stretches.get(at));
            last.map_or(0, |it| it.before + (moment.min(it.until) - it.from))
        };
        (until - from).saturating_sub(spent(until) - spent(from))
    }

    /// When the CPU has done something else for so long.
    fn until(&self, cpu: u16, from: u64, something_else: u64) -> u64 {
        let mut until = from.saturating_add(something_else);
        loop {
            let lacks = something_else.saturating_sub(self.rest(cpu, from, until));
            if lacks == 0 || until == u64::MAX {
                return until;
            }
            until = until.saturating_add(lacks);
        }
    }
}

/// What is left when those that overlap are one.
fn stretches(mut all: Vec<(u64, u64)>) -> Vec<Stretch> {
    all.sort_unstable();
    let mut found: Vec<Stretch> = Vec::new();
    for (from, until) in all {
        match found.last_mut() {
            Some(last) if from <= last.until => last.until = last.until.max(until),
            last => {
                let before = last.map_or(0, |it| it.before + (it.until - it.from));
                found.push(Stretch {
                    from,
                    until,
                    before,
                });
            }
        }
    }
    found
}

/// The stage `device` of each without the time that its CPU verified others: where a task completes, between; where it
/// does not, until the device had the I/O; and where a softirq completes, inline before it.
fn without_waiting(
    arrivals: &[Arrival],
    (busy, interrupted): (&Busy, &Busy),
    costs: &Costs<'_>,
) -> Vec<u64> {
    let device = |it: &Arrival| {
        if it.completion == Completion::Task {
            return busy.rest(it.complete_cpu, it.mapped_at, it.completed_at());
        }
        let comes_between = if costs.lets_kverityd_before() {
            busy
        } else {
            interrupted
        };
        let (hands_over, of_bytes) = (costs.hands_over(), costs.of_bytes(it));
        let (cpu, completed_at) = (it.submit_cpu, it.completed_at());
        let rest = comes_between.rest(cpu, it.mapped_at, completed_at);
        if rest <= hands_over {
            return rest;
        }
        let slept_until = comes_between.until(cpu, it.mapped_at, hands_over);
        let rest = interrupted.rest(cpu, slept_until, completed_at);
        if rest <= of_bytes {
            return hands_over + rest;
        }
        let until = interrupted.until(cpu, slept_until, of_bytes);
        it.device - (until - it.mapped_at - hands_over - of_bytes)
    };
    let mut devices: Vec<_> = arrivals.iter().map(device).collect();
    let waits = |it: &Arrival| {
        it.completion == Completion::Softirq && matches!(it.seen, Seen::Inline | Seen::InlineGaveUp)
    };
    let mut order: Vec<_> = (0..arrivals.len())
        .filter(|&it| waits(&arrivals[it]))
        .collect();
    order.sort_by_key(|&it| arrivals[it].completed_at());
    let least = order.iter().map(|&it| devices[it]).min();
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
        let held = held.min(devices[at].saturating_sub(least));
        devices[at] -= held;
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
