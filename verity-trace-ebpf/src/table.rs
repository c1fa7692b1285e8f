//! The table of I/Os in flight: sets of a few keys, each in a cache line of its own, and the states
//! beside them in the same order. A lookup is a few loads, where the kernel's hash map costs locks.
//!
//! A key is the address of a `dm_verity_io`, whose lowest bit is free for telling whether an I/O is in
//! flight there; 0 is no key. A key stays when its I/O has finished, until another one needs the place:
//! the kernel uses the same memory again at once, and then finds its place where it was. Only the
//! program that sees an I/O begin claims a place for it, and only the one that sees it finish gives it
//! back.

/// Keys in a set.
pub const WAYS: u32 = 8;

/// Sets: a power of two.
pub const SETS: u32 = 2_048;

/// Most I/Os that can be in flight at once; one whose set is full is counted as `table-full` and not
/// traced.
pub const MAX_IN_FLIGHT: u32 = SETS * WAYS;

/// The keys of one set.
pub type Set = [u64; WAYS as usize];

/// The bit of a key while an I/O is in flight.
const IN_FLIGHT: u64 = 1;

/// The key of an I/O in flight.
#[must_use]
#[inline(always)]
pub const fn in_flight(io: u64) -> u64 {
    io | IN_FLIGHT
}

/// Whether an I/O is in flight at the place with this key.
#[must_use]
#[inline(always)]
pub const fn is_in_flight(key: u64) -> bool {
    key & IN_FLIGHT != 0
}

/// The set of an I/O.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "what is left has few bits")]
pub const fn set_of(io: u64) -> u32 {
    // Fibonacci hashing: allocations lie at multiples of their size, which the product spreads.
    (io.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SETS.ilog2())) as u32
}

/// Where the state of the key at this place of its set is.
#[must_use]
#[inline(always)]
pub const fn place(set: u32, way: u32) -> u32 {
    set * WAYS + way
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
                used[set as usize] += 1;
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
    fn every_place_is_in_the_table() {
        assert_eq!(place(SETS - 1, WAYS - 1), MAX_IN_FLIGHT - 1);
        assert!(set_of(u64::MAX) < SETS);
    }
}
