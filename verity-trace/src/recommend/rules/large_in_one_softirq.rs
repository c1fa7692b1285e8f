use super::{Outcome, Rule, fires_if};
use crate::format;
use crate::recommend::case::Case;
use crate::snapshot::{Era, Kind, Placement};

/// The limit that Linux 6.15 introduced by default.
const DEFAULT_LIMIT: u64 = 8_192;

/// From this part of the I/Os on.
const SOME: f64 = 0.01;

/// A large I/O is verified in one piece, in softirq.
pub const RULE: Rule = Rule {
    id: "large-in-one-softirq",
    source: "commit 5c5d0d705028 (6.15): large I/Os got slower in BH, hence the limit use_bh_bytes with 8192 by \
             default; 6.9 to 6.14 have none, and a work is never preempted (kernel/workqueue.c, bh_worker)",
    check,
};

fn check(case: &Case<'_>) -> Outcome {
    if case.era() != Some(Era::Bh) {
        return Outcome::Quiet;
    }
    if let Err(too_few) = case.enough() {
        return Outcome::NotEnoughData(too_few);
    }
    let all: u64 = case.mix().map(|(_, ios)| ios).sum();
    let is_large = |kind: &Kind| {
        let tried = !case.option() || kind.placement != Placement::Kverityd;
        tried && u64::from(kind.size) > DEFAULT_LIMIT
    };
    let large: Vec<_> = case.mix().filter(|(kind, _)| is_large(kind)).collect();
    let share = large.iter().map(|(_, ios)| ios).sum::<u64>() as f64 / all.max(1) as f64;
    let largest = large.iter().map(|(kind, _)| kind.size).max().unwrap_or(0);
    fires_if(share >= SOME, || {
        let verb = if case.option() { "is" } else { "would be" };
        format!(
            "{} of the I/Os have {} or more, and each {verb} verified in one piece in softirq: the largest has {} or \
             more",
            format::percentage(Some(share)),
            format::bytes(2 * DEFAULT_LIMIT),
            format::bytes(u64::from(largest)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{IN_BH, Ios, Made, ON_KVERITYD, fires, has_too_little, is_quiet};
    use super::*;

    const LARGE: u32 = 1 << 20;

    #[test]
    fn fires_where_large_ios_are_verified_in_bh() {
        let large = Ios {
            bytes: LARGE,
            count: 200,
            ..IN_BH
        };
        let made = Made::on("6.12.94", Era::Bh).option().ios(IN_BH).ios(large);
        let found = fires(&RULE, &made);
        assert!(
            found.starts_with("3.85 %") && found.contains("1 MiB"),
            "{found}"
        );
        let off = Ios {
            bytes: LARGE,
            ..ON_KVERITYD
        };
        let found = fires(&RULE, &Made::on("6.12.94", Era::Bh).ios(off));
        assert!(found.contains("would be"), "{found}");
    }

    #[test]
    fn stays_quiet_for_small_ones_and_where_there_is_a_limit() {
        is_quiet(&RULE, &Made::on("6.12.94", Era::Bh).option().ios(IN_BH));
        let large = Ios {
            bytes: LARGE,
            ..ON_KVERITYD
        };
        is_quiet(&RULE, &Made::on("7.3.4", Era::Inline).option().ios(large));
    }

    #[test]
    fn needs_ios() {
        has_too_little(&RULE, &Made::on("6.12.94", Era::Bh).option());
    }
}
