//! `cargo xtask bench`: what tracing costs an I/O, counted in guest instructions.

use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::command;
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

const TITLE: &str = "guest instructions per read: median of direct 4 KiB random reads on RAM disks";

#[derive(clap::Args)]
pub struct Args {
    /// Measure on this kernel alone
    #[arg(long, value_enum)]
    kernel: Option<Kernel>,
}

/// A case's medians, in guest instructions per read.
struct Row {
    kernel: Kernel,
    option: &'static str,
    probes: &'static str,
    untraced: u64,
    traced: u64,
}

/// Measures on every kernel, also after one has failed.
pub fn main(args: &Args) -> u8 {
    let kernels = args.kernel.as_ref();
    let mut rows = Vec::new();
    let mut failed = false;
    for &kernel in kernels.map_or(Kernel::ALL, std::slice::from_ref) {
        eprintln!("measuring on kernel {kernel}");
        match run(kernel) {
            Ok(measured) => rows.extend(measured),
            Err(error) => {
                eprintln!("error: kernel {kernel}: {error:#}");
                failed = true;
            }
        }
    }
    print!("{}", table(&rows));
    u8::from(failed)
}

fn run(kernel: Kernel) -> Result<Vec<Row>> {
    let dir = tempfile::tempdir()?;
    let mut lab = Command::new(env::current_exe()?);
    lab.args(["lab", "--icount", "--kernel", kernel.name(), "--out"])
        .arg(format!("{RESULTS}:{}", dir.path().display()))
        .args([
            "--",
            "sh",
            "-c",
            SCRIPT,
            "bench",
            &READS.to_string(),
            RESULTS,
        ]);
    command::run(&mut lab)?;
    let read = |name: String| {
        fs::read_to_string(dir.path().join(&name)).with_context(|| format!("read {name}"))
    };
    let median_of = |name: &str| {
        median(&read(format!("{name}_clat.log"))?).with_context(|| format!("reads {name}"))
    };
    let row = |(option, probes): (&'static str, &'static str)| {
        let name = format!("{option}-{probes}");
        check(&read(format!("{name}.json"))?, probes).with_context(|| format!("trace {name}"))?;
        Ok(Row {
            kernel,
            option,
            probes,
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
    ensure!(
        seen == wanted,
        "probes, I/Os and losses are {seen} instead of {wanted}; losses: {}",
        document["loss"]
    );
    Ok(())
}

/// The median of fio's log, a line `TIME, NANOSECONDS, …` for each of the reads.
fn median(log: &str) -> Result<u64> {
    let latency = |line: &str| {
        let field = line.split(", ").nth(1)?;
        field.parse::<u64>().ok()
    };
    let latencies = log.lines().map(latency).collect::<Option<Vec<_>>>();
    let mut latencies = latencies.context("fio's log is not as expected")?;
    ensure!(
        latencies.len() == READS,
        "fio made {} of them",
        latencies.len()
    );
    latencies.sort_unstable();
    Ok(latencies[READS / 2])
}

fn table(rows: &[Row]) -> String {
    let header = format!(
        "{TITLE}\n{:<8}{:<8}{:<8}{:>10}{:>10}{:>12}{:>10}\n",
        "kernel", "option", "probes", "untraced", "traced", "difference", "percent"
    );
    let lines = rows.iter().map(|row| {
        let difference = row.traced.cast_signed() - row.untraced.cast_signed();
        format!(
            "{:<8}{:<8}{:<8}{:>10}{:>10}{difference:>+12}{:>+9.2}%\n",
            row.kernel.name(),
            row.option,
            row.probes,
            row.untraced,
            row.traced,
            100.0 * difference as f64 / row.untraced as f64
        )
    });
    std::iter::once(header).chain(lines).collect()
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
        let document = |rung: &str, ios: usize, lost: u32| {
            let devices = json!([{ "ios": ios }]);
            json!({ "tracing": { "rung": rung }, "lost": lost, "devices": devices }).to_string()
        };
        check(&document("fentry", READS, 0), "fentry").unwrap();
        check(&document("kprobe", READS, 0), "fentry").unwrap_err();
        check(&document("fentry", READS - 1, 0), "fentry").unwrap_err();
        check(&document("fentry", READS, 1), "fentry").unwrap_err();
    }

    #[test]
    fn the_table_shows_the_difference() {
        let row = Row {
            kernel: Kernel::V6_12,
            option: "off",
            probes: "fentry",
            untraced: 46_364,
            traced: 47_829,
        };
        let table = table(&[row]);
        let last = table.lines().last().unwrap();
        let words: Vec<_> = last.split_whitespace().collect();
        assert_eq!(
            words,
            ["6.12", "off", "fentry", "46364", "47829", "+1465", "+3.16%"]
        );
    }
}
