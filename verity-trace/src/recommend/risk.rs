//! What can go wrong with an advice, and what to do first.

use super::case::Case;
use super::evidence::busiest;
use super::rules::BUDGET;
use super::sample::FEW;
use super::verdict::longest_if_enabled;
use super::{Verdict, limits, model};
use crate::format;
use crate::snapshot::{Cpu, Era, Placement, Stage};
use crate::target::Mode;
use crate::what_if::{Forecast, Outcome};

/// See the module; one sentence each.
pub fn of(case: &Case<'_>, verdict: Verdict, forecast: Option<&Forecast>) -> Vec<String> {
    let mut found = Vec::new();
    match verdict {
        Verdict::Enable => {
            let replayed = forecast.and_then(|it| replayed_softirq(case, it));
            found.extend(replayed.or_else(|| added_softirq(case)));
            found.extend(longest(case));
            found.extend(real_time(case));
        }
        Verdict::Limit(values) => {
            found.extend(limits::touched(case, values));
            found.extend(longest(case));
            found.extend(real_time(case));
            found.push(
                "it lasts until dm_verity is loaded anew: `options dm_verity use_bh_bytes=...` in /etc/modprobe.d, or \
                 dm_verity.use_bh_bytes=... on the kernel's command line, keeps it"
                    .to_owned(),
            );
        }
        Verdict::Disable => found.extend(back_to_kverityd(case)),
        Verdict::NotEffective => {
            if case.era() == Some(Era::Inert) && case.option() {
                found.push(
                    "leaving it on costs no more than these locks: there is no hurry".to_owned(),
                );
            }
        }
        Verdict::Keep | Verdict::NotEnoughData => return found,
    }
    let reloads = match verdict {
        Verdict::NotEffective => case.option(),
        Verdict::Limit(_) => false,
        _ => true,
    };
    if reloads {
        found.extend(of_reload(case));
    }
    found
}

/// How much more of a CPU verification takes in softirq, by the model.
fn replayed_softirq(case: &Case<'_>, forecast: &Forecast) -> Option<String> {
    let on = model::switched(forecast, true, limits::current(case))?.outcome;
    let share = |outcome: &Outcome, cpu: u16| {
        let time = outcome.softirq.get(&cpu).map_or(0, |it| it.0);
        time as f64 / outcome.duration.0.max(1) as f64
    };
    let added = on
        .softirq
        .keys()
        .map(|&cpu| (cpu, share(on, cpu) - share(&forecast.own, cpu)));
    let (cpu, most) = added.max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(format!(
        "softirq time: {} of CPU {cpu} more, and no more of any other, by the model; {MEANWHILE}",
        format::percentage(Some(most.max(0.0))),
    ))
}

/// What softirq time means for others.
const MEANWHILE: &str =
    "network, timers, other disks' completions and the task that is interrupted wait meanwhile";

/// How much of a CPU verification would take in softirq.
fn added_softirq(case: &Case<'_>) -> Option<String> {
    let verify = case.stage(Placement::Kverityd, Stage::Verify)?.sum();
    let eligible = case.eligible()?.high;
    if case.over.is_zero() {
        return None;
    }
    let seconds = verify.0 as f64 / 1e9 * eligible;
    let of_one = seconds / case.over.as_secs_f64();
    let all: u64 = case.cpus.iter().map(|cpu| cpu.kverityd_verifications).sum();
    let most = case
        .cpus
        .iter()
        .max_by_key(|cpu: &&Cpu| cpu.kverityd_verifications)?;
    let part = most.kverityd_verifications as f64 / all.max(1) as f64;
    Some(format!(
        "softirq time: up to {} of one CPU more, over all CPUs, and {2} of CPU {1}, which verifies most now; \
         {MEANWHILE}",
        format::percentage(Some(of_one)),
        most.number,
        format::percentage(Some(of_one * part)),
    ))
}

/// The longest single verification against the budget.
fn longest(case: &Case<'_>) -> Option<String> {
    let seen = case.longest_in_softirq().filter(|_| case.attempted() > 0);
    let (longest, how) = match seen {
        Some((longest, _)) => (longest, "so far"),
        None => (longest_if_enabled(case)?, "computed from its blocks"),
    };
    Some(format!(
        "longest single verification in softirq: about {} ({how}), of {} for all softirqs before ksoftirqd takes over",
        format::duration(longest),
        format::duration(BUDGET),
    ))
}

fn real_time(case: &Case<'_>) -> Option<String> {
    case.is_real_time().then(|| {
        "PREEMPT_RT: softirqs are threads here, and inline verification runs in the thread of the interrupt, with its \
         real-time priority: it delays tasks of lower priority, and little of the gain is left"
            .to_owned()
    })
}

fn back_to_kverityd(case: &Case<'_>) -> Option<String> {
    let waits = case.waits_for_kverityd();
    let p99 = waits.percentile(990).filter(|_| waits.count() >= FEW)?;
    let now = busiest(case).map_or_else(String::new, |share| {
        format!(
            "; up to {} of the busiest CPU are softirq no more",
            format::percentage(Some(share))
        )
    });
    Some(format!(
        "small reads wait for kverityd again: p99 of the waits that were seen is {}{now}",
        format::percentile(Some(p99)),
    ))
}

/// A table is loaded anew.
fn of_reload(case: &Case<'_>) -> Vec<String> {
    let options = &case.device.table.options;
    let mut found = vec![
        "reload: I/Os wait while the device is suspended, and the cache of hash blocks is empty then: slow reads and \
         fallbacks at first"
            .to_owned(),
        "root file system or /usr on it (findmnt -o TARGET,SOURCE): nothing can be read while it is suspended, so read \
         dmsetup before (dmsetup version) and type all in one go"
            .to_owned(),
    ];
    if options.check_at_most_once {
        found.push(
            "check_at_most_once: what was verified already is forgotten, and is verified once more"
                .to_owned(),
        );
    }
    if let Some(key) = &options.root_hash_sig_key_desc {
        found.push(format!(
            "its root hash is signed, and the key that held the signature is gone since activation: put it back \
             first (keyctl padd user {key} @u < the signature in PKCS#7), else the reload is refused; without the \
             signature the table would count as unsigned, and require_signatures=1 refuses it"
        ));
    }
    let modes = [options.on_corruption, options.on_error];
    let word = match modes {
        _ if modes.contains(&Mode::Panic) => Some("panics"),
        _ if modes.contains(&Mode::Restart) => Some("restarts"),
        _ => None,
    };
    if let Some(word) = word {
        found.push(format!(
            "this machine {word} on corruption or errors of this device, also where the reload points at the wrong \
             data: check the command against `dmsetup table` by eye, and save your work"
        ));
    }
    found
}
