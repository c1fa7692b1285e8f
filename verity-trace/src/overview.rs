//! What a recording says beside its records: the last snapshot, and how the recording came to be.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Read, Seek, Write};
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::Serialize;

use crate::dm::VerityDevice;
use crate::error::{Error, Result};
use crate::export::{self, Document};
use crate::histogram::Nanos;
use crate::mounts::Mounts;
use crate::recommend::{self, Advice, Forecasts, Origin};
use crate::recording::{
    Block, Condition, Devices, End, Ended, Fault, Header, Machine, Parameters, Picture, Reader,
    What,
};
use crate::report;
use crate::selection::Selection;
use crate::snapshot::{DeviceNumber, Snapshot};
use crate::{escape, format};

/// Why a mount point stands for no device of a recording.
pub const NO_MOUNT_POINTS: &str = "a recording knows no mount points; name the device";

/// Changes of limits that are named one by one.
const CHANGES: usize = 40;

/// See the module. What a cut or damaged recording does not have is absent.
#[derive(Debug)]
pub struct Overview {
    /// What the clocks said at its start.
    pub header: Header,
    /// Where and how it was made.
    pub machine: Option<Machine>,
    /// The last snapshot.
    pub snapshot: Snapshot,
    /// What is advised for each of its devices.
    pub advices: Vec<Advice>,
    /// When the first one was made, and the last, on `CLOCK_MONOTONIC`.
    pub pictures_ns: (u64, u64),
    /// How often devices were noted: at the start, and after each change.
    pub devices: usize,
    /// The parameters at the start, and after each change.
    pub parameters: Vec<Parameters>,
    /// Records in it.
    pub records: u64,
    /// The first end of one of these I/Os, and the last; absent when there is none.
    pub ends_ns: Option<(u64, u64)>,
    /// How it ended.
    pub end: Option<End>,
    /// How much of the file is a recording.
    pub condition: Condition,
}

impl Overview {
    /// Reads a recording to its end. One without any snapshot says nothing, which is an error.
    pub fn read<R: Read + Seek>(reader: &mut Reader<R>) -> std::result::Result<Self, Fault> {
        Self::read_with(reader, |_, _| Ok(()))
    }

    /// The same for somebody who looks at every block meanwhile.
    pub fn read_with<R: Read + Seek>(
        reader: &mut Reader<R>,
        mut look: impl FnMut(&mut Reader<R>, &Block) -> std::result::Result<(), Fault>,
    ) -> std::result::Result<Self, Fault> {
        let mut machine = None;
        let mut first = None;
        let mut last: Option<Box<Picture<'static>>> = None;
        let mut devices = 0;
        let mut parameters = Vec::new();
        let mut records = 0;
        let mut ends: Option<(u64, u64)> = None;
        let mut end = None;
        while let Some(block) = reader.next_block()? {
            look(reader, &block)?;
            match block {
                Block::Machine(it) => machine = Some(it),
                Block::Devices(Devices { .. }) => devices += 1,
                Block::Parameters(it) => parameters.push(it),
                Block::Picture { picture, .. } => {
                    first.get_or_insert(picture.monotonic_ns);
                    last = Some(picture);
                }
                Block::Ios(ios) => {
                    let span = ios.span;
                    records += span.records as u64;
                    let (first, last) = ends.unwrap_or((span.first_finish, 0));
                    ends = Some((first.min(span.first_finish), last.max(span.last_finish)));
                }
                Block::End(it) => end = Some(it),
            }
        }
        let condition = reader.condition();
        let nothing = |what: String| Fault {
            offset: condition.cut.unwrap_or(Header::BYTES as u64),
            what: What::Contents(what),
        };
        let picture = last.ok_or_else(|| nothing("there is no snapshot before it".to_owned()))?;
        let snapshot = picture.document.snapshot();
        let mut snapshot = snapshot.map_err(|error| nothing(error.to_string()))?;
        if snapshot.use_bh_bytes.is_none() {
            // Older recordings have them in no snapshot.
            let until = |it: &&Parameters| it.monotonic_ns <= picture.monotonic_ns;
            let limits = parameters.iter().rfind(until);
            snapshot.use_bh_bytes = limits.and_then(|it| it.use_bh_bytes.clone());
        }
        let advices = advices(&snapshot, &Forecasts::new());
        Ok(Self {
            header: reader.header(),
            machine,
            snapshot,
            advices,
            pictures_ns: (first.unwrap_or(0), picture.monotonic_ns),
            devices,
            parameters,
            records,
            ends_ns: ends,
            end,
            condition,
        })
    }

