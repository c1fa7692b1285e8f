//! `--max-overhead`: how many records may leave the kernel. Counters and histograms always count every
//! I/O.

/// Most I/Os that share one record.
const MOST: u64 = 1 << 20;

/// What tracing may cost, and how many records are sent for that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// The share of one CPU that the programs may take.
    share: f64,
    one_in: u64,
}

impl Budget {
    /// A budget in percent of one CPU, from which every record is sent at first.
    #[must_use]
    pub fn percent(percent: f64) -> Self {
        Self {
            share: percent / 100.0,
            one_in: 1,
        }
    }

    /// Of how many I/Os one has its record sent: a power of two.
    #[must_use]
    pub const fn one_in(self) -> u64 {
        self.one_in
    }

    /// Sends half as many records when the programs took more than the budget, and twice as many when
    /// they took less than half of it: sending twice as many at most doubles what they take, so that it
    /// does not go back and forth.
    #[must_use]
    pub fn after(self, share: f64) -> Self {
        let one_in = if share > self.share {
            (self.one_in * 2).min(MOST)
        } else if share < self.share / 2.0 {
            (self.one_in / 2).max(1)
        } else {
            self.one_in
        };
        Self { one_in, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn over_the_budget_fewer_are_sent_and_well_below_it_more() {
        let budget = Budget::percent(2.0);
        assert_eq!(budget.one_in(), 1);
        let thinned = budget.after(0.021).after(0.05);
        assert_eq!(thinned.one_in(), 4);
        assert_eq!(thinned.after(0.02).one_in(), 4, "the budget itself is kept");
        assert_eq!(thinned.after(0.01).one_in(), 4, "half of it may become all");
        assert_eq!(thinned.after(0.009).one_in(), 2);
        assert_eq!(budget.after(0.0).one_in(), 1, "there are no more than all");
    }

    #[test]
    fn a_budget_that_cannot_be_kept_ends_at_the_limit() {
        let mut budget = Budget::percent(0.001);
        for _ in 0..100 {
            budget = budget.after(1.0);
        }
        assert_eq!(budget.one_in(), MOST);
    }

    proptest! {
        /// Records cost something, the rest stays: whatever both are, it comes to rest.
        #[test]
        fn it_comes_to_rest(fixed in 0.0f64..0.2, records in 0.0f64..2.0, percent in 0.1f64..50.0) {
            let share = |budget: Budget| fixed + records / budget.one_in() as f64;
            let mut budget = Budget::percent(percent);
            for _ in 0..40 {
                budget = budget.after(share(budget));
            }
            prop_assert_eq!(budget.after(share(budget)), budget);
        }
    }
}
