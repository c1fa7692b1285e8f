//! `tune`: tries both settings on a device in turn, and puts back what it found.

mod changer;
mod gather;
mod load;
mod notes;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use verity_trace::collector::{Collector, TICK};
use verity_trace::decode::{self, Io};
use verity_trace::dm::{self, Held, Line, Mapper as _, Stopped, VerityDevice};
use verity_trace::error::{Error, Result};
use verity_trace::live::Wanted;
use verity_trace::recommend::{node, quoted};
use verity_trace::selection::{Selection, Selector};
use verity_trace::snapshot::{DeviceNumber, Kernel, Rung, Tracing};
use verity_trace::target::Table;
use verity_trace::tune::{
    self, Block, Effects, Ended, Facts, Finding, Left, Note, Order, Pair, Predicted, Prediction,
    Refusal, Report, Settings, Side, Tables, Times, is_change, what_to_undo,
};
use verity_trace::what_if::{self, Forecast, LoadBuilder};
use verity_trace::{aggregate, cli, kernel};

use changer::{Change, Changer, NotBack};
use load::Reading;
use notes::{FOLDER, Notes};

use crate::{print, say, watch};

/// A forecast is the same each time.
const SEED: u64 = 1;

/// How often records are taken from the kernel's buffer, which holds 32,768.
const POLL: Duration = Duration::from_millis(10);

/// See the module.
pub fn tune(arguments: &cli::Tune) -> Result<ExitCode> {
    dm::require_root()?;
    let devices = dm::verity_devices()?;
    let device = chosen(&arguments.device, &devices)?;
    if arguments.dry_run {
        let facts = gather::facts(device, &devices, arguments)?;
        let (experiment, _) = judged(arguments, &facts)?;
        return dry_run(arguments, &facts, &experiment);
    }
    let notes = Notes::open(Path::new(FOLDER), 0)?;
    let mut facts = gather::facts(device, &devices, arguments)?;
    let left = notes.of(device.number)?;
    if arguments.undo {
        return undo(&left, &facts, &notes);
    }
    for note in &left {
        settle(note, &facts, &notes)?;
        facts = gather::facts(device, &devices, arguments)?;
    }
    let (experiment, table) = judged(arguments, &facts)?;
    run(arguments, &facts, &experiment, &table, &notes)
}

/// The one device that is meant.
fn chosen<'a>(selector: &Selector, devices: &'a [VerityDevice]) -> Result<&'a VerityDevice> {
    let selection = Selection::new(vec![selector.clone()]);
    let found = selection.all_of(devices, &selection.mounts()?)?;
    if let [device] = found[..] {
        return Ok(device);
    }
    let names: Vec<_> = found.iter().map(|device| device.name.as_str()).collect();
    Err(Error::Usage(format!(
        "one device at a time, and these are {}: {}",
        names.len(),
        names.join(", ")
    )))
}

/// What is tried.
struct Experiment {
    settings: Settings,
    change: Change,
}

/// What is tried, unless it is refused.
fn judged(arguments: &cli::Tune, facts: &Facts) -> Result<(Experiment, Table)> {
    match tune::refusal(facts, &arguments.wish()) {
        Some(Refusal::Kernel(why)) => return Err(Error::Kernel(why)),
        Some(Refusal::Device(why)) => {
            let name = &facts.live.name;
            return Err(Error::Usage(format!("{name} is not touched: {why}")));
        }
        None => {}
    }
    let line = facts.live.line.as_ref().context("its table")?;
    let table = Table::parse(&line.parameters).context("its table")?;
    let is_on = table.options.try_verify_in_tasklet;
    let experiment = if let (Some(bytes), Some(now)) = (arguments.limits, facts.use_bh_bytes) {
        let tried = tune::tried(now, bytes.into());
        Experiment {
            settings: Settings::limits(now, tried),
            change: Change::Limits([now, tried]),
        }
    } else {
        let with = |on: bool| {
            let mut table = table.clone();
            table.options.try_verify_in_tasklet = on;
            let parameters = table.parameters().context("its table")?;
            Ok::<_, Error>(Line {
                parameters,
                ..line.clone()
            })
        };
        Experiment {
            settings: Settings::option(is_on, facts.use_bh_bytes),
            change: Change::Tables([with(false)?, with(true)?]),
        }
    };
    Ok((experiment, table))
}

