//! Parses the command line, runs the command, prints one line on failure.

mod record;
mod watch;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use verity_trace::checkup::{self, Checkup};
use verity_trace::cli::{self, Cli, Command, Format};
use verity_trace::error::Error;
use verity_trace::inventory::Inventory;
use verity_trace::overview::{self, Overview};
use verity_trace::selection::Selection;
use verity_trace::{devices, doctor, escape, export};

fn main() -> ExitCode {
    match run(Cli::parse().command()) {
        Ok(code) => code,
        Err(error) => {
            say(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Error> {
    match command {
        Command::Top(it) => watch::top(&it.how, it.wanted.selection()),
        Command::Report(it) => report(&it),
        Command::Export(it) => watch::export(&it.how, it.wanted.selection()),
        Command::Record(it) => record::record(&it, it.wanted.clone().selection()),
        Command::Replay(it) => watch::replay(&it),
        Command::Devices(it) => {
            let inventory = Inventory::read(&Selection::new(it.devices))?;
            if it.json {
                return print(|out| export::devices(&inventory, out));
            }
            print(|out| devices::devices(&inventory, out))
        }
        Command::Doctor(it) => doctor(it),
        Command::Completions { shell } => print(|out| cli::completions(shell, out)),
        Command::Man => print(cli::man),
    }
}

/// Of a recording, or of what is watched for a while.
fn report(it: &cli::Report) -> Result<ExitCode, Error> {
    let (given, selection) = it.subjects()?;
    let Some(given) = given else {
        return watch::report(it, selection);
    };
    let mut archive = given.open(it.of.salvage)?;
    let overview = Overview::read(&mut archive).map_err(|fault| given.wrong(&fault))?;
    let overview = overview.of(&selection)?;
    if let Some(cut) = overview.condition.cut {
        say(&format!("{given} was cut at byte {cut}"));
    }
    match it.format {
        Format::Text => print(|out| overview::overview(&overview, out)),
        Format::Json => print(|out| overview::json(&overview, out)),
    }
}

/// What is known is printed even where nothing can be traced.
fn doctor(it: cli::Doctor) -> Result<ExitCode, Error> {
    if it.facts {
        let facts = checkup::facts()?;
        return print(|out| export::facts(&facts, out));
    }
    let checkup = Checkup::read(watch::options(it.source, false, None))?;
    if it.json {
        print(|out| export::doctor(&checkup, out))?;
    } else {
        print(|out| doctor::doctor(&checkup, out))?;
    }
    checkup.verdict().map(|()| ExitCode::SUCCESS)
}

/// Says one line on standard error; where that is gone there is nobody to tell.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "verity-trace: {}", escape::terminal(line));
}

/// Writes to standard output; a reader that went away is not an error.
fn print(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Result<ExitCode, Error> {
    let mut bytes = Vec::new();
    let written = write(&mut bytes).and_then(|()| io::stdout().write_all(&bytes));
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(anyhow::Error::new(error)
            .context("write to standard output")
            .into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
