//! Everything about one device in the window: its stages by placement as distributions, latency over time, why
//! I/Os were verified where they were, and what they were; and what its table says.

use ratatui::text::{Line, Span};
use verity_trace_ebpf::slot::{self, ABOVE, lower_ns};

use super::glyphs::Glyphs;
use super::history::{self, Column, History, OCTAVES};
use super::style::Styles;
use super::table::named_pair;
use crate::histogram::{Bucket, Histogram, Nanos};
use crate::lookback::Recent;
use crate::snapshot::{
    Device, IoClass, Placement, PlacementTotals, Snapshot, Stage, Totals, stage_name,
};
use crate::{facts, format, report};

/// Cells of a duration.
const DURATION: usize = 8;
/// Cells to the left of the heat map.
const SCALE: usize = DURATION + 3;
/// Sizes that are told apart in a table: less than 8 KiB, the powers of two from there, and 1 MiB and more.
const SIZES: usize = 9;
/// The power of two that the first of them stands for.
const FIRST_SIZE: u32 = 12;

/// What is shown of one device.
pub struct Shown<'a> {
    pub device: &'a Device,
    pub snapshot: &'a Snapshot,
    pub recent: &'a Recent,
    pub history: &'a History,
    pub styles: &'a Styles,
    pub width: u16,
}

impl Shown<'_> {
    /// All there is, to be scrolled through.
    pub fn lines(&self) -> Vec<Line<'static>> {
        let (device, snapshot) = (self.device, self.snapshot);
        let mut lines = self.head(|out| report::device_head(device, snapshot, out));
        let (Some(did), Some(window)) = (self.recent.of(device), self.recent.interval()) else {
            if device.totals.is_some() {
                lines.push(Line::raw(format!("  {}", history::NOTHING_BEFORE)));
            }
            return lines;
        };
        let totals = did.totals();
        lines.push(Line::raw(format!("  in the last {}", format::span(window))));
        let bytes = self.styles.units.bytes;
        lines.extend(self.text(|out| report::sums(&totals, window, bytes, out)));
        if totals.ios() > 0 {
            lines.extend(self.text(|out| report::why(&totals, snapshot, out)));
            lines.push(Line::default());
        }
        lines.extend(self.pictures(&totals));
        if totals.ios() > 0 {
            lines.push(Line::default());
            lines.extend(self.text(|out| report::contexts(&totals, out)));
            lines.push(Line::default());
            lines.extend(mix(&totals, self.styles));
        }
        let submitters = device.totals.as_ref().and_then(|it| it.submitters.as_ref());
        if let Some(submitters) = submitters.filter(|it| !it.top.is_empty()) {
            lines.push(Line::default());
            lines.push(Line::raw("  since tracing began"));
            lines.extend(self.text(|out| report::submitters(submitters, out)));
        }
        lines
    }

    /// What one looks for first, in so many lines: whether its option does what it says, where its I/Os were
    /// verified and why there, and how long that took. Nothing of it is cut.
    pub fn brief(&self, room: usize) -> Vec<Line<'static>> {
        let (device, snapshot) = (self.device, self.snapshot);
        let mut lines = self.head(|out| report::device_title(device, snapshot, out));
        let Some(did) = self.recent.of(device) else {
            return lines;
        };
        let totals = did.totals();
        if totals.ios() > 0 {
            lines.extend(self.text(|out| report::why(&totals, snapshot, out)));
            let width = usize::from(self.width);
            let stages = stages(&totals, self.styles, width);
            lines.extend(if lines.len() + stages.len() <= room {
                stages
            } else {
                placements(&totals, self.styles)
            });
        }
        let heat_map = heat_map(device, self.history, self.styles, self.width.into());
        if lines.len() + 1 + heat_map.len() <= room {
            lines.push(Line::default());
            lines.extend(heat_map);
        }
        lines
    }

    /// The first lines, as `write` writes them.
    fn head(&self, write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> Vec<Line<'static>> {
        let mut lines = self.text(write);
        if let Some(first) = lines.first_mut() {
            first.style = self.styles.name;
        }
        let effect = facts::OptionEffect::of(self.device, self.snapshot.kernel.era);
        if effect.is_mismatch()
            && let Some(sentence) = lines.get_mut(1)
        {
            sentence.style = self.styles.notice;
        }
        lines
    }

    /// Its stages as distributions, and latency over time.
    fn pictures(&self, totals: &Totals) -> Vec<Line<'static>> {
        let width = usize::from(self.width);
        let mut lines = Vec::new();
        if totals.ios() > 0 {
            lines.extend(stages(totals, self.styles, width));
            lines.push(Line::default());
        }
        lines.extend(heat_map(self.device, self.history, self.styles, width));
        lines
    }

    fn text(&self, write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> Vec<Line<'static>> {
        text(usize::from(self.width), write)
    }
}

