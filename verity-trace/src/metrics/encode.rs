//! Expositions of what was gathered, as prometheus-client writes them.

use std::borrow::Cow;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::gather::{BOUNDS_NS, Families, Samples, Value, buckets};
use super::{Kind, Metric};

/// The `Content-Type` of OpenMetrics.
pub const OPENMETRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The `Content-Type` of Prometheus' own text format.
pub const TEXT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// Written as OpenMetrics.
pub fn openmetrics(families: Families) -> String {
    let mut written = String::new();
    // Memory takes whatever is written to it.
    let _ = text::encode(&mut written, &registry(families));
    written
}

/// Written in Prometheus' own text format.
pub fn text(families: Families) -> String {
    let mut written = String::new();
    // As above.
    let _ = prometheus_text::encode(&mut written, &registry(families));
    written
}

fn registry(families: Families) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(families));
    registry
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (metric, samples) in &self.0 {
            let unit = metric.unit.map(|unit| Unit::Other(unit.to_owned()));
            let encoder = encoder.encode_descriptor(
                metric.stem(),
                metric.help,
                unit.as_ref(),
                metric.kind.into(),
            )?;
            metric.encode(samples, encoder)?;
        }
        Ok(())
    }
}

impl Metric {
    /// The name without what the library adds to it.
    pub(super) fn stem(&self) -> &'static str {
        let name = self.name.strip_suffix(self.kind.suffix());
        let name = name.unwrap_or(self.name);
        let stem = self
            .unit
            .and_then(|unit| name.strip_suffix(unit)?.strip_suffix('_'));
        stem.unwrap_or(name)
    }

    fn encode(&self, samples: &Samples, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (labels, value) in samples.series() {
            let labels: Vec<_> = self
                .labels
                .iter()
                .copied()
                .zip(labels.iter().map(Cow::as_ref))
                .collect();
            if *value == Value::Info {
                encoder.encode_info(&labels)?;
                continue;
            }
            let mut encoder = encoder.encode_family(&labels)?;
            match value {
                Value::Count(count) => encoder.encode_counter::<NoLabelSet, _, u64>(count, None)?,
                Value::Time(ns) => {
                    encoder.encode_counter::<NoLabelSet, _, u64>(&seconds(*ns), None)?;
                }
                Value::Number(number) | Value::Highest(number) => encoder.encode_gauge(number)?,
                Value::Histogram(durations) => {
                    let bounds = BOUNDS_NS.into_iter().map(seconds).chain([f64::INFINITY]);
                    let buckets: Vec<_> = bounds.zip(buckets(durations)).collect();
                    let sum = seconds(durations.sum().0);
                    encoder.encode_histogram::<NoLabelSet>(
                        sum,
                        durations.count(),
                        &buckets,
                        None,
                    )?;
                }
                Value::Info => {}
            }
        }
        Ok(())
    }
}

impl From<Kind> for MetricType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter,
            Kind::Gauge => Self::Gauge,
            Kind::Info => Self::Info,
            Kind::Histogram => Self::Histogram,
        }
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
