//! `cargo xtask bench`: what tracing costs an I/O, counted in guest instructions.

use std::path::Path;
use std::{fs, iter, slice};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::build;
use crate::lab::{Job, Machine, Output, TIMEOUT};
use crate::setup::Kernel;

/// How many reads a case consists of.
const READS: usize = 2000;

/// Where the guest leaves what it measured.
const RESULTS: &str = "/tmp/bench";

/// Measures every case once, on RAM disks: these complete in the task that reads, and not when
/// the host likes.
///
/// fio's own percentiles are rounded to 512 ns at these latencies, so it logs every read.
const SCRIPT: &str = r#"
set -e
reads=$1
mkdir "$2"
cd "$2"
mkfifo /run/said

measure() {
    fio --name="$1" --filename=/dev/mapper/bench --readonly --direct=1 --rw=randread --bs=4k \
        --ioengine=psync --number_ios="$reads" --write_lat_log="$1" --per_job_logs=0 >/dev/null
}

# Measures with the tracer attached; what follows the name is for the tracer.
trace() {
    name=$1
    shift
    verity-trace export --once --duration 1h "$@" >"$name.json" 2>/run/said &
    exec 5</run/said
    while read -r line <&5 && echo "$name: $line" >&2; do
        case $line in *watching*) break ;; esac
    done
    measure "$name"
    kill -INT $!
    code=0
    wait $! || code=$?
    cat <&5 >&2
    exec 5<&-
    # A tracer that could not watch has ended with another code, and has said why.
    [ "$code" = 130 ]
}

open() {
    veritysetup open "$@" /dev/ram0 bench /dev/ram1 "$LAB_ROOT_HASH"
    dd if=/dev/mapper/bench of=/dev/null bs=1M iflag=direct 2>/dev/null
}

modprobe brd rd_nr=2 rd_size=$(($(blockdev --getsize64 "$LAB_DATA") / 1024))
dd if="$LAB_DATA" of=/dev/ram0 bs=1M conv=fsync 2>/dev/null
dd if="$LAB_HASH" of=/dev/ram1 bs=1M conv=fsync 2>/dev/null

open
measure off
trace off-fentry
trace off-kprobe --attach kprobe
veritysetup close bench
open --use-tasklets
measure on
trace on-fentry
"#;

/// The cases of every kernel: the option, and how the tracer attaches.
///
/// fentry is what the tracer chooses by itself.
const CASES: [(&str, &str); 3] = [("off", "fentry"), ("off", "kprobe"), ("on", "fentry")];

#[derive(clap::Args)]
pub struct Args {
    /// Measure on this kernel alone
    #[arg(long, value_enum)]
    kernel: Option<Kernel>,
}

/// A case's medians, in guest instructions per read.
struct Row {
    kernel: Kernel,
    case: (&'static str, &'static str),
    untraced: u64,
    traced: u64,
}

/// Measures on one kernel after the other, and stops at the first failure.
pub fn main(args: &Args) -> Result<()> {
    let binary = build::binary()?;
    let kernels = args.kernel.as_ref();
    let mut rows = Vec::new();
    for &kernel in kernels.map_or(Kernel::ALL, slice::from_ref) {
        eprintln!("measuring on kernel {kernel}");
        rows.extend(run(kernel, &binary).with_context(|| format!("measure on kernel {kernel}"))?);
    }
    print!("{}", table(&rows));
    Ok(())
}

