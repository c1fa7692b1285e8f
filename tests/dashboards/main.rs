//! The dashboards and rules: made of what is exported and nothing else, as Grafana and Prometheus have them, and asked
//! of a real Prometheus that scrapes a fleet.

#[expect(dead_code, reason = "not all scenarios are wanted here")]
#[path = "../common.rs"]
mod common;

mod answers;
mod boards;
mod fleet;
mod names;
#[path = "../prometheus.rs"]
mod prometheus;
mod rules;
mod unit;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;

/// What a query of a panel or a rule is.
#[derive(Deserialize)]
struct Query {
    /// The file, the panel or rule, and of a panel's queries which one.
    of: String,
    expr: String,
}

/// All that is asked, the names in it, and what is wrong with these.
#[derive(Deserialize)]
struct Asked {
    errors: Vec<String>,
    queries: Vec<Query>,
    /// Metrics that something uses.
    metrics: Vec<String>,
}

impl Asked {
    fn read() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let catalogue = folder.path().join("catalogue.json");
        let json = verity_trace::metrics::json().to_string();
        fs::write(&catalogue, json).expect("written");
        let script = workspace().join("tests/dashboards/queries.py");
        let output = python(&script, &[catalogue.as_os_str(), dashboards().as_os_str()]);
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn dashboards() -> PathBuf {
    workspace().join("dashboards")
}

/// A program that `cargo xtask setup` brings.
fn tool(path: &str) -> Command {
    let program = workspace().join("target/tools").join(path);
    assert!(
        program.exists(),
        "{} is missing: run `cargo xtask setup`",
        program.display()
    );
    Command::new(program)
}

/// What a script prints, which leaves nothing behind.
fn python(script: &Path, arguments: &[&OsStr]) -> Output {
    let output = tool("python/bin/python")
        .arg("-B")
        .arg(script)
        .args(arguments)
        .output()
        .expect("Python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    output
}

/// That a file of the project is as it is made, or makes it so for `cargo xtask dashboards`.
fn committed(file: &Path, made: &str) {
    if env::var_os("UPDATE_DASHBOARDS").is_some() {
        fs::write(file, made).expect("written");
    }
    let found = fs::read_to_string(file).unwrap_or_default();
    assert!(
        found == made,
        "{} is not as it is made: run `cargo xtask dashboards`",
        file.display()
    );
}
