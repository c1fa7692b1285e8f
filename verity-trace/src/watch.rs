//! The commands that watch: live in the terminal, or for a while with one result at the end.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use verity_trace::archive;
use verity_trace::budget::Budget;
use verity_trace::cli::{Attach, Format, Recommend, Replay, Report, Source, Top};
use verity_trace::collector::{Collector, TICK};
use verity_trace::decode::{self, Io};
use verity_trace::error::{Error, Result};
use verity_trace::export;
use verity_trace::forecasts::Gathering;
use verity_trace::html;
use verity_trace::live::{Options, Wanted};
use verity_trace::overview::NO_MOUNT_POINTS;
use verity_trace::recommend::{self, Advice, Forecasts};
use verity_trace::recording::Fault;
use verity_trace::replay::{Control, Film, Past, Player};
use verity_trace::report;
use verity_trace::selection::Selection;
use verity_trace::snapshot::Snapshot;
use verity_trace::tui::{self, Message, Request};

use crate::exports::Exports;
use crate::looks::Looks;
use crate::record::live::LiveRecording;
use crate::{advise, configured, deliver, print, say};

/// Time between two pictures of a replay.
const FRAME: Duration = Duration::from_millis(100);
/// How long a recording is looked through before something is shown, and between two pictures.
const LOOK: Duration = Duration::from_millis(80);
/// A replay goes on by so much at once at most: whoever suspends it finds it where it was.
const LONGEST_FRAME: Duration = Duration::from_millis(500);

/// The live view.
pub fn top(arguments: &Top, selection: Selection) -> Result<ExitCode> {
    let mut settings = configured::settings(&arguments.look, arguments.interval)?;
    if arguments.look.print_config {
        return print(|out| out.write_all(settings.to_toml().as_bytes()));
    }
    settings.groups.extend(selection.patterns());
    tui::require_terminal().map_err(|error| Error::Usage(error.to_string()))?;
    let mut collector = Collector::start(
        options(arguments.source, Wanted::Some, None),
        selection,
        true,
    )?;
    let (messages, received) = mpsc::channel();
    let (requests, asked) = mpsc::channel();
    let signalled = forward_signals(messages.clone())?;
    tui::forward_input(messages.clone());
    let mut exports = Exports::new(messages.clone());
    let interval = settings.interval;
    let collecting = thread::spawn(move || {
        let _end = StopWhenDropped(messages.clone());
        let mut recording = LiveRecording::new(messages.clone());
        let wishes = Wishes { interval, asked };
        let published = publish(&mut collector, &mut recording, wishes, &messages);
        let rest = recording.finish(&mut collector);
        (published, collector.faults(), rest)
    });
    let shown = tui::run(&received, &settings, |request| match request {
        Request::Export(exported) => exports.write(exported),
        request => {
            // One that is gone has sent its last word already.
            let _ = requests.send(request);
        }
    });
    drop(requests);
    exports.finish();
    let (published, faults, rest) = collecting
        .join()
        .map_err(|_| anyhow!("the collector panicked"))?;
    let signal = signalled.try_recv();
    // Now that the terminal is the shell's again.
    say_faults(&faults);
    rest.wait(&signalled);
    published?;
    if let Ok(signal) = signal {
        return Ok(exit_code(Some(signal)));
    }
    shown.context("draw on the terminal")?;
    Ok(ExitCode::SUCCESS)
}

/// The live view over a recording.
pub fn replay(arguments: &Replay) -> Result<ExitCode> {
    let mut settings = configured::settings(&arguments.look, None)?;
    if arguments.look.print_config {
        return print(|out| out.write_all(settings.to_toml().as_bytes()));
    }
    let (given, selection) = arguments.of.recording()?;
    settings.groups.extend(selection.patterns());
    if selection.has_mount_point() {
        return Err(Error::Usage(NO_MOUNT_POINTS.to_owned()));
    }
    let archive = given.open(arguments.of.salvage)?;
    tui::require_terminal().map_err(|error| Error::Usage(error.to_string()))?;
    let wrong = |fault| given.wrong(&fault);
    let mut film = Film::new(archive, selection).map_err(wrong)?;
    // What is wrong with a short one is said before anything is shown.
    look(&mut film, LOOK).map_err(wrong)?;
    let player = Player::new(film.times(), film.began(), settings.window);
    let (messages, received) = mpsc::channel();
    let (controls, asked) = mpsc::channel();
    let signalled = forward_signals(messages.clone())?;
    tui::forward_input(messages.clone());
    let mut exports = Exports::new(messages.clone());
    let playing = thread::spawn(move || {
        let _end = StopWhenDropped(messages.clone());
        play(&mut film, player, &messages, &asked)
    });
    let shown = tui::run(&received, &settings, |request| match request {
        Request::Export(exported) => exports.write(exported),
        Request::Control(control) => {
            // One that is gone has sent its last word already.
            let _ = controls.send(control);
        }
        // A recording goes on as it was made.
        Request::Interval(_) | Request::Record => {}
    });
    drop(controls);
    exports.finish();
    playing
        .join()
        .map_err(|_| anyhow!("the player panicked"))?
        .map_err(wrong)?;
    if let Ok(signal) = signalled.try_recv() {
        return Ok(exit_code(Some(signal)));
    }
    shown.context("draw on the terminal")?;
    Ok(ExitCode::SUCCESS)
}

