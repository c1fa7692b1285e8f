//! Where an I/O was verified, the stages it went through, and which pairs of both can exist.

/// Where an I/O was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Placement {
    /// On the regular workqueue `kverityd`.
    Kverityd = 0,
    /// On the BH workqueue `events_bh` (Linux 6.9 and later), or, on a kernel of the tasklet era,
    /// in a tasklet: the two never exist on one kernel, and user space knows which it is.
    Bh = 1,
    /// Called directly by the completion (Linux 6.15 and later).
    Inline = 2,
    /// A softirq attempt gave up and `kverityd` finished the I/O.
    Fallback = 3,
    /// Finished without verification.
    None = 4,
}

impl Placement {
    /// How many placements the kernel side tells apart.
    pub const COUNT: usize = 5;

    /// Every placement, in the order of its number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Kverityd,
        Self::Bh,
        Self::Inline,
        Self::Fallback,
        Self::None,
    ];

    /// The placement with this number.
    #[must_use]
    #[inline(always)]
    pub const fn from_number(number: u8) -> Option<Self> {
        // No look-up in `ALL`: the verifier would have to know that the number is in bounds.
        match number {
            0 => Some(Self::Kverityd),
            1 => Some(Self::Bh),
            2 => Some(Self::Inline),
            3 => Some(Self::Fallback),
            4 => Some(Self::None),
            _ => None,
        }
    }

    /// The number that stands for it in counters and records.
    #[must_use]
    pub const fn number(self) -> usize {
        self as usize
    }
}

/// A part of an I/O's life; the stages of one I/O are contiguous and add up to [`Stage::Total`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Stage {
    /// `verity_map` to `verity_end_io`; for [`Placement::None`] to `verity_finish_io`.
    Device = 0,
    /// `verity_end_io` to the first `verity_verify_io`: the "verity wait time" of kernel commits.
    Wait = 1,
    /// A softirq attempt that gave up: its `verity_verify_io` to its requeue.
    Attempt = 2,
    /// The requeue to the second `verity_verify_io`.
    RetryWait = 3,
    /// The last `verity_verify_io` to `verity_finish_io`.
    Verify = 4,
    /// `verity_map` to `verity_finish_io`.
    Total = 5,
}

impl Stage {
    /// How many parts there are, without [`Stage::Total`].
    pub const PARTS: usize = 5;

    /// Every stage in the order of time, the total last.
    pub const ALL: [Self; Self::PARTS + 1] = [
        Self::Device,
        Self::Wait,
        Self::Attempt,
        Self::RetryWait,
        Self::Verify,
        Self::Total,
    ];

    /// The number that stands for it in records.
    #[must_use]
    pub const fn number(self) -> usize {
        self as usize
    }
}

/// The stages of an I/O that one verification sufficed for, in the order of their pairs.
pub const VERIFIED_STAGES: [Stage; 4] = [Stage::Device, Stage::Wait, Stage::Verify, Stage::Total];

/// How many pairs of placement and stage can exist.
pub const PAIRS: usize = 20;

/// The histogram number of a placement and a stage, absent where that stage cannot happen there.
#[must_use]
#[inline(always)]
pub const fn pair(placement: Placement, stage: Stage) -> Option<usize> {
    match placement {
        Placement::Kverityd | Placement::Bh | Placement::Inline => {
            let first = placement.number() * 4;
            match stage {
                Stage::Device => Some(first),
                Stage::Wait => Some(first + 1),
                Stage::Verify => Some(first + 2),
                Stage::Total => Some(first + 3),
                Stage::Attempt | Stage::RetryWait => None,
            }
        }
        Placement::Fallback => Some(12 + stage.number()),
        Placement::None => match stage {
            Stage::Device => Some(18),
            Stage::Total => Some(19),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_number_back() {
        for (number, placement) in (0..).zip(Placement::ALL) {
            assert_eq!(Placement::from_number(number), Some(placement));
        }
        assert_eq!(Placement::from_number(5), None);
    }

    #[test]
    fn every_pair_has_a_number_of_its_own_and_all_numbers_are_used() {
        let mut seen = [false; PAIRS];
        for placement in Placement::ALL {
            for stage in Stage::ALL {
                if let Some(number) = pair(placement, stage) {
                    assert!(!seen[number], "{placement:?} {stage:?} shares {number}");
                    seen[number] = true;
                }
            }
        }
        assert_eq!(seen, [true; PAIRS]);
    }

    #[test]
    fn the_stages_of_one_verification_are_in_the_order_of_their_pairs() {
        for placement in [Placement::Kverityd, Placement::Bh, Placement::Inline] {
            for (number, stage) in VERIFIED_STAGES.into_iter().enumerate() {
                let first = placement.number() * VERIFIED_STAGES.len();
                assert_eq!(pair(placement, stage), Some(first + number));
            }
        }
    }

    #[test]
    fn an_unverified_io_has_no_wait() {
        assert_eq!(pair(Placement::None, Stage::Wait), None);
        assert_eq!(pair(Placement::None, Stage::Verify), None);
    }

    #[test]
    fn only_a_fallback_has_an_attempt() {
        for placement in Placement::ALL {
            assert_eq!(
                pair(placement, Stage::Attempt).is_some(),
                placement == Placement::Fallback
            );
        }
    }
}
