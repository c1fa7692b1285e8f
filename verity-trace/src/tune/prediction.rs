//! What the model said of the other setting, before anything was changed.

use std::collections::BTreeMap;

use super::{Settings, Side};
use crate::snapshot::Stage;
use crate::what_if::{Distribution, Estimate, Forecast, Outcome};

/// What was predicted, or why nothing was.
pub type Prediction = Result<Predicted, String>;

/// What both settings come to, both through the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicted {
    /// I/Os that it was predicted from.
    pub ios: u64,
    /// Each stage that the model knows: the others are as they were recorded.
    pub stages: BTreeMap<Stage, Durations>,
    /// How much longer the mean `total` of B is, in nanoseconds.
    pub change: Estimate,
    /// Time in verifications in softirqs under A and B, as a part of each CPU's time. A CPU that has none is not in it.
    pub softirq: BTreeMap<usize, [f64; 2]>,
}

/// How long a stage takes under A and B, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Durations {
    /// The mean over all I/Os.
    pub mean: [Estimate; 2],
    /// The median of those that have the stage.
    pub median: [Estimate; 2],
}

impl Predicted {
    /// Of a forecast from the setting that was found, for the other one alone.
    pub fn of(forecast: &Forecast, settings: &Settings) -> Prediction {
        let other = settings.of(settings.found.other());
        let mut all = forecast.settings.iter();
        let outcome = all.find(|(setting, _)| *setting == other);
        let Some((_, outcome)) = outcome else {
            return Err("the model has nothing to say of this setting".to_owned());
        };
        let [a, b] = match settings.found {
            Side::A => [&forecast.own, outcome],
            Side::B => [outcome, &forecast.own],
        };
        let stages = [
            (Stage::Wait, Durations::of(&a.wait, &b.wait)),
            (Stage::Total, Durations::of(&a.total, &b.total)),
        ];
        let cpus = a.softirq.keys().chain(b.softirq.keys());
        let softirq = cpus.map(|&cpu| (usize::from(cpu), [a, b].map(|it| softirq(it, cpu))));
        Ok(Self {
            ios: forecast.measured.ios,
            stages: stages.into(),
            softirq: softirq.collect(),
            change: match settings.found {
                Side::A => outcome.change,
                Side::B => Estimate {
                    value: -outcome.change.value,
                    low: -outcome.change.high,
                    high: -outcome.change.low,
                },
            },
        })
    }

    /// The change of the mean `total` from A to B, as a part of it.
    #[must_use]
    pub fn relative(&self) -> Estimate {
        let total = self.stages.get(&Stage::Total);
        let part = |ns: f64| ns / total.map_or(1.0, |it| it.mean[0].value.max(1.0));
        Estimate {
            value: part(self.change.value),
            low: part(self.change.low),
            high: part(self.change.high),
        }
    }
}

impl Durations {
    fn of(a: &Distribution, b: &Distribution) -> Self {
        Self {
            mean: [a.mean, b.mean],
            median: [a.median, b.median],
        }
    }
}

/// The part of a CPU's time.
fn softirq(outcome: &Outcome, cpu: u16) -> f64 {
    let time = outcome.softirq.get(&cpu).map_or(0, |it| it.0);
    time as f64 / outcome.duration.0.max(1) as f64
}
