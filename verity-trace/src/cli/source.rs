//! How to watch.

use clap::{Args, ValueEnum};

use crate::snapshot::Rung;

/// Devices with totals of their own, unless another number is asked for.
const DEVICES: u32 = 64;

/// How to watch, whatever is made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub struct Source {
    /// With which programs.
    #[command(flatten)]
    pub probing: Probing,
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

/// Which programs watch, and for how many devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Probing {
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
}

impl Default for Probing {
    fn default() -> Self {
        Self {
            attach: None,
            max_devices: DEVICES,
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
