//! The table of I/Os in flight as the programs use it (see the library's `table`).

use core::arch::asm;

use verity_trace_ebpf::in_flight::InFlight;
use verity_trace_ebpf::table::{WAYS, in_flight, is_in_flight, place, set_of};

use crate::maps::{IN_FLIGHT, KEYS};
use crate::memory::opaque;

/// A place in the table that belongs to an I/O.
pub struct Place {
    io: u64,
    key: *mut u64,
    /// The I/O's state.
    pub state: *mut InFlight,
}

/// Where a new I/O is.
pub enum Claim {
    /// A place of its own.
    New(Place),
    /// A place that its memory already had: the end of the I/O before it was not seen.
    Again(Place),
    /// No place is left.
    Full,
}

/// The place of an I/O in flight.
#[inline(always)]
pub fn find(io: u64) -> Option<Place> {
    let set = set_of(io);
    let keys = KEYS.get_ptr_mut(set)?.cast();
    let wanted = in_flight(io);
    let way = way_where(keys, |key| key ^ wanted)?;
    place_of(io, set, keys, way)
}

/// A place for an I/O that begins.
#[inline(always)]
pub fn claim(io: u64) -> Claim {
    let set = set_of(io);
    let Some(keys) = KEYS.get_ptr_mut(set) else {
        return Claim::Full;
    };
    let keys: *mut u64 = keys.cast();
    // Nearly always its memory was used before, and no other memory lies in this set.
    if compare_and_set(keys, io, in_flight(io)) {
        return place_of(io, set, keys, 0).map_or(Claim::Full, Claim::New);
    }
    claim_elsewhere(io, set, keys)
}

#[inline(always)]
fn claim_elsewhere(io: u64, set: u32, keys: *mut u64) -> Claim {
    if let Some(way) = way_where(keys, |key| key ^ in_flight(io)) {
        return place_of(io, set, keys, way).map_or(Claim::Full, Claim::Again);
    }
    // Another CPU may claim a place between the look and the claim: then it looks once more.
    for _ in 0..2 {
        // Its own key first, since no key may be there twice.
        let way = way_where(keys, |key| key ^ io)
            .or_else(|| way_where(keys, |key| u64::from(is_in_flight(key))));
        let Some(way) = way else {
            return Claim::Full;
        };
        // SAFETY: as in `way_where`.
        let key = unsafe { keys.add(way as usize) };
        // SAFETY: as in `way_where`.
        let found = unsafe { key.read_volatile() };
        if !is_in_flight(found) && compare_and_set(key, found, in_flight(io)) {
            return place_of(io, set, keys, way).map_or(Claim::Full, Claim::New);
        }
    }
    Claim::Full
}

/// The place in a set for whose key this is 0. Nearly always it is the first; the others are searched
/// without a branch for each, since every branch is one more way through the whole program that the
/// verifier has to walk.
#[inline(always)]
fn way_where(keys: *const u64, difference: impl Fn(u64) -> u64) -> Option<u32> {
    // SAFETY: the array has this many keys; another CPU may write them now.
    let key = |way: u32| unsafe { keys.add(way as usize).read_volatile() };
    if difference(key(0)) == 0 {
        return Some(0);
    }
    let mut found = 0;
    for way in 1..WAYS {
        let difference = opaque(difference(key(way)));
        // All ones where there is no difference.
        let is_equal = ((difference | difference.wrapping_neg()) >> 63).wrapping_sub(1);
        found = found & !is_equal | u64::from(way) & is_equal;
    }
    let way = found as u32 & (WAYS - 1);
    // Place 0 was looked at.
    (way != 0).then_some(way)
}

impl Place {
    /// Gives it back: the I/O has finished.
    #[inline(always)]
    pub fn release(self) {
        // SAFETY: the state belongs to this I/O until its key says otherwise.
        unsafe { (*self.state).end() };
        // An exchange, since it orders both writes for every CPU.
        compare_and_set(self.key, in_flight(self.io), self.io);
    }
}

#[inline(always)]
fn place_of(io: u64, set: u32, keys: *mut u64, way: u32) -> Option<Place> {
    let state = IN_FLIGHT.get_ptr_mut(place(set, way))?;
    // SAFETY: as in `way_where`.
    let key = unsafe { keys.add(way as usize) };
    Some(Place { io, key, state })
}

/// Sets a word that still is `from`; returns whether it was.
#[inline(always)]
pub fn compare_and_set(word: *mut u64, from: u64, to: u64) -> bool {
    let found: u64;
    // SAFETY: callers pass a pointer into a map's value; the instruction has no other effect.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {to})",
            word = in(reg) word,
            to = in(reg) to,
            inlateout("r0") from => found,
        );
    }
    found == from
}
