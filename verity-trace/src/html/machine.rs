//! The machine: its CPUs, what the last rung sees of it, and what watching it cost.

use maud::{Markup, html};

use super::device::pairs;
use super::stages;
use crate::facts;
use crate::format;
use crate::overview::{self, Overview};
use crate::report;
use crate::snapshot::{Cpu, Era, Placement, Snapshot};

/// What the last rung sees, in place of I/Os; nothing on the others.
pub fn queued(snapshot: &Snapshot) -> Markup {
    let rows = snapshot.queued.iter();
    let groups: Vec<_> = rows
        .map(|(it, queued)| (it.name(), vec![("queued", queued)]))
        .collect();
    let Some(axis) = stages::axis(snapshot.queued.values()) else {
        return html! {};
    };
    html! {
        section {
            h2 #queued { "Verifications of all devices that began, and how long each was queued" }
            (stages::table("placement", &groups, axis))
        }
    }
}

/// Softirqs and verifications by CPU.
pub fn cpus(snapshot: &Snapshot) -> Markup {
    let busy: Vec<_> = snapshot.cpus.iter().filter(|cpu| has_worked(cpu)).collect();
    let idle = snapshot.cpus.len() - busy.len();
    // The programs count the two together, and no kernel has both.
    let bh = match snapshot.kernel.era {
        Some(Era::Tasklet) => Placement::Tasklet,
        _ => Placement::Bh,
    };
    html! {
        @if !busy.is_empty() {
            section {
                h2 #cpus { "Softirq time by CPU, and verifications begun" }
                table.cards.numbers {
                    thead { tr {
                        th scope="col" { "CPU" } th scope="col" { "softirq" } th scope="col" { "TASKLET" }
                        th scope="col" { "BLOCK" } th scope="col" { "verification" } th scope="col" { "share" }
                        th scope="col" { "kverityd" } th scope="col" { (bh.name()) } th scope="col" { "inline" }
                    } }
                    tbody { @for cpu in &busy { (cpu_row(cpu, bh)) } }
                }
                @if idle > 0 { p.of { (format::counted(idle, "CPU")) " with nothing to show left out" } }
            }
        }
        (queues(snapshot))
    }
}

fn cpu_row(cpu: &Cpu, bh: Placement) -> Markup {
    let time = |time| format::duration(format::nanos(time));
    let verify = cpu.softirq_verify;
    let cells = [
        ("softirq", time(cpu.softirq)),
        ("TASKLET", time(cpu.tasklet_softirq)),
        ("BLOCK", time(cpu.block_softirq)),
        (
            "verification",
            verify.map_or_else(|| format::ABSENT.to_owned(), time),
        ),
        (
            "share",
            verify.map_or_else(
                || format::ABSENT.to_owned(),
                |verify| format::share_of(verify, cpu.softirq),
            ),
        ),
        ("kverityd", cpu.kverityd_verifications.to_string()),
        (bh.name(), cpu.bh_verifications.to_string()),
        (
            "inline",
            cpu.inline_verifications
                .map_or_else(|| format::ABSENT.to_owned(), |it| it.to_string()),
        ),
    ];
    html! {
        tr {
            th scope="row" data-label="CPU" { (cpu.number) }
            @for (label, text) in cells { td data-label=(label) { (text) } }
        }
    }
}

