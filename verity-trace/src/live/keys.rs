//! The keys of the table of I/Os in flight, in our own memory: a walk costs no system call.

use std::os::fd::AsFd as _;
use std::ptr::{self, NonNull};

use anyhow::{Context as _, bail};
use aya::maps::Map;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use verity_trace_ebpf::table::{MAX_IN_FLIGHT, is_in_flight};

const BYTES: usize = MAX_IN_FLIGHT as usize * size_of::<u64>();

/// The map of keys, which the programs write to.
pub struct Keys(NonNull<u64>);

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl Send for Keys {}

impl Keys {
    /// Maps them into memory.
    pub fn of(map: &Map) -> anyhow::Result<Self> {
        let Map::Array(data) = map else {
            bail!("the map KEYS is no array");
        };
        let (any, read, shared) = (ptr::null_mut(), ProtFlags::READ, MapFlags::SHARED);
        // SAFETY: a new mapping at an address that the kernel chooses.
        let keys = unsafe { mmap(any, BYTES, read, shared, data.fd().as_fd(), 0) }
            .context("map KEYS into memory")?;
        let keys = NonNull::new(keys.cast()).context("map KEYS at address 0")?;
        Ok(Self(keys))
    }

    /// The places that belong to an I/O in flight.
    pub fn used(&self) -> impl Iterator<Item = u32> {
        (0..MAX_IN_FLIGHT).filter(|&place| {
            // SAFETY: the mapping has this many keys and lives as long as `self`; the programs
            // write to it meanwhile.
            is_in_flight(unsafe { self.0.add(place as usize).read_volatile() })
        })
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's, and nothing reads it any more. It cannot fail for a
        // mapping that exists.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), BYTES) };
    }
}
