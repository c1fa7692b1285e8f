//! The metrics for Prometheus: one catalogue, from which expositions, `docs/metrics.md` and the list of names for
//! dashboards are made.
//!
//! Values are of one snapshot. Counters and histograms begin at 0 when tracing begins, so a restart is a counter's
//! reset, which `rate` and `increase` know. What is unknown has no series; 0 is a count.

mod catalogue;
mod encode;
mod gather;
mod listing;

use crate::recommend::Advice;
use crate::snapshot::Snapshot;

pub use catalogue::CATALOGUE;
pub use encode::{OPENMETRICS_TYPE, TEXT_TYPE};
pub use gather::{BOUNDS_NS, OTHER};
pub use listing::{json, markdown};

use gather::{Families, Of};

/// A metric of the catalogue.
#[derive(Debug)]
pub struct Metric {
    /// The name, as queries have it; a histogram's without `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    /// What kind of metric it is.
    pub kind: Kind,
    /// The unit, which is part of the name.
    pub unit: Option<&'static str>,
    /// The labels, in the order in which series have them.
    pub labels: &'static [&'static str],
    /// What it means, on one line.
    pub help: &'static str,
    /// What of a snapshot it is.
    of: Of,
}

/// What kind of metric something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until tracing begins anew.
    Counter,
    /// What is at this moment.
    Gauge,
    /// Always 1: what it says is in its labels.
    Info,
    /// A classic histogram, with the bounds of [`BOUNDS_NS`].
    Histogram,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Info => "info",
            Self::Histogram => "histogram",
        }
    }

    /// How the names of such metrics end.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }
}

/// How many have series of their own; further ones share those of [`OTHER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Devices, the lowest numbers first.
    pub devices: usize,
    /// CPUs.
    pub cpus: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            devices: 64,
            cpus: 256,
        }
    }
}

/// The exposition of a snapshot, and of what is advised from it, in the format OpenMetrics 1.0.
#[must_use]
pub fn openmetrics(snapshot: &Snapshot, advices: &[Advice], limits: &Limits) -> String {
    encode::openmetrics(Families::gather(snapshot, advices, limits))
}

/// The same in Prometheus' own text format, which `node_exporter` reads from files, and which knows no infos: they are
/// gauges there.
#[must_use]
pub fn text(snapshot: &Snapshot, advices: &[Advice], limits: &Limits) -> String {
    encode::text(Families::gather(snapshot, advices, limits))
}
