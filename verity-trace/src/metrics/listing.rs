//! The catalogue for readers: `docs/metrics.md`, and a list for what checks dashboards.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{BOUNDS_NS, CATALOGUE, Kind, Limits};

/// What stands above the table.
const INTRODUCTION: &str = "\
# Metrics

`verity-trace export --format openmetrics` prints these, and `--format prometheus` the same in Prometheus' own text
format, which node_exporter reads from files. This page is made from the catalogue in
`verity-trace/src/metrics/catalogue.rs` (`cargo xtask schema`).

- Counters and histograms begin at 0 when tracing begins: a restart is a reset, which `rate` and `increase` know.
- A series that is absent is unknown or does not apply. It does not mean 0. What can happen on this kernel and has not
  is 0, in the counters by placement.
- Words in labels are those of [the JSON documents](../dashboards/README.md), which say what each means.
- `device` is the device-mapper name. Characters that a terminal would obey are written out, as `\\u{1b}`, before quotes
  and backslashes are escaped as the format has it.
- Histograms are classic ones, in text: the bounds of native histograms, powers of two of a second and their roots, are no
  bounds of what is counted, which is equal parts of powers of two of a nanosecond, so that their counts would be guesses.
- What a device that is gone has counted moves to `device=\"other\"` in one step, which is no rate of anything. Rates are
  of `device!=\"other\"`; sums of counts are of all.
";

/// The page about all metrics.
#[must_use]
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    let limits = Limits::default();
    let bounds = BOUNDS_NS.map(seconds);
    // Memory takes whatever is written to it.
    let _ = write!(
        page,
        "- At most {} devices (`--max-devices`) and {} CPUs have series of their own. Further ones are added up in\n  \
         `device=\"other\"` and `cpu=\"other\"`, as are devices that are gone, and those whose name is `other` or is \
         written like that of\n  another one. `verity_trace_devices_folded` says how many devices are. A host with 64 \
         devices has less than 20,000 series.\n\
         - Histograms have a bucket without a bound, and buckets up to these seconds, so that 2 ms, which a softirq \
         may take, is one:\n  {}.\n\n\
         | metric | kind | labels | meaning |\n|---|---|---|---|\n",
        limits.devices,
        limits.cpus,
        bounds.join(", "),
    );
    for metric in CATALOGUE {
        let labels: Vec<_> = metric.labels.iter().map(|it| format!("`{it}`")).collect();
        // As above.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind.name(),
            labels.join(", "),
            metric.help
        );
    }
    page
}

/// Every metric as a JSON document, with the names that its series have.
#[must_use]
pub fn json() -> Value {
    let metrics = CATALOGUE.iter().map(|metric| {
        let series: Vec<_> = match metric.kind {
            Kind::Histogram => ["_bucket", "_sum", "_count"].into(),
            _ => vec![""],
        };
        let series = series
            .iter()
            .map(|suffix| format!("{}{suffix}", metric.name));
        json!({
            "name": metric.name,
            "kind": metric.kind.name(),
            "unit": metric.unit,
            "labels": metric.labels,
            "help": metric.help,
            "series": series.collect::<Vec<_>>(),
        })
    });
    json!({ "metrics": metrics.collect::<Vec<_>>() })
}

fn seconds(ns: u64) -> String {
    format!("{}", ns as f64 / 1e9)
}
