//! The first screen: whether verification takes time here, and where; and what must be known to trust it.

use std::cmp::Reverse;
use std::time::Duration;

use maud::{Markup, html};

use super::gather::Gathered;
use super::parts::Parts;
use crate::escape;
use crate::facts::{self, OptionEffect};
use crate::format;
use crate::overview::Overview;
use crate::snapshot::{Device, InFlight, Rung, Snapshot, Stage, Totals, Tracing, stage_name};
use crate::target::Verdict;

/// An I/O that is in flight for longer is said to hang: no disk that works takes so long.
const HANGS: Duration = Duration::from_secs(1);

/// Sentences, what is wrong, and a line for every device.
pub fn section(snapshot: &Snapshot, recording: Option<(&Overview, &Gathered)>) -> Markup {
    html! {
        section.summary {
            h2 #summary { "What verification takes" }
            (sentences(snapshot, recording))
            @let found = warnings(snapshot, recording);
            @if found.is_empty() {
                p.calm { "Nothing was lost, and no I/O failed." }
            } @else {
                ul.warnings {
                    @for (what, text) in found { li { b { (what) ":" } " " (text) } }
                }
            }
            (devices(snapshot))
        }
    }
}

fn sentences(snapshot: &Snapshot, recording: Option<(&Overview, &Gathered)>) -> Markup {
    let all = all_totals(snapshot);
    let ios: u64 = all.iter().map(|it| it.ios()).sum();
    let parts = Parts::of(all);
    let Some(share) = parts.verification_share() else {
        return html! { p.lead { (unseen(snapshot)) } };
    };
    let stages = [Stage::Wait, Stage::Attempt, Stage::RetryWait, Stage::Verify];
    let stages = stages.into_iter().filter_map(|stage| {
        let share = parts.share(stage).filter(|&share| share > 0.0)?;
        Some(format!(
            "{} {}",
            stage_name(stage),
            format::share(Some(share))
        ))
    });
    let stages: Vec<_> = stages.collect();
    let devices = by_device(snapshot);
    let of_all = |it: &Parts| it.verification() as f64 / parts.verification().max(1) as f64;
    let slowest = recording.and_then(|(_, gathered)| gathered.slowest.items().next());
    html! {
        p.lead {
            "Verification and the wait for it took " b { (format::share(Some(share))) } " of the time of "
            (ios) " I/Os"
            @if !stages.is_empty() { ": " (stages.join(", ")) }
            ". "
            @if parts.unseen() > 0 {
                "The data device took " (format::share(parts.share(Stage::Device)))
                ", and of the rest no stage was seen."
            } @else { "The rest went to the data device." }
        }
        p {
            @if let [(name, most), _, ..] = &devices[..] {
                "The largest part of it was on " b { (escape::terminal(name)) } ": "
                (format::share(Some(of_all(most)))) " of all time of verification, "
                (format::share(most.verification_share())) " of the time of these I/Os. "
            }
            @if let Some(io) = slowest {
                @let parts = Parts::of_io(&io.stages, io.total);
                "The slowest I/O with a record took "
                (format::duration(io.total))
                @if let Some(stage) = parts.longest() {
                    ", " (format::share(parts.share(stage))) " of it in " (stage_name(stage))
                }
                "."
            }
        }
    }
}

/// Why there are no I/Os to speak of.
fn unseen(snapshot: &Snapshot) -> String {
    match &snapshot.tracing {
        Tracing::Attached(Rung::Tracepoint) => {
            "I/Os are not seen one by one here: only verifications on workqueues are counted, all devices \
             together."
                .to_owned()
        }
        Tracing::Attached(_) => "No I/O finished while this was watched.".to_owned(),
        other => format!("dm-verity was not watched: {}.", facts::tracing(other)),
    }
}

/// What must be known before any number is believed, in words.
fn warnings(
    snapshot: &Snapshot,
    recording: Option<(&Overview, &Gathered)>,
) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let lost = snapshot.lost();
    if lost > 0 {
        let kinds = snapshot.loss.iter();
        let kinds: Vec<_> = kinds
            .map(|(kind, count)| format!("{} {count}", kind.name()))
            .collect();
        found.push(("Loss", format!("{lost} not seen ({})", kinds.join(", "))));
    }
    if snapshot.hides_misses {
        found.push(("Loss", format!("a lower bound: {}", facts::HIDDEN_MISSES)));
    }
    if let Some((overview, gathered)) = recording {
        let about = crate::overview::about(overview).into_iter();
        let cut = overview.condition.cut.is_some();
        let wanted = |label: &str| label == "damage" || label == "ended" && cut;
        found.extend(about.filter_map(|(label, text)| match label {
            "damage" if wanted(label) => Some(("Damage", text)),
            "ended" if wanted(label) => Some(("Cut", text)),
            _ => None,
        }));
        if gathered.undecoded > 0 {
            let text = format!("{} make no I/O and were left out", gathered.undecoded);
            found.push(("Records", text));
        }
    }
    if let Tracing::Attached(Rung::Kprobe | Rung::Tracepoint) = &snapshot.tracing {
        let tracing = &snapshot.tracing;
        found.push((
            "Probes",
            format!("{}: {}", facts::rung(tracing), facts::tracing(tracing)),
        ));
    }
    if let Tracing::Failed(_) = &snapshot.tracing {
        found.push(("Probes", facts::tracing(&snapshot.tracing).into_owned()));
    }
    for device in &snapshot.devices {
        found.extend(of_device(device, snapshot));
    }
    if let Some(other) = &snapshot.other {
        found.extend(of_ios(
            facts::OTHER,
            Some(&other.totals),
            Some(&other.in_flight),
        ));
    }
    found
}

