use super::{Outcome, Rule, fires_if, lacks};
use crate::format;
use crate::recommend::case::Case;
use crate::snapshot::{Completion, Era};

/// From this part of the I/Os on: then the mean is theirs too.
const SOME: f64 = 0.1;

/// What a task completes waits for ksoftirqd.
pub const RULE: Rule = Rule {
    id: "task-completion",
    source: "raise_softirq_irqoff() wakes ksoftirqd outside of interrupts (kernel/softirq.c), which has nice 0, and \
             kverityd's workers nice -20; 6.15 verifies inline there (commit 5c5d0d705028)",
    check,
};

fn check(case: &Case<'_>) -> Outcome {
    if !matches!(case.era(), Some(Era::Bh | Era::Tasklet)) {
        return Outcome::Quiet;
    }
    if let Err(too_few) = case.enough() {
        return Outcome::NotEnoughData(too_few);
    }
    let Some(share) = case.completions_share(Completion::Task) else {
        return lacks("the context of completions, which the rung kprobe does not see");
    };
    fires_if(share >= SOME, || {
        let verb = if case.option() { "is" } else { "would be" };
        format!(
            "{} of the I/Os are completed by a task: with the option their verification {verb} handed to ksoftirqd, \
             a thread with lower priority than kverityd's",
            format::percentage(Some(share)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{IN_BH, Ios, Made, ON_KVERITYD, fires, has_too_little, is_quiet};
    use super::*;

    #[test]
    fn fires_where_tasks_complete() {
        let by_task = Ios {
            completion: Completion::Task,
            ..ON_KVERITYD
        };
        let found = fires(&RULE, &Made::on("6.12.94", Era::Bh).ios(by_task));
        assert!(
            found.contains("100 %") && found.contains("would be"),
            "{found}"
        );
    }

    #[test]
    fn stays_quiet_where_interrupts_do_or_the_kernel_verifies_inline() {
        is_quiet(&RULE, &Made::on("6.12.94", Era::Bh).option().ios(IN_BH));
        let by_task = Ios {
            completion: Completion::Task,
            ..IN_BH
        };
        is_quiet(&RULE, &Made::on("7.3.4", Era::Inline).option().ios(by_task));
    }

    #[test]
    fn needs_the_context() {
        let unseen = Ios {
            completion: Completion::Unknown,
            ..IN_BH
        };
        has_too_little(&RULE, &Made::on("6.12.94", Era::Bh).option().ios(unseen));
    }
}
