//! The values of the maps about who submits I/Os.

use bytemuck::{Pod, Zeroable};

use crate::record::COMMAND_BYTES;

/// Most submitters that are counted one by one, each once for every device that it uses.
pub const MAX_SUBMITTERS: u32 = 4_096;

/// I/Os that finished, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Submitted {
    /// I/Os.
    pub ios: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Submitted {
    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.ios += other.ios;
        self.bytes += other.bytes;
    }
}

/// What one process submitted to one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Submitter {
    /// How much.
    pub submitted: Submitted,
    /// See [`crate::record::Record::cgroup`], of its first I/O that finished.
    pub cgroup: u64,
    /// See [`crate::record::Record::command`], of the same.
    pub command: [u8; COMMAND_BYTES],
}

/// The key of a process (thread group) on a device.
#[must_use]
#[inline(always)]
pub const fn key(device_slot: u32, submitter: u32) -> u64 {
    (device_slot as u64) << 32 | submitter as u64
}

/// The device slot and the process of a key.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "each is one half")]
pub const fn parts(key: u64) -> (u32, u32) {
    ((key >> 32) as u32, key as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_both_parts() {
        assert_eq!(parts(key(64, u32::MAX)), (64, u32::MAX));
        assert_eq!(parts(key(u32::MAX, 0)), (u32::MAX, 0));
    }
}
