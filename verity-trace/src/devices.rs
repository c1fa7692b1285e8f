//! A block of text for each verity device: what device-mapper says of it.

use std::io::{self, Write};

use crate::dm::VerityDevice;
use crate::facts::{self, OptionEffect};
use crate::inventory::{Inventory, effective};
use crate::snapshot::Era;
use crate::target::{Fec, Table};
use crate::{escape, format};

/// Cells of a label, and of what stands beside it: a hash of 256 bits fits on a line.
const LABEL: usize = 13;
const TEXT: usize = 64;

/// Writes every device of the inventory, no line wider than 80 cells.
pub fn devices(inventory: &Inventory, out: &mut impl Write) -> io::Result<()> {
    let kernel = &inventory.kernel;
    let cpus = format::counted(kernel.cpus, "CPU");
    let machine = format!("{} on {}, {cpus}", kernel.release, kernel.host);
    field("", "kernel", &machine, out)?;
    field("", "era", kernel.era.map_or(format::ABSENT, Era::name), out)?;
    if let Some(era) = kernel.era {
        field("", "", facts::meaning(era), out)?;
    }
    for device in &inventory.devices {
        writeln!(out)?;
        field("", "device", &device.name, out)?;
        device_fields(device, inventory, out)?;
    }
    Ok(())
}

fn device_fields(
    device: &VerityDevice,
    inventory: &Inventory,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut field = |label: &str, text: &str| field("  ", label, text, out);
    let named = |number: &str| format::device(number, &inventory.kernel_names);
    let table = &device.table;
    let options = &table.options;
    field("number", &named(&device.number.to_string()))?;
    if !device.uuid.is_empty() {
        field("uuid", &device.uuid)?;
    }
    let effect = OptionEffect::known(
        options.try_verify_in_tasklet,
        effective(inventory.kernel.era),
        inventory.kernel.era,
    );
    field("option", effect.name())?;
    if let Some(sentence) = effect.sentence() {
        field("", sentence)?;
    }
    let verdict = device.status.as_ref().map(|status| status.verdict.name());
    field("status", verdict.unwrap_or(format::ABSENT))?;
    field("data", &data(table, &named(&table.data_device)))?;
    field("hashes", &hashes(table, &named(&table.hash_device)))?;
    field("algorithm", &table.algorithm)?;
    field("root hash", &table.root_hash)?;
    field("salt", table.salt.as_deref().unwrap_or(format::ABSENT))?;
    let words = options.words().join(", ");
    field("options", if words.is_empty() { "none" } else { &words })?;
    if let Some(options) = &options.fec {
        let corrected = device.status.as_ref().and_then(|it| it.fec_corrected);
        let place = options.device.as_deref().map(named);
        field("fec", &fec(options, place.as_deref(), corrected))?;
    }
    Ok(())
}

fn data(table: &Table, place: &str) -> String {
    let Table {
        data_blocks,
        data_block_bytes,
        ..
    } = table;
    format!("{place}, {data_blocks} blocks of {data_block_bytes} bytes")
}

fn hashes(table: &Table, place: &str) -> String {
    let Table {
        hash_block_bytes,
        hash_start_block,
        hash_type,
        ..
    } = table;
    format!(
        "{place}, blocks of {hash_block_bytes} bytes from block {hash_start_block}, type {hash_type}"
    )
}

fn fec(fec: &Fec, place: Option<&str>, corrected: Option<u64>) -> String {
    let or_absent = |number: Option<u64>| {
        number.map_or_else(|| format::ABSENT.to_owned(), |number| number.to_string())
    };
    format!(
        "{}, {} roots, {} blocks, parity from block {}, corrected {}",
        place.unwrap_or(format::ABSENT),
        or_absent(fec.roots.map(u64::from)),
        or_absent(fec.blocks),
        or_absent(fec.start_block),
        or_absent(corrected),
    )
}

/// A label and the text beside it, on as many lines as that takes.
fn field(indent: &str, label: &str, text: &str, out: &mut impl Write) -> io::Result<()> {
    let width = LABEL - indent.len();
    for (row, line) in format::wrap(&escape::terminal(text), TEXT)
        .iter()
        .enumerate()
    {
        let label = if row == 0 { label } else { "" };
        writeln!(
            out,
            "{}",
            format!("{indent}{label:<width$}{line}").trim_end()
        )?;
    }
    Ok(())
}
