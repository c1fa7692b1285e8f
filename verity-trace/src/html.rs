//! A report as one HTML document: pictures beside the numbers, nothing loaded from anywhere, no script.
//!
//! It grows with devices and CPUs, never with records: these are gathered in one pass before.

mod advice;
mod bins;
mod device;
mod gather;
mod heat_map;
mod machine;
mod parts;
mod scale;
mod stages;
mod style;
mod summary;
mod timeline;

use std::io::{self, Write};
use std::time::SystemTime;

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use gather::{Gathered, Mark};

use crate::escape;
use crate::facts;
use crate::format;
use crate::overview::{self, Overview};
use crate::recommend::{self, Advice};
use crate::report;
use crate::snapshot::Snapshot;

/// Writes the report of a recording.
pub fn html(overview: &Overview, gathered: &Gathered, out: &mut impl Write) -> io::Result<()> {
    let mut text = Vec::new();
    overview::overview(overview, &mut text)?;
    let recording = Some((overview, gathered));
    document(
        &overview.snapshot,
        &overview.advices,
        recording,
        &String::from_utf8_lossy(&text),
        out,
    )
}

/// Writes the report of a snapshot, of which there are no records.
pub fn live(snapshot: &Snapshot, advices: &[Advice], out: &mut impl Write) -> io::Result<()> {
    let mut text = Vec::new();
    report::report(snapshot, &mut text)?;
    recommend::section(advices, &mut text)?;
    document(
        snapshot,
        advices,
        None,
        &String::from_utf8_lossy(&text),
        out,
    )
}

fn document(
    snapshot: &Snapshot,
    advices: &[Advice],
    recording: Option<(&Overview, &Gathered)>,
    text: &str,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut put = |part: Markup| out.write_all(part.0.as_bytes());
    let title = format!(
        "dm-verity on {}, Linux {}",
        escape::terminal(&snapshot.kernel.host),
        escape::terminal(&snapshot.kernel.release),
    );
    put(PreEscaped(format!("{}<html lang=\"en\">", DOCTYPE.0)))?;
    put(head(&title))?;
    put(PreEscaped("<body>".to_owned()))?;
    put(header(snapshot, recording.map(|it| it.0), &title))?;
    put(PreEscaped("<main>".to_owned()))?;
    put(summary::section(snapshot, recording))?;
    put(advice::section(advices))?;
    if let Some((overview, gathered)) = recording {
        let start = overview.pictures_ns.0;
        put(heat_map::section(
            gathered,
            &records(overview, gathered),
            start,
        ))?;
        put(timeline::section(gathered, snapshot, start))?;
    }
    put(machine::queued(snapshot))?;
    if !snapshot.devices.is_empty() || snapshot.other.is_some() {
        put(html! { h2 #devices { "Devices" } p.of { (OF_COUNTERS) } })?;
    }
    let devices = snapshot.devices.iter().filter_map(|it| it.totals.as_ref());
    let all = devices.chain(snapshot.other.as_ref().map(|it| &it.totals));
    let axis = stages::axis(all.flat_map(stages::histograms));
    for device in &snapshot.devices {
        put(device::section(device, snapshot, axis))?;
    }
    if let Some(other) = &snapshot.other {
        put(device::others(other, snapshot, axis))?;
    }
    put(machine::cpus(snapshot))?;
    put(machine::how(snapshot, recording.map(|it| it.0)))?;
    put(html! {
        section {
            h2 #text { "The same as text" }
            details { summary { "What verity-trace report prints" } pre { (text) } }
        }
    })?;
    put(PreEscaped("</main></body></html>\n".to_owned()))
}

/// What is in counters and histograms.
const OF_COUNTERS: &str = "Numbers and histograms here are of every I/O, whichever have records. Lines in a \
     histogram are p50, p90, p99 and max, from left to right; a bar is as high as what an equal part of the \
     axis counts, relative to the highest of its row.";

fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(style::policy());
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="referrer" content="no-referrer";
            meta name="generator" content={ "verity-trace " (env!("CARGO_PKG_VERSION")) };
            title { (title) }
            style { (PreEscaped(style::TEXT)) }
        }
    }
}

fn header(snapshot: &Snapshot, overview: Option<&Overview>, title: &str) -> Markup {
    // Of a live watch the snapshot is the end.
    let start = snapshot.taken_at.saturating_sub(snapshot.watched);
    let start = SystemTime::UNIX_EPOCH.checked_add(start.min(format::YEAR_9999));
    let start = start.unwrap_or(SystemTime::UNIX_EPOCH);
    let time = overview.map_or_else(
        || humantime::format_rfc3339_seconds(start).to_string(),
        |overview| overview.time(overview.pictures_ns.0),
    );
    let lost = snapshot.lost();
    html! {
        header {
            h1 { (title) }
            p {
                (format::counted(snapshot.kernel.cpus, "CPU")) " · probes "
                (facts::rung(&snapshot.tracing)) " · watched " (format::span(snapshot.watched))
                " from " time datetime=(time) { (time) } " · loss "
                @if lost == 0 { "none" } @else { b { (lost) } }
                @if let Some(cost) = &snapshot.cost { " · programs " (format::percentage(cost.share())) " of one CPU" }
            }
            @if let Some(era) = snapshot.kernel.era { p { "era " (era.name()) ": " (facts::meaning(era)) } }
        }
    }
}

/// Which I/Os have records.
fn records(overview: &Overview, gathered: &Gathered) -> String {
    let about = overview::about(overview).into_iter();
    let all = about
        .filter(|(label, _)| *label == "records")
        .map(|(_, text)| text);
    let seen = gathered.slowest.seen();
    let shown = match seen + gathered.undecoded {
        shown if shown == overview.records => String::new(),
        _ => format!("; of the devices shown, {seen}"),
    };
    let none = if seen == 0 {
        ": there is nothing to draw"
    } else {
        ""
    };
    format!("Records: {}{shown}{none}.", all.collect::<String>())
}
