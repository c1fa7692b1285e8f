//! What records alone tell, in the words of the document of a snapshot.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Kernel, Kind, Named, PlacementTotals, Totals, Word, inferred_reasons, word};
use crate::export::SCHEMA_VERSION;
use crate::snapshot::{self, Snapshot};

/// Everything that was counted anew.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Recount<'a> {
    schema_version: u32,
    version: Word,
    kernel: Kernel,
    inferred_reasons: Vec<Word>,
    devices: Vec<Device<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<Counted>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Device<'a> {
    name: Cow<'a, str>,
    number: String,
    option: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective: Option<bool>,
    #[serde(flatten)]
    totals: Option<Counted>,
}

/// Neither what was rejected nor what was lost has a record.
#[derive(Debug, Serialize, JsonSchema)]
struct Counted {
    ios: u64,
    bytes: u64,
    failed: u64,
    incomplete: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rechecked: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fec: Option<u64>,
    placements: Named<PlacementTotals>,
    attempts: Named<u64>,
    attempt_contexts: Named<u64>,
    mix: Vec<Kind>,
}

impl<'a> From<&'a Snapshot> for Recount<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            version: word(env!("CARGO_PKG_VERSION")),
            kernel: Kernel::from(&snapshot.kernel),
            inferred_reasons: inferred_reasons(snapshot),
            devices: snapshot.devices.iter().map(Device::from).collect(),
            other: snapshot.other.as_ref().map(|it| Counted::from(&it.totals)),
        }
    }
}

impl<'a> From<&'a snapshot::Device> for Device<'a> {
    fn from(device: &'a snapshot::Device) -> Self {
        Self {
            name: Cow::Borrowed(&device.name),
            number: device.number.to_string(),
            option: device.table.options.try_verify_in_tasklet,
            effective: device.effective(),
            totals: device.totals.as_ref().map(Counted::from),
        }
    }
}

impl From<&snapshot::Totals> for Counted {
    fn from(totals: &snapshot::Totals) -> Self {
        let totals = Totals::from(totals);
        Self {
            ios: totals.ios,
            bytes: totals.bytes,
            failed: totals.failed,
            incomplete: totals.incomplete,
            rechecked: totals.rechecked,
            fec: totals.fec,
            placements: totals.placements,
            attempts: totals.attempts,
            attempt_contexts: totals.attempt_contexts,
            mix: totals.mix,
        }
    }
}
