//! What the model says that replays I/Os one by one: its settings against the one that was recorded.

use super::effect::{Effect, MATTERS};
use crate::format;
use crate::snapshot::IoClass;
use crate::what_if::{Forecast, Outcome, Setting, Unknown};

/// Deviations that an interval of 95 % has to each side.
const DEVIATIONS: f64 = 1.96;

/// A setting that was replayed.
#[derive(Clone, Copy, Debug)]
pub struct Replayed<'a> {
    /// The setting.
    pub setting: Setting,
    /// What becomes of the load.
    pub outcome: &'a Outcome,
    /// How the mean `total` changes against the recorded setting, both through the model.
    pub effect: Effect,
    /// The same without the error.
    pub middle: f64,
}

impl Replayed<'_> {
    /// Whether it is faster by what matters rather than not.
    pub fn is_rather_gain(&self) -> bool {
        self.middle <= -MATTERS
    }

    /// The same where it is the best of so many: among these one seems better than it is more often than a single one does.
    ///
    /// Of `n` normal errors none is beyond `sqrt(z^2 + 2 ln n)` deviations more often than a single one beyond `z`.
    fn chosen_of(mut self, candidates: usize) -> Self {
        let wider = (2.0 * (candidates as f64).ln() / (DEVIATIONS * DEVIATIONS) + 1.0).sqrt();
        let from_middle = |end: f64| self.middle + (end - self.middle) * wider;
        self.effect = Effect {
            best: from_middle(self.effect.best),
            worst: self.effect.worst.map(from_middle),
        };
        self
    }
}

/// Every setting that was replayed.
pub fn all(forecast: &Forecast) -> impl Iterator<Item = Replayed<'_>> {
    let own = forecast.own.total.mean.value.max(1.0);
    forecast
        .settings
        .iter()
        .map(move |(setting, outcome)| Replayed {
            setting: *setting,
            outcome,
            effect: Effect {
                best: outcome.change.low / own,
                worst: Some(outcome.change.high / own),
            },
            middle: outcome.change.value / own,
        })
}

/// Whether processes wait for each other, of which the model knows too little.
pub fn shares_cpus(forecast: &Forecast) -> bool {
    let mut unknown = forecast.unknown.iter();
    unknown.any(|it| matches!(it, Unknown::Interleaved(_)))
}

/// The one with the option on or off and the limits of now.
pub fn switched(forecast: &Forecast, on: bool, limits: Option<[u64; 4]>) -> Option<Replayed<'_>> {
    let mut all = all(forecast);
    all.find(|it| it.setting.option == on && it.setting.use_bh_bytes == limits)
}

/// The best of those with other limits, none above this one, with the interval of one that was chosen; of those that are as good, the
/// lowest. Absent where not even it is a gain, of which half is counted on: the best of several seems better than it is.
pub fn limited(forecast: &Forecast, now: [u64; 4], most: u64) -> Option<(Replayed<'_>, [u64; 4])> {
    let candidates = all(forecast).filter_map(|it| {
        let limits = it.setting.use_bh_bytes.filter(|&limits| limits != now)?;
        let is_low = limits[IoClass::BestEffort as usize] <= most;
        (it.setting.option && is_low).then_some((it, limits))
    });
    let candidates: Vec<_> = candidates.collect();
    let count = candidates.len();
    let best = candidates.into_iter().min_by(|(a, lower), (b, higher)| {
        let by_change = a.middle.total_cmp(&b.middle);
        by_change.then_with(|| lower.cmp(higher))
    });
    let (best, limits) = best.filter(|(it, _)| it.middle / 2.0 <= -MATTERS)?;
    Some((best.chosen_of(count), limits))
}

/// What a recording did not tell the model, in words.
pub fn unknown(unknown: Unknown) -> String {
    match unknown {
        Unknown::KverityDispatch => "how long kverityd takes to begin with nobody ahead".to_owned(),
        Unknown::BhDispatch => {
            "how long the BH workqueue takes to begin after an interrupt".to_owned()
        }
        Unknown::KsoftirqdDispatch => "how long ksoftirqd takes to begin".to_owned(),
        Unknown::InlineDispatch => {
            "how long a completion takes to begin a verification itself".to_owned()
        }
        Unknown::HandOver => {
            "how long a worker of kverityd takes from one verification to the next".to_owned()
        }
        Unknown::SoftirqCost => {
            "how much longer a verification takes in softirq than on kverityd".to_owned()
        }
        Unknown::ColdCache => "which I/Os would find a hash block missing".to_owned(),
        Unknown::AttemptCost => "how long an attempt takes until it gives up".to_owned(),
        Unknown::NeedResched => {
            "how often a CPU has another task to run when an I/O completes".to_owned()
        }
        Unknown::Submission => {
            "how long a task takes from mapping an I/O until its device has it".to_owned()
        }
        Unknown::Prefetch => "how long kverityd takes to prefetch hash blocks".to_owned(),
        Unknown::CompletionContext => "in which context I/Os were completed".to_owned(),
        Unknown::RealTime => "how this kernel orders its threads, with PREEMPT_RT".to_owned(),
        Unknown::Sampled(one_in) => format!("I/Os without a record: one in {one_in} has one"),
        Unknown::Earlier(ios) => {
            format!("{ios} I/Os from before limits or the table changed")
        }
        Unknown::Interleaved(permille) => format!(
            "how processes wait for each other where they share a CPU, as {} of the I/Os do: that can turn a gain into a loss, \
             and `verity-trace tune` measures it",
            format::percentage(Some(permille as f64 / 1_000.0)),
        ),
        Unknown::Incomplete(permille) => {
            format!("the {permille} in a thousand I/Os that were not seen whole")
        }
    }
}
