//! `serve`: watches, or plays a recording, and tells the process with the socket what is known.

use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use verity_trace::archive::{Archive, Given, Source};
use verity_trace::cli::Serve;
use verity_trace::collector::{Collector, TICK};
use verity_trace::error::{Error, Result};
use verity_trace::live::Wanted;
use verity_trace::overview::NO_MOUNT_POINTS;
use verity_trace::person::Person;
use verity_trace::recording::Fault;
use verity_trace::replay::Film;
use verity_trace::selection::Selection;
use verity_trace::serve::{self, Account, Feed, Lately, Listen, Settings, Tls};
use verity_trace::snapshot::Snapshot;

use crate::looks::Looks;
use crate::say;
use crate::watch::{exit_code, options, say_faults};

/// Time between two snapshots of what is live, unless another is asked for.
const INTERVAL: Duration = Duration::from_secs(1);
/// Records are read so often: the kernel's buffer is to have room.
const READ: Duration = Duration::from_millis(50);
/// How often it is said that there is nothing new.
const WORD: Duration = Duration::from_secs(1);
/// A recording is not looked at more often than so.
const FRAME: Duration = Duration::from_millis(5);
/// So many intervals without a word mean that something hangs, and so long at least.
const MISSED: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the process with the socket has for its end.
const LEAVE: Duration = Duration::from_secs(2);
/// The user that it becomes, if there is one; else the one of these names, or of that number, who owns nothing.
const USERS: [&str; 2] = ["verity-trace", "nobody"];
const NOBODY: u32 = 65_534;

/// See the module.
pub fn serve(it: &Serve) -> Result<ExitCode> {
    it.check()?;
    let (given, selection) = it.subjects()?;
    let token = it.token_file.as_deref().map(serve::token).transpose()?;
    let tls = tls(it)?;
    let user = user();
    let interval = it.interval.unwrap_or(INTERVAL);
    let has_tls = tls.is_some();
    let settings = Settings {
        account: user.as_ref().map(|(account, _)| *account),
        is_unix: matches!(it.listen, Listen::Unix(_)),
        is_closed: !it.listen.is_local(),
        token,
        tls,
        hosts: it.hosts.clone(),
        is_recorded: given.is_some(),
        patience: PATIENCE.max(interval * MISSED),
    };
    let picks = settings.token.is_some();
    let recording = given
        .map(|given| recording(&given, it, selection.clone()))
        .transpose()?;
    let (ends, ended) = mpsc::channel();
    // From here on there may be a socket to be removed.
    forward_signals(ends.clone())?;
    let mut bound = it.listen.bind()?;
    let watched = match recording {
        Some(recording) => recording,
        None => Watched::Live {
            collector: Box::new(collect(it, selection, picks)?),
            interval,
        },
    };
    let socket = bound.hand_over().context("take the socket")?;
    let server = start(socket, &settings)?;
    say(&format!(
        "serving {} as {}",
        address(&bound.address, has_tls),
        user.map_or_else(
            || "this user, since only root can become another one".to_owned(),
            |(account, name)| format!("{name}, uid {}", account.uid),
        )
    ));
    work(watched, picks, server, (ends, ended))
}

/// Where a browser finds it.
fn address(listen: &Listen, has_tls: bool) -> String {
    match listen {
        Listen::Tcp(address) if has_tls => format!("https://{address}/"),
        Listen::Tcp(address) => format!("http://{address}/"),
        listen @ Listen::Unix(_) => listen.to_string(),
    }
}

fn tls(it: &Serve) -> Result<Option<Tls>> {
    let (Some(certificates), Some(key)) = (&it.tls_certificate, &it.tls_key) else {
        return Ok(None);
    };
    let text = fs::read_to_string(certificates)
        .map_err(|error| Error::Input(format!("{}: {error}", certificates.display())))?;
    let tls = Tls {
        certificates: text,
        key: serve::key(key)?,
    };
    let files = format!("{}, {}", certificates.display(), key.display());
    serve::check(&tls).map_err(|error| Error::Input(format!("{files}: {error:#}")))?;
    Ok(Some(tls))
}

/// Who the process with the socket becomes, which only root can ask for.
fn user() -> Option<(Account, &'static str)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let known = |name| Person::ids(name).map(|(uid, gid)| (Account { uid, gid }, name));
    let nobody = Account {
        uid: NOBODY,
        gid: NOBODY,
    };
    Some(
        USERS
            .into_iter()
            .find_map(known)
            .unwrap_or((nobody, "nobody")),
    )
}

