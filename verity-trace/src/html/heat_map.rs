//! How long I/Os took over the time of the recording: a heat map, and the same as a table.

use std::time::Duration;

use maud::{Markup, html};

use super::bins::{self, Bins, COLUMNS, PERIODS};
use super::gather::{Gathered, Mark};
use super::scale::{DOWN, Log, label, since};
use crate::escape;
use crate::format;
use crate::histogram::Nanos;

/// Pixels above the map, for what changed.
const ABOVE: f64 = 16.0;
/// Pixels of the map.
const HEIGHT: f64 = 200.0;
/// Pixels of both and of the axis below.
const WHOLE: f64 = ABOVE + HEIGHT + 20.0;
/// Shades of counts.
const SHADES: usize = 7;

/// The map, or that there is nothing to draw; `of` says which I/Os have records.
pub fn section(gathered: &Gathered, of: &str, start: u64) -> Markup {
    let bins = &gathered.bins;
    html! {
        section {
            h2 #over-time { "Total latency over time" }
            p.of { (of) }
            @if let Some((first, last)) = bins.rows() {
                (figure(gathered, first, last, start))
                (table(bins))
            }
            (changes(gathered, start))
        }
    }
}

fn figure(gathered: &Gathered, first: usize, last: usize, start: u64) -> Markup {
    let bins = &gathered.bins;
    let axis = Log::over(bins::edges(first).0, bins::edges(last).1);
    let y = |ns| ABOVE + (1.0 - axis.at(ns)) * HEIGHT;
    let shades = shades(bins.most());
    let ticks = axis.ticks(DOWN);
    let time = bins.time();
    html! {
        figure {
            div.chart role="img" aria-label=(alternative(gathered)) {
                svg.y width="60" height=(WHOLE) aria-hidden="true" {
                    @for &tick in &ticks {
                        text x="54" y=(px(y(tick) + 4.0)) text-anchor="end" { (label(tick)) }
                    }
                }
                svg.area width="100%" height=(WHOLE) aria-hidden="true" {
                    rect.frame x="0" y=(ABOVE) width="100%" height=(HEIGHT) {}
                    svg y=(ABOVE) width="100%" height=(HEIGHT) preserveAspectRatio="none"
                        viewBox=(format!("0 0 {COLUMNS} 1000")) {
                        @for (shade, _) in shades.iter().enumerate() {
                            path class=(format!("shade{}", darkness(shade, shades.len())))
                                d=(cells(bins, axis, &shades, shade)) {}
                        }
                    }
                    @for &tick in &ticks {
                        line.grid x1="0" x2="100%" y1=(px(y(tick))) y2=(px(y(tick))) {}
                    }
                    @for (at, numbers) in places(gathered) {
                        line.mark x1=(percent(at)) x2=(percent(at)) y1=(ABOVE - 2.0) y2=(ABOVE + HEIGHT) {}
                        text.mark x=(percent(at)) y=(ABOVE - 5.0) text-anchor=(anchor(at)) { (numbers) }
                    }
                    @for tick in time.ticks() {
                        @let at = tick.0 as f64 / time.span() as f64;
                        line.tick x1=(percent(at)) x2=(percent(at)) y1=(ABOVE + HEIGHT) y2=(ABOVE + HEIGHT + 4.0) {}
                        text x=(percent(at)) y=(WHOLE - 3.0) text-anchor=(anchor(at)) { (since(tick)) }
                    }
                }
            }
            figcaption {
                "Down: how long an I/O took (logarithmic). Across: when it finished, "
                (label(Nanos(time.span() / COLUMNS as u64))) " a cell"
                @if time.first() > start {
                    ", from " (format::span(Duration::from_nanos(time.first() - start))) " after the start on"
                }
                ". I/Os in a cell: "
                (legend(&shades, bins.most()))
            }
        }
    }
}

/// Rectangles of one shade, of a path: neighbours in a column are one.
fn cells(bins: &Bins, axis: Log, shades: &[u64], shade: usize) -> String {
    let mut path = String::new();
    for column in 0..COLUMNS {
        let mut run: Option<(usize, usize)> = None;
        let rows = bins.column(column);
        let rows = rows.filter(|&(_, count)| self::shade(shades, count) == shade);
        for (row, _) in rows {
            run = match run {
                Some((from, to)) if to + 1 == row => Some((from, row)),
                Some(done) => {
                    path.push_str(&rectangle(column, done, axis));
                    Some((row, row))
                }
                None => Some((row, row)),
            };
        }
        if let Some(done) = run {
            path.push_str(&rectangle(column, done, axis));
        }
    }
    path
}

fn rectangle(column: usize, (from, to): (usize, usize), axis: Log) -> String {
    let bottom = (1.0 - axis.at(bins::edges(from).0)) * 1_000.0;
    let top = (1.0 - axis.at(bins::edges(to).1)) * 1_000.0;
    format!("M{column} {top:.0}h1V{bottom:.0}h-1z")
}

