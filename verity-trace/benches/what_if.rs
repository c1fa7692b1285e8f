//! How fast the what-if model runs: `cargo bench --bench what_if`.
//!
//! I/Os as of random 4 KiB reads of four processes over eight CPUs, made up beforehand, on one CPU.

use std::io;
use std::time::Instant;

use verity_trace::decode;
use verity_trace::snapshot::{DeviceNumber, Era};
use verity_trace::what_if::{Facts, LoadBuilder, Setting, predict};

mod made_up;

use made_up::{RECORDS, made_up, pin};

fn main() -> io::Result<()> {
    let cpu = pin()?;
    println!("{RECORDS} I/Os of random 4 KiB reads, on CPU {cpu} alone");
    let recorded = Setting {
        option: true,
        use_bh_bytes: Some([8_192, 8_192, 8_192, 0]),
    };
    let off = Setting {
        option: false,
        ..recorded
    };
    let device = DeviceNumber {
        major: 253,
        minor: 0,
    };
    let facts = Facts {
        era: Era::Inline,
        cpus: 8,
        is_unbound: false,
        gives_way: true,
        is_real_time: None,
    };
    let records = made_up();
    let start = Instant::now();
    let mut builder = LoadBuilder::new(device, recorded);
    for record in &records {
        let io = decode::io(record, Era::Inline).map_err(io::Error::other)?;
        builder.add(&io);
    }
    let load = builder.build();
    println!(
        "decoded and gathered: {:.2} s",
        start.elapsed().as_secs_f64()
    );

    let took = |settings: &[Setting]| {
        let start = Instant::now();
        let forecast = predict(&load, &facts, settings, 1).map_err(io::Error::other)?;
        assert_eq!(forecast.own.ios, RECORDS as u64);
        Ok::<_, io::Error>(start.elapsed().as_secs_f64())
    };
    let own = took(&[])?;
    let one = took(&[off])?;
    println!("learned, and the recorded setting: {own:.2} s");
    println!("each other setting: {:.2} s", one - own);
    Ok(())
}
