use super::{Outcome, Rule, fires_if, lacks};
use crate::format;
use crate::recommend::case::Case;
use crate::snapshot::Era;

/// Less than this part of the I/Os is next to none.
const NEXT_TO_NONE: f64 = 0.01;

/// Every I/O is above the limit, so that the option has no effect.
pub const RULE: Rule = Rule {
    id: "all-too-large",
    source: "verity_use_bh() (drivers/md/dm-verity-target.c since 6.15): bytes above use_bh_bytes of the I/O's \
             ioprio class go to kverityd",
    check,
};

fn check(case: &Case<'_>) -> Outcome {
    if case.era() != Some(Era::Inline) {
        return Outcome::Quiet;
    }
    if let Err(too_few) = case.enough() {
        return Outcome::NotEnoughData(too_few);
    }
    let Some(eligible) = case.eligible() else {
        return lacks("use_bh_bytes, which older recordings do not have: record again");
    };
    let smallest = case.mix().map(|(kind, _)| kind.size).min().unwrap_or(0);
    fires_if(eligible.high < NEXT_TO_NONE, || {
        let verb = if case.option() { "goes" } else { "would go" };
        format!(
            "{} of the I/Os are within use_bh_bytes: nearly everything {verb} to kverityd whatever the option says; \
             the smallest I/O has {} or more",
            format::percentage(Some(eligible.high)),
            format::bytes(u64::from(smallest)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{IN_BH, Ios, Made, ON_KVERITYD, fires, has_too_little, is_quiet};
    use super::*;
    use crate::snapshot::{IoClass, Reason};

    const LARGE: Ios = Ios {
        bytes: 131_072,
        reason: Some(Reason::TooLarge),
        ..ON_KVERITYD
    };

    #[test]
    fn fires_where_nothing_is_small_enough() {
        let found = fires(&RULE, &Made::on("7.3.4", Era::Inline).option().ios(LARGE));
        assert!(
            found.contains("128 KiB") && found.contains(" goes "),
            "{found}"
        );
        // Idle has no limit above 0 by default.
        let idle = Ios {
            class: IoClass::Idle,
            ..ON_KVERITYD
        };
        fires(&RULE, &Made::on("7.3.4", Era::Inline).ios(idle));
    }

    #[test]
    fn stays_quiet_where_some_are_and_where_there_is_no_limit() {
        let made = Made::on("7.3.4", Era::Inline).option();
        is_quiet(&RULE, &made.ios(LARGE).ios(IN_BH));
        is_quiet(&RULE, &Made::on("6.12.94", Era::Bh).option().ios(LARGE));
    }

    #[test]
    fn needs_the_limits() {
        let mut made = Made::on("7.3.4", Era::Inline).option().ios(LARGE);
        made.0.use_bh_bytes = None;
        has_too_little(&RULE, &made);
    }
}
