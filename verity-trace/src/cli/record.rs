//! `record`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{one_in, size, watching};
use super::{Source, Wanted};

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
