//! Which columns of the table of devices are shown.

/// A column, or some that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// What the table says of the option, and the effect.
    Option,
    /// I/Os a second.
    Ios,
    /// Their bytes a second.
    Bytes,
    /// The share of each placement.
    Shares,
    /// I/Os that failed.
    Failed,
    /// Percentiles of `wait`.
    Wait,
    /// Percentiles of `verify`.
    Verify,
    /// Percentiles of `total`.
    Total,
    /// The oldest I/O in flight.
    Oldest,
    /// The placements as a bar.
    Bar,
    /// I/Os over time.
    History,
}

impl Column {
    /// Every column, from left to right.
    pub const ALL: [Self; 11] = [
        Self::Option,
        Self::Ios,
        Self::Bytes,
        Self::Shares,
        Self::Failed,
        Self::Wait,
        Self::Verify,
        Self::Total,
        Self::Oldest,
        Self::Bar,
        Self::History,
    ];

    /// The word for it in a configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Option => "option",
            Self::Ios => "ios",
            Self::Bytes => "bytes",
            Self::Shares => "shares",
            Self::Failed => "failed",
            Self::Wait => "wait",
            Self::Verify => "verify",
            Self::Total => "total",
            Self::Oldest => "oldest",
            Self::Bar => "bar",
            Self::History => "history",
        }
    }
}

/// Those that are shown where there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns([bool; Column::ALL.len()]);

impl Default for Columns {
    fn default() -> Self {
        Self::EVERY
    }
}

impl Columns {
    /// All of them.
    pub const EVERY: Self = Self([true; Column::ALL.len()]);

    /// These alone.
    #[must_use]
    pub fn of(columns: &[Column]) -> Self {
        let mut shown = [false; Column::ALL.len()];
        for &column in columns {
            shown[column as usize] = true;
        }
        Self(shown)
    }

    /// Whether this one is shown.
    #[must_use]
    pub const fn has(self, column: Column) -> bool {
        self.0[column as usize]
    }
}