/// What `write` writes, line by line, and none longer than the screen; it is safe to print.
fn text(
    width: usize,
    write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>,
) -> Vec<Line<'static>> {
    let mut text = Vec::new();
    // A vector takes what it is given.
    let _ = write(&mut text);
    let text = String::from_utf8_lossy(&text);
    let lines = text
        .lines()
        .flat_map(|line| format::wrap(line, width.max(1)));
    lines.map(Line::raw).collect()
}

/// A line for each stage of each placement, with a picture of its distribution; all on one scale.
fn stages(totals: &Totals, styles: &Styles, width: usize) -> Vec<Line<'static>> {
    let head = format!(
        "  {:<9} {:>10} {:>5}  {:<10} {:>DURATION$} {:>DURATION$} {:>DURATION$} ",
        "placement", "I/Os", "share", "stage", "p50", "p99", "max"
    );
    let scale = Scale::of(totals, width.saturating_sub(head.len() + 1));
    let mut lines = Vec::new();
    let mut axis = scale.head();
    if axis.is_empty() && scale.cells > 0 {
        // There is no room for both ends above the pictures.
        let ends = scale.ends();
        lines.push(Line::raw(format!("{ends:>width$}")));
    } else if !axis.is_empty() {
        axis.insert(0, ' ');
    }
    lines.push(Line::styled(format!("{head}{axis}"), styles.head));
    let shares = format::shares(totals.each_ios());
    for placement in Placement::ALL {
        let Some(these) = totals.placements.get(&placement) else {
            continue;
        };
        let share = shares.get(&placement).map_or(format::ABSENT, |it| it);
        let first = format!("{:<9} {:>10} {share:>5}", placement.name(), these.ios);
        for (row, (stage, histogram)) in happened(these).enumerate() {
            let [p50, p99, max] = [500, 990, 1_000]
                .map(|permille| styles.units.percentile(histogram.percentile(permille)));
            let first = if row == 0 { first.as_str() } else { "" };
            lines.push(Line::from(vec![
                Span::raw(format!(
                    "  {first:<26}  {:<10} {p50:>DURATION$} {p99:>DURATION$} {max:>DURATION$}  ",
                    stage_name(stage),
                )),
                Span::styled(scale.picture(histogram, styles.glyphs), styles.picture),
            ]));
        }
    }
    lines
}

/// A line for each placement, where there is no room for one for each of its stages.
fn placements(totals: &Totals, styles: &Styles) -> Vec<Line<'static>> {
    const STAGES: [Stage; 3] = [Stage::Wait, Stage::Verify, Stage::Total];
    let head = STAGES.map(|stage| named_pair(&format!("{} p50", stage_name(stage)), "p99"));
    let head = format!("  {:<9} {:>5}   {}", "placement", "share", head.join("  "));
    let mut lines = vec![Line::styled(head, styles.head)];
    let shares = format::shares(totals.each_ios());
    for (placement, these) in &totals.placements {
        let Some(share) = shares.get(placement) else {
            continue;
        };
        let stages = STAGES.map(|stage| {
            let histogram = these.stages.get(&stage);
            let of = |permille| {
                let time = histogram.and_then(|it| it.percentile(permille));
                styles.units.percentile(time)
            };
            named_pair(&of(500), &of(990))
        });
        let stages = stages.join("  ");
        let placement = placement.name();
        lines.push(Line::raw(format!("  {placement:<9} {share:>5}   {stages}")));
    }
    lines
}

fn happened(these: &PlacementTotals) -> impl Iterator<Item = (Stage, &Histogram)> {
    let stages = Stage::ALL.into_iter();
    stages.filter_map(|stage| Some((stage, these.stages.get(&stage)?)))
}

/// Cells that stand for times, evenly by the number of their slot, which grows with the logarithm.
struct Scale {
    /// The slot that the first cell begins with: the first of a power of two.
    first: usize,
    slots: usize,
    cells: usize,
}

/// Slots of a power of two.
const OCTAVE: usize = 16;

impl Scale {
    /// From the shortest time to the longest, in at most so many cells.
    fn of(totals: &Totals, room: usize) -> Self {
        let histograms = totals.placements.values().flat_map(happened);
        let slots = histograms.flat_map(|(_, histogram)| histogram.buckets().map(slot));
        let (mut first, mut last) = (usize::MAX, 0);
        for slot in slots {
            first = first.min(slot);
            last = last.max(slot);
        }
        // The slot 0 is what is below all powers of two.
        let octaves = |slot: usize| slot.saturating_sub(1) / OCTAVE;
        let first_octave = octaves(first.min(last));
        let slots = (octaves(last) + 1 - first_octave) * OCTAVE;
        Self {
            first: first_octave * OCTAVE + 1,
            slots,
            cells: room.min(slots / 2),
        }
    }

