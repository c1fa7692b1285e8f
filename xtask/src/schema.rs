//! `cargo xtask schema`: what is made from the types, as `tests/schema.rs` makes and holds it.

use anyhow::{Context, Result};

use crate::command;

#[derive(clap::Args)]
pub struct Args {
    /// Only check that what is committed is up to date
    #[arg(long)]
    check: bool,
}

pub fn main(args: &Args) -> Result<()> {
    let mut cargo = command::cargo();
    cargo.args(["test", "--package=verity-trace", "--test=schema"]);
    if !args.check {
        cargo.env("UPDATE_SCHEMA", "1");
    }
    command::run(&mut cargo).context("cargo test")
}