fn run(kernel: Kernel, binary: &Path) -> Result<Vec<Row>> {
    let dir = tempfile::tempdir()?;
    let reads = READS.to_string();
    let job = Job {
        command: ["sh", "-c", SCRIPT, "bench", &reads, RESULTS]
            .map(str::to_owned)
            .to_vec(),
        outputs: vec![Output {
            guest: RESULTS.into(),
            host: dir.path().to_owned(),
        }],
        timeout: Some(TIMEOUT),
        ..Job::default()
    };
    let machine = Machine {
        icount: true,
        ..Machine::new(kernel)
    };
    let code = machine.run(binary, &job)?;
    ensure!(code == 0, "the measurement ended with exit code {code}");
    let read = |name: String| {
        fs::read_to_string(dir.path().join(&name)).with_context(|| format!("read {name}"))
    };
    let median_of = |name: &str| {
        median(&read(format!("{name}_clat.log"))?).with_context(|| format!("reads {name}"))
    };
    let row = |case: (&'static str, &'static str)| {
        let (option, probes) = case;
        let name = format!("{option}-{probes}");
        check(&read(format!("{name}.json"))?, probes).with_context(|| format!("trace {name}"))?;
        Ok(Row {
            kernel,
            case,
            untraced: median_of(option)?,
            traced: median_of(&name)?,
        })
    };
    CASES.into_iter().map(row).collect()
}

/// The tracer must have seen exactly the reads that were made, by the probes that the case is for.
fn check(document: &str, rung: &str) -> Result<()> {
    let document: Value = serde_json::from_str(document)?;
    let devices = document["devices"].as_array().context("no devices")?;
    let ios: Vec<_> = devices.iter().map(|device| &device["ios"]).collect();
    let seen = json!([document["tracing"]["rung"], ios, document["lost"]]);
    let wanted = json!([rung, [READS], 0]);
    let loss = &document["loss"];
    ensure!(
        seen == wanted,
        "probes, I/Os, losses are {seen} and not {wanted}: {loss}"
    );
    Ok(())
}

/// The median of fio's log, a line `TIME, NANOSECONDS, …` for each of the reads.
fn median(log: &str) -> Result<u64> {
    let latency = |line: &str| line.split(", ").nth(1)?.parse::<u64>().ok();
    let latencies: Option<Vec<_>> = log.lines().map(latency).collect();
    let mut latencies = latencies.context("fio's log is not as expected")?;
    let reads = latencies.len();
    ensure!(reads == READS, "fio made {reads} of {READS}");
    latencies.sort_unstable();
    Ok(latencies[READS / 2])
}

fn table(rows: &[Row]) -> String {
    let header = "guest instructions per read: median of direct 4 KiB random reads on RAM disks\n\
                  kernel  option  probes    untraced    traced  difference   percent\n";
    let lines = rows.iter().map(|row| {
        let (kernel, (option, probes)) = (row.kernel.name(), row.case);
        let (untraced, traced) = (row.untraced, row.traced);
        let difference = traced.cast_signed() - untraced.cast_signed();
        let percent = 100.0 * difference as f64 / untraced as f64;
        format!(
            "{kernel:<8}{option:<8}{probes:<8}{untraced:>10}{traced:>10}{difference:>+12}\
             {percent:>+9.2}%\n"
        )
    });
    iter::once(header.to_owned()).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_all_reads() {
        let log = |reads: usize| -> String {
            let line = |n: usize| format!("1, {}, 0, 4096, 8192\n", 40_000 + n * 7 % reads);
            (0..reads).map(line).collect()
        };
        assert_eq!(median(&log(READS)).unwrap(), 41_000);
        assert!(median(&log(READS - 1)).is_err(), "a read is missing");
        assert!(median("no log").is_err());
    }

    #[test]
    fn a_trace_must_be_complete() {
        let check = |rung: &str, ios: usize, lost: u32| {
            let devices = json!([{ "ios": ios }]);
            let document = json!({ "tracing": { "rung": rung }, "lost": lost, "devices": devices });
            check(&document.to_string(), "fentry")
        };
        check("fentry", READS, 0).unwrap();
        check("kprobe", READS, 0).unwrap_err();
        check("fentry", READS - 1, 0).unwrap_err();
        check("fentry", READS, 1).unwrap_err();
    }

    #[test]
    fn the_table_shows_the_difference() {
        let row = Row {
            kernel: Kernel::V6_12,
            case: ("off", "fentry"),
            untraced: 46_364,
            traced: 47_829,
        };
        let table = table(&[row]);
        let last = table.lines().last().unwrap();
        let wanted = "6.12    off     fentry       46364     47829       +1465    +3.16%";
        assert_eq!(last, wanted);
    }
}