    /// The shortest and the longest time.
    fn ends(&self) -> String {
        let [first, last] = self.limits();
        format!("{first} to {last}")
    }

    fn limits(&self) -> [String; 2] {
        let time = |slot: usize| format::duration(Nanos(lower_ns(slot.min(ABOVE))));
        [time(self.first), time(self.first + self.slots)]
    }

    /// The shortest time on the left, the longest on the right; empty where there is no room.
    fn head(&self) -> String {
        let [first, last] = self.limits();
        if first.len() + last.len() + 3 > self.cells {
            return String::new();
        }
        let gap = self.cells - first.len() - last.len() - 2;
        format!("|{first}{:gap$}{last}|", "")
    }

    fn picture(&self, histogram: &Histogram, glyphs: Glyphs) -> String {
        let mut cells = vec![0u64; self.cells];
        for bucket in histogram.buckets() {
            let at = slot(bucket).saturating_sub(self.first) * self.cells / self.slots;
            if let Some(cell) = cells.get_mut(at) {
                *cell += bucket.count;
            }
        }
        let most = cells.iter().copied().max().unwrap_or(0);
        cells
            .into_iter()
            .map(|count| glyphs.height(count, most))
            .collect()
    }
}

fn slot(bucket: Bucket) -> usize {
    slot::slot(bucket.lower.0)
}

/// How long I/Os took, interval by interval: a row for each power of two, the longest on top.
fn heat_map(
    device: &Device,
    history: &History,
    styles: &Styles,
    width: usize,
) -> Vec<Line<'static>> {
    let room = width.saturating_sub(SCALE);
    let columns: Vec<_> = history.last(device, room).collect();
    let count = |column: Option<&Column>, octave: usize| column.map_or(0, |it| it[octave]);
    let is_hit = |&octave: &usize| columns.iter().any(|&column| count(column, octave) > 0);
    let (Some(first), Some(last)) = ((0..OCTAVES).find(is_hit), (0..OCTAVES).rev().find(is_hit))
    else {
        return vec![Line::raw(
            "  total over time: no interval was seen yet in which an I/O finished",
        )];
    };
    let all = columns.iter().flatten().flat_map(|column| column.iter());
    let most = all.copied().max().unwrap_or(0);
    let mut lines = vec![Line::styled(
        "  total over time: a column for each interval, fuller for more I/Os",
        styles.head,
    )];
    for octave in (first..=last).rev() {
        let shade = |&column: &_| {
            let count = count(column, octave);
            styles.glyphs.shade(count.into(), most.into())
        };
        let cells: String = columns.iter().map(shade).collect();
        let time = styles.units.duration(history::lower(octave));
        lines.push(Line::from(vec![
            Span::raw(format!("  {time:>DURATION$} ")),
            Span::styled(cells, styles.picture),
        ]));
    }
    // Also where nothing finished there was an interval.
    let axis = "-".repeat(columns.len());
    let axis = format!("  {:>DURATION$} {axis} now", "");
    lines.push(Line::styled(axis, styles.head));
    lines
}

/// I/Os by size and ioprio class, and which share of each was verified in BH or inline.
fn mix(totals: &Totals, styles: &Styles) -> Vec<Line<'static>> {
    let mut rows = [[(0u64, 0u64); SIZES]; IoClass::ALL.len()];
    for (kind, &ios) in &totals.mix {
        let size = (kind.size >> FIRST_SIZE).max(1).ilog2() as usize;
        let (all, early) = &mut rows[kind.class as usize][size.min(SIZES - 1)];
        *all += ios;
        if let Placement::Bh | Placement::Inline | Placement::Tasklet = kind.placement {
            *early += ios;
        }
    }
    let sizes = cells((0..SIZES).map(|size| match size {
        0 => "<8K".to_owned(),
        8 => "1M+".to_owned(),
        size => format!("{}K", 4 << size),
    }));
    let title = "  share verified in BH or inline, by ioprio class and size";
    let mut lines = vec![
        Line::raw(title),
        Line::styled(format!("  {:<12}{sizes}", "class"), styles.head),
    ];
    for (class, row) in IoClass::ALL.into_iter().zip(rows) {
        if row.iter().any(|&(ios, _)| ios > 0) {
            let shares =
                cells(row.iter().map(|&(ios, early)| {
                    format::share((ios > 0).then(|| early as f64 / ios as f64))
                }));
            lines.push(Line::raw(format!("  {:<12}{shares}", class.name())));
        }
    }
    lines
}

fn cells(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<_> = cells.map(|cell| format!("{cell:>7}")).collect();
    cells.concat()
}
