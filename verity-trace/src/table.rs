//! The I/Os of a recording one by one, as a table: a row each, in the order in which they finished.
//!
//! It grows with nothing but the file that it is written to.

use std::io::{self, Read, Seek, Write};

use crate::decode::Io;
use crate::escape;
use crate::histogram::Nanos;
use crate::recording::{Block, Fault, Reader};
use crate::snapshot::{Context, DeviceNumber, Placement, Reason, Stage};

/// The columns, by the names that JSON documents have for them.
pub const COLUMNS: [&str; 30] = [
    "seq",
    "device",
    "mapped_at_ns",
    "sector",
    "bytes",
    "placement",
    "attempt",
    "reason",
    "completion_context",
    "context",
    "attempt_context",
    "device_ns",
    "wait_ns",
    "attempt_ns",
    "retry_wait_ns",
    "verify_ns",
    "total_ns",
    "status",
    "ioprio",
    "read_ahead",
    "submitter",
    "command",
    "cgroup",
    "submit_cpu",
    "complete_cpu",
    "verify_cpu",
    "rechecked",
    "fec",
    "incomplete",
    "clock",
];

/// What can end the writing.
#[derive(Debug)]
pub enum Stop {
    /// The recording.
    Fault(Fault),
    /// What was written to.
    Io(io::Error),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Hands over every I/O, and returns how many records make none.
pub fn each<R: Read + Seek>(
    reader: &mut Reader<R>,
    mut take: impl FnMut(&Io) -> io::Result<()>,
) -> Result<u64, Stop> {
    let mut undecoded = 0;
    while let Some(block) = reader.next_block()? {
        if let Block::Ios(ios) = block {
            undecoded += reader.ios(&ios, |io| take(io).map_err(Stop::from))?;
        }
    }
    Ok(undecoded)
}

/// Writes the I/Os of these devices, or of all, as CSV (RFC 4180) with a heading; what is absent is empty. Returns
/// how many records make no I/O.
pub fn csv<R: Read + Seek>(
    reader: &mut Reader<R>,
    devices: Option<&[DeviceNumber]>,
    out: impl Write,
) -> Result<u64, Stop> {
    let mut table = csv::Writer::from_writer(out);
    table.write_record(COLUMNS).map_err(io::Error::from)?;
    let undecoded = each(reader, |io| {
        if devices.is_none_or(|devices| devices.contains(&io.device)) {
            table.write_record(row(io)).map_err(io::Error::from)?;
        }
        Ok(())
    })?;
    table.flush()?;
    Ok(undecoded)
}

fn row(io: &Io) -> [String; COLUMNS.len()] {
    let stage = |stage| known(io.stages.get(&stage).map(|&Nanos(ns)| ns));
    [
        io.seq.to_string(),
        io.device.to_string(),
        io.mapped_at.0.to_string(),
        io.sector.to_string(),
        io.bytes.to_string(),
        io.placement.name().to_owned(),
        known(io.attempt.map(Placement::name)),
        known(io.reason.map(Reason::name)),
        io.completion.name().to_owned(),
        known(io.context.map(Context::name)),
        known(io.attempt_context.map(Context::name)),
        stage(Stage::Device),
        stage(Stage::Wait),
        stage(Stage::Attempt),
        stage(Stage::RetryWait),
        stage(Stage::Verify),
        io.total.0.to_string(),
        io.status.to_string(),
        io.ioprio.to_string(),
        io.read_ahead.to_string(),
        io.submitter.to_string(),
        escape::terminal(&io.command).into_owned(),
        io.cgroup.to_string(),
        io.submit_cpu.to_string(),
        known(io.complete_cpu),
        known(io.verify_cpu),
        io.rechecked.to_string(),
        io.fec.to_string(),
        io.incomplete.to_string(),
        io.clock.to_string(),
    ]
}

fn known(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}
