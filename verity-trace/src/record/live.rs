//! A recording that the live view makes, from one press of a key to the next: of what happens from then on,
//! as if watching had begun with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, anyhow};
use verity_trace::collector::{Collector, TICK};
use verity_trace::error::Result;
use verity_trace::recorder::{Ending, Recorder, Sink};
use verity_trace::recording::Ended;
use verity_trace::snapshot::{Loss, Snapshot};
use verity_trace::tui::{self, Message};
use verity_trace::{aggregate, format, output};
use verity_trace_ebpf::record::Record;

use super::ending::{self, SLOW};
use super::{PICTURES, POLL, clocks, drain, monotonic_ns, note, this_machine};
use crate::exports;
use crate::say;

/// See the module. What is said of it goes to the view.
pub struct LiveRecording {
    messages: Sender<Message>,
    state: State,
    /// Those that have ended, and are being written still.
    endings: Vec<Unwritten>,
}

enum State {
    Off,
    /// A thread of its own makes the file, since the disk may be what hangs.
    Opening(Opening),
    On(Box<Running>),
}

/// A thread that makes a file.
type Opening = JoinHandle<Result<Opened>>;

/// A file that has a beginning.
struct Opened {
    path: PathBuf,
    recorder: Recorder,
}

/// What there is still to be done when the view has ended.
pub struct Rest {
    /// What will be said of a file that was asked for, and in which nothing is recorded any more.
    unused: Option<JoinHandle<String>>,
    unwritten: Vec<Unwritten>,
}

/// A recording that is being made.
struct Running {
    name: String,
    recorder: Recorder,
    /// With which it began.
    start: Snapshot,
    /// The last snapshot's.
    ring_full: u64,
    next_note: Instant,
    next_picture: Instant,
}

/// A recording of which the last is being written.
struct Unwritten {
    name: String,
    ending: Ending,
}

impl LiveRecording {
    /// None yet.
    pub const fn new(messages: Sender<Message>) -> Self {
        Self {
            messages,
            state: State::Off,
            endings: Vec::new(),
        }
    }

    /// Begins one, or ends the one that is being made.
    pub fn toggle(&mut self, collector: &mut Collector) {
        match &self.state {
            State::Off => self.state = State::Opening(thread::spawn(|| open(Path::new("")))),
            State::Opening(_) => {
                self.say("the file is not there yet that will be recorded in".to_owned());
            }
            State::On(_) => self.end(collector),
        }
    }

    /// How long what the programs send may wait.
    pub const fn patience(&self) -> Duration {
        match self.state {
            State::Off => TICK,
            State::Opening(_) | State::On(_) => POLL,
        }
    }

    /// Whether one is being made.
    pub const fn is_on(&self) -> bool {
        matches!(self.state, State::On(_))
    }

    /// Takes what has happened meanwhile, and shows every record.
    pub fn keep_up(
        &mut self,
        collector: &mut Collector,
        mut see: impl FnMut(&Record),
    ) -> Result<()> {
        self.begin(collector)?;
        match &mut self.state {
            State::On(running) if running.recorder.is_running() => {
                running.keep_up(collector, see)?;
            }
            // Its end tells why.
            State::On(_) => self.end(collector),
            State::Off | State::Opening(_) => {
                collector.drain(|record, _| Ok(*record), |record| see(&record));
            }
        }
        for Unwritten { name, ending } in self.endings.extract_if(.., |it| it.ending.is_over()) {
            let text = said(&name, ending);
            // A view that is gone has ended already.
            let _ = self.messages.send(Message::Notice(text));
        }
        Ok(())
    }

    /// How far the one has come that is being made, for the view.
    pub fn state(&self) -> Option<tui::Recording> {
        match &self.state {
            State::On(running) => Some(tui::Recording {
                records: running.recorder.kept().records,
                lost: running.ring_full,
            }),
            State::Off | State::Opening(_) => None,
        }
    }