    /// The devices that are selected; absent where all are.
    pub fn selected(&self, selection: &Selection) -> Result<Option<BTreeSet<DeviceNumber>>> {
        if selection.has_mount_point() {
            return Err(Error::Usage(NO_MOUNT_POINTS.to_owned()));
        }
        if selection.is_everything() {
            return Ok(None);
        }
        let devices = &self.snapshot.devices;
        let all: Vec<_> = devices.iter().map(VerityDevice::from).collect();
        let wanted = selection.all_of(&all, &Mounts::none())?;
        Ok(Some(wanted.iter().map(|device| device.number).collect()))
    }

    /// The same with these of the devices alone.
    pub fn of(mut self, selection: &Selection) -> Result<Self> {
        if let Some(wanted) = self.selected(selection)? {
            self.snapshot
                .devices
                .retain(|it| wanted.contains(&it.number));
            self.advices.retain(|it| wanted.contains(&it.number));
        }
        Ok(self)
    }

    /// The same with what is advised from these forecasts too. All devices have to be there still.
    #[must_use]
    pub fn advised(mut self, forecasts: &Forecasts) -> Self {
        self.advices = advices(&self.snapshot, forecasts);
        self
    }

    /// How many records, and which I/Os have some.
    #[must_use]
    pub fn coverage(&self, records: u64) -> String {
        let Some(machine) = &self.machine else {
            return format!("{records}");
        };
        if machine.has_every_io() {
            return format!("{records}, of every I/O");
        }
        let filter = machine.filter;
        let mut of = Vec::new();
        if filter.one_in > 1 {
            of.push(format!("of one in {} I/Os by chance", filter.one_in));
        }
        if filter.slower_than_ns > 0 {
            let least = format::duration(Nanos(filter.slower_than_ns));
            of.push(format!("of none that took less than {least}"));
        }
        if machine.ring_bytes.is_some() {
            let ends = self.ends_ns;
            let span = ends.map_or(0, |(first, last)| last.saturating_sub(first));
            let span = format::span(Duration::from_nanos(span));
            of.push(format!("of the last {span}"));
        }
        format!("{records}, {}", of.join(", "))
    }

    /// When something happened, by the clock on the wall: before the year 2555, whatever the file says.
    #[must_use]
    pub fn time(&self, monotonic_ns: u64) -> String {
        let realtime = Duration::from_nanos(self.header.realtime_at(monotonic_ns));
        humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + realtime).to_string()
    }
}

fn advices(snapshot: &Snapshot, forecasts: &Forecasts) -> Vec<Advice> {
    recommend::advices(snapshot, forecasts, Some(&Origin::of(snapshot)))
}

/// Writes the report of the last snapshot, and how the recording came to be.
pub fn overview(overview: &Overview, out: &mut impl Write) -> io::Result<()> {
    report::report(&overview.snapshot, out)?;
    recommend::section(&overview.advices, out)?;
    writeln!(out)?;
    about(overview)
        .into_iter()
        .try_for_each(|(label, text)| line(label, &text, out))
}

/// How the recording came to be: a word and what is to be said of it, safe to print.
#[must_use]
pub fn about(overview: &Overview) -> Vec<(&'static str, String)> {
    let lines = [
        ("recorded", Some(recorded(overview))),
        ("on", overview.machine.as_ref().map(machine)),
        ("command", overview.machine.as_ref().and_then(command)),
        ("records", Some(records(overview))),
        ("limits", limits(overview)),
        ("ended", Some(ended(overview))),
        ("damage", damage(overview.condition)),
    ];
    let lines = lines.into_iter().filter_map(|(label, text)| {
        let text = escape::terminal(&text?).into_owned();
        (!text.is_empty()).then_some((label, text))
    });
    lines.collect()
}

/// Writes a line that begins with a label, and lines that continue it. The text is safe to print.
pub fn line(label: &str, text: &str, out: &mut impl Write) -> io::Result<()> {
    for (row, line) in format::wrap(text, 71).iter().enumerate() {
        let label = if row == 0 { label } else { "" };
        writeln!(out, "{label:<9}{}", line.trim_end())?;
    }
    Ok(())
}

/// How a recording came to be, in one line. It is not harmless yet.
#[must_use]
pub fn origin(overview: &Overview) -> String {
    let kernel = &overview.snapshot.kernel;
    let machine = overview.machine.as_ref().map(machine);
    format!(
        "Linux {}, {}; recorded {}; records {}",
        kernel.release,
        machine.as_deref().unwrap_or("machine unknown"),
        recorded(overview),
        records(overview),
    )
}

fn recorded(overview: &Overview) -> String {
    let (first, last) = overview.pictures_ns;
    let span = Duration::from_nanos(last.saturating_sub(first));
    format!(
        "{} to {}, {}",
        overview.time(first),
        overview.time(last),
        format::span(span),
    )
}