/// A recording that somebody gave, in time.
type GivenFilm = Film<Box<dyn archive::Source>>;

/// Looks for more of a recording, for so long.
fn look(film: &mut GivenFilm, time: Duration) -> std::result::Result<(), Fault> {
    let start = Instant::now();
    while start.elapsed() < time && film.find()? {}
    Ok(())
}

/// Publishes what is to be seen of a recording, until nobody listens or asks for anything any more.
fn play(
    film: &mut GivenFilm,
    mut player: Player,
    messages: &Sender<Message>,
    asked: &Receiver<Control>,
) -> std::result::Result<(), Fault> {
    let mut last = Instant::now();
    let mut shown = None;
    let mut past = Past::default();
    player.know(film.times(), film.is_whole());
    loop {
        let now = Instant::now();
        player.pass((now - last).min(LONGEST_FRAME));
        last = now;
        let playback = player.playback();
        if shown != Some(playback) {
            let (frame, earlier) = player.frames();
            let missing = past.go_to(frame, film.devices(frame)?);
            if missing.is_anew && messages.send(Message::Jump).is_err() {
                return Ok(());
            }
            for before in missing.frames {
                let snapshot = Arc::new(film.snapshot(before, Some(before))?);
                if messages.send(Message::Earlier(snapshot)).is_err() {
                    return Ok(());
                }
            }
            let snapshot = Arc::new(film.snapshot(frame, earlier)?);
            let both = [
                Message::Picked(film.picked(frame)?),
                Message::Frame(snapshot, playback),
            ];
            if both.into_iter().any(|it| messages.send(it).is_err()) {
                return Ok(());
            }
            shown = Some(playback);
        }
        let control = if !film.is_whole() {
            look(film, LOOK)?;
            player.know(film.times(), film.is_whole());
            asked.recv_timeout(Duration::ZERO)
        } else if playback.plays {
            asked.recv_timeout(FRAME)
        } else {
            asked.recv().map_err(RecvTimeoutError::from)
        };
        if !playback.plays {
            // What has passed meanwhile has not for the recording.
            last = Instant::now();
        }
        match control {
            Ok(control) => {
                if control.needs_all() {
                    look(film, Duration::MAX)?;
                    player.know(film.times(), true);
                }
                player.control(control);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Ends the live view with the collector, also when that panics: a failure is not to be hidden
/// behind a picture that stands still.
struct StopWhenDropped(Sender<Message>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        // A view that is gone has ended already.
        let _ = self.0.send(Message::Stop);
    }
}

/// One screen of text after a while.
pub fn report(arguments: &Report, selection: Selection) -> Result<ExitCode> {
    let mut collector = Collector::start(
        options(arguments.source, Wanted::Nothing, None),
        selection,
        false,
    )?;
    let signal = watch(&mut collector, arguments.watches(), |_| {})?;
    let (snapshot, advices) = advised(&mut collector, &Forecasts::new())?;
    // Whoever reads the text may take long, and the probes hold dm_verity.
    drop(collector);
    deliver(
        arguments.output.as_deref(),
        arguments.force,
        None,
        |mut out| {
            match arguments.format {
                Format::Json => export::json(&snapshot, &advices, None, &mut out)?,
                Format::Html => html::live(&snapshot, &advices, &mut out)?,
                _ => {
                    report::report(&snapshot, &mut out)?;
                    recommend::section(&advices, &mut out)?;
                }
            }
            Ok(())
        },
    )?;
    Ok(exit_code(signal))
}

/// What is advised after a while, from the records of all I/Os too.
pub fn recommend(arguments: &Recommend, selection: Selection) -> Result<ExitCode> {
    let options = options(arguments.source, Wanted::Everything, None);
    let mut collector = Collector::start(options, selection, false)?;
    let start = collector.whole_snapshot()?;
    let selected = collector.selected()?;
    let wants = |number| selected.as_ref().is_none_or(|it| it.contains(&number));
    let mut gathering = Gathering::new(&start, wants, 1);
    let signal = watch(&mut collector, arguments.watches(), |io| gathering.add(&io))?;
    // Of no I/O that is replayed the record is still on its way.
    collector.drain(decode::io, |io| gathering.add(&io));
    let forecasts = gathering.forecasts(&start.kernel);
    let (snapshot, advices) = advised(&mut collector, &forecasts)?;
    // As above.
    drop(collector);
    let code = advise(arguments, &snapshot, &advices)?;
    Ok(signal.map_or(code, |signal| exit_code(Some(signal))))
}

/// The picture now, of the devices that are wanted, and what is advised for these: from all devices, since limits
/// are for all of them.
pub fn advised(
    collector: &mut Collector,
    forecasts: &Forecasts,
) -> Result<(Snapshot, Vec<Advice>)> {
    let mut snapshot = collector.whole_snapshot()?;
    let mut advices = recommend::advices(&snapshot, forecasts, None);
    if let Some(selected) = collector.selected()? {
        snapshot.devices.retain(|it| selected.contains(&it.number));
        advices.retain(|it| selected.contains(&it.number));
    }
    Ok((snapshot, advices))
}

/// Watches for as long as asked or until a signal, which is returned. Says on standard error when
/// it begins, for whoever starts a load next.
fn watch(
    collector: &mut Collector,
    duration: Duration,
    mut record: impl FnMut(Io),
) -> Result<Option<i32>> {
    let (messages, _received) = mpsc::channel();
    let signals = forward_signals(messages)?;
    let deadline = Instant::now() + duration;
    say(&format!(
        "watching for {}; Ctrl-C ends it early",
        humantime::format_duration(duration)
    ));
    let signal = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break None;
        }
        match signals.recv_timeout(left.min(TICK)) {
            Ok(signal) => break Some(signal),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(anyhow!("no more signals").into()),
        }
        collector.tick()?;
        collector.drain(decode::io, &mut record);
    };
    collector.drain(decode::io, &mut record);
    say_faults(&collector.faults());
    Ok(signal)
}

/// Says what [`Collector::faults`] found.
pub fn say_faults(faults: &[String]) {
    for fault in faults {
        say(&format!("the kernel programs report: {fault}"));
    }
}

/// What the view asks of the collecting.
struct Wishes {
    /// Time between two snapshots.
    interval: Duration,
    asked: Receiver<Request>,
}

/// Publishes a snapshot every interval until nobody listens or asks for anything any more.
fn publish(
    collector: &mut Collector,
    recording: &mut LiveRecording,
    mut wishes: Wishes,
    messages: &Sender<Message>,
) -> Result<()> {
    let mut ticked = Instant::now();
    let mut due = Instant::now();
    let mut selected = None;
    let mut looks = Looks::new(due);
    loop {
        let now = Instant::now();
        if now >= due {
            let snapshot = Arc::new(collector.whole_snapshot()?);
            let wanted = collector.selected()?;
            if wanted != selected {
                selected.clone_from(&wanted);
                // As below.
                let _ = messages.send(Message::Selected(wanted));
            }
            let ios = looks.pick(collector, &snapshot)?;
            let both = [Message::Picked(Arc::new(ios)), Message::Snapshot(snapshot)];
            if both.into_iter().any(|it| messages.send(it).is_err()) {
                return Ok(());
            }
            // As above.
            let _ = messages.send(Message::Recording(recording.state()));
            due = now + wishes.interval;
        }
        let left = due.saturating_duration_since(Instant::now());
        match wishes.asked.recv_timeout(left.min(recording.patience())) {
            Ok(Request::Interval(interval)) => {
                wishes.interval = interval;
                due = due.min(Instant::now() + interval);
            }
            Ok(Request::Record) => recording.toggle(collector),
            Ok(Request::Control(_) | Request::Export(_)) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        recording.keep_up(collector, |record| looks.see(record))?;
        if ticked.elapsed() >= TICK {
            collector.tick()?;
            ticked = Instant::now();
            looks.ask(collector, recording.is_on())?;
        }
    }
}

/// Starts the thread that receives signals; each also asks the live view to stop.
fn forward_signals(messages: Sender<Message>) -> Result<Receiver<i32>> {
    let (sender, receiver) = mpsc::channel();
    on_signal(move |signal| {
        // Whoever does not listen any more is ending already.
        let _ = sender.send(signal);
        let _ = messages.send(Message::Stop);
    })?;
    Ok(receiver)
}

/// Starts the thread that receives signals, and does this with each.
pub fn on_signal(act: impl Fn(i32) + Send + 'static) -> Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("receive signals")?;
    thread::spawn(move || signals.forever().for_each(act));
    Ok(())
}

/// What it is when a signal ended it.
pub fn exit_code(signal: Option<i32>) -> ExitCode {
    let code = signal.and_then(|signal| u8::try_from(128 + signal).ok());
    code.map_or(ExitCode::SUCCESS, ExitCode::from)
}

/// What is traced, and how.
pub fn options(source: Source, records: Wanted, max_overhead: Option<f64>) -> Options {
    Options {
        max_devices: source.probing.max_devices,
        rung: source.probing.attach.map(Attach::rung),
        records,
        hash_cache: source.hash_cache,
        queues: source.queues,
        submitters: source.submitters,
        budget: max_overhead.map(Budget::percent),
    }
}
