//! What waits for the thread that writes.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Records that wait for the thread before no more are taken: 32 MiB, and at most one kernel buffer
/// of 4 MiB more.
pub const MAX_WAITING: usize = 256 << 10;

/// See the module; both sides count in it.
#[derive(Default)]
pub struct Backlog(Mutex<Waiting>);

/// How much it is.
#[derive(Default)]
pub struct Waiting {
    /// Records.
    pub records: usize,
    /// Snapshots.
    pub pictures: usize,
}

impl Backlog {
    /// To read it and to change it.
    pub fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether more records may come.
    pub fn has_room(&self) -> bool {
        self.waiting().records < MAX_WAITING
    }

    /// Whether one more snapshot may come: the one before is written, and there is room for the records before
    /// it.
    pub fn has_room_for_picture(&self) -> bool {
        let waiting = self.waiting();
        waiting.records < MAX_WAITING && waiting.pictures == 0
    }
}
