//! `cargo xtask bench`: what tracing costs, counted in guest instructions, and beside what others
//! would cost on the same hooks; and what the live view takes.

mod goals;
mod iops;
mod programs;
mod reads;
mod results;
mod table;
mod unrelated;

use std::path::Path;
use std::process::Command;
use std::slice;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::{Input, Job, Machine, Output};
use crate::run::here;
use crate::setup::Kernel;
use crate::workspace;
use crate::{build, command};
use goals::Goals;
use results::Results;

/// How many reads a case consists of.
const READS: usize = 2000;

/// Where the guest leaves what it measured.
const RESULTS: &str = "/tmp/bench";

/// How long one kernel may take: a few minutes on an idle machine.
const TIMEOUT: Duration = Duration::from_hours(1);

#[derive(clap::Args)]
pub struct Args {
    /// Measure on this kernel alone
    #[arg(long, value_enum)]
    kernel: Option<Kernel>,
    /// Compare fio's IOPS with and without tracing instead, by the clock: noisy
    #[arg(long)]
    iops: bool,
    /// Measure what others pay on this machine's own kernel instead, by the clock; needs root
    #[arg(long, conflicts_with_all = ["kernel", "iops"])]
    native: bool,
    /// Measure the live view alone, on this machine: what it takes to draw and to begin, and its memory
    #[arg(long, conflicts_with_all = ["kernel", "iops", "native"])]
    screen: bool,
}

/// Measures on one kernel after the other, and stops at the first failure. A goal that is missed is
/// no failure.
pub fn main(args: &Args) -> Result<()> {
    if args.native {
        let code = here(&build::suite("native")?.tests, &[])?;
        ensure!(code == 0, "the measurement ended with exit code {code}");
        return Ok(());
    }
    if args.screen {
        return screen();
    }
    let kernels = args.kernel.as_ref().map_or(Kernel::ERAS, slice::from_ref);
    let binary = build::binary()?;
    if args.iops {
        let mut rows = Vec::new();
        for &kernel in kernels {
            let results = run(&binary, kernel, false, "iops.sh", iops::PAIRS)?;
            rows.push((kernel, iops::ratio(&results)?));
        }
        print!("{}", iops::table(&rows));
        return Ok(());
    }
    let (mut reads, mut programs, mut unrelated) = (Vec::new(), Vec::new(), Vec::new());
    for &kernel in kernels {
        let results = run(&binary, kernel, true, "instructions.sh", READS)?;
        let context = || format!("read what was measured on kernel {kernel}");
        reads.extend(reads::rows(kernel, &results).with_context(context)?);
        programs.extend(programs::rows(kernel, &results).with_context(context)?);
        unrelated.extend(unrelated::rows(kernel, &results).with_context(context)?);
    }
    let mut goals = Goals::new();
    reads::goals(&reads, &mut goals);
    unrelated::goals(&unrelated, &mut goals);
    println!("{}", reads::tables(&reads));
    println!("{}", unrelated::tables(&unrelated));
    println!("{goals}");
    print!("{}", programs::tables(&programs));
    if args.kernel.is_some() {
        return Ok(());
    }
    println!();
    screen()
}

/// Measures the live view.
fn screen() -> Result<()> {
    command::run(&mut Command::new(build::benchmark("screen")?.tests))
}

/// Runs a script of the folder `bench` in the guest.
fn run(
    binary: &Path,
    kernel: Kernel,
    icount: bool,
    script: &str,
    amount: usize,
) -> Result<Results> {
    eprintln!("measuring on kernel {kernel}");
    let dir = tempfile::tempdir()?;
    let job = Job {
        command: ["sh".to_owned(), format!("/lab/in/bench/{script}")]
            .into_iter()
            .chain([amount.to_string(), RESULTS.to_owned()])
            .collect(),
        inputs: vec![Input {
            path: workspace::root().join("xtask/src/bench"),
            name: "bench".to_owned(),
        }],
        outputs: vec![Output {
            guest: RESULTS.into(),
            host: dir.path().to_owned(),
        }],
        timeout: Some(TIMEOUT),
        ..Job::default()
    };
    let machine = Machine {
        icount,
        ..Machine::new(kernel)
    };
    let code = machine
        .run(binary, &job)
        .with_context(|| format!("measure on kernel {kernel}"))?;
    ensure!(
        code == 0,
        "the measurement on kernel {kernel} ended with exit code {code}"
    );
    Ok(Results::new(dir))
}
