//! The command line: what can be typed, and the texts made from it.

use std::ffi::OsString;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::archive::{self, Given};
use crate::compare::Pair;
use crate::demo::Demo;
use crate::error::Error;
use crate::mounts::Mounts;
use crate::selection::{Selection, Selector};
use crate::serve::Listen;
use crate::snapshot::Rung;
use crate::tui::INTERVALS;
use crate::tune::Wish;
use crate::window::Window;

/// The exit codes of this version, and what they mean.
const EXIT_CODES: [(&str, &str); 12] = [
    ("0", "done"),
    (
        "1",
        "internal error, or an output file could not be written, as on a full disk",
    ),
    ("2", "usage"),
    ("3", "not permitted"),
    ("4", "the kernel cannot do it, or built without programs"),
    (
        "5",
        "no such device: a one-shot command without any verity device, or an argument that fits none",
    ),
    ("6", "bad input file"),
    (
        "10",
        "with --exit-code: the advice, or the verdict of tune, is to change something",
    ),
    ("11", "with --exit-code: slower"),
    ("12", "with --exit-code: faster"),
    (
        "125",
        "verity-trace failed where it runs a command; else that one's own exit code is passed on",
    ),
    ("128+n", "ended by signal n"),
];

/// Devices with totals of their own, unless another number is asked for.
const DEVICES: u32 = 64;

/// Shows where dm-verity verifies each I/O, and how long each stage takes.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "verity-trace",
    version,
    args_conflicts_with_subcommands = true,
    after_help = exit_codes()
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    top: Top,
}

impl Cli {
    /// The command that was typed: `top` when none was.
    #[must_use]
    pub fn command(self) -> Command {
        self.command.unwrap_or(Command::Top(Watch {
            how: self.top,
            wanted: Wanted::default(),
        }))
    }
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Watch live in this terminal (the default)
    Top(Watch<Top>),
    /// Print one screen of text: of a recording, or after watching for a while
    Report(Report),
    /// Print JSON documents or metrics: of what is watched, once or again and again, or of a recording
    Export(Export),
    /// Record every I/O in a file, while a command runs or for a time
    Record(Record),
    /// Watch a recording in this terminal, as if it were live
    Replay(Replay),
    /// Set two recordings against each other: what differs, and whether B is faster or slower than A
    Compare(Compare),
    /// Advise whether verification in BH should be on, and how to switch it: of a recording, or after watching for a while
    Recommend(Recommend),
    /// Try the option off and on in turn on a device under load, measure what that changes, and put back what was found
    Tune(Tune),
    /// Serve what is known over HTTP: a page for a browser, metrics for Prometheus, JSON; live, or of a recording
    Serve(Serve),
    /// Print what device-mapper says of the verity devices, without tracing
    Devices(Devices),
    /// Print how this kernel would be watched, what would not be seen, and how to get it
    Doctor(Doctor),
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page, in roff
    Man,
}

/// What a command takes that watches.
#[derive(Clone, Debug, Args)]
pub struct Watch<T: Args> {
    /// How.
    #[command(flatten)]
    pub how: T,
    /// What to show.
    #[command(flatten)]
    pub wanted: Wanted,
}

/// Which devices to show.
#[derive(Clone, Debug, Default, Args)]
pub struct Wanted {
    /// Show these devices alone, also when they appear later: a name, a pattern such as 'app-*',
    /// /dev/mapper/NAME, dm-N, MAJOR:MINOR or a mount point; CPUs, loss and other devices' totals
    /// stay those of the machine
    #[arg(value_name = "DEVICE", value_parser = Selector::parse)]
    devices: Vec<Selector>,
}

impl Wanted {
    /// The devices that the arguments select.
    #[must_use]
    pub fn selection(self) -> Selection {
        Selection::new(self.devices)
    }
}

