//! Bytes from the kernel become types, once.

use std::collections::BTreeMap;
use std::time::Duration;

use verity_trace_ebpf::in_flight::InFlight;
use verity_trace_ebpf::placement::Placement as KernelPlacement;
use verity_trace_ebpf::record::{
    CLOCK, COMMAND_BYTES, FEC, INCOMPLETE, INLINE_ATTEMPT, READ_AHEAD, RECHECKED, Record,
};

use crate::histogram::Nanos;
use crate::snapshot::{Completion, Context, DeviceNumber, Era, Placement, Reason, Stage};

/// One finished I/O.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Io {
    /// Its identity.
    pub seq: u64,
    /// The verity device.
    pub device: DeviceNumber,
    /// When it was mapped, on `CLOCK_MONOTONIC`.
    pub mapped_at: Nanos,
    /// First sector on the device, in units of 512 bytes.
    pub sector: u64,
    /// Length in bytes.
    pub bytes: u32,
    /// Where it was verified.
    pub placement: Placement,
    /// For a fallback, the placement of the attempt that gave up.
    pub attempt: Option<Placement>,
    /// The parts of its life that happened and were seen.
    pub stages: BTreeMap<Stage, Nanos>,
    /// All of its life.
    pub total: Nanos,
    /// `blk_status_t`; 0 is success.
    pub status: u8,
    /// `bi_ioprio`.
    pub ioprio: u16,
    /// Whether it was read-ahead.
    pub read_ahead: bool,
    /// Why it was not verified in BH or inline; absent when it was.
    pub reason: Option<Reason>,
    /// The context in which its data device completed it.
    pub completion: Completion,
    /// The context of its verification, of a fallback the second time; absent when it was not
    /// verified.
    pub context: Option<Context>,
    /// For a fallback, the context of the attempt that gave up.
    pub attempt_context: Option<Context>,
    /// Thread group that submitted it.
    pub submitter: u32,
    /// Name of the thread that submitted it. It comes from outside: escape it before printing.
    pub command: String,
    /// Cgroup of that thread in the unified hierarchy: the inode number of its folder.
    pub cgroup: u64,
    /// CPU that submitted it.
    pub submit_cpu: u16,
    /// CPU that completed it; absent when that was not seen.
    pub complete_cpu: Option<u16>,
    /// CPU that verified it; absent when it was not verified.
    pub verify_cpu: Option<u16>,
    /// Whether a block was read again because its hash did not match.
    pub rechecked: bool,
    /// Whether forward error correction was tried.
    pub fec: bool,
    /// Whether some event was not seen, so that the stages do not add up.
    pub incomplete: bool,
    /// Whether two clocks disagreed.
    pub clock: bool,
}

/// One I/O that is in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its identity.
    pub seq: u64,
    /// The verity device.
    pub device: DeviceNumber,
    /// How long ago it was mapped, on `CLOCK_MONOTONIC`.
    pub age: Duration,
    /// The stage that it is in.
    pub stage: Stage,
    /// First sector on the device, in units of 512 bytes.
    pub sector: u64,
    /// Length in bytes.
    pub bytes: u32,
    /// Thread group that submitted it.
    pub submitter: u32,
    /// Name of the thread that submitted it. It comes from outside: escape it before printing.
    pub command: String,
    /// CPU that submitted it.
    pub submit_cpu: u16,
}

impl Unfinished {
    /// What the table says of an I/O; absent where it has just begun or finished.
    #[must_use]
    pub fn of(state: &InFlight, now: Duration) -> Option<Self> {
        let submitter = state.submitter();
        Some(Self {
            seq: state.seq(),
            device: device_number(state.device()),
            age: now.saturating_sub(Duration::from_nanos(state.mapped_at()?)),
            stage: state.stage(),
            sector: state.sector(),
            bytes: state.bytes(),
            submitter: submitter.task,
            command: command(*submitter.command),
            submit_cpu: state.submit_cpu(),
        })
    }
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length is not a record's.
    #[error("a record has {expected} bytes, not {found}", expected = size_of::<Record>())]
    Length {
        /// The length that was found.
        found: usize,
    },
    /// There is no such outcome.
    #[error("there is no outcome {0}")]
    Outcome(u8),
    /// There is no such context.
    #[error("there is no context {0}")]
    Context(u8),
    /// There is no such context of completion.
    #[error("there is no context of completion {0}")]
    Completion(u8),
}

/// The word for the kernel side's placement in this era.
#[must_use]
pub const fn placement(kernel: KernelPlacement, era: Era) -> Placement {
    match kernel {
        KernelPlacement::Kverityd => Placement::Kverityd,
        KernelPlacement::Bh if matches!(era, Era::Tasklet) => Placement::Tasklet,
        KernelPlacement::Bh => Placement::Bh,
        KernelPlacement::Inline => Placement::Inline,
        KernelPlacement::Fallback => Placement::Fallback,
        KernelPlacement::None => Placement::None,
    }
}

/// The kernel's internal `dev_t` as a device number: 12 bits major, 20 bits minor
/// (`MINORBITS`, `include/linux/kdev_t.h`).
#[must_use]
pub const fn device_number(dev: u32) -> DeviceNumber {
    DeviceNumber {
        major: dev >> 20,
        minor: dev & 0xf_ffff,
    }
}