fn machine(machine: &Machine) -> String {
    let model = machine.cpu_model.as_deref();
    let redacted = if machine.redacted {
        "; host, command names, root hashes and salts were left out"
    } else {
        ""
    };
    format!(
        "{}, {}, {}, by verity-trace {}{redacted}",
        machine.machine,
        model.unwrap_or("CPU of an unknown model"),
        format::mebibytes(machine.memory_bytes),
        machine.version,
    )
}

fn command(machine: &Machine) -> Option<String> {
    Some(machine.command.as_ref()?.join(" "))
}

/// How many records there are, and of which I/Os.
#[must_use]
pub fn records(overview: &Overview) -> String {
    let records = overview.coverage(overview.records);
    match &overview.machine {
        Some(machine) if !machine.has_every_io() => {
            format!("{records}; all other numbers are of every I/O")
        }
        _ => records,
    }
}

fn limits(overview: &Overview) -> Option<String> {
    let (first, _) = overview.pictures_ns;
    let text = |parameters: &Parameters| {
        let limits = parameters.use_bh_bytes.as_ref()?;
        let limits: Vec<_> = limits.iter().map(u64::to_string).collect();
        Some(limits.join(","))
    };
    let (start, changes) = overview.parameters.split_first()?;
    let mut all = format!("use_bh_bytes {}", text(start)?);
    for change in changes.iter().take(CHANGES) {
        let after = Duration::from_nanos(change.monotonic_ns.saturating_sub(first));
        let limits = text(change).unwrap_or_else(|| format::ABSENT.to_owned());
        // A text takes whatever is written to it.
        let _ = write!(all, ", after {} {limits}", format::span(after));
    }
    let rest = changes.len().saturating_sub(CHANGES);
    if rest > 0 {
        let _ = write!(all, ", and {}", format::counted(rest, "further change"));
    }
    Some(all)
}

fn ended(overview: &Overview) -> String {
    match (&overview.end, overview.condition.cut) {
        (Some(end), _) => match end.ended {
            Ended::Duration => "after the time that was asked for".to_owned(),
            Ended::Command(code) => format!("with the command, whose exit code was {code}"),
            Ended::Signal(signal) => format!("by signal {signal}"),
            Ended::Ring => "at the moment for which it was asked".to_owned(),
        },
        (None, Some(cut)) => format!(
            "cut at byte {cut}: the recording was not finished, and what came after is not in it"
        ),
        (None, None) => "its last block is missing".to_owned(),
    }
}

/// What is damaged; absent when nothing is.
#[must_use]
pub fn damage(condition: Condition) -> Option<String> {
    let Condition {
        unknown,
        skipped,
        lost_pictures,
        ..
    } = condition;
    let counts = [
        (skipped, "bytes were damaged and skipped"),
        (lost_pictures, "snapshots could not be read for that"),
        (
            unknown,
            "blocks are of kinds that this version does not know",
        ),
    ];
    let found = counts.into_iter().filter(|&(count, _)| count > 0);
    let found: Vec<_> = found
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    (!found.is_empty()).then(|| found.join(", "))
}

/// The JSON document of a recording: that of its last snapshot, and how the recording came to be.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Recorded<'a> {
    #[serde(flatten)]
    document: Document<'a>,
    recording: About<'a>,
}

/// How a recording came to be.
#[derive(Debug, Serialize, JsonSchema)]
pub struct About<'a> {
    started_at_unix_ms: u64,
    ended_at_unix_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<&'a Machine>,
    records: u64,
    parameters: &'a [Parameters],
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<&'a End>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut_at_byte: Option<u64>,
    skipped_bytes: u64,
    unknown_blocks: u64,
}

impl<'a> From<&'a Overview> for Recorded<'a> {
    fn from(overview: &'a Overview) -> Self {
        Self {
            document: Document::new(&overview.snapshot, None).advised(&overview.advices),
            recording: About::from(overview),
        }
    }
}

impl<'a> From<&'a Overview> for About<'a> {
    fn from(overview: &'a Overview) -> Self {
        let (first, last) = overview.pictures_ns;
        let unix_ms = |monotonic_ns| overview.header.realtime_at(monotonic_ns) / 1_000_000;
        Self {
            started_at_unix_ms: unix_ms(first),
            ended_at_unix_ms: unix_ms(last),
            machine: overview.machine.as_ref(),
            records: overview.records,
            parameters: &overview.parameters,
            end: overview.end.as_ref(),
            cut_at_byte: overview.condition.cut,
            skipped_bytes: overview.condition.skipped,
            unknown_blocks: overview.condition.unknown,
        }
    }
}

/// The JSON schema of what [`json`] writes.
#[must_use]
pub fn schema() -> serde_json::Value {
    export::schema::<Recorded<'static>>()
}

/// Writes it as one indented JSON document.
pub fn json(overview: &Overview, out: &mut impl Write) -> io::Result<()> {
    export::write(&Recorded::from(overview), out)
}