/// What `devices` takes.
#[derive(Clone, Debug, Args)]
pub struct Devices {
    /// Print a JSON document
    #[arg(long)]
    pub json: bool,
    /// Show these devices alone: a name, a pattern such as 'app-*', /dev/mapper/NAME, dm-N,
    /// MAJOR:MINOR or a mount point
    #[arg(value_name = "DEVICE", value_parser = Selector::parse)]
    pub devices: Vec<Selector>,
}

/// What `doctor` takes.
#[derive(Clone, Copy, Debug, Args)]
pub struct Doctor {
    /// Print a JSON document
    #[arg(long)]
    pub json: bool,
    /// Print the facts about the kernel that decide it, as JSON, for a report of a fault
    #[arg(long, conflicts_with_all = ["json", "attach", "max_devices"])]
    pub facts: bool,
    /// How it would be watched.
    #[command(flatten)]
    pub source: Source,
}

/// What `top` takes.
#[derive(Clone, Debug, Args)]
pub struct Top {
    /// Time between two pictures, such as 500ms, 1s or 2m [default: what is configured, or 1s]
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    pub interval: Option<Duration>,
    /// How it looks and which keys it has.
    #[command(flatten)]
    pub look: Look,
    /// How to watch.
    #[command(flatten)]
    pub source: Source,
}

/// How the live view looks, and which keys it has.
#[derive(Clone, Debug, Args)]
pub struct Look {
    /// The configuration.
    #[arg(
        long,
        value_name = "FILE",
        help = "Configuration of keys, theme, columns, units, window, interval and mouse, in TOML [default: \
                verity-trace/config.toml in $XDG_CONFIG_HOME or ~/.config, under sudo root's, if there is one]"
    )]
    pub config: Option<PathBuf>,
    /// Print the configuration that would be used, to be changed and saved, and end
    #[arg(long)]
    pub print_config: bool,
    /// Leave the mouse to the terminal, which then selects text
    #[arg(long)]
    pub no_mouse: bool,
}

/// What `report` takes.
#[derive(Clone, Debug, Args)]
pub struct Report {
    /// Time to watch, such as 500ms, 10s or 2m [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = watching)]
    pub duration: Option<Duration>,
    /// What to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
    /// Of a recording: count anew, from the records of the I/Os that finished no earlier than this after its
    /// start, such as 1500ms or 10s
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub from: Option<Duration>,
    /// The same of those that finished before this
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub to: Option<Duration>,
    /// Write to this file instead
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace that file if it exists
    #[arg(long, requires = "output")]
    pub force: bool,
    /// How to watch.
    #[command(flatten)]
    pub source: Source,
    /// What is reported on.
    #[command(flatten)]
    pub of: Subjects,
}

impl Report {
    /// How long to watch.
    #[must_use]
    pub fn watches(&self) -> Duration {
        self.duration.unwrap_or(Duration::from_secs(10))
    }

    /// The recording, where there is one, and the devices.
    pub fn subjects(&self) -> Result<(Option<Given<'_>>, Selection), Error> {
        let watches = self.duration.is_some() || self.source != Source::default();
        match self.of.not_watched(watches)? {
            (None, _) if matches!(self.format, Format::Csv | Format::Parquet) => Err(Error::Usage(
                "a table of I/Os is of a recording; `verity-trace record` makes one".to_owned(),
            )),
            (None, _) if self.from.or(self.to).is_some() => Err(Error::Usage(
                "--from and --to are of a recording; `verity-trace record` makes one".to_owned(),
            )),
            (None, _) if self.format == Format::Perfetto => Err(Error::Usage(
                "a trace of I/Os is of a recording; `verity-trace record` makes one".to_owned(),
            )),
            given => Ok(given),
        }
    }

    /// The part of the recording's time that is counted anew; absent for a report of the whole.
    pub fn window(&self) -> Result<Option<Window>, Error> {
        let window = Window::new(self.from, self.to)?;
        if window.is_some() && !matches!(self.format, Format::Text | Format::Json) {
            return Err(Error::Usage(
                "--from and --to are for the formats text and json".to_owned(),
            ));
        }
        Ok(window)
    }
}

