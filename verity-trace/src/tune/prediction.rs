//! What the model said of the other setting, before anything was changed.

use super::{Settings, Side};
use crate::what_if::{Distribution, Estimate, Forecast};

/// What was predicted, or why nothing was.
pub type Prediction = Result<Predicted, String>;

/// Means under both settings, both through the model, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Predicted {
    /// I/Os that it was predicted from.
    pub ios: u64,
    /// The stage `wait`, under A and B.
    pub wait: [Estimate; 2],
    /// The median of it.
    pub median_wait: [Estimate; 2],
    /// All of an I/O's life.
    pub total: [Estimate; 2],
    /// How much longer the mean `total` of B is.
    pub change: Estimate,
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
        let own = &forecast.own;
        let both = |own: Estimate, other: Estimate| match settings.found {
            Side::A => [own, other],
            Side::B => [other, own],
        };
        let means = |own: &Distribution, other: &Distribution| both(own.mean, other.mean);
        Ok(Self {
            ios: forecast.measured.ios,
            wait: means(&own.wait, &outcome.wait),
            median_wait: both(own.wait.median, outcome.wait.median),
            total: means(&own.total, &outcome.total),
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
        let part = |ns: f64| ns / self.total[0].value.max(1.0);
        Estimate {
            value: part(self.change.value),
            low: part(self.change.low),
            high: part(self.change.high),
        }
    }
}
