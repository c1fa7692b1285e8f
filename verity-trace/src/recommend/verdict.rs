//! The verdict, and how sure it is.

use super::case::{Case, MUCH_LOSS};
use super::effect::{self, Effect, MATTERS};
use super::rules::{BUDGET, Finding};
use super::{Certainty, Confidence, Verdict, limits, model};
use crate::format;
use crate::histogram::Nanos;
use crate::snapshot::Era;
use crate::what_if::Forecast;

/// What to advise where these rules fired.
pub fn of(
    case: &Case<'_>,
    fired: &[Finding],
    forecast: Option<&Forecast>,
) -> (Verdict, Confidence) {
    let (verdict, mut confidence) = undoubted(case, fired, forecast);
    if is_doubtful(case) {
        confidence.certainty = match confidence.certainty {
            Certainty::Certain => Certainty::Likely,
            Certainty::Likely | Certainty::Weak => Certainty::Weak,
            Certainty::None => Certainty::None,
        };
    }
    (verdict, confidence)
}

/// Whether anything makes all that is concluded weaker.
fn is_doubtful(case: &Case<'_>) -> bool {
    case.is_unknown_kernel()
        || case.only_size().is_some()
        || case.loss_share() > 0.0
        || case.snapshot.hides_misses
}

fn undoubted(
    case: &Case<'_>,
    fired: &[Finding],
    forecast: Option<&Forecast>,
) -> (Verdict, Confidence) {
    let Some(era) = case.era() else {
        return not_enough(
            "what this kernel makes of the option is not known: `verity-trace doctor` says why",
        );
    };
    let has = |id| fired.iter().any(|it| it.id == id);
    if has("option-inert") {
        return certain(
            Verdict::NotEffective,
            "no placement but kverityd exists on this kernel",
        );
    }
    if has("not-the-question") {
        return certain(
            Verdict::Keep,
            "I/Os fail or hang, or data is corrupt: that comes first, and no setting of the option mends it",
        );
    }
    if era == Era::Tasklet {
        let verdict = if case.option() {
            Verdict::Disable
        } else {
            Verdict::Keep
        };
        return certain(
            verdict,
            "tasklets of this kernel write to memory that was freed",
        );
    }
    if case.totals.is_none() {
        return not_enough("its I/Os are not seen apart: watch with a higher --max-devices");
    }
    if let Err(too_few) = case.enough() {
        return not_enough(&too_few);
    }
    let loss = case.loss_share();
    if loss > MUCH_LOSS {
        return not_enough(&format!(
            "{} of the I/Os were lost or incomplete, and more than {} may hide anything: watch by fentry, or when \
             less is going on",
            format::percentage(Some(loss)),
            format::percentage(Some(MUCH_LOSS)),
        ));
    }
    let replayed = forecast.and_then(|forecast| of_model(case, forecast));
    replayed.unwrap_or_else(|| {
        if case.option() {
            of_option_on(case)
        } else {
            of_option_off(case)
        }
    })
}

/// By replaying I/Os one by one; absent where the setting that matters was not replayed.
fn of_model(case: &Case<'_>, forecast: &Forecast) -> Option<(Verdict, Confidence)> {
    let limits = limits::current(case);
    let replayed = model::switched(forecast, !case.option(), limits)?;
    let effect = replayed.effect;
    let how = format!(
        "by replaying {} I/Os through a model of each placement, whose error is within the interval",
        forecast.own.ios
    );
    if case.option() {
        if let Some(harm) = harm(case) {
            return Some(harm);
        }
        if effect.is_gain() {
            return Some(likely(Verdict::Disable, effect, &how));
        }
        if let Some((limited, limits)) = limited(case, forecast) {
            return Some(likely(Verdict::Limit(limits), limited.effect, &how));
        }
    } else {
        let longest = replayed.outcome.longest_in_softirq;
        if let Some(longest) = longest.filter(|&longest| longest >= BUDGET) {
            let reason = format!("{how}; {}", too_long(longest));
            return Some(likely(Verdict::Keep, effect, &reason));
        }
        if effect.is_gain() {
            return Some(likely(Verdict::Enable, effect, &how));
        }
    }
    if effect.is_no_gain() {
        return Some(likely(Verdict::Keep, effect, &how));
    }
    let matters = format::percentage(Some(MATTERS));
    let reason = format!("{how}; a gain of {matters} may be and may not be");
    Some(weak(Verdict::Keep, effect, &reason))
}

/// Other limits that gain, and let no device verify for too long in one piece.
fn limited<'a>(case: &Case<'_>, forecast: &'a Forecast) -> Option<(model::Replayed<'a>, [u64; 4])> {
    if !limits::are_heeded(case) {
        return None;
    }
    let most = limits::shortest_piece(case)?;
    model::limited(forecast, limits::current(case)?, most)
}

fn too_long(longest: Nanos) -> String {
    format!(
        "the largest I/O would be verified in softirq in one piece of about {}, and all softirqs of a CPU have {}",
        format::duration(longest),
        format::duration(BUDGET),
    )
}

