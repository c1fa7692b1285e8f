//! The types of the JSON document about devices alone, made from an inventory.

use std::collections::BTreeMap;

use serde::Serialize;

use super::SCHEMA_VERSION;
use super::document::Kernel;
use crate::dm::VerityDevice;
use crate::inventory::Inventory;
use crate::target::{self, Status, Table};

/// What is known of the verity devices at one moment.
#[derive(Debug, Serialize)]
pub struct Listing<'a> {
    schema_version: u32,
    version: &'static str,
    taken_at_unix_ms: u64,
    kernel: Kernel,
    devices: Vec<Entry<'a>>,
}

#[derive(Debug, Serialize)]
struct Entry<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uuid: &'a str,
    #[serde(flatten)]
    place: Place<'a>,
    option: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective: Option<bool>,
    #[serde(flatten)]
    target: Target<'a>,
}

/// What a verity target says of itself.
#[derive(Debug, Serialize)]
pub(super) struct Target<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fec_corrected: Option<u64>,
    hash_type: u32,
    data_device: Place<'a>,
    hash_device: Place<'a>,
    data_block_bytes: u32,
    hash_block_bytes: u32,
    data_blocks: u64,
    hash_start_block: u64,
    algorithm: &'a str,
    root_hash: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<&'a str>,
    options: Options<'a>,
}

/// A block device.
#[derive(Debug, Serialize)]
pub(super) struct Place<'a> {
    number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel_name: Option<&'a str>,
}

impl<'a> Place<'a> {
    pub(super) fn new(number: String, kernel_names: &'a BTreeMap<String, String>) -> Self {
        Self {
            kernel_name: kernel_names.get(&number).map(String::as_str),
            number,
        }
    }
}

#[derive(Debug, Serialize)]
struct Options<'a> {
    try_verify_in_tasklet: bool,
    check_at_most_once: bool,
    ignore_zero_blocks: bool,
    on_corruption: &'static str,
    on_error: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fec: Option<Fec<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_hash_sig_key_desc: Option<&'a str>,
    unknown: &'a [String],
}

#[derive(Debug, Serialize)]
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
        let device = |device| Entry::new(device, inventory);
        Self {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            taken_at_unix_ms: u64::try_from(inventory.taken_at.as_millis()).unwrap_or(u64::MAX),
            kernel: Kernel::from(&inventory.kernel),
            devices: inventory.devices.iter().map(device).collect(),
        }
    }
}

impl<'a> Entry<'a> {
    fn new(device: &'a VerityDevice, inventory: &'a Inventory) -> Self {
        let names = &inventory.kernel_names;
        Self {
            name: &device.name,
            uuid: &device.uuid,
            place: Place::new(device.number.to_string(), names),
            option: device.table.options.try_verify_in_tasklet,
            effective: inventory.effective(),
            target: Target::new(&device.table, device.status.as_ref(), names),
        }
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
            status: status.map(|status| status.verdict.name()),
            fec_corrected: status.and_then(|status| status.fec_corrected),
            hash_type: table.hash_type,
            data_device: place(table.data_device.clone()),
            hash_device: place(table.hash_device.clone()),
            data_block_bytes: table.data_block_bytes,
            hash_block_bytes: table.hash_block_bytes,
            data_blocks: table.data_blocks,
            hash_start_block: table.hash_start_block,
            algorithm: &table.algorithm,
            root_hash: &table.root_hash,
            salt: table.salt.as_deref(),
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
            on_corruption: options.on_corruption.name(),
            on_error: options.on_error.name(),
            fec: options.fec.as_ref().map(|fec| Fec {
                device: fec.device.clone().map(place),
                roots: fec.roots,
                blocks: fec.blocks,
                start_block: fec.start_block,
            }),
            root_hash_sig_key_desc: options.root_hash_sig_key_desc.as_deref(),
            unknown: &options.unknown,
        }
    }
}
