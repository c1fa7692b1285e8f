//! Two recordings set against each other: what differs between them, and whether B is faster or slower
//! than A, as far as the data can show.

mod alike;
mod bootstrap;
mod json;
mod shift;
mod side;
mod text;
mod timeline;

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

use verity_trace_ebpf::placement::Stage;

pub use alike::Difference;
pub use bootstrap::{DRAWS, LEAST_INDEPENDENT, LEAST_INTERVALS, Statistic, students};
pub use json::{json, schema};
pub use shift::{Range, Shift, Verdict, WRONG};
pub use side::Side;
pub use text::text;

use crate::error::{Error, Result};
use crate::format;
use crate::histogram::{Histogram, Nanos};
use crate::snapshot::Placement;

/// Which device of B is compared with which of A.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name in A.
    pub a: String,
    /// The name in B.
    pub b: String,
}

impl Pair {
    /// Reads `A=B`, or one name for both.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (a, b) = text.split_once('=').unwrap_or((text, text));
        if a.is_empty() || b.is_empty() {
            return Err("neither a name nor of the form A=B".to_owned());
        }
        Ok(Self {
            a: a.to_owned(),
            b: b.to_owned(),
        })
    }
}

/// See the module.
#[derive(Debug)]
pub struct Comparison {
    /// What they are called.
    pub names: [String; 2],
    /// The two.
    pub sides: [Side; 2],
    /// What else is not the same.
    pub differences: Vec<Difference>,
    /// Devices that are in both.
    pub devices: Vec<Device>,
    /// The names of those that are in one alone.
    pub alone: [Vec<String>; 2],
    /// What the random draws begin with.
    pub seed: u64,
}

/// One device in both recordings.
#[derive(Debug)]
pub struct Device {
    /// Its names.
    pub names: [String; 2],
    /// Stages of all placements together, then those of each. Where there is but one, and the same in
    /// both, it is not repeated.
    pub rows: Vec<Row>,
    /// The one placement of all its I/Os in both.
    pub only: Option<Placement>,
}

impl Device {
    /// The verdict over all placements: that of `total`.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let row = self.rows.iter().find(|row| row.is_overall());
        row.map_or(Verdict::NoDifference, Row::verdict)
    }
}

/// One stage of one placement, or of all together.
#[derive(Debug)]
pub struct Row {
    /// The placement; absent for all of them.
    pub placement: Option<Placement>,
    /// The stage.
    pub stage: Stage,
    /// How long it took.
    pub histograms: [Histogram; 2],
    /// By how much B differs, in the order of [`Statistic::ALL`], or why that is not known.
    pub shifts: Result<[Shift; 3], Unknown>,
}

impl Row {
    fn is_overall(&self) -> bool {
        self.placement.is_none() && self.stage == Stage::Total
    }

    /// That of any statistic that shows a difference; where they contradict each other it is slower, so
    /// that nobody misses it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let shown = |verdict| {
            let mut shifts = self.shifts.iter().flatten();
            shifts.any(|shift| shift.verdict == verdict)
        };
        let verdicts = [Verdict::Slower, Verdict::Faster];
        let found = verdicts.into_iter().find(|&verdict| shown(verdict));
        found.unwrap_or(Verdict::NoDifference)
    }

    /// Which statistics the verdict is that of, and those that say the opposite.
    #[must_use]
    pub fn basis(&self) -> (Vec<Statistic>, Vec<Statistic>) {
        let verdict = self.verdict();
        let those = |wanted: Verdict| {
            let shifts = Statistic::ALL.into_iter().zip(self.shifts.iter().flatten());
            let found = shifts.filter(|(_, shift)| shift.verdict == wanted);
            found.map(|(statistic, _)| statistic).collect()
        };
        (those(verdict), those(verdict.mirrored()))
    }

    /// Why no difference is shown.
    #[must_use]
    pub fn reason(&self) -> String {
        let shifts = match &self.shifts {
            Err(unknown) => return unknown.to_string(),
            Ok(shifts) => shifts,
        };
        let dependent = dependent(shifts);
        if shifts.iter().all(Shift::is_dependent) {
            return dependent;
        }
        let is_resolved = shifts.iter().any(|shift| shift.is_resolved);
        let is_sure = shifts.iter().any(|shift| shift.is_sure);
        let reason = match (is_resolved, is_sure) {
            (false, _) => format!("what differs is below the resolution of {RESOLUTION}"),
            (true, false) => "such shifts also come by chance".to_owned(),
            (true, true) => format!(
                "what does not come by chance is below the resolution of {RESOLUTION}; such other shifts also \
                 come by chance"
            ),
        };
        if dependent.is_empty() {
            return reason;
        }
        format!("{reason}; {dependent}")
    }
}

