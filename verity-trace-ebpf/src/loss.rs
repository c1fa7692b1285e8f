//! Everything that can go unseen, as one enum.

/// A reason for which something was not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Loss {
    /// The ring buffer had no room for a record.
    RingFull = 0,
    /// The table of I/Os in flight had no room.
    TableFull = 1,
    /// A device found its bucket in the map of devices locked by the program that it interrupted: one
    /// of its I/Os counts among the others.
    MapBusy = 2,
    /// The kernel did not run a program because it was already running on that CPU.
    Recursion = 3,
    /// A probe did not fire: a kprobe that landed inside another kprobe's handler.
    ProbeMiss = 4,
    /// An I/O began and its memory was used for the next one, or the probes left, without a finish in
    /// between; or its device has had nothing in flight since.
    StartWithoutFinish = 5,
    /// A finish without a begin.
    FinishWithoutStart = 6,
    /// Bytes from the kernel that do not make a record.
    Decode = 7,
    /// Two clocks disagreed; the negative difference was counted as 0.
    Clock = 8,
}

/// What was not seen of the I/Os of one device, by kind.
pub type DeviceLosses = [u64; Loss::COUNT];

impl Loss {
    /// How many kinds there are.
    pub const COUNT: usize = 9;

    /// Every kind, in the order of its number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::RingFull,
        Self::TableFull,
        Self::MapBusy,
        Self::Recursion,
        Self::ProbeMiss,
        Self::StartWithoutFinish,
        Self::FinishWithoutStart,
        Self::Decode,
        Self::Clock,
    ];

    /// The number that stands for it in the map of losses.
    #[must_use]
    pub const fn number(self) -> usize {
        self as usize
    }

    /// The word for it in JSON, metrics and on the screen.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring-full",
            Self::TableFull => "table-full",
            Self::MapBusy => "map-busy",
            Self::Recursion => "recursion",
            Self::ProbeMiss => "probe-miss",
            Self::StartWithoutFinish => "start-without-finish",
            Self::FinishWithoutStart => "finish-without-start",
            Self::Decode => "decode",
            Self::Clock => "clock",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_stands_at_its_number() {
        for (number, loss) in Loss::ALL.into_iter().enumerate() {
            assert_eq!(loss.number(), number);
        }
    }
}