fn queues(snapshot: &Snapshot) -> Markup {
    let cpus = snapshot.cpus.iter();
    let busy = cpus.filter_map(|cpu| Some((cpu.number, cpu.queues.as_ref()?)));
    let busy: Vec<_> = busy.filter(|(_, it)| !it.softirqs.is_empty()).collect();
    html! {
        @if !busy.is_empty() {
            section {
                h2 { "Softirqs, works of the BH workqueue, and the longest verification in softirq" }
                table.numbers {
                    thead { tr {
                        th scope="col" { "CPU" } th scope="col" { "softirqs" } th scope="col" { "ksoftirqd" }
                        th scope="col" { "BH works" } th scope="col" { "limits (inferred)" }
                        th scope="col" { "longest" }
                    } }
                    tbody {
                        @for (number, queues) in busy {
                            @let longest = queues.longest_verify.map(format::nanos);
                            tr {
                                th scope="row" { (number) }
                                td { (queues.softirqs.values().sum::<u64>()) }
                                td { (queues.ksoftirqd.values().sum::<u64>()) }
                                td { (queues.bh_works) }
                                td { (queues.bh_limits) }
                                td { (longest.map_or_else(|| format::ABSENT.to_owned(), format::duration)) }
                            }
                        }
                    }
                }
            }
        }
        @if let Some(unseen) = snapshot.queues_unseen.filter(|&unseen| unseen > 0) {
            p { (unseen) " softirqs or works were not seen, since the program for them was already running there" }
        }
        @if let Some(unseen) = snapshot.hash_cache_unseen.filter(|&unseen| unseen > 0) {
            p {
                "Hash blocks: " (unseen)
                " calls were not seen, since the program for them was already running there"
            }
        }
    }
}

/// How it was watched, how the recording came to be, and what that cost.
pub fn how(snapshot: &Snapshot, overview: Option<&Overview>) -> Markup {
    let kernel = &snapshot.kernel;
    let era = kernel.era.map_or_else(
        || format::ABSENT.to_owned(),
        |era| format!("{}: {}", era.name(), facts::meaning(era)),
    );
    let tracing = &snapshot.tracing;
    let mut facts = vec![
        (
            "kernel",
            format!(
                "{} on {}, {}",
                kernel.release,
                kernel.host,
                format::counted(kernel.cpus, "CPU")
            ),
        ),
        ("era", era),
        (
            "probes",
            format!("{}: {}", facts::rung(tracing), facts::tracing(tracing)),
        ),
    ];
    for gap in &snapshot.gaps {
        facts.push((
            "without",
            format!("{}: {} ({})", gap.missing, gap.lost, gap.reason()),
        ));
    }
    facts.push(("watched", format::span(snapshot.watched)));
    if let Some(account) = &snapshot.account {
        let text = format!(
            "{}: finished {}, rejected {}, in flight {}, lost {}",
            account.mapped, account.finished, account.rejected, account.in_flight, account.lost,
        );
        facts.push(("mapped", text));
    }
    facts.push(("loss", loss(snapshot)));
    if snapshot.before_attach > 0 {
        let text = format!(
            "{} I/Os that began before all probes were attached are not counted",
            snapshot.before_attach
        );
        facts.push(("before attach", text));
    }
    if let Some(overview) = overview {
        facts.extend(overview::about(overview));
    }
    if let Some(sampling) = &snapshot.sampling {
        let text = format!(
            "one in {}; {} not sent",
            sampling.one_in, sampling.sampled_out
        );
        facts.push(("records under the budget", text));
    }
    let cost = snapshot.cost.as_ref();
    let cost = cost.map(|cost| report::cost_lines(cost, snapshot.watched).join("; "));
    facts.extend(cost.map(|text| ("cost of tracing", text)));
    html! {
        section {
            h2 #how { "How this was measured" }
            (pairs(&facts))
            p.of { "p50, p90, p99 and max of histograms are at most 1/32 off." }
        }
    }
}

fn loss(snapshot: &Snapshot) -> String {
    let kinds = snapshot.loss.iter();
    let kinds: Vec<_> = kinds
        .map(|(kind, count)| format!("{} {count}", kind.name()))
        .collect();
    let loss = match snapshot.lost() {
        0 => "none".to_owned(),
        lost => format!("{lost}: {}", kinds.join(", ")),
    };
    if snapshot.hides_misses {
        return format!("{loss}, a lower bound: {}", facts::HIDDEN_MISSES);
    }
    loss
}

fn has_worked(cpu: &Cpu) -> bool {
    let verifications =
        cpu.kverityd_verifications + cpu.bh_verifications + cpu.inline_verifications.unwrap_or(0);
    !cpu.softirq.is_zero() || verifications > 0
}
