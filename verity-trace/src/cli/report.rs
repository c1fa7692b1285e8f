//! `report`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values::watching;
use super::{Source, Subjects};
use crate::archive::Given;
use crate::error::Error;
use crate::selection::Selection;
use crate::window::Window;

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
