//! `record`: watches, and keeps what it sees in a file, for a time, until a signal, or for as long as
//! a command runs.

mod command;
mod ending;
pub mod live;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use rustix::time::ClockId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use verity_trace::cli;
use verity_trace::collector::{Collector, TICK};
use verity_trace::error::Result;
use verity_trace::live::Wanted;
use verity_trace::recorder::{Files, Reach, Recorder, Sink, Written};
use verity_trace::recording::{Ended, Filter, Header, Machine};
use verity_trace::selection::Selection;
use verity_trace::snapshot::{Loss, Snapshot};
use verity_trace::{format, kernel, output};
use verity_trace_ebpf::sending::Sending;

use command::{Event, OUR_FAILURE, Running};
use ending::numbered;

use crate::{say, watch};

/// How often records are taken from the kernel's buffer, which holds 32,768.
const POLL: Duration = Duration::from_millis(10);
/// How often a snapshot is recorded.
const PICTURES: Duration = Duration::from_secs(1);

/// Records, and passes the exit code of the command on.
pub fn record(arguments: &cli::Record, selection: Selection) -> Result<ExitCode> {
    match run(arguments, selection) {
        Err(error) if !arguments.command.is_empty() => {
            say(&error.to_string());
            Ok(ExitCode::from(OUR_FAILURE))
        }
        result => result,
    }
}

fn run(arguments: &cli::Record, selection: Selection) -> Result<ExitCode> {
    let path = &arguments.output;
    let sink = sink(arguments)?;
    let events = mpsc::channel();
    let mut recording = match start(arguments, selection, sink, events.0.clone()) {
        Ok(recording) => recording,
        Err(error) => {
            if arguments.ring.is_none() {
                // Nobody has seen it yet, and nothing is in it.
                let _ = fs::remove_file(path);
            }
            return Err(error);
        }
    };
    let mut command = match command::start(arguments, events.0.clone()) {
        Ok(command) => command,
        Err(error) => {
            let name = arguments.command[0].display();
            say(&format!("run {name}: {error}"));
            let code = command::cannot_run(&error);
            let ended = Ok(Ended::Command(code.into()));
            recording.finish(ended, path, &events.1, None)?;
            return Ok(ExitCode::from(code));
        }
    };
    say(&announcement(arguments));
    let deadline = arguments.duration.map(|it| Instant::now() + it);
    let ended = recording.until_it_ends(&events.1, deadline, command.as_mut());
    let outcome = recording.finish(ended, path, &events.1, command.as_mut());
    let outcome = outcome.and_then(|outcome| outcome.told(path));
    let Some(command) = command else {
        return Ok(watch::exit_code(outcome?.signal()));
    };
    if let Err(error) = &outcome {
        say(&error.to_string());
    }
    // It goes on, whatever became of the recording.
    let code = command.exit_code(&events.1)?;
    Ok(ExitCode::from(match outcome {
        Ok(Outcome::Whole(_)) => code,
        Ok(Outcome::GivenUp(_)) | Err(_) => OUR_FAILURE,
    }))
}

fn sink(arguments: &cli::Record) -> Result<Sink> {
    let (path, replaces) = (arguments.output.clone(), arguments.force);
    let Some(bytes) = arguments.ring else {
        return Ok(Sink::File(output::create(&path, replaces)?));
    };
    output::check(&path, replaces)?;
    let files = Box::new(Numbered { path, replaces });
    Ok(Sink::Ring { bytes, files })
}

/// Files of which the first has the name that was asked for, and further ones a number behind it.
struct Numbered {
    path: PathBuf,
    replaces: bool,
}

impl Files for Numbered {
    fn create(&mut self, before: u32) -> io::Result<File> {
        let name = numbered(&self.path, before);
        output::create(&name, self.replaces).map_err(io::Error::other)
    }

    fn written(&mut self, before: u32, bytes: u64) {
        let (name, size) = (numbered(&self.path, before), format::mebibytes(bytes));
        say(&format!("wrote {}, {size}", name.display()));
    }

    fn failed(&mut self, before: u32, reach: Option<Reach>, error: &io::Error) {
        say(&ending::ring_failed(&self.path, before, reach, error));
    }
}

/// Begins to watch and to record.
fn start(
    arguments: &cli::Record,
    selection: Selection,
    sink: Sink,
    events: Sender<Event>,
) -> Result<Recording> {
    let wanted = wanted(arguments, &selection);
    let options = watch::options(arguments.source, wanted, None);
    let collector = Collector::start(options, selection, false)?;
    let recorder = Recorder::start(sink, clocks()?, &machine(arguments));
    let mut recorder =
        recorder.map_err(|error| anyhow!(ending::not_begun(&arguments.output, &error)))?;
    if matches!(wanted, Wanted::Only(sending) if sending.one_in > 1) {
        recorder.comes_sampled();
    }
    // Until here one ends the program at once, also while the file's disk is stuck.
    forward_signals(arguments.ring.is_some(), events)?;
    let mut recording = Recording {
        collector,
        recorder,
    };
    recording.note()?;
    recording.picture()?;
    Ok(recording)
}

