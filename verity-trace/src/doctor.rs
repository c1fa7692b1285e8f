//! How a kernel would be watched, as text.

use std::io::{self, Write};

use crate::checkup::Checkup;
use crate::plan::facts::Presence;
use crate::snapshot::{Gap, Probe, Rung, When};
use crate::{escape, facts, format};

/// Cells of a label, and of what stands beside it.
const LABEL: usize = 11;
const TEXT: usize = 69;

/// Writes the kernel, the rung, every probe, every gap and the memory, no line wider than 80 cells.
pub fn doctor(checkup: &Checkup, out: &mut impl Write) -> io::Result<()> {
    let Checkup {
        kernel,
        facts: found,
        plan,
        ..
    } = checkup;
    let cpus = format::counted(kernel.cpus, "CPU");
    field(
        "kernel",
        &format!("{}, {}, {cpus}", kernel.release, found.machine),
        out,
    )?;
    field("dm-verity", presence(checkup), out)?;
    match plan.era {
        None => field("era", format::ABSENT, out)?,
        Some((era, evidence)) => {
            field("era", &format!("{}: {evidence}", era.name()), out)?;
            field("", facts::meaning(era), out)?;
        }
    }
    field("BTF", &btf(checkup), out)?;
    let known = |it: Option<String>| it.unwrap_or_else(|| format::ABSENT.to_owned());
    field("lockdown", &known(found.lockdown.clone()), out)?;
    let restrict = found.kptr_restrict.map(|it| it.to_string());
    field(
        "addresses",
        &format!("kernel.kptr_restrict {}", known(restrict)),
        out,
    )?;
    field("preemption", &known(found.preemption.clone()), out)?;
    field("rung", plan.rung.map_or("none", Rung::name), out)?;
    if let Some(memory) = memory(checkup) {
        field("memory", &memory, out)?;
    }
    if !plan.hooks.is_empty() {
        writeln!(out, "\nprobes, and what cannot be seen without each")?;
        for probe in checkup.probes() {
            self::probe(&probe, out)?;
        }
    }
    if !plan.gaps.is_empty() {
        writeln!(out, "\nnot to be had here")?;
        for gap in &plan.gaps {
            self::gap(gap, out)?;
        }
    }
    Ok(())
}

const fn presence(checkup: &Checkup) -> &'static str {
    match checkup.facts.dm_verity {
        Presence::Absent => "not loaded",
        Presence::Module => "module",
        Presence::BuiltIn => "built in",
    }
}

/// Which parts describe themselves.
fn btf(checkup: &Checkup) -> String {
    let files = checkup.facts.btf;
    let parts = [
        (files.vmlinux, "vmlinux"),
        (files.dm_mod, "dm_mod"),
        (files.dm_verity, "dm_verity"),
    ];
    let there: Vec<_> = parts.iter().filter(|it| it.0).map(|it| it.1).collect();
    if there.is_empty() {
        return "none".to_owned();
    }
    there.join(", ")
}

/// What the maps take of the kernel's memory, the largest by name.
fn memory(checkup: &Checkup) -> Option<String> {
    let (bytes, maps) = (checkup.bytes()?, checkup.maps.as_ref()?);
    let cpus = checkup.possible_cpus as u64;
    let largest = maps.iter().max_by_key(|map| map.bytes(cpus))?;
    Some(format!(
        "{} while attached, for {} on {}; of it {} for {}",
        format::mebibytes(bytes),
        format::counted(checkup.max_devices as usize, "device"),
        format::counted(checkup.possible_cpus, "CPU"),
        format::mebibytes(largest.bytes(cpus)),
        largest.name,
    ))
}

fn probe(probe: &Probe, out: &mut impl Write) -> io::Result<()> {
    let name = format!("  {:<24} {:<9}", probe.name, probe.kind.name());
    let when = match probe.when {
        When::Always => "",
        When::WithOption => "; attached once a device has the option",
    };
    lines(&name, 37, &format!("{}{when}", probe.without), 43, out)
}

fn gap(gap: &Gap, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "  {}", gap.missing)?;
    lines("    lost", LABEL, gap.lost, TEXT, out)?;
    lines("    why", LABEL, &gap.why, TEXT, out)?;
    match gap.remedy {
        Some(remedy) => lines("    remedy", LABEL, remedy, TEXT, out),
        None => Ok(()),
    }
}

fn field(label: &str, text: &str, out: &mut impl Write) -> io::Result<()> {
    lines(label, LABEL, text, TEXT, out)
}

/// A label and the text beside it, on as many lines as that takes.
fn lines(
    label: &str,
    indent: usize,
    text: &str,
    width: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let text = escape::terminal(text);
    for (row, line) in format::wrap(&text, width).iter().enumerate() {
        let label = if row == 0 { label } else { "" };
        writeln!(out, "{}", format!("{label:<indent$}{line}").trim_end())?;
    }
    Ok(())
}
