//! Why an I/O was not verified in BH or inline, and the outcomes that are counted.

use crate::placement::Placement;

/// Why an I/O was not verified in BH or inline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The device's table does not have the option.
    OptionOff = 0,
    /// The kernel accepts the option and ignores it.
    Inert = 1,
    /// More bytes than `use_bh_bytes` allows its ioprio class.
    TooLarge = 2,
    /// Inferred: the CPU had another task to run (Linux 6.16 and later).
    NeedResched = 3,
    /// Inferred by exclusion: a hash block was not in the cache.
    CacheMiss = 4,
    /// The hashes did not match, so that the verdict was left to kverityd.
    Mismatch = 5,
    /// The attempt found no memory.
    NoMemory = 6,
    /// The data device reported an error.
    DeviceError = 7,
    /// The data device reported an error for read-ahead, which is never worth a correction.
    ReadaheadError = 8,
    /// What was seen does not tell.
    Unknown = 9,
}

impl Reason {
    /// How many there are.
    pub const COUNT: usize = 10;

    /// Every reason, in the order of its number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::OptionOff,
        Self::Inert,
        Self::TooLarge,
        Self::NeedResched,
        Self::CacheMiss,
        Self::Mismatch,
        Self::NoMemory,
        Self::DeviceError,
        Self::ReadaheadError,
        Self::Unknown,
    ];

    /// The word for it in JSON, metrics and on the screen.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OptionOff => "option-off",
            Self::Inert => "inert",
            Self::TooLarge => "too-large",
            Self::NeedResched => "need-resched",
            Self::CacheMiss => "cache-miss",
            Self::Mismatch => "mismatch",
            Self::NoMemory => "no-memory",
            Self::DeviceError => "device-error",
            Self::ReadaheadError => "readahead-error",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it was concluded from the absence of every other, and not seen.
    #[must_use]
    pub const fn is_inferred(self) -> bool {
        matches!(self, Self::NeedResched | Self::CacheMiss)
    }
}

/// How many outcomes there are.
pub const OUTCOMES: usize = 14;

/// A placement, with the reason where one belongs to it.
pub type Outcome = (Placement, Option<Reason>);

/// Every outcome, in the order of its number.
pub const ALL_OUTCOMES: [Outcome; OUTCOMES] = [
    (Placement::Bh, None),
    (Placement::Inline, None),
    (Placement::Kverityd, Some(Reason::OptionOff)),
    (Placement::Kverityd, Some(Reason::Inert)),
    (Placement::Kverityd, Some(Reason::TooLarge)),
    (Placement::Kverityd, Some(Reason::NeedResched)),
    (Placement::Kverityd, Some(Reason::Unknown)),
    (Placement::Fallback, Some(Reason::CacheMiss)),
    (Placement::Fallback, Some(Reason::Mismatch)),
    (Placement::Fallback, Some(Reason::NoMemory)),
    (Placement::Fallback, Some(Reason::Unknown)),
    (Placement::None, Some(Reason::DeviceError)),
    (Placement::None, Some(Reason::ReadaheadError)),
    (Placement::None, Some(Reason::Unknown)),
];

/// The number of an outcome; every pair that [`crate::in_flight::InFlight::finish`] can make has one
/// of its own.
#[must_use]
#[inline(always)]
pub const fn outcome(placement: Placement, reason: Option<Reason>) -> u8 {
    match (placement, reason) {
        (Placement::Bh, _) => 0,
        (Placement::Inline, _) => 1,
        (Placement::Kverityd, Some(Reason::OptionOff)) => 2,
        (Placement::Kverityd, Some(Reason::Inert)) => 3,
        (Placement::Kverityd, Some(Reason::TooLarge)) => 4,
        (Placement::Kverityd, Some(Reason::NeedResched)) => 5,
        (Placement::Kverityd, _) => 6,
        (Placement::Fallback, Some(Reason::CacheMiss)) => 7,
        (Placement::Fallback, Some(Reason::Mismatch)) => 8,
        (Placement::Fallback, Some(Reason::NoMemory)) => 9,
        (Placement::Fallback, _) => 10,
        (Placement::None, Some(Reason::DeviceError)) => 11,
        (Placement::None, Some(Reason::ReadaheadError)) => 12,
        (Placement::None, _) => 13,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_at_its_number() {
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
        for (number, (placement, reason)) in (0..).zip(ALL_OUTCOMES) {
            assert_eq!(outcome(placement, reason), number);
        }
    }

    #[test]
    fn a_pair_that_cannot_be_is_counted_as_unknown() {
        let number = outcome(Placement::Kverityd, Some(Reason::CacheMiss));
        assert_eq!(
            ALL_OUTCOMES[usize::from(number)],
            (Placement::Kverityd, Some(Reason::Unknown))
        );
    }
}
