//! Bytes that libFuzzer makes up, read as a recording: as they are, and with every length and checksum put right, so
//! that what stands behind them is reached too.

#![cfg_attr(fuzzing, no_main)]

#[cfg(not(fuzzing))]
mod short;

use std::io::{self, Cursor};
use std::time::Duration;

use verity_trace::compare::{self, Comparison, Side};
use verity_trace::html::{self, Gathered};
use verity_trace::overview::Overview;
use verity_trace::recording::{Block, Fault, MAX_RECORDS, Reader};
use verity_trace::replay::Film;
use verity_trace::selection::Selection;
use verity_trace::snapshot::Era;
use verity_trace::window::{self, Window};
use verity_trace::{decode, parquet, perfetto, table};

/// Of the header, and of a block's head.
const HEADER: usize = 64;
const HEAD: usize = 28;
/// Snapshots of a replay.
const SHOWN: usize = 8;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| each_way(bytes));

/// What libFuzzer begins with, once, as a test of any run.
#[cfg(not(fuzzing))]
fn main() -> anyhow::Result<()> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["6.1", "6.12", "7.3"] {
        let bytes = short::short(&root.join(format!("demo/{name}.vtrec")))?;
        let mut reader = Reader::new(Cursor::new(&bytes), false).map_err(anyhow::Error::msg)?;
        let mut blocks = 0;
        while reader.next_block().map_err(anyhow::Error::msg)?.is_some() {
            blocks += 1;
        }
        anyhow::ensure!(blocks > 4, "{name}: a short recording of {blocks} blocks");
        each_way(&bytes);
    }
    Ok(())
}

fn each_way(bytes: &[u8]) {
    let mended = mended(bytes);
    for file in [bytes, &mended] {
        for salvages in [false, true] {
            // A fault is an answer; only a panic, a leak or too much memory is none.
            let _ = read(file, salvages);
            let _ = report(file, salvages);
        }
    }
}

/// Every block, and every I/O.
fn read(file: &[u8], salvages: bool) -> Result<(), Fault> {
    let mut reader = Reader::new(Cursor::new(file), salvages)?;
    let mut records = Vec::new();
    while let Some(block) = reader.next_block()? {
        match block {
            Block::Ios(ios) => {
                records.clear();
                reader.records(&ios, &mut records)?;
                assert!(records.len() == ios.span.records && records.len() <= MAX_RECORDS);
                for record in &records {
                    let _ = decode::io(record, ios.span.era.unwrap_or(Era::NoOption));
                }
            }
            Block::Picture { picture, .. } => {
                let _ = picture.document.snapshot();
            }
            Block::Machine(_) | Block::Devices(_) | Block::Parameters(_) | Block::End(_) => {}
        }
    }
    Ok(())
}

/// What `verity-trace report` and `compare` make of it.
fn report(file: &[u8], salvages: bool) -> Result<(), table::Stop> {
    let mut reader = Reader::new(Cursor::new(file), salvages)?;
    let start = reader.place();
    let overview = Overview::read(&mut reader)?;
    verity_trace::overview::overview(&overview, &mut io::sink())?;
    verity_trace::overview::json(&overview, &mut io::sink())?;
    reader.go_to(start)?;
    table::csv(&mut reader, None, io::sink())?;
    reader.go_to(start)?;
    perfetto::trace(&mut reader, &overview, None, io::sink())?;
    reader.go_to(start)?;
    parquet::write(&mut reader, &overview, None, io::sink())?;
    reader.go_to(start)?;
    let gathered = Gathered::read(&mut reader, &overview, None)?;
    html::html(&overview, &gathered, &mut io::sink())?;
    let ends = (Some(Duration::from_millis(1)), Some(Duration::from_secs(1)));
    for (from, to) in [(Some(Duration::ZERO), None), ends] {
        if let Ok(Some(part)) = Window::new(from, to) {
            reader.go_to(start)?;
            let recounted = part.recount(&mut reader, &overview, true)?;
            window::text(&recounted, &mut io::sink())?;
            window::json(&recounted, &mut io::sink())?;
        }
    }
    reader.go_to(start)?;
    let one = Side::read(&mut reader)?;
    reader.go_to(start)?;
    let other = Side::read(&mut reader)?;
    let names = ["A", "B"].map(str::to_owned);
    if let Ok(comparison) = Comparison::new(names, [one, other], &[], 1) {
        compare::text(&comparison, &mut io::sink())?;
        compare::json(&comparison, &mut io::sink())?;
    }
    reader.go_to(start)?;
    let mut replay = Film::new(reader, Selection::default())?;
    while replay.find()? {}
    while replay.times().len() < SHOWN && replay.find()? {}
    let count = replay.times().len();
    for number in 0..count.min(SHOWN) {
        replay.snapshot(number, number.checked_sub(1))?;
        replay.picked(number)?;
    }
    Ok(())
}

/// The same with the header's and every block's marks, numbers, lengths and checksums as they have to be.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut file = bytes.to_vec();
    file.resize(file.len().max(HEADER), 0);
    let (header, mut rest) = file.split_at_mut(HEADER);
    header[..14].copy_from_slice(b"\x89vtrec\r\n\x01\x02\x03\x04\x01\x00");
    let checksum = crc32fast::hash(&header[..60]);
    header[60..].copy_from_slice(&checksum.to_le_bytes());
    for number in 0u32.. {
        let Some((head, behind)) = rest.split_at_mut_checked(HEAD) else {
            break;
        };
        let claimed = u32::from_le_bytes([head[12], head[13], head[14], head[15]]) as usize;
        let (payload, next) = behind.split_at_mut(claimed.min(behind.len()));
        let stored = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        head[..4].copy_from_slice(b"vblk");
        head[8..12].copy_from_slice(&number.to_le_bytes());
        head[12..16].copy_from_slice(&stored.to_le_bytes());
        // What is not compressed is as long as it is stored.
        if head[6] & 1 == 0 {
            head[16..20].copy_from_slice(&stored.to_le_bytes());
        }
        head[20..24].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        let checksum = crc32fast::hash(&head[..24]);
        head[24..].copy_from_slice(&checksum.to_le_bytes());
        rest = next;
    }
    file
}
