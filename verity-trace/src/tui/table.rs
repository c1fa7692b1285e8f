//! The table of devices: one line for each row where the terminal is wide enough, else two.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthChar as _;

use super::columns::Column;
use super::history::History;
use super::rows::Row;
use super::style::Styles;
use crate::facts::{self, OptionEffect};
use crate::lookback::{Did, Recent};
use crate::snapshot::{Device, InFlight, Placement, Snapshot, Stage, Totals, stage_name};
use crate::{escape, format};

/// Cells that a name gets at least.
const NAME: usize = 12;
/// Cells of a duration.
const DURATION: usize = 7;
/// Cells of a count.
const COUNT: usize = 8;
/// Cells that two lines for a device fill, where there are as many, whatever the names need.
const TWO_LINES: usize = 80;
/// What stands for the option of devices that differ in it.
const MIXED: &str = "mixed";
/// What stands for the rates of a device that is counted in [`Snapshot::other`].
const IN_OTHER: &str = "in other";
/// The stages that have columns.
pub const STAGES: [Stage; 3] = [Stage::Wait, Stage::Verify, Stage::Total];
/// The columns that they have.
const COLUMNS: [Column; 3] = [Column::Wait, Column::Verify, Column::Total];

/// What the table of one snapshot looks like on a terminal of some width.
pub struct Table<'a> {
    snapshot: &'a Snapshot,
    recent: &'a Recent,
    /// All rows, of which some are shown.
    pub rows: &'a [Row],
    styles: Styles,
    /// Those of the stages that are shown.
    stages: Vec<Stage>,
    placements: &'a [Placement],
    has_failed: bool,
    option: usize,
    name: usize,
    shape: Shape,
    /// What is left of the line behind the stages, where these are on it.
    spare: usize,
    history: &'a History,
}

/// What the columns depend on.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    placements: Vec<Placement>,
    has_failed: bool,
    /// Cells of the option and its effect.
    option: usize,
}

impl Outline {
    /// Found out from all devices.
    pub fn of(snapshot: &Snapshot) -> Self {
        let devices = snapshot.devices.iter();
        let effects = devices.clone().map(|it| effect(it, snapshot).name().len());
        Self {
            placements: placements(snapshot),
            has_failed: devices.clone().any(|device| failed(device) > Some(0)),
            option: effects.fold(OptionEffect::Effective.name().len(), usize::max),
        }
    }
}

/// How a device's stages stand to its other cells.
#[derive(Clone, Copy)]
enum Shape {
    /// Behind them, after this many blanks.
    OneLine { gap: usize },
    /// On a line of their own, after this many cells.
    TwoLines { indent: usize },
}

impl<'a> Table<'a> {
    pub fn new(
        snapshot: &'a Snapshot,
        recent: &'a Recent,
        outline: &'a Outline,
        rows: &'a [Row],
        history: &'a History,
        styles: Styles,
        width: u16,
    ) -> Self {
        let has = |column| styles.columns.has(column);
        let stages = STAGES.into_iter().zip(COLUMNS);
        let stages = stages.filter(|&(_, column)| has(column));
        let mut table = Self {
            snapshot,
            recent,
            rows,
            styles,
            stages: stages.map(|(stage, _)| stage).collect(),
            placements: if has(Column::Shares) {
                &outline.placements
            } else {
                &[]
            },
            has_failed: has(Column::Failed) && outline.has_failed,
            option: outline.option,
            name: NAME,
            shape: Shape::OneLine { gap: 1 },
            spare: 0,
            history,
        };
        table.fill(usize::from(width));
        table
    }

    /// How many lines the heading takes, and each row.
    pub const fn heights(&self) -> (usize, usize) {
        match self.shape {
            Shape::OneLine { .. } => (2, 1),
            Shape::TwoLines { .. } => (2, 2),
        }
    }

