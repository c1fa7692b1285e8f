//! How long the probes have been attached, which is what counts are divided by.

use std::time::Duration;

use rustix::time::ClockId;

use crate::error::Result;
use crate::kernel;

/// What two clocks show, or a time by both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// Time as it passes.
    pub time: Duration,
    /// CPU time of this process.
    pub process: Duration,
}

impl Clocks {
    /// What they show now.
    pub fn read() -> Result<Self> {
        Ok(Self {
            time: kernel::clock(ClockId::Monotonic)?,
            process: kernel::clock(ClockId::ProcessCPUTime)?,
        })
    }
}

/// The time in which the probes were attached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attached {
    before: Clocks,
    /// What the clocks showed when the probes were attached; absent when they are not.
    since: Option<Clocks>,
}

impl Attached {
    /// The probes have been attached.
    pub const fn begin(&mut self, now: Clocks) {
        self.since = Some(now);
    }

    /// The probes leave.
    pub fn end(&mut self, now: Clocks) {
        self.before = self.until(now);
        self.since = None;
    }

    /// All of it until now.
    pub fn until(&self, now: Clocks) -> Clocks {
        // A time that has not begun takes none.
        let since = self.since.unwrap_or(now);
        Clocks {
            time: self.before.time + now.time.saturating_sub(since.time),
            process: self.before.process + now.process.saturating_sub(since.process),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_without_probes_does_not_count() {
        let at = |seconds| Clocks {
            time: Duration::from_secs(seconds),
            process: Duration::from_millis(seconds),
        };
        let mut attached = Attached::default();
        assert_eq!(attached.until(at(100)), at(0));
        attached.begin(at(100));
        assert_eq!(attached.until(at(107)), at(7));
        attached.end(at(110));
        assert_eq!(attached.until(at(500)), at(10));
        attached.begin(at(500));
        assert_eq!(attached.until(at(502)), at(12));
    }
}
