//! Recordings: what was written is read back, what is damaged says so, and a full disk costs what it has no room for.

#[path = "../common.rs"]
mod common;
mod defects;
mod exports;
mod full_disk;
#[path = "../page.rs"]
mod page;
mod reader;
mod reports;
#[path = "../valid.rs"]
mod valid;
mod windows;

use std::ffi::OsStr;
use std::io::Cursor;

use bytemuck::Zeroable as _;
use verity_trace::dm::VerityDevice;
use verity_trace::export::{Document, Entry};
use verity_trace::overview;
use verity_trace::overview::Overview;
use verity_trace::recording::{
    Block, Condition, Devices, Encoder, End, Ended, Fault, Filter, Header, Kept, Machine,
    Parameters, Picture, Reader, Writer,
};
use verity_trace::snapshot::{Era, Snapshot};
use verity_trace_ebpf::record::{ABSENT, Record};

const HEADER: Header = Header {
    realtime_ns: 1_795_000_000_000_000_000,
    monotonic_ns: 5_000_000_000,
    boottime_ns: 6_000_000_000,
};

/// Of a block's head.
const HEAD: usize = 28;

/// All that a recording says.
#[derive(Default)]
struct Read {
    records: Vec<Record>,
    machines: Vec<Machine>,
    devices: Vec<String>,
    parameters: Vec<Parameters>,
    snapshots: Vec<Snapshot>,
    ends: Vec<End>,
    condition: Condition,
    fault: Option<Fault>,
}

impl Read {
    fn blocks(&self) -> usize {
        self.machines.len()
            + self.devices.len()
            + self.parameters.len()
            + self.snapshots.len()
            + self.ends.len()
            + self.records.len().div_ceil(RECORDS)
    }
}

/// Records in a block of these.
const RECORDS: usize = 100;

fn document(arguments: &[&OsStr]) -> serde_json::Value {
    let output = reported(&[arguments, &["--format=json".as_ref()]].concat());
    let text = String::from_utf8(output.stdout).expect("text");
    let is_window = arguments.contains(&"--from=0s".as_ref());
    valid::written(if is_window { "report-window" } else { "report" }, &text)
}

fn reported(arguments: &[&OsStr]) -> std::process::Output {
    run("report", arguments)
}

fn run(command: &str, arguments: &[&OsStr]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_verity-trace"))
        .arg(command)
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn report_of(file: &[u8], salvages: bool) -> String {
    let mut reader = Reader::new(Cursor::new(file), salvages).expect("a recording");
    let read = Overview::read(&mut reader).expect("a recording");
    let mut text = Vec::new();
    overview::overview(&read, &mut text).expect("written to memory");
    String::from_utf8(text).expect("text")
}

fn read(file: &[u8]) -> Read {
    read_as(file, false)
}

fn salvage(file: &[u8]) -> Read {
    read_as(file, true)
}

fn read_as(file: &[u8], salvages: bool) -> Read {
    let mut read = Read::default();
    match Reader::new(Cursor::new(file), salvages) {
        Ok(mut reader) => {
            read.fault = fill(&mut read, &mut reader).err();
            read.condition = reader.condition();
        }
        Err(fault) => read.fault = Some(fault),
    }
    read
}

fn fill(read: &mut Read, reader: &mut Reader<Cursor<&[u8]>>) -> Result<(), Fault> {
    while let Some(block) = reader.next_block()? {
        match block {
            Block::Machine(it) => read.machines.push(it),
            Block::Ios(ios) => {
                let before = read.records.len();
                reader.records(&ios, &mut read.records)?;
                assert_eq!(read.records.len() - before, ios.span.records);
            }
            Block::Devices(it) => read.devices.push(serde_json::to_string(&it).expect("JSON")),
            Block::Parameters(it) => read.parameters.push(it),
            Block::Picture { picture, .. } => read
                .snapshots
                .push(picture.document.snapshot().expect("a snapshot")),
            Block::End(it) => read.ends.push(it),
        }
    }
    Ok(())
}

/// A recording with a block of every kind.
fn recording() -> Vec<u8> {
    let mut encoder = Encoder::new(false).expect("an encoder");
    let mut writer = Writer::new(Vec::new(), &HEADER).expect("written to memory");
    let snapshots = snapshots();
    let scenario = common::scenario("hostile_names").snapshot();
    let devices: Vec<VerityDevice> = scenario.devices.iter().map(VerityDevice::from).collect();
    let devices = Devices {
        monotonic_ns: 5_000_000_001,
        devices: devices
            .iter()
            .map(|it| Entry::new(it, &scenario.kernel_names, Some(Era::Bh)))
            .collect(),
    };
    let mut frames = vec![
        encoder.machine(&machine()),
        encoder.devices(&devices),
        encoder.parameters(&parameters()),
    ];
    for (at, snapshot) in (0..).zip(&snapshots) {
        frames.push(encoder.picture(&picture(at, snapshot)));
        let first = at * RECORDS as u64;
        frames.push(encoder.ios(&records(first..first + RECORDS as u64), Some(Era::Bh)));
    }
    frames.push(encoder.end(&end()));
    for frame in frames {
        writer.write(&frame.expect("a block")).expect("written");
    }
    writer.into_inner()
}

fn picture(at: u64, snapshot: &Snapshot) -> Picture<'_> {
    Picture {
        monotonic_ns: 5_000_000_000 + at * 1_000_000_000,
        kept: Kept {
            records: at * RECORDS as u64,
            ..Kept::default()
        },
        document: Document::new(snapshot, None),
    }
}