/// The least count of every shade, the lightest first, each a multiple of the one before.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 1 and what it is a root of"
)]
fn shades(most: u64) -> Vec<u64> {
    let most = most.max(1) as f64;
    let step = |shade: usize| most.powf(shade as f64 / SHADES as f64).round();
    let mut least: Vec<_> = (0..SHADES).map(|shade| step(shade) as u64).collect();
    least.dedup();
    least
}

fn shade(shades: &[u64], count: u64) -> usize {
    shades
        .iter()
        .rposition(|&least| least <= count)
        .unwrap_or(0)
}

/// Which of all shades stands for one of so many.
const fn darkness(shade: usize, of: usize) -> usize {
    if of <= 1 {
        return SHADES - 1;
    }
    shade * (SHADES - 1) / (of - 1)
}

fn legend(shades: &[u64], most: u64) -> Markup {
    html! {
        span.legend {
            @for (at, &least) in shades.iter().enumerate() {
                @let greatest = shades.get(at + 1).map_or(most, |next| next - 1);
                span {
                    svg.key viewBox="0 0 10 10" aria-hidden="true" {
                        rect class=(format!("shade{}", darkness(at, shades.len()))) width="10" height="10" {}
                    }
                    (least) @if greatest > least { "–" (greatest) }
                }
                " "
            }
        }
    }
}

/// Where changes are drawn, with the numbers of those that would lie upon each other.
fn places(gathered: &Gathered) -> Vec<(f64, String)> {
    let mut places: Vec<(f64, String)> = Vec::new();
    for (number, mark) in (1..).zip(&gathered.marks) {
        let at = gathered.bins.time().at(mark.at);
        match places.last_mut() {
            Some((last, numbers)) if at - *last < 0.03 => {
                let first = numbers.split('–').next().unwrap_or_default();
                *numbers = format!("{first}–{number}");
            }
            _ => places.push((at, number.to_string())),
        }
    }
    places
}

fn changes(gathered: &Gathered, start: u64) -> Markup {
    html! {
        @if gathered.marks.is_empty() {
            p.of { "Neither devices nor limits changed meanwhile." }
        } @else {
            ol.marks {
                @for Mark { at, what } in &gathered.marks {
                    li {
                        "after " (format::span(Duration::from_nanos(at.saturating_sub(start)))) ": "
                        (escape::terminal(what))
                    }
                }
            }
            @if gathered.unmarked > 0 {
                p.of { "and " (gathered.unmarked) " more changes" }
            }
        }
    }
}

/// What who does not see the map should know of it.
fn alternative(gathered: &Gathered) -> String {
    let all = gathered.slowest.seen();
    let slowest = gathered.slowest.items().next();
    let slowest = slowest.map_or_else(String::new, |io| {
        format!("; the slowest took {}", format::duration(io.total))
    });
    format!(
        "Heat map of how long {all} I/Os took over time{slowest}. The table below has it in numbers."
    )
}

fn table(bins: &Bins) -> Markup {
    let part = |at: usize| {
        let ns = u128::from(bins.time().span()) * at as u128 / PERIODS as u128;
        format::span(Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX)))
    };
    html! {
        details {
            summary { "The map in numbers" }
            table.numbers {
                thead { tr {
                    th scope="col" { "after" } th scope="col" { "records" } th scope="col" { "p50" }
                    th scope="col" { "p99" } th scope="col" { "max" }
                } }
                tbody {
                    @for (at, period) in bins.periods().enumerate() {
                        tr {
                            th scope="row" { (part(at)) }
                            td { (period.count()) }
                            @for permille in [500, 990, 1_000] {
                                td { (format::percentile(period.percentile(permille))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Where a label is held, so that it does not leave its picture.
pub fn anchor(at: f64) -> &'static str {
    match at {
        ..0.05 => "start",
        0.95.. => "end",
        _ => "middle",
    }
}

/// A place on an axis of which nobody knows how long it will be.
pub fn percent(at: f64) -> String {
    format!("{:.2}%", at * 100.0)
}

fn px(at: f64) -> String {
    format!("{at:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_begin_at_one_and_grow() {
        let cases: [(u64, &[u64]); 4] = [
            (0, &[1]),
            (1, &[1]),
            (3, &[1, 2, 3]),
            (10_000_000, &[1, 10, 100, 1_000, 10_000, 100_000, 1_000_000]),
        ];
        for (most, expected) in cases {
            assert_eq!(shades(most), expected, "{most}");
        }
        let shades = shades(3);
        assert_eq!([1, 2, 3].map(|count| shade(&shades, count)), [0, 1, 2]);
        assert_eq!([0, 1, 2].map(|shade| darkness(shade, 3)), [0, 3, 6]);
    }
}