    /// The heading.
    pub fn head(&self) -> Vec<Line<'static>> {
        let rates = self.rates_head();
        match self.shape {
            Shape::OneLine { gap } => {
                let stages = self.each_stage(|stage| format!("{:^15}", stage_name(stage)));
                let percentiles = self.each_stage(|_| self.pair("p50", "p99"));
                let indent = rates.len() + gap;
                let extras = self.extras().map(|extra| {
                    let width = extra.width(self.spare);
                    format!("  {:<width$}", extra.name())
                });
                let extras: Vec<_> = extras.collect();
                vec![
                    Line::raw(format!("{:indent$}{stages}", "")),
                    Line::styled(
                        format!("{rates}{:gap$}{percentiles}{}", "", extras.concat()),
                        self.styles.head,
                    ),
                ]
            }
            Shape::TwoLines { indent } => {
                let stages = self
                    .each_stage(|stage| self.pair(&format!("{} p50", stage_name(stage)), "p99"));
                vec![
                    Line::raw(rates),
                    Line::styled(format!("{:indent$}{stages}", ""), self.styles.head),
                ]
            }
        }
    }

    /// The lines of one row, which may be the chosen one.
    pub fn lines(&self, row: &Row, is_chosen: bool) -> Vec<Line<'static>> {
        let sum = Together::new(row, self.snapshot, self.recent);
        let mut rates = self.rates(&sum, is_chosen);
        let stages = Span::raw(self.stages(&sum));
        match self.shape {
            Shape::OneLine { gap } => {
                rates.extend([Span::raw(" ".repeat(gap)), stages]);
                rates.extend(self.extras().map(|extra| self.extra(extra, &sum)));
                vec![Line::from(rates)]
            }
            Shape::TwoLines { indent } => {
                let failed = match sum.failed().filter(|_| self.has_failed) {
                    None | Some(0) => String::new(),
                    Some(failed) => format!("  failed {failed}"),
                };
                let failed = Span::styled(format!("{failed:<indent$}"), self.styles.alarm);
                vec![Line::from(rates), Line::from(vec![failed, stages])]
            }
        }
    }

    /// Chooses the shape that fits, and gives the names what is left as far as they need it.
    fn fill(&mut self, width: usize) {
        let titles = self.rows.iter().map(|row| title(row, self.snapshot));
        let longest = titles
            .map(|title| Span::raw(title).width())
            .fold(NAME, usize::max);
        let narrowest = self.rates_head().len() + 1 + self.stages_width();
        if let Some(spare) = width.checked_sub(narrowest) {
            let for_names = spare.min(longest - NAME);
            self.name += for_names;
            let gap = (spare - for_names).min(3);
            self.shape = Shape::OneLine { gap: 1 + gap };
            self.spare = spare - for_names - gap;
            return;
        }
        self.shape = Shape::TwoLines { indent: 0 };
        // What does not fit is left out, and not cut: of the stages first how long the verification itself took.
        while self.stages.len() > 1 && self.stages_width() > width {
            self.stages.remove(self.stages.len() / 2);
        }
        while !self.placements.is_empty() && self.rates_head().len() > width {
            self.placements = &self.placements[..self.placements.len() - 1];
        }
        let rates = self.rates_head().len() - NAME;
        let filled = width.min((rates + longest).max(TWO_LINES));
        self.name = NAME.max(filled.saturating_sub(rates));
        self.shape = Shape::TwoLines {
            indent: (self.name + rates).saturating_sub(self.stages_width()),
        };
    }

    fn stages_width(&self) -> usize {
        self.each_stage(|_| self.pair("", "")).len()
    }

    fn each_stage(&self, cell: impl Fn(Stage) -> String) -> String {
        let cells: Vec<_> = self.stages.iter().map(|&stage| cell(stage)).collect();
        cells.join("  ")
    }

    const fn has(&self, column: Column) -> bool {
        self.styles.columns.has(column)
    }

    /// Two cells of durations; in two lines there is room for the stage's name.
    fn pair(&self, p50: &str, p99: &str) -> String {
        match self.shape {
            Shape::OneLine { .. } => format!("{p50:>DURATION$} {p99:>DURATION$}"),
            Shape::TwoLines { .. } => named_pair(p50, p99),
        }
    }

    fn rates_head(&self) -> String {
        let mut head = vec![fit("device", self.name)];
        if self.has(Column::Option) {
            head.push(format!(" {}", fit("option", self.option)));
        }
        if self.has(Column::Ios) {
            head.push(format!("{:>7}", "I/O/s"));
        }
        if self.has(Column::Bytes) {
            let unit = self.styles.units.bytes.name();
            head.push(format!("{:>6}", format!("{unit}/s")));
        }
        head.extend(self.placements.iter().map(|&placement| {
            let width = share_width(placement);
            format!(" {:>width$}", placement.name())
        }));
        if self.has_failed_column() {
            head.push(format!("{:>COUNT$}", "failed"));
        }
        head.concat()
    }

    fn rates(&self, sum: &Together<'_>, is_chosen: bool) -> Vec<Span<'static>> {
        let name = if is_chosen {
            self.styles.chosen
        } else {
            self.styles.name
        };
        let (effect, is_mismatch) = sum.effect(self.snapshot);
        let effect_style = if is_mismatch {
            self.styles.notice
        } else {
            Style::new()
        };
        let absent = || format::ABSENT.to_owned();
        let ios = sum
            .over
            .map_or_else(absent, |over| format::rate(sum.ios, over));
        let unit = self.styles.units.bytes;
        let bytes = sum
            .over
            .map_or_else(absent, |over| unit.rate(sum.bytes, over));
        let rates = match (self.has(Column::Ios), self.has(Column::Bytes)) {
            (true, true) if sum.is_in_other() => format!("{IN_OTHER:>13}"),
            (true, true) => format!("{ios:>7}{bytes:>6}"),
            (true, false) => format!("{ios:>7}"),
            (false, true) => format!("{bytes:>6}"),
            (false, false) => String::new(),
        };
        let mut cells = vec![Span::styled(fit(&sum.title, self.name), name)];
        if self.has(Column::Option) {
            let option = fit(effect, self.option);
            cells.extend([Span::raw(" "), Span::styled(option, effect_style)]);
        }
        cells.push(Span::raw(rates));
        let shares = sum.shares();
        for &placement in self.placements {
            let width = share_width(placement);
            let share = match shares.get(&placement) {
                Some(share) => share,
                None if shares.is_empty() => format::ABSENT,
                None => format::NONE,
            };
            cells.push(Span::raw(format!(" {share:>width$}")));
        }
        if self.has_failed_column() {
            let failed = sum.failed();
            let style = match failed {
                None | Some(0) => Style::new(),
                Some(_) => self.styles.alarm,
            };
            let failed = failed.map_or_else(absent, |failed| failed.to_string());
            cells.push(Span::styled(format!("{failed:>COUNT$}"), style));
        }
        cells
    }

    fn stages(&self, sum: &Together<'_>) -> String {
        self.each_stage(|stage| {
            let histogram = sum.row.stage(stage, self.snapshot, self.recent);
            let percentile = |permille| {
                let value = sum.over.and_then(|_| histogram.percentile(permille));
                self.styles.units.percentile(value)
            };
            self.pair(&percentile(500), &percentile(990))
        })
    }

    /// What there is room for behind the stages.
    fn extras(&self) -> impl Iterator<Item = Extra> {
        let mut left = self.spare;
        let columns = self.styles.columns;
        Extra::ALL.into_iter().filter(move |extra| {
            let needed = 2 + extra.least();
            let fits = left >= needed && columns.has(extra.column());
            left -= if fits { needed } else { 0 };
            fits
        })
    }

    fn extra(&self, extra: Extra, sum: &Together<'_>) -> Span<'static> {
        let width = extra.width(self.spare);
        match extra {
            Extra::Oldest => {
                let text = sum.oldest().map_or_else(
                    || format::ABSENT.to_owned(),
                    |(stage, age)| {
                        let age = format::duration(format::nanos(age));
                        format!("{age} {}", stage_name(stage))
                    },
                );
                Span::raw(format!("  {text:<width$}"))
            }
            Extra::Mix => {
                let mix = mix(&sum.placements, width);
                Span::raw(format!("  {mix:<width$}"))
            }
            Extra::Rate => {
                let rates = self.history.ios(sum.devices.iter().copied(), width);
                let most = rates.iter().copied().max().unwrap_or(0);
                let glyphs = self.styles.glyphs;
                let cells: String = rates.iter().map(|&it| glyphs.height(it, most)).collect();
                Span::styled(format!("  {cells:>width$}"), self.styles.picture)
            }
        }
    }

    const fn has_failed_column(&self) -> bool {
        self.has_failed && matches!(self.shape, Shape::OneLine { .. })
    }
}

/// Two cells of durations, with room for the stage's name above the first.
pub fn named_pair(p50: &str, p99: &str) -> String {
    format!("{p50:>10} {p99:>DURATION$}")
}

/// What stands behind the stages where there is room, the most useful first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extra {
    /// The oldest I/O in flight, and its stage.
    Oldest,
    /// The placements as a bar, each by its first letter.
    Mix,
    /// I/Os in each of the last intervals between two pictures.
    Rate,
}

