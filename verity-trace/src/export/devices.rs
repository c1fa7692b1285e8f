//! The types of the JSON document about devices alone, made from an inventory.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SCHEMA_VERSION;
use super::document::reading::{self, Unreadable};
use super::document::{Kernel, Word, word};
use crate::dm::VerityDevice;
use crate::inventory::{self, Inventory};
use crate::snapshot::{Device, DeviceNumber, Era};
use crate::target::{self, Mode, Status, Table, Verdict};

/// What is known of the verity devices at one moment.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listing<'a> {
    schema_version: u32,
    version: &'static str,
    taken_at_unix_ms: u64,
    kernel: Kernel,
    devices: Vec<Entry<'a>>,
}

/// What device-mapper says of one device.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Entry<'a> {
    name: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    uuid: Cow<'a, str>,
    #[serde(flatten)]
    place: Place<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disk_sequence: Option<u64>,
    option: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective: Option<bool>,
    #[serde(flatten)]
    target: Target<'a>,
}

/// What a verity target says of itself.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Target<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fec_corrected: Option<u64>,
    hash_type: u32,
    data_device: Place<'a>,
    hash_device: Place<'a>,
    data_block_bytes: u32,
    hash_block_bytes: u32,
    data_blocks: u64,
    hash_start_block: u64,
    algorithm: Cow<'a, str>,
    root_hash: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<Cow<'a, str>>,
    options: Options<'a>,
}

/// A block device.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Place<'a> {
    pub(super) number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel_name: Option<Cow<'a, str>>,
}

impl<'a> Place<'a> {
    pub(super) fn new(number: String, kernel_names: &'a BTreeMap<String, String>) -> Self {
        Self {
            kernel_name: kernel_names
                .get(&number)
                .map(|name| Cow::Borrowed(name.as_str())),
            number,
        }
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Options<'a> {
    try_verify_in_tasklet: bool,
    check_at_most_once: bool,
    ignore_zero_blocks: bool,
    on_corruption: Word,
    on_error: Word,
    #[serde(skip_serializing_if = "Option::is_none")]
    fec: Option<Fec<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_hash_sig_key_desc: Option<Cow<'a, str>>,
    unknown: Cow<'a, [String]>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Fec<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roots: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_block: Option<u64>,
}

impl<'a> From<&'a Inventory> for Listing<'a> {
    fn from(inventory: &'a Inventory) -> Self {
        let (names, era) = (&inventory.kernel_names, inventory.kernel.era);
        Self {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            taken_at_unix_ms: u64::try_from(inventory.taken_at.as_millis()).unwrap_or(u64::MAX),
            kernel: Kernel::from(&inventory.kernel),
            devices: inventory
                .devices
                .iter()
                .map(|device| Entry::new(device, names, era))
                .collect(),
        }
    }
}

impl<'a> Entry<'a> {
    /// What is said of this device, on a kernel of this era.
    #[must_use]
    pub fn new(
        device: &'a VerityDevice,
        kernel_names: &'a BTreeMap<String, String>,
        era: Option<Era>,
    ) -> Self {
        Self {
            name: Cow::Borrowed(&device.name),
            uuid: Cow::Borrowed(&device.uuid),
            place: Place::new(device.number.to_string(), kernel_names),
            disk_sequence: device.disk_sequence,
            option: device.table.options.try_verify_in_tasklet,
            effective: inventory::effective(era),
            target: Target::new(&device.table, device.status.as_ref(), kernel_names),
        }
    }
}

impl Entry<'_> {
    /// Its name. It comes from outside: escape it before printing.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number; absent where a file does not say one.
    #[must_use]
    pub fn number(&self) -> Option<DeviceNumber> {
        self.place.number().parse().ok()
    }

    /// Whether it is this device, and not another one that had its number before or after.
    #[must_use]
    pub fn is(&self, device: &Device) -> bool {
        match (self.disk_sequence, device.disk_sequence) {
            (Some(one), Some(other)) => one == other,
            // It may have been renamed meanwhile, which nothing tells.
            _ => self.name == device.name && self.uuid == device.uuid,
        }
    }

    /// What its table says.
    pub fn table(&self) -> Result<Table, Unreadable> {
        self.target.table()
    }
}

