//! `cargo xtask build`: the static binary that runs on this machine and in every lab machine.

use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
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

/// Builds one of the suites of `verity-trace` like the binary, and returns where it is.
pub fn suite(name: &str) -> Result<PathBuf> {
    setup::build_tools()?;
    let mut cargo = static_cargo("test", &setup::host_triple()?);
    cargo.args([
        "--package=verity-trace",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    cargo.args(["--test", name]);
    let messages = cargo
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo")?;
    if !messages.status.success() {
        bail!("the suite {name} does not build");
    }
    let messages = String::from_utf8(messages.stdout)?;
    executable(&messages, name).with_context(|| format!("cargo built no suite named {name}"))
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

/// Finds the path of a test executable in cargo's messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let path = messages
        .into_iter()
        .find_map(|message: serde_json::Value| {
            let is_it = message["target"]["name"] == name && message["target"]["kind"][0] == "test";
            is_it.then(|| message["executable"].as_str().map(str::to_owned))?
        })?;
    Some(Path::new(&path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_executable_of_a_suite() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"kernel","kind":["lib"]},"executable":null}
{"reason":"compiler-artifact","target":{"name":"kernel","kind":["test"]},"executable":"/t/kernel-1f"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(
            executable(messages, "kernel").as_deref(),
            Some(Path::new("/t/kernel-1f"))
        );
        assert_eq!(executable(messages, "other"), None);
    }
}
