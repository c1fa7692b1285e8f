//! `recommend` and `tune`.

use std::time::Duration;

use clap::Args;

use super::values::{percent, trying, watching};
use super::{Probing, Source, Subjects};
use crate::archive::Given;
use crate::error::Error;
use crate::selection::{Selection, Selector};
use crate::tune::Wish;

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
    /// How to watch.
    #[command(flatten)]
    pub probing: Probing,
    /// The device: a name, /dev/mapper/NAME, dm-N, MAJOR:MINOR or a mount point
    #[arg(value_name = "DEVICE", value_parser = Selector::parse)]
    pub device: Selector,
}

impl Tune {
    /// How to watch.
    #[must_use]
    pub fn source(&self) -> Source {
        Source {
            probing: self.probing,
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
