//! Runs a load through the kernel's placements: who verifies an I/O, and when that one has time for it.
//!
//! What follows from what is in the sources of Linux 6.1, 6.12 and 7.3: `verity_end_io`
//! (drivers/md/dm-verity-target.c), `bh_worker` and `process_one_work` (kernel/workqueue.c), `handle_softirqs`
//! (kernel/softirq.c).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use super::costs::{Costs, Way};
use super::load::Arrival;
use super::outcome::Tally;
use super::trace::{After, Trace};
use super::{Facts, Setting};
use crate::snapshot::{Completion, Era, Placement};
use verity_trace_ebpf::sending::scattered;

/// Works that the BH worker does before it lets other softirqs run (`BH_WORKER_RESTARTS`), and the time after which it
/// does so (`BH_WORKER_JIFFIES`).
const WORKS: u32 = 10;
/// How often softirqs are begun anew before they are left to ksoftirqd (`MAX_SOFTIRQ_RESTART`).
const RESTARTS: u32 = 10;
/// The time of both (`msecs_to_jiffies(2)`): up to a jiffy more or less.
const BUDGET_NS: u64 = 2_000_000;

/// A task that comes later than this with its next I/O has slept.
const RUNS_NS: u64 = 50_000;

/// What the tally is told of each I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finished {
    pub io: u32,
    pub placement: Placement,
    pub wait: u64,
    pub total: u64,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// An I/O is mapped, if its CPU was free until then.
    Map(u32),
    /// The data device gets an I/O, if its CPU was free until then.
    Issue(u32),
    /// The data device has completed an I/O.
    Complete(u32),
    /// kverityd gets an I/O of which an attempt gave up.
    Requeue(u32),
    /// A CPU's BH worker begins with its next work, unless it was told otherwise meanwhile.
    Softirq { cpu: u16, turn: u32 },
    /// A worker of kverityd begins with its next work.
    Kverityd(u16),
    /// It is done with one.
    Done(u16),
    /// A hash block has been read that one of its workers waits for.
    Read { io: u32, worker: u16 },
    /// An I/O finishes of which that was known before.
    Finish(u32),
}

/// What its task has done for an I/O.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Nothing yet.
    #[default]
    Before,
    /// It is done with the one before.
    HasTask,
    /// It has mapped it, and may sleep.
    Mapped,
    /// It hands over its bytes, and cannot sleep before the device has them.
    HandsOverBytes,
}

/// One I/O under way.
#[derive(Clone, Copy, Debug, Default)]
struct Flight {
    mapped_at: u64,
    completed_at: u64,
    wait: Option<u64>,
    /// What its CPU had verified when the task began that maps it, hands it to its device or completes it, in softirqs alone where kverityd
    /// cannot come between; absent where nothing says when it did.
    verified: Option<u64>,
    /// What passed between interrupts and softirqs while its task handed it to its device: that is part of what the device took, which
    /// interrupts have without a softirq, too.
    held: u64,
    /// Whether what follows its end did so before, as its task went on.
    is_followed: bool,
    /// Whether that task runs until then, or until it completes it.
    runs: bool,
    step: Step,
    /// The next of its submitter, once that waits for this one to be mapped.
    waiting: Option<u32>,
}

/// A CPU, or, where kverityd is not bound to CPUs, also one of its workers.
#[derive(Debug, Default)]
struct Server {
    /// Until then a softirq, or a completion that verifies, has the CPU.
    taken_until: u64,
    softirq: Softirq,
    works: VecDeque<u32>,
    /// Whether the worker was woken, or works.
    is_awake: bool,
    /// What it works on, and until when.
    running: Option<(u32, u64)>,
    /// How long it has verified, or will have when it is done.
    verified: u64,
    /// The same of softirqs and of completions alone.
    interrupted: u64,
    /// Tasks on it that are about to map an I/O, or to complete one themselves.
    tasks: usize,
    /// What a task on it is about to map, or hands over to its device, and what others on it would map then.
    submitting: Option<u32>,
    to_submit: VecDeque<u32>,
    /// Until when one keeps kverityd from it that has just mapped one.
    submits_until: u64,
}

