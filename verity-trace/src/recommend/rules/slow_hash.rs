use super::{Outcome, Rule, fires_if, lacks};
use crate::format;
use crate::recommend::case::Case;
use crate::recommend::case::FEWEST;
use crate::recommend::sample::nanos;

/// What SHA-256 of 4 KiB takes at the least without instructions for it.
const WITHOUT_INSTRUCTIONS: f64 = 10_000.0;
/// Of so many bytes that is.
const OF_BYTES: f64 = 4_096.0;
/// With more than this part of verifications waiting for hash blocks, the mean is that of the waiting.
const WAITING: f64 = 0.05;

/// Hashing takes as long as without the CPU's instructions for it.
pub const RULE: Rule = Rule {
    id: "slow-hash",
    source: "SHA-256 of 4 KiB takes 2 to 3 us with the instructions of x86 or arm64 and 10 to 20 us without \
             (orders of magnitude, from cycles a byte)",
    check,
};

fn check(case: &Case<'_>) -> Outcome {
    if let Err(too_few) = case.enough() {
        return Outcome::NotEnoughData(too_few);
    }
    let table = &case.device.table;
    if table.algorithm.split('-').next() != Some("sha256") {
        return lacks("how fast another algorithm than sha256 should be");
    }
    if table.options.check_at_most_once || table.options.ignore_zero_blocks {
        return lacks(
            "what a block takes, since check_at_most_once and ignore_zero_blocks skip some",
        );
    }
    let outside = case.attempted() >= FEWEST;
    if !outside && case.may_give_up().is_none_or(|share| share > WAITING) {
        return lacks(
            "what a block takes without waiting for hash blocks: --hash-cache tells, or the option on",
        );
    }
    let Some(block) = case.verify_per_block() else {
        return lacks("too few verifications outside kverityd that did not give up");
    };
    let each = block * OF_BYTES / f64::from(table.data_block_bytes.max(1));
    fires_if(each >= WITHOUT_INSTRUCTIONS, || {
        format!(
            "verifying 4 KiB takes {} on the average, as sha256 does without the CPU's instructions for it, or in an \
             emulated machine; /proc/crypto and /proc/cpuinfo (sha_ni, sha2) tell",
            format::duration(nanos(each)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{IN_BH, Ios, Made, ON_KVERITYD, fires, has_too_little, is_quiet};
    use super::*;
    use crate::snapshot::Era;

    #[test]
    fn fires_where_a_block_takes_long() {
        let slow = Ios {
            verify: 28_000,
            bytes: 8_192,
            ..IN_BH
        };
        let found = fires(&RULE, &Made::on("6.12.94", Era::Bh).option().ios(slow));
        assert!(found.contains("14.0 us"), "{found}");
    }

    #[test]
    fn stays_quiet_where_it_does_not() {
        is_quiet(&RULE, &Made::on("6.12.94", Era::Bh).option().ios(IN_BH));
        is_quiet(&RULE, &Made::on("6.12.94", Era::Bh).ios(ON_KVERITYD));
    }

    #[test]
    fn needs_blocks_that_were_all_hashed_and_not_waited_for() {
        let cold = Ios {
            verify: 900_000,
            ..ON_KVERITYD
        };
        has_too_little(&RULE, &Made::on("6.12.94", Era::Bh).ios(cold));
        let mut other = Made::on("6.12.94", Era::Bh).ios(ON_KVERITYD);
        other.0.devices[0].table.algorithm = "blake2b-256".to_owned();
        has_too_little(&RULE, &other);
        let mut skips = Made::on("6.12.94", Era::Bh).ios(ON_KVERITYD);
        skips.0.devices[0].table.options.check_at_most_once = true;
        has_too_little(&RULE, &skips);
    }
}
