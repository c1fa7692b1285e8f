//! The command that `record` runs: as whoever called sudo, with nothing of this program's open.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{Receiver, Sender};
use std::thread;

use anyhow::Context as _;
use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGHUP, SIGTERM};
use verity_trace::cli;
use verity_trace::error::{Error, Result};
use verity_trace::person::Person;

/// What a failure of this program itself is where it runs a command, as for `timeout` and `env`.
pub const OUR_FAILURE: u8 = 125;
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// What can happen while a recording is made.
pub enum Event {
    Signal(i32),
    /// The command has ended.
    Ended(io::Result<ExitStatus>),
}

/// Starts the command, if there is one.
pub fn start(arguments: &cli::Record, events: Sender<Event>) -> io::Result<Option<Running>> {
    let Some((program, rest)) = arguments.command.split_first() else {
        return Ok(None);
    };
    let mut command = Command::new(program);
    command.args(rest);
    if !arguments.as_root
        && let Some(person) = Person::behind_sudo()
    {
        person.run(&mut command);
    }
    let mut child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    thread::spawn(move || events.send(Event::Ended(child.wait())));
    Ok(Some(Running { pid, code: None }))
}

/// A command that runs.
pub struct Running {
    pid: Option<Pid>,
    /// Its exit code, once it is known.
    pub code: Option<u8>,
}

impl Running {
    /// Passes a signal on. What a key sends reaches the command by itself.
    pub fn pass_on(&self, signal: i32) {
        if self.code.is_some() {
            // By now its number may be that of another process.
            return;
        }
        let signal = match signal {
            SIGTERM => Signal::TERM,
            SIGHUP => Signal::HUP,
            _ => return,
        };
        if let Some(pid) = self.pid {
            // One that has just ended needs none.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Takes note of how it ended.
    pub fn note(&mut self, status: io::Result<ExitStatus>) {
        self.code = Some(status.map_or(OUR_FAILURE, code));
    }

    /// Waits for it.
    pub fn exit_code(self, events: &Receiver<Event>) -> Result<u8> {
        let mut known = self.code;
        while known.is_none() {
            match events.recv().context("wait for the command")? {
                Event::Ended(status) => known = Some(code(status.context("wait for the command")?)),
                Event::Signal(signal) => self.pass_on(signal),
            }
        }
        known.context("wait for the command").map_err(Error::from)
    }
}

/// Its exit code, or 128 and the signal that ended it.
pub fn code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(OUR_FAILURE)
}

/// The exit code for a command that could not be run, as shells have it.
pub fn cannot_run(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => CANNOT_RUN,
    }
}
