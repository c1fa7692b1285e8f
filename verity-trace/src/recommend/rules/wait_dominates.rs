use super::{Outcome, Rule, fires_if};
use crate::format;
use crate::recommend::case::Case;
use crate::recommend::effect::MATTERS;
use crate::recommend::sample::nanos;
use crate::snapshot::{Placement, Stage};

/// With the option off, I/Os wait for kverityd for longer than their verification takes.
pub const RULE: Rule = Rule {
    id: "wait-dominates",
    source: "a wait as long as the verification means that handing over costs more than the work; 2 % of the total \
             is what two settings must differ by to differ at all",
    check,
};

fn check(case: &Case<'_>) -> Outcome {
    if case.option() {
        return Outcome::Quiet;
    }
    let sample = |stage| case.sample(Placement::Kverityd, stage);
    let (Ok(_), Some(wait), Some(verify)) =
        (case.enough(), sample(Stage::Wait), sample(Stage::Verify))
    else {
        return Outcome::NotEnoughData(too_few(case));
    };
    let share = case.share_of_time(Stage::Wait).unwrap_or_default();
    fires_if(wait.mean >= verify.mean && share >= MATTERS, || {
        format!(
            "an I/O waits {} for kverityd and its verification takes {}, on the average; waiting is {} of the time \
             of I/Os",
            format::duration(nanos(wait.mean)),
            format::duration(nanos(verify.mean)),
            format::percentage(Some(share)),
        )
    })
}

fn too_few(case: &Case<'_>) -> String {
    let too_few = case.enough().err();
    too_few.unwrap_or_else(|| "kverityd verified too few I/Os".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{IN_BH, Ios, Made, ON_KVERITYD, fires, has_too_little, is_quiet};
    use super::*;
    use crate::snapshot::Era;

    #[test]
    fn fires_where_waiting_takes_longer_than_verifying() {
        let found = fires(&RULE, &Made::on("6.12.94", Era::Bh).ios(ON_KVERITYD));
        assert!(
            found.contains("30.0 us") && found.contains("26.1 %"),
            "{found}"
        );
    }

    #[test]
    fn stays_quiet_where_verifying_takes_longer_or_the_option_is_on() {
        let short = Ios {
            wait: 4_900,
            ..ON_KVERITYD
        };
        is_quiet(&RULE, &Made::on("6.12.94", Era::Bh).ios(short));
        // It is longer than the verification, and nothing beside the device.
        let slow = Ios {
            device: 3_000_000,
            ..ON_KVERITYD
        };
        is_quiet(&RULE, &Made::on("6.12.94", Era::Bh).ios(slow));
        is_quiet(&RULE, &Made::on("6.12.94", Era::Bh).option().ios(IN_BH));
    }

    #[test]
    fn needs_ios() {
        let few = Ios {
            count: 99,
            ..ON_KVERITYD
        };
        let text = has_too_little(&RULE, &Made::on("6.12.94", Era::Bh).ios(few));
        assert!(text.starts_with("99 I/Os were verified"), "{text}");
    }
}
