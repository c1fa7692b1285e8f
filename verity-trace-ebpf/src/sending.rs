//! Which records are sent, when not all are.

use bytemuck::{Pod, Zeroable};

/// What user space asks for, while the programs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Sending {
    /// Of so many I/Os the record of one is sent: 0 for none, 1 for every one's.
    pub one_in: u64,
    /// Those of I/Os that took at least so long are sent too, in nanoseconds; 0 when length does not matter.
    pub slow_ns: u64,
    /// How many more are sent, where there is such a limit; it may go below 0 by one for each CPU.
    pub quota: i64,
}

impl Sending {
    /// Nothing.
    pub const NOTHING: Self = Self {
        one_in: 0,
        slow_ns: 0,
        quota: 0,
    };

    /// Every record.
    pub const EVERYTHING: Self = Self {
        one_in: 1,
        slow_ns: 0,
        quota: i64::MAX,
    };

    /// Whether the record of an I/O is to be sent.
    #[must_use]
    #[inline(always)]
    pub const fn asks_for(&self, seq: u64, total_ns: u64) -> bool {
        is_sampled(seq, self.one_in) || self.slow_ns != 0 && total_ns >= self.slow_ns
    }
}

/// Whether an I/O is the one in so many, by its number: what is seen depends neither on when it came, nor on what
/// its neighbours are.
#[must_use]
#[inline(always)]
pub const fn is_sampled(seq: u64, one_in: u64) -> bool {
    one_in == 1 || one_in != 0 && scattered(seq).is_multiple_of(one_in)
}

/// Spreads numbers that follow each other over all there are (`SplitMix64`).
#[must_use]
#[inline(always)]
pub const fn scattered(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(one_in: u64) -> Sending {
        Sending {
            one_in,
            ..Sending::NOTHING
        }
    }

    #[test]
    fn one_in_so_many_is_asked_for_whatever_comes_every_so_many_ios() {
        assert!(Sending::EVERYTHING.asks_for(u64::MAX, 0));
        for step in [1, 2, 7, 64, 1 << 20] {
            let sending = sampled(64);
            let sent = (0..64_000)
                .filter(|at| sending.asks_for(at * step, 0))
                .count();
            assert!((800..1_200).contains(&sent), "{sent} of every {step}");
        }
    }

    #[test]
    fn slow_ones_are_asked_for_too() {
        let sending = Sending {
            slow_ns: 1_000,
            ..Sending::NOTHING
        };
        assert!(sending.asks_for(17, 1_000));
        assert!(!sending.asks_for(17, 999));
        assert!(!Sending::NOTHING.asks_for(17, u64::MAX));
    }
}