impl Extra {
    const ALL: [Self; 3] = [Self::Oldest, Self::Mix, Self::Rate];

    const fn name(self) -> &'static str {
        match self {
            Self::Oldest => "oldest in flight",
            Self::Mix => "placements",
            Self::Rate => "I/Os over time",
        }
    }

    const fn column(self) -> Column {
        match self {
            Self::Oldest => Column::Oldest,
            Self::Mix => Column::Bar,
            Self::Rate => Column::History,
        }
    }

    /// Cells that it needs.
    const fn least(self) -> usize {
        match self {
            Self::Oldest => 18,
            Self::Mix => 12,
            Self::Rate => 14,
        }
    }

    /// Cells that it gets of those that are left for all: the last one takes what the others leave.
    fn width(self, spare: usize) -> usize {
        let others: usize = Self::ALL.iter().map(|extra| 2 + extra.least()).sum();
        match self {
            Self::Rate => self.least() + spare.saturating_sub(others).min(26),
            _ => self.least(),
        }
    }
}

/// The devices of a row, as if they were one.
struct Together<'a> {
    row: &'a Row,
    title: Cow<'a, str>,
    devices: Vec<&'a Device>,
    /// How long the window is; absent where nothing is known of it.
    over: Option<Duration>,
    /// What they did in it: I/Os by placement, where there were any, and bytes.
    placements: BTreeMap<Placement, u64>,
    ios: u64,
    bytes: u64,
}