impl Server {
    /// How long it has verified until now.
    fn verified(&self, now: u64) -> u64 {
        let ends_at = self.running.map_or(0, |(_, ends_at)| ends_at);
        let left = self.taken_until.max(ends_at).saturating_sub(now);
        self.verified.saturating_sub(left)
    }
}

/// The BH worker of a CPU.
#[derive(Debug, Default)]
struct Softirq {
    works: VecDeque<u32>,
    /// Whether it was told to run, or runs.
    is_raised: bool,
    /// When it will run next, and the number of that time.
    next_at: u64,
    turn: u32,
    /// How it was told.
    way: Option<Way>,
    /// Whether ksoftirqd was woken for it and does not run yet.
    waits_for_thread: bool,
    /// When softirqs began to run, and how often they began anew.
    began_at: u64,
    restarts: u32,
    /// The same of the worker, with the works that it did.
    called_at: u64,
    done: u32,
}

/// See the module.
pub(super) struct Servers<'a> {
    trace: &'a Trace<'a>,
    costs: &'a Costs<'a>,
    facts: &'a Facts,
    setting: &'a Setting,
    seed: u64,
    flights: Vec<Flight>,
    all: Vec<Server>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    /// By submitter and CPU: from when on it may map another one, and how long that CPU had verified when it mapped the last one.
    free_at: HashMap<(u32, u16), (u64, u64)>,
    /// Events until now: those of one moment happen in the order in which they were planned.
    planned: u64,
    last: u64,
}

impl<'a> Servers<'a> {
    /// For one stretch of a load.
    pub fn new(
        trace: &'a Trace<'a>,
        costs: &'a Costs<'a>,
        facts: &'a Facts,
        setting: &'a Setting,
        seed: u64,
    ) -> Self {
        let cpus = trace
            .arrivals
            .iter()
            .map(|it| it.complete_cpu.max(it.verify_cpu).max(it.submit_cpu));
        let cpus = usize::from(cpus.max().unwrap_or(0)) + 1;
        Self {
            trace,
            costs,
            facts,
            setting,
            seed,
            flights: vec![Flight::default(); trace.arrivals.len()],
            all: (0..cpus.max(facts.cpus))
                .map(|_| Server::default())
                .collect(),
            free_at: HashMap::new(),
            events: BinaryHeap::new(),
            planned: 0,
            last: 0,
        }
    }

