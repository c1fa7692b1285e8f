//! One screen of text for the whole time that was watched.

use std::io::{self, Write};
use std::time::Duration;

use crate::escape;
use crate::facts::{self, OptionEffect};
use crate::format;
use crate::snapshot::{
    Cpu, Device, Era, Placement, PlacementTotals, Snapshot, Stage, Totals, stage_name,
};

/// Writes what is known about every device, placement by placement, and about every CPU.
pub fn report(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    header(snapshot, out)?;
    for device in &snapshot.devices {
        writeln!(out)?;
        device_section(device, snapshot, out)?;
    }
    if let Some(other) = &snapshot.other {
        writeln!(
            out,
            "\nother devices, more than have a slot of their own, together"
        )?;
        totals_section(other, None, snapshot.watched, out)?;
    }
    cpu_section(snapshot, out)?;
    if snapshot
        .devices
        .iter()
        .any(|device| device.totals.ios() > 0)
    {
        writeln!(out, "\np50, p99 and max are at most 1/32 off")?;
    }
    Ok(())
}

fn header(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let kernel = &snapshot.kernel;
    writeln!(
        out,
        "kernel   {} on {}, {}",
        escape::terminal(&kernel.release),
        escape::terminal(&kernel.host),
        format::counted(kernel.cpus, "CPU"),
    )?;
    writeln!(
        out,
        "era      {}",
        kernel.era.map_or(format::ABSENT, Era::name)
    )?;
    if let Some(era) = kernel.era {
        writeln!(out, "         {}", facts::meaning(era))?;
    }
    writeln!(out, "probes   {}", facts::rung(&snapshot.tracing))?;
    writeln!(out, "         {}", facts::tracing(&snapshot.tracing))?;
    writeln!(out, "watched  {}", format::span(snapshot.watched))?;
    loss(snapshot, out)
}

fn loss(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    match snapshot.lost() {
        0 => writeln!(out, "loss     none")?,
        lost => writeln!(out, "loss     {lost}")?,
    }
    for (kind, count) in &snapshot.loss {
        writeln!(out, "         {} {count}", kind.name())?;
    }
    if snapshot.before_attach > 0 {
        writeln!(
            out,
            "         {} I/Os that began before all probes were attached are not counted",
            snapshot.before_attach
        )?;
    }
    Ok(())
}

fn device_section(device: &Device, snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let effect = OptionEffect::of(device, snapshot.kernel.era);
    writeln!(
        out,
        "device {} ({})   option {}   {}, {} bytes a block",
        escape::terminal(&device.name),
        device.number,
        effect.name(),
        escape::terminal(&device.algorithm),
        device.data_block_bytes,
    )?;
    if let Some(sentence) = effect.sentence() {
        writeln!(out, "  {sentence}")?;
    }
    totals_section(
        &device.totals,
        Some(device.in_flight),
        snapshot.watched,
        out,
    )
}

fn totals_section(
    totals: &Totals,
    in_flight: Option<u64>,
    watched: Duration,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(
        out,
        "  I/Os {}   I/O/s {}   MiB/s {}",
        totals.ios(),
        format::rate(totals.ios(), watched),
        format::mebibytes_rate(totals.bytes(), watched),
    )?;
    writeln!(
        out,
        "  failed {}   rejected {}   incomplete {}   in flight {}",
        totals.failed(),
        totals.rejected,
        totals.incomplete,
        in_flight.map_or_else(|| format::ABSENT.to_owned(), |count| count.to_string()),
    )?;
    if totals.ios() == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "  {:<9} {:>12} {:>6}   {:<10} {:>8} {:>8} {:>8}",
        "placement", "I/Os", "share", "stage", "p50", "p99", "max"
    )?;
    for placement in Placement::ALL {
        if let Some(these) = totals.placements.get(&placement) {
            let share = format::share(totals.share(placement));
            placement_rows(placement, these, &share, out)?;
        }
    }
    if !totals.attempts.is_empty() {
        let attempts: Vec<_> = totals
            .attempts
            .iter()
            .map(|(placement, count)| format!("{} {count}", placement.name()))
            .collect();
        writeln!(out, "  fallbacks by their attempt: {}", attempts.join(", "))?;
    }
    Ok(())
}

/// A line for each stage that happened, the placement itself on the first.
fn placement_rows(
    placement: Placement,
    these: &PlacementTotals,
    share: &str,
    out: &mut impl Write,
) -> io::Result<()> {
    let first = format!("{:<9} {:>12} {share:>6}", placement.name(), these.ios);
    if these.stages.is_empty() {
        return writeln!(out, "  {first}   {}", format::ABSENT);
    }
    let stages = Stage::ALL
        .into_iter()
        .filter_map(|stage| Some((stage, these.stages.get(&stage)?)));
    for (row, (stage, histogram)) in stages.enumerate() {
        let [p50, p99, max] =
            [500, 990, 1_000].map(|permille| format::percentile(histogram.percentile(permille)));
        writeln!(
            out,
            "  {:<29}   {:<10} {p50:>8} {p99:>8} {max:>8}",
            if row == 0 { first.as_str() } else { "" },
            stage_name(stage),
        )?;
    }
    Ok(())
}

fn cpu_section(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let (busy, idle): (Vec<_>, Vec<_>) = snapshot.cpus.iter().partition(|cpu| has_worked(cpu));
    if busy.is_empty() {
        return Ok(());
    }
    // The programs count the two together, and no kernel has both.
    let bh = match snapshot.kernel.era {
        Some(Era::Tasklet) => Placement::Tasklet,
        _ => Placement::Bh,
    };
    writeln!(
        out,
        "\nsoftirq time by CPU, the share of it that is verification, and verifications begun\n  \
         {:>4} {:>9} {:>9} {:>9} {:>12} {:>6} {:>9} {:>8} {:>7}",
        "CPU",
        "all",
        "TASKLET",
        "BLOCK",
        "verification",
        "share",
        Placement::Kverityd.name(),
        bh.name(),
        Placement::Inline.name(),
    )?;
    for cpu in &busy {
        let time = |time| format::duration(format::nanos(time));
        writeln!(
            out,
            "  {:>4} {:>9} {:>9} {:>9} {:>12} {:>6} {:>9} {:>8} {:>7}",
            cpu.number,
            time(cpu.softirq),
            time(cpu.tasklet_softirq),
            time(cpu.block_softirq),
            time(cpu.softirq_verify),
            format::share_of(cpu.softirq_verify, cpu.softirq),
            cpu.kverityd_verifications,
            cpu.bh_verifications,
            cpu.inline_verifications,
        )?;
    }
    if !idle.is_empty() {
        let idle = format::counted(idle.len(), "CPU");
        writeln!(out, "  {idle} with nothing to show left out")?;
    }
    Ok(())
}

fn has_worked(cpu: &Cpu) -> bool {
    let verifications =
        cpu.kverityd_verifications + cpu.bh_verifications + cpu.inline_verifications;
    !cpu.softirq.is_zero() || verifications > 0
}
