//! Which records are sent, when not all are.

use bytemuck::{Pod, Zeroable};

/// What user space asks for, while the programs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Sending {
    /// The bits of an I/O's number that are 0 where its record is sent: none when every record is.
    pub mask: u64,
    /// Those of I/Os that took at least so long are sent too, in nanoseconds; 0 when length does not matter.
    pub slow_ns: u64,
}

impl Sending {
    /// Whether an I/O is one of those that are sent whatever they took.
    #[must_use]
    #[inline(always)]
    pub const fn is_sampled(&self, seq: u64) -> bool {
        seq & self.mask == 0
    }

    /// Whether the record of an I/O is sent.
    #[must_use]
    #[inline(always)]
    pub const fn sends(&self, seq: u64, total_ns: u64) -> bool {
        self.is_sampled(seq) || self.slow_ns != 0 && total_ns >= self.slow_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_and_the_slow_ones_are_sent() {
        assert!(Sending::default().sends(u64::MAX, 0));
        let sampled = Sending {
            mask: 7,
            slow_ns: 0,
        };
        assert!(sampled.sends(16, 0));
        assert!(!sampled.sends(17, u64::MAX));
        let slow = Sending {
            slow_ns: 1_000,
            ..sampled
        };
        assert!(slow.sends(17, 1_000));
        assert!(!slow.sends(17, 999));
    }
}