    /// Runs it, and tells of each I/O that finishes.
    pub fn run(mut self, tally: &mut Tally, mut finished: impl FnMut(&mut Tally, Finished)) {
        let first = self.trace.arrivals.first().map_or(0, |it| it.mapped_at);
        for &io in self.trace.roots() {
            self.plan(self.arrival(io).mapped_at, Event::Map(io));
        }
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            let done = match event {
                Event::Map(io) => {
                    self.map(io, now);
                    None
                }
                Event::Issue(io) => {
                    self.issue(io, now);
                    None
                }
                Event::Complete(io) => self.complete(io, now, tally),
                Event::Requeue(io) => {
                    self.queue(io, now);
                    None
                }
                Event::Softirq { cpu, turn } => self.softirq(cpu, turn, now, tally),
                Event::Kverityd(worker) => {
                    self.work(worker, now);
                    None
                }
                Event::Done(worker) => self.done(worker, now),
                Event::Read { io, worker } => {
                    self.read(io, worker, now);
                    None
                }
                Event::Finish(io) => {
                    self.follow(io, After::Finish, now, now);
                    None
                }
            };
            if let Some((io, placement, at)) = done {
                let flight = self.flights[io as usize];
                self.last = self.last.max(at);
                if at > now {
                    self.plan(at, Event::Finish(io));
                } else {
                    self.follow(io, After::Finish, now, now);
                }
                finished(
                    tally,
                    Finished {
                        io,
                        placement,
                        wait: flight.wait.unwrap_or(0),
                        total: at - flight.mapped_at,
                    },
                );
            }
        }
        tally.add_duration(self.last.saturating_sub(first));
    }

    fn arrival(&self, io: u32) -> &'a Arrival {
        &self.trace.arrivals[io as usize]
    }

    fn plan(&mut self, at: u64, event: Event) {
        self.planned += 1;
        self.events.push(Reverse((at, self.planned, event)));
    }

    /// A number that is the same for an I/O under every setting.
    fn chance(&self, io: u32, of: Of) -> u32 {
        let number = scattered(self.seed ^ (u64::from(io) << 8 | of as u64));
        // The upper half.
        (number >> u32::BITS) as u32
    }

    /// A task needs its CPU until it maps an I/O, and maps them in the same order whatever the setting.
    fn map(&mut self, io: u32, now: u64) {
        if let Some(previous) = self.trace.previous(io) {
            let previous = &mut self.flights[previous as usize];
            if previous.step < Step::Mapped {
                previous.waiting = Some(io);
                return;
            }
        }
        let cpu = self.arrival(io).submit_cpu;
        if self.flights[io as usize].step == Step::Before {
            let free_at = self.free_at(io, now);
            if free_at > now {
                self.plan(free_at, Event::Map(io));
                return;
            }
            if !self.has_cpu(io) {
                return;
            }
            let verified = self.all[usize::from(cpu)].verified(now);
            let flight = &mut self.flights[io as usize];
            (flight.step, flight.verified) = (Step::HasTask, Some(verified));
            self.plan(now.saturating_add(self.trace.gap(io)), Event::Map(io));
            return;
        }
        let taken = self.taken_meanwhile(io, cpu);
        if taken > 0 {
            self.plan(now.saturating_add(taken), Event::Map(io));
            return;
        }
        if self.arrival(io).completion != Completion::Task {
            self.ends_running(io);
        }
        let arrival = self.arrival(io);
        let needs = self.trace.spacing(arrival) + self.costs.of_bytes(arrival);
        let verified = self.all[usize::from(cpu)].verified(now);
        self.free_at
            .insert((arrival.submitter, cpu), (now + needs, verified));
        self.begin(io, now);
        if let Some(waiting) = self.flights[io as usize].waiting.take() {
            self.plan(now, Event::Map(waiting));
        }
    }

    /// Whether the task that maps this one has its CPU, which it shares with others that are about to: one after the other. One that
    /// slept before, or completes its I/Os itself, is not known to.
    fn has_cpu(&mut self, io: u32) -> bool {
        let arrival = self.arrival(io);
        if arrival.completion == Completion::Task || !self.flights[io as usize].runs {
            return true;
        }
        let trace = self.trace;
        let submitter = |io: u32| trace.arrivals[io as usize].submitter;
        let server = &mut self.all[usize::from(arrival.submit_cpu)];
        let other = server.submitting.map(submitter);
        if other.is_some_and(|other| other != arrival.submitter) {
            server.to_submit.push_back(io);
            return false;
        }
        server.submitting = Some(io);
        true
    }

    /// When the task that maps this one is done with the one before, as far as its CPU has verified until now.
    fn free_at(&self, io: u32, now: u64) -> u64 {
        let arrival = self.arrival(io);
        let cpu = arrival.submit_cpu;
        let free_at = self.free_at.get(&(arrival.submitter, cpu));
        free_at.map_or(0, |&(free_at, before)| {
            let verified = if self.facts.is_unbound {
                before
            } else {
                self.all[usize::from(cpu)].verified(now)
            };
            free_at.saturating_add(verified.saturating_sub(before))
        })
    }

    /// The task that maps it, or completes it too, is done with that.
    fn ends_running(&mut self, io: u32) {
        let cpu = usize::from(self.arrival(io).submit_cpu);
        if std::mem::take(&mut self.flights[io as usize].runs) {
            self.all[cpu].tasks -= 1;
        }
    }

    fn begin(&mut self, io: u32, mapped_at: u64) {
        let arrival = self.arrival(io);
        let submits_until = mapped_at.saturating_add(self.costs.submits(arrival));
        self.all[usize::from(arrival.submit_cpu)].submits_until = submits_until;
        let device = self.device(io);
        let (verified, event, after) = if arrival.completion == Completion::Task {
            let cpu = usize::from(arrival.complete_cpu);
            (
                self.all[cpu].verified(mapped_at),
                Event::Complete(io),
                device,
            )
        } else {
            let hands_over = self.costs.hands_over().min(device);
            let came_between = self.came_between(io, mapped_at);
            (came_between, Event::Issue(io), hands_over)
        };
        let flight = &mut self.flights[io as usize];
        (flight.mapped_at, flight.verified) = (mapped_at, Some(verified));
        flight.step = Step::Mapped;
        self.plan(mapped_at.saturating_add(after), event);
    }

    /// How long the data device takes, with what kverityd takes of the task's CPU to prefetch until it has the I/O. Under
    /// `try_verify_in_tasklet` a task that completes its I/Os itself is let in peace by some prefetches, of which each verifies the I/O
    /// that it was for.
    fn device(&self, io: u32) -> u64 {
        let device = self.trace.device(io);
        let arrival = self.arrival(io);
        match (arrival.option, self.has_option(arrival)) {
            _ if self.facts.era != Era::Bh => device,
            (true, false) => {
                let prefetch = if self.trace.in_own_prefetch(io) {
                    self.costs.prefetch()
                } else {
                    0
                };
                device + prefetch + self.costs.prefetch_sleeps()
            }
            (false, true) => device.saturating_sub(self.costs.prefetch_sleeps()),
            _ => device,
        }
    }

    /// What delays a task that hands this I/O to its device: softirqs, and kverityd where it may sleep.
    fn came_between(&self, io: u32, now: u64) -> u64 {
        let server = &self.all[usize::from(self.arrival(io).submit_cpu)];
        let may_sleep = self.flights[io as usize].step < Step::HandsOverBytes;
        if self.costs.lets_kverityd_before() && may_sleep && !self.facts.is_unbound {
            server.verified(now)
        } else {
            server.interrupted
        }
    }

    /// A driver gets an I/O once its task has mapped it (`dm_submit_bio`, drivers/md/dm.c) and handed over its bytes, and softirqs come
    /// between.
    fn issue(&mut self, io: u32, now: u64) {
        let came_between = self.came_between(io, now);
        let server = &self.all[usize::from(self.arrival(io).submit_cpu)];
        let softirq = &server.softirq;
        let is_about_to = softirq.is_raised && !softirq.waits_for_thread && softirq.next_at > now;
        let flight = &mut self.flights[io as usize];
        if is_about_to && server.taken_until <= now {
            // The interrupt was before.
            flight.held += softirq.next_at - now;
            self.plan(softirq.next_at, Event::Issue(io));
            return;
        }
        let before = flight.verified.replace(came_between);
        let taken = before.map_or(0, |before| came_between.saturating_sub(before));
        if taken > 0 {
            let hands_over_bytes = flight.step == Step::HandsOverBytes;
            self.issue_at(io, now.saturating_add(taken), hands_over_bytes);
            return;
        }
        let device = self.device(io);
        let rest = device - self.costs.hands_over().min(device);
        let of_bytes = self.costs.of_bytes(self.arrival(io)).min(rest);
        let flight = &mut self.flights[io as usize];
        if of_bytes > 0 && flight.step < Step::HandsOverBytes {
            flight.step = Step::HandsOverBytes;
            let came_between = self.came_between(io, now);
            self.flights[io as usize].verified = Some(came_between);
            self.issue_at(io, now.saturating_add(of_bytes), true);
            return;
        }
        let rest = (rest - of_bytes).saturating_sub(flight.held);
        self.plan(now.saturating_add(rest), Event::Complete(io));
        let cpu = usize::from(self.arrival(io).submit_cpu);
        let server = &mut self.all[cpu];
        if server.submitting == Some(io) {
            server.submitting = None;
            if let Some(next) = server.to_submit.pop_front() {
                self.plan(now, Event::Map(next));
            }
        }
    }

    /// Until then its task needs the CPU, and keeps kverityd from it if it cannot sleep.
    fn issue_at(&mut self, io: u32, at: u64, cannot_sleep: bool) {
        if cannot_sleep {
            let cpu = usize::from(self.arrival(io).submit_cpu);
            let submits_until = &mut self.all[cpu].submits_until;
            *submits_until = (*submits_until).max(at);
        }
        self.plan(at, Event::Issue(io));
    }

    /// What verifications took of a CPU since the task began to need it, or since this was asked last.
    fn taken_meanwhile(&mut self, io: u32, cpu: u16) -> u64 {
        if self.facts.is_unbound {
            return 0;
        }
        let verified = self.all[usize::from(cpu)].verified;
        let before = self.flights[io as usize].verified.replace(verified);
        before.map_or(0, |before| verified.saturating_sub(before))
    }

    fn follow(&mut self, io: u32, after: After, at: u64, now: u64) {
        if after == After::Finish && self.flights[io as usize].is_followed {
            return;
        }
        let trace = self.trace;
        for (next, gap) in trace.followers(io, after) {
            let cpu = self.arrival(next).submit_cpu;
            let flight = &mut self.flights[next as usize];
            flight.runs = gap <= RUNS_NS;
            self.all[usize::from(cpu)].tasks += usize::from(flight.runs);
            if at > now {
                self.plan(at, Event::Map(next));
            } else {
                self.map(next, now);
            }
        }
    }

    /// `verity_end_io`.
    fn complete(&mut self, io: u32, now: u64, tally: &mut Tally) -> Option<(u32, Placement, u64)> {
        let arrival = self.arrival(io);
        let in_interrupt = matches!(
            arrival.completion,
            Completion::HardirqOrIrqsOff | Completion::Unknown
        );
        let taken_until = self.all[usize::from(arrival.complete_cpu)].taken_until;
        if !in_interrupt && taken_until > now {
            self.plan(taken_until, Event::Complete(io));
            return None;
        }
        if arrival.completion == Completion::Task {
            let taken = self.taken_meanwhile(io, arrival.complete_cpu);
            if taken > 0 {
                self.plan(now.saturating_add(taken), Event::Complete(io));
                return None;
            }
        }
        self.ends_running(io);
        self.flights[io as usize].completed_at = now;
        let is_inline = self.facts.era == Era::Inline && !in_interrupt;
        let done = if !self.is_attempted(io) {
            self.queue(io, now);
            None
        } else if is_inline {
            self.inline(io, now, tally)
        } else {
            self.raise(io, now);
            None
        };
        let returns_at = if is_inline && self.flights[io as usize].wait.is_some() {
            // The completion did it, whether or not it gave up.
            self.all[usize::from(arrival.complete_cpu)].taken_until
        } else {
            now
        };
        self.follow(io, After::Return, returns_at, now);
        done
    }

    fn is_attempted(&self, io: u32) -> bool {
        let arrival = self.arrival(io);
        let setting = Setting {
            option: self.has_option(arrival),
            ..*self.setting
        };
        self.facts.attempts(&setting, arrival.bytes, arrival.class)
            && !(self.facts.gives_way
                && self.costs.gives_way(arrival, self.chance(io, Of::GivesWay)))
    }

    const fn has_option(&self, arrival: &Arrival) -> bool {
        if arrival.is_ours {
            self.setting.option
        } else {
            arrival.option
        }
    }

    /// The completion verifies.
    fn inline(&mut self, io: u32, now: u64, tally: &mut Tally) -> Option<(u32, Placement, u64)> {
        let arrival = self.arrival(io);
        let cpu = arrival.complete_cpu;
        let wait = self.dispatch(io, Way::Inline, Of::Dispatch);
        self.flights[io as usize].wait = Some(wait);
        let is_cold = self.is_cold(io, now + wait);
        let took = self.attempted(io, is_cold);
        let ends_at = now + wait + took;
        if arrival.completion != Completion::Task {
            tally.add_softirq(cpu, took);
        }
        self.take(cpu, now, ends_at);
        if is_cold {
            self.plan(ends_at, Event::Requeue(io));
            return None;
        }
        Some((io, Placement::Inline, ends_at))
    }

    /// Whether a hash block is missing that it needs.
    fn is_cold(&self, io: u32, now: u64) -> bool {
        let completed_at = self.flights[io as usize].completed_at;
        let read_after = self.costs.read_after(self.arrival(io), true);
        read_after.is_some_and(|after| now < completed_at.saturating_add(after))
    }

    /// How long a softirq, or the completion, is busy with it.
    fn attempted(&self, io: u32, is_cold: bool) -> u64 {
        let arrival = self.arrival(io);
        if is_cold {
            self.costs.attempt(arrival)
        } else {
            self.costs.verify(arrival, true)
        }
    }

    /// The CPU does this meanwhile, and a worker of kverityd on it waits.
    fn take(&mut self, cpu: u16, from: u64, until: u64) {
        let server = &mut self.all[usize::from(cpu)];
        server.taken_until = server.taken_until.max(until);
        server.verified = server.verified.saturating_add(until - from);
        server.interrupted = server.interrupted.saturating_add(until - from);
        if !self.facts.is_unbound
            && let Some((_, ends_at)) = &mut server.running
        {
            *ends_at += until - from;
        }
    }

    /// Queues it on the BH workqueue, or as a tasklet.
    fn raise(&mut self, io: u32, now: u64) {
        let arrival = self.arrival(io);
        let way = Way::into_softirq(arrival.completion);
        let begins_at = match self.next_map(io, way, now) {
            Some(mapped_at) => mapped_at + self.dispatch(io, Way::Kverityd, Of::Kverityd),
            None => now + self.dispatch(io, way, Of::Dispatch),
        };
        let cpu = arrival.complete_cpu;
        let softirq = &mut self.all[usize::from(cpu)].softirq;
        softirq.works.push_back(io);
        // Softirqs that wait for ksoftirqd also run on the way out of the next interrupt.
        let comes_first =
            softirq.waits_for_thread && way == Way::Softirq && begins_at < softirq.next_at;
        if softirq.is_raised && !comes_first {
            return;
        }
        softirq.is_raised = true;
        softirq.way = Some(way);
        softirq.waits_for_thread = way == Way::Ksoftirqd;
        self.restart(cpu, begins_at);
    }

    /// How long its verification takes to begin where the worker is idle: as long as it did, or by chance.
    fn dispatch(&self, io: u32, way: Way, of: Of) -> u64 {
        let again = self.trace.again(io).map(|wait| (Way::Kverityd, wait));
        let own = match way {
            Way::Kverityd => again.or_else(|| self.trace.dispatch(io)),
            _ => self.trace.dispatch(io),
        };
        let own = own.and_then(|own| self.costs.dispatch_of(way, own));
        own.unwrap_or_else(|| self.costs.dispatch(way, self.chance(io, of)))
    }

    /// When the task that completed this one maps its next I/O, if it does so before ksoftirqd has the CPU. Then kverityd is
    /// woken to prefetch for that one, has the CPU at once, and runs BH when it lets go of the lock of the cache
    /// (`dm_bufio_unlock`, drivers/md/dm-bufio.c: `spin_unlock_bh` where a client may not sleep).
    fn next_map(&mut self, io: u32, way: Way, now: u64) -> Option<u64> {
        if way != Way::Ksoftirqd {
            return None;
        }
        let arrival = self.arrival(io);
        let keeps_several = self.trace.keeps_several(arrival.submitter);
        let tasks = 1 + self.all[usize::from(arrival.complete_cpu)].tasks;
        let chance = self.chance(io, Of::GoesOn);
        if !self.costs.goes_on(keeps_several, tasks, chance) {
            return None;
        }
        let mut followers = self.trace.followers(io, After::Finish);
        let (next, gap) = followers.find(|(_, gap)| *gap <= RUNS_NS)?;
        if let Some(previous) = self.trace.previous(next)
            && self.flights[previous as usize].step < Step::Mapped
        {
            return None;
        }
        self.follow(io, After::Finish, now, now);
        self.flights[io as usize].is_followed = true;
        Some(now.saturating_add(gap))
    }

    /// Softirqs begin to run, with all of their time.
    fn restart(&mut self, cpu: u16, at: u64) {
        let softirq = &mut self.all[usize::from(cpu)].softirq;
        softirq.began_at = at;
        softirq.restarts = 0;
        self.call(cpu, at);
    }

    /// The BH worker begins, with all of its time.
    fn call(&mut self, cpu: u16, at: u64) {
        let softirq = &mut self.all[usize::from(cpu)].softirq;
        softirq.called_at = at;
        softirq.done = 0;
        self.plan_softirq(cpu, at);
    }

    fn plan_softirq(&mut self, cpu: u16, at: u64) {
        let softirq = &mut self.all[usize::from(cpu)].softirq;
        softirq.next_at = at;
        softirq.turn = softirq.turn.wrapping_add(1);
        let turn = softirq.turn;
        self.plan(at, Event::Softirq { cpu, turn });
    }

    /// The BH worker begins with a work.
    fn softirq(
        &mut self,
        cpu: u16,
        turn: u32,
        now: u64,
        tally: &mut Tally,
    ) -> Option<(u32, Placement, u64)> {
        let server = &mut self.all[usize::from(cpu)];
        let softirq = &mut server.softirq;
        if softirq.turn != turn {
            return None;
        }
        if server.taken_until > now {
            let until = server.taken_until;
            self.plan_softirq(cpu, until);
            return None;
        }
        softirq.waits_for_thread = false;
        let Some(&io) = softirq.works.front() else {
            softirq.is_raised = false;
            return None;
        };
        if softirq.done >= WORKS || now.saturating_sub(softirq.called_at) >= BUDGET_NS {
            self.leave_or_call(io, cpu, now);
            return None;
        }
        softirq.works.pop_front();
        softirq.done += 1;
        let way = softirq.way.unwrap_or(Way::Softirq);
        let is_cold = self.is_cold(io, now);
        let took = if !is_cold && self.interrupts_kverityd(cpu, way, now) {
            self.costs.verify_meanwhile(self.arrival(io))
        } else {
            self.attempted(io, is_cold)
        };
        let flight = &mut self.flights[io as usize];
        flight.wait = Some(now - flight.completed_at);
        let ends_at = now + took;
        tally.add_softirq(cpu, took);
        self.take(cpu, now, ends_at);
        self.plan_softirq(cpu, ends_at + self.costs.hand_over(way));
        if is_cold {
            self.plan(ends_at, Event::Requeue(io));
            return None;
        }
        let placement = match self.facts.era {
            Era::Tasklet => Placement::Tasklet,
            _ => Placement::Bh,
        };
        Some((io, placement, ends_at))
    }

    /// Whether a softirq has interrupted the CPU's worker of kverityd; ksoftirqd does not, which is a thread with less right to the CPU.
    fn interrupts_kverityd(&self, cpu: u16, way: Way, now: u64) -> bool {
        let running = self.all[usize::from(cpu)].running;
        let runs = running.is_some_and(|(_, ends_at)| ends_at > now);
        runs && way == Way::Softirq && !self.facts.is_unbound
    }

    /// The BH worker has had its time: it is called again, unless softirqs have had theirs, which wakes ksoftirqd.
    fn leave_or_call(&mut self, io: u32, cpu: u16, now: u64) {
        let softirq = &mut self.all[usize::from(cpu)].softirq;
        softirq.restarts += 1;
        let is_over =
            softirq.restarts >= RESTARTS || now.saturating_sub(softirq.began_at) >= BUDGET_NS;
        if is_over {
            softirq.waits_for_thread = true;
            let wakes = self
                .costs
                .dispatch(Way::Ksoftirqd, self.chance(io, Of::Thread));
            self.restart(cpu, now + wakes);
        } else {
            self.call(cpu, now);
        }
    }

    /// Queues it on kverityd.
    fn queue(&mut self, io: u32, now: u64) {
        let worker = self.worker_for(self.arrival(io).complete_cpu);
        let wakes = self.dispatch(io, Way::Kverityd, Of::Kverityd);
        let arrival = self.arrival(io);
        let cpu = &self.all[usize::from(arrival.complete_cpu)];
        let from = if arrival.completion == Completion::Task || self.costs.knows_kverityd() {
            now
        } else {
            cpu.submits_until.max(now)
        };
        let server = &mut self.all[usize::from(worker)];
        server.works.push_back(io);
        if !server.is_awake {
            server.is_awake = true;
            self.plan(from + wakes, Event::Kverityd(worker));
        }
    }

    /// Who takes what this CPU queues: its own worker, or, where any may, the one with least to do.
    fn worker_for(&self, cpu: u16) -> u16 {
        if !self.facts.is_unbound {
            return cpu;
        }
        let workers = (0..).zip(&self.all[..self.facts.cpus]);
        let load = |server: &Server| server.works.len() + usize::from(server.is_awake);
        let least = workers.min_by_key(|(_, server)| load(server));
        least.map_or(0, |(worker, _)| worker)
    }

    /// A worker of kverityd begins with a work.
    fn work(&mut self, worker: u16, now: u64) {
        let server = &mut self.all[usize::from(worker)];
        if !self.facts.is_unbound && server.taken_until > now {
            let until = server.taken_until;
            self.plan(until, Event::Kverityd(worker));
            return;
        }
        if server.running.is_some() {
            // One that a hash block had been read for came first.
            return;
        }
        let Some(io) = server.works.pop_front() else {
            server.is_awake = false;
            return;
        };
        let stalled_until = self.stalled_until(io);
        if stalled_until > now {
            self.all[usize::from(worker)].works.push_front(io);
            self.plan(stalled_until, Event::Kverityd(worker));
            return;
        }
        let flight = &mut self.flights[io as usize];
        let waited = now - flight.completed_at;
        flight.wait.get_or_insert(waited);
        let completed_at = flight.completed_at;
        let arrival = self.arrival(io);
        // Softirqs that hashed slowly did so with the option.
        let interruption = if arrival.option && !self.has_option(arrival) {
            self.trace.interruption(io)
        } else {
            0
        };
        let read_after = self.costs.read_after(arrival, self.is_attempted(io));
        let read_at =
            read_after.map(|after| completed_at.saturating_add(after.saturating_sub(interruption)));
        if let Some(read_at) = read_at.filter(|&it| it > now) {
            // Meanwhile another worker goes on with the queue.
            self.plan(read_at, Event::Read { io, worker });
            self.go_on(worker, now);
            return;
        }
        let computes = if read_at.is_some() {
            self.costs.hashes_cold(arrival)
        } else {
            let took = self.costs.verify(arrival, false);
            let least = took.min(self.costs.warm(arrival));
            took.saturating_sub(interruption).max(least)
        };
        let ends_at = now.saturating_add(computes);
        let server = &mut self.all[usize::from(worker)];
        server.running = Some((io, ends_at));
        server.verified = server.verified.saturating_add(computes);
        self.plan(ends_at, Event::Done(worker));
    }

    /// A worker of kverityd is done with a work, or waits: the next one begins.
    fn go_on(&mut self, worker: u16, now: u64) {
        let server = &mut self.all[usize::from(worker)];
        if server.works.is_empty() {
            server.is_awake = false;
        } else {
            let hand_over = self.costs.hand_over(Way::Kverityd);
            self.plan(now.saturating_add(hand_over), Event::Kverityd(worker));
        }
    }

    /// The hash block is there that a worker of kverityd waited for: that one goes on before the others.
    fn read(&mut self, io: u32, worker: u16, now: u64) {
        let server = &mut self.all[usize::from(worker)];
        server.works.push_front(io);
        server.is_awake = true;
        if server.running.is_none() {
            self.plan(now, Event::Kverityd(worker));
        }
    }

    /// Until when the cache makes kverityd wait with this one, if it did and is locked as it was.
    fn stalled_until(&self, io: u32) -> u64 {
        let arrival = self.arrival(io);
        let stall = self.trace.stall(io);
        if stall == 0 || arrival.option || self.has_option(arrival) {
            return 0;
        }
        self.flights[io as usize].completed_at.saturating_add(stall)
    }

    /// A worker of kverityd is done with its work.
    fn done(&mut self, worker: u16, now: u64) -> Option<(u32, Placement, u64)> {
        let server = &mut self.all[usize::from(worker)];
        let (io, ends_at) = server.running?;
        if ends_at > now {
            self.plan(ends_at, Event::Done(worker));
            return None;
        }
        server.running = None;
        self.go_on(worker, now);
        let placement = if self.is_attempted(io) {
            Placement::Fallback
        } else {
            Placement::Kverityd
        };
        Some((io, placement, now))
    }
}

/// What a chance is for.
#[derive(Clone, Copy)]
enum Of {
    Dispatch = 1,
    Kverityd = 2,
    Thread = 3,
    GivesWay = 4,
    GoesOn = 5,
}
