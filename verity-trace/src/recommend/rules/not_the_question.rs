use std::time::Duration;

use super::{Outcome, Rule, lacks};
use crate::format;
use crate::recommend::case::Case;
use crate::snapshot::{InFlight, Reason, Totals, stage_name};
use crate::target::Verdict;

/// No disk that works takes so long.
const HANGS: Duration = Duration::from_secs(1);

/// I/Os hang or fail, or data is corrupt.
pub const RULE: Rule = Rule {
    id: "not-the-question",
    source: "the status C of the target, an I/O that failed or did not match its hash, or one in flight for more \
             than 1 s: no setting of the option makes or mends any of these",
    check,
};

fn check(case: &Case<'_>) -> Outcome {
    let device = case.device;
    let mut found = Vec::new();
    if let Some(status) = &device.status
        && status.verdict == Verdict::Corruption
    {
        found.push(
            "the target has found corruption since its table was loaded (status C)".to_owned(),
        );
    }
    let failed = device.totals.as_ref().map_or(0, Totals::failed);
    if failed > 0 {
        found.push(format!("{failed} I/Os failed"));
    }
    let mismatched = case.reason(Reason::Mismatch);
    if mismatched > 0 {
        found.push(format!(
            "{mismatched} attempts found a hash that does not match"
        ));
    }
    let oldest = device.in_flight.as_ref().and_then(InFlight::oldest);
    if let Some((stage, age)) = oldest.filter(|(_, age)| *age >= HANGS) {
        let (stage, age) = (stage_name(stage), format::span(age));
        found.push(format!(
            "an I/O has been in flight for {age}, in the stage {stage}"
        ));
    }
    let before = device.in_flight_before_attach.unwrap_or(0);
    let watched = case.snapshot.watched;
    if before > 0 && watched >= HANGS {
        let (ios, watched) = (format::ios(before), format::span(watched));
        found.push(format!(
            "at least {ios} in flight since before it was watched, for {watched} and more"
        ));
    }
    if !found.is_empty() {
        return Outcome::Fires(found.join("; "));
    }
    if device.status.is_none() && case.totals.is_none() {
        return lacks("the target's status, and its I/Os");
    }
    Outcome::Quiet
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Made, ON_KVERITYD, fires, has_too_little, is_quiet};
    use super::*;
    use crate::snapshot::{Era, Placement, Stage};
    use crate::target::Status;

    fn made() -> Made {
        Made::on("6.12.94", Era::Bh).ios(ON_KVERITYD)
    }

    #[test]
    fn fires_for_corruption_failures_and_hangs() {
        let mut corrupt = made();
        corrupt.0.devices[0].status = Status::parse("C");
        assert!(fires(&RULE, &corrupt).contains("status C"));
        let mut failed = made();
        let totals = failed.totals().placements.get_mut(&Placement::Kverityd);
        totals.expect("some").failed = 3;
        assert_eq!(fires(&RULE, &failed), "3 I/Os failed");
        let mut hangs = made();
        let mut in_flight = InFlight::default();
        in_flight.add(Stage::Device, Duration::from_secs(45));
        hangs.0.devices[0].in_flight = Some(in_flight);
        assert!(fires(&RULE, &hangs).contains("45.0 s"));
        let mut hung = made();
        hung.0.devices[0].in_flight_before_attach = Some(4);
        assert!(fires(&RULE, &hung).contains("at least 4 I/Os"));
    }

    #[test]
    fn stays_quiet_while_all_is_well() {
        let mut well = made();
        well.0.devices[0].status = Status::parse("V");
        is_quiet(&RULE, &well);
    }

    #[test]
    fn needs_to_see_the_device() {
        let mut unseen = made();
        unseen.0.devices[0].totals = None;
        has_too_little(&RULE, &unseen);
    }
}
