//! `cargo xtask test`: every check there is, on this machine and on every lab kernel.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::build::{self, Suite};
use crate::lab::{Input, Job, Machine};
use crate::parts::Parts;
use crate::setup::{self, Kernel};
use crate::{command, lint};

/// How long the kernel suite may take on one kernel, sampled and in full.
const SAMPLED: Duration = Duration::from_mins(15);
const FULL: Duration = Duration::from_hours(1);

#[derive(clap::Args)]
pub struct Args {
    /// Leave the lab out
    #[arg(long)]
    host_only: bool,
    /// Run the whole matrix and the long storms
    #[arg(long)]
    full: bool,
    /// Run the kernel suite on this kernel alone
    #[arg(long, value_enum, conflicts_with = "host_only")]
    kernel: Option<Kernel>,
}

/// Runs all parts, also after one has failed, and ends with what failed.
pub fn main(args: &Args) -> u8 {
    let mut parts = Parts::default();
    if parts.run("setup", || set_up(args)) {
        lint::run(&mut parts);
        parts.run("tests on this machine", host_tests);
        if !args.host_only {
            kernel_suite(&mut parts, args);
        }
    }
    parts.finish(if args.host_only {
        "; the lab was left out (--host-only)"
    } else {
        ""
    })
}

fn set_up(args: &Args) -> Result<()> {
    setup::build_tools()?;
    if !args.host_only {
        setup::lab_parts()?;
        for &kernel in kernels(args) {
            setup::kernel_files(kernel)?;
        }
    }
    Ok(())
}

fn host_tests() -> Result<()> {
    command::run(command::cargo().args(["test", "--workspace"])).context("cargo test")
}

fn kernel_suite(parts: &mut Parts, args: &Args) {
    let mut built = None;
    parts.run("build for the lab", || {
        built = Some(build::suite("kernel")?);
        Ok(())
    });
    let Some(suite) = built else { return };
    for &kernel in kernels(args) {
        let name = format!("kernel suite on {kernel}");
        parts.run(&name, || run_suite(kernel, &suite, args.full));
    }
}

fn run_suite(kernel: Kernel, suite: &Suite, full: bool) -> Result<()> {
    let sampled: &[&str] = if full { &[] } else { &["--skip", "full::"] };
    let command = [&["/lab/in/kernel", "--test-threads=1"], sampled].concat();
    let job = Job {
        command: command.into_iter().map(str::to_owned).collect(),
        inputs: vec![Input {
            path: suite.tests.clone(),
            name: "kernel".to_owned(),
        }],
        timeout: Some(if full { FULL } else { SAMPLED }),
        ..Job::default()
    };
    match Machine::new(kernel).run(&suite.binary, &job)? {
        0 => Ok(()),
        code => bail!("the suite ended with exit code {code}"),
    }
}

fn kernels(args: &Args) -> &[Kernel] {
    args.kernel
        .as_ref()
        .map_or(Kernel::ALL, std::slice::from_ref)
}
