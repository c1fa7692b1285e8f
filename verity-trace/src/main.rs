//! Parses the command line, runs the command, prints one line on failure.

mod configured;
mod exporting;
mod exports;
mod looks;
mod record;
mod serving;
mod tuning;
mod watch;

use std::env;
use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use verity_trace::archive::{Archive, Given};
use verity_trace::checkup::{self, Checkup};
use verity_trace::cli::{self, Cli, Command, Document, Format};
use verity_trace::compare::{self, Comparison, Side};
use verity_trace::error::Error;
use verity_trace::html::{self, Gathered};
use verity_trace::inventory::Inventory;
use verity_trace::live::Wanted;
use verity_trace::overview::{self, Overview};
use verity_trace::recommend::Advice;
use verity_trace::selection::Selection;
use verity_trace::snapshot::Snapshot;
use verity_trace::table::{self, Stop};
use verity_trace::{
    devices, doctor, escape, export, forecasts, output, parquet, perfetto, recommend, serve, window,
};

/// With more records than these a report is not to wait until all were replayed; `recommend` does.
const REPLAYED: u64 = 1 << 20;

fn main() -> ExitCode {
    if env::args_os().next().is_some_and(|it| it == serve::NAME) {
        return reported(
            serve::run()
                .map(|()| ExitCode::SUCCESS)
                .map_err(Error::from),
        );
    }
    reported(run(Cli::parse().command()))
}

