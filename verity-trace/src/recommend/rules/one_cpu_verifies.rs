use super::{Outcome, Rule, fires_if, lacks};
use crate::format;
use crate::recommend::case::{Case, FEWEST};
use crate::snapshot::Cpu;

/// From this part on, one CPU does it all.
const NEARLY_ALL: f64 = 0.9;

/// Reads come from several CPUs, and one verifies them all.
pub const RULE: Rule = Rule {
    id: "one-cpu-verifies",
    source: "since 6.3 (commit c25da5b7baf1) kverityd is bound to the CPU of the completion, as BH and inline always \
             were: with one hardware queue that is one CPU; nine in ten is taken for all",
    check,
};

fn check(case: &Case<'_>) -> Outcome {
    match case.is_before((6, 3)) {
        Some(true) => return Outcome::Quiet,
        Some(false) => {}
        None => return lacks("the version of the kernel: before 6.3 kverityd is bound to no CPU"),
    }
    let of_cpu = |cpu: &Cpu| {
        cpu.kverityd_verifications
            + cpu.bh_verifications
            + cpu.inline_verifications.unwrap_or_default()
    };
    let sum = |count: fn(&Cpu) -> u64| case.cpus.iter().map(count).sum::<u64>();
    let (verified, mapped) = (sum(of_cpu), sum(|cpu| cpu.mapped));
    if verified < FEWEST || mapped < FEWEST {
        return lacks("too few verifications by CPU: watch longer, or while the load runs");
    }
    let Some(busiest) = case.cpus.iter().max_by_key(|cpu| of_cpu(cpu)) else {
        return lacks("what each CPU did");
    };
    let share = of_cpu(busiest) as f64 / verified as f64;
    let submitted = case.cpus.iter().map(|cpu| cpu.mapped).max().unwrap_or(0);
    let submitted = submitted as f64 / mapped as f64;
    fires_if(share >= NEARLY_ALL && submitted < NEARLY_ALL, || {
        format!(
            "CPU {} began {} of all verifications of the machine, and no CPU submitted more than {} of the I/Os",
            busiest.number,
            format::percentage(Some(share)),
            format::percentage(Some(submitted)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Made, fires, has_too_little, is_quiet};
    use super::*;
    use crate::snapshot::Era;

    fn cpus(release: &str, verified: [u64; 2]) -> Made {
        let mut made = Made::on(release, Era::Bh).option();
        for (cpu, verified) in made.0.cpus.iter_mut().zip(verified) {
            cpu.mapped = 1_000;
            cpu.bh_verifications = verified;
        }
        made
    }

    #[test]
    fn fires_where_all_completions_are_on_one_cpu() {
        let found = fires(&RULE, &cpus("6.12.94", [20, 1_980]));
        assert!(found.starts_with("CPU 1 began 99.0 %"), "{found}");
    }

    #[test]
    fn stays_quiet_where_they_are_spread_or_follow_the_readers() {
        is_quiet(&RULE, &cpus("6.12.94", [900, 1_100]));
        is_quiet(&RULE, &cpus("6.1.192", [0, 2_000]));
        let mut one_reader = cpus("6.12.94", [0, 2_000]);
        one_reader.0.cpus[0].mapped = 10;
        is_quiet(&RULE, &one_reader);
    }

    #[test]
    fn needs_verifications_and_a_version() {
        has_too_little(&RULE, &cpus("6.12.94", [20, 30]));
        has_too_little(&RULE, &cpus("mine", [0, 2_000]));
    }
}
