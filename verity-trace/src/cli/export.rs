//! `export`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values::{interval, mode, percent, watching};
use super::{Source, Subjects};
use crate::archive::Given;
use crate::error::Error;
use crate::selection::Selection;

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