fn reported(result: Result<ExitCode, Error>) -> ExitCode {
    match result {
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
        Command::Export(it) => exporting::export(&it),
        Command::Record(it) => record::record(&it, it.wanted.clone().selection()),
        Command::Replay(it) => watch::replay(&it),
        Command::Compare(it) => compare(&it),
        Command::Recommend(it) => recommend(&it),
        Command::Serve(it) => serving::serve(&it),
        Command::Tune(it) => tuning::tune(&it),
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
    let window = it.window()?;
    match &it.output {
        Some(path) => output::check(path, it.force)?,
        None if it.format.is_binary() && io::stdout().is_terminal() => {
            return Err(Error::Usage(
                "this format is not for a terminal: -o FILE, or a pipe".to_owned(),
            ));
        }
        None => {}
    }
    let Some(given) = given else {
        return watch::report(it, selection);
    };
    let mut archive = given.open(it.of.salvage)?;
    let start = archive.place();
    let mut overview = Overview::read(&mut archive).map_err(|fault| given.wrong(&fault))?;
    let shows_advice = matches!(it.format, Format::Text | Format::Json | Format::Html);
    if shows_advice && window.is_none() && overview.records <= REPLAYED {
        archive.go_to(start).map_err(|fault| given.wrong(&fault))?;
        overview = replayed(&mut archive, overview, &given, &selection)?;
    }
    let overview = overview.of(&selection)?;
    if let Some(cut) = overview.condition.cut {
        say(&format!("{given} was cut at byte {cut}"));
    }
    let devices = overview.snapshot.devices.iter();
    let devices: Vec<_> = devices.map(|device| device.number).collect();
    let devices = (!selection.is_everything()).then_some(&devices[..]);
    let (mut undecoded, mut unplaced) = (0, 0);
    deliver(it.output.as_deref(), it.force, Some(&given), |mut out| {
        if let Some(window) = window {
            archive.go_to(start)?;
            let recounted = window.recount(&mut archive, &overview, selection.is_everything())?;
            undecoded = recounted.undecoded;
            match it.format {
                Format::Json => window::json(&recounted, &mut out)?,
                _ => window::text(&recounted, &mut out)?,
            }
            return Ok(());
        }
        match it.format {
            Format::Text => overview::overview(&overview, &mut out)?,
            Format::Json => overview::json(&overview, &mut out)?,
            Format::Html => {
                archive.go_to(start)?;
                let gathered = Gathered::read(&mut archive, &overview, devices)?;
                html::html(&overview, &gathered, &mut out)?;
            }
            Format::Csv => {
                archive.go_to(start)?;
                undecoded = table::csv(&mut archive, devices, out)?;
            }
            Format::Parquet => {
                archive.go_to(start)?;
                undecoded = parquet::write(&mut archive, &overview, devices, out)?;
            }
            Format::Perfetto => {
                archive.go_to(start)?;
                let omitted = perfetto::trace(&mut archive, &overview, devices, out)?;
                (undecoded, unplaced) = (omitted.undecoded, omitted.unplaced);
            }
        }
        Ok(())
    })?;
    if undecoded > 0 {
        say(&format!(
            "{undecoded} records make no I/O and were left out"
        ));
    }
    if unplaced > 0 {
        say(&format!(
            "{unplaced} slices found no track, since there are too many, and were left out"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Of a recording, or of what is watched for a while.
fn recommend(it: &cli::Recommend) -> Result<ExitCode, Error> {
    let (given, selection) = it.subjects()?;
    let Some(given) = given else {
        return watch::recommend(it, selection);
    };
    let mut archive = given.open(it.of.salvage)?;
    let start = archive.place();
    let overview = Overview::read(&mut archive).map_err(|fault| given.wrong(&fault))?;
    archive.go_to(start).map_err(|fault| given.wrong(&fault))?;
    let overview = replayed(&mut archive, overview, &given, &selection)?;
    let overview = overview.of(&selection)?;
    if let Some(cut) = overview.condition.cut {
        say(&format!("{given} was cut at byte {cut}"));
    }
    advise(it, &overview.snapshot, &overview.advices)
}

/// The overview with what is advised from replaying its I/Os too, which are read from the start.
fn replayed(
    archive: &mut Archive,
    overview: Overview,
    given: &Given<'_>,
    selection: &Selection,
) -> Result<Overview, Error> {
    let selected = overview.selected(selection)?;
    let wants = |number| selected.as_ref().is_none_or(|it| it.contains(&number));
    let forecasts = forecasts::read(archive, &overview, wants);
    let forecasts = forecasts.map_err(|fault| given.wrong(&fault))?;
    Ok(overview.advised(&forecasts))
}

/// Prints the advice. The exit code is that of the advice, where it is asked for.
fn advise(it: &cli::Recommend, snapshot: &Snapshot, advices: &[Advice]) -> Result<ExitCode, Error> {
    print(|out| {
        if it.json {
            export::recommendation(snapshot, advices, out)
        } else {
            recommend::page(snapshot, advices, out)
        }
    })?;
    let changes = it.exit_code && advices.iter().any(Advice::changes);
    Ok(if changes {
        ExitCode::from(10)
    } else {
        ExitCode::SUCCESS
    })
}

fn compare(it: &cli::Compare) -> Result<ExitCode, Error> {
    if let Some(path) = &it.output {
        output::check(path, it.force)?;
    }
    let given = [it.a.given(), it.b.given()];
    let read = |given: &Given<'_>| {
        let mut archive = given.open(it.salvage)?;
        Side::read(&mut archive).map_err(|fault| given.wrong(&fault))
    };
    let sides = [read(&given[0])?, read(&given[1])?];
    let names = given.map(|given| given.to_string());
    let comparison = Comparison::new(names, sides, &it.devices, it.seed)?;
    deliver(it.output.as_deref(), it.force, None, |mut out| {
        match it.format {
            Document::Text => compare::text(&comparison, &mut out)?,
            Document::Json => compare::json(&comparison, &mut out)?,
        }
        Ok(())
    })?;
    Ok(if it.exit_code {
        ExitCode::from(comparison.exit_code())
    } else {
        ExitCode::SUCCESS
    })
}

/// Writes a report to its file, or to standard output.
fn deliver(
    path: Option<&Path>,
    replaces: bool,
    given: Option<&Given<'_>>,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), Stop>,
) -> Result<(), Error> {
    let mut out: Box<dyn Write + Send> = match path {
        Some(path) => Box::new(BufWriter::new(output::create(path, replaces)?)),
        None => Box::new(BufWriter::new(io::stdout())),
    };
    match write(&mut *out).and_then(|()| Ok(out.flush()?)) {
        Ok(()) => Ok(()),
        Err(Stop::Fault(fault)) => Err(given.map_or_else(
            || Error::Input(fault.to_string()),
            |given| given.wrong(&fault),
        )),
        // A reader that went away is not an error.
        Err(Stop::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Stop::Io(error)) => Err(anyhow::Error::new(error).context("write the report").into()),
    }
}

/// What is known is printed even where nothing can be traced.
fn doctor(it: cli::Doctor) -> Result<ExitCode, Error> {
    if it.facts {
        let facts = checkup::facts()?;
        return print(|out| export::facts(&facts, out));
    }
    let checkup = Checkup::read(watch::options(it.source, Wanted::Nothing, None))?;
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
fn print(
    write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<()>,
) -> Result<ExitCode, Error> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = write(&mut out).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(anyhow::Error::new(error)
            .context("write to standard output")
            .into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