/// A recording, or devices, or devices of a recording.
#[derive(Clone, Debug, Args)]
pub struct Subjects {
    /// Read what is left of a damaged recording
    #[arg(long)]
    pub salvage: bool,
    /// Take a recording that travels with the program: of Linux 6.1, 6.12 or 7.3 in a virtual machine
    #[arg(
        long,
        value_name = "KERNEL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "7.3",
        value_parser = Demo::parse
    )]
    demo: Option<Demo>,
    /// A recording, if it is the name of a file; and devices, to show these alone: a name, a pattern such as
    /// 'app-*', /dev/mapper/NAME, dm-N, MAJOR:MINOR or a mount point, which a recording does not know; CPUs,
    /// loss and other devices' totals stay those of the machine
    #[arg(value_name = "FILE|DEVICE", value_parser = Subject::parse)]
    named: Vec<Subject>,
}

impl Subjects {
    /// The recording, where there is one, and the devices.
    pub fn given(&self) -> Result<(Option<Given<'_>>, Selection), Error> {
        let mut given: Vec<_> = self.demo.into_iter().map(Given::Demo).collect();
        let mut devices = Vec::new();
        for subject in &self.named {
            match subject {
                Subject::File(path) => given.push(Given::File(path)),
                Subject::Device(selector) => devices.push(selector.clone()),
                Subject::Folder(_, selector) => devices.extend(selector.clone()),
            }
        }
        let usage = |text: &str| Err(Error::Usage(text.to_owned()));
        if given.is_empty() {
            self.no_folder()?;
        }
        match given[..] {
            [] if self.salvage => usage("--salvage is for a recording, and no argument is a file"),
            [] => Ok((None, Selection::new(devices))),
            [one] => Ok((Some(one), Selection::new(devices))),
            _ => usage("there is more than one recording"),
        }
    }

    /// The same where something may ask to watch, which is not done with a recording.
    fn not_watched(&self, watches: bool) -> Result<(Option<Given<'_>>, Selection), Error> {
        match self.given()? {
            (Some(_), _) if watches => Err(Error::Usage(
                "a recording is not watched: leave out how to watch, and how long".to_owned(),
            )),
            given => Ok(given),
        }
    }

    /// That no argument is a folder where a recording may have been meant: one that is no mount point.
    fn no_folder(&self) -> Result<(), Error> {
        for subject in &self.named {
            if let Subject::Folder(path, device) = subject
                && (device.is_none() || !Mounts::read()?.has(path))
            {
                return Err(is_folder(path));
            }
        }
        Ok(())
    }

    /// The recording, which there has to be, and the devices.
    pub fn recording(&self) -> Result<(Given<'_>, Selection), Error> {
        let (given, selection) = self.given()?;
        if let Some(given) = given {
            return Ok((given, selection));
        }
        let mut folders = self.named.iter().filter_map(|subject| match subject {
            Subject::Folder(path, _) => Some(path),
            _ => None,
        });
        Err(folders.next().map_or_else(
            || Error::Usage("there is no recording: name a file, or try --demo".to_owned()),
            |path| is_folder(path),
        ))
    }
}

fn is_folder(path: &Path) -> Error {
    Error::Input(format!("{}: {}", path.display(), archive::FOLDER))
}

/// What to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One screen of text
    Text,
    /// A JSON document
    Json,
    /// A page with pictures for a browser, in one file
    Html,
    /// Of a recording: every I/O in a row of a table, as comma-separated values
    Csv,
    /// Of a recording: the same as a Parquet file, for DuckDB and others, with the columns that tell
    /// recordings apart
    Parquet,
    /// Of a recording: every I/O on a time line, as a trace for ui.perfetto.dev
    Perfetto,
}

