//! The views that there are, each with what of it has been scrolled away.

/// One screen over the same snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// A line for each device.
    #[default]
    Devices,
    /// Everything about the chosen device.
    Device,
    /// What is advised for it.
    Advice,
    /// A line for each CPU.
    Cpus,
    /// I/Os one by one.
    Ios,
    /// What changed, and when.
    Events,
}

impl View {
    /// Every view, in the order in which one comes to them.
    pub const ALL: [Self; 6] = [
        Self::Devices,
        Self::Device,
        Self::Advice,
        Self::Cpus,
        Self::Ios,
        Self::Events,
    ];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Devices => "devices",
            Self::Device => "device",
            Self::Advice => "advice",
            Self::Cpus => "CPUs",
            Self::Ios => "I/Os",
            Self::Events => "events",
        }
    }

    /// The one after it; after the last, the first.
    #[must_use]
    pub fn next(self) -> Self {
        self.further(1)
    }

    /// The one before it; before the first, the last.
    #[must_use]
    pub fn previous(self) -> Self {
        self.further(Self::ALL.len() - 1)
    }

    fn further(self, steps: usize) -> Self {
        Self::ALL[(self as usize + steps) % Self::ALL.len()]
    }
}
