use super::{Outcome, Rule, fires_if};
use crate::format;
use crate::recommend::case::Case;
use crate::recommend::case::FEWEST;
use crate::snapshot::{Era, Reason};

/// What a loaded guest with 2 CPUs showed: more is a CPU that is busy with something else.
const OFTEN: f64 = 0.1;

/// The CPU has another task to run when the data arrives, so that kverityd verifies.
pub const RULE: Rule = Rule {
    id: "gives-way",
    source: "commit f9ed31214e2a (6.16): not in softirq while need_resched(); 532 of 5400 reads of a loaded guest \
             with 2 CPUs on 7.3.4 gave way",
    check,
};

fn check(case: &Case<'_>) -> Outcome {
    if case.era() != Some(Era::Inline) || !case.option() {
        return Outcome::Quiet;
    }
    let gave_way = case.reason(Reason::NeedResched);
    let could = gave_way + case.attempted();
    if could < FEWEST {
        return match case.enough() {
            Err(too_few) => Outcome::NotEnoughData(too_few),
            // That nothing may be verified there is another rule's.
            Ok(_) => Outcome::Quiet,
        };
    }
    let share = gave_way as f64 / could as f64;
    fires_if(share >= OFTEN, || {
        format!(
            "{} of the I/Os that are small enough went to kverityd, since their CPU had another task to run \
             (inferred): for these the option does nothing",
            format::percentage(Some(share)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{IN_BH, Ios, Made, ON_KVERITYD, fires, has_too_little, is_quiet};
    use super::*;

    const GAVE_WAY: Ios = Ios {
        reason: Some(Reason::NeedResched),
        ..ON_KVERITYD
    };

    #[test]
    fn fires_where_many_give_way() {
        let made = Made::on("7.3.4", Era::Inline)
            .option()
            .ios(IN_BH)
            .ios(GAVE_WAY);
        let found = fires(&RULE, &made);
        assert!(found.starts_with("50.0 %"), "{found}");
    }

    #[test]
    fn stays_quiet_where_few_do() {
        let few = Ios {
            count: 200,
            ..GAVE_WAY
        };
        is_quiet(
            &RULE,
            &Made::on("7.3.4", Era::Inline).option().ios(IN_BH).ios(few),
        );
        let large = Ios {
            reason: Some(Reason::TooLarge),
            ..ON_KVERITYD
        };
        is_quiet(&RULE, &Made::on("7.3.4", Era::Inline).option().ios(large));
    }

    #[test]
    fn needs_ios() {
        let few = Ios { count: 50, ..IN_BH };
        has_too_little(&RULE, &Made::on("7.3.4", Era::Inline).option().ios(few));
    }
}
