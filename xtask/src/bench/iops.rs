//! fio's IOPS with and without tracing, by the clock of an emulated machine.

use std::iter;

use anyhow::{Context, Result};
use serde_json::Value;

use super::results::Results;
use crate::setup::Kernel;

/// How many pairs of runs; the median is of their ratios.
pub const PAIRS: usize = 11;

/// The median of the pairs' ratios, and the smallest and largest.
pub fn ratio(results: &Results) -> Result<[f64; 3]> {
    let iops = |run: String| -> Result<f64> {
        let report: Value = serde_json::from_str(&results.read(&format!("{run}.fio"))?)?;
        report["jobs"][0]["read"]["iops"]
            .as_f64()
            .with_context(|| format!("fio's report of {run}"))
    };
    let ratio =
        |pair: usize| Ok(iops(format!("traced-{pair}"))? / iops(format!("untraced-{pair}"))?);
    let mut ratios = (1..=PAIRS).map(ratio).collect::<Result<Vec<f64>>>()?;
    ratios.sort_by(f64::total_cmp);
    Ok([ratios[PAIRS / 2], ratios[0], ratios[PAIRS - 1]])
}

pub fn table(rows: &[(Kernel, [f64; 3])]) -> String {
    let header = format!(
        "IOPS traced by untraced: {PAIRS} alternating pairs, 4 KiB random reads at depth 8, emulated\n\
         kernel  median  smallest  largest\n"
    );
    let lines = rows.iter().map(|(kernel, [median, smallest, largest])| {
        let kernel = kernel.name();
        format!("{kernel:<8}{median:>6.3}{smallest:>10.3}{largest:>9.3}\n")
    });
    iter::once(header).chain(lines).collect()
}
