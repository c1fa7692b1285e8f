//! The comparison as text for a terminal of 80 columns.

use std::io::{self, Write};
use std::time::Duration;

use super::side::DEVICES;
use super::{Comparison, Device, Row, Shift, Side, Statistic, Verdict, WRONG};
use super::{DRAWS, LEAST_INDEPENDENT, LEAST_INTERVALS, Unknown, alike};
use crate::format::{self, ABSENT};
use crate::histogram::{Histogram, Nanos};
use crate::snapshot::{Era, Placement, stage_name};
use crate::{escape, overview};

const WIDTH: usize = 80;

type Cell = fn(&Shift) -> String;

/// Writes what differs, then the verdicts, then all numbers.
pub fn text(comparison: &Comparison, out: &mut impl Write) -> io::Result<()> {
    for (at, label) in [(0, "A"), (1, "B")] {
        side(label, &comparison.names[at], &comparison.sides[at], out)?;
    }
    writeln!(out)?;
    differences(comparison, out)?;
    verdicts(comparison, out)?;
    for device in &comparison.devices {
        section(device, out)?;
    }
    writeln!(out)?;
    notes(comparison, out)
}

fn side(label: &str, name: &str, side: &Side, out: &mut impl Write) -> io::Result<()> {
    let read = &side.overview;
    let kernel = &read.snapshot.kernel;
    let (first, last) = read.pictures_ns;
    let mut text = format!(
        "{name}: Linux {}, era {}; recorded {}, {}; records: {}",
        kernel.release,
        kernel.era.map_or(ABSENT, Era::name),
        read.time(first),
        format::span(Duration::from_nanos(last.saturating_sub(first))),
        overview::records(read),
    );
    text = format!("{text}; loss {}", alike::loss(side));
    if let Some(cut) = read.condition.cut {
        text = format!("{text}; cut at byte {cut}");
    }
    if let Some(damage) = overview::damage(read.condition) {
        text = format!("{text}; damage: {damage}");
    }
    if side.uncompared > 0 {
        text = format!(
            "{text}; {} records are of devices beyond {DEVICES}, and not compared",
            side.uncompared
        );
    }
    if side.undecoded > 0 {
        text = format!("{text}; {} records make no I/O", side.undecoded);
    }
    paragraph(label, 3, &text, out)
}

/// Text from anywhere, behind a label, in lines that are not too long.
fn paragraph(label: &str, indent: usize, text: &str, out: &mut impl Write) -> io::Result<()> {
    let text = escape::terminal(text);
    let lines = format::wrap(&text, WIDTH - indent);
    for (row, line) in lines.iter().enumerate() {
        let label = if row == 0 { label } else { "" };
        writeln!(out, "{label:<indent$}{}", line.trim_end())?;
    }
    Ok(())
}

fn differences(comparison: &Comparison, out: &mut impl Write) -> io::Result<()> {
    if comparison.differences.is_empty() {
        writeln!(out, "no other differences")?;
    } else {
        writeln!(out, "other differences, each of which may be the cause")?;
    }
    for it in &comparison.differences {
        let [a, b] = &it.values;
        let device = it.device.as_ref().map_or_else(String::new, |device| {
            format!("device {}, ", escape::terminal(device))
        });
        let text = format!(
            "{device}{}: {} | {}",
            it.what,
            escape::terminal(a),
            escape::terminal(b)
        );
        paragraph("", 2, &text, out)?;
    }
    for (names, label) in comparison.alone.iter().zip(["A", "B"]) {
        if !names.is_empty() {
            let names: Vec<_> = names.iter().map(|it| escape::terminal(it)).collect();
            let text = format!("in {label} alone: device {}", names.join(", device "));
            paragraph("", 2, &text, out)?;
        }
    }
    Ok(())
}

fn verdicts(comparison: &Comparison, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nB against A, all I/Os of a device from start to end")?;
    if comparison.devices.is_empty() {
        writeln!(
            out,
            "  no device is in both; --device A=B says which belong together"
        )?;
    }
    for device in &comparison.devices {
        let row = device.rows.iter().find(|row| row.is_overall());
        let verdict = row.map_or_else(|| "no I/O in either".to_owned(), verdict);
        paragraph("", 2, &format!("device {}: {verdict}", called(device)), out)?;
    }
    Ok(())
}

fn called(device: &Device) -> String {
    let [a, b] = &device.names;
    if a == b {
        return a.clone();
    }
    format!("{a} and {b}")
}

/// The verdict, on what it rests, or why there is none.
fn verdict(row: &Row) -> String {
    let verdict = row.verdict();
    if verdict == Verdict::NoDifference {
        return format!("{}: {}", verdict.name(), row.reason());
    }
    let names = |statistics: &[Statistic]| {
        let names: Vec<_> = statistics.iter().map(|it| it.name()).collect();
        names.join(", ")
    };
    let (those, others) = row.basis();
    if others.is_empty() {
        return format!("{} ({})", verdict.name(), names(&those));
    }
    format!(
        "{} ({}), but {} in {}",
        verdict.name(),
        names(&those),
        verdict.mirrored().name(),
        names(&others)
    )
}