fn dry_run(arguments: &cli::Tune, facts: &Facts, experiment: &Experiment) -> Result<ExitCode> {
    let live = &facts.live;
    let tables = match &experiment.change {
        Change::Tables([a, b]) => Tables::Lines([a, b]),
        Change::Limits(limits) => Tables::Limits(*limits),
    };
    print(|out| {
        tune::steps(
            (&live.name, live.identity.number),
            &experiment.settings,
            &tables,
            Times::of(arguments.duration),
            arguments.seed,
            out,
        )
    })
}

/// Puts back what a run that was killed could not.
fn undo(left: &[Note], facts: &Facts, notes: &Notes) -> Result<ExitCode> {
    if left.is_empty() {
        say("there is nothing to undo");
    }
    for note in left {
        match finding(note, facts)? {
            Finding::Changed => put_back(note, notes)?,
            found => forget(note, found, notes)?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a run left that was killed is put back first, if somebody at a terminal says so.
fn settle(note: &Note, facts: &Facts, notes: &Notes) -> Result<()> {
    match finding(note, facts)? {
        Finding::Changed => {
            say(&format!(
                "a `verity-trace tune` ended without putting back {} as it found it",
                note.subject()
            ));
            if !io::stdin().is_terminal() || !asked("put it back now? [y/N] ")? {
                let device = node(&facts.live.name, facts.live.identity.number);
                let device = quoted(&device).unwrap_or(device);
                return Err(Error::Usage(format!(
                    "what it found has to be put back first: `verity-trace tune {device} --undo`"
                )));
            }
            put_back(note, notes)
        }
        found => forget(note, found, notes),
    }
}

fn finding(note: &Note, facts: &Facts) -> Result<Finding> {
    let boot_id = kernel::boot_id()?;
    Ok(what_to_undo(
        note,
        &boot_id,
        Some(&facts.live),
        facts.use_bh_bytes,
    ))
}

/// Removes a note by which nothing is to be undone.
fn forget(note: &Note, found: Finding, notes: &Notes) -> Result<()> {
    let why = match found {
        Finding::Void(why) => why,
        Finding::AsFound | Finding::Changed => "everything is as it was found",
    };
    say(&format!(
        "what an earlier run noted about {} is void: {why}",
        note.subject()
    ));
    notes.remove(note)
}

fn put_back(note: &Note, notes: &Notes) -> Result<()> {
    let changer = Changer::of(note, notes);
    let mut changer = changer.context("the note names no device")?;
    match changer.put_back() {
        Ok(()) => {
            say(&format!("put {} back as it was found", note.subject()));
            Ok(())
        }
        Err(stopped) => Err(anyhow!(
            "{} was not put back: {stopped}; by hand: {}",
            note.subject(),
            changer.by_hand()
        )
        .into()),
    }
}

fn asked(question: &str) -> Result<bool> {
    let mut out = io::stderr();
    let written = write!(out, "{question}").and_then(|()| out.flush());
    written.context("ask")?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// What is measured with.
struct Meter {
    collector: Collector,
    number: DeviceNumber,
    signals: Receiver<i32>,
    load: Option<Reading>,
}

/// Why a block came to nothing.
enum Cut {
    Signal(i32),
    Stopped(String),
}

impl From<Stopped> for Cut {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped.to_string())
    }
}

fn run(
    arguments: &cli::Tune,
    facts: &Facts,
    experiment: &Experiment,
    table: &Table,
    notes: &Notes,
) -> Result<ExitCode> {
    let (live, settings) = (&facts.live, experiment.settings);
    let number = live.identity.number;
    let times = Times::of(arguments.duration);
    // From here on no signal ends this at once.
    let signals = signals()?;
    let options = watch::options(arguments.source(), Wanted::Some, None);
    let collector = Collector::start(options, Selection::default(), false)?;
    let load = arguments.load.then(|| load::of(table.data_block_bytes));
    let reading = load.map(|it| Reading::start(number, table.data_blocks, it, arguments.seed));
    let mut meter = Meter {
        collector,
        number,
        signals,
        load: reading.transpose()?,
    };
    let kernel = meter.kernel()?;
    // Declared after what measures, so that it is dropped before that.
    let mut changer = Changer::new(live, experiment.change.clone(), settings.found, notes)?;
    say(&format!(
        "trying {} and {} on {} for up to {}; Ctrl-C ends it early and puts back what was found",
        settings.name(Side::A),
        settings.name(Side::B),
        live.name,
        humantime::format_duration(arguments.duration)
    ));
    let start = Instant::now();
    let mut pairs = Vec::new();
    let mut prediction = Err("nothing was recorded".to_owned());
    let ended = meter.measure(
        arguments,
        times,
        &settings,
        &mut changer,
        &mut prediction,
        &mut pairs,
    )?;
    let effects = Effects::of(&pairs);
    let (verdict, reason) = tune::verdict(&settings, &effects);
    let is_whole = matches!(ended, Ended::Precise | Ended::Time);
    let applies = arguments.apply && is_whole && is_change(verdict);
    let left = leave(&mut changer, applies.then(|| settings.found.other()))?;
    watch::say_faults(&meter.collector.faults());
    // Whoever reads the text may take long, and the probes hold dm_verity.
    drop(meter);
    let report = Report {
        kernel,
        name: live.name.clone(),
        number,
        settings,
        seed: arguments.seed,
        times,
        took: start.elapsed(),
        load,
        effects,
        prediction,
        verdict,
        reason,
        ended,
        left,
        remarks: remarks(table, &settings),
    };
    let code = print(|out| {
        if arguments.json {
            tune::json(&report, out)
        } else {
            tune::text(&report, out)
        }
    })?;
    Ok(exit_code(&report, arguments, code))
}

/// What went wrong is said besides being in the report.
fn exit_code(report: &Report, arguments: &cli::Tune, done: ExitCode) -> ExitCode {
    if let Ended::Stopped(why) = &report.ended {
        say(&format!("stopped: {why}"));
    }
    match &report.left {
        Left::AsFound | Left::Applied => {}
        Left::Theirs(why) => say(&format!("nothing was put back: {why}")),
        Left::NotPutBack { why, command } => {
            say(&format!(
                "what was found was not put back: {why}; by hand: {command}"
            ));
        }
    }
    match (&report.ended, &report.left) {
        (Ended::Stopped(_), _) | (_, Left::Theirs(_) | Left::NotPutBack { .. }) => {
            ExitCode::from(1)
        }
        (Ended::Signal(signal), _) => watch::exit_code(Some(*signal)),
        _ if arguments.exit_code && report.changes() => ExitCode::from(10),
        _ => done,
    }
}

/// Leaves the device with a setting, or as it was found.
fn leave(changer: &mut Changer<'_>, with: Option<Side>) -> Result<Left> {
    if let Some(side) = with {
        match changer.give(side)? {
            Ok(()) => {
                changer.leave();
                return Ok(Left::Applied);
            }
            Err(stopped) => say(&format!("the better setting was not applied: {stopped}")),
        }
    }
    Ok(match changer.put_back() {
        Ok(()) => Left::AsFound,
        Err(NotBack::Theirs(stopped)) => Left::Theirs(stopped.to_string()),
        Err(NotBack::Yet(stopped)) => Left::NotPutBack {
            why: stopped.to_string(),
            command: changer.by_hand(),
        },
    })
}

fn remarks(table: &Table, settings: &Settings) -> Vec<String> {
    let mut remarks = Vec::new();
    if !settings.is_of_limits() {
        remarks.push(
            "each block began with a new table, and so with an empty cache of hash blocks, which the warm-up filled as \
             far as it went"
                .to_owned(),
        );
        if table.options.check_at_most_once {
            remarks.push(
                "with check_at_most_once a new table forgets what was verified before: verify is longer here than when \
                 the device has been open for long"
                    .to_owned(),
            );
        }
    }
    remarks
}

impl Meter {
    /// The machine; an error where the device's I/Os are not seen.
    fn kernel(&mut self) -> Result<Kernel> {
        let snapshot = self.collector.whole_snapshot()?;
        if !matches!(snapshot.tracing, Tracing::Attached(rung) if rung != Rung::Tracepoint) {
            return Err(Error::Kernel(
                "I/Os are not seen one by one here, so that nothing could be measured; `verity-trace doctor` says why"
                    .to_owned(),
            ));
        }
        let mut devices = snapshot.devices.iter();
        let device = devices.find(|device| device.number == self.number);
        if device.is_some_and(|it| it.counted_in_other) {
            return Err(Error::Usage(
                "there are more devices than have totals of their own: --max-devices".to_owned(),
            ));
        }
        Ok(snapshot.kernel)
    }

    /// Block after block, until it is known well enough, or something ends it.
    fn measure(
        &mut self,
        arguments: &cli::Tune,
        times: Times,
        settings: &Settings,
        changer: &mut Changer<'_>,
        prediction: &mut Prediction,
        pairs: &mut Vec<Pair>,
    ) -> Result<Ended> {
        match self.predict(times.first(), settings)? {
            Ok(it) => *prediction = it,
            Err(cut) => return Ok(cut.into()),
        }
        let deadline = Instant::now() + arguments.duration.saturating_sub(times.first());
        let pair_takes = (times.warm_up + times.block) * 2;
        for sides in Order::new(arguments.seed) {
            if Instant::now() + pair_takes > deadline {
                return Ok(Ended::Time);
            }
            let mut blocks = [Block::default(), Block::default()];
            for side in sides {
                match self.block(side, times, changer)? {
                    Ok(block) => blocks[side as usize] = block,
                    Err(cut) => return Ok(cut.into()),
                }
            }
            pairs.push(Pair { blocks });
            if Effects::of(pairs).is_known_to(arguments.precision / 100.0) {
                return Ok(Ended::Precise);
            }
        }
        Ok(Ended::Time)
    }

    /// One block under this setting, after a warm-up that is thrown away.
    fn block(
        &mut self,
        side: Side,
        times: Times,
        changer: &mut Changer<'_>,
    ) -> Result<Result<Block, Cut>> {
        if let Err(stopped) = changer.give(side)? {
            return Ok(Err(stopped.into()));
        }
        if let Err(cut) = self.watch(times.warm_up, |_| {})? {
            return Ok(Err(cut));
        }
        let start = self.collector.whole_snapshot()?;
        if let Err(cut) = self.watch(times.block, |_| {})? {
            return Ok(Err(cut));
        }
        let mut end = self.collector.whole_snapshot()?;
        if let Err(stopped) = changer.check() {
            return Ok(Err(stopped.into()));
        }
        aggregate::relate(&mut end, &start);
        let block = Block::of(&start, &end, self.number);
        Ok(block.ok_or_else(|| Cut::Stopped("the device is gone".to_owned())))
    }

    /// What the model says of the other setting, from what happens under the one that was found.
    fn predict(&mut self, time: Duration, settings: &Settings) -> Result<Result<Prediction, Cut>> {
        self.collector.send_records()?;
        let mut load = LoadBuilder::new(self.number, settings.of(settings.found));
        if let Err(cut) = self.watch(time, |io| load.add(&io))? {
            return Ok(Err(cut));
        }
        self.collector.send_no_records()?;
        self.collector.drain(decode::io, |io| load.add(&io));
        let kernel = self.collector.whole_snapshot()?.kernel;
        let forecast = forecast(load, &kernel, settings);
        Ok(Ok(forecast.and_then(|it| Predicted::of(&it, settings))))
    }

    /// Watches for so long, unless something cuts it short.
    fn watch(&mut self, time: Duration, mut record: impl FnMut(Io)) -> Result<Result<(), Cut>> {
        let deadline = Instant::now() + time;
        let mut ticked = Instant::now();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.signals.recv_timeout(left.min(POLL)) {
                Ok(signal) => return Ok(Err(Cut::Signal(signal))),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(anyhow!("no more signals").into());
                }
            }
            if let Some(error) = self.load.as_ref().and_then(Reading::failure) {
                return Ok(Err(Cut::Stopped(format!(
                    "a read of the load failed: {error}"
                ))));
            }
            if ticked.elapsed() >= TICK {
                self.collector.tick()?;
                ticked = Instant::now();
            }
            self.collector.drain(decode::io, &mut record);
            if left.is_zero() {
                return Ok(Ok(()));
            }
        }
    }
}

