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
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "below 482")]
pub const fn slot(ns: u64) -> usize {
    if ns < LOWEST_NS {
        return BELOW;
    }
    if ns >= LIMIT_NS {
        return ABOVE;
    }
    let bit = highest_bit(ns);
    // The bits below the highest one tell the sub-slot; that one makes it the next power's first.
    let sub = ns >> (bit - SUB_BITS);
    (((bit - LOWEST_BIT) << SUB_BITS) + sub - (1 << SUB_BITS) + 1) as usize
}

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