fn section(device: &Device, out: &mut impl Write) -> io::Result<()> {
    writeln!(out)?;
    let only = device.only.map_or_else(String::new, |it| {
        format!(", the placement of all I/Os is {}", it.name())
    });
    let title = format!("device {}{only}", called(device));
    paragraph("", 0, &title, out)?;
    let mut placement = None;
    for row in &device.rows {
        if placement != Some(row.placement) {
            placement = Some(row.placement);
            writeln!(
                out,
                "  {:<19}{:>7}{:>12}{:>8}{:>12}{:>8}{:>12}",
                row.placement.map_or("all I/Os", Placement::name),
                "I/Os",
                "p50",
                "p90",
                "p99",
                "max",
                "mean"
            )?;
        }
        numbers(row, out)?;
    }
    Ok(())
}

fn numbers(row: &Row, out: &mut impl Write) -> io::Result<()> {
    let mut stage = stage_name(row.stage);
    for (histogram, label) in row.histograms.iter().zip(["A", "B"]) {
        if histogram.count() == 0 {
            continue;
        }
        let cell = |permille| format::percentile(histogram.percentile(permille));
        writeln!(
            out,
            "    {stage:<11}{label:<2}{:>11}{:>12}{:>8}{:>12}{:>8}{:>12}",
            histogram.count(),
            cell(500),
            cell(900),
            cell(990),
            cell(1_000),
            mean(histogram),
        )?;
        stage = "";
    }
    if row.shifts == Err(Unknown::OneSided) {
        // The line of the other is missing, which says it.
        return Ok(());
    }
    if let Ok(shifts) = &row.shifts {
        let lines: [(&str, Cell); 3] = [("B - A", absolute), ("", relative), ("95 %", range)];
        for (label, cell) in lines {
            let [median, mean, p99] = shifts.each_ref().map(cell);
            writeln!(
                out,
                "    {:<11}{label:<13}{median:>12}{:>8}{p99:>12}{:>8}{mean:>12}",
                "", "", ""
            )?;
        }
    }
    paragraph("", 15, &verdict(row), out)
}

fn mean(histogram: &Histogram) -> String {
    let mean = histogram.sum().0.checked_div(histogram.count());
    mean.map_or_else(|| ABSENT.to_owned(), |ns| format::duration(Nanos(ns)))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and too large is the largest"
)]
fn absolute(shift: &Shift) -> String {
    let sign = if shift.ns < 0.0 { '-' } else { '+' };
    format!("{sign}{}", format::duration(Nanos(shift.ns.abs() as u64)))
}

fn relative(shift: &Shift) -> String {
    if shift.logarithm >= 10.0_f64.ln() {
        return times(shift.logarithm);
    }
    format!("{} %", percent(shift.logarithm))
}

fn range(shift: &Shift) -> String {
    let Some(range) = shift.range else {
        return ABSENT.to_owned();
    };
    let [least, most] = range.logarithm;
    if most >= 10.0_f64.ln() {
        return format!("{}..{}", times(least), times(most));
    }
    format!("{}..{} %", percent(least), percent(most))
}

fn percent(logarithm: f64) -> String {
    let percent = 100.0 * logarithm.exp_m1();
    // No -0.
    let rounded = percent.round() + 0.0;
    format!("{rounded:+.0}")
}

fn times(logarithm: f64) -> String {
    let times = logarithm.exp();
    if times >= 9_999.5 {
        return "x10^4".to_owned();
    }
    if times < 10.0 {
        return format!("x{times:.1}");
    }
    format!("x{times:.0}")
}

fn notes(comparison: &Comparison, out: &mut impl Write) -> io::Result<()> {
    let [overall, rest] = comparison.judged();
    let lengths: Vec<_> = comparison
        .sides
        .iter()
        .map(|side| format::duration(Nanos(side.timeline.interval_ns)))
        .collect();
    let text = format!(
        "95 % intervals are of each shift alone, by resampling intervals of time of {} (A), {} (B) and \
         longer, {DRAWS} draws each, seed {}. At least {LEAST_INTERVALS} of them need I/Os; p50 and mean \
         need {} I/Os, p99 {}, and what makes each has to be worth {LEAST_INDEPENDENT} independent intervals. \
         Verdicts account for all {} shifts that were judged ({overall} of them of devices in all): when \
         nothing differs, about {:.0} % of comparisons name any difference. What differs from one run to the next is in neither recording: repeat both. p50, p90, p99 and max are at \
         most 1/32 off.",
        lengths[0],
        lengths[1],
        comparison.seed,
        Statistic::Median.least_ios(),
        Statistic::P99.least_ios(),
        overall + rest,
        100.0 * WRONG,
    );
    paragraph("", 0, &text, out)?;
    let mut found = comparison.differences.iter();
    if found.any(|it| it.what == alike::PLACEMENTS) {
        let text = "Where the shares of placements differ, a placement has other I/Os in B than in A: its \
                    verdicts may come from which they are, and not from how fast it is. Those of all I/Os do \
                    not.";
        paragraph("", 0, text, out)?;
    }
    Ok(())
}
