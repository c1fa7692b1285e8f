//! The one function that maps a duration to its histogram slot, in kernel and user space.
//!
//! 16 sub-slots for every power of two from 64 ns to 2^36 ns (68.7 s), one slot below and one
//! above. A value is reported at its slot's middle, at most 1/32 off.

/// How many slots a histogram has.
pub const SLOTS: usize = 482;

/// Everything shorter than [`LOWEST_NS`].
pub const BELOW: usize = 0;

/// Everything of [`LIMIT_NS`] and longer.
pub const ABOVE: usize = SLOTS - 1;

/// The first nanosecond that has a slot of its own.
pub const LOWEST_NS: u64 = 1 << LOWEST_BIT;

/// The first nanosecond past the last slot of its own.
pub const LIMIT_NS: u64 = 1 << LIMIT_BIT;

const LOWEST_BIT: u64 = 6;
const LIMIT_BIT: u64 = 36;
const SUB_BITS: u64 = 4;

/// The slot of a duration in nanoseconds; always below [`SLOTS`].
///
/// The highest bits tell it: as many that they are a number of one byte and not below 16, of which a table
/// has the slot within four powers of two.
#[must_use]
#[inline(always)]
pub const fn slot(ns: u64) -> usize {
    let shift: usize = if ns < 1 << 18 {
        if ns < 1 << 14 {
            if ns < 1 << 10 { 2 } else { 6 }
        } else {
            10
        }
    } else if ns < 1 << 26 {
        if ns < 1 << 22 { 14 } else { 18 }
    } else if ns < 1 << 30 {
        22
    } else if ns < 1 << 34 {
        26
    } else if ns < LIMIT_NS {
        30
    } else {
        return ABOVE;
    };
    // The mask is for the verifier.
    let within = WITHIN[((ns >> shift) & 0xff) as usize] as usize;
    (shift - 2) * (1 << SUB_BITS) + within
}

/// By the highest bits of a duration: 0 of what is below the first slot, and else the slot counted from the
/// one before the first of these four powers of two.
#[expect(clippy::cast_possible_truncation, reason = "at most 64")]
static WITHIN: [u8; 256] = {
    let mut slots = [0; 256];
    let mut number = 1 << SUB_BITS;
    while number < slots.len() {
        let power = number.ilog2() as u64 - SUB_BITS;
        let slot = (power << SUB_BITS) + (number as u64 >> power) - (1 << SUB_BITS) + 1;
        assert!(slot <= 4 << SUB_BITS);
        slots[number] = slot as u8;
        number += 1;
    }
    slots
};

/// The highest bit of a number of at most 40 bits, 0 of none, by a table: calculating it takes four times as many instructions on a
/// target that has none for it.
#[must_use]
#[inline(always)]
pub const fn highest_bit(number: u64) -> u64 {
    let below = if number < 1 << 16 {
        if number < 1 << 8 { 0 } else { 8 }
    } else if number < 1 << 24 {
        16
    } else if number < 1 << 32 {
        24
    } else {
        32
    };
    // The mask is for the verifier.
    below + HIGHEST_BIT[((number >> below) & 0xff) as usize] as u64
}

#[expect(clippy::cast_possible_truncation, reason = "a bit of a byte")]
static HIGHEST_BIT: [u8; 256] = {
    let mut bits = [0; 256];
    let mut number = 1;
    while number < bits.len() {
        bits[number] = number.ilog2() as u8;
        number += 1;
    }
    bits
};

/// The first nanosecond of a slot.
#[must_use]
pub const fn lower_ns(slot: usize) -> u64 {
    match slot {
        BELOW => 0,
        ABOVE.. => LIMIT_NS,
        _ => {
            let number = (slot - 1) as u64;
            let bit = LOWEST_BIT + (number >> SUB_BITS);
            let sub = number & ((1 << SUB_BITS) - 1);
            (1 << bit) + (sub << (bit - SUB_BITS))
        }
    }
}

/// The value that a slot is reported as: its middle, its nearest edge for the slots below and above.
#[must_use]
pub const fn middle_ns(slot: usize) -> u64 {
    match slot {
        BELOW => LOWEST_NS,
        ABOVE.. => LIMIT_NS,
        _ => u64::midpoint(lower_ns(slot), lower_ns(slot + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_edges_have_the_slots_they_should() {
        assert_eq!(slot(0), BELOW);
        assert_eq!(slot(63), BELOW);
        assert_eq!(slot(64), 1);
        assert_eq!(slot(LIMIT_NS - 1), ABOVE - 1);
        assert_eq!(slot(LIMIT_NS), ABOVE);
        assert_eq!(slot(u64::MAX), ABOVE);
    }

    #[test]
    fn slots_are_contiguous() {
        for number in 1..ABOVE {
            let lower = lower_ns(number);
            assert_eq!(slot(lower), number);
            assert_eq!(slot(lower - 1), number - 1);
        }
    }

    proptest! {
        #[test]
        fn the_highest_bit_is_found(number in 1_u64..1 << 40) {
            prop_assert_eq!(highest_bit(number), u64::from(number.ilog2()));
        }

        #[test]
        fn the_middle_is_at_most_one_part_in_32_off(ns in LOWEST_NS..LIMIT_NS) {
            let middle = middle_ns(slot(ns));
            prop_assert!(middle.abs_diff(ns) * 32 <= ns);
        }
    }
}
