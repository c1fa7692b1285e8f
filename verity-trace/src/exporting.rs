//! `export`: one document, or one after the other, to standard output or into a file that is replaced.

mod delivery;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use verity_trace::archive::Given;
use verity_trace::cli::{Export, Schedule};
use verity_trace::collector::{Collector, TICK};
use verity_trace::decode::{self, Io};
use verity_trace::error::Result;
use verity_trace::live::Wanted;
use verity_trace::overview::Overview;
use verity_trace::recommend::{self, Advice, Forecasts, Origin};
use verity_trace::replay::Film;
use verity_trace::selection::Selection;
use verity_trace::snapshot::{DeviceNumber, Snapshot};

use crate::say;
use crate::watch::{advised, exit_code, on_signal, options, say_faults};
use delivery::{Delivery, Parcel};

/// How long a document that others came before may keep the program from ending after a signal.
const PATIENCE: Duration = Duration::from_secs(2);

/// Of a recording, or of what is watched.
pub fn export(arguments: &Export) -> Result<ExitCode> {
    arguments.check()?;
    let (given, selection) = arguments.subjects()?;
    let delivery = Delivery::of(arguments)?;
    match given {
        None => live(arguments, selection, delivery),
        Some(given) => recorded(arguments, given, &selection, &delivery),
    }
}

