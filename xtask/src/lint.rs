//! `cargo xtask lint`: formatting, and clippy on the host side and the BPF side.

use std::env;
use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result};

use crate::parts::Parts;
use crate::{command, setup, workspace};

/// The target of the eBPF programs.
const BPF_TARGET: &str = "bpfel-unknown-none";

/// What aya's types depend on: the processor that the programs' kernel runs on. Of all that the programs
/// do, that decides where a kprobe finds the arguments of a function, and nothing else.
const PROCESSORS: [&str; 2] = ["x86_64", "aarch64"];

pub fn main() -> u8 {
    let mut parts = Parts::default();
    run(&mut parts);
    parts.finish("")
}

/// Runs what belongs to any check of the source.
pub fn run(parts: &mut Parts) {
    parts.run("format", fmt);
    parts.run("clippy", clippy);
    for processor in PROCESSORS {
        let name = format!("clippy for BPF, {processor}");
        parts.run(&name, || clippy_bpf(processor));
    }
}

fn fmt() -> Result<()> {
    command::run(command::cargo().args(["fmt", "--all", "--check"])).context("cargo fmt")
}

fn clippy() -> Result<()> {
    setup::build_tools()?;
    let mut cargo = command::cargo();
    cargo.args(["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"]);
    command::run(&mut cargo).context("cargo clippy")?;
    // What needs the lab or root, and so is no test of every machine, is not among all targets.
    let mut cargo = command::cargo();
    cargo.args(["clippy", "--package=verity-trace"]);
    cargo.args(["--test=kernel", "--test=native", "--", "-Dwarnings"]);
    command::run(&mut cargo).context("cargo clippy for the kernel suite")
}

/// Lints the programs as the BPF target sees them; elsewhere they are empty.
fn clippy_bpf(processor: &str) -> Result<()> {
    setup::build_tools()?;
    let rustc = workspace::tools("rustc");
    let sysroot = command::output(Command::new(&rustc).args(["--print", "sysroot"]))?;
    let mut cargo = command::cargo();
    cargo
        .args(["clippy", "--package=verity-trace-ebpf", "--bins"])
        .args(["--target", BPF_TARGET, "-Zbuild-std=core", "--target-dir"])
        // Other flags build everything again, so each has a folder.
        .arg(workspace::target(&format!("bpf/{processor}")))
        .args(["--", "-Dwarnings"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_BUILD_RUSTC", rustc)
        // Clippy stands in for the compiler and does not ask it for the sysroot.
        .env("SYSROOT", sysroot.trim())
        .env("RUSTFLAGS", format!("--cfg=bpf_target_arch={processor:?}"))
        .env("PATH", tools_first()?);
    command::run(&mut cargo).context("cargo clippy for the BPF target")
}

fn tools_first() -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = [workspace::tools("bin")]
        .into_iter()
        .chain(env::split_paths(&path));
    env::join_paths(dirs).context("put target/tools/bin on the path")
}