    /// Ends the one that is being made; what is being written still has to be waited for.
    pub fn finish(mut self, collector: &mut Collector) -> Rest {
        let unused = match std::mem::replace(&mut self.state, State::Off) {
            State::Opening(opening) => Some(thread::spawn(|| discard(opening))),
            state => {
                self.state = state;
                self.end(collector);
                None
            }
        };
        Rest {
            unused,
            unwritten: self.endings,
        }
    }

    /// Lets a recording begin once its file is there.
    fn begin(&mut self, collector: &mut Collector) -> Result<()> {
        let opening = match std::mem::replace(&mut self.state, State::Off) {
            State::Opening(opening) if opening.is_finished() => opening,
            state => {
                self.state = state;
                return Ok(());
            }
        };
        match opened(opening) {
            Ok(Opened { path, recorder }) => {
                let name = path.display().to_string();
                self.say(format!("recording in {name}"));
                self.state = State::On(Box::new(Running::begin(name, recorder, collector)?));
            }
            Err(error) => self.say(format!("nothing is recorded: {error}")),
        }
        Ok(())
    }

    fn end(&mut self, collector: &mut Collector) {
        if let State::On(running) = std::mem::replace(&mut self.state, State::Off) {
            let name = running.name.clone();
            let ending = running.end(collector);
            self.endings.push(Unwritten { name, ending });
        }
    }

    fn say(&self, text: String) {
        // A view that is gone has ended already.
        let _ = self.messages.send(Message::Notice(text));
    }
}

impl Running {
    fn begin(name: String, mut recorder: Recorder, collector: &mut Collector) -> Result<Self> {
        collector.send_records()?;
        // Those of I/Os that have finished are not of this recording.
        collector.drain(|_, _| Ok(()), drop);
        let start = collector.whole_snapshot()?;
        note(collector, &mut recorder)?;
        let now = Instant::now();
        let mut running = Self {
            name,
            recorder,
            start,
            ring_full: 0,
            next_note: now + TICK,
            next_picture: now + PICTURES,
        };
        running.picture(collector)?;
        Ok(running)
    }

    fn keep_up(&mut self, collector: &mut Collector, mut see: impl FnMut(&Record)) -> Result<()> {
        let now = Instant::now();
        // What finds the kernel's buffer full meanwhile is a loss.
        if self.recorder.has_room() {
            let recorder = &mut self.recorder;
            collector.drain(
                |record, _| Ok(*record),
                |record| {
                    see(&record);
                    recorder.record(record);
                },
            );
        }
        if now >= self.next_note {
            note(collector, &mut self.recorder)?;
            self.next_note = now + TICK;
        }
        // One that is late covers a longer time.
        if now >= self.next_picture && self.recorder.has_room_for_picture() {
            self.picture(collector)?;
            self.next_picture = now + PICTURES;
        }
        Ok(())
    }

    fn picture(&mut self, collector: &mut Collector) -> Result<()> {
        let mut snapshot = collector.whole_snapshot()?;
        aggregate::begin_anew(&mut snapshot, &self.start);
        if let Some(selected) = collector.selected()? {
            let devices = &mut snapshot.devices;
            devices.retain(|device| selected.contains(&device.number));
        }
        for device in &mut snapshot.devices {
            // They are of all the time that was watched.
            if let Some(totals) = &mut device.totals {
                totals.submitters = None;
            }
        }
        if let Some(other) = &mut snapshot.other {
            other.totals.submitters = None;
        }
        self.ring_full = snapshot.loss.get(&Loss::RingFull).copied().unwrap_or(0);
        let now = monotonic_ns()?;
        // So that whatever is counted has its record before it.
        drain(collector, &mut self.recorder);
        self.recorder.picture(now, snapshot);
        Ok(())
    }

    /// Ends it, with all that has happened until now.
    fn end(mut self, collector: &mut Collector) -> Ending {
        let pictured = self.picture(collector);
        let now = pictured.and_then(|()| monotonic_ns());
        match now {
            Ok(now) => self.recorder.finish(now, Ended::Duration),
            Err(_) => self.recorder.break_off(),
        }
    }
}

