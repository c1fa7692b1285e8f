use super::{Outcome, Rule, fires_if};
use crate::format;
use crate::recommend::case::Case;
use crate::recommend::effect::MATTERS;
use crate::snapshot::Stage;

/// From this part of the time on, it is the device that one waits for.
const MOST: f64 = 0.5;

/// What the option could save is nothing beside the time of the data device.
pub const RULE: Rule = Rule {
    id: "device-dominates",
    source: "no placement can save more than the stages wait, attempt and retry_wait; less than 2 % of the total is \
             no difference",
    check,
};

fn check(case: &Case<'_>) -> Outcome {
    if let Err(too_few) = case.enough() {
        return Outcome::NotEnoughData(too_few);
    }
    let share = |stage| case.share_of_time(stage).unwrap_or_default();
    let waits = [Stage::Wait, Stage::Attempt, Stage::RetryWait];
    let waits: f64 = waits.into_iter().map(share).sum();
    let device = share(Stage::Device);
    fires_if(device >= MOST && waits < MATTERS, || {
        format!(
            "the data device takes {} of the time of I/Os, and all that a placement could save is {}",
            format::percentage(Some(device)),
            format::percentage(Some(waits)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Ios, Made, ON_KVERITYD, fires, has_too_little, is_quiet};
    use super::*;
    use crate::snapshot::Era;

    #[test]
    fn fires_where_the_disk_is_slow() {
        let slow = Ios {
            device: 3_000_000,
            ..ON_KVERITYD
        };
        let found = fires(&RULE, &Made::on("6.12.94", Era::Bh).ios(slow));
        assert!(found.contains("0.99 %"), "{found}");
    }

    #[test]
    fn stays_quiet_where_waiting_shows() {
        is_quiet(&RULE, &Made::on("6.12.94", Era::Bh).ios(ON_KVERITYD));
    }

    #[test]
    fn needs_ios() {
        has_too_little(&RULE, &Made::on("6.12.94", Era::Bh));
    }
}
