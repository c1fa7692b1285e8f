//! Our side of a running machine: its streams, its files, the caller's signals.

use std::io::{Read, Write, stderr, stdout};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator::{Handle, Signals};

use super::files::{Output, receive};
use super::machine::Job;
use super::qemu::Emulator;
use super::{stream, terminal};

/// Something that the job's end is made of, or that ends it early.
enum Event {
    /// One of the two streams ended, with the exit code if the command did.
    Stream(Result<Option<u8>>),
    /// All files have come back.
    Files(Result<()>),
    Signal(i32),
}

/// How a job ended.
pub enum End {
    /// With the command's exit code.
    Code(u8),
    /// With a signal that is to end us.
    Signal(i32),
    /// Without one, and why.
    Lost(&'static str),
}

/// Our ends of the guest's ports.
pub struct Ports {
    out: UnixStream,
    err: UnixStream,
    files: Option<UnixStream>,
    size: Option<UnixStream>,
}

impl Ports {
    /// Gives the machine the ports that the job needs.
    pub fn open(job: &Job, emulator: &mut Emulator) -> Result<Self> {
        let mut port = |name| -> Result<UnixStream> {
            let (ours, guests) = UnixStream::pair()?;
            emulator.port(name, guests.into())?;
            Ok(ours)
        };
        let ports = Self {
            out: port("out")?,
            err: port("err")?,
            files: (!job.outputs.is_empty())
                .then(|| port("files"))
                .transpose()?,
            size: job.tty.then(|| port("size")).transpose()?,
        };
        if job.tty {
            emulator.terminal();
        }
        Ok(ports)
    }

    /// Passes everything on until the job ends.
    pub fn watch(self, job: &Job, mark: &str) -> Result<End> {
        let (events, inbox) = channel();
        let signals = watch_signals(events.clone(), self.size)?;
        if let Some(log) = &job.log {
            pass_on(self.out, log.try_clone()?, mark, events.clone());
            pass_on(self.err, log.try_clone()?, mark, events.clone());
        } else {
            pass_on(self.out, stdout(), mark, events.clone());
            pass_on(self.err, stderr(), mark, events.clone());
        }
        if let Some(port) = self.files {
            take_files(port, job.outputs.clone(), events);
        }
        let end = wait(job, &inbox);
        signals.close();
        end
    }
}

/// Waits for both streams and the files, or for what ends the job early.
fn wait(job: &Job, inbox: &Receiver<Event>) -> Result<End> {
    let deadline = job.timeout.map(|timeout| Instant::now() + timeout);
    let mut missing = 2 + usize::from(!job.outputs.is_empty());
    let mut code = 0;
    let mut files = Ok(());
    while missing > 0 {
        match next(inbox, deadline) {
            Some(Event::Stream(Ok(Some(ended)))) => code = ended,
            Some(Event::Stream(Ok(None))) => {
                return Ok(End::Lost("the machine ended before the command did"));
            }
            Some(Event::Stream(Err(error))) => return Err(error),
            Some(Event::Files(received)) => files = received,
            Some(Event::Signal(signal)) => return Ok(End::Signal(signal)),
            None => return Ok(End::Lost("the command takes too long, see --timeout")),
        }
        missing -= 1;
    }
    match files {
        // What made the command fail is why files are missing.
        Err(error) if code != 0 => eprintln!("warning: {error:#}"),
        files => files?,
    }
    Ok(End::Code(code))
}

/// The next event, or none when the time is over.
fn next(inbox: &Receiver<Event>, deadline: Option<Instant>) -> Option<Event> {
    match deadline {
        Some(deadline) => inbox
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .ok(),
        None => inbox.recv().ok(),
    }
}

fn pass_on(port: UnixStream, to: impl Write + Send + 'static, mark: &str, events: Sender<Event>) {
    let mark = mark.to_owned().into_bytes();
    thread::spawn(move || {
        let ended = stream::copy(port, to, &mark).context("pass on what the command prints");
        // Nobody listens any more once the job has ended early.
        let _ = events.send(Event::Stream(ended));
    });
}

fn take_files(mut port: UnixStream, outputs: Vec<Output>, events: Sender<Event>) {
    thread::spawn(move || {
        let received = receive(&mut port, &outputs);
        let _ = events.send(Event::Files(received));
        // The guest must be able to send all that it has, also after a failure here.
        let _ = port.read_to_end(&mut Vec::new());
    });
}

/// Tells the guest about a new size of the terminal, and us about signals that end a program.
fn watch_signals(events: Sender<Event>, mut size: Option<UnixStream>) -> Result<Handle> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGWINCH]).context("watch signals")?;
    let handle = signals.handle();
    thread::spawn(move || {
        for signal in signals.forever() {
            if signal != SIGWINCH {
                let _ = events.send(Event::Signal(signal));
            } else if let (Some(port), Ok((rows, columns))) = (&mut size, terminal::size()) {
                let _ = writeln!(port, "{rows} {columns}");
            }
        }
    });
    Ok(handle)
}
