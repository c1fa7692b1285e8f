//! How fast recordings are written and read, and how large they are: `cargo bench --bench recording`.
//!
//! Records as of random 4 KiB reads over 1 GiB, made up beforehand, take the path of real ones: through the
//! recorder and its thread into a file on the disk, all on one CPU.

use std::io::{self, BufReader, Seek as _, Write as _};
use std::time::{Duration, Instant};

use verity_trace::overview::Overview;
use verity_trace::recorder::{Recorder, Sink};
use verity_trace::recording::{Block, Ended, Header, Machine, Reader};

mod made_up;

use made_up::{RECORDS, later, made_up, pin};

/// How often they are recorded.
const TURNS: usize = 10;

fn main() -> io::Result<()> {
    let cpu = pin()?;
    let all = RECORDS * TURNS;
    println!("{all} records of random 4 KiB reads over 1 GiB, on CPU {cpu} alone");
    let records = made_up();
    let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR"))?;

    let start = Instant::now();
    let (header, machine) = (Header::default(), Machine::default());
    let mut recorder = Recorder::start(Sink::File(file.try_clone()?), header, &machine)?;
    for turn in 0..TURNS {
        for record in &records {
            while !recorder.has_room() {
                std::thread::yield_now();
            }
            recorder.record(later(record, turn));
        }
    }
    let written = recorder.finish(0, Ended::Duration).wait()?;
    say("written, and on the disk", start.elapsed(), all);
    println!("  {:.2} bytes a record", written.bytes as f64 / all as f64);

    file.rewind()?;
    let start = Instant::now();
    let mut reader = Reader::new(BufReader::new(file.try_clone()?), false)
        .map_err(|fault| io::Error::other(fault.to_string()))?;
    let mut found = Vec::new();
    let mut count = 0;
    while let Some(block) = next(&mut reader)? {
        if let Block::Ios(ios) = block {
            found.clear();
            let decoded = reader.records(&ios, &mut found);
            decoded.map_err(|fault| io::Error::other(fault.to_string()))?;
            for record in &found {
                let expected = later(&records[count % RECORDS], count / RECORDS);
                assert_eq!(*record, expected, "record {count}");
                count += 1;
            }
        }
    }
    assert_eq!(count, all);
    say("read and compared", start.elapsed(), all);

    file.rewind()?;
    let start = Instant::now();
    let mut reader = Reader::new(BufReader::new(file), false)
        .map_err(|fault| io::Error::other(fault.to_string()))?;
    // There is no snapshot in it, which is told once all of it was read.
    assert!(Overview::read(&mut reader).is_err());
    say("looked through", start.elapsed(), all);
    io::stdout().flush()
}

fn next(reader: &mut Reader<BufReader<std::fs::File>>) -> io::Result<Option<Block>> {
    let block = reader.next_block();
    block.map_err(|fault| io::Error::other(fault.to_string()))
}

fn say(what: &str, took: Duration, records: usize) {
    let rate = records as f64 / took.as_secs_f64() / 1e6;
    println!(
        "{what}: {:.2} s, {rate:.2} million records a second",
        took.as_secs_f64()
    );
}
