//! One screen of text for the whole time that was watched.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::Duration;

use crate::cost::{Cost, Occasion};
use crate::escape;
use crate::facts::{self, OptionEffect};
use crate::format::{self, Bytes};
use crate::histogram::Nanos;
use crate::snapshot::{
    Cpu, Device, Era, Failure, HashCache, InFlight, Placement, PlacementTotals, QueueWait,
    Snapshot, Stage, Submitters, Totals, stage_name,
};

/// Writes what is known about every device, placement by placement, and about every CPU.
pub fn report(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    header(snapshot, out)?;
    for device in &snapshot.devices {
        writeln!(out)?;
        device_section(device, snapshot, out)?;
    }
    if let Some(other) = &snapshot.other {
        writeln!(out, "\n{}, together", facts::OTHER)?;
        in_flight(&other.in_flight, out)?;
        first_failure(other.first_failure, out)?;
        totals_section(&other.totals, snapshot, out)?;
    }
    queued_section(snapshot, out)?;
    cpu_section(snapshot, out)?;
    queues_section(snapshot, out)?;
    if let Some(unseen) = snapshot.hash_cache_unseen.filter(|&unseen| unseen > 0) {
        writeln!(
            out,
            "\nhash blocks: {unseen} calls were not seen, since the program for them was already \
             running there"
        )?;
    }
    if let Some(cost) = &snapshot.cost {
        cost_section(cost, snapshot.watched, out)?;
    }
    let has_ios = |device: &Device| device.totals.as_ref().is_some_and(|it| it.ios() > 0);
    if !snapshot.queued.is_empty() || snapshot.devices.iter().any(has_ios) {
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
    for gap in &snapshot.gaps {
        let text = format!("without {}: {} ({})", gap.missing, gap.lost, gap.reason());
        for line in format::wrap(&escape::terminal(&text), 71) {
            writeln!(out, "         {}", line.trim_end())?;
        }
    }
    writeln!(out, "watched  {}", format::span(snapshot.watched))?;
    if let Some(account) = &snapshot.account {
        writeln!(
            out,
            "mapped   {}: finished {}, rejected {}, in flight {}, lost {}",
            account.mapped, account.finished, account.rejected, account.in_flight, account.lost,
        )?;
    }
    loss(snapshot, out)
}

fn loss(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let bound = if snapshot.hides_misses {
        format!(", a lower bound: {}", facts::HIDDEN_MISSES)
    } else {
        String::new()
    };
    match snapshot.lost() {
        0 => writeln!(out, "loss     none{bound}")?,
        lost => writeln!(out, "loss     {lost}{bound}")?,
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
    device_head(device, snapshot, out)?;
    match &device.totals {
        Some(totals) => totals_section(totals, snapshot, out),
        None => Ok(()),
    }
}

/// Writes which device it is, and whether its option does what it says.
pub fn device_title(device: &Device, snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let effect = OptionEffect::of(device, snapshot.kernel.era);
    device_line(device, effect, out)?;
    match effect.sentence() {
        Some(sentence) => writeln!(out, "  {sentence}"),
        None => Ok(()),
    }
}

/// Writes which device it is, and what of it is no total; why there are no totals where there are none.
pub fn device_head(device: &Device, snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    device_title(device, snapshot, out)?;
    target(device, snapshot, out)?;
    if let Some(these) = &device.in_flight {
        in_flight(these, out)?;
    }
    if let Some(ios) = device.in_flight_before_attach.filter(|&ios| ios > 0) {
        let ios = format::ios(ios);
        writeln!(
            out,
            "  in flight since before attach {ios} or more, in no other number"
        )?;
    }
    first_failure(device.first_failure, out)?;
    if let Some(before) = device.before_attach.filter(|before| before.ios > 0) {
        writeln!(
            out,
            "  before attach {} I/Os, {}, in no other number",
            before.ios,
            format::mebibytes(before.bytes),
        )?;
    }
    match &device.totals {
        Some(_) => Ok(()),
        None if device.counted_in_other => writeln!(
            out,
            "  all slots are taken (--max-devices): its I/Os are counted with those of the others"
        ),
        None => writeln!(out, "  its I/Os are not seen"),
    }
}

fn device_line(device: &Device, effect: OptionEffect, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "device {} ({})   option {}   {}, {} bytes a block",
        escape::terminal(&device.name),
        device.number,
        effect.name(),
        escape::terminal(&device.table.algorithm),
        device.table.data_block_bytes,
    )
}

/// Writes what records alone tell of a device.
pub fn recounted(device: &Device, snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    device_line(device, OptionEffect::of(device, snapshot.kernel.era), out)?;
    match &device.totals {
        Some(totals) => counted(totals, snapshot, out),
        None => Ok(()),
    }
}

/// Writes what records alone tell.
pub fn counted(totals: &Totals, snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    throughput(totals, snapshot.watched, Bytes::default(), out)?;
    writeln!(
        out,
        "  failed {}   incomplete {}   rechecked {}   FEC {}",
        totals.failed(),
        totals.incomplete,
        known(totals.rechecked),
        known(totals.fec),
    )?;
    if totals.ios() == 0 {
        return Ok(());
    }
    placements_section(totals, snapshot, out)
}

fn throughput(
    totals: &Totals,
    over: Duration,
    unit: Bytes,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(
        out,
        "  I/Os {}   I/O/s {}   {}/s {}",
        totals.ios(),
        format::rate(totals.ios(), over),
        unit.name(),
        unit.rate(totals.bytes(), over),
    )
}

fn first_failure(failure: Option<Failure>, out: &mut impl Write) -> io::Result<()> {
    let Some(Failure { sector, status }) = failure else {
        return Ok(());
    };
    writeln!(
        out,
        "  the first I/O that failed: it begins at sector {sector}, status {status}"
    )
}

/// Where the device lies, and what its target says of it.
fn target(device: &Device, snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let table = &device.table;
    let named = |number: &str| format::device(number, &snapshot.kernel_names);
    let verdict = device.status.as_ref().map(|status| status.verdict.name());
    let corrected = device.status.as_ref().and_then(|it| it.fec_corrected);
    let text = format!(
        "status {}   data {}   hashes {}{}",
        verdict.unwrap_or(format::ABSENT),
        named(&table.data_device),
        named(&table.hash_device),
        corrected.map_or_else(String::new, |blocks| format!("   FEC corrected {blocks}")),
    );
    for line in format::wrap(&escape::terminal(&text), 78) {
        writeln!(out, "  {}", line.trim_end())?;
    }
    Ok(())
}

fn in_flight(in_flight: &InFlight, out: &mut impl Write) -> io::Result<()> {
    write!(out, "  in flight {}", in_flight.ios())?;
    let Some((stage, age)) = in_flight.oldest() else {
        return writeln!(out);
    };
    let stages: Vec<_> = in_flight
        .stages
        .iter()
        .map(|(&stage, these)| format!("{} {}", stage_name(stage), these.ios))
        .collect();
    writeln!(
        out,
        ": {}; the oldest, in {}, {} old",
        stages.join(", "),
        stage_name(stage),
        format::duration(format::nanos(age)),
    )
}

fn totals_section(totals: &Totals, snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    sums(totals, snapshot.watched, Bytes::default(), out)?;
    match &totals.submitters {
        Some(these) if totals.ios() > 0 => submitters(these, out)?,
        _ => {}
    }
    if totals.ios() == 0 {
        return Ok(());
    }
    placements_section(totals, snapshot, out)
}

/// Writes what is counted over all placements, during some time.
pub fn sums(totals: &Totals, over: Duration, unit: Bytes, out: &mut impl Write) -> io::Result<()> {
    throughput(totals, over, unit, out)?;
    writeln!(
        out,
        "  failed {}   rejected {}   incomplete {}   rechecked {}   FEC {}",
        totals.failed(),
        totals.rejected,
        totals.incomplete,
        known(totals.rechecked),
        known(totals.fec),
    )?;
    if !totals.loss.is_empty() {
        writeln!(
            out,
            "  loss {}",
            counts(&totals.loss, |it| it.name().to_owned())
        )?;
    }
    if let Some(cache) = &totals.hash_cache {
        hash_cache(cache, out)?;
    }
    match &totals.queue_wait {
        Some(wait) => queue_wait(wait, out),
        None => Ok(()),
    }
}

/// Where the I/Os were verified, how long each stage took, and why there.
fn placements_section(
    totals: &Totals,
    snapshot: &Snapshot,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(
        out,
        "  {:<9} {:>12} {:>6}   {:<10} {:>8} {:>8} {:>8}",
        "placement", "I/Os", "share", "stage", "p50", "p99", "max"
    )?;
    let shares = format::shares(totals.each_ios());
    for placement in Placement::ALL {
        if let Some(these) = totals.placements.get(&placement) {
            let share = shares.get(&placement).map_or(format::ABSENT, |it| it);
            placement_rows(placement, these, share, out)?;
        }
    }
    why(totals, snapshot, out)?;
    contexts(totals, out)
}

/// Writes why I/Os were verified where they were.
pub fn why(totals: &Totals, snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    if !totals.attempts.is_empty() {
        let attempts = counts(&totals.attempts, |it| it.name().to_owned());
        writeln!(out, "  fallbacks by their attempt: {attempts}")?;
    }
    let reasons = |these: &PlacementTotals| {
        counts(&these.reasons, |reason| {
            let inferred = if snapshot.is_inferred(reason) {
                " (inferred)"
            } else {
                ""
            };
            format!("{}{inferred}", reason.name())
        })
    };
    by_placement(totals, "why not in BH or inline", reasons, out)
}

/// Writes in which contexts I/Os were verified and completed.
pub fn contexts(totals: &Totals, out: &mut impl Write) -> io::Result<()> {
    let contexts = |these: &PlacementTotals| counts(&these.contexts, |it| it.name().to_owned());
    by_placement(totals, "context", contexts, out)?;
    if !totals.attempt_contexts.is_empty() {
        let contexts = counts(&totals.attempt_contexts, |it| it.name().to_owned());
        writeln!(out, "  {:<24} attempt: {contexts}", "")?;
    }
    let completions =
        |these: &PlacementTotals| counts(&these.completions, |it| it.name().to_owned());
    by_placement(totals, "context of completion", completions, out)
}

fn queue_wait(wait: &QueueWait, out: &mut impl Write) -> io::Result<()> {
    let mean = |ns: u64, of: u64| {
        let mean = ns.checked_div(of).map(Nanos);
        mean.map_or_else(|| format::ABSENT.to_owned(), format::duration)
    };
    writeln!(
        out,
        "  wait for kverityd, inferred: {} of {} I/Os behind the worker's previous work, {} each,\n  \
         {:<28} then {} until the worker began",
        wait.behind,
        wait.ios,
        mean(wait.behind_ns, wait.behind),
        "",
        mean(wait.wake_up_ns, wait.ios),
    )
}

fn hash_cache(cache: &HashCache, out: &mut impl Write) -> io::Result<()> {
    let lookups = cache.lookups();
    let hits = (lookups > 0).then(|| cache.hits as f64 / lookups as f64);
    write!(
        out,
        "  hash blocks looked up {lookups}: in the cache {}, missed {}, read under way {}",
        format::share(hits),
        cache.misses,
        cache.awaited,
    )?;
    if cache.unmeasured > 0 {
        write!(out, ", not followed {}", cache.unmeasured)?;
    }
    let wait = format::duration(format::nanos(cache.wait));
    writeln!(out, "\n  waited for hash blocks {wait} in all")
}

/// Writes who submitted most.
pub fn submitters(submitters: &Submitters, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "  {:<9} {:>12} {:>10} {:>10}   command",
        "submitter", "I/Os", "bytes", "cgroup"
    )?;
    for it in &submitters.top {
        writeln!(
            out,
            "  {:<9} {:>12} {:>10} {:>10}   {}",
            it.task,
            it.ios,
            format::mebibytes(it.bytes),
            it.cgroup,
            escape::terminal(&it.command),
        )?;
    }
    let others = submitters.others;
    if others.ios == 0 {
        return Ok(());
    }
    write!(
        out,
        "  {:<9} {:>12} {:>10} {:>10}   {}",
        "others",
        others.ios,
        format::mebibytes(others.bytes),
        "",
        format::counted(others.tasks, "submitter"),
    )?;
    if others.unlisted > 0 {
        write!(
            out,
            ", and {} I/Os that found no room in the table",
            others.unlisted
        )?;
    }
    writeln!(out)
}

