//! The part of `cargo xtask test --full` that gives made-up bytes to the reader of recordings (`tests/fuzz`).
//!
//! Sanitizers and coverage need flags that only a nightly compiler takes, or one that takes itself for such:
//! what cargo-fuzz does is done here for the compiler in use.

use std::fs::{self, File};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{command, setup, workspace};

/// Inputs that are tried: 5 to 16 minutes.
const RUNS: u32 = 5_000;
/// So that each run tries the same ones.
const SEED: u32 = 4;
/// What one input may take, in MiB, and in seconds.
const MEMORY: u32 = 1_024;
const SECONDS: u32 = 20;
/// An input's length: a mended block of each kind fits.
const BYTES: u32 = 64 << 10;

/// As cargo-fuzz has them: where the program went is told to libFuzzer, and memory is checked.
const FLAGS: [&str; 9] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Zsanitizer=address",
    "-Cdebug-assertions",
    "-Cdebuginfo=1",
];

/// Builds it, and fails where the reader does: the input is then in `target/fuzz/found`. What it prints goes to the
/// log.
pub fn run(log: &File) -> Result<()> {
    let logged = |command: &mut Command| {
        command.stdout(log.try_clone()?).stderr(log.try_clone()?);
        command::run(command)
    };
    let host = setup::host_triple()?;
    let target = workspace::target("fuzz");
    let mut cargo = command::cargo();
    cargo
        .current_dir(workspace::root().join("tests/fuzz"))
        .args(["build", "--bins", "--locked", "--target", &host])
        .env("CARGO_TARGET_DIR", target.join("build"))
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        .env("RUSTC_BOOTSTRAP", "1");
    logged(&mut cargo).context("build the fuzz target, which also needs g++")?;
    let program = |name| target.join("build").join(&host).join("debug").join(name);
    let corpus = tempfile::tempdir()?;
    let seeds = ["tests/recordings", "verity-trace/demo"];
    let mut make = Command::new(program("seeds"));
    make.args(seeds.map(|folder| workspace::root().join(folder)))
        .arg(corpus.path());
    logged(&mut make).context("make what the fuzzer begins with")?;
    let found = target.join("found");
    fs::create_dir_all(&found).with_context(|| format!("create {}", found.display()))?;
    let mut fuzz = Command::new(program("recording"));
    fuzz.arg(corpus.path())
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(format!("-runs={RUNS}"))
        .arg(format!("-seed={SEED}"))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg(format!("-timeout={SECONDS}"))
        .arg(format!("-max_len={BYTES}"))
        .arg("-print_final_stats=1");
    logged(&mut fuzz).with_context(|| format!("the reader failed, see {}", found.display()))
}
