//! The slowest I/Os one by one, their stages drawn to one scale.

use std::collections::BTreeMap;
use std::time::Duration;

use maud::{Markup, html};

use super::gather::Gathered;
use super::parts::Parts;
use crate::decode::Io;
use crate::escape;
use crate::format;
use crate::snapshot::{Context, DeviceNumber, Reason, Snapshot};

/// The table; nothing where there are no records.
pub fn section(gathered: &Gathered, snapshot: &Snapshot, start: u64) -> Markup {
    let names: BTreeMap<_, _> = snapshot
        .devices
        .iter()
        .map(|it| (it.number, &it.name[..]))
        .collect();
    let ios: Vec<_> = gathered.slowest.items().collect();
    let Some(slowest) = ios.first() else {
        return html! {};
    };
    let whole = slowest.total.0.into();
    html! {
        section {
            h2 #slowest {
                "The slowest " @if ios.len() > 1 { (ios.len()) " I/Os" } @else { "I/O" }
                " of " (gathered.slowest.seen()) " with a record"
            }
            table.cards {
                thead { tr {
                    th scope="col" { "took" } th.wide scope="col" { "stages, all to one scale" }
                    th.verified scope="col" { "verified" } th scope="col" { "where" }
                    th scope="col" { "CPUs: submitted, completed, verified" }
                    th scope="col" { "submitter" }
                } }
                tbody {
                    @for io in ios { (row(io, &names, snapshot, start, whole)) }
                }
            }
        }
    }
}

fn row(
    io: &Io,
    names: &BTreeMap<DeviceNumber, &str>,
    snapshot: &Snapshot,
    start: u64,
    whole: u128,
) -> Markup {
    let parts = Parts::of_io(&io.stages, io.total);
    let after = Duration::from_nanos(io.mapped_at.0.saturating_sub(start));
    let name = names.get(&io.device).copied();
    html! {
        tr {
            th scope="row" data-label="took" {
                (format::duration(io.total)) small.line { "mapped at " (format::span(after)) }
            }
            td.wide data-label="stages" { (parts.bar(whole)) (parts.durations()) }
            td.verified data-label="verified" { (placement(io, snapshot)) }
            td data-label="where" {
                @if let Some(name) = name { (escape::terminal(name)) " " }
                (io.device)
                small.line { "sector " (io.sector) ", " (io.bytes) " bytes" }
            }
            td data-label="CPUs: submitted, completed, verified" {
                (io.submit_cpu) ", " (known(io.complete_cpu)) ", " (known(io.verify_cpu))
            }
            td data-label="submitter" { (submitter(io)) }
        }
    }
}

fn placement(io: &Io, snapshot: &Snapshot) -> Markup {
    let flags = [
        (io.status != 0, format!("failed, status {}", io.status)),
        (io.rechecked, "rechecked".to_owned()),
        (io.fec, "FEC".to_owned()),
        (io.incomplete, "incomplete".to_owned()),
        (io.clock, "clocks disagreed".to_owned()),
    ];
    let flags = flags
        .into_iter()
        .filter_map(|(set, text)| set.then_some(text));
    let flags: Vec<_> = flags.collect();
    html! {
        b { (io.placement.name()) }
        @if let Some(attempt) = io.attempt { " after " (attempt.name()) }
        @if let Some(reason) = io.reason { ": " (self::reason(reason, snapshot)) }
        small {
            @if let Some(context) = io.context.map(Context::name) { "in " (context) ", " }
            @if let Some(context) = io.attempt_context { "attempt in " (context.name()) ", " }
            "completed in " (io.completion.name())
        }
        @if !flags.is_empty() { small { b { (flags.join(", ")) } } }
    }
}

fn submitter(io: &Io) -> Markup {
    html! {
        (escape::terminal(&io.command)) " " span.line { "process " (io.submitter) }
        small.line { "cgroup " (io.cgroup) @if io.read_ahead { ", read-ahead" } }
    }
}

/// A reason, and whether it was concluded.
pub fn reason(reason: Reason, snapshot: &Snapshot) -> String {
    if snapshot.is_inferred(reason) {
        format!("{} (inferred)", reason.name())
    } else {
        reason.name().to_owned()
    }
}

fn known(cpu: Option<u16>) -> String {
    cpu.map_or_else(|| format::ABSENT.to_owned(), |cpu| cpu.to_string())
}
