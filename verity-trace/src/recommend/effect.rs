//! What switching over would change, as far as totals tell.
//!
//! The law: an I/O that BH or inline may take saves (1 - f) * (its wait for kverityd) - f * (the attempt) - (its
//! wait for BH), where f is the share of attempts that give up. Of what was not measured, only bounds go in.

use super::case::Case;
use super::sample::Sample;
use crate::snapshot::{Completion, Era, Placement, Stage};

/// From this change of the mean `total` on, two settings differ: below, keeping is right.
pub const MATTERS: f64 = 0.02;

/// Of the hand-over to kverityd (a wait with nobody ahead) BH saves no less than this part. A BH work is queued
/// and begun too, by a softirq instead of a thread: in the recordings of Linux 6.12 and 7.3 that travel with the
/// program it begins in less than three quarters of that time, which a test holds.
pub const SAVED: f64 = 0.25;

/// Permille of waits that had nobody ahead of them: the shortest tenth.
pub const NOBODY_AHEAD: u64 = 100;

/// The relative change of the mean `total`: negative is faster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    /// At the best.
    pub best: f64,
    /// At the worst; absent where nothing bounds it.
    pub worst: Option<f64>,
}

impl Effect {
    /// Whether it is faster by what matters, whatever is true within the interval.
    #[must_use]
    pub fn is_gain(&self) -> bool {
        self.worst.is_some_and(|worst| worst <= -MATTERS)
    }

    /// Whether it is no faster by what matters, whatever is true within the interval.
    #[must_use]
    pub fn is_no_gain(&self) -> bool {
        self.best > -MATTERS
    }
}

impl std::fmt::Display for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = |change: f64| format!("{:+.1} %", change * 100.0);
        match self.worst {
            Some(worst) => write!(f, "{} to {}", percent(self.best), percent(worst)),
            None => write!(f, "{} at the best, worst unknown", percent(self.best)),
        }
    }
}

/// What switching the option on would change; absent where a mean is that of too few.
pub fn of_enabling(case: &Case<'_>) -> Option<Effect> {
    of_attempting(case, case.eligible()?)
}

/// What a limit would change that lets in this share of all I/Os, which now are too large.
pub fn of_raising(case: &Case<'_>, share: f64) -> Option<Effect> {
    let part = Range {
        low: share,
        high: share,
    };
    of_attempting(case, part)
}

/// What it would change to verify this part of all I/Os in BH or inline.
fn of_attempting(case: &Case<'_>, part: Range) -> Option<Effect> {
    let wait = case.sample(Placement::Kverityd, Stage::Wait)?;
    let verify = case.sample(Placement::Kverityd, Stage::Verify)?;
    let saved = saved_wait(case, &wait)?;
    let gives_up = case.may_give_up()?;
    let each = (1.0 - gives_up) * saved - gives_up * verify.high();
    let part_at_worst = if each > 0.0 { part.low } else { part.high };
    relative(case, wait.high() * part.high, each * part_at_worst)
}

/// What switching the option off would change.
pub fn of_disabling(case: &Case<'_>) -> Option<Effect> {
    let total = case.sample_of_all(Stage::Total)?;
    let attempted = case.attempted_share()?;
    let first = case.attempts_stage(Stage::Wait);
    let first = Sample::of(&first)?;
    let fallbacks = case.fallback_cost_per_attempt();
    let best = first.high() + fallbacks;
    let kverityd = case.waits_for_kverityd();
    let Some(wait) = Sample::of(&kverityd) else {
        return Some(Effect {
            best: 0.0 - attempted * best / total.low().max(1.0),
            worst: None,
        });
    };
    let handed_over = kverityd
        .percentile(NOBODY_AHEAD)
        .map_or(0.0, |it| it.0 as f64);
    relative(
        case,
        attempted * (best - handed_over),
        attempted * (first.low() + fallbacks - wait.high()),
    )
}

/// The least that one that does not give up saves. In a task, BH is woken as a thread of lower priority than
/// kverityd's (`raise_softirq_irqoff`, kernel/softirq.c): it may then take as long again.
fn saved_wait(case: &Case<'_>, wait: &Sample) -> Option<f64> {
    let histogram = case.stage(Placement::Kverityd, Stage::Wait)?;
    let alone = histogram.percentile(NOBODY_AHEAD)?.0 as f64;
    let in_task = match case.era() {
        Some(Era::Bh | Era::Tasklet) => case.completions_share(Completion::Task)?,
        _ => 0.0,
    };
    Some((1.0 - in_task) * alone * SAVED - in_task * wait.high())
}

/// From what each I/O would save on the average: at the most, and at the least. What is not waiting stays, whatever
/// is saved.
fn relative(case: &Case<'_>, most: f64, least: f64) -> Option<Effect> {
    let total = case.sample_of_all(Stage::Total)?;
    let [device, verify] = [Stage::Device, Stage::Verify].map(|it| case.stage_of_all(it).sum().0);
    let stays = device.saturating_add(verify) as f64 / total.count as f64;
    let change = |saved: f64, at_best: bool| {
        // Of a smaller total it is a larger part.
        let smaller = (saved > 0.0) == at_best;
        let total = if smaller { total.low() } else { total.high() };
        0.0 - saved / total.max(saved + stays).max(1.0)
    };
    Some(Effect {
        best: change(most, true),
        worst: Some(change(least, false)),
    })
}

/// A share that nothing pins down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// At the least.
    pub low: f64,
    /// At the most.
    pub high: f64,
}