/// Which statistics rest on too few independent intervals; empty where none does.
fn dependent(shifts: &[Shift; 3]) -> String {
    let shifts = Statistic::ALL.into_iter().zip(shifts);
    let those: Vec<_> = shifts
        .filter(|(_, shift)| shift.is_dependent())
        .filter_map(|(statistic, shift)| {
            let worth = shift.independent?.floor();
            Some(format!("{} {worth}", statistic.name()))
        })
        .collect();
    if those.is_empty() {
        return String::new();
    }
    format!(
        "too few independent intervals of time ({}; it takes {LEAST_INDEPENDENT}): slow moments are few, or long \
         against the recording",
        those.join(", ")
    )
}

/// Smaller shifts get no verdict.
const RESOLUTION: &str = "1/16 (p50, p99) and 1/32 (mean)";

/// Why a shift is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It happened in one of them alone.
    OneSided,
    /// There are records of slow I/Os alone.
    Filtered(Nanos),
    /// There is no record of it.
    NoRecords,
    /// So few I/Os.
    Ios(u64),
    /// I/Os in so few intervals.
    Intervals(usize),
}

impl Display for Unknown {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneSided => f.write_str("it happened in one of them alone"),
            Self::Filtered(least) => write!(
                f,
                "records are of I/Os alone that took at least {}",
                format::duration(*least)
            ),
            Self::NoRecords => f.write_str("there are no records of it"),
            Self::Ios(ios) => write!(
                f,
                "{ios} I/Os are fewer than {}",
                Statistic::Median.least_ios()
            ),
            Self::Intervals(intervals) => write!(
                f,
                "I/Os in {intervals} intervals of time, which is fewer than {LEAST_INTERVALS}"
            ),
        }
    }
}

impl Comparison {
    /// Compares the devices that have the same name, or the only one of each, or these pairs alone.
    pub fn new(names: [String; 2], sides: [Side; 2], wanted: &[Pair], seed: u64) -> Result<Self> {
        let [a, b] = [&sides[0], &sides[1]];
        let known = [a, b].map(|side| side.devices().collect::<BTreeSet<_>>());
        let pairs = pairs(&known, wanted)?;
        let alone = [0, 1].map(|at| {
            let paired = |name: &str| pairs.iter().any(|pair| pair[at] == name);
            let alone = known[at].iter().filter(|name| !paired(name));
            alone.map(|&name| name.to_owned()).collect::<Vec<_>>()
        });
        let mut devices: Vec<_> = pairs
            .iter()
            .map(|pair| device([a, b], pair, seed))
            .collect();
        judge(&mut devices);
        Ok(Self {
            names,
            differences: alike::differences([a, b], &pairs),
            devices,
            alone: if wanted.is_empty() {
                alone
            } else {
                [Vec::new(), Vec::new()]
            },
            seed,
            sides,
        })
    }

    /// The exit code that stands for the outcome: 11 where a device is slower, else 12 where one is
    /// faster, else 0.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let any = |verdict| self.devices.iter().any(|it| it.verdict() == verdict);
        if any(Verdict::Slower) {
            11
        } else if any(Verdict::Faster) {
            12
        } else {
            0
        }
    }

    /// How many shifts were judged, of the totals of devices and of the rest.
    fn judged(&self) -> [usize; 2] {
        let count = |overall| {
            let rows = self.devices.iter().flat_map(|device| &device.rows);
            let rows = rows.filter(|row| row.is_overall() == overall);
            let shifts = rows.flat_map(|row| row.shifts.iter().flatten());
            shifts.filter(|shift| shift.range.is_some()).count()
        };
        [count(true), count(false)]
    }
}

fn pairs(known: &[BTreeSet<&str>; 2], wanted: &[Pair]) -> Result<Vec<[String; 2]>> {
    let missing = |name: &str, at: usize| {
        let there: Vec<_> = known[at].iter().take(8).copied().collect();
        let there = if there.is_empty() {
            "no device".to_owned()
        } else {
            there.join(", ")
        };
        let recording = ["A", "B"][at];
        Error::NoDevice(format!("`{name}` is not in {recording}; there is {there}"))
    };
    for pair in wanted {
        for (at, name) in [&pair.a, &pair.b].into_iter().enumerate() {
            if !known[at].contains(name.as_str()) {
                return Err(missing(name, at));
            }
        }
    }
    if !wanted.is_empty() {
        let pairs = wanted.iter();
        return Ok(pairs.map(|it| [it.a.clone(), it.b.clone()]).collect());
    }
    let [a, b] = known;
    if let (Some(a), Some(b)) = (a.first(), b.first())
        && known.iter().all(|it| it.len() == 1)
    {
        return Ok(vec![[(*a).to_owned(), (*b).to_owned()]]);
    }
    let same = a.intersection(b);
    Ok(same
        .map(|&name| [name.to_owned(), name.to_owned()])
        .collect())
}