fn of_device(device: &Device, snapshot: &Snapshot) -> Vec<(&'static str, String)> {
    let name = escape::terminal(&device.name);
    let mut found = Vec::new();
    if let Some(status) = &device.status
        && status.verdict != Verdict::Valid
    {
        let verdict = escape::terminal(status.verdict.name()).into_owned();
        found.push(("Status", format!("{name}: {verdict}")));
    }
    found.extend(of_ios(
        &name,
        device.totals.as_ref(),
        device.in_flight.as_ref(),
    ));
    let effect = OptionEffect::of(device, snapshot.kernel.era);
    if let Some(sentence) = effect.sentence().filter(|_| effect.is_mismatch()) {
        found.push(("Option", format!("{name}: {sentence}")));
    }
    found
}

/// Those that failed, and those that hang.
fn of_ios(
    name: &str,
    totals: Option<&Totals>,
    in_flight: Option<&InFlight>,
) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let failed = totals.map_or(0, Totals::failed);
    if failed > 0 {
        found.push(("Failed", format!("{name}: {failed} I/Os")));
    }
    if let Some((stage, age)) = in_flight.and_then(InFlight::oldest)
        && age >= HANGS
    {
        let (age, stage) = (format::span(age), stage_name(stage));
        let text =
            format!("{name}: the oldest I/O in flight is {age} old and in the stage {stage}");
        found.push(("Hangs", text));
    }
    found
}

fn devices(snapshot: &Snapshot) -> Markup {
    if snapshot.devices.is_empty() && snapshot.other.is_none() {
        return html! { p { "There was no verity device." } };
    }
    html! {
        table.cards {
            thead { tr {
                th scope="col" { "device" } th scope="col" { "option" }
                th.number scope="col" { "I/Os" } th.number scope="col" { "I/O/s" }
                th.number scope="col" { "MiB/s" } th.number scope="col" { "p50" }
                th.number scope="col" { "p99" } th.number scope="col" { "max" }
                th.number scope="col" { "verification" } th.wide scope="col" { "of the time of its I/Os" }
            } }
            tbody {
                @for device in &snapshot.devices {
                    tr {
                        th scope="row" data-label="device" {
                            a href={ "#" (anchor(device)) } { (escape::terminal(&device.name)) }
                            " " small.same { (device.number) }
                        }
                        td data-label="option" { (OptionEffect::of(device, snapshot.kernel.era).name()) }
                        (cells(device.totals.as_ref(), snapshot))
                    }
                }
                @if let Some(other) = &snapshot.other {
                    tr {
                        th scope="row" data-label="device" { a href="#other" { "others" } }
                        td data-label="option" { (format::ABSENT) }
                        (cells(Some(&other.totals), snapshot))
                    }
                }
            }
        }
    }
}

fn cells(totals: Option<&Totals>, snapshot: &Snapshot) -> Markup {
    let total = totals.map(|it| it.stage(Stage::Total)).unwrap_or_default();
    let known = |text: fn(&Totals, &Snapshot) -> String| {
        totals.map_or_else(|| format::ABSENT.to_owned(), |it| text(it, snapshot))
    };
    let parts = Parts::of(totals);
    html! {
        td.number data-label="I/Os" { (known(|it, _| it.ios().to_string())) }
        td.number data-label="I/O/s" { (known(|it, all| format::rate(it.ios(), all.watched))) }
        td.number data-label="MiB/s" {
            (known(|it, all| format::Bytes::default().rate(it.bytes(), all.watched)))
        }
        @for (permille, name) in [(500, "p50"), (990, "p99"), (1_000, "max")] {
            td.number data-label=(name) { (format::percentile(total.percentile(permille))) }
        }
        td.number data-label="verification" { b { (format::share(parts.verification_share())) } }
        td.wide data-label="time" {
            @if parts.total() > 0 { (parts.bar(parts.total())) (parts.shares()) }
            @else if totals.is_none() { "its I/Os are not seen apart" }
            @else { "no I/O" }
        }
    }
}

/// The fragment that stands for a device.
pub fn anchor(device: &Device) -> String {
    format!("device-{}-{}", device.number.major, device.number.minor)
}

fn all_totals(snapshot: &Snapshot) -> Vec<&Totals> {
    let devices = snapshot.devices.iter().filter_map(|it| it.totals.as_ref());
    let other = snapshot.other.iter().map(|it| &it.totals);
    devices.chain(other).collect()
}

/// Devices on which verification took time, most first, and among them those without a line of their own.
fn by_device(snapshot: &Snapshot) -> Vec<(&str, Parts)> {
    let devices = snapshot.devices.iter();
    let devices = devices.filter_map(|it| Some((&*it.name, it.totals.as_ref()?)));
    let other = snapshot.other.iter();
    let all = devices.chain(other.map(|it| (facts::OTHER, &it.totals)));
    let all = all.map(|(name, totals)| (name, Parts::of([totals])));
    let mut found: Vec<_> = all.filter(|(_, parts)| parts.verification() > 0).collect();
    found.sort_by_key(|(_, parts)| Reverse(parts.verification()));
    found
}
