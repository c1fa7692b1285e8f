use super::{Outcome, Rule, fires_if, lacks};
use crate::format;
use crate::histogram::Nanos;
use crate::recommend::case::Case;

/// What softirqs of a CPU have before the rest is left to ksoftirqd.
pub const BUDGET: Nanos = Nanos(2_000_000);

/// A single verification of this part of it leaves no room for another one of its kind.
const RISK: u64 = 2;

/// One verification takes most of what all softirqs of a CPU may take.
pub const RULE: Rule = Rule {
    id: "softirq-budget",
    source: "BH_WORKER_JIFFIES (kernel/workqueue.c) and MAX_SOFTIRQ_TIME (kernel/softirq.c) are both 2 ms; half of \
             it leaves no room for a second one",
    check,
};

fn check(case: &Case<'_>) -> Outcome {
    if !case.option() || case.attempted() == 0 {
        return Outcome::Quiet;
    }
    let Some((longest, from)) = case.longest_in_softirq() else {
        return lacks("no verification in softirq was seen: the rung kprobe does not see contexts");
    };
    let queues = case.cpus.iter().filter_map(|cpu| cpu.queues.as_ref());
    let limits: u64 = queues.map(|it| it.bh_limits).sum();
    fires_if(longest.0 >= BUDGET.0 / RISK, || {
        let reached = if limits > 0 {
            format!("; the BH workqueue reached its limit {limits} times (inferred)")
        } else {
            String::new()
        };
        format!(
            "the longest verification in softirq took {} ({from}), and all softirqs of a CPU have {} before \
             ksoftirqd has to take over{reached}",
            format::duration(longest),
            format::duration(BUDGET),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{IN_BH, Ios, Made, ON_KVERITYD, fires, has_too_little, is_quiet};
    use super::*;
    use crate::snapshot::{Context, CpuQueues, Era};
    use std::time::Duration;

    #[test]
    fn fires_where_one_verification_takes_most_of_the_budget() {
        let long = Ios {
            verify: 1_600_000,
            ..IN_BH
        };
        let found = fires(&RULE, &Made::on("6.12.94", Era::Bh).option().ios(long));
        assert!(found.contains("ms (histogram"), "{found}");
        let mut made = Made::on("6.12.94", Era::Bh).option().ios(IN_BH);
        made.0.cpus[1].queues = Some(CpuQueues {
            longest_verify: Some(Duration::from_micros(1_640)),
            bh_limits: 3,
            ..CpuQueues::default()
        });
        let found = fires(&RULE, &made);
        assert!(
            found.contains("1.64 ms") && found.contains("3 times"),
            "{found}"
        );
    }

    #[test]
    fn stays_quiet_where_verifications_are_short_or_on_kverityd() {
        is_quiet(&RULE, &Made::on("6.12.94", Era::Bh).option().ios(IN_BH));
        let long = Ios {
            verify: 1_600_000,
            ..ON_KVERITYD
        };
        is_quiet(&RULE, &Made::on("6.12.94", Era::Bh).ios(long));
    }

    #[test]
    fn needs_the_context() {
        let unseen = Ios {
            context: Context::Unknown,
            ..IN_BH
        };
        has_too_little(&RULE, &Made::on("6.12.94", Era::Bh).option().ios(unseen));
    }
}
