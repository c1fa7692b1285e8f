//! The orders in which devices are shown.

use std::cmp::Reverse;

use crate::histogram::Nanos;
use crate::snapshot::{Device, Placement, Stage, Totals};

/// What the devices are sorted by. All but the first and the last are of the window, most first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// The device's number.
    #[default]
    Number,
    /// I/Os.
    Ios,
    /// The 99th percentile of `wait`.
    Wait,
    /// The 99th percentile of `total`.
    Total,
    /// Fallbacks.
    Fallbacks,
    /// I/Os that failed, from the start.
    Failed,
}

impl Sort {
    /// Every order, in the order in which one comes to them.
    pub const ALL: [Self; 6] = [
        Self::Number,
        Self::Ios,
        Self::Wait,
        Self::Total,
        Self::Fallbacks,
        Self::Failed,
    ];

    /// The words for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Ios => "I/O/s",
            Self::Wait => "wait p99",
            Self::Total => "total p99",
            Self::Fallbacks => "fallbacks",
            Self::Failed => "failed",
        }
    }

    /// The one after it; after the last, the first.
    #[must_use]
    pub fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }

    /// Sorts devices that stand in the order of their number.
    pub fn sort(self, devices: &mut [&Device]) {
        if self != Self::Number {
            devices.sort_by_cached_key(|device| Reverse(self.key(device)));
        }
    }

    fn key(self, device: &Device) -> u64 {
        let p99 = |totals: &Totals, stage| {
            let value = totals.stage(stage).percentile(990);
            value.map_or(0, |Nanos(ns)| ns)
        };
        let recent = device.recent.as_ref();
        let key = match self {
            Self::Number => None,
            Self::Ios => recent.map(Totals::ios),
            Self::Wait => recent.map(|totals| p99(totals, Stage::Wait)),
            Self::Total => recent.map(|totals| p99(totals, Stage::Total)),
            Self::Fallbacks => recent
                .and_then(|totals| totals.placements.get(&Placement::Fallback))
                .map(|totals| totals.ios),
            Self::Failed => device.totals.as_ref().map(Totals::failed),
        };
        key.unwrap_or(0)
    }
}
