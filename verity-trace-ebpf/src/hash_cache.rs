//! The values of the maps about the cache of hash blocks.

use bytemuck::{Pod, Zeroable};

/// Most clients of dm-bufio that are known at once.
pub const MAX_CLIENTS: u32 = 1_024;

/// Most reads of hash blocks that are followed at once.
pub const MAX_READS: u32 = 4_096;

/// What verifications of one device found in the cache of hash blocks, on one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct HashCacheCounters {
    /// Look-ups that found their block.
    pub hits: u64,
    /// Look-ups that did not: the block was read, or the attempt gave up.
    pub misses: u64,
    /// Look-ups that waited for a read which was under way already.
    pub awaited: u64,
    /// Nanoseconds in look-ups that read or waited.
    pub wait_ns: u64,
    /// Look-ups that could not be followed, since too many went on at once.
    pub unmeasured: u64,
}

impl HashCacheCounters {
    /// Adds those of another CPU, or of another time.
    pub fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.awaited += other.awaited;
        self.wait_ns += other.wait_ns;
        self.unmeasured += other.unmeasured;
    }
}

/// A read of a hash block that a task is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct HashRead {
    /// When it began.
    pub began_at: u64,
    /// The device's slot.
    pub slot: u32,
    /// 1 once the task has submitted I/O.
    pub has_submitted: u16,
    /// 1 once it has waited for I/O.
    pub has_waited: u16,
}

/// An attempt to verify outside of kverityd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Attempt {
    /// The task that it runs in, by address.
    pub task: u64,
    /// The I/O.
    pub io: u64,
}