impl Format {
    /// Whether a terminal cannot show it.
    #[must_use]
    pub const fn is_binary(self) -> bool {
        matches!(self, Self::Parquet | Self::Perfetto)
    }
}

/// A recording or a device.
#[derive(Clone, Debug)]
enum Subject {
    File(PathBuf),
    Device(Selector),
    /// A folder, which may be a mount point.
    Folder(PathBuf, Option<Selector>),
}

impl Subject {
    /// What is a file is taken for a recording, but for the nodes and folders that stand for devices.
    fn parse(text: &str) -> Result<Self, String> {
        let kind = std::fs::metadata(text).ok().map(|it| it.file_type());
        if kind.is_some_and(|it| it.is_file() || it.is_fifo()) {
            return Ok(Self::File(text.into()));
        }
        let device = Selector::parse(text);
        // What has no slash can be a device's name.
        if text.contains('/') && kind.is_some_and(|it| it.is_dir()) {
            return Ok(Self::Folder(text.into(), device.ok()));
        }
        let device = device.map(Self::Device);
        device.map_err(|error| format!("no such file, and {error}"))
    }
}

/// What `export` takes.
#[derive(Clone, Debug, Args)]
pub struct Export {
    /// What to print
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    pub format: ExportFormat,
    /// Print one document and end: after watching for --duration, or of a recording's last snapshot
    #[arg(long, conflicts_with_all = ["interval", "count"])]
    pub once: bool,
    /// Without --once: time between two documents, such as 500ms, 10s or 2m [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    pub interval: Option<Duration>,
    /// End after so many documents; of a recording, after so many of its snapshots
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Time to watch, such as 500ms, 10s or 2m [default: 1s with --once, else until Ctrl-C]
    #[arg(long, value_name = "DURATION", value_parser = watching)]
    pub duration: Option<Duration>,
    /// Write to this file instead, which each document replaces as a whole: whoever reads it finds no part of one
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Permissions of that file, in octal
    #[arg(long, value_name = "MODE", default_value = "0644", requires = "output", value_parser = mode)]
    pub mode: u32,
    /// Add the first N I/Os one by one, in each document those since the one before
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub records: Option<u32>,
    /// Send fewer records once the programs take more than this of one CPU; counters and histograms
    /// still count every I/O
    #[arg(long, value_name = "PERCENT", requires = "records", value_parser = percent)]
    pub max_overhead: Option<f64>,
    /// How to watch.
    #[command(flatten)]
    pub source: Source,
    /// What is exported.
    #[command(flatten)]
    pub of: Subjects,
}

impl Export {
    /// When documents are made of what is watched.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        let second = Duration::from_secs(1);
        if self.once {
            return Schedule {
                interval: self.duration.unwrap_or(second),
                until: None,
                count: Some(1),
            };
        }
        Schedule {
            interval: self.interval.unwrap_or(second),
            until: self.duration,
            count: self.count,
        }
    }

    /// That what is asked for goes together.
    pub fn check(&self) -> Result<(), Error> {
        let is_one = self.once || self.count == Some(1);
        let usage = |text: &str| Err(Error::Usage(text.to_owned()));
        if self.format.is_metrics() && self.records.is_some() {
            return usage("--records is for the formats json and ndjson");
        }
        if self.format.is_metrics() && self.output.is_none() && !is_one {
            return usage(
                "metrics are one document: --once, or -o FILE, which is replaced again and again",
            );
        }
        if self.format == ExportFormat::Ndjson && self.output.is_some() && !is_one {
            return usage(
                "-o FILE holds the newest document alone; for a file of all lines redirect standard output",
            );
        }
        Ok(())
    }

    /// The recording, where there is one, and the devices.
    pub fn subjects(&self) -> Result<(Option<Given<'_>>, Selection), Error> {
        let has_times = self.duration.or(self.interval).is_some();
        let watches = has_times || self.records.is_some() || self.source != Source::default();
        match self.of.not_watched(watches)? {
            (Some(_), _) if self.output.is_some() && !self.once => Err(Error::Usage(
                "-o FILE would hold a recording's last document alone: add --once".to_owned(),
            )),
            given => Ok(given),
        }
    }
}

