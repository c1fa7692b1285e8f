//! `compare`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::archive::Given;
use crate::compare::Pair;
use crate::demo::Demo;

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
