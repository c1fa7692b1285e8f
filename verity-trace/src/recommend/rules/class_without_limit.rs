use super::{Outcome, Rule, fires_if, lacks};
use crate::format;
use crate::recommend::case::Case;
use crate::snapshot::{Era, IoClass};

/// Less than this part of the I/Os is next to none.
const NEXT_TO_NONE: f64 = 0.01;

/// The limit was raised for a class that no I/O has.
pub const RULE: Rule = Rule {
    id: "class-without-limit",
    source: "bio_set_ioprio() (block/blk-core.c) gives an I/O without a class that of its task, best effort for \
             ordinary ones: the first of the four limits is for nobody",
    check,
};

fn check(case: &Case<'_>) -> Outcome {
    if case.era() != Some(Era::Inline) {
        return Outcome::Quiet;
    }
    if let Err(too_few) = case.enough() {
        return Outcome::NotEnoughData(too_few);
    }
    let limits = (case.limit(IoClass::None), case.limit(IoClass::BestEffort));
    let (Some(none), Some(best_effort)) = limits else {
        return lacks("use_bh_bytes, which older recordings do not have: record again");
    };
    let all: u64 = case.mix().map(|(_, ios)| ios).sum();
    let of_none = case.mix().filter(|(kind, _)| kind.class == IoClass::None);
    let share = of_none.map(|(_, ios)| ios).sum::<u64>() as f64 / all.max(1) as f64;
    fires_if(none > best_effort && share < NEXT_TO_NONE, || {
        format!(
            "use_bh_bytes allows {none} bytes for I/Os without an ioprio class, of which there are {}, and \
             {best_effort} for best effort, which ordinary tasks have: it is the third number that decides",
            format::percentage(Some(share)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Ios, Made, ON_KVERITYD, fires, has_too_little, is_quiet};
    use super::*;

    #[test]
    fn fires_where_the_first_number_was_raised_alone() {
        let mut made = Made::on("7.3.4", Era::Inline).option().ios(ON_KVERITYD);
        made.0.use_bh_bytes = Some(vec![131_072, 8_192, 8_192, 0]);
        let found = fires(&RULE, &made);
        assert!(
            found.contains("131072") && found.contains("third"),
            "{found}"
        );
    }

    #[test]
    fn stays_quiet_by_default_and_where_there_are_such_ios() {
        let made = Made::on("7.3.4", Era::Inline).option();
        is_quiet(&RULE, &made.clone().ios(ON_KVERITYD));
        let mut made = made.ios(Ios {
            class: IoClass::None,
            ..ON_KVERITYD
        });
        made.0.use_bh_bytes = Some(vec![131_072, 8_192, 8_192, 0]);
        is_quiet(&RULE, &made);
    }

    #[test]
    fn needs_the_limits() {
        let mut made = Made::on("7.3.4", Era::Inline).option().ios(ON_KVERITYD);
        made.0.use_bh_bytes = None;
        has_too_little(&RULE, &made);
    }
}
