//! `cargo xtask dashboards`: the Grafana dashboards, as `tests/dashboards` makes and holds them.

use anyhow::{Context, Result};

use crate::{command, prometheus, python};

#[derive(clap::Args)]
pub struct Args {
    /// Only check that what is committed is up to date, and names nothing that is not exported
    #[arg(long)]
    check: bool,
}

pub fn main(args: &Args) -> Result<()> {
    python::install()?;
    prometheus::install()?;
    let mut cargo = command::cargo();
    cargo.args(["test", "--package=verity-trace", "--test=dashboards"]);
    if !args.check {
        cargo.env("UPDATE_DASHBOARDS", "1");
    }
    command::run(&mut cargo).context("cargo test")
}