/// What is served.
enum Watched {
    Live {
        collector: Box<Collector>,
        interval: Duration,
    },
    Recording {
        name: String,
        film: Box<Film<Box<dyn Source>>>,
        repeats: bool,
    },
}

fn collect(it: &Serve, selection: Selection, picks: bool) -> Result<Collector> {
    let records = if picks { Wanted::Some } else { Wanted::Nothing };
    Collector::start(options(it.source, records, None), selection, true)
}

fn recording(given: &Given<'_>, it: &Serve, selection: Selection) -> Result<Watched> {
    if selection.has_mount_point() {
        return Err(Error::Usage(NO_MOUNT_POINTS.to_owned()));
    }
    let archive: Archive = given.open(it.of.salvage)?;
    let film = Film::new(archive, selection).map_err(|fault| given.wrong(&fault))?;
    Ok(Watched::Recording {
        name: given.to_string(),
        film: Box::new(film),
        repeats: it.repeat,
    })
}

/// The process with the socket.
struct Server {
    child: Child,
    feed: Feed<UnixStream>,
    /// The same as its feed, to end it.
    line: UnixStream,
}

/// Starts the process with the socket, with a memory of its own: nothing that is known here is in it.
fn start(socket: OwnedFd, settings: &Settings) -> Result<Server> {
    let (ours, theirs) = UnixStream::pair().context("make a feed")?;
    let child = Command::new("/proc/self/exe")
        .arg0(serve::NAME)
        .env_clear()
        .current_dir("/")
        .stdin(OwnedFd::from(theirs))
        .stdout(socket)
        .spawn()
        .context("start the process that serves")?;
    let line = ours.try_clone().context("make a feed")?;
    let feed = Feed::start(ours, settings).context("tell how to serve")?;
    Ok(Server { child, feed, line })
}

/// Why it ends.
enum End {
    Signal(i32),
    /// The process with the socket has ended.
    Left(io::Result<ExitStatus>),
    /// The watching has.
    Watched(Result<()>),
}

/// Who is told how the watching ends, also when it panics.
struct Watching(Sender<End>);

impl Drop for Watching {
    fn drop(&mut self) {
        if thread::panicking() {
            let panicked = anyhow!("the collector panicked");
            // Whoever does not listen any more is ending already.
            let _ = self.0.send(End::Watched(Err(panicked.into())));
        }
    }
}

/// Until something ends.
fn work(
    watched: Watched,
    picks: bool,
    server: Server,
    (ends, ended): (Sender<End>, Receiver<End>),
) -> Result<ExitCode> {
    let Server {
        mut child,
        mut feed,
        line,
    } = server;
    let (news, told) = mpsc::sync_channel(2);
    let telling = {
        let ends = ends.clone();
        thread::spawn(move || {
            if let Err(error) = tell(&mut feed, &told) {
                let error = anyhow::Error::new(error).context("tell what is known");
                // Whoever does not listen any more is ending already.
                let _ = ends.send(End::Watched(Err(error.into())));
            }
        })
    };
    let (stop, stopped) = mpsc::channel();
    let watching = {
        let ends = Watching(ends.clone());
        thread::spawn(move || {
            let result = match watched {
                Watched::Live {
                    collector,
                    interval,
                } => live(*collector, interval, picks, &news, &stopped),
                Watched::Recording {
                    name,
                    film,
                    repeats,
                } => play(*film, repeats, picks, &news, &stopped)
                    .map_err(|fault| Error::Input(format!("{name}: {fault}"))),
            };
            // As above.
            let _ = ends.0.send(End::Watched(result));
        })
    };
    let (left, has_left) = mpsc::channel();
    let pid = rustix::process::Pid::from_child(&child);
    thread::spawn(move || {
        let status = child.wait();
        // As above.
        let _ = left.send(());
        let _ = ends.send(End::Left(status));
    });
    let end = ended.recv().context("wait for the end")?;
    drop(stop);
    // One that has left already has ended it, and of one that hangs nobody waits until it has read it all.
    let _ = line.shutdown(Shutdown::Both);
    watching
        .join()
        .map_err(|_| anyhow!("the collector panicked"))?;
    telling.join().map_err(|_| anyhow!("what tells panicked"))?;
    if has_left.recv_timeout(LEAVE) == Err(RecvTimeoutError::Timeout) {
        // One that is gone by now is not there to be killed.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    match end {
        End::Signal(signal) => Ok(exit_code(Some(signal))),
        End::Left(status) => {
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            Err(anyhow!(
                "the process that serves has ended ({how}), so nothing is watched any more"
            )
            .into())
        }
        End::Watched(result) => result.map(|()| ExitCode::SUCCESS),
    }
}