/// What the programs are to send. They do not know which devices are wanted, and what they leave out they count over
/// all devices.
fn wanted(arguments: &cli::Record, selection: &Selection) -> Wanted {
    let slow_ns = arguments.slower_than.map_or(0, |it| format::nanos(it).0);
    if !selection.is_everything() {
        return Wanted::Everything;
    }
    // What is slow is then sampled here.
    let one_in = if slow_ns > 0 { 0 } else { arguments.sample };
    match (one_in, slow_ns) {
        (1, 0) => Wanted::Everything,
        _ => Wanted::Only(Sending {
            one_in,
            slow_ns,
            ..Sending::EVERYTHING
        }),
    }
}

fn forward_signals(has_ring: bool, events: Sender<Event>) -> Result<()> {
    let asks = has_ring.then_some(SIGUSR1);
    let all = [SIGHUP, SIGINT, SIGTERM].into_iter().chain(asks);
    let mut signals = Signals::new(all).context("receive signals")?;
    thread::spawn(move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// What became of a recording.
enum Outcome {
    /// It is whole.
    Whole(Box<Finished>),
    /// This signal asked not to wait for the disk.
    GivenUp(i32),
}

/// A recording that is whole.
struct Finished {
    ended: Ended,
    written: Written,
    snapshot: Snapshot,
}

impl Outcome {
    /// Says what there is now. A ring of which the last file could not be written is an error.
    fn told(self, path: &Path) -> Result<Self> {
        if let Self::Whole(finished) = &self {
            let Finished {
                written, snapshot, ..
            } = &**finished;
            if written.misses_last {
                let files = format!("{} of {} files are whole", written.files, written.begun);
                let error = anyhow!("what SIGUSR1 asked for last could not be written; {files}");
                return Err(error.into());
            }
            say(&summary(path, written, snapshot));
        }
        Ok(self)
    }

    /// The signal that ended it.
    fn signal(&self) -> Option<i32> {
        match self {
            Self::Whole(finished) => match finished.ended {
                Ended::Signal(signal) => Some(signal),
                _ => None,
            },
            Self::GivenUp(signal) => Some(*signal),
        }
    }
}

/// A recording that is being made.
struct Recording {
    collector: Collector,
    recorder: Recorder,
}

impl Recording {
    /// Records until the time is over, the command ends, or a signal asks to stop.
    fn until_it_ends(
        &mut self,
        events: &Receiver<Event>,
        deadline: Option<Instant>,
        mut command: Option<&mut Running>,
    ) -> Result<Ended> {
        let mut tick = Instant::now() + TICK;
        let mut picture = Instant::now() + PICTURES;
        while self.recorder.is_running() {
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(Ended::Duration);
            }
            match events.recv_timeout(POLL) {
                Ok(Event::Signal(SIGUSR1)) => self.recorder.dump(monotonic_ns()?),
                Ok(Event::Signal(signal)) => match &command {
                    None => return Ok(Ended::Signal(signal)),
                    Some(command) => command.pass_on(signal),
                },
                Ok(Event::Ended(status)) => {
                    let code = command::code(status.context("wait for the command")?);
                    if let Some(command) = &mut command {
                        command.code = Some(code);
                    }
                    return Ok(Ended::Command(code.into()));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(anyhow!("no more signals").into());
                }
            }
            // What finds the kernel's buffer full meanwhile is a loss.
            if self.recorder.has_room() {
                self.drain();
            }
            if now >= tick {
                self.collector.tick()?;
                self.note()?;
                tick = now + TICK;
            }
            // One that is late covers a longer time, while those that wait would take more and more memory.
            if now >= picture && self.recorder.has_room_for_picture() {
                self.picture()?;
                picture = now + PICTURES;
            }
        }
        // What it failed with is told at the end.
        Ok(Ended::Duration)
    }

    fn drain(&mut self) {
        drain(&mut self.collector, &mut self.recorder);
    }

    fn note(&mut self) -> Result<()> {
        note(&self.collector, &mut self.recorder)
    }

    fn picture(&mut self) -> Result<Snapshot> {
        let snapshot = self.collector.snapshot()?;
        let now = monotonic_ns()?;
        // So that whatever is counted has its record before it: at most one buffer of the kernel past what
        // may wait.
        self.drain();
        let unsent = self.collector.newly_unsent()?;
        self.recorder.left_out(unsent);
        self.recorder.picture(now, snapshot.clone());
        Ok(snapshot)
    }

    /// Ends it, with all that has happened until now. Also where something failed, what was taken in gets
    /// written, for as long as no signal comes meanwhile.
    fn finish(
        mut self,
        ended: Result<Ended>,
        path: &Path,
        events: &Receiver<Event>,
        mut command: Option<&mut Running>,
    ) -> Result<Outcome> {
        let snapshot = self.picture();
        if snapshot.is_err() {
            self.drain();
        }
        watch::say_faults(&self.collector.faults());
        // The disk may take long, and the probes hold dm_verity.
        drop(self.collector);
        let whole = ended.and_then(|ended| Ok((ended, snapshot?, monotonic_ns()?)));
        ending::settle(events, command.as_deref_mut());
        let ending = match &whole {
            Ok((ended, _, now)) => self.recorder.finish(*now, *ended),
            Err(_) => self.recorder.break_off(),
        };
        let is_slow = || say(&ending::slow(path, ending.reached()));
        if let Some(signal) = ending::wait(&ending, events, command, is_slow) {
            say(&ending::given_up(path, ending.reached()));
            return whole.map(|_| Outcome::GivenUp(signal));
        }
        let reached = ending.reached();
        let written = ending.wait();
        let written = written.map_err(|error| ending::failed(path, reached, &error));
        match (whole, written) {
            (Ok((ended, snapshot, _)), Ok(written)) => Ok(Outcome::Whole(Box::new(Finished {
                ended,
                written,
                snapshot,
            }))),
            (Ok(_), Err(failure)) => Err(anyhow!(failure).into()),
            (Err(error), written) => {
                if let Err(failure) = written {
                    say(&failure);
                }
                Err(error)
            }
        }
    }
}

/// Takes what the kernel has.
fn drain(collector: &mut Collector, recorder: &mut Recorder) {
    collector.drain(|record, _| Ok(*record), |record| recorder.record(record));
}

/// Takes in the devices and limits that there are now.
fn note(collector: &Collector, recorder: &mut Recorder) -> Result<()> {
    let now = monotonic_ns()?;
    recorder.devices(now, collector.devices());
    recorder.limits(now, kernel::use_bh_bytes());
    Ok(())
}

fn machine(arguments: &cli::Record) -> Machine {
    let this = this_machine();
    let redacted = arguments.redact;
    let command = arguments.command.iter();
    let command: Vec<_> = command
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    Machine {
        host: this.host.filter(|_| !redacted),
        command: (!redacted && !command.is_empty()).then_some(command),
        redacted,
        filter: Filter {
            slower_than_ns: arguments.slower_than.map_or(0, |it| format::nanos(it).0),
            one_in: arguments.sample,
        },
        ring_bytes: arguments.ring.map(|bytes| bytes as u64),
        ..this
    }
}

/// This machine, of which every I/O has a record.
fn this_machine() -> Machine {
    let uname = rustix::system::uname();
    let kernel = kernel::machine();
    let memory = rustix::system::sysinfo();
    Machine {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        release: kernel.release,
        machine: uname.machine().to_string_lossy().into_owned(),
        host: Some(kernel.host),
        cpus: kernel.cpus,
        cpu_model: kernel::cpu_model(),
        memory_bytes: memory.totalram.saturating_mul(memory.mem_unit.into()),
        command: None,
        redacted: false,
        filter: Filter::default(),
        ring_bytes: None,
    }
}

fn clocks() -> Result<Header> {
    Ok(Header {
        realtime_ns: clock(ClockId::Realtime)?,
        monotonic_ns: monotonic_ns()?,
        boottime_ns: clock(ClockId::Boottime)?,
    })
}

fn monotonic_ns() -> Result<u64> {
    clock(ClockId::Monotonic)
}

fn clock(id: ClockId) -> Result<u64> {
    Ok(format::nanos(kernel::clock(id)?).0)
}

fn announcement(arguments: &cli::Record) -> String {
    let until = match (arguments.duration, arguments.command.first()) {
        (Some(duration), _) => format!("for {}", humantime::format_duration(duration)),
        (None, Some(command)) => format!("until {} ends", command.display()),
        (None, None) => "until Ctrl-C".to_owned(),
    };
    let ring = match arguments.ring {
        Some(_) => format!("; kill -USR1 {} writes it", std::process::id()),
        None => String::new(),
    };
    format!("recording {until}{ring}")
}

fn summary(path: &Path, written: &Written, snapshot: &Snapshot) -> String {
    let kept = written.kept;
    let path = path.display();
    let files = match (written.files, written.begun) {
        (0, _) => "nothing was written, since SIGUSR1 did not ask for it".to_owned(),
        (1, 1) => format!("recorded in {path}"),
        (files, begun) if files == begun => format!("recorded in {path} and {} more", files - 1),
        (files, begun) => format!("recorded whole in {files} of {begun} files, the first {path}"),
    };
    let size = format::mebibytes(written.bytes);
    let (lost, ring_full) = (snapshot.lost(), snapshot.loss.get(&Loss::RingFull));
    let counts = [
        (kept.faster, "I/Os were faster"),
        (kept.sampled_out, "were not sampled"),
        (lost, "losses"),
        (ring_full.copied().unwrap_or(0), "of these records alone"),
    ];
    let counts = counts
        .into_iter()
        .filter(|&(count, _)| count > 0)
        .map(|(count, what)| format!(", {count} {what}"));
    let counts: String = counts.collect();
    format!("{files}: {} records, {size}{counts}", kept.records)
}
