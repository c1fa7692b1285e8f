//! The project's own commands, called as `cargo xtask COMMAND`.

mod apt;
mod bench;
mod build;
mod command;
mod dashboards;
mod demo;
mod facts;
mod fuzz;
mod install;
mod installed;
mod lab;
mod lint;
mod parts;
mod progress;
mod prometheus;
mod python;
mod run;
mod schema;
mod score;
mod screens;
mod setup;
mod test;
mod workspace;

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Sets up, builds, runs and tests verity-trace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Fetch what the build and the lab need, all of it under target/
    Setup(setup::Args),
    /// Build the static release binary and print its path
    Build,
    /// Watch a real dm-verity device: on this machine if it has one, else in the lab
    Run(run::Args),
    /// Check, build and test everything, on this machine and on a lab kernel of each era
    Test(test::Args),
    /// Boot a lab kernel for a shell, or run one command in it
    Lab(lab::Args),
    /// Check formatting and lints of the host and the BPF side
    Lint,
    /// Write what is made from the types: the JSON schemas, and the page and the list of metrics
    Schema(schema::Args),
    /// Write the Grafana dashboards, and the list of their panels, from dashboards/grafana/source
    Dashboards(dashboards::Args),
    /// Ask every lab kernel for what decides how it is watched, into tests/facts
    Facts(facts::Args),
    /// Make the recordings that travel inside the program anew, on a lab kernel of each era
    DemoRecordings,
    /// Take pictures of the live view, into docs/screens
    Screens(screens::Args),
    /// Score what is advised against what is measured, on lab kernels
    Score(score::Args),
    /// Count the instructions that tracing adds, beside those of others, on a lab kernel of each era
    Bench(bench::Args),
}

/// Bad input: told in one line, ends with exit code 2.
#[derive(Debug)]
struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}

fn dispatch(task: Task) -> Result<u8> {
    match task {
        Task::Setup(args) => setup::main(&args).map(|()| 0),
        Task::Build => build::main().map(|()| 0),
        Task::Run(args) => run::main(&args),
        Task::Test(args) => Ok(test::main(&args)),
        Task::Lab(args) => lab::main(&args),
        Task::Lint => Ok(lint::main()),
        Task::Schema(args) => schema::main(&args).map(|()| 0),
        Task::Dashboards(args) => dashboards::main(&args).map(|()| 0),
        Task::Facts(args) => facts::main(&args).map(|()| 0),
        Task::DemoRecordings => demo::main().map(|()| 0),
        Task::Screens(args) => screens::main(&args).map(|()| 0),
        Task::Score(args) => score::main(&args).map(|()| 0),
        Task::Bench(args) => bench::main(&args).map(|()| 0),
    }
}
