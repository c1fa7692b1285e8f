//! The table of I/Os in flight: sets of a few keys, each in a cache line of its own, with the states behind
//! them in the same order. A lookup is a few loads, where the kernel's hash map costs locks.
//!
//! A key is the address of a `dm_verity_io`, whose lowest bit is free for telling whether an I/O is in
//! flight there; 0 is no key. A key stays when its I/O has finished, until another one needs the place:
//! the kernel uses the same memory again at once, and then finds its place where it was. Only the
//! program that sees an I/O begin claims a place for it, and only the one that sees it finish gives it
//! back.

use bytemuck::{Pod, Zeroable};

use crate::in_flight::InFlight;

/// Places in a set.
pub const WAYS: u32 = 8;

/// Sets: a power of two.
pub const SETS: u32 = 2_048;

/// Most I/Os that can be in flight at once; one whose set is full is counted as `table-full` and not
/// traced.
pub const MAX_IN_FLIGHT: u32 = SETS * WAYS;

/// A few places.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Set {
    /// Whose they are.
    pub keys: [u64; WAYS as usize],
    /// The I/Os at them.
    pub states: [InFlight; WAYS as usize],
}

/// All of them.
pub type Sets = [Set; SETS as usize];

/// The bit of a key while an I/O is in flight.
const IN_FLIGHT: u64 = 1;

/// The key of an I/O in flight.
#[inline(always)]
const fn in_flight(io: u64) -> u64 {
    io | IN_FLIGHT
}

/// Whether an I/O is in flight at the place with this key.
#[must_use]
#[inline(always)]
pub const fn is_in_flight(key: u64) -> bool {
    key & IN_FLIGHT != 0
}

/// A key once its I/O is not in flight any more.
#[must_use]
#[inline(always)]
pub const fn released(key: u64) -> u64 {
    key & !IN_FLIGHT
}

/// The set of an I/O.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "what is left has few bits")]
pub const fn set_of(io: u64) -> usize {
    // Fibonacci hashing: allocations lie at multiples of their size, which the product spreads.
    (io.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SETS.ilog2())) as usize
}

/// The keys of one set, which several CPUs use at once.
pub trait Keys {
    /// The key at one place.
    fn get(&self, way: u32) -> u64;

    /// Sets a key that still is `from`, and orders what was written before for every CPU; returns
    /// whether it was.
    fn exchange(&self, way: u32, from: u64, to: u64) -> bool;

    /// The same number, of which the compiler knows nothing, so that it makes no branch of a calculation.
    fn opaque(number: u64) -> u64;
}

/// Where in a set a new I/O is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// At a place of its own.
    New(u32),
    /// At one that its memory already had: the end of the I/O before it was not seen.
    Again(u32),
    /// Nowhere: no place is left.
    Full,
}

/// Where an I/O in flight is.
#[must_use]
#[inline(always)]
pub fn find<K: Keys>(keys: &K, io: u64) -> Option<u32> {
    let wanted = in_flight(io);
    // Nearly always it is at the first place, or was there: no key is in two places.
    let first = keys.get(0);
    if first == wanted {
        return Some(0);
    }
    if first == io {
        return None;
    }
    other_way_where(keys, |key| key ^ wanted)
}

/// A place for an I/O that begins.
#[inline(always)]
pub fn claim<K: Keys>(keys: &K, io: u64) -> Claimed {
    // Nearly always its memory was used before, and no other memory lies in this set.
    if keys.exchange(0, io, in_flight(io)) {
        return Claimed::New(0);
    }
    if let Some(way) = find(keys, io) {
        return Claimed::Again(way);
    }
    // Another CPU may claim a place between the look and the claim: then it looks once more.
    for _ in 0..2 {
        // Its own key first, since no key may be there twice.
        let way = way_where(keys, |key| key ^ io)
            .or_else(|| way_where(keys, |key| u64::from(is_in_flight(key))));
        let Some(way) = way else {
            return Claimed::Full;
        };
        let found = keys.get(way);
        if !is_in_flight(found) && keys.exchange(way, found, in_flight(io)) {
            return Claimed::New(way);
        }
    }
    Claimed::Full
}

/// Gives a place back: its I/O has finished. Nobody else changes the key of an I/O in flight, but for user
/// space where the end of one was not seen.
#[inline(always)]
pub fn release<K: Keys>(keys: &K, way: u32) {
    let key = keys.get(way);
    keys.exchange(way, key, released(key));
}

/// The place in a set for whose key this is 0.
#[inline(always)]
fn way_where<K: Keys>(keys: &K, difference: impl Fn(u64) -> u64) -> Option<u32> {
    if difference(keys.get(0)) == 0 {
        return Some(0);
    }
    other_way_where(keys, difference)
}

/// The same but for the first, without a branch for each: every branch is one more way through the whole
/// program that the verifier has to walk.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "what is left has few bits")]
fn other_way_where<K: Keys>(keys: &K, difference: impl Fn(u64) -> u64) -> Option<u32> {
    let mut found = 0;
    for way in 1..WAYS {
        let difference = difference(keys.get(way));
        // A compiler that knows that this is 0 or 1 makes a branch of what follows.
        let differs = K::opaque(K::opaque(difference | difference.wrapping_neg()) >> 63);
        // All ones where there is no difference.
        let is_equal = differs.wrapping_sub(1);
        found = found & !is_equal | u64::from(way) & is_equal;
    }
    // The mask is for the verifier: a compiler knows already that it changes nothing.
    let way = (K::opaque(found) & u64::from(WAYS - 1)) as u32;
    (way != 0).then_some(way)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `dm_verity_io` lies in front of its bio, in slab objects of one size.
    #[test]
    fn a_thousand_ios_of_one_slab_find_room() {
        for object in [640, 704, 768, 896, 1_024, 1_152] {
            let mut used = [0; SETS as usize];
            for number in 0..1_024_u64 {
                let set = set_of(0xffff_8881_0200_0000 + number * object);
                used[set] += 1;
            }
            let fullest = used.into_iter().max().expect("sets");
            assert!(
                fullest <= WAYS as usize,
                "{fullest} of objects of {object} bytes"
            );
        }
    }

    #[test]
    fn a_key_tells_whether_an_io_is_in_flight() {
        let io = 0xffff_8881_0200_0000;
        assert!(is_in_flight(in_flight(io)));
        assert!(!is_in_flight(io) && !is_in_flight(0));
    }

    #[test]
    fn every_io_has_a_set() {
        assert!(set_of(u64::MAX) < SETS as usize);
    }
}
