//! The slowest I/Os, as many whatever the recording.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::decode::Io;

/// See the module: by how long they took, and of equal ones the first.
#[derive(Clone, Debug)]
pub struct Slowest {
    kept: usize,
    ios: BTreeMap<(u64, Reverse<u64>), Io>,
    seen: u64,
}

impl Slowest {
    /// Keeps so many.
    #[must_use]
    pub const fn of(kept: usize) -> Self {
        Self {
            kept,
            ios: BTreeMap::new(),
            seen: 0,
        }
    }

    /// Keeps an I/O if it is one of them.
    pub fn add(&mut self, io: &Io) {
        self.seen += 1;
        let key = (io.total.0, Reverse(self.seen));
        let is_full = self.ios.len() >= self.kept;
        if is_full
            && self
                .ios
                .first_key_value()
                .is_some_and(|(&least, _)| key < least)
        {
            return;
        }
        self.ios.insert(key, io.clone());
        if is_full {
            self.ios.pop_first();
        }
    }

    /// How many it was shown.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// The slowest first.
    pub fn ios(&self) -> impl Iterator<Item = &Io> {
        self.ios.values().rev()
    }
}
