//! The experiment: two settings of one device in turn, under the load that it has, and what that changed.
//!
//! A load changes by itself. So both settings are measured within seconds of each other, in pairs of blocks of which
//! chance says which comes first, and only differences within a pair count: whatever changes more slowly than a pair
//! takes is in both. How far the differences of the pairs are apart says how well their mean is known.

mod block;
mod effect;
mod facts;
mod json;
mod note;
mod prediction;
mod schedule;
mod steps;
mod text;

use std::time::Duration;

pub use block::{Block, Cpu, Flaw, MUCH_LOSS};
pub use effect::{Added, Effects, LEAST_PAIRS, Pair, Row};
pub use facts::{Facts, Refusal, Root, Wish, refusal};
pub use json::{json, schema};
pub use note::{Finding, Note, Undo, what_to_undo};
pub use prediction::{Predicted, Prediction};
pub use schedule::{Order, Times};
pub use steps::{Tables, steps};
pub use text::text;

use crate::recommend::{MATTERS, Verdict};
use crate::snapshot::{DeviceNumber, Kernel};
use crate::what_if::{Estimate, Setting};

/// The two settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A and B: the option off and on, or the limits as they were found and those that are tried.
    pub both: [Setting; 2],
    /// Which of them the device was found with.
    pub found: Side,
}

/// A setting of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The option off, or the limits as they were found.
    A,
    /// The option on, or the limits that are tried.
    B,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl Settings {
    /// The option off and on, for a device that has it or not.
    #[must_use]
    pub fn option(is_on: bool, use_bh_bytes: Option<[u64; 4]>) -> Self {
        let setting = |option| Setting {
            option,
            use_bh_bytes,
        };
        Self {
            both: [setting(false), setting(true)],
            found: if is_on { Side::B } else { Side::A },
        }
    }

    /// Limits as they are and as they might be, for a device that has the option.
    #[must_use]
    pub fn limits(now: [u64; 4], tried: [u64; 4]) -> Self {
        let setting = |limits| Setting {
            option: true,
            use_bh_bytes: Some(limits),
        };
        Self {
            both: [setting(now), setting(tried)],
            found: Side::A,
        }
    }

    /// Whether they differ in limits and not in the option.
    #[must_use]
    pub fn is_of_limits(&self) -> bool {
        self.both[0].option == self.both[1].option
    }

    /// One of them.
    #[must_use]
    pub const fn of(&self, side: Side) -> Setting {
        self.both[side as usize]
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self, side: Side) -> String {
        let setting = self.of(side);
        match setting.use_bh_bytes.filter(|_| self.is_of_limits()) {
            // The option stays on, and with it the cache that does not sleep.
            Some([0, 0, 0, 0]) => "kverityd with the no-sleep cache".to_owned(),
            Some(limits) => format!("use_bh_bytes {}", words(limits)),
            None if setting.option => "on".to_owned(),
            None => "off".to_owned(),
        }
    }
}

/// The limits of the classes none, real time, best effort and idle, as the kernel writes them.
#[must_use]
pub fn words(limits: [u64; 4]) -> String {
    limits.map(|it| it.to_string()).join(",")
}

/// These limits for every class but idle, which keeps what it has; 0 is for all, so that kverityd verifies everything.
#[must_use]
pub const fn tried(now: [u64; 4], bytes: u64) -> [u64; 4] {
    let [.., idle] = now;
    [bytes, bytes, bytes, if bytes == 0 { 0 } else { idle }]
}

/// Why it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The interval was narrow enough.
    Precise,
    /// The time was over.
    Time,
    /// A signal of this number came.
    Signal(i32),
    /// Something else happened.
    Stopped(String),
}

/// How the device was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// As it was found.
    AsFound,
    /// With the better setting, as was asked for.
    Applied,
    /// As somebody else left it, or not at all any more, for this reason.
    Theirs(String),
    /// With the setting that was tried last.
    NotPutBack {
        /// Why.
        why: String,
        /// What to type to put back what was found.
        command: String,
    },
}

/// A load of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Bytes of each read.
    pub bytes: u32,
    /// Reads in flight.
    pub depth: u32,
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The machine.
    pub kernel: Kernel,
    /// The device's name. It comes from outside: escape it before printing.
    pub name: String,
    /// Its number.
    pub number: DeviceNumber,
    /// The settings.
    pub settings: Settings,
    /// What the order of blocks came from.
    pub seed: u64,
    /// How long each block was.
    pub times: Times,
    /// All of the time.
    pub took: Duration,
    /// The load, where it was ours.
    pub load: Option<Load>,
    /// What was measured.
    pub effects: Effects,
    /// What was predicted before anything was changed, or why nothing was.
    pub prediction: Prediction,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is that one.
    pub reason: String,
    /// Why it ended.
    pub ended: Ended,
    /// How the device was left.
    pub left: Left,
    /// What else there is to know.
    pub remarks: Vec<String>,
}

impl Report {
    /// Whether the verdict is to change something.
    #[must_use]
    pub const fn changes(&self) -> bool {
        is_change(self.verdict)
    }
}

/// Whether a verdict is to change something.
#[must_use]
pub const fn is_change(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Enable | Verdict::Disable | Verdict::Limit(_)
    )
}

/// What the change of the mean `total` from A to B comes to, and why.
#[must_use]
pub fn verdict(settings: &Settings, effects: &Effects) -> (Verdict, String) {
    let Some(change) = effects.relative else {
        let reason = format!(
            "{} of at least {LEAST_PAIRS} pairs of blocks could be used",
            effects.pairs
        );
        return (Verdict::NotEnoughData, reason);
    };
    let better = better(change);
    let names = [Side::A, Side::B].map(|side| settings.name(side));
    let percent = format!("{:.0} %", MATTERS * 100.0);
    match better {
        Better::Neither => (
            Verdict::Keep,
            format!("mean total differs by less than {percent}, which is nothing to change it for"),
        ),
        Better::Unknown => (
            Verdict::NotEnoughData,
            format!(
                "mean total may differ by {percent} or more, and may not: {}",
                longer(effects, change)
            ),
        ),
        Better::Is(side) => {
            let reason = format!(
                "mean total is shorter with {} than with {}",
                names[side as usize],
                names[side.other() as usize]
            );
            let verdict = if side == settings.found {
                Verdict::Keep
            } else if settings.is_of_limits() {
                Verdict::Limit(settings.of(side).use_bh_bytes.unwrap_or_default())
            } else if settings.of(side).option {
                Verdict::Enable
            } else {
                Verdict::Disable
            };
            (verdict, reason)
        }
    }
}

/// Which setting has the shorter mean `total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Better {
    Is(Side),
    /// They are alike.
    Neither,
    Unknown,
}

fn better(change: Estimate) -> Better {
    if change.low > -MATTERS && change.high < MATTERS {
        return Better::Neither;
    }
    if change.low <= 0.0 && change.high >= 0.0 {
        return Better::Unknown;
    }
    match change.value {
        value if value <= -MATTERS => Better::Is(Side::B),
        value if value >= MATTERS => Better::Is(Side::A),
        // Not nothing, and too little.
        _ => Better::Neither,
    }
}

/// How much longer it would have to take: the interval narrows with the root of the number of pairs.
fn longer(effects: &Effects, change: Estimate) -> String {
    let half = (change.high - change.low) / 2.0;
    let times = (half / MATTERS).powi(2).max(1.0);
    let pairs = (effects.pairs as f64 * times).ceil();
    format!(
        "about {pairs} pairs of blocks would tell, so try a longer --duration, or a steadier load"
    )
}

#[cfg(test)]
mod tests;