/// What `export` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// JSON documents, indented
    Json,
    /// The same, each in a line of its own
    Ndjson,
    /// Metrics, as OpenMetrics has them
    Openmetrics,
    /// Metrics in Prometheus' own text format, for the node exporter's textfile collector
    Prometheus,
}

impl ExportFormat {
    const fn is_metrics(self) -> bool {
        matches!(self, Self::Openmetrics | Self::Prometheus)
    }
}

/// When documents are made.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Time between two, and before the first.
    pub interval: Duration,
    /// When the last is made, after the start; absent where nothing ends it.
    pub until: Option<Duration>,
    /// How many there are at most.
    pub count: Option<u64>,
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let interval = humantime::format_duration(self.interval);
        match (self.until, self.count) {
            (None, Some(1)) => write!(f, "watching for {interval}; Ctrl-C ends it early"),
            (Some(until), _) => {
                let until = humantime::format_duration(until);
                write!(f, "watching for {until}; Ctrl-C ends it early")
            }
            (None, Some(count)) => write!(
                f,
                "watching, with {count} documents, one every {interval}; Ctrl-C ends it early"
            ),
            (None, None) => write!(
                f,
                "watching, with a document every {interval}; Ctrl-C ends it"
            ),
        }
    }
}

/// What `serve` takes.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// Where to listen: ADDRESS:PORT or unix:PATH, a socket for its owner alone; an address that others reach needs
    /// --token-file, --tls-certificate and --tls-key
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9466", value_parser = Listen::parse)]
    pub listen: Listen,
    /// File with the token that is needed for /records and for who submitted I/Os, and off this machine for all but
    /// the empty page: one line, and for its owner alone
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Speak TLS with this certificate, and those that it depends on, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// And with this key, in PEM, in a file for its owner alone
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// A name by which this machine may be called, besides localhost and any address; may be given more than once
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Time between two snapshots, such as 500ms, 1s or 2m [default: 1s; of a recording, as it was made]
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    pub interval: Option<Duration>,
    /// Of a recording: at its end begin anew [default: go on with its last snapshot]
    #[arg(long)]
    pub repeat: bool,
    /// How to watch.
    #[command(flatten)]
    pub source: Source,
    /// What is served.
    #[command(flatten)]
    pub of: Subjects,
}

impl Serve {
    /// The recording, where there is one, and the devices.
    pub fn subjects(&self) -> Result<(Option<Given<'_>>, Selection), Error> {
        let watches = self.interval.is_some() || self.source != Source::default();
        match self.of.not_watched(watches)? {
            (None, _) if self.repeat => Err(Error::Usage(
                "--repeat is for a recording, and no argument is a file".to_owned(),
            )),
            given => Ok(given),
        }
    }

    /// That whoever comes from elsewhere is told nothing in plain text, and nothing without a token.
    pub fn check(&self) -> Result<(), Error> {
        let is_safe = self.token_file.is_some() && self.tls_key.is_some();
        if self.listen.is_local() || is_safe {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "others reach {}: this needs --token-file, --tls-certificate and --tls-key; or listen on 127.0.0.1",
            self.listen
        )))
    }
}

/// What `recommend` takes.
#[derive(Clone, Debug, Args)]
pub struct Recommend {
    /// Time to watch, such as 500ms, 10s or 2m [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = watching)]
    pub duration: Option<Duration>,
    /// Print a JSON document
    #[arg(long)]
    pub json: bool,
    /// End with 10 where the advice for a device is to change something
    #[arg(long)]
    pub exit_code: bool,
    /// How to watch.
    #[command(flatten)]
    pub source: Source,
    /// What is advised on.
    #[command(flatten)]
    pub of: Subjects,
}