/// Of a recording: its last snapshot, or each of them.
fn recorded(
    arguments: &Export,
    given: Given<'_>,
    selection: &Selection,
    delivery: &Delivery,
) -> Result<ExitCode> {
    let wrong = |fault| given.wrong(&fault);
    let mut archive = given.open(arguments.of.salvage)?;
    let start = archive.place();
    let overview = Overview::read(&mut archive).map_err(wrong)?;
    let selected = overview.selected(selection)?;
    if let Some(cut) = overview.condition.cut {
        say(&format!("{given} was cut at byte {cut}"));
    }
    if arguments.once {
        let parcel = Parcel::new(overview.snapshot, overview.advices);
        delivery.deliver(&parcel.of(selected.as_ref()))?;
        return Ok(ExitCode::SUCCESS);
    }
    archive.go_to(start).map_err(wrong)?;
    let mut film = Film::new(archive, Selection::default()).map_err(wrong)?;
    let count = arguments.schedule().count.unwrap_or(u64::MAX);
    for number in (0..).take_while(|&number| (number as u64) < count) {
        if number > 0 && !film.find().map_err(wrong)? {
            break;
        }
        let snapshot = film.snapshot(number, Some(number)).map_err(wrong)?;
        let origin = Origin::of(&snapshot);
        let advices = recommend::advices(&snapshot, &Forecasts::new(), Some(&origin));
        if !delivery.deliver(&Parcel::new(snapshot, advices).of(selected.as_ref()))? {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the exporting thread waits for.
enum Event {
    Signal(i32),
    /// A document is out, and somebody reads on; or it is not.
    Delivered(Result<bool>),
}

/// Of what is watched. A thread of its own writes each document: while a reader or a disk takes its time, the probes
/// are looked after all the same, and the next document is of the moment when that one is out.
fn live(arguments: &Export, selection: Selection, delivery: Delivery) -> Result<ExitCode> {
    let mut records = Kept::new(arguments.records.map(|count| count as usize));
    let options = options(arguments.source, records.wanted(), arguments.max_overhead);
    let mut collector = Collector::start(options, selection, !arguments.once)?;
    let (sender, events) = mpsc::channel();
    on_signal({
        let sender = sender.clone();
        move |signal| {
            // Whoever does not listen any more is ending already.
            let _ = sender.send(Event::Signal(signal));
        }
    })?;
    let schedule = arguments.schedule();
    say(&schedule.to_string());
    let parcels = courier(delivery.clone(), sender);
    let mut round = Round::new(&schedule, Instant::now());
    let mut is_writing = false;
    let signal = loop {
        let left = round.due.saturating_duration_since(Instant::now());
        let wait = if is_writing { TICK } else { left.min(TICK) };
        match events.recv_timeout(wait) {
            Ok(Event::Signal(signal)) => break Some(signal),
            Ok(Event::Delivered(delivered)) => {
                is_writing = false;
                if !delivered? {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(anyhow!("no more signals").into()),
        }
        if !delivery.has_reader() {
            return Ok(ExitCode::SUCCESS);
        }
        collector.tick()?;
        collector.drain(decode::io, |io| records.add(io));
        if is_writing || Instant::now() < round.due {
            continue;
        }
        send(&mut collector, &mut records, &parcels)?;
        is_writing = true;
        if !round.next(Instant::now()) {
            break None;
        }
    };
    if signal.is_some() && arguments.once {
        send(&mut collector, &mut records, &parcels)?;
        is_writing = true;
    }
    say_faults(&collector.faults());
    // Whoever reads may take long, and the probes hold dm_verity.
    drop(collector);
    drop(parcels);
    if is_writing {
        let has_more = signal.is_some() && !arguments.once;
        return ending(&events, signal, has_more.then_some(PATIENCE));
    }
    Ok(exit_code(signal))
}

/// Waits for the last document, for no longer than this if it is given, nor than until another signal.
fn ending(
    events: &Receiver<Event>,
    signal: Option<i32>,
    patience: Option<Duration>,
) -> Result<ExitCode> {
    let event = match patience {
        None => events.recv().map_err(RecvTimeoutError::from),
        Some(patience) => events.recv_timeout(patience),
    };
    match event {
        Ok(Event::Delivered(delivered)) => {
            delivered?;
            Ok(exit_code(signal))
        }
        Ok(Event::Signal(signal)) => Ok(exit_code(Some(signal))),
        Err(_) => Ok(exit_code(signal)),
    }
}

/// Hands over a document of this moment.
fn send(collector: &mut Collector, records: &mut Kept, parcels: &SyncSender<Parcel>) -> Result<()> {
    let (snapshot, advices) = advised(collector, &Forecasts::new())?;
    // Of no I/O that is counted the record is still on its way.
    collector.drain(decode::io, |io| records.add(io));
    let mut parcel = Parcel::new(snapshot, advices);
    parcel.records = records.take();
    parcels
        .send(parcel)
        .map_err(|_| anyhow!("the thread that writes is gone").into())
}

/// Starts the thread that writes.
fn courier(delivery: Delivery, events: Sender<Event>) -> SyncSender<Parcel> {
    let (parcels, received) = mpsc::sync_channel::<Parcel>(1);
    thread::spawn(move || {
        for parcel in received {
            let delivered = Event::Delivered(delivery.deliver(&parcel));
            if events.send(delivered).is_err() {
                return;
            }
        }
    });
    parcels
}

/// When the next document is due.
struct Round {
    interval: Duration,
    until: Option<Instant>,
    left: Option<u64>,
    due: Instant,
}

impl Round {
    fn new(schedule: &Schedule, start: Instant) -> Self {
        let until = schedule.until.map(|until| start + until);
        let due = start + schedule.interval;
        Self {
            interval: schedule.interval,
            until,
            left: schedule.count,
            due: until.map_or(due, |until| until.min(due)),
        }
    }

    /// Goes on to the next one, and says whether there is one. Of those that were missed none is made up for, and the
    /// last is due at the very end.
    fn next(&mut self, now: Instant) -> bool {
        self.left = self.left.map(|left| left.saturating_sub(1));
        let is_last = self.until.is_some_and(|until| self.due >= until);
        if is_last || self.left == Some(0) {
            return false;
        }
        let due = self.due + self.interval;
        let due = if due < now { now + self.interval } else { due };
        self.due = self.until.map_or(due, |until| until.min(due));
        true
    }
}

/// The I/Os that the next document has one by one.
struct Kept {
    /// How many; absent where none were asked for.
    most: Option<usize>,
    ios: Vec<Io>,
    omitted: u64,
}

impl Kept {
    const fn new(most: Option<usize>) -> Self {
        Self {
            most,
            ios: Vec::new(),
            omitted: 0,
        }
    }

    const fn wanted(&self) -> Wanted {
        if self.most.is_some() {
            Wanted::Everything
        } else {
            Wanted::Nothing
        }
    }

    fn add(&mut self, io: Io) {
        if self.most.is_some_and(|most| self.ios.len() < most) {
            self.ios.push(io);
        } else {
            self.omitted += 1;
        }
    }

    fn take(&mut self) -> Option<(Vec<Io>, u64)> {
        let taken = (
            std::mem::take(&mut self.ios),
            std::mem::take(&mut self.omitted),
        );
        self.most.map(|_| taken)
    }
}

impl Parcel {
    fn new(snapshot: Snapshot, advices: Vec<Advice>) -> Self {
        Self {
            snapshot,
            advices,
            records: None,
        }
    }

    /// The same with these of the devices alone; with all where there is no choice.
    fn of(mut self, selected: Option<&BTreeSet<DeviceNumber>>) -> Self {
        if let Some(selected) = selected {
            self.snapshot
                .devices
                .retain(|it| selected.contains(&it.number));
            self.advices.retain(|it| selected.contains(&it.number));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn dues(schedule: &Schedule, late: impl Fn(u32) -> Duration) -> Vec<Duration> {
        let start = Instant::now();
        let mut round = Round::new(schedule, start);
        let mut dues = Vec::new();
        for number in 0..100 {
            dues.push(round.due - start);
            if !round.next(round.due + late(number)) {
                break;
            }
        }
        dues
    }

    #[test]
    fn documents_are_due_every_interval_and_at_the_end() {
        let schedule = Schedule {
            interval: SECOND * 3,
            until: Some(SECOND * 10),
            count: None,
        };
        assert_eq!(
            dues(&schedule, |_| Duration::ZERO),
            [3, 6, 9, 10].map(|it| SECOND * it)
        );
        let schedule = Schedule {
            count: Some(2),
            ..schedule
        };
        assert_eq!(
            dues(&schedule, |_| Duration::ZERO),
            [3, 6].map(|it| SECOND * it)
        );
    }

    #[test]
    fn what_was_missed_is_not_made_up_for() {
        let schedule = Schedule {
            interval: SECOND,
            until: None,
            count: Some(4),
        };
        let late = |number| if number == 0 { SECOND * 5 } else { SECOND / 2 };
        assert_eq!(dues(&schedule, late), [1, 7, 8, 9].map(|it| SECOND * it));
    }
}