impl<'a> Target<'a> {
    pub(super) fn new(
        table: &'a Table,
        status: Option<&'a Status>,
        kernel_names: &'a BTreeMap<String, String>,
    ) -> Self {
        let place = |number| Place::new(number, kernel_names);
        Self {
            status: status.map(|status| Cow::Borrowed(status.verdict.name())),
            fec_corrected: status.and_then(|status| status.fec_corrected),
            hash_type: table.hash_type,
            data_device: place(table.data_device.clone()),
            hash_device: place(table.hash_device.clone()),
            data_block_bytes: table.data_block_bytes,
            hash_block_bytes: table.hash_block_bytes,
            data_blocks: table.data_blocks,
            hash_start_block: table.hash_start_block,
            algorithm: Cow::Borrowed(&table.algorithm),
            root_hash: Cow::Borrowed(&table.root_hash),
            salt: table.salt.as_deref().map(Cow::Borrowed),
            options: Options::new(&table.options, place),
        }
    }
}

impl<'a> Options<'a> {
    fn new(options: &'a target::Options, place: impl Fn(String) -> Place<'a>) -> Self {
        Self {
            try_verify_in_tasklet: options.try_verify_in_tasklet,
            check_at_most_once: options.check_at_most_once,
            ignore_zero_blocks: options.ignore_zero_blocks,
            on_corruption: word(options.on_corruption.name()),
            on_error: word(options.on_error.name()),
            fec: options.fec.as_ref().map(|fec| Fec {
                device: fec.device.clone().map(place),
                roots: fec.roots,
                blocks: fec.blocks,
                start_block: fec.start_block,
            }),
            root_hash_sig_key_desc: options.root_hash_sig_key_desc.as_deref().map(Cow::Borrowed),
            unknown: Cow::Borrowed(&options.unknown),
        }
    }
}

impl Place<'_> {
    pub(super) fn number(&self) -> &str {
        &self.number
    }

    pub(super) fn kernel_name(&self) -> Option<&str> {
        self.kernel_name.as_deref()
    }
}

impl Target<'_> {
    /// The devices that it lies on.
    pub(super) fn places(&self) -> Vec<&Place<'_>> {
        let fec = self
            .options
            .fec
            .as_ref()
            .and_then(|fec| fec.device.as_ref());
        let below = [&self.data_device, &self.hash_device];
        below.into_iter().chain(fec).collect()
    }

    pub(super) fn status(&self) -> Option<Status> {
        Some(Status {
            verdict: Verdict::named(self.status.as_deref()?),
            fec_corrected: self.fec_corrected,
        })
    }

    pub(super) fn table(&self) -> Result<Table, Unreadable> {
        Ok(Table {
            hash_type: self.hash_type,
            data_device: self.data_device.number.clone(),
            hash_device: self.hash_device.number.clone(),
            data_block_bytes: self.data_block_bytes,
            hash_block_bytes: self.hash_block_bytes,
            data_blocks: self.data_blocks,
            hash_start_block: self.hash_start_block,
            algorithm: self.algorithm.clone().into_owned(),
            root_hash: self.root_hash.clone().into_owned(),
            salt: self.salt.clone().map(Cow::into_owned),
            options: self.options.options()?,
        })
    }
}

impl Options<'_> {
    fn options(&self) -> Result<target::Options, Unreadable> {
        let mode = |word: &str| reading::known("mode", Mode::ALL, Mode::name, word);
        Ok(target::Options {
            try_verify_in_tasklet: self.try_verify_in_tasklet,
            check_at_most_once: self.check_at_most_once,
            ignore_zero_blocks: self.ignore_zero_blocks,
            on_corruption: mode(&self.on_corruption)?,
            on_error: mode(&self.on_error)?,
            fec: self.fec.as_ref().map(|fec| target::Fec {
                device: fec.device.as_ref().map(|place| place.number.clone()),
                roots: fec.roots,
                blocks: fec.blocks,
                start_block: fec.start_block,
            }),
            root_hash_sig_key_desc: self.root_hash_sig_key_desc.clone().map(Cow::into_owned),
            unknown: self.unknown.clone().into_owned(),
        })
    }
}
