//! How fast `verity-trace report` counts a recording anew from its records, beside DuckDB's percentiles of the
//! same I/Os, and what memory it takes: `cargo bench --bench report`.
//!
//! Both are processes on one CPU, in turn. DuckDB, which `cargo xtask setup` installs, reads what `--format
//! parquet` made of the recording, for each stage by device and placement.

mod made_up;

use std::fs::File;
use std::io::{self, Cursor, Write as _};
use std::path::Path;
use std::process::Command;

use verity_trace::demo;
use verity_trace::overview::Overview;
use verity_trace::recorder::{Recorder, Sink};
use verity_trace::recording::{Ended, Header, Machine, Reader};
use verity_trace::snapshot::Snapshot;
use verity_trace_ebpf::record::Record;

use made_up::{RECORDS, later, made_up, pin};

/// How often the million is recorded.
const TIMES: [usize; 2] = [1, 10];
/// How often each side runs.
const TURNS: usize = 5;

fn main() -> io::Result<()> {
    let cpu = pin()?;
    let program = env!("CARGO_BIN_EXE_verity-trace");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = workspace.join("target/tools/python/bin/python");
    if !python.exists() {
        return Err(io::Error::other(
            "DuckDB is missing: run `cargo xtask setup`",
        ));
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let recording = folder.path().join("recording");
    let parquet = folder.path().join("ios.parquet");
    let records = made_up();
    for times in TIMES {
        let all = RECORDS * times;
        println!("{all} records of two devices, on CPU {cpu} alone, least of {TURNS} turns");
        record(&records, times, File::create(&recording)?)?;
        let mut convert = Command::new(program);
        convert.args(["report", "--format=parquet", "--force", "-o"]);
        run(convert.arg(&parquet).arg(&recording))?;
        for (what, path) in [("recording", &recording), ("Parquet", &parquet)] {
            let bytes = path.metadata()?.len();
            println!("{what}: {:.2} bytes a record", bytes as f64 / all as f64);
        }
        io::stdout().flush()?;
        let mut compare = Command::new(&python);
        compare.arg(workspace.join("verity-trace/benches/report.py"));
        // What it starts another one by; its own name is not the one that it was called by.
        compare.args([python.as_os_str(), program.as_ref()]);
        compare.args([&recording, &parquet]).arg(TURNS.to_string());
        run(&mut compare)?;
    }
    Ok(())
}

fn run(command: &mut Command) -> io::Result<()> {
    let status = command.status()?;
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{command:?} ended with {status}")))
}

fn record(records: &[Record], times: usize, file: File) -> io::Result<()> {
    let snapshot = snapshot()?;
    let (header, machine) = (Header::default(), Machine::default());
    let mut recorder = Recorder::start(Sink::File(file), header, &machine)?;
    recorder.picture(0, snapshot.clone());
    for turn in 0..times {
        for record in records {
            while !recorder.has_room() {
                std::thread::yield_now();
            }
            let record = later(record, turn);
            recorder.record(Record {
                device: record.device + u32::from(record.sector.is_multiple_of(16)),
                ..record
            });
        }
    }
    recorder.picture(1_000_000_000_000, snapshot);
    let ending = recorder.finish(1_000_000_000_000, Ended::Duration);
    ending.wait()?;
    Ok(())
}

/// What a recording is to have: the devices that the records are of.
fn snapshot() -> io::Result<Snapshot> {
    let wrong = |fault| io::Error::other(format!("the demo: {fault}"));
    let mut reader = Reader::new(Cursor::new(demo::ALL[2].bytes), false).map_err(wrong)?;
    Ok(Overview::read(&mut reader).map_err(wrong)?.snapshot)
}
