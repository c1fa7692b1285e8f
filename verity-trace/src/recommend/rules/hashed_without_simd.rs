use super::{Outcome, Rule, fires_if, lacks};
use crate::format;
use crate::recommend::case::{Case, FEWEST};
use crate::snapshot::{Era, Placement, Stage};

/// Nothing but other instructions makes the same hashing take so many times as long.
const OTHER_CODE: f64 = 3.0;
/// One in fifty does.
const FIFTIETH: u64 = 980;

/// BH interrupts kverityd while that hashes, and has to hash without the vector unit.
pub const RULE: Rule = Rule {
    id: "hashed-without-simd",
    source: "where a softirq interrupts a task that uses the vector unit, crypto_simd_usable (arch/x86/include/asm/simd.h) says \
             no on x86 before 6.15 (d02198550423); SHA-256 of 4 KiB then takes 227,600 instructions instead of 11,700 (Linux \
             6.12, SHA-NI), and 3 to 8 times as long by the clock",
    check,
};

fn check(case: &Case<'_>) -> Outcome {
    if case.era() != Some(Era::Bh) || !case.option() {
        return Outcome::Quiet;
    }
    if let Err(too_few) = case.enough() {
        return Outcome::NotEnoughData(too_few);
    }
    if case.only_size().is_none() {
        return lacks("how long verifications of one size take in BH: I/Os have several");
    }
    let verify = case.stage(Placement::Bh, Stage::Verify);
    let Some(verify) = verify.filter(|it| it.count() >= FEWEST) else {
        return lacks("too few verifications in BH");
    };
    let (Some(usual), Some(long)) = (verify.percentile(500), verify.percentile(FIFTIETH)) else {
        return lacks("too few verifications in BH");
    };
    let meanwhile = case.ios_of(Placement::Fallback) + case.ios_of(Placement::Kverityd);
    let is_so = long.0 as f64 >= OTHER_CODE * usual.0 as f64 && meanwhile > 0;
    fires_if(is_so, || {
        format!(
            "half of the verifications in BH take {} and less, and one in fifty {} and more, while kverityd verifies {} others: \
             BH that interrupts it hashes without the CPU's vector unit on x86 before 6.15",
            format::duration(usual),
            format::duration(long),
            meanwhile,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{FELL_BACK, IN_BH, Ios, Made, fires, has_too_little, is_quiet};
    use super::*;

    const SLOW: Ios = Ios {
        verify: 60_000,
        count: 600,
        ..IN_BH
    };

    fn on() -> Made {
        Made::on("6.12.94", Era::Bh).option().ios(IN_BH)
    }

    #[test]
    fn fires_where_some_take_many_times_as_long_while_kverityd_verifies() {
        let found = fires(&RULE, &on().ios(SLOW).ios(FELL_BACK));
        assert!(found.contains("verifies 500 others"), "{found}");
    }

    #[test]
    fn stays_quiet_where_none_do_or_kverityd_is_idle_or_not_interrupted_so() {
        is_quiet(&RULE, &on().ios(FELL_BACK));
        is_quiet(&RULE, &on().ios(SLOW));
        let few = Ios { count: 50, ..SLOW };
        is_quiet(&RULE, &on().ios(few).ios(FELL_BACK));
        let later = Made::on("7.3.4", Era::Inline).option().ios(IN_BH);
        is_quiet(&RULE, &later.ios(SLOW).ios(FELL_BACK));
    }

    #[test]
    fn needs_verifications_in_bh_of_one_size() {
        let few = Ios { count: 9, ..IN_BH };
        has_too_little(&RULE, &Made::on("6.12.94", Era::Bh).option().ios(few));
        let larger = Ios {
            bytes: 8_192,
            ..SLOW
        };
        has_too_little(&RULE, &on().ios(larger).ios(FELL_BACK));
    }
}
