//! What another setting would do to a load that was recorded: the completions of its I/Os are replayed through each
//! placement as the kernel would run it.
//!
//! A forecast begins with the setting that was recorded: how far the model is off there is known, and is added to the
//! error of everything else. Compare a setting with [`Forecast::own`], not with what was measured: what the model gets
//! wrong in both is then no difference ([`Outcome::change`]).

mod begins;
mod costs;
mod load;
mod model;
mod outcome;
mod servers;
#[cfg(test)]
mod tests;
mod trace;

use crate::snapshot::{Era, Kernel, version};
use model::Model;

pub use load::{Kept, Load, LoadBuilder};
pub use outcome::{Distribution, Estimate, Outcome};

/// What decides where an I/O is verified, as far as one can choose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setting {
    /// Whether the device's table has `try_verify_in_tasklet`.
    pub option: bool,
    /// The module's `use_bh_bytes`, by ioprio class (none, real time, best effort, idle); absent where the kernel has
    /// no such parameter. Where it has one and the recording does not say, it is the kernel's default.
    pub use_bh_bytes: Option<[u64; 4]>,
}

/// `use_bh_bytes` as long as nobody sets it (drivers/md/dm-verity-target.c).
const DEFAULT_LIMITS: [u64; 4] = [8_192, 8_192, 8_192, 0];

/// What the model has to know of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What it makes of the option.
    pub era: Era,
    /// CPUs online.
    pub cpus: usize,
    /// Whether any CPU's worker may take what is queued on kverityd (before Linux 6.3); else it is the one of the CPU
    /// that completed the I/O.
    pub is_unbound: bool,
    /// Whether it leaves an I/O to kverityd when the CPU has another task to run (Linux 6.16 and later).
    pub gives_way: bool,
    /// Whether it handles interrupts and softirqs in threads (`PREEMPT_RT`); absent where that is not known.
    pub is_real_time: Option<bool>,
}

impl Facts {
    /// Those of the kernel that a snapshot names; absent while its era is not known.
    #[must_use]
    pub fn of(kernel: &Kernel) -> Option<Self> {
        let version = version(&kernel.release);
        let is_real_time = kernel.release.split(['-', '+']).any(|part| part == "rt");
        Some(Self {
            era: kernel.era?,
            cpus: kernel.cpus.max(1),
            is_unbound: version.is_some_and(|it| it < (6, 3)),
            gives_way: version.is_some_and(|it| it >= (6, 16)),
            is_real_time: is_real_time.then_some(true),
        })
    }

    /// Whether an I/O under this setting would be tried in BH, in a tasklet or inline, if nothing else is in the way
    /// (`verity_use_bh`, drivers/md/dm-verity-target.c).
    #[must_use]
    pub fn attempts(&self, setting: &Setting, bytes: u32, class: u8) -> bool {
        if !setting.option || !self.era.can_attempt() {
            return false;
        }
        if self.era != Era::Inline {
            return true;
        }
        let limits = setting.use_bh_bytes.unwrap_or(DEFAULT_LIMITS);
        let limit = limits.get(usize::from(class)).copied().unwrap_or(0);
        u64::from(bytes) <= limit
    }
}

/// What other settings would do to a load.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// What was recorded, of the I/Os that are replayed.
    pub measured: Outcome,
    /// The recorded setting through the model.
    pub own: Outcome,
    /// Each setting that was asked for, in that order.
    pub settings: Vec<(Setting, Outcome)>,
    /// What the recording does not tell, and the error of the forecast has to cover.
    pub unknown: Vec<Unknown>,
}

/// What a recording does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unknown {
    /// How long kverityd takes to begin: it was never seen to be idle before.
    KverityDispatch,
    /// The same of the BH workqueue on the way out of an interrupt.
    BhDispatch,
    /// The same of the BH workqueue in ksoftirqd.
    KsoftirqdDispatch,
    /// How long a completion takes to begin a verification itself.
    InlineDispatch,
    /// How long a worker takes from the end of a verification to the next one that waits.
    HandOver,
    /// How much longer a verification takes in softirq than on kverityd, or shorter.
    SoftirqCost,
    /// Which I/Os would find a hash block missing.
    ColdCache,
    /// How long an attempt takes until it gives up.
    AttemptCost,
    /// How often the CPU has another task to run when an I/O completes.
    NeedResched,
    /// How long a task takes from mapping an I/O until its device has it.
    Submission,
    /// How long kverityd takes to prefetch.
    Prefetch,
    /// In which context I/Os were completed.
    CompletionContext,
    /// How a kernel with `PREEMPT_RT` orders its threads.
    RealTime,
    /// Only one in so many I/Os has a record: queues are longer than those of the records.
    Sampled(u64),
    /// So many I/Os are from before limits or the table changed, and are left out.
    Earlier(u64),
    /// How processes that share a CPU wait for each other: so many I/Os in a thousand are mapped while the one before it on
    /// their CPU, of another process, is in flight.
    Interleaved(u64),
    /// Some I/Os were not seen whole, and are left out: so many in a thousand.
    Incomplete(u64),
}

/// Why there is no forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEnough {
    /// Too few I/Os.
    #[error("there are {ios} I/Os that were seen whole; at least {least} are needed")]
    Ios {
        /// How many there are.
        ios: u64,
        /// How many there have to be.
        least: u64,
    },
    /// The setting changed while it was recorded, or is not what it was said to be.
    #[error("{of} of {ios} I/Os were verified under another setting")]
    Mixed {
        /// Under another one.
        of: u64,
        /// All.
        ios: u64,
    },
}

/// Fewer I/Os say nothing of a median.
const LEAST_IOS: u64 = 100;
/// I/Os under another setting than the recorded one, as a share of all, beyond which there is no forecast.
const MOST_MIXED: f64 = 0.01;

/// What each of these settings would do to the load. The same seed gives the same forecast.
pub fn predict(
    load: &Load,
    facts: &Facts,
    settings: &[Setting],
    seed: u64,
) -> Result<Forecast, NotEnough> {
    let ios = load.ios();
    if ios < LEAST_IOS {
        return Err(NotEnough::Ios {
            ios,
            least: LEAST_IOS,
        });
    }
    let of = load.under_another_setting(facts);
    if of as f64 > MOST_MIXED * ios as f64 {
        return Err(NotEnough::Mixed { of, ios });
    }
    let model = Model::new(load, facts, seed);
    let mut unknown = model.unknown();
    let outcomes = model.outcomes(settings, &mut unknown);
    let settings = settings.iter().copied().zip(outcomes.settings).collect();
    Ok(Forecast {
        measured: outcomes.measured,
        own: outcomes.own,
        settings,
        unknown: unknown.into_iter().collect(),
    })
}
