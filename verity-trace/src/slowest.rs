//! The slowest of what is shown to it, as many whatever that is.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::histogram::Nanos;

/// See the module: by how long each took, and of equal ones the first.
#[derive(Clone, Debug)]
pub struct Slowest<T> {
    kept: usize,
    items: BTreeMap<(Nanos, Reverse<u64>), T>,
    seen: u64,
}

impl<T> Slowest<T> {
    /// Keeps so many.
    #[must_use]
    pub const fn of(kept: usize) -> Self {
        Self {
            kept,
            items: BTreeMap::new(),
            seen: 0,
        }
    }

    /// Keeps what took so long if it is one of them.
    pub fn add(&mut self, total: Nanos, item: impl FnOnce() -> T) {
        self.seen += 1;
        let key = (total, Reverse(self.seen));
        let is_full = self.items.len() >= self.kept;
        let least = self.items.first_key_value();
        if is_full && least.is_some_and(|(&least, _)| key < least) {
            return;
        }
        self.items.insert(key, item());
        if is_full {
            self.items.pop_first();
        }
    }

    /// How many it was shown.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// The slowest first.
    pub fn items(&self) -> impl Iterator<Item = &T> {
        self.items.values().rev()
    }
}
