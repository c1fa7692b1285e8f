//! A device: what it is, where its I/Os were verified and why, and how long each stage took.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::scale::Log;
use super::stages;
use super::summary::anchor;
use super::timeline::reason;
use crate::escape;
use crate::facts::{self, OptionEffect};
use crate::format;
use crate::histogram::Nanos;
use crate::snapshot::{
    Device, Failure, InFlight, Other, Placement, PlacementTotals, Snapshot, Submitters, Totals,
    stage_name,
};

/// A device with a line of its own.
pub fn section(device: &Device, snapshot: &Snapshot, axis: Option<Log>) -> Markup {
    let effect = OptionEffect::of(device, snapshot.kernel.era);
    let table = &device.table;
    let named = |number: &str| {
        let text = format::device(number, &snapshot.kernel_names);
        escape::terminal(&text).into_owned()
    };
    let status = device.status.as_ref();
    let mut facts = vec![
        ("option", effect.name().to_owned()),
        (
            "status",
            status
                .map_or(format::ABSENT, |it| it.verdict.name())
                .to_owned(),
        ),
        ("data", named(&table.data_device)),
        ("hashes", named(&table.hash_device)),
        (
            "algorithm",
            format!(
                "{}, {} bytes a block",
                table.algorithm, table.data_block_bytes
            ),
        ),
    ];
    if let Some(blocks) = status.and_then(|it| it.fec_corrected) {
        facts.push(("FEC corrected", blocks.to_string()));
    }
    if let Some(these) = &device.in_flight {
        facts.push(("in flight", in_flight(these)));
    }
    if let Some(ios) = device.in_flight_before_attach.filter(|&ios| ios > 0) {
        let ios = format::ios(ios);
        facts.push((
            "in flight since before attach",
            format!("{ios} or more, in no other number"),
        ));
    }
    if let Some(failure) = device.first_failure {
        facts.push(("first failure", first_failure(failure)));
    }
    if let Some(before) = device.before_attach.filter(|before| before.ios > 0) {
        let bytes = format::mebibytes(before.bytes);
        facts.push((
            "before attach",
            format!("{} I/Os, {bytes}, in no other number", before.ios),
        ));
    }
    html! {
        section {
            h3 id=(anchor(device)) { (escape::terminal(&device.name)) " " small.same { (device.number) } }
            @if let Some(sentence) = effect.sentence() { p { b { (sentence) } } }
            @match &device.totals {
                Some(totals) => {
                    (list(&facts, totals, snapshot))
                    (of_totals(totals, snapshot, axis))
                }
                None => {
                    (pairs(&facts))
                    p {
                        @if device.counted_in_other {
                            "All slots are taken (--max-devices): its I/Os are counted with those of the others."
                        } @else { "Its I/Os are not seen." }
                    }
                }
            }
        }
    }
}

/// Devices without a line of their own.
pub fn others(other: &Other, snapshot: &Snapshot, axis: Option<Log>) -> Markup {
    let mut facts = vec![("in flight", in_flight(&other.in_flight))];
    if let Some(failure) = other.first_failure {
        facts.push(("first failure", first_failure(failure)));
    }
    html! {
        section {
            h3 #other { (facts::OTHER) ", together" }
            (list(&facts, &other.totals, snapshot))
            (of_totals(&other.totals, snapshot, axis))
        }
    }
}

/// Words and what is to be said of them.
pub fn pairs(facts: &[(&str, String)]) -> Markup {
    html! {
        dl.facts {
            @for (label, text) in facts {
                div { dt { (label) } dd { (escape::terminal(text)) } }
            }
        }
    }
}

