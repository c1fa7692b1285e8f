//! The only value of a map in our own memory: reading it costs no system call.

use std::os::fd::AsFd as _;
use std::ptr::{self, NonNull};

use anyhow::{Context as _, bail};
use aya::maps::Map;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// An array's only value, which the programs and this process use at once.
pub struct Mapping<T>(NonNull<T>);

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl<T> Send for Mapping<T> {}

impl<T> Mapping<T> {
    /// Maps it into memory; its value is a `T`.
    pub fn of(map: &Map) -> anyhow::Result<Self> {
        let Map::Array(data) = map else {
            bail!("the map is no array");
        };
        let (any, rights) = (ptr::null_mut(), ProtFlags::READ | ProtFlags::WRITE);
        let fd = data.fd().as_fd();
        // SAFETY: a new mapping at an address that the kernel chooses.
        let value = unsafe { mmap(any, size_of::<T>(), rights, MapFlags::SHARED, fd, 0) }
            .context("map a value into memory")?;
        Ok(Self(
            NonNull::new(value.cast()).context("map it at address 0")?,
        ))
    }

    /// Memory that no program uses.
    #[cfg(test)]
    pub fn anonymous() -> Self {
        let (any, rights) = (ptr::null_mut(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: as in `of`.
        let value =
            unsafe { rustix::mm::mmap_anonymous(any, size_of::<T>(), rights, MapFlags::PRIVATE) };
        Self(NonNull::new(value.expect("memory").cast()).expect("an address"))
    }

    /// Where it is, as long as `self` lives.
    pub fn value(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's, and nothing reads it any more. It cannot fail for a
        // mapping that exists.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), size_of::<T>()) };
    }
}
