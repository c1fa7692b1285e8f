//! Which records are sent, when not all are.

use bytemuck::{Pod, Zeroable};

/// Spreads the numbers of I/Os, so that what comes every so many I/Os is not all that is seen, or never.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What user space asks for, while the programs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Sending {
    /// Of 32 bits made from an I/O's number those that are 0 where its record is sent: none when every record
    /// is.
    pub mask: u64,
    /// Those of I/Os that took at least so long are sent too, in nanoseconds; 0 when length does not matter.
    pub slow_ns: u64,
    /// How many more are sent, where there is such a limit; it may go below 0 by one for each CPU.
    pub quota: i64,
}

impl Sending {
    /// Nothing.
    pub const NOTHING: Self = Self {
        mask: u64::MAX,
        slow_ns: 0,
        quota: 0,
    };

    /// Every record.
    pub const EVERYTHING: Self = Self {
        mask: 0,
        slow_ns: 0,
        quota: i64::MAX,
    };

    /// Whether the record of an I/O is to be sent.
    #[must_use]
    #[inline(always)]
    pub const fn asks_for(&self, seq: u64, total_ns: u64) -> bool {
        (seq.wrapping_mul(SPREAD) >> 32) & self.mask == 0
            || self.slow_ns != 0 && total_ns >= self.slow_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(one_in: u64) -> Sending {
        Sending {
            mask: one_in - 1,
            ..Sending::default()
        }
    }

    #[test]
    fn one_in_so_many_is_asked_for_whatever_comes_every_so_many_ios() {
        assert!(Sending::default().asks_for(u64::MAX, 0));
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
