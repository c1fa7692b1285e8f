use super::{Rule, fires_if, lacks};
use crate::snapshot::Era;

/// The kernel's tasklets write to memory that was freed.
pub const RULE: Rule = Rule {
    id: "tasklet-unsafe",
    source: "commit 0a9bab391e33, which disabled them for that: tasklet_unlock() writes to memory that the end of \
             the bio has freed",
    check: |case| {
        let Some(era) = case.era() else {
            return lacks("the era of this kernel");
        };
        fires_if(era == Era::Tasklet, || {
            let state = if case.option() {
                "verifies"
            } else {
                "would verify"
            };
            format!(
                "with the option this kernel {state} in a tasklet, and then writes to memory that was freed, for \
                 every I/O: an update of the kernel is the remedy"
            )
        })
    },
};

#[cfg(test)]
mod tests {
    use super::super::fixture::{Made, fires, has_too_little, is_quiet};
    use super::*;

    #[test]
    fn fires_on_kernels_with_tasklets() {
        fires(&RULE, &Made::on("6.6.17", Era::Tasklet).option());
    }

    #[test]
    fn stays_quiet_on_others() {
        is_quiet(&RULE, &Made::on("6.12.94", Era::Bh).option());
    }

    #[test]
    fn needs_the_era() {
        let mut made = Made::on("6.6.17", Era::Tasklet);
        made.0.kernel.era = None;
        has_too_little(&RULE, &made);
    }
}