/// The text up to the first 0; what is no UTF-8 is replaced.
#[must_use]
pub fn command(bytes: [u8; COMMAND_BYTES]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// A record from the ring buffer, as it is.
pub fn record(bytes: &[u8]) -> Result<Record, DecodeError> {
    bytemuck::try_pod_read_unaligned(bytes).map_err(|_| DecodeError::Length { found: bytes.len() })
}

/// What a record says.
pub fn io(record: &Record, era: Era) -> Result<Io, DecodeError> {
    let (kernel, reason) = record
        .outcome()
        .ok_or(DecodeError::Outcome(record.outcome))?;
    let attempt = (kernel == KernelPlacement::Fallback).then(|| {
        let attempt = if record.has(INLINE_ATTEMPT) {
            KernelPlacement::Inline
        } else {
            KernelPlacement::Bh
        };
        placement(attempt, era)
    });
    let stages: BTreeMap<_, _> = Stage::ALL
        .into_iter()
        .filter(|&stage| stage != Stage::Total)
        .filter_map(|stage| Some((stage, Nanos(record.stage_ns(stage)?))))
        .collect();
    let context = |number| Context::from_number(number).ok_or(DecodeError::Context(number));
    let completion = Completion::from_number(record.completion)
        .ok_or(DecodeError::Completion(record.completion))?;
    let verified = kernel != KernelPlacement::None;
    let completed = completion != Completion::Unknown || stages.contains_key(&Stage::Wait);
    Ok(Io {
        seq: record.seq,
        device: device_number(record.device),
        mapped_at: Nanos(record.mapped_at),
        sector: record.sector,
        bytes: record.bytes,
        placement: placement(kernel, era),
        attempt,
        stages,
        total: Nanos(record.total_ns),
        status: record.status,
        ioprio: record.ioprio,
        read_ahead: record.has(READ_AHEAD),
        reason,
        completion,
        context: verified.then(|| context(record.context)).transpose()?,
        attempt_context: attempt
            .map(|_| context(record.attempt_context))
            .transpose()?,
        submitter: record.submitter,
        command: command(record.command),
        cgroup: record.cgroup,
        submit_cpu: record.submit_cpu,
        complete_cpu: completed.then_some(record.complete_cpu),
        verify_cpu: verified.then_some(record.verify_cpu),
        rechecked: record.has(RECHECKED),
        fec: record.has(FEC),
        incomplete: record.has(INCOMPLETE),
        clock: record.has(CLOCK),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;
    use verity_trace_ebpf::reason::outcome;
    use verity_trace_ebpf::record::ABSENT;

    fn decoded(bytes: &[u8], era: Era) -> Result<Io, DecodeError> {
        io(&record(bytes)?, era)
    }

    fn fallback() -> Record {
        Record {
            seq: 9,
            device: (253 << 20) | 3,
            bytes: 4096,
            total_ns: 15,
            stages_ns: [1, 2, 3, 4, 5],
            outcome: outcome(KernelPlacement::Fallback, Some(Reason::CacheMiss)),
            attempt_context: Context::Softirq as u8,
            context: Context::Kworker as u8,
            command: *b"fio\0left over\0\0\0",
            ..Record::zeroed()
        }
    }

    #[test]
    fn a_fallback_names_its_attempt_in_the_words_of_the_era() {
        let record = fallback();
        let bytes = bytemuck::bytes_of(&record);
        assert_eq!(
            decoded(bytes, Era::Bh).map(|io| io.attempt),
            Ok(Some(Placement::Bh))
        );
        assert_eq!(
            decoded(bytes, Era::Tasklet).map(|io| io.attempt),
            Ok(Some(Placement::Tasklet))
        );
        let io = decoded(bytes, Era::Bh).expect("a record");
        assert_eq!(
            io.device,
            DeviceNumber {
                major: 253,
                minor: 3
            }
        );
        assert_eq!(io.stages.len(), Stage::PARTS);
        assert_eq!(io.reason, Some(Reason::CacheMiss));
        assert_eq!(io.context, Some(Context::Kworker));
        assert_eq!(io.attempt_context, Some(Context::Softirq));
        assert_eq!(io.command, "fio");
    }

    #[test]
    fn an_absent_stage_is_left_out() {
        let record = Record {
            stages_ns: [7, ABSENT, ABSENT, ABSENT, ABSENT],
            total_ns: 7,
            outcome: outcome(KernelPlacement::None, Some(Reason::DeviceError)),
            ..Record::zeroed()
        };
        let io = decoded(bytemuck::bytes_of(&record), Era::Inline).expect("a record");
        assert_eq!(io.stages, BTreeMap::from([(Stage::Device, Nanos(7))]));
        assert_eq!(io.verify_cpu, None);
    }

    #[test]
    fn other_bytes_are_refused() {
        assert_eq!(
            decoded(&[0; 3], Era::Bh),
            Err(DecodeError::Length { found: 3 })
        );
        let record = Record {
            outcome: 77,
            ..fallback()
        };
        assert_eq!(
            decoded(bytemuck::bytes_of(&record), Era::Bh),
            Err(DecodeError::Outcome(77))
        );
        let record = Record {
            context: 77,
            ..fallback()
        };
        assert_eq!(
            decoded(bytemuck::bytes_of(&record), Era::Bh),
            Err(DecodeError::Context(77))
        );
    }
}
