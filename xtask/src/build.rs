//! `cargo xtask build`: the static binary that runs on this machine and in every lab machine.

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{command, setup, workspace};

/// Builds the binary and prints where it is.
pub fn main() -> Result<()> {
    println!("{}", binary()?.display());
    Ok(())
}

/// Builds the binary and returns where it is.
pub fn binary() -> Result<PathBuf> {
    setup::build_tools()?;
    let host = setup::host_triple()?;
    command::run(static_cargo("build", &host).arg("--package=verity-trace"))
        .context("build the static binary")?;
    Ok(target_dir().join(host).join("release/verity-trace"))
}

/// A suite for the lab, and the binary that was built together with it.
pub struct Suite {
    pub binary: PathBuf,
    pub tests: PathBuf,
}

/// Builds one of the suites of `verity-trace`, static like the binary.
///
/// Cargo builds the binary along with it. Asking for it separately would build most libraries
/// twice, as a suite's own libraries switch on further features of them.
pub fn suite(name: &str) -> Result<Suite> {
    with_binary("test", name)
}

/// The same with one of its benchmarks.
pub fn benchmark(name: &str) -> Result<Suite> {
    with_binary("bench", name)
}

fn with_binary(kind: &str, name: &str) -> Result<Suite> {
    setup::build_tools()?;
    let mut cargo = static_cargo("test", &setup::host_triple()?);
    cargo
        .args(["--package=verity-trace", "--no-run"])
        .args([&format!("--{kind}"), name])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    let messages = cargo.output().context("start cargo")?;
    if !messages.status.success() {
        bail!("the suite {name} does not build");
    }
    let messages = String::from_utf8(messages.stdout)?;
    let find = |kind, name| {
        executable(&messages, kind, name).with_context(|| format!("cargo built no {kind} {name}"))
    };
    Ok(Suite {
        binary: find("bin", "verity-trace")?,
        tests: find(kind, name)?,
    })
}

/// Cargo with a target folder of its own, as other flags would make every other build start over.
///
/// The flags hold for what is built for the target, and not for build scripts and macros.
fn static_cargo(subcommand: &str, host: &str) -> Command {
    let mut cargo = command::cargo();
    cargo
        .args([subcommand, "--release", "--target", host, "--target-dir"])
        .arg(target_dir())
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    if !stderr().is_terminal() {
        // What the lab's commands print to stderr is then theirs alone.
        cargo.arg("--quiet");
    }
    cargo
}

fn target_dir() -> PathBuf {
    workspace::target("static")
}

/// Finds the path of an executable in cargo's messages.
fn executable(messages: &str, kind: &str, name: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let target = &message["target"];
        let is_it = target["name"] == name && target["kind"][0] == kind;
        is_it.then(|| message["executable"].as_str().map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_executables_by_kind_and_name() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"kernel","kind":["lib"]},"executable":null}
{"reason":"compiler-artifact","target":{"name":"kernel","kind":["test"]},"executable":"/t/kernel-1f"}
{"reason":"compiler-artifact","target":{"name":"verity-trace","kind":["bin"]},"executable":"/t/verity-trace"}
{"reason":"build-finished","success":true}
"#;
        let find = |kind, name| executable(messages, kind, name);
        assert_eq!(find("test", "kernel"), Some("/t/kernel-1f".into()));
        assert_eq!(find("bin", "verity-trace"), Some("/t/verity-trace".into()));
        assert_eq!(find("test", "other"), None);
    }
}
