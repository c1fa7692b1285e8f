//! The table of I/Os in flight, in our own memory: a walk costs no system call.

use std::os::fd::AsFd as _;
use std::ptr::{self, NonNull};

use anyhow::{Context as _, bail};
use aya::maps::Map;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use verity_trace_ebpf::in_flight::InFlight;
use verity_trace_ebpf::table::{SETS, Set, is_in_flight};

const BYTES: usize = SETS as usize * size_of::<Set>();

/// The map of I/Os in flight, which the programs write to.
pub struct Table(NonNull<Set>);

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl Send for Table {}

impl Table {
    /// Maps it into memory.
    pub fn of(map: &Map) -> anyhow::Result<Self> {
        let Map::Array(data) = map else {
            bail!("the map IN_FLIGHT is no array");
        };
        let (any, read, shared) = (ptr::null_mut(), ProtFlags::READ, MapFlags::SHARED);
        // SAFETY: a new mapping at an address that the kernel chooses.
        let sets = unsafe { mmap(any, BYTES, read, shared, data.fd().as_fd(), 0) }
            .context("map IN_FLIGHT into memory")?;
        let sets = NonNull::new(sets.cast()).context("map IN_FLIGHT at address 0")?;
        Ok(Self(sets))
    }

    /// The I/Os in flight, each as it is when its place is read.
    pub fn in_flight(&self) -> impl Iterator<Item = InFlight> {
        (0..SETS as usize).flat_map(|set| {
            // SAFETY: the mapping has this many sets and lives as long as `self`; the programs write
            // to it meanwhile.
            let (keys, states) = unsafe {
                let set = self.0.add(set).as_ptr();
                (&raw const (*set).keys, &raw const (*set).states)
            };
            // SAFETY: as above.
            let keys = unsafe { keys.read_volatile() };
            let used = keys.into_iter().enumerate();
            used.filter(|&(_, key)| is_in_flight(key))
                // SAFETY: as above; a set has as many states as keys.
                .map(move |(way, _)| unsafe { states.cast::<InFlight>().add(way).read_volatile() })
        })
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's, and nothing reads it any more. It cannot fail for a
        // mapping that exists.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), BYTES) };
    }
}
