//! Runs every setting through the model, and finds how far it may be off.

use std::collections::BTreeSet;

use super::costs::{Bent, Costs, End, Knob, Learned};
use super::load::{Arrival, Load, Seen};
use super::outcome::{BLOCKS, Error, Outcome, Tally, Unexplained, Values};
use super::servers::Servers;
use super::trace::Trace;
use super::{Facts, Setting, Unknown};
use crate::snapshot::{Completion, Era, Placement};

/// I/Os that a prior's range is tried on, in so many pieces.
const TRIED: usize = 30_000;
const PIECES: usize = 3;
/// From so many in a thousand on it matters that processes submit by turns on a CPU.
const INTERLEAVED: u64 = 50;

/// A load, ready to be run.
pub(super) struct Model<'a> {
    load: &'a Load,
    facts: &'a Facts,
    seed: u64,
    learned: Learned,
    interleaved: u64,
    traces: Vec<Trace<'a>>,
    /// A part of the same, for what is tried often; empty where all of it is small enough.
    pieces: Vec<Trace<'a>>,
}

/// What becomes of the load.
pub(super) struct Outcomes {
    pub measured: Outcome,
    pub own: Outcome,
    pub settings: Vec<Outcome>,
}

/// The recorded setting, with nothing bent and with each end of each prior.
struct Own {
    tally: Tally,
    /// What the model is off, as a share.
    error: Error,
    tried: Values,
    bent: Vec<(Knob, End, Values)>,
}

impl<'a> Model<'a> {
    pub fn new(load: &'a Load, facts: &'a Facts, seed: u64) -> Self {
        let learned = Learned::from(load.spans(), facts);
        let costs = Costs::new(&learned, facts, None);
        let traces: Vec<_> = load.spans().map(|it| Trace::new(it, &costs)).collect();
        let all: usize = traces.iter().map(|it| it.arrivals.len()).sum();
        let pieces = if all <= TRIED {
            Vec::new()
        } else {
            pieces(&traces, &costs)
        };
        Self {
            load,
            facts,
            seed,
            learned,
            interleaved: load.interleaved(),
            traces,
            pieces,
        }
    }

    /// What is not known whatever the setting.
    pub fn unknown(&self) -> BTreeSet<Unknown> {
        let mut unknown = BTreeSet::new();
        if self.facts.is_real_time == Some(true) {
            unknown.insert(Unknown::RealTime);
        }
        if self.load.one_in() > 1 {
            unknown.insert(Unknown::Sampled(self.load.one_in()));
        }
        if self.load.earlier() > 0 {
            unknown.insert(Unknown::Earlier(self.load.earlier()));
        }
        let unseen = 1_000 * self.load.unseen() / (self.load.unseen() + self.load.ios()).max(1);
        if unseen > 0 {
            unknown.insert(Unknown::Incomplete(unseen));
        }
        if self.is_interleaved() {
            unknown.insert(Unknown::Interleaved(self.interleaved));
        }
        let mut arrivals = self.load.spans().flatten();
        if arrivals.any(|it| it.is_ours && it.completion == Completion::Unknown) {
            unknown.insert(Unknown::CompletionContext);
        }
        unknown
    }

    const fn is_interleaved(&self) -> bool {
        self.interleaved >= INTERLEAVED
    }

    const fn unexplained(&self) -> Unexplained {
        if self.is_interleaved() {
            Unexplained::Interleaved
        } else if self.learned.is_cold() {
            Unexplained::Cold
        } else {
            Unexplained::Usual
        }
    }

    /// Every setting; adds what turned out to matter of what is not known.
    pub fn outcomes(&self, settings: &[Setting], unknown: &mut BTreeSet<Unknown>) -> Outcomes {
        let measured = self.measured();
        let own = self.own(&measured);
        let measured = measured.outcome(None, self.seed);
        let mut recorded = own.tally.outcome(None, self.seed);
        recorded.widen(&own.error, &measured);
        let outcomes = settings.iter().map(|setting| {
            if *setting == self.load.recorded() {
                return recorded.clone();
            }
            let tally = self.run(&self.traces, setting, None);
            let mut error = own.error;
            let tried = self.try_out(setting, None);
            for (knob, end, own_bent) in &own.bent {
                let bent = self.try_out(setting, Some((*knob, *end)));
                if error.add(tried, bent, own.tried, *own_bent) {
                    unknown.insert(knob.unknown());
                }
            }
            let mut outcome = tally.outcome(Some(&own.tally), self.seed);
            outcome.widen(&error, &measured);
            if self.facts.era.can_attempt() {
                outcome.widen_other(&measured, self.unexplained());
            }
            outcome
        });
        let settings = outcomes.collect();
        Outcomes {
            own: recorded,
            measured,
            settings,
        }
    }

