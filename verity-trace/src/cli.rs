//! The command line: what can be typed, and the texts made from it.

mod advice;
mod compare;
mod export;
mod manual;
mod record;
mod report;
mod serve;
mod source;
mod subjects;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub use advice::{Recommend, Tune};
pub use compare::{Compare, Document, Recording};
pub use export::{Export, ExportFormat, Schedule};
pub use manual::{completions, man};
pub use record::Record;
pub use report::{Format, Report};
pub use serve::Serve;
pub use source::{Attach, Probing, Source};
pub use subjects::Subjects;

use crate::selection::{Selection, Selector};
use manual::exit_codes;
use values::interval;

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
