//! What came out, as text.

use std::io::{self, Write};

use super::block::{Flaw, MUCH_LOSS};
use super::{Added, Durations, Effects, Ended, Left, Predicted, Prediction, Report, Row, Side};
use crate::format::{self, ABSENT};
use crate::histogram::Nanos;
use crate::snapshot::{Placement, stage_name};
use crate::what_if::Estimate;
use crate::{escape, recommend};

/// Cells of a label, and of a line.
const LABEL: usize = 13;
const WIDTH: usize = 80;

/// Writes it.
pub fn text(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let kernel = &report.kernel;
    let settings = &report.settings;
    let found = settings.found;
    let names = [Side::A, Side::B].map(|side| settings.name(side));
    let [a, b] = &names;
    let fields = [
        ("device", format!("{} ({})", report.name, report.number)),
        ("kernel", format!("{} on {}", kernel.release, kernel.host)),
        (
            "settings",
            format!("{a} and {b}; it was found with {}", settings.name(found)),
        ),
        ("load", load(report)),
        ("blocks", blocks(report)),
        ("ended", ended(&report.ended)),
        (
            "verdict",
            format!("{}; {}", recommend::verdict(report.verdict), report.reason),
        ),
        ("measured", change(report.effects.relative, &names)),
        ("predicted", predicted(&report.prediction, &names)),
        ("left", left(&report.left, settings.name(found).as_str())),
    ];
    for (label, text) in fields {
        field(label, &text, out)?;
    }
    if let Left::NotPutBack { command, .. } = &report.left {
        // A command that is broken into lines is another one.
        writeln!(out, "  {}", escape::terminal(command))?;
    }
    for (row, remark) in report.remarks.iter().enumerate() {
        field(if row == 0 { "remarks" } else { "" }, remark, out)?;
    }
    if report.effects.rows.is_empty() {
        return Ok(());
    }
    stages(report, &names, out)?;
    placements(&report.effects, &names, out)?;
    cpus(report, out)?;
    writeln!(
        out,
        "\nAn interval holds what it is of in 95 of 100 cases, each for itself. A mean is\n\
         over all I/Os, those without the stage included, so that stages add up to total;\n\
         p50 is the mean over blocks of their medians, which are at most 1/32 off. What\n\
         was predicted of B - A is from I/Os before anything was changed."
    )
}

fn load(report: &Report) -> String {
    report.load.map_or_else(
        || "the one that there was".to_owned(),
        |load| {
            format!(
                "random direct reads of {} by verity-trace, {} in flight",
                format::bytes(load.bytes.into()),
                load.depth
            )
        },
    )
}

fn blocks(report: &Report) -> String {
    let (times, effects) = (report.times, &report.effects);
    let mut text = format!(
        "{} pairs, each block {} after a warm-up of {}; seed {}; {} in all",
        effects.pairs,
        format::span(times.block),
        format::span(times.warm_up),
        report.seed,
        format::span(report.took)
    );
    for (flaw, count) in &effects.left_out {
        let why = match flaw {
            Flaw::FewIos => "with too few I/Os".to_owned(),
            Flaw::Loss => format!("with a loss above {}", format::share(Some(MUCH_LOSS))),
        };
        text = format!("{text}; {count} more {why} left out");
    }
    text
}

pub(super) fn ended(ended: &Ended) -> String {
    match ended {
        Ended::Precise => "the interval was narrow enough".to_owned(),
        Ended::Time => "the time was over".to_owned(),
        Ended::Signal(number) => format!("signal {number} came"),
        Ended::Stopped(why) => format!("stopped: {why}"),
    }
}

fn left(left: &Left, found: &str) -> String {
    match left {
        Left::AsFound => format!("as it was found: {found}"),
        Left::Applied => {
            "with the better setting, as --apply asked for, until it is activated again".to_owned()
        }
        Left::Theirs(why) => format!("nothing was put back: {why}"),
        Left::NotPutBack { why, .. } => format!(
            "with the setting that was tried last, since what was found could not be put back: {why}; this does it:"
        ),
    }
}

fn change(change: Option<Estimate>, [a, b]: &[String; 2]) -> String {
    change.map_or_else(
        || ABSENT.to_owned(),
        |it| {
            format!(
                "mean total {} from {a} to {b} ({} to {})",
                percent(it.value),
                percent(it.low),
                percent(it.high)
            )
        },
    )
}

fn predicted(prediction: &Prediction, names: &[String; 2]) -> String {
    match prediction {
        Ok(predicted) => {
            format!(
                "{}; from {} I/Os before anything was changed",
                change(Some(predicted.relative()), names),
                predicted.ios
            )
        }
        Err(why) => why.clone(),
    }
}