fn list(facts: &[(&'static str, String)], totals: &Totals, snapshot: &Snapshot) -> Markup {
    let known =
        |count: Option<u64>| count.map_or_else(|| format::ABSENT.to_owned(), |it| it.to_string());
    let mut facts = facts.to_vec();
    facts.extend([
        ("I/Os", totals.ios().to_string()),
        ("I/O/s", format::rate(totals.ios(), snapshot.watched)),
        (
            "MiB/s",
            format::Bytes::default().rate(totals.bytes(), snapshot.watched),
        ),
        ("failed", totals.failed().to_string()),
        ("rejected", totals.rejected.to_string()),
        ("incomplete", totals.incomplete.to_string()),
        ("rechecked", known(totals.rechecked)),
        ("FEC", known(totals.fec)),
    ]);
    if !totals.loss.is_empty() {
        facts.push(("loss", counts(&totals.loss, |it| it.name().to_owned())));
    }
    if let Some(cache) = &totals.hash_cache {
        let lookups = cache.lookups();
        let hits = (lookups > 0).then(|| cache.hits as f64 / lookups as f64);
        let unmeasured = match cache.unmeasured {
            0 => String::new(),
            count => format!(", not followed {count}"),
        };
        let text = format!(
            "looked up {lookups}: in the cache {}, missed {}, read under way {}{unmeasured}; waited {} in all",
            format::share(hits),
            cache.misses,
            cache.awaited,
            format::duration(format::nanos(cache.wait)),
        );
        facts.push(("hash blocks", text));
    }
    if let Some(wait) = &totals.queue_wait {
        let mean = |ns: u64, of: u64| {
            let mean = ns.checked_div(of).map(Nanos);
            mean.map_or_else(|| format::ABSENT.to_owned(), format::duration)
        };
        let text = format!(
            "{} of {} I/Os behind the worker's previous work, {} each, then {} until the worker began",
            wait.behind,
            wait.ios,
            mean(wait.behind_ns, wait.behind),
            mean(wait.wake_up_ns, wait.ios),
        );
        facts.push(("wait for kverityd, inferred", text));
    }
    if !totals.attempts.is_empty() {
        let attempts = counts(&totals.attempts, |it| it.name().to_owned());
        facts.push(("fallbacks by their attempt", attempts));
    }
    if !totals.attempt_contexts.is_empty() {
        let contexts = counts(&totals.attempt_contexts, |it| it.name().to_owned());
        facts.push(("context of the attempt", contexts));
    }
    pairs(&facts)
}

fn of_totals(totals: &Totals, snapshot: &Snapshot, axis: Option<Log>) -> Markup {
    html! {
        @if totals.ios() > 0 {
            h4 { "Where they were verified, and why" }
            (placements(totals, snapshot))
            @if let Some(axis) = axis {
                h4 { "How long each stage took" }
                (stages::by_placement(totals, axis))
            }
        }
        @if let Some(these) = &totals.submitters { (submitters(these)) }
    }
}

fn placements(totals: &Totals, snapshot: &Snapshot) -> Markup {
    let these = Placement::ALL.into_iter();
    let these = these.filter_map(|it| Some((it, totals.placements.get(&it)?)));
    let shares = format::shares(totals.each_ios());
    let share = |placement| shares.get(&placement).map_or(format::ABSENT, |it| it);
    html! {
        table.cards {
            thead { tr {
                th scope="col" { "placement" } th.number scope="col" { "I/Os" } th.share scope="col" { "share" }
                th.number scope="col" { "bytes" } th.number scope="col" { "failed" }
                th scope="col" { "why not in BH or inline" } th scope="col" { "context" }
                th scope="col" { "context of completion" }
            } }
            tbody {
                @for (placement, these) in these {
                    (placement_row(placement, these, (totals.share(placement), share(placement)), snapshot))
                }
            }
        }
    }
}

fn placement_row(
    placement: Placement,
    these: &PlacementTotals,
    (share, percent): (Option<f64>, &str),
    snapshot: &Snapshot,
) -> Markup {
    let absent = |text: String| {
        if text.is_empty() {
            format::ABSENT.to_owned()
        } else {
            text
        }
    };
    html! {
        tr {
            th scope="row" data-label="placement" { (placement.name()) }
            td.number data-label="I/Os" { (these.ios) }
            td.share data-label="share" {
                div {
                    svg.bar viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
                        rect.rest width="100" height="10" {}
                        rect.part width=(format!("{:.1}", share.unwrap_or(0.0) * 100.0)) height="10" {}
                    }
                    span { (percent) }
                }
            }
            td.number data-label="bytes" { (format::mebibytes(these.bytes)) }
            td.number data-label="failed" { (these.failed) }
            td data-label="why not" { (absent(counts(&these.reasons, |it| reason(it, snapshot)))) }
            td data-label="context" { (absent(counts(&these.contexts, |it| it.name().to_owned()))) }
            td data-label="completed in" {
                (absent(counts(&these.completions, |it| it.name().to_owned())))
            }
        }
    }
}

fn submitters(submitters: &Submitters) -> Markup {
    let others = submitters.others;
    html! {
        h4 { "Who submitted them" }
        table.numbers {
            thead { tr {
                th scope="col" { "submitter" } th scope="col" { "command" } th scope="col" { "I/Os" }
                th scope="col" { "bytes" } th scope="col" { "cgroup" }
            } }
            tbody {
                @for it in &submitters.top {
                    tr {
                        th scope="row" { (it.task) } td { (escape::terminal(&it.command)) } td { (it.ios) }
                        td { (format::mebibytes(it.bytes)) } td { (it.cgroup) }
                    }
                }
                @if others.ios > 0 {
                    tr {
                        th scope="row" { "others" }
                        td {
                            (format::counted(others.tasks, "submitter"))
                            @if others.unlisted > 0 {
                                ", and " (others.unlisted) " I/Os that found no room in the table"
                            }
                        }
                        td { (others.ios) } td { (format::mebibytes(others.bytes)) } td { (format::ABSENT) }
                    }
                }
            }
        }
    }
}

fn in_flight(these: &InFlight) -> String {
    let stages: Vec<_> = these
        .stages
        .iter()
        .map(|(&stage, these)| format!("{} {}", stage_name(stage), these.ios))
        .collect();
    match these.oldest() {
        None => these.ios().to_string(),
        Some((stage, age)) => format!(
            "{}: {}; the oldest, in {}, {} old",
            these.ios(),
            stages.join(", "),
            stage_name(stage),
            format::duration(format::nanos(age)),
        ),
    }
}

fn first_failure(Failure { sector, status }: Failure) -> String {
    format!("begins at sector {sector}, status {status}")
}

fn counts<K: Copy>(counts: &BTreeMap<K, u64>, name: impl Fn(K) -> String) -> String {
    let words = counts
        .iter()
        .map(|(&key, count)| format!("{} {count}", name(key)));
    words.collect::<Vec<_>>().join(", ")
}
