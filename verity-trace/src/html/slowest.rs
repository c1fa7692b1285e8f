//! The slowest I/Os, as many whatever the recording.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::decode::Io;

/// How many are kept.
pub const KEPT: usize = 20;

/// See the module: by how long they took, and of equal ones the first.
#[derive(Clone, Debug, Default)]
pub struct Slowest {
    ios: BTreeMap<(u64, Reverse<u64>), Io>,
    seen: u64,
}

impl Slowest {
    /// Keeps an I/O if it is one of them.
    pub fn add(&mut self, io: &Io) {
        self.seen += 1;
        let key = (io.total.0, Reverse(self.seen));
        let is_full = self.ios.len() >= KEPT;
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
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// The slowest first.
    pub fn ios(&self) -> impl Iterator<Item = &Io> {
        self.ios.values().rev()
    }
}