impl Recommend {
    /// How long to watch: what is rarer than every few seconds is not what an average is made of.
    #[must_use]
    pub fn watches(&self) -> Duration {
        self.duration.unwrap_or(Duration::from_secs(10))
    }

    /// The recording, where there is one, and the devices.
    pub fn subjects(&self) -> Result<(Option<Given<'_>>, Selection), Error> {
        let watches = self.duration.is_some() || self.source != Source::default();
        self.of.not_watched(watches)
    }
}

/// What `tune` takes.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Tune {
    /// Time for all of it; it ends earlier once the result is known well enough
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = trying)]
    pub duration: Duration,
    /// End once the change of the mean total is known to so many percent of it, to each side
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = percent)]
    pub precision: f64,
    /// What the random order of the blocks begins with
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// The limit that is tried.
    #[arg(
        long,
        value_name = "BYTES",
        value_parser = clap::value_parser!(u32),
        help = "On a device that has the option, try the module's use_bh_bytes instead, which is for all devices: this \
                limit for every class but idle; 0 leaves everything to kverityd, with the no-sleep cache"
    )]
    pub limits: Option<u32>,
    /// Set limits also where other devices have the option and I/O
    #[arg(long, requires = "limits")]
    pub all_devices: bool,
    /// Make the load: random direct reads of one data block each, 4 in flight
    #[arg(long)]
    pub load: bool,
    /// Go on also where / or /usr lies on the device
    #[arg(long)]
    pub yes_root: bool,
    /// Leave the device with the setting that was better by what matters [default: as it was found]
    #[arg(long)]
    pub apply: bool,
    /// Print every step as a command, and change nothing
    #[arg(long, conflicts_with_all = ["json", "apply", "exit_code", "undo"])]
    pub dry_run: bool,
    /// Put back what a run that was killed could not, and end
    #[arg(long, conflicts_with_all = ["json", "apply", "exit_code", "limits", "load"])]
    pub undo: bool,
    /// Print a JSON document
    #[arg(long)]
    pub json: bool,
    /// End with 10 where the verdict is to change something
    #[arg(long)]
    pub exit_code: bool,
    /// Watch by fentry or by kprobe [default: the first that can be had]
    #[arg(long, value_name = "RUNG", hide_possible_values = true)]
    pub attach: Option<Attach>,
    /// Devices with totals of their own, of which this one has to be one
    #[arg(
        long,
        value_name = "N",
        default_value_t = DEVICES,
        value_parser = clap::value_parser!(u32).range(1..=1024)
    )]
    pub max_devices: u32,
    /// The device: a name, /dev/mapper/NAME, dm-N, MAJOR:MINOR or a mount point
    #[arg(value_name = "DEVICE", value_parser = Selector::parse)]
    pub device: Selector,
}

impl Tune {
    /// How to watch.
    #[must_use]
    pub fn source(&self) -> Source {
        Source {
            attach: self.attach,
            max_devices: self.max_devices,
            ..Source::default()
        }
    }

    /// What is to be done, as far as that can be refused.
    #[must_use]
    pub fn wish(&self) -> Wish {
        Wish {
            limit: self.limits.map(u64::from),
            yes_root: self.yes_root,
            all_devices: self.all_devices,
            load: self.load,
        }
    }
}

