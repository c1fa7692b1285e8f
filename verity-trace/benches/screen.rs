//! How long the live view takes to draw and to begin, and what memory: `cargo bench --bench screen`, beside
//! what was aimed at.
//!
//! What draws is measured in CPU time, least of many turns, with every cell sent to a terminal that takes it
//! at once; what goes on in time is the CPU time of all turns together. What begins is the program itself on a
//! pseudo-terminal, by the clock.

#[path = "made_up/snapshots.rs"]
mod snapshots;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use ratatui::Terminal;
use ratatui::backend::{Backend as _, CrosstermBackend, TestBackend};
use ratatui::buffer::Cell;
use rustix::time::{ClockId, clock_gettime};
use verity_trace::format;
use verity_trace::recorder::{Recorder, Sink};
use verity_trace::recording::{Ended, Header, Machine};
use verity_trace::snapshot::{DeviceNumber, Placement};
use verity_trace::tui::{App, Glyphs, Key, Message, Styles, Theme, draw};

use snapshots::Made;

/// The terminal that everything is drawn on.
const COLUMNS: u16 = 200;
const ROWS: u16 = 60;
/// Snapshots that have been before anything is measured: more than pictures of time show.
const SECONDS: usize = 250;
/// How often something is measured, for the least of it.
const TURNS: usize = 30;
/// How often the program is started.
const STARTS: usize = 15;
/// Views that there are.
const VIEWS: usize = 6;
/// Snapshots in a second of a live view, each drawn.
const RATE: u32 = 4;
/// So many of these have been before what they take is measured, and so many are measured: of the first nothing is
/// old enough to be made small.
const BEFORE: usize = 60;
const MEASURED: usize = 40;
/// How long the program may take for anything.
const PATIENCE: Duration = Duration::from_mins(2);

/// As most machines are.
const FEW: Made = Made {
    devices: 8,
    cpus: 8,
    placements: &EARLY,
    slots: FULL,
    rate: 1,
};
/// As no machine is busier.
const MANY: Made = Made {
    devices: 500,
    cpus: 256,
    placements: &EARLY,
    slots: FULL,
    rate: 1,
};
const EARLY: [Placement; 3] = [Placement::Kverityd, Placement::Bh, Placement::Inline];
/// From 1 us to 16 ms nothing that did not happen.
const FULL: usize = 224;
/// Times that differ by a factor of eight.
const USUAL: usize = 48;
/// Snapshots of a live view that has seen as much as it keeps.
const FED: usize = 700;
/// What this program is told to be that live view.
const FEED: &str = "feed";

fn main() -> io::Result<()> {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|word| word == part);
    if let [word, devices] = &wanted[..]
        && word == FEED
    {
        return feed(devices.parse().map_err(other)?);
    }
    println!("{:<64}{:>12}{:>10}", "live view at 200x60", "is", "goal");
    if is_wanted("start") {
        starts()?;
    }
    for (name, made, goal) in [
        ("8 devices, 8 CPUs", FEW, 30.0),
        ("500 devices, 256 CPUs", MANY, 150.0),
    ] {
        if is_wanted("draw") {
            drawings(name, made)?;
        }
        if is_wanted("memory") {
            memory(name, made, goal)?;
        }
    }
    Ok(())
}

/// Prints a row.
fn say(what: &str, is: f64, goal: Option<f64>, unit: &str) -> io::Result<()> {
    let verdict = match goal {
        None => String::new(),
        Some(goal) => {
            let verdict = if is <= goal { "holds" } else { "missed" };
            format!("{:>10} {verdict}", format!("{goal:.0} {unit}"))
        }
    };
    let is = format!("{is:.2} {unit}");
    println!("{what:<64}{is:>12}{verdict}");
    io::stdout().flush()
}

/// What is drawn, and a terminal that takes everything at once.
struct Screen {
    drawn: Terminal<TestBackend>,
    terminal: CrosstermBackend<io::Sink>,
}

impl Screen {
    fn new() -> Self {
        let Ok(drawn) = Terminal::new(TestBackend::new(COLUMNS, ROWS));
        Self {
            drawn,
            terminal: CrosstermBackend::new(io::sink()),
        }
    }

    /// Draws, and sends every cell.
    fn draw(&mut self, app: &App) -> io::Result<()> {
        let Ok(_) = self.drawn.draw(|frame| draw(app, frame));
        let buffer = self.drawn.backend().buffer();
        let cells = (0..).zip(buffer.content());
        self.terminal
            .draw(cells.map(|(at, cell)| (at % COLUMNS, at / COLUMNS, cell)))?;
        Write::flush(&mut self.terminal)
    }