    /// The recorded setting.
    fn own(&self, measured: &Tally) -> Own {
        let recorded = self.load.recorded();
        let tally = self.run(&self.traces, &recorded, None);
        let error = Error::between(measured.values(), tally.values());
        let knobs = self.learned.knobs(self.facts).into_iter();
        let ends = knobs.flat_map(|knob| [(knob, End::Low), (knob, End::High)]);
        let bent = ends.map(|(knob, end)| (knob, end, self.try_out(&recorded, Some((knob, end)))));
        Own {
            bent: bent.collect(),
            tried: self.try_out(&recorded, None),
            tally,
            error,
        }
    }

    fn try_out(&self, setting: &Setting, bent: Bent) -> Values {
        let traces = if self.pieces.is_empty() {
            &self.traces
        } else {
            &self.pieces
        };
        self.run(traces, setting, bent).values()
    }

    fn run(&self, traces: &[Trace<'a>], setting: &Setting, bent: Bent) -> Tally {
        let costs = Costs::new(&self.learned, self.facts, bent);
        let mut tally = Tally::new();
        let all = ios(traces);
        let mut before = 0;
        for trace in traces {
            let servers = Servers::new(trace, &costs, self.facts, setting, self.seed);
            servers.run(&mut tally, |tally, finished| {
                let at = finished.io as usize;
                if trace.arrivals[at].is_ours {
                    let block = (before + at) * BLOCKS / all;
                    tally.add(block, finished.placement, finished.wait, finished.total);
                }
            });
            before += trace.arrivals.len();
        }
        tally
    }

    /// What was recorded.
    fn measured(&self) -> Tally {
        let mut tally = Tally::new();
        let all = ios(&self.traces);
        let mut before = 0;
        for trace in &self.traces {
            for (at, io) in trace.arrivals.iter().enumerate() {
                if io.is_ours {
                    let block = (before + at) * BLOCKS / all;
                    tally.add(block, self.placement(io), io.wait, io.total());
                }
                let took = match io.seen {
                    Seen::Kverityd => continue,
                    _ if io.seen.gave_up() => u64::from(io.attempt),
                    _ => io.verify,
                };
                if io.in_softirq() {
                    tally.add_softirq(io.complete_cpu, took);
                }
            }
            before += trace.arrivals.len();
            let first = trace.arrivals.first().map_or(0, |it| it.mapped_at);
            let last = trace.arrivals.iter().map(Arrival::finished_at).max();
            tally.add_duration(last.unwrap_or(0).saturating_sub(first));
        }
        tally
    }

    fn placement(&self, io: &Arrival) -> Placement {
        match io.seen {
            Seen::Kverityd => Placement::Kverityd,
            Seen::Softirq if self.facts.era == Era::Tasklet => Placement::Tasklet,
            Seen::Softirq => Placement::Bh,
            Seen::Inline => Placement::Inline,
            Seen::SoftirqGaveUp | Seen::InlineGaveUp => Placement::Fallback,
        }
    }
}

fn ios(traces: &[Trace<'_>]) -> usize {
    traces
        .iter()
        .map(|it| it.arrivals.len())
        .sum::<usize>()
        .max(1)
}

/// Evenly chosen pieces of a long load.
fn pieces<'a>(traces: &[Trace<'a>], costs: &Costs<'_>) -> Vec<Trace<'a>> {
    let length = TRIED / PIECES;
    let all = ios(traces);
    let starts = (0..PIECES).map(|it| it * (all - length) / (PIECES - 1));
    let piece = |start: usize| {
        let mut before = 0;
        for trace in traces {
            let count = trace.arrivals.len();
            if start < before + count {
                let from = (start - before).min(count.saturating_sub(length));
                let to = (from + length).min(count);
                return Some(Trace::new(&trace.arrivals[from..to], costs));
            }
            before += count;
        }
        None
    };
    starts.filter_map(piece).collect()
}