/// A line for each placement that has something to say, the title on the first.
fn by_placement(
    totals: &Totals,
    title: &str,
    text: impl Fn(&PlacementTotals) -> String,
    out: &mut impl Write,
) -> io::Result<()> {
    let lines = Placement::ALL.into_iter().filter_map(|placement| {
        let text = text(totals.placements.get(&placement)?);
        (!text.is_empty()).then(|| format!("{}: {text}", placement.name()))
    });
    for (row, line) in lines.enumerate() {
        writeln!(out, "  {:<24} {line}", if row == 0 { title } else { "" })?;
    }
    Ok(())
}

fn counts<K: Copy>(counts: &BTreeMap<K, u64>, name: impl Fn(K) -> String) -> String {
    let words: Vec<_> = counts
        .iter()
        .map(|(&key, count)| format!("{} {count}", name(key)))
        .collect();
    words.join(", ")
}

fn known(count: Option<u64>) -> String {
    count.map_or_else(|| format::ABSENT.to_owned(), |count| count.to_string())
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

/// What the last rung sees, in place of I/Os.
fn queued_section(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    if snapshot.queued.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nverifications of all devices that began, and how long each was queued\n  \
         {:<9} {:>12} {:>8} {:>8} {:>8}",
        "placement", "began", "p50", "p99", "max"
    )?;
    for (placement, histogram) in &snapshot.queued {
        let [p50, p99, max] =
            [500, 990, 1_000].map(|permille| format::percentile(histogram.percentile(permille)));
        writeln!(
            out,
            "  {:<9} {:>12} {p50:>8} {p99:>8} {max:>8}",
            placement.name(),
            histogram.count(),
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
            cpu.softirq_verify
                .map_or_else(|| format::ABSENT.to_owned(), time),
            cpu.softirq_verify.map_or_else(
                || format::ABSENT.to_owned(),
                |verify| format::share_of(verify, cpu.softirq)
            ),
            cpu.kverityd_verifications,
            cpu.bh_verifications,
            known(cpu.inline_verifications),
        )?;
    }
    if !idle.is_empty() {
        let idle = format::counted(idle.len(), "CPU");
        writeln!(out, "  {idle} with nothing to show left out")?;
    }
    Ok(())
}