fn device(sides: [&Side; 2], names: &[String; 2], seed: u64) -> Device {
    let [left, right] = [0, 1].map(|at| {
        let placements = sides[at].placements(&names[at]);
        placements.into_keys().collect::<Vec<_>>()
    });
    let only = match (&left[..], &right[..]) {
        (&[left], &[right]) if left == right => Some(left),
        _ => None,
    };
    let placements = Placement::ALL.into_iter().filter(|it| {
        let is_there = left.contains(it) || right.contains(it);
        is_there && only.is_none()
    });
    let placements = [None].into_iter().chain(placements.map(Some));
    let rows = placements.flat_map(|placement| {
        Stage::ALL
            .into_iter()
            // An attempt is one of a fallback.
            .filter(move |stage| {
                placement.is_some() || !matches!(stage, Stage::Attempt | Stage::RetryWait)
            })
            .filter_map(move |stage| row(sides, names, placement, stage, seed))
    });
    Device {
        rows: rows.collect(),
        names: names.clone(),
        only,
    }
}

/// Absent where the stage did not happen at all.
fn row(
    sides: [&Side; 2],
    names: &[String; 2],
    placement: Option<Placement>,
    stage: Stage,
    seed: u64,
) -> Option<Row> {
    let histograms = [0, 1].map(|at| sides[at].histogram(&names[at], placement, stage));
    if histograms.iter().all(|it| it.count() == 0) {
        return None;
    }
    let shifts = shifts(sides, names, placement, stage, seed, &histograms);
    Some(Row {
        placement,
        stage,
        histograms,
        shifts,
    })
}

fn shifts(
    sides: [&Side; 2],
    names: &[String; 2],
    placement: Option<Placement>,
    stage: Stage,
    seed: u64,
    histograms: &[Histogram; 2],
) -> Result<[Shift; 3], Unknown> {
    if histograms.iter().any(|it| it.count() == 0) {
        return Err(Unknown::OneSided);
    }
    let mut estimates = Vec::new();
    for (side, name) in sides.into_iter().zip(names) {
        if let Some(least) = side.is_filtered() {
            return Err(Unknown::Filtered(least));
        }
        let observed = side.records(name).ok_or(Unknown::NoRecords)?;
        let series = observed.stage(placement, stage);
        let ios = series.iter().map(Histogram::count).sum();
        if ios < Statistic::Median.least_ios() {
            return Err(Unknown::Ios(ios));
        }
        let busy = series.iter().filter(|it| it.count() > 0).count();
        if busy < LEAST_INTERVALS {
            return Err(Unknown::Intervals(busy));
        }
        estimates.extend(bootstrap::estimates(&series, seed, DRAWS));
    }
    let [a, b] = estimates.try_into().map_err(|_| Unknown::NoRecords)?;
    let shown = histograms.each_ref().map(shown);
    Ok([0, 1, 2].map(|at| {
        let shown = shown.map(|values| values[at]);
        Shift::new(Statistic::ALL[at], [a[at], b[at]], shown)
    }))
}

/// The values that are printed, by [`Statistic::ALL`].
fn shown(histogram: &Histogram) -> [f64; 3] {
    let percentile = |permille| histogram.percentile(permille).unwrap_or_default().0 as f64;
    let mean = histogram.sum().0 as f64 / histogram.count().max(1) as f64;
    [percentile(500), mean, percentile(990)].map(|ns| ns.max(1.0))
}

fn judge(devices: &mut [Device]) {
    let (mut overall, mut rest) = (Vec::new(), Vec::new());
    for row in devices.iter_mut().flat_map(|device| &mut device.rows) {
        let family = if row.is_overall() {
            &mut overall
        } else {
            &mut rest
        };
        family.extend(row.shifts.iter_mut().flatten());
    }
    shift::judge(overall, WRONG / 2.0);
    shift::judge(rest, WRONG / 2.0);
}

#[cfg(test)]
mod tests;
