//! An advice as text.

use std::io::{self, Write};
use std::iter;
use std::time::SystemTime;

use super::evidence::Evidence;
use super::{Advice, Certainty, Command, Confidence, Origin, Verdict, node, quoted};
use crate::snapshot::Snapshot;
use crate::{escape, facts, format};

/// Cells of a label.
const LABEL: usize = 13;

/// Cells of a line that has no other width.
pub const WIDTH: usize = 80;

/// Writes the machine, the advice for each device, and all commands last: what is read first stands first, and what is
/// typed stands where one types.
pub fn page(snapshot: &Snapshot, advices: &[Advice], out: &mut impl Write) -> io::Result<()> {
    let kernel = &snapshot.kernel;
    let cpus = format::counted(kernel.cpus, "CPU");
    let era = kernel.era.map_or(format::ABSENT.to_owned(), |era| {
        format!("{}: {}", era.name(), facts::meaning(era))
    });
    let machine = format!(
        "{} on {}, {cpus}; watched for {}, by {}",
        kernel.release,
        kernel.host,
        format::span(snapshot.watched),
        facts::rung(&snapshot.tracing)
    );
    for (label, text) in [("kernel", machine), ("era", era)] {
        field(label, &text, WIDTH, out)?;
    }
    writeln!(out)?;
    if advices.is_empty() {
        writeln!(out, "{}", none(snapshot))?;
    }
    all(advices, out)
}

fn all(advices: &[Advice], out: &mut impl Write) -> io::Result<()> {
    for (at, advice) in advices.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        conclusion(advice, WIDTH, out)?;
    }
    for advice in advices.iter().filter(|it| !it.commands.is_empty()) {
        writeln!(out)?;
        commands(advice, WIDTH, out)?;
    }
    Ok(())
}

/// Why there is no advice.
#[must_use]
pub fn none(snapshot: &Snapshot) -> String {
    if super::sees_ios(snapshot) {
        return "there is no verity device".to_owned();
    }
    "no advice: I/Os are not seen one by one here, and so neither are waits".to_owned()
}

/// Writes the advice for each device below a report; nothing where there is none.
pub fn section(advices: &[Advice], out: &mut impl Write) -> io::Result<()> {
    if !advices.is_empty() {
        writeln!(out, "\nadvice")?;
    }
    all(advices, out)
}

/// Writes one advice, no line wider than so many cells but for commands, which can be copied as they are.
pub fn text(advice: &Advice, width: usize, out: &mut impl Write) -> io::Result<()> {
    conclusion(advice, width, out)?;
    commands(advice, width, out)
}

/// All but the commands.
fn conclusion(advice: &Advice, width: usize, out: &mut impl Write) -> io::Result<()> {
    let option = if advice.option { "on" } else { "off" };
    let place = format!("{} ({})   option {option}", advice.name, advice.number);
    field("device", &place, width, out)?;
    field("verdict", &verdict(advice.verdict), width, out)?;
    let confidence = iter::once(confidence(&advice.confidence)).chain(surer(advice));
    list("confidence", confidence, width, out)?;
    evidence(&advice.evidence, width, out)?;
    let findings = advice.findings.iter();
    let findings = findings.map(|it| format!("{}: {}", it.id, it.sentence));
    list("findings", findings, width, out)?;
    list("risk", advice.risk.iter().cloned(), width, out)?;
    if !advice.not_considered.is_empty() {
        let all = advice.not_considered.join("; ");
        field("unconsidered", &all, width, out)?;
    }
    Ok(())
}

/// Nothing where there are none.
fn commands(advice: &Advice, width: usize, out: &mut impl Write) -> io::Result<()> {
    if advice.commands.is_empty() {
        return Ok(());
    }
    let place = advice
        .origin
        .as_ref()
        .map_or_else(String::new, |origin| format!(" on {}", of(origin)));
    let whose = format!("for {} ({}), as root{place}", advice.name, advice.number);
    field("commands", &whose, width, out)?;
    for it in &advice.commands {
        command(it, width, out)?;
    }
    Ok(())
}