/// Columns are A and B; what they are called stands above.
fn stages(report: &Report, [a, b]: &[String; 2], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nA is {a}, B is {b}")?;
    writeln!(
        out,
        "{:<11}{:<5}{:>9}{:>9}{:>10}  {:<22}{:>10}",
        "stage", "", "A", "B", "B - A", "95 %", "predicted"
    )?;
    let predicted = report.prediction.as_ref().ok();
    for row in &report.effects.rows {
        let durations = predicted.and_then(|it| it.stages.get(&row.stage));
        stage(row, durations, out)?;
    }
    Ok(())
}

fn stage(row: &Row, predicted: Option<&Durations>, out: &mut impl Write) -> io::Result<()> {
    let lines = [
        (
            stage_name(row.stage),
            "mean",
            Some(row.means),
            row.difference,
            predicted.map(|it| it.mean),
        ),
        (
            "",
            "p50",
            row.medians,
            row.difference_of_medians,
            predicted.map(|it| it.median),
        ),
    ];
    for (stage, statistic, values, difference, predicted) in lines {
        let [a, b] = values.map_or([ABSENT.to_owned(), ABSENT.to_owned()], |it| it.map(nanos));
        let less = difference.map_or_else(|| ABSENT.to_owned(), |it| signed(it.value));
        let interval = difference.map_or_else(
            || ABSENT.to_owned(),
            |it| format!("{} to {}", signed(it.low), signed(it.high)),
        );
        let predicted =
            predicted.map_or_else(|| ABSENT.to_owned(), |[a, b]| signed(b.value - a.value));
        writeln!(
            out,
            "{stage:<11}{statistic:<5}{a:>9}{b:>9}{less:>10}  {interval:<22}{predicted:>10}"
        )?;
    }
    Ok(())
}

fn placements(effects: &Effects, names: &[String; 2], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nverified by")?;
    for (at, name) in names.iter().enumerate() {
        let all = effects.ios[at];
        let shares = Placement::ALL.into_iter().filter_map(|placement| {
            let count = *effects.placements[at].get(&placement)?;
            let share = format::share(Some(count as f64 / all.max(1) as f64));
            (count > 0).then(|| format!("{} {share}", placement.name()))
        });
        let shares: Vec<_> = shares.collect();
        let failed = match effects.failed[at] {
            0 => String::new(),
            failed => format!("; {failed} failed"),
        };
        writeln!(out, "  {name}: {} of {all} I/Os{failed}", shares.join(", "))?;
    }
    Ok(())
}

/// Of verifications the difference alone: of all softirqs there is no prediction.
fn cpus(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\ntime in softirqs, as a part of the CPU's time, and what verifications add to it\n\
         {:>5}{:>9}{:>9}{:>9}  {:<22}{:>11}{:>11}",
        "CPU", "A", "B", "B - A", "95 %", "verifying", "predicted"
    )?;
    let predicted = report.prediction.as_ref().ok();
    let predicted = |cpu| predicted.map(|it: &Predicted| it.softirq.get(&cpu).copied());
    for cpu in &report.effects.cpus {
        let Added {
            cpu,
            softirq: [a, b],
            added,
            verification,
        } = cpu;
        let share = |share: f64| format::percentage(Some(share));
        let less = added.map_or_else(|| ABSENT.to_owned(), |it| percent(it.value));
        let interval = added.map_or_else(
            || ABSENT.to_owned(),
            |it| format!("{} to {}", percent(it.low), percent(it.high)),
        );
        let less_of = |both: Option<[f64; 2]>| {
            both.map_or_else(|| ABSENT.to_owned(), |[a, b]| percent(b - a))
        };
        writeln!(
            out,
            "{cpu:>5}{:>9}{:>9}{less:>9}  {interval:<22}{:>11}{:>11}",
            share(*a),
            share(*b),
            less_of(*verification),
            less_of(predicted(*cpu).map(Option::unwrap_or_default))
        )?;
    }
    Ok(())
}

fn percent(share: f64) -> String {
    format!("{:+.2} %", share * 100.0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a duration, of which nothing is after the point"
)]
fn nanos(ns: f64) -> String {
    format::duration(Nanos(ns.abs().round() as u64))
}

fn signed(ns: f64) -> String {
    let sign = if ns < 0.0 { '-' } else { '+' };
    format!("{sign}{}", nanos(ns))
}

/// A label and the text beside it, on as many lines as that takes.
fn field(label: &str, text: &str, out: &mut impl Write) -> io::Result<()> {
    let lines = format::wrap(&escape::terminal(text), WIDTH - LABEL);
    for (row, line) in lines.iter().enumerate() {
        let label = if row == 0 { label } else { "" };
        writeln!(out, "{}", format!("{label:<LABEL$}{line}").trim_end())?;
    }
    Ok(())
}
