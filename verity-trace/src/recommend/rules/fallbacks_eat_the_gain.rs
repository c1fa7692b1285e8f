use super::{Outcome, Rule, fires_if, lacks};
use crate::format;
use crate::recommend::case::Case;
use crate::recommend::sample::FEW;
use crate::snapshot::{Placement, Stage};

/// Attempts that give up cost more than those that do not save.
pub const RULE: Rule = Rule {
    id: "fallbacks-eat-the-gain",
    source: "(1 - f) * (wait for kverityd - wait for BH) is saved, f * (attempt + wait for BH) is paid: 0 is where \
             the two are equal; an idle cache is emptied after 300 s before Linux 6.16 (commit 9769378133bb)",
    check,
};

fn check(case: &Case<'_>) -> Outcome {
    if !case.option() || case.attempted() == 0 {
        return Outcome::Quiet;
    }
    if let Err(too_few) = case.enough() {
        return Outcome::NotEnoughData(too_few);
    }
    let fallbacks = case.ios_of(Placement::Fallback);
    let mean = |stage| Some(case.sample(Placement::Fallback, stage)?.mean);
    let first = super::super::sample::Sample::of(&case.attempts_stage(Stage::Wait));
    let share = case.fallback_share().unwrap_or_default();
    let (Some(attempt), Some(retry), Some(first)) =
        (mean(Stage::Attempt), mean(Stage::RetryWait), first)
    else {
        // With next to none there is nothing that they could eat.
        return if fallbacks < FEW && share < 0.01 {
            Outcome::Quiet
        } else {
            lacks("too few fallbacks to know what one costs: watch longer")
        };
    };
    let saved = (1.0 - share) * (retry - first.mean);
    let paid = share * (attempt + first.mean);
    fires_if(paid >= saved, || {
        let emptied = if case.is_before((6, 16)) == Some(true) {
            "; this kernel empties the cache of hash blocks after 300 s without use (dm_bufio's max_age_seconds)"
        } else {
            ""
        };
        format!(
            "{} of the attempts gave up; what they cost is more than what the others save{emptied}",
            format::percentage(Some(share)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{FELL_BACK, IN_BH, Ios, Made, fires, has_too_little, is_quiet};
    use super::*;
    use crate::snapshot::Era;

    #[test]
    fn fires_where_most_attempts_give_up() {
        let cold = Ios {
            count: 50_000,
            ..FELL_BACK
        };
        let made = Made::on("6.12.94", Era::Bh).option().ios(IN_BH).ios(cold);
        let found = fires(&RULE, &made);
        assert!(
            found.starts_with("90.9 %") && found.contains("300 s"),
            "{found}"
        );
        let newer = Made::on("7.3.4", Era::Inline).option().ios(IN_BH).ios(cold);
        assert!(!fires(&RULE, &newer).contains("300 s"));
    }

    #[test]
    fn stays_quiet_where_few_give_up() {
        let made = Made::on("6.12.94", Era::Bh)
            .option()
            .ios(IN_BH)
            .ios(FELL_BACK);
        is_quiet(&RULE, &made);
        is_quiet(&RULE, &Made::on("6.12.94", Era::Bh).option().ios(IN_BH));
    }

    #[test]
    fn needs_fallbacks_to_know_what_one_costs() {
        let few = Ios {
            count: 20,
            ..FELL_BACK
        };
        let some = Ios {
            count: 200,
            ..IN_BH
        };
        has_too_little(
            &RULE,
            &Made::on("6.12.94", Era::Bh).option().ios(some).ios(few),
        );
    }
}