impl Rest {
    /// Waits until all of it is done, and says what there is then: of each, unless a signal asks not to wait for it.
    pub fn wait(self, signals: &Receiver<i32>) {
        for Unwritten { name, ending } in self.unwritten {
            let path = Path::new(&name);
            let is_over = wait(
                signals,
                || ending.is_over(),
                || ending::slow(path, ending.reached()),
                || ending::given_up(path, ending.reached()),
            );
            if is_over {
                say(&said(&name, ending));
            }
        }
        if let Some(unused) = self.unused {
            let is_over = wait(
                signals,
                || unused.is_finished(),
                || {
                    "waiting for the disk, to remove a file in which nothing is recorded; Ctrl-C ends without it".to_owned()
                },
                || {
                    "ended without waiting for the disk; there may be a file in which nothing is recorded".to_owned()
                },
            );
            // One that panicked has said why.
            if is_over && let Ok(text) = unused.join() {
                say(&text);
            }
        }
    }
}

/// Waits until something is over, and says so where it is slow; false where a signal asks not to wait, which is said
/// too.
fn wait(
    signals: &Receiver<i32>,
    is_over: impl Fn() -> bool,
    slow: impl Fn() -> String,
    given_up: impl Fn() -> String,
) -> bool {
    let slow_from = Instant::now() + SLOW;
    let mut is_slow = false;
    while !is_over() {
        match signals.recv_timeout(POLL) {
            Ok(_) => {
                say(&given_up());
                return false;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if !is_slow && Instant::now() >= slow_from {
            is_slow = true;
            say(&slow());
        }
    }
    true
}

/// What there is of a recording that has ended.
fn said(name: &str, ending: Ending) -> String {
    let reached = ending.reached();
    match ending.wait() {
        Ok(written) => {
            let (records, size) = (written.kept.records, format::mebibytes(written.bytes));
            format!("recorded in {name}: {records} records, {size}")
        }
        Err(error) => ending::failed(Path::new(name), reached, &error),
    }
}

fn open(folder: &Path) -> Result<Opened> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let path = folder.join(exports::name(now.unwrap_or_default(), "vtrec"));
    let sink = Sink::File(output::create(&path, false)?);
    let recorder = Recorder::start(sink, clocks()?, &this_machine());
    let recorder = recorder.map_err(|error| anyhow!(ending::not_begun(&path, &error)))?;
    Ok(Opened { path, recorder })
}

fn opened(opening: Opening) -> Result<Opened> {
    let opened = opening.join();
    opened.unwrap_or_else(|_| Err(anyhow!("make the file: it panicked").into()))
}

/// Removes a file in which nothing is recorded any more, once it is there, and says what became of it.
fn discard(opening: Opening) -> String {
    let removed = opened(opening).and_then(|Opened { path, recorder }| {
        // What is wrong with its beginning is of no interest any more.
        let _ = recorder.break_off().wait();
        let removed = fs::remove_file(&path);
        Ok(removed.with_context(|| format!("remove {}", path.display()))?)
    });
    match removed {
        Ok(()) => {
            "nothing was recorded: the view ended before there was a file to record in".to_owned()
        }
        Err(error) => format!("nothing was recorded: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_that_ends_before_its_recording_begins_leaves_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = || fs::read_dir(folder.path()).expect("a folder").count();
        let opened = open(folder.path()).expect("a file");
        assert_eq!(files(), 1);
        let said = discard(thread::spawn(|| Ok(opened)));
        assert!(said.contains("the view ended before"), "{said}");
        assert_eq!(files(), 0);
        // Where none could be made, it is said why.
        let missing = folder.path().join("missing");
        let said = discard(thread::spawn(move || open(&missing)));
        assert!(said.starts_with("nothing was recorded: create "), "{said}");
    }
}
