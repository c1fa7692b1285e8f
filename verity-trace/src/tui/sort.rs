//! The orders in which devices are shown.

use std::cmp::Reverse;

use super::rows::Row;
use crate::histogram::Nanos;
use crate::lookback::{Did, Recent};
use crate::snapshot::{Placement, Snapshot, Stage, Totals};

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

    /// Sorts rows that stand in the order of their first device's number.
    pub fn sort(self, rows: &mut [Row], snapshot: &Snapshot, recent: &Recent) {
        if self != Self::Number {
            rows.sort_by_cached_key(|row| Reverse(self.key(row, snapshot, recent)));
        }
    }

    fn key(self, row: &Row, snapshot: &Snapshot, recent: &Recent) -> u64 {
        let devices = row.devices(snapshot);
        let did = devices.clone().filter_map(|device| recent.of(device));
        let p99 = |stage| {
            let value = row.stage(stage, snapshot, recent).percentile(990);
            value.map_or(0, |Nanos(ns)| ns)
        };
        match self {
            Self::Number => 0,
            Self::Ios => did.map(Did::ios).sum(),
            Self::Wait => p99(Stage::Wait),
            Self::Total => p99(Stage::Total),
            Self::Fallbacks => did
                .flat_map(Did::placements)
                .filter(|&(placement, ..)| placement == Placement::Fallback)
                .map(|(_, ios, _)| ios)
                .sum(),
            Self::Failed => devices
                .filter_map(|device| device.totals.as_ref())
                .map(Totals::failed)
                .sum(),
        }
    }
}