/// What `record` takes.
#[derive(Clone, Debug, Args)]
pub struct Record {
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Time to record, such as 500ms, 10s or 2m [default: until the command ends, or Ctrl-C]
    #[arg(long, value_name = "DURATION", value_parser = watching)]
    pub duration: Option<Duration>,
    /// Keep records of I/Os alone that took at least so long, such as 5ms; counters and histograms
    /// still count every I/O
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub slower_than: Option<Duration>,
    /// Keep records of one in N I/Os alone, chosen by chance; counters and histograms still count every
    /// I/O
    #[arg(long, value_name = "1/N", default_value = "1/1", hide_default_value = true, value_parser = one_in)]
    pub sample: u64,
    /// Keep the last SIZE bytes in memory, such as 64M, and write them to FILE whenever SIGUSR1 asks for
    /// it, a second time to FILE.2 and so on
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub ring: Option<usize>,
    /// Leave out host, command names, root hashes and salts
    #[arg(long)]
    pub redact: bool,
    /// Replace FILE if it exists
    #[arg(long)]
    pub force: bool,
    /// Run the command as root [default: as whoever called sudo]
    #[arg(long, requires = "command")]
    pub as_root: bool,
    /// How to watch.
    #[command(flatten)]
    pub source: Source,
    /// What to keep.
    #[command(flatten)]
    pub wanted: Wanted,
    /// Command to run, and its arguments; its exit code is passed on
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// What `replay` takes.
#[derive(Clone, Debug, Args)]
pub struct Replay {
    /// How it looks and which keys it has.
    #[command(flatten)]
    pub look: Look,
    /// What is replayed.
    #[command(flatten)]
    pub of: Subjects,
}

/// What `compare` takes.
#[derive(Clone, Debug, Args)]
pub struct Compare {
    /// A recording, or demo:6.1, demo:6.12 or demo:7.3 for one that travels with the program
    #[arg(value_name = "A", value_parser = Recording::parse)]
    pub a: Recording,
    /// The recording that is set against it
    #[arg(value_name = "B", value_parser = Recording::parse)]
    pub b: Recording,
    /// Compare this device of A with that one of B alone, or one that has the same name in both; may be
    /// given more than once [default: those that have the same name, or the only one of each]
    #[arg(long = "device", value_name = "A=B", value_parser = Pair::parse)]
    pub devices: Vec<Pair>,
    /// End with 11 where a device is slower, else with 12 where one is faster, over all of its I/Os
    #[arg(long)]
    pub exit_code: bool,
    /// What to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Document,
    /// Write to this file instead
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace that file if it exists
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Read what is left of a damaged recording
    #[arg(long)]
    pub salvage: bool,
    /// What the random draws begin with: another number shows how much hangs on them
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// A recording of two.
#[derive(Clone, Debug)]
pub enum Recording {
    /// In a file.
    File(PathBuf),
    /// One that travels with the program.
    Demo(Demo),
}

impl Recording {
    /// A file that is called like a demo is `./demo:6.1`.
    fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("demo:") {
            Some(kernel) => Demo::parse(kernel).map(Self::Demo),
            None => Ok(Self::File(text.into())),
        }
    }

    /// The same for opening it.
    #[must_use]
    pub fn given(&self) -> Given<'_> {
        match self {
            Self::File(path) => Given::File(path),
            Self::Demo(demo) => Given::Demo(*demo),
        }
    }
}

/// How a comparison is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Document {
    /// Text
    Text,
    /// A JSON document
    Json,
}

/// How to watch, whatever is made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Source {
    /// Watch by fentry, by kprobe or by tracepoint alone [default: the first that can be had]
    #[arg(long, value_name = "RUNG", hide_possible_values = true)]
    pub attach: Option<Attach>,
    /// Devices with totals of their own; further ones share one
    #[arg(
        long,
        value_name = "N",
        default_value_t = DEVICES,
        value_parser = clap::value_parser!(u32).range(1..=1024)
    )]
    pub max_devices: u32,
    /// Watch the cache of hash blocks too, which costs for every block that is verified: hits, misses
    /// and the time that verifications wait for hash blocks
    #[arg(long)]
    pub hash_cache: bool,
    /// Watch softirqs and workqueues in detail too, which costs for every softirq and every work of the
    /// machine: hand-offs to ksoftirqd, the BH workqueue's limits, and what kverityd's wait consists of
    #[arg(long)]
    pub queues: bool,
    /// Count I/Os by who submitted them too, which costs for every I/O: the processes that submit most to
    /// each device
    #[arg(long)]
    pub submitters: bool,
}