fn queues_section(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let cpus = snapshot.cpus.iter();
    let busy = cpus.filter_map(|cpu| Some((cpu.number, cpu.queues.as_ref()?)));
    let busy: Vec<_> = busy.filter(|(_, it)| !it.softirqs.is_empty()).collect();
    if !busy.is_empty() {
        writeln!(
            out,
            "\nsoftirqs, those in ksoftirqd, works of the BH workqueue, how often it reached its limit \
             (inferred),\nand the longest verification in softirq\n  {:>4} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "CPU", "softirqs", "ksoftirqd", "BH works", "limits", "longest",
        )?;
    }
    for (number, queues) in busy {
        let longest = queues.longest_verify.map(format::nanos);
        writeln!(
            out,
            "  {number:>4} {:>9} {:>9} {:>9} {:>9} {:>9}",
            queues.softirqs.values().sum::<u64>(),
            queues.ksoftirqd.values().sum::<u64>(),
            queues.bh_works,
            queues.bh_limits,
            longest.map_or_else(|| format::ABSENT.to_owned(), format::duration),
        )?;
    }
    if let Some(unseen) = snapshot.queues_unseen.filter(|&unseen| unseen > 0) {
        writeln!(
            out,
            "  {unseen} softirqs or works were not seen, since the program for them was already \
             running there"
        )?;
    }
    Ok(())
}