    /// The view that was drawn.
    fn view(&self) -> String {
        let cells = self.drawn.backend().buffer().content().iter();
        let text: String = cells.map(Cell::symbol).collect();
        let view = text.split(['[', ']']).nth(1).unwrap_or_default();
        let groups = text.matches("-* (").count();
        match groups {
            0 => view.to_owned(),
            groups => format!("{view}, {} folded", format::counted(groups, "group")),
        }
    }
}

/// What the views of a machine take.
fn drawings(name: &str, made: Made) -> io::Result<()> {
    let mut app = app();
    let mut snapshots = made.snapshots();
    let mut next = || snapshots.next().ok_or_else(|| other("there are no more"))?;
    for _ in 0..SECONDS {
        app.update(Message::Snapshot(Arc::new(next()?)));
    }
    let mut screen = Screen::new();
    let (mut longest, mut further) = (Duration::ZERO, Duration::ZERO);
    let views = std::iter::repeat_n(Key::Tab, VIEWS - 1);
    for key in [Key::Home, Key::Char('f')].into_iter().chain(views) {
        app.update(Message::Key(key));
        let whole = least(|| timed(|| screen.draw(&app)))?;
        longest = longest.max(whole);
        let what = format!("{name}: {}, drawn in full", screen.view());
        say(&what, milliseconds(whole), Some(2.0), "ms")?;
        let line = least(|| {
            timed(|| {
                app.update(Message::Key(Key::Down));
                screen.draw(&app)
            })
        })?;
        further = further.max(line);
        app.update(Message::Key(Key::Home));
    }
    let what = format!("{name}: a line further in any of these");
    say(&what, milliseconds(further), Some(2.0), "ms")?;
    let what = format!("{name}: 4 drawings a second, of one CPU");
    let share = longest.as_secs_f64() * f64::from(RATE) * 100.0;
    say(&what, share, Some(1.0), "%")?;
    goes_on(name, made.usual(), "of one CPU", |_| {})?;
    goes_on(name, made.usual(), "all unfolded", |app| {
        app.update(Message::Key(Key::Char('f')));
        app.update(Message::Key(Key::End));
        app.update(Message::Key(Key::Char('f')));
    })?;
    goes_on(name, made.usual(), "counting from anew", |app| {
        app.update(Message::Key(Key::Char('r')));
    })?;
    goes_on(name, made.usual(), "half of the devices chosen", |app| {
        let numbers = (0..).step_by(2).take(made.devices / 2);
        let numbers = numbers.map(|minor| DeviceNumber { major: 253, minor });
        app.update(Message::Selected(Some(numbers.collect())));
    })
}

/// What snapshots of a live view take that come four times a second, each drawn in full.
fn goes_on(name: &str, made: Made, how: &str, begin: impl Fn(&mut App)) -> io::Result<()> {
    let mut app = app();
    let mut screen = Screen::new();
    let made = Made { rate: RATE, ..made };
    let mut taken = Duration::ZERO;
    for (at, snapshot) in made.snapshots().take(BEFORE + MEASURED).enumerate() {
        let snapshot = Arc::new(snapshot?);
        let time = timed(|| {
            app.update(Message::Snapshot(snapshot));
            screen.draw(&app)
        })?;
        if at == 0 {
            begin(&mut app);
        }
        if at >= BEFORE {
            taken += time;
        }
    }
    let what = format!("{name}: 4 snapshots a second, drawn, {how}");
    let share = taken.as_secs_f64() / MEASURED as f64 * f64::from(RATE) * 100.0;
    say(&what, share, Some(1.0), "%")
}

/// The least of what `measure` measures.
fn least(mut measure: impl FnMut() -> io::Result<Duration>) -> io::Result<Duration> {
    let mut least = measure()?;
    for _ in 1..TURNS {
        least = least.min(measure()?);
    }
    Ok(least)
}

/// The CPU time of something.
fn timed(it: impl FnOnce() -> io::Result<()>) -> io::Result<Duration> {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::try_from(time).map_err(io::Error::other)
    };
    let before = now()?;
    it()?;
    Ok(now()?.saturating_sub(before))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// How long it takes from the start of the program until something stands on the screen.
fn starts() -> io::Result<()> {
    let mut least = PATIENCE;
    for _ in 0..STARTS {
        let start = Instant::now();
        let mut program = Program::start(&["replay", "--demo"])?;
        program.wait_for("[devices]")?;
        least = least.min(start.elapsed());
        program.end()?;
    }
    say(
        "first picture of replay --demo",
        milliseconds(least),
        Some(300.0),
        "ms",
    )
}

impl Made {
    /// The same, each device with two placements and times that are not far from each other.
    const fn usual(self) -> Self {
        Self {
            placements: EARLY.split_at(2).0,
            slots: USUAL,
            ..self
        }
    }
}

