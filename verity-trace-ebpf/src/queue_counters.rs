//! The values of the maps about softirqs and workqueues.

use bytemuck::{Pod, Zeroable};

use crate::counters::SOFTIRQ_VECTORS;

/// Most workers that are known at once.
pub const MAX_WORKERS: u32 = 4_096;

/// `TASKLET_SOFTIRQ`, include/linux/interrupt.h: tasklets and the BH workqueue run in it.
pub const TASKLET_SOFTIRQ: u32 = 6;

/// Most works that the BH workqueue executes in one go (`BH_WORKER_RESTARTS`, kernel/workqueue.c).
pub const BH_WORKS_LIMIT: u64 = 10;

/// Nanoseconds after which it stops too (`BH_WORKER_JIFFIES`, kernel/workqueue.c). The kernel rounds up
/// to its clock tick, so it may go on for longer.
pub const BH_TIME_LIMIT_NS: u64 = 2_000_000;

/// What one CPU did in softirqs and for the BH workqueue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CpuQueues {
    /// Softirqs by vector.
    pub softirqs: [u64; SOFTIRQ_VECTORS],
    /// Those of them that ran in the CPU's softirq thread.
    pub ksoftirqd: [u64; SOFTIRQ_VECTORS],
    /// Works executed in softirq.
    pub bh_works: u64,
    /// Times that the BH workqueue reached its limit, as far as works and time tell.
    pub bh_limits: u64,
    /// Nanoseconds of the longest verification in softirq, attempts that gave up included.
    pub longest_verify_ns: u64,
    /// What the CPU is doing now.
    pub now: Now,
}

/// What one CPU is doing now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Now {
    /// When the `TASKLET` softirq was entered that runs now.
    pub entered_at: u64,
    /// Works executed in it.
    pub works: u64,
    /// Where a pointer becomes a number.
    pub scratch: u64,
}

impl CpuQueues {
    /// Adds what was counted at another time.
    pub fn add(&mut self, other: &Self) {
        let each = |mine: &mut [u64], theirs: &[u64]| {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        };
        each(&mut self.softirqs, &other.softirqs);
        each(&mut self.ksoftirqd, &other.ksoftirqd);
        self.bh_works += other.bh_works;
        self.bh_limits += other.bh_limits;
        self.longest_verify_ns = self.longest_verify_ns.max(other.longest_verify_ns);
    }

    /// The `TASKLET` softirq ends now: whether the BH workqueue has reached its limit in it.
    #[must_use]
    #[inline(always)]
    pub const fn is_at_limit(&self, now: u64) -> bool {
        let Now {
            entered_at, works, ..
        } = self.now;
        works >= BH_WORKS_LIMIT || works > 0 && now.saturating_sub(entered_at) >= BH_TIME_LIMIT_NS
    }
}

/// How I/Os of one device waited for kverityd, on one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct QueueWait {
    /// I/Os of which the wait could be split.
    pub ios: u64,
    /// Those that began to wait before the worker had ended what it did before.
    pub behind: u64,
    /// Nanoseconds that they waited until it had.
    pub behind_ns: u64,
    /// Nanoseconds from then, or from the beginning, until the worker began with them.
    pub wake_up_ns: u64,
    /// I/Os of which nothing is known of what the worker did before.
    pub unsplit: u64,
}

impl QueueWait {
    /// Adds those of another CPU, or of another time.
    pub fn add(&mut self, other: &Self) {
        self.ios += other.ios;
        self.behind += other.behind;
        self.behind_ns += other.behind_ns;
        self.wake_up_ns += other.wake_up_ns;
        self.unsplit += other.unsplit;
    }
}

/// Splits a wait from `queued_at` to `now` where the worker ended what it did before: the time until
/// then, and the time from then.
#[must_use]
#[inline(always)]
pub const fn split(queued_at: u64, worker_free_at: u64, now: u64) -> (u64, u64) {
    let behind = worker_free_at.saturating_sub(queued_at);
    let all = now.saturating_sub(queued_at);
    let behind = if behind < all { behind } else { all };
    (behind, all - behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_split_where_the_worker_became_free() {
        assert_eq!(split(100, 130, 150), (30, 20));
        assert_eq!(split(100, 90, 150), (0, 50), "it was idle");
        assert_eq!(split(100, 150, 150), (50, 0));
        assert_eq!(split(100, 160, 150), (50, 0), "two clocks disagree");
        assert_eq!(split(100, 160, 90), (0, 0), "two clocks disagree");
    }

    #[test]
    fn the_limit_is_works_or_time_but_not_time_without_works() {
        let at = |works: u64, ns: u64| {
            let mut cpu = CpuQueues::default();
            cpu.now.entered_at = 1_000;
            cpu.now.works = works;
            cpu.is_at_limit(1_000 + ns)
        };
        assert!(!at(9, 1_999_999));
        assert!(at(10, 0));
        assert!(at(1, 2_000_000));
        assert!(!at(0, 9_000_000), "a tasklet took the time");
    }

    #[test]
    fn the_longest_is_not_added() {
        let one = CpuQueues {
            bh_works: 2,
            longest_verify_ns: 5,
            ..CpuQueues::default()
        };
        let mut both = one;
        both.add(&CpuQueues {
            longest_verify_ns: 3,
            ..one
        });
        assert_eq!((both.bh_works, both.longest_verify_ns), (4, 5));
    }
}