fn snapshots() -> Vec<Snapshot> {
    ["bh_always_with_fallbacks", "losses_of_every_kind"]
        .map(|name| common::scenario(name).snapshot())
        .into()
}

fn machine() -> Machine {
    Machine {
        version: "0.1.0".to_owned(),
        release: "7.3.4\u{1b}[2J".to_owned(),
        machine: "x86_64".to_owned(),
        host: Some("$(id)<script>".to_owned()),
        cpus: 2,
        cpu_model: None,
        memory_bytes: 1 << 30,
        command: Some(vec!["fio".to_owned(), "--name=x".to_owned()]),
        redacted: false,
        filter: Filter {
            slower_than_ns: 5_000_000,
            one_in: 10,
        },
        ring_bytes: None,
    }
}

const fn end() -> End {
    End {
        monotonic_ns: 7_000_000_000,
        kept: Kept {
            records: 200,
            faster: 30,
            sampled_out: 7,
        },
        ended: Ended::Command(3),
    }
}

fn parameters() -> Parameters {
    Parameters {
        monotonic_ns: 5_000_000_002,
        use_bh_bytes: Some(vec![8_192, 0, 8_192, 8_192]),
    }
}

/// Records of which no two are alike.
fn records(numbers: std::ops::Range<u64>) -> Vec<Record> {
    numbers
        .map(|number| Record {
            seq: (number % 3) << 47 | number,
            mapped_at: 5_000_000_000 + number * 1_234_567,
            sector: number * 7_919 % 2_097_152,
            total_ns: 40_000 + number,
            stages_ns: [30_000, 5_000 + number, ABSENT, ABSENT, 5_000],
            bytes: 4_096 << (number % 3),
            device: 253 << 20,
            submitter: 800,
            command: *b"fio\0\0\0\0\0\0\0\0\0\0\0\0\0",
            ..Record::zeroed()
        })
        .collect()
}

/// Where each block begins and ends.
fn blocks(file: &[u8]) -> Vec<(usize, usize)> {
    let mut blocks = Vec::new();
    let mut start = Header::BYTES;
    while start < file.len() {
        let stored = file[start + 12..start + 16].try_into().expect("4 bytes");
        let stored = usize::try_from(u32::from_le_bytes(stored)).expect("a length");
        blocks.push((start, start + HEAD + stored));
        start += HEAD + stored;
    }
    blocks
}