/// Is a live view of so many devices for ten minutes and more, and prints what memory that takes at most.
fn feed(devices: usize) -> io::Result<()> {
    let made = if devices == MANY.devices { MANY } else { FEW };
    let mut app = app();
    let mut screen = Screen::new();
    for snapshot in made.usual().snapshots().take(FED) {
        app.update(Message::Snapshot(Arc::new(snapshot?)));
        screen.draw(&app)?;
    }
    println!("{}", peak("self")?);
    Ok(())
}

fn app() -> App {
    let mut app = App::new(Styles::new(Theme::Dark, Glyphs::BLOCKS));
    app.update(Message::Resize {
        columns: COLUMNS,
        rows: ROWS,
    });
    app
}

/// MiB that a process had in memory at most.
fn peak(process: &str) -> io::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let peak = status.lines().find_map(|line| {
        let kib = line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?;
        kib.trim().parse::<f64>().ok()
    });
    peak.map(|kib| kib / 1024.0)
        .ok_or_else(|| other("no VmHWM"))
}

/// What memory a live view takes, and the program while it goes through all of a recording.
fn memory(name: &str, made: Made, goal: f64) -> io::Result<()> {
    let made = made.usual();
    let fed = Command::new(std::env::current_exe()?)
        .args([FEED, &made.devices.to_string()])
        .output()?;
    let fed = String::from_utf8_lossy(&fed.stdout);
    let fed = fed.trim().parse().map_err(other)?;
    let what = format!("{name}: memory of a live view after 10 minutes");
    say(&what, fed, Some(goal), "MiB")?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let path = folder.path().join("recording");
    record(made, SECONDS, &path)?;
    let start = Instant::now();
    let mut program = Program::start(&["replay", &path.to_string_lossy()])?;
    program.wait_for("[devices]")?;
    let start = start.elapsed();
    say(
        &format!("{name}: first picture of a recording"),
        milliseconds(start),
        None,
        "ms",
    )?;
    for second in 1..SECONDS {
        program.press(".")?;
        let now = format::span(Duration::from_secs(second as u64));
        program.wait_for(&format!("{now} of"))?;
    }
    let peak = program.peak()?;
    program.end()?;
    say(
        &format!("{name}: memory of a replay"),
        peak,
        Some(goal),
        "MiB",
    )
}

fn record(made: Made, snapshots: usize, path: &Path) -> io::Result<()> {
    let (header, machine) = (Header::default(), Machine::default());
    let mut recorder = Recorder::start(Sink::File(File::create(path)?), header, &machine)?;
    let mut until = 0;
    for snapshot in made.snapshots().take(snapshots) {
        while !recorder.has_room_for_picture() {
            thread::sleep(Duration::from_millis(1));
        }
        recorder.picture(until, snapshot?);
        until += 1_000_000_000;
    }
    recorder.finish(until, Ended::Duration).wait().map(drop)
}

/// verity-trace on a pseudo-terminal, and what stands on it.
struct Program {
    child: Box<dyn Child + Send + Sync>,
    output: Receiver<Vec<u8>>,
    input: Box<dyn Write + Send>,
    terminal: vt100::Parser,
    _pty: Box<dyn MasterPty + Send>,
}

impl Program {
    fn start(arguments: &[&str]) -> io::Result<Self> {
        let size = PtySize {
            rows: ROWS,
            cols: COLUMNS,
            ..PtySize::default()
        };
        let pty = native_pty_system().openpty(size).map_err(other)?;
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_verity-trace"));
        command.args(arguments);
        command.env("TERM", "xterm-256color");
        let child = pty.slave.spawn_command(command).map_err(other)?;
        drop(pty.slave);
        let mut reader = pty.master.try_clone_reader().map_err(other)?;
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            output,
            input: pty.master.take_writer().map_err(other)?,
            terminal: vt100::Parser::new(ROWS, COLUMNS, 0),
            _pty: pty.master,
        })
    }

    fn wait_for(&mut self, text: &str) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.terminal.screen().contents().contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            let bytes = self.output.recv_timeout(left).map_err(|error| {
                let shown = self.terminal.screen().contents();
                other(format!("{text:?} never came ({error}): {shown}"))
            })?;
            self.terminal.process(&bytes);
        }
        Ok(())
    }

    fn press(&mut self, keys: &str) -> io::Result<()> {
        self.input.write_all(keys.as_bytes())
    }

    /// MiB that it had in memory at most.
    fn peak(&self) -> io::Result<f64> {
        let pid = self
            .child
            .process_id()
            .ok_or_else(|| other("it has ended"))?;
        peak(&pid.to_string())
    }

    fn end(mut self) -> io::Result<()> {
        self.press("q")?;
        while self.output.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().map(drop)
    }
}

fn other(error: impl fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}