impl Default for Source {
    fn default() -> Self {
        Self {
            attach: None,
            max_devices: DEVICES,
            hash_cache: false,
            queues: false,
            submitters: false,
        }
    }
}

/// A rung of the attach ladder that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Attach {
    /// fentry and fexit: exact
    Fentry,
    /// kprobes: an I/O of which they miss an event is incomplete
    Kprobe,
    /// Tracepoints: verifications on workqueues are counted, and I/Os are not seen
    Tracepoint,
}

impl Attach {
    /// The rung that it stands for.
    #[must_use]
    pub const fn rung(self) -> Rung {
        match self {
            Self::Fentry => Rung::Fentry,
            Self::Kprobe => Rung::Kprobe,
            Self::Tracepoint => Rung::Tracepoint,
        }
    }
}

/// Writes the completion script of a shell.
pub fn completions(shell: Shell, out: &mut impl Write) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(
        shell,
        &mut <Cli as CommandFactory>::command(),
        "verity-trace",
        &mut script,
    );
    out.write_all(&script)
}

/// Writes the man page: every command on one page.
pub fn man(out: &mut impl Write) -> io::Result<()> {
    let mut command = <Cli as CommandFactory>::command().after_help(None::<&str>);
    command.build();
    let page = Man::new(command.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for subcommand in command
        .get_subcommands()
        .filter(|it| it.get_name() != "help")
    {
        command_section(subcommand, &mut roff);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        roff.control("TP", [])
            .text([bold(code)])
            .text([roman(meaning)]);
    }
    roff.to_writer(out)?;
    page.render_version_section(out)
}

fn command_section(command: &clap::Command, roff: &mut Roff) {
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    roff.control("SS", [command.get_name()])
        .text([roman(about)]);
    for argument in command.get_arguments().filter(|it| it.get_id() != "help") {
        let help = argument
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        roff.control("TP", [])
            .text([bold(argument.to_string())])
            .text([roman(help)]);
    }
}

fn exit_codes() -> String {
    let lines = EXIT_CODES.map(|(code, meaning)| format!("  {code:<6}  {meaning}"));
    format!("Exit codes:\n{}", lines.join("\n"))
}

fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text
        .parse()
        .map_err(|_| "not a number such as 0.5 or 2".to_owned())?;
    if (0.001..=100.0).contains(&percent) {
        return Ok(percent);
    }
    Err("not between 0.001 and 100".to_owned())
}

/// The N of 1/N.
fn one_in(text: &str) -> Result<u64, String> {
    let number = text.strip_prefix("1/").and_then(|it| it.parse().ok());
    match number {
        Some(number @ 1..=1_000_000_000) => Ok(number),
        _ => Err("not of the form 1/N, such as 1/10".to_owned()),
    }
}

/// Permissions in octal.
fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok();
    let mode = mode.filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "not permissions in octal, such as 0644".to_owned())
}

/// Bytes, with K, M or G for powers of 1024.
fn size(text: &str) -> Result<usize, String> {
    let units = [("K", 10), ("M", 20), ("G", 30)];
    let (digits, shift) = units
        .into_iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))
        .unwrap_or((text, 0));
    let bytes = digits.parse().ok().and_then(|it: usize| {
        let bytes = it.checked_mul(1 << shift)?;
        (1 << 20..=1 << 34).contains(&bytes).then_some(bytes)
    });
    bytes.ok_or_else(|| "not a size from 1M to 16G, such as 64M".to_owned())
}

fn interval(text: &str) -> Result<Duration, String> {
    within(text, INTERVALS)
}

fn watching(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(10)..=Duration::from_hours(24))
}

fn trying(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_secs(5)..=Duration::from_hours(24))
}

fn within(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| "not a duration such as 500ms, 10s or 2m".to_owned())?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    Err(format!(
        "not between {} and {}",
        humantime::format_duration(*range.start()),
        humantime::format_duration(*range.end()),
    ))
}