impl<'a> Together<'a> {
    fn new(row: &'a Row, snapshot: &'a Snapshot, recent: &'a Recent) -> Self {
        let devices: Vec<_> = row.devices(snapshot).collect();
        let is_known = devices.iter().any(|device| recent.of(device).is_some());
        let mut sum = Self {
            row,
            title: title(row, snapshot),
            over: recent.interval().filter(|_| is_known),
            devices,
            placements: BTreeMap::new(),
            ios: 0,
            bytes: 0,
        };
        let did = sum.devices.iter().filter_map(|device| recent.of(device));
        for (placement, ios, bytes) in did.flat_map(Did::placements) {
            sum.ios += ios;
            sum.bytes += bytes;
            *sum.placements.entry(placement).or_default() += ios;
        }
        sum
    }

    /// The share of each placement that there was; nothing where no window is known.
    fn shares(&self) -> BTreeMap<Placement, String> {
        let known = self.over.map(|_| &self.placements);
        let ios = known.into_iter().flatten();
        format::shares(ios.map(|(&placement, &ios)| (placement, ios)))
    }

    /// The word for the option and its effect, and whether it is not what one would expect of any of them.
    fn effect(&self, snapshot: &Snapshot) -> (&'static str, bool) {
        let effects = self.devices.iter().map(|device| effect(device, snapshot));
        let mut effects = effects.collect::<Vec<_>>();
        let is_mismatch = effects.iter().any(|effect| effect.is_mismatch());
        effects.dedup();
        match &*effects {
            [effect] => (effect.name(), is_mismatch),
            _ => (MIXED, is_mismatch),
        }
    }

    /// Whether what they do is in [`Snapshot::other`].
    fn is_in_other(&self) -> bool {
        self.devices.iter().any(|device| device.counted_in_other)
    }

    /// I/Os that failed since the start.
    fn failed(&self) -> Option<u64> {
        let failed = self.devices.iter().filter_map(|device| failed(device));
        failed.reduce(u64::saturating_add)
    }

    /// The oldest I/O in flight: the stage that it is in, and its age.
    fn oldest(&self) -> Option<(Stage, Duration)> {
        let in_flight = self.devices.iter().filter_map(|it| it.in_flight.as_ref());
        let oldest = in_flight.filter_map(InFlight::oldest);
        oldest.max_by_key(|&(_, age)| age)
    }
}

