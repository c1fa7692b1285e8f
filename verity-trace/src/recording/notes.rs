//! What a recording holds beside I/Os, as JSON. Fields that this version does not know are passed
//! over, so that a later one can add some.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use verity_trace_ebpf::record::Record;
use verity_trace_ebpf::sending::is_sampled;

use super::fault::What;
use crate::export::{Document, Entry};
use crate::snapshot::DeviceNumber;

/// Where and how the recording was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Version of the program that made it.
    pub version: String,
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub machine: String,
    /// Host name; absent when it was redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// CPUs online.
    pub cpus: usize,
    /// Model of the CPU; absent where the kernel does not tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_model: Option<String>,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The command that was run; absent when there was none, and when it was redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Whether host, command names, root hashes and salts were left out.
    pub redacted: bool,
    /// Which I/Os have records.
    pub filter: Filter,
    /// Bytes of the last records that were kept in memory; absent when all were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring_bytes: Option<u64>,
}

impl Machine {
    /// Whether every I/O has a record.
    #[must_use]
    pub fn has_every_io(&self) -> bool {
        self.filter.is_everything() && self.ring_bytes.is_none()
    }
}

/// Which I/Os have records. Counters and histograms count every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Filter {
    /// I/Os that took less have none, in nanoseconds.
    pub slower_than_ns: u64,
    /// Of so many others one has.
    pub one_in: u64,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            slower_than_ns: 0,
            one_in: 1,
        }
    }
}

impl Filter {
    /// Whether sampling leaves this one in, as the programs decide it.
    #[must_use]
    pub const fn samples(&self, record: &Record) -> bool {
        is_sampled(record.seq, self.one_in)
    }

    /// Whether every I/O has a record.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}

/// What became of the records until some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kept {
    /// Those that were written before it.
    pub records: u64,
    /// Those that were left out, since the I/O was not slower than asked.
    pub faster: u64,
    /// Those that were left out by sampling.
    pub sampled_out: u64,
}

/// The verity devices, whenever one comes, goes or has another table.
#[derive(Debug, Serialize, Deserialize)]
pub struct Devices<'a> {
    /// `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// The devices, as in the document of devices.
    pub devices: Vec<Entry<'a>>,
}

impl Devices<'_> {
    /// The number and the name of each. Names come from outside: escape them before printing.
    pub fn names(&self) -> impl Iterator<Item = (DeviceNumber, &str)> {
        let devices = self.devices.iter();
        devices.filter_map(|device| Some((device.number()?, device.name())))
    }
}

/// Parameters of `dm_verity`, whenever one changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Parameters {
    /// `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// `use_bh_bytes`: bytes up to which an I/O of each ioprio class (none, real time, best effort,
    /// idle) is verified in BH or inline; absent where the kernel has no such parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_bh_bytes: Option<Vec<u64>>,
}

/// A snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub struct Picture<'a> {
    /// `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// What became of the records until then.
    pub kept: Kept,
    /// What `verity-trace export` prints.
    pub document: Document<'a>,
}

/// The last block of a recording that was not cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct End {
    /// `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// What became of the records.
    pub kept: Kept,
    /// Why it ended.
    pub ended: Ended,
}

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// The time was over.
    Duration,
    /// The command ended with this exit code, or 128 and the signal that ended it.
    Command(i32),
    /// A signal asked for it.
    Signal(i32),
    /// The last records were asked for, and recording went on.
    Ring,
}

/// The note in a payload.
pub fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, What> {
    serde_json::from_slice(payload).map_err(|error| What::Contents(error.to_string()))
}

/// When a snapshot was made, without reading all of it where that stands first, as this version writes it.
pub fn monotonic_ns(payload: &[u8]) -> Result<u64, What> {
    #[derive(Deserialize)]
    struct Moment {
        monotonic_ns: u64,
    }
    let first = payload.strip_prefix(br#"{"monotonic_ns":"#);
    let until = first.and_then(|rest| rest.iter().position(|&byte| byte == b','));
    let digits = first.zip(until).map(|(rest, until)| &rest[..until]);
    let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    number.map_or_else(|| read::<Moment>(payload).map(|it| it.monotonic_ns), Ok)
}

/// The payload of a note.
pub fn write(note: &impl Serialize) -> std::io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(note)?)
}