impl From<Cut> for Ended {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Signal(signal) => Self::Signal(signal),
            Cut::Stopped(why) => Self::Stopped(why),
        }
    }
}

fn forecast(load: LoadBuilder, kernel: &Kernel, settings: &Settings) -> Result<Forecast, String> {
    let facts = what_if::Facts::of(kernel);
    let facts = facts.ok_or("what this kernel makes of the option is not known")?;
    let other = settings.of(settings.found.other());
    what_if::predict(&load.build(), &facts, &[other], SEED).map_err(|error| error.to_string())
}

/// Receives every signal by which one ends a program, from now on.
fn signals() -> Result<Receiver<i32>> {
    let (sender, receiver) = mpsc::channel();
    let mut signals =
        Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]).context("receive signals")?;
    thread::spawn(move || {
        for signal in signals.forever() {
            // Whoever does not listen any more is ending already.
            let _ = sender.send(signal);
        }
    });
    Ok(receiver)
}

/// What a device is now; an error where it is none that device-mapper knows.
fn look(device: &VerityDevice) -> Result<dm::Live> {
    let live = Held::open(device.number).and_then(|mut held| held.look());
    live.map_err(|fault| {
        let name = &device.name;
        match Stopped::from(fault) {
            Stopped::Gone => Error::NoDevice(format!("{name} is gone")),
            stopped => anyhow!("{name}: {stopped}").into(),
        }
    })
}