/// The verdict in words: the values too, where there are some.
#[must_use]
pub fn verdict(verdict: Verdict) -> String {
    match verdict {
        Verdict::Limit(values) => {
            let values = values.map(|it| it.to_string()).join(",");
            format!("{}: use_bh_bytes {values}", verdict.name())
        }
        Verdict::Enable => format!("{}: switch try_verify_in_tasklet on", verdict.name()),
        Verdict::Disable => format!("{}: switch try_verify_in_tasklet off", verdict.name()),
        Verdict::Keep => format!("{}: leave it as it is", verdict.name()),
        Verdict::NotEffective => format!(
            "{}: try_verify_in_tasklet does nothing here",
            verdict.name()
        ),
        Verdict::NotEnoughData => verdict.name().to_owned(),
    }
}

/// How sure it is, in one line.
#[must_use]
pub fn confidence(confidence: &Confidence) -> String {
    let effect = confidence.effect.as_ref();
    let effect = effect.map_or_else(String::new, |effect| {
        format!("; mean total would change by {effect}")
    });
    format!(
        "{}: {}{effect}",
        confidence.certainty.name(),
        confidence.reason
    )
}

/// How to find out what is only estimated; absent where that is not whether the option should be on.
#[must_use]
pub fn surer(advice: &Advice) -> Option<String> {
    let is_switch = matches!(
        advice.verdict,
        Verdict::Enable | Verdict::Disable | Verdict::Keep
    );
    if !is_switch || advice.confidence.certainty != Certainty::Weak {
        return None;
    }
    let node = quoted(&node(&advice.name, advice.number)).ok()?;
    Some(format!("`verity-trace tune {node}` measures it"))
}

/// Of which host and moment a recording is. It is not harmless yet.
#[must_use]
pub fn of(origin: &Origin) -> String {
    let at = SystemTime::UNIX_EPOCH.checked_add(origin.taken_at.min(format::YEAR_9999));
    let at = humantime::format_rfc3339_seconds(at.unwrap_or(SystemTime::UNIX_EPOCH));
    format!(
        "{}, of which this is a recording that ends at {at}",
        origin.host
    )
}

fn evidence(evidence: &[Evidence], width: usize, out: &mut impl Write) -> io::Result<()> {
    for (row, it) in evidence.iter().enumerate() {
        let label = if row == 0 { "evidence" } else { "" };
        let line = format!("{:<36} {:>8}  {}", it.what, it.text(), it.source);
        field(label, &line, width, out)?;
    }
    Ok(())
}

fn list(
    label: &str,
    texts: impl Iterator<Item = String>,
    width: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    for (row, text) in texts.enumerate() {
        field(if row == 0 { label } else { "" }, &text, width, out)?;
    }
    Ok(())
}

fn command(command: &Command, width: usize, out: &mut impl Write) -> io::Result<()> {
    field("", &format!("# {}", command.what), width, out)?;
    let undo = command.undo.iter().map(|line| ("undo", line));
    let lines = command.lines.iter().map(|line| ("", line)).chain(undo);
    for (label, line) in lines {
        // A command that is broken into lines is another one. Nothing in it is hidden.
        writeln!(out, "  {label:<4} {line}")?;
    }
    Ok(())
}

/// A label and the text beside it, on as many lines as that takes.
fn field(label: &str, text: &str, width: usize, out: &mut impl Write) -> io::Result<()> {
    let room = width.saturating_sub(LABEL).max(1);
    let lines = format::wrap(&escape::terminal(text), room);
    for (row, line) in lines.iter().enumerate() {
        let label = if row == 0 { label } else { "" };
        writeln!(out, "{}", format!("{label:<LABEL$}{line}").trim_end())?;
    }
    Ok(())
}
