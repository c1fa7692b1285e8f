//! How long each stage took by placement: histograms on one logarithmic axis, with their percentiles.

use maud::{Markup, html};
use verity_trace_ebpf::slot::{LIMIT_NS, LOWEST_NS};

use super::heat_map::{anchor, percent};
use super::scale::{ACROSS, Log, label};
use crate::format;
use crate::histogram::{Bucket, Histogram, Nanos};
use crate::snapshot::{Placement, Stage, Totals, stage_name};

/// The percentiles that are marked and tabulated.
const MARKED: [(u64, &str); 4] = [(500, "p50"), (900, "p90"), (990, "p99"), (1_000, "max")];

/// Slots that a bar stands for.
const SLOTS: usize = 4;

/// The axis that has all of these on it; absent when there are none.
pub fn axis<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Option<Log> {
    let edges = histograms.flat_map(Histogram::buckets).map(edges);
    let (shortest, longest) = edges.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))?;
    Some(Log::over(shortest, longest))
}

/// All histograms of these totals.
pub fn histograms(totals: &Totals) -> impl Iterator<Item = &Histogram> {
    let placements = totals.placements.values();
    placements.flat_map(|these| these.stages.values())
}

/// A table with a row for each stage of each placement.
pub fn by_placement(totals: &Totals, axis: Log) -> Markup {
    let stages = |placement| {
        let these = totals.placements.get(&placement)?;
        let stages = Stage::ALL.into_iter();
        let found = stages.filter_map(|stage| Some((stage_name(stage), these.stages.get(&stage)?)));
        Some((Placement::name(placement), found.collect::<Vec<_>>()))
    };
    let groups = Placement::ALL.into_iter().filter_map(stages);
    let groups: Vec<_> = groups.filter(|(_, stages)| !stages.is_empty()).collect();
    table("stage", &groups, axis)
}

/// A table of groups of histograms, each of both with its name.
pub fn table(of: &str, groups: &[(&str, Vec<(&str, &Histogram)>)], axis: Log) -> Markup {
    html! {
        table.stages role="table" {
            thead role="rowgroup" { tr role="row" {
                th role="columnheader" scope="col" { (of) }
                th.picture role="columnheader" scope="col" {
                    span.hidden { "distribution" }
                    svg.axis width="100%" height="16" aria-hidden="true" {
                        @for tick in axis.ticks(ACROSS) {
                            @let at = axis.at(tick);
                            text x=(percent(at)) y="12" text-anchor=(anchor(at)) { (label(tick)) }
                        }
                    }
                }
                th role="columnheader" scope="col" { "count" }
                @for (_, name) in MARKED { th role="columnheader" scope="col" { (name) } }
            } }
            @for (group, rows) in groups {
                tbody role="rowgroup" {
                    @for (row, (name, histogram)) in rows.iter().enumerate() {
                        tr role="row" {
                            th role="rowheader" scope="row" {
                                @if row == 0 { b { (group) } } @else { span.hidden { (group) } }
                                " " (name)
                            }
                            td.picture role="cell" { (picture(histogram, axis)) }
                            td role="cell" { (histogram.count()) }
                            @for (permille, _) in MARKED {
                                td role="cell" { (format::percentile(histogram.percentile(permille))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A histogram as bars, with lines at its percentiles; the numbers beside it are its text.
fn picture(histogram: &Histogram, axis: Log) -> Markup {
    let at = |ns| axis.at(ns) * 1_000.0;
    html! {
        svg.histogram width="100%" height="26" viewBox="0 0 1000 26" preserveAspectRatio="none"
            aria-hidden="true" {
            @for tick in axis.ticks(ACROSS) {
                line.grid x1=(format!("{:.0}", at(tick))) x2=(format!("{:.0}", at(tick))) y1="0" y2="26" {}
            }
            path.bars d=(bars(histogram, axis)) {}
            @for (permille, name) in MARKED {
                @if let Some(x) = histogram.percentile(permille).map(at) {
                    line class=(name) x1=(format!("{x:.1}")) x2=(format!("{x:.1}")) y1="0" y2="26" {}
                }
            }
        }
    }
}

/// A bar for some slots each, as high as they count for an equal part of the axis; none is invisible.
fn bars(histogram: &Histogram, axis: Log) -> String {
    let mut bars: Vec<(Nanos, Nanos, u64)> = Vec::new();
    for bucket in histogram.buckets() {
        let (from, to) = edges(bucket);
        let (from, to) = around(from, to);
        match bars.last_mut() {
            Some(last) if last.0 == from => last.2 += bucket.count,
            _ => bars.push((from, to, bucket.count)),
        }
    }
    let density = |&(from, to, count): &(Nanos, Nanos, u64)| {
        let octaves = (to.0 as f64 / from.0 as f64).log2();
        count as f64 / octaves
    };
    let most = bars.iter().map(density).fold(0.0, f64::max);
    let bar = |bar: &(Nanos, Nanos, u64)| {
        let (left, right) = (axis.at(bar.0) * 1_000.0, axis.at(bar.1) * 1_000.0);
        let height = (density(bar) / most * 25.0).max(1.0);
        format!("M{left:.1} 26V{:.1}H{right:.1}V26z", 26.0 - height)
    };
    bars.iter().map(bar).collect()
}

/// The durations of the slots that share a bar with these.
fn around(from: Nanos, to: Nanos) -> (Nanos, Nanos) {
    if from.0 < LOWEST_NS || from.0 >= LIMIT_NS {
        return (from, to);
    }
    let octave = 1u64 << from.0.ilog2();
    let step = octave / 16 * SLOTS as u64;
    let start = octave + (from.0 - octave) / step * step;
    (Nanos(start), Nanos(start + step))
}

/// Where a bucket begins and ends; half an octave of the ones without a bound.
fn edges(bucket: Bucket) -> (Nanos, Nanos) {
    let lower = bucket.lower.0.max(LOWEST_NS / 2);
    let upper = bucket.upper.map_or(LIMIT_NS * 2, |upper| upper.0);
    (Nanos(lower), Nanos(upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_high_as_what_an_equal_part_of_the_axis_counts() {
        // Of the four bars of an octave the first is wider than the last.
        let values = [1_024, 1_279, 1_792, 2_047].map(Nanos);
        let histogram = Histogram::from_values(values);
        let axis = axis([&histogram].into_iter()).expect("an axis");
        let bars = bars(&histogram, axis);
        let heights: Vec<_> = bars.split('M').skip(1).collect();
        assert_eq!(heights.len(), 2, "{bars}");
        assert!(heights[1].contains("V1.0H"), "the highest: {bars}");
        assert!(!heights[0].contains("V1.0H"), "{bars}");
    }

    #[test]
    fn what_is_past_the_slots_is_drawn_too() {
        let histogram = Histogram::from_values([0, u64::MAX].map(Nanos));
        let axis = axis([&histogram].into_iter()).expect("an axis");
        assert_eq!(bars(&histogram, axis).matches('M').count(), 2);
        assert_eq!(super::axis(std::iter::empty()), None);
    }
}