fn cost_section(cost: &Cost, watched: Duration, out: &mut impl Write) -> io::Result<()> {
    for (row, line) in cost_lines(cost, watched).iter().enumerate() {
        let lead = if row == 0 { "\n" } else { "  " };
        writeln!(out, "{lead}{line}")?;
    }
    Ok(())
}

/// What tracing costs, the most important first.
#[must_use]
pub fn cost_lines(cost: &Cost, watched: Duration) -> Vec<String> {
    let process = (!watched.is_zero()).then(|| cost.process.div_duration_f64(watched));
    let mut lines = vec![format!(
        "the programs take {} of one CPU, and verity-trace itself {}",
        format::percentage(cost.share()),
        format::percentage(process),
    )];
    let each = Occasion::ALL.into_iter().filter_map(|occasion| {
        let ns = format::duration(Nanos(cost.each(occasion)?));
        Some(match occasion {
            Occasion::Io => format!("{ns} an I/O"),
            Occasion::Softirq => format!("{ns} a softirq"),
            Occasion::WorkItem => format!("{ns} a queued work"),
            Occasion::HashBlock => format!("{ns} a hash block"),
        })
    });
    let each: Vec<_> = each.collect();
    if !each.is_empty() {
        lines.push(each.join(", "));
    }
    let dispatch = &cost.calibration.dispatch_ns;
    let dispatch: Vec<_> = dispatch
        .iter()
        .map(|(it, &ns)| format!("{} {}", it.name(), format::duration(Nanos(ns))))
        .collect();
    if !dispatch.is_empty() {
        lines.push(format!(
            "of it for each run of a program: {}",
            dispatch.join(", ")
        ));
    }
    let unknown: BTreeSet<_> = cost
        .programs
        .iter()
        .filter(|program| !cost.is_calibrated(program.attachment))
        .map(|program| program.attachment.name())
        .collect();
    if !unknown.is_empty() {
        let unknown: Vec<_> = unknown.into_iter().collect();
        lines.push(format!(
            "without what it costs to call a program by {}, which is unknown here",
            unknown.join(" and "),
        ));
    }
    lines.push(format!(
        "measured during {} of the time",
        format::span(cost.measured)
    ));
    lines
}

fn has_worked(cpu: &Cpu) -> bool {
    let verifications =
        cpu.kverityd_verifications + cpu.bh_verifications + cpu.inline_verifications.unwrap_or(0);
    !cpu.softirq.is_zero() || verifications > 0
}