fn of_option_off(case: &Case<'_>) -> (Verdict, Confidence) {
    let Some(effect) = effect::of_enabling(case) else {
        return not_enough(unknown(case));
    };
    if effect.is_no_gain() {
        return likely(
            Verdict::Keep,
            effect,
            "switched on, the option cannot save more than the whole wait for kverityd",
        );
    }
    if let Some(longest) = longest_if_enabled(case).filter(|&it| it >= BUDGET.0 as f64) {
        return weak(Verdict::Keep, effect, &too_long(Nanos(longest as u64)));
    }
    if effect.is_gain() {
        return weak(
            Verdict::Enable,
            effect,
            "from the waits for kverityd alone: how long BH would wait here was not measured",
        );
    }
    undecided(
        effect,
        "how many attempts would give up, and how long BH would wait here, is not known well enough: watch with \
         --hash-cache",
    )
}

fn of_option_on(case: &Case<'_>) -> (Verdict, Confidence) {
    if let Some(harm) = harm(case) {
        return harm;
    }
    if case.attempted() == 0 {
        return raised(case).unwrap_or_else(|| {
            let nothing = Effect {
                best: 0.0,
                worst: Some(0.0),
            };
            likely(
                Verdict::Keep,
                nothing,
                "the option is on, and kverityd verified everything all the same",
            )
        });
    }
    let Some(effect) = effect::of_disabling(case) else {
        return not_enough(unknown(case));
    };
    if effect.is_gain() {
        return weak(
            Verdict::Disable,
            effect,
            "from the waits for kverityd that were seen with the option on",
        );
    }
    if let Some(raised) = raised(case) {
        return raised;
    }
    if effect.is_no_gain() {
        return likely(
            Verdict::Keep,
            effect,
            "switched off, the option cannot save more than attempts waited and fallbacks cost",
        );
    }
    undecided(
        effect,
        "how long I/Os would wait for kverityd is not known well enough while BH verifies them",
    )
}

/// What a verification that takes the whole budget of a CPU's softirqs leads to, whatever it saves.
fn harm(case: &Case<'_>) -> Option<(Verdict, Confidence)> {
    let (longest, from) = case.longest_in_softirq()?;
    if longest < BUDGET || !limits::has_softirq(case) {
        return None;
    }
    let reason = format!(
        "a verification in softirq took {} ({from}), and all softirqs of a CPU have {}",
        format::duration(longest),
        format::duration(BUDGET),
    );
    let verdict = if limits::are_heeded(case) {
        match limits::lower(case)? {
            // Not even one block is verified in time.
            [.., 0, _] => Verdict::Disable,
            limits => Verdict::Limit(limits),
        }
    } else {
        Verdict::Disable
    };
    let confidence = Confidence {
        certainty: Certainty::Likely,
        effect: None,
        reason,
    };
    Some((verdict, confidence))
}

/// Higher limits, where these are a gain whatever is true.
fn raised(case: &Case<'_>) -> Option<(Verdict, Confidence)> {
    if !limits::are_heeded(case) {
        return None;
    }
    let proposal = limits::higher(case)?;
    let effect = effect::of_raising(case, proposal.share)?;
    effect.is_gain().then(|| {
        let reason = format!(
            "{} of the I/Os are above the limits of now and would be verified in less than {} each",
            format::percentage(Some(proposal.share)),
            format::duration(Nanos(limits::PIECE as u64)),
        );
        weak(Verdict::Limit(proposal.limits), effect, &reason)
    })
}

/// Nanoseconds that verifying the largest I/O in one piece would take.
pub fn longest_if_enabled(case: &Case<'_>) -> Option<f64> {
    let block = f64::from(case.device.table.data_block_bytes.max(1));
    let each = case.verify_per_block()?;
    let has_limits = case.era() == Some(Era::Inline);
    let within = case
        .mix()
        .filter(|(kind, _)| !has_limits || case.limit(kind.class) >= Some(u64::from(kind.size)));
    let largest = within.map(|(kind, _)| kind.size).max()?;
    Some(f64::from(largest) / block * each)
}

fn unknown(case: &Case<'_>) -> &'static str {
    if case.era() == Some(Era::Inline) && case.snapshot.use_bh_bytes.is_none() {
        "use_bh_bytes is not known, which older recordings do not have: record again"
    } else {
        "too few I/Os have what it takes: watch longer, and by fentry"
    }
}

fn certain(verdict: Verdict, reason: &str) -> (Verdict, Confidence) {
    (verdict, confidence(Certainty::Certain, None, reason))
}

fn likely(verdict: Verdict, effect: Effect, reason: &str) -> (Verdict, Confidence) {
    (verdict, confidence(Certainty::Likely, Some(effect), reason))
}

fn weak(verdict: Verdict, effect: Effect, reason: &str) -> (Verdict, Confidence) {
    (verdict, confidence(Certainty::Weak, Some(effect), reason))
}

fn not_enough(reason: &str) -> (Verdict, Confidence) {
    (
        Verdict::NotEnoughData,
        confidence(Certainty::None, None, reason),
    )
}

/// Where the interval has both a difference that matters and none.
fn undecided(effect: Effect, reason: &str) -> (Verdict, Confidence) {
    let matters = format::percentage(Some(MATTERS));
    let reason = format!("a gain of {matters} may be and may not be: {reason}");
    (
        Verdict::NotEnoughData,
        confidence(Certainty::None, Some(effect), &reason),
    )
}

fn confidence(certainty: Certainty, effect: Option<Effect>, reason: &str) -> Confidence {
    Confidence {
        certainty,
        effect,
        reason: reason.to_owned(),
    }
}
