use super::{Outcome, Rule, lacks};
use crate::snapshot::Era;

/// The kernel does nothing with the option.
pub const RULE: Rule = Rule {
    id: "option-inert",
    source: "commit 0a9bab391e33 (6.8; stable 6.1.79, 6.6.18, 6.7.6); before 6.0 verity_ctr() refuses the option",
    check: |case| {
        match (case.era(), case.option()) {
        (None, _) => lacks("dm_verity is not loaded, or its symbols are hidden: `verity-trace doctor` says which"),
        (Some(Era::Inert), true) => Outcome::Fires(
            "the option is on, and this kernel verifies everything on kverityd all the same; what is left of the \
             option are the spinlocks of its cache of hash blocks (DM_BUFIO_CLIENT_NO_SLEEP)"
                .to_owned(),
        ),
        (Some(Era::Inert), false) => Outcome::Fires(
            "switched on, the option would change nothing here but the locks of the cache of hash blocks: this \
             kernel accepts it and verifies everything on kverityd"
                .to_owned(),
        ),
        (Some(Era::NoOption), _) => {
            Outcome::Fires("this kernel refuses the option: a table with it does not load".to_owned())
        }
        (Some(Era::Tasklet | Era::Bh | Era::Inline), _) => Outcome::Quiet,
    }
    },
};

#[cfg(test)]
mod tests {
    use super::super::fixture::{Made, fires, has_too_little, is_quiet};
    use super::*;

    #[test]
    fn fires_where_the_kernel_ignores_or_refuses_it() {
        let on = fires(&RULE, &Made::on("6.1.192", Era::Inert).option());
        assert!(on.contains("NO_SLEEP"), "{on}");
        fires(&RULE, &Made::on("6.1.192", Era::Inert));
        fires(&RULE, &Made::on("5.15.0", Era::NoOption));
    }

    #[test]
    fn stays_quiet_where_the_kernel_heeds_it() {
        for era in [Era::Tasklet, Era::Bh, Era::Inline] {
            is_quiet(&RULE, &Made::on("6.12.94", era).option());
        }
    }

    #[test]
    fn needs_the_era() {
        let mut made = Made::on("6.12.94", Era::Bh);
        made.0.kernel.era = None;
        has_too_little(&RULE, &made);
    }
}