fn forward_signals(ends: Sender<End>) -> Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("receive signals")?;
    thread::spawn(move || {
        for signal in signals.forever() {
            // Whoever does not listen any more is ending already.
            let _ = ends.send(End::Signal(signal));
        }
    });
    Ok(())
}

/// What is known anew.
enum News {
    /// And the slow I/Os, as they are to be served.
    Snapshot(Box<Snapshot>, Option<Vec<u8>>),
    Nothing,
}

/// Tells it, until nobody is there to tell or to be told: that the process that serves is gone is noticed where it
/// is waited for.
fn tell(feed: &mut Feed<UnixStream>, news: &Receiver<News>) -> io::Result<()> {
    for it in news {
        match tell_one(feed, &it) {
            Err(error) if is_gone(&error) => return Ok(()),
            told => told?,
        }
    }
    Ok(())
}

fn tell_one(feed: &mut Feed<UnixStream>, news: &News) -> io::Result<()> {
    let News::Snapshot(snapshot, slow) = news else {
        return feed.alive();
    };
    feed.snapshot(snapshot)?;
    slow.as_ref().map_or(Ok(()), |slow| feed.records(slow))
}

fn is_gone(error: &io::Error) -> bool {
    let gone = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
    gone.contains(&error.kind())
}

/// A snapshot, as it is told.
fn news_of(snapshot: Snapshot, lately: Option<&Lately>) -> News {
    let slow = lately.map(|lately| lately.document(snapshot.taken_at));
    News::Snapshot(Box::new(snapshot), slow)
}

/// Waits, and says whether it is to go on.
fn goes_on(stopped: &Receiver<()>, time: Duration) -> bool {
    stopped.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
}

fn live(
    mut collector: Collector,
    interval: Duration,
    picks: bool,
    news: &SyncSender<News>,
    stopped: &Receiver<()>,
) -> Result<()> {
    let mut due = Instant::now();
    let mut ticked = due;
    let mut looks = Looks::new(due);
    let mut lately = picks.then(Lately::default);
    loop {
        let now = Instant::now();
        if now >= due {
            let mut snapshot = collector.whole_snapshot()?;
            if let Some(lately) = &mut lately {
                lately.add(&looks.pick(&collector, &snapshot)?);
            }
            if let Some(selected) = collector.selected()? {
                snapshot.devices.retain(|it| selected.contains(&it.number));
            }
            // Where those before are being told still it is left out: nobody who is served holds up the watching.
            let _ = news.try_send(news_of(snapshot, lately.as_ref()));
            due = now + interval;
        }
        let left = due.saturating_duration_since(Instant::now());
        if !goes_on(stopped, left.min(if picks { READ } else { TICK })) {
            break;
        }
        if picks {
            collector.drain(|record, _| Ok(*record), |record| looks.see(&record));
        }
        if ticked.elapsed() >= TICK {
            collector.tick()?;
            ticked = Instant::now();
            if picks {
                looks.ask(&mut collector, false)?;
            }
            // As above.
            let _ = news.try_send(News::Nothing);
        }
    }
    say_faults(&collector.faults());
    Ok(())
}

fn play(
    mut film: Film<Box<dyn Source>>,
    repeats: bool,
    picks: bool,
    news: &SyncSender<News>,
    stopped: &Receiver<()>,
) -> std::result::Result<(), Fault> {
    let mut lately = picks.then(Lately::default);
    let mut began = Instant::now();
    let mut number = 0;
    loop {
        let snapshot = film.snapshot(number, None)?;
        if let Some(lately) = &mut lately {
            lately.add(&*film.picked(number)?);
        }
        if news.send(news_of(snapshot, lately.as_ref())).is_err() {
            // The process that serves is gone, and that is why it ends.
            let _ = stopped.recv();
            return Ok(());
        }
        film.find()?;
        let next = film.times().get(number + 1).copied();
        let until = next.unwrap_or_else(|| began.elapsed() + WORD);
        while next.is_none() && !repeats || began.elapsed() < until {
            let left = until.saturating_sub(began.elapsed()).max(FRAME);
            if !goes_on(stopped, left.min(WORD)) {
                return Ok(());
            }
            // Where there is no room for it, there is news.
            let _ = news.try_send(News::Nothing);
        }
        if next.is_some() {
            number += 1;
        } else {
            (number, began) = (0, Instant::now());
        }
    }
}