/// What a row is called.
fn title<'a>(row: &'a Row, snapshot: &'a Snapshot) -> Cow<'a, str> {
    let mut devices = row.devices(snapshot);
    match (&row.group, devices.next()) {
        (Some(group), _) => Cow::Owned(format!(
            "{} ({})",
            escape::terminal(group),
            devices.count() + 1
        )),
        (None, device) => device.map_or(Cow::Borrowed(""), |it| escape::terminal(&it.name)),
    }
}

/// A bar of the first letters of placements, each as often as its share asks; what happened at all has one.
fn mix(ios: &BTreeMap<Placement, u64>, cells: usize) -> String {
    let all: u64 = ios.values().sum();
    let mut bar = String::new();
    let mut seen = 0;
    for (number, (placement, these)) in ios.iter().enumerate() {
        seen += these;
        let until = u128::from(seen) * cells as u128 / u128::from(all.max(1));
        let until = usize::try_from(until).unwrap_or(cells);
        // One for each that is still to come.
        let until = until.min(cells.saturating_sub(ios.len() - 1 - number));
        let count = until.saturating_sub(bar.len()).max(1);
        let letter = &placement.name()[..1];
        bar.push_str(&letter.repeat(count));
    }
    bar
}

/// The placements that this era can have, and any other that happened.
fn placements(snapshot: &Snapshot) -> Vec<Placement> {
    let possible = facts::placements(snapshot.kernel.era);
    let happened = |placement| {
        snapshot
            .devices
            .iter()
            .filter_map(|device| device.totals.as_ref()?.placements.get(&placement))
            .any(|totals| totals.ios > 0)
    };
    Placement::ALL
        .into_iter()
        .filter(|&placement| possible.contains(&placement) || happened(placement))
        .collect()
}

/// I/Os that failed since the start.
fn failed(device: &Device) -> Option<u64> {
    device.totals.as_ref().map(Totals::failed)
}

fn effect(device: &Device, snapshot: &Snapshot) -> OptionEffect {
    OptionEffect::of(device, snapshot.kernel.era)
}

fn share_width(placement: Placement) -> usize {
    placement.name().len().max(5)
}

/// The text in exactly this many cells, cut with `~` where it is longer.
fn fit(text: &str, width: usize) -> String {
    let long = Span::raw(text).width() > width;
    let room = if long { width.saturating_sub(1) } else { width };
    let mut fitted = String::new();
    let mut used = 0;
    for character in text.chars() {
        let cells = character.width().unwrap_or(0);
        if used + cells > room {
            break;
        }
        fitted.push(character);
        used += cells;
    }
    if long && width > 0 {
        fitted.push('~');
        used += 1;
    }
    fitted.extend(std::iter::repeat_n(' ', width.saturating_sub(used)));
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_cut_where_it_shows() {
        assert_eq!(fit("root", 6), "root  ");
        assert_eq!(fit("root-hash", 6), "root-~");
        assert_eq!(fit("根根根", 4), "根~ ");
        assert_eq!(fit("root", 0), "");
    }

    #[test]
    fn a_bar_has_a_letter_of_whatever_happened() {
        let ios = |ios: &[(Placement, u64)]| ios.iter().copied().collect();
        let cases: [(&[(Placement, u64)], &str); 4] = [
            (&[(Placement::Kverityd, 5)], "kkkkkkkkkk"),
            (
                &[(Placement::Kverityd, 1), (Placement::Bh, 1)],
                "kkkkkbbbbb",
            ),
            (
                &[(Placement::Bh, 10_000), (Placement::Fallback, 1)],
                "bbbbbbbbbf",
            ),
            (
                &[(Placement::Kverityd, 1), (Placement::Bh, 999)],
                "kbbbbbbbbb",
            ),
        ];
        for (these, expected) in cases {
            assert_eq!(mix(&ios(these), 10), expected);
        }
        assert_eq!(mix(&ios(&[]), 10), "");
    }

    proptest! {
        #[test]
        fn a_cut_name_has_the_width_asked_for(text in "[a-z根]{0,20}", width in 0usize..30) {
            prop_assert_eq!(Span::raw(fit(&text, width)).width(), width);
        }
    }
}
