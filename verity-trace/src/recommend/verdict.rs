//! The verdict, and how sure it is.

use super::case::{Case, FEWEST, MUCH_LOSS};
use super::effect::{self, Effect, MATTERS};
use super::rules::{BUDGET, Finding};
use super::sample::nanos;
use super::{Certainty, Confidence, Verdict, limits, model};
use crate::format;
use crate::histogram::Nanos;
use crate::snapshot::{Era, Placement};
use crate::what_if::Forecast;

/// From this part of attempts that give up on, the hash blocks in the cache matter.
const MANY_GIVE_UP: f64 = 0.05;

/// What to advise where these rules fired.
pub fn of(
    case: &Case<'_>,
    fired: &[Finding],
    forecast: Option<&Forecast>,
) -> (Verdict, Confidence) {
    let (verdict, mut confidence) = undoubted(case, fired, forecast);
    if is_doubtful(case) || may_keep_other_blocks(case, forecast) {
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

/// Whether so many attempts give up, or would, that it matters which hash blocks the cache keeps. That is taken from the
/// recording, and need not be the same under another setting: with the option the cache passes over blocks that it would have
/// to wait for (`__get_unclaimed_buffer`, drivers/md/dm-bufio.c).
pub fn may_keep_other_blocks(case: &Case<'_>, forecast: Option<&Forecast>) -> bool {
    let other = forecast.and_then(|it| model::switched(it, !case.option(), limits::current(case)));
    let foretold = other.map_or(0.0, |it| it.outcome.share(Placement::Fallback));
    foretold.max(case.fallback_share().unwrap_or(0.0)) > MANY_GIVE_UP
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
    // The model knows too little of processes that wait for each other.
    let sure = |verdict, effect| {
        if model::shares_cpus(forecast) {
            weak(verdict, effect, &how)
        } else {
            likely(verdict, effect, &how)
        }
    };
    if case.option() {
        if let Some(harm) = harm(case) {
            return Some(harm);
        }
        if effect.is_gain() {
            return Some(sure(Verdict::Disable, effect));
        }
        if let Some((limited, limits)) = limited(case, forecast) {
            let verdict = Verdict::Limit(limits);
            if limited.effect.is_gain() {
                return Some(sure(verdict, limited.effect));
            }
            if !replayed.is_rather_gain() || limited.middle < replayed.middle {
                let reason = format!("{how}; these are the best of the limits that were replayed");
                return Some(weak(verdict, limited.effect, &reason));
            }
        }
    } else {
        if let Some(longest) = longest_if_enabled(case).filter(|&it| it >= BUDGET) {
            let reason = format!("{how}; {}", too_long(longest));
            return Some(likely(Verdict::Keep, effect, &reason));
        }
        if effect.is_gain() {
            return Some(sure(Verdict::Enable, effect));
        }
    }
    if effect.is_no_gain() {
        return Some(sure(Verdict::Keep, effect));
    }
    let (verdict, is_likely) = match (replayed.is_rather_gain(), case.option()) {
        (true, true) => (Verdict::Disable, "is more likely than not"),
        (true, false) => (Verdict::Enable, "is more likely than not"),
        (false, _) => (Verdict::Keep, "may be, and is less likely than not"),
    };
    let matters = format::percentage(Some(MATTERS));
    let reason = format!("{how}; a gain of {matters} {is_likely}");
    Some(weak(verdict, effect, &reason))
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
    if let Some(longest) = longest_if_enabled(case).filter(|&it| it >= BUDGET) {
        return weak(Verdict::Keep, effect, &too_long(longest));
    }
    if effect.is_gain() {
        return weak(
            Verdict::Enable,
            effect,
            "from the waits for kverityd alone: how long BH would wait here was not measured",
        );
    }
    let why = if case.may_give_up().is_some_and(|share| share <= 0.0) {
        "how long BH would wait here was not measured; replaying I/Os one by one says more"
    } else {
        "how many attempts would give up is not known well enough: watch with --hash-cache"
    };
    undecided(effect, why)
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

/// What it leads to, whatever it saves, where one in a hundred verifications takes the whole budget of a CPU's softirqs. A
/// single one may have been interrupted.
fn harm(case: &Case<'_>) -> Option<(Verdict, Confidence)> {
    let verified = case.in_softirq();
    let p99 = verified
        .percentile(990)
        .filter(|_| verified.count() >= FEWEST)?;
    if p99 < BUDGET {
        return None;
    }
    let reason = format!(
        "one in a hundred verifications in softirq takes {} and more, and all softirqs of a CPU have {}",
        format::duration(p99),
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
            format::duration(limits::PIECE),
        );
        weak(Verdict::Limit(proposal.limits), effect, &reason)
    })
}

/// How long verifying the largest I/O in one piece would take.
pub fn longest_if_enabled(case: &Case<'_>) -> Option<Nanos> {
    let block = f64::from(case.device.table.data_block_bytes.max(1));
    let each = case.verify_per_block()?;
    let has_limits = case.era() == Some(Era::Inline);
    let within = case
        .mix()
        .filter(|(kind, _)| !has_limits || case.limit(kind.class) >= Some(u64::from(kind.size)));
    let largest = within.map(|(kind, _)| kind.size).max()?;
    Some(nanos(f64::from(largest) / block * each))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::histogram::Histogram;
    use crate::recommend::rules::fixture::{FELL_BACK, IN_BH, Ios, Made, ON_KVERITYD};
    use crate::recommend::{advise, rules};
    use crate::snapshot::{Completion, Loss, Reason};
    use crate::what_if::{Distribution, Estimate, Outcome, Setting, Unknown};

    /// Beside the small ones, so that there is more than one size.
    const LARGER: Ios = Ios {
        bytes: 8_192,
        ..ON_KVERITYD
    };

    fn verdict(made: &Made) -> (Verdict, Confidence) {
        let case = made.case();
        of(&case, &rules::findings(&case).fired, None)
    }

    fn off(era: Era) -> Made {
        Made::on("6.12.94", era).ios(ON_KVERITYD).ios(LARGER)
    }

    #[test]
    fn waits_that_any_placement_would_save_are_worth_the_option() {
        let (verdict, confidence) = verdict(&off(Era::Bh));
        assert_eq!(verdict, Verdict::Enable);
        assert_eq!(confidence.certainty, Certainty::Weak);
        // 30 us of 115, of which at least a quarter is saved.
        let effect = confidence.effect.expect("an effect");
        assert!((effect.best + 0.26).abs() < 0.01, "{effect:?}");
        assert!(
            (effect.worst.expect("a bound") + 0.065).abs() < 0.01,
            "{effect:?}"
        );
    }

    #[test]
    fn where_even_all_of_the_wait_is_nothing_it_stays_as_it_is() {
        let slow = Ios {
            device: 3_000_000,
            ..ON_KVERITYD
        };
        let made = Made::on("6.12.94", Era::Bh).ios(slow).ios(Ios {
            bytes: 8_192,
            ..slow
        });
        let (verdict, confidence) = verdict(&made);
        assert_eq!(
            (verdict, confidence.certainty),
            (Verdict::Keep, Certainty::Likely)
        );
    }

    #[test]
    fn where_attempts_may_give_up_nothing_is_decided() {
        let cold = Ios {
            verify: 900_000,
            count: 2_000,
            ..ON_KVERITYD
        };
        let (verdict, confidence) = verdict(&off(Era::Bh).ios(cold));
        assert_eq!(verdict, Verdict::NotEnoughData);
        assert!(confidence.reason.contains("--hash-cache"), "{confidence:?}");
    }

    #[test]
    fn what_tasks_complete_is_not_sent_to_ksoftirqd() {
        let by_task = Ios {
            completion: Completion::Task,
            ..ON_KVERITYD
        };
        let made = Made::on("6.12.94", Era::Bh).ios(by_task);
        assert_eq!(verdict(&made).0, Verdict::NotEnoughData);
    }

    #[test]
    fn large_ios_keep_the_option_off_where_there_is_no_limit() {
        let large = Ios {
            bytes: 4 << 20,
            verify: 5_120_000,
            count: 100,
            ..ON_KVERITYD
        };
        let mut made = off(Era::Bh).ios(large);
        made.totals().hash_cache = Some(crate::snapshot::HashCache {
            hits: 30_000,
            ..crate::snapshot::HashCache::default()
        });
        let (verdict, confidence) = verdict(&made);
        assert_eq!(verdict, Verdict::Keep);
        assert!(confidence.reason.contains("in one piece"), "{confidence:?}");
    }

    #[test]
    fn an_option_that_saves_stays_on_and_one_that_costs_goes_off() {
        let on = Made::on("6.12.94", Era::Bh).option().ios(IN_BH).ios(Ios {
            bytes: 8_192,
            ..IN_BH
        });
        assert_eq!(verdict(&on.clone().ios(FELL_BACK)).0, Verdict::Keep);
        let cold = Ios {
            count: 100_000,
            attempt: Some(9_000),
            verify: 5_000,
            ..FELL_BACK
        };
        let (verdict, confidence) = verdict(&on.ios(cold));
        assert_eq!(verdict, Verdict::Disable);
        assert_eq!(confidence.certainty, Certainty::Weak);
    }

    #[test]
    fn a_verification_that_takes_the_whole_budget_is_ended() {
        let long = Ios {
            bytes: 1 << 20,
            verify: 2_560_000,
            ..IN_BH
        };
        let made = |release, era| Made::on(release, era).option().ios(long).ios(IN_BH);
        assert_eq!(verdict(&made("6.12.94", Era::Bh)).0, Verdict::Disable);
        let mut inline = made("7.3.4", Era::Inline);
        inline.0.use_bh_bytes = Some(vec![8_192, 8_192, 1 << 21, 0]);
        let (verdict, confidence) = verdict(&inline);
        assert!(matches!(verdict, Verdict::Limit([8_192, 8_192, lower, 0]) if lower < 1 << 20));
        assert_eq!(confidence.certainty, Certainty::Likely);
    }

    #[test]
    fn limits_are_raised_for_what_waits_and_is_verified_fast() {
        let large = Ios {
            bytes: 65_536,
            verify: 72_000,
            reason: Some(Reason::TooLarge),
            ..ON_KVERITYD
        };
        let fast = Ios {
            device: 10_000,
            ..large
        };
        let made = Made::on("7.3.4", Era::Inline)
            .option()
            .ios(Ios {
                count: 200,
                ..IN_BH
            })
            .ios(fast);
        let mut made = made;
        made.totals().hash_cache = Some(crate::snapshot::HashCache {
            hits: 30_000,
            ..crate::snapshot::HashCache::default()
        });
        assert_eq!(verdict(&made).0, Verdict::Limit([8_192, 8_192, 126_976, 0]));
    }

    #[test]
    fn what_was_not_seen_gives_no_verdict() {
        let mut lossy = off(Era::Bh);
        lossy.totals().loss.insert(Loss::TableFull, 200);
        let (of_loss, confidence) = verdict(&lossy);
        assert_eq!(of_loss, Verdict::NotEnoughData);
        assert!(confidence.reason.contains("1.96 %"), "{confidence:?}");
        let mut full = off(Era::Bh);
        full.totals().loss.insert(Loss::RingFull, 200);
        assert_eq!(verdict(&full).0, Verdict::Enable);
        let few = Made::on("6.12.94", Era::Bh).ios(Ios {
            count: 99,
            ..ON_KVERITYD
        });
        assert_eq!(verdict(&few).0, Verdict::NotEnoughData);
        let mut unseen = off(Era::Bh);
        unseen.0.devices[0].totals = None;
        assert_eq!(verdict(&unseen).0, Verdict::NotEnoughData);
    }

    #[test]
    fn doubts_make_a_verdict_weaker_and_are_named() {
        let mut newer = off(Era::Inline);
        newer.0.kernel.release = "8.0.0".to_owned();
        let advice = advise(&newer.case(), Err("not asked"), None);
        assert_eq!(advice.confidence.certainty, Certainty::Weak);
        assert!(
            advice
                .not_considered
                .iter()
                .any(|it| it.contains("Linux 7.3"))
        );
        let one_size = Made::on("6.1.192", Era::Inert).option().ios(ON_KVERITYD);
        let advice = advise(&one_size.case(), Err("not asked"), None);
        assert_eq!(advice.verdict, Verdict::NotEffective);
        assert!(
            advice
                .not_considered
                .iter()
                .any(|it| it.contains("about 4 KiB"))
        );
    }

    fn duration(mean: f64) -> Distribution {
        let mean = Estimate {
            value: mean,
            low: mean,
            high: mean,
        };
        Distribution {
            histogram: Histogram::default(),
            mean,
            median: mean,
        }
    }

    /// The mean total changes by that much, from 100 us.
    fn outcome(low: f64, high: f64) -> Outcome {
        let value = f64::midpoint(low, high);
        Outcome {
            ios: 10_000,
            wait: duration(20_000.0),
            total: duration(100_000.0 + value),
            change: Estimate { value, low, high },
            placements: BTreeMap::from([(Placement::Kverityd, 10_000)]),
            softirq: BTreeMap::new(),
            longest_in_softirq: None,
            duration: Nanos(1_000_000_000),
        }
    }

    fn forecast(settings: &[(bool, Option<[u64; 4]>, Outcome)]) -> Forecast {
        let settings = settings.iter();
        let settings = settings.map(|(option, use_bh_bytes, outcome)| {
            let setting = Setting {
                option: *option,
                use_bh_bytes: *use_bh_bytes,
            };
            (setting, outcome.clone())
        });
        Forecast {
            measured: outcome(0.0, 0.0),
            own: outcome(0.0, 0.0),
            settings: settings.collect(),
            unknown: Vec::new(),
        }
    }

    fn replayed(
        made: &Made,
        settings: &[(bool, Option<[u64; 4]>, Outcome)],
    ) -> (Verdict, Certainty) {
        let case = made.case();
        let forecast = forecast(settings);
        let (verdict, confidence) = of(&case, &rules::findings(&case).fired, Some(&forecast));
        (verdict, confidence.certainty)
    }

    #[test]
    fn a_forecast_decides_and_where_it_is_not_sure_more_likely_than_not_is_enough() {
        let cases = [
            ((-20_000.0, -3_000.0), Verdict::Enable, Certainty::Likely),
            ((-20_000.0, -1_000.0), Verdict::Enable, Certainty::Weak),
            ((-20_000.0, 15_900.0), Verdict::Enable, Certainty::Weak),
            ((-20_000.0, 16_100.0), Verdict::Keep, Certainty::Weak),
            ((-3_000.0, 0.0), Verdict::Keep, Certainty::Weak),
            ((-1_900.0, 40_000.0), Verdict::Keep, Certainty::Likely),
        ];
        for ((low, high), verdict, certainty) in cases {
            let found = replayed(&off(Era::Bh), &[(true, None, outcome(low, high))]);
            assert_eq!(found, (verdict, certainty), "{low} {high}");
        }
        // How far either end is off decides nothing.
        let mut lopsided = outcome(-6_000.0, 60_000.0);
        lopsided.change.value = -2_100.0;
        let found = replayed(&off(Era::Bh), &[(true, None, lopsided)]);
        assert_eq!(found, (Verdict::Enable, Certainty::Weak));
        let on = Made::on("6.12.94", Era::Bh).option().ios(IN_BH).ios(Ios {
            bytes: 8_192,
            ..IN_BH
        });
        for (high, verdict, certainty) in [
            (-5_000.0, Verdict::Disable, Certainty::Likely),
            (4_900.0, Verdict::Disable, Certainty::Weak),
            (5_100.0, Verdict::Keep, Certainty::Weak),
        ] {
            let found = replayed(&on, &[(false, None, outcome(-9_000.0, high))]);
            assert_eq!(found, (verdict, certainty), "{high}");
        }
    }

    /// Even where a forecast would settle it.
    #[test]
    fn a_forecast_from_what_tells_too_little_settles_nothing() {
        let gain = [(true, None, outcome(-20_000.0, -10_000.0))];
        let few = Ios {
            count: 49,
            ..ON_KVERITYD
        };
        let few = Made::on("6.12.94", Era::Bh).ios(few).ios(Ios {
            bytes: 8_192,
            ..few
        });
        let mut lossy = off(Era::Bh);
        lossy.totals().loss.insert(Loss::TableFull, 200);
        let mut unknown = off(Era::Bh);
        unknown.0.kernel.era = None;
        for (made, help) in [
            (few, "watch longer"),
            (lossy, "watch by fentry"),
            (unknown, "`verity-trace doctor`"),
        ] {
            let case = made.case();
            let fired = rules::findings(&case).fired;
            let (verdict, confidence) = of(&case, &fired, Some(&forecast(&gain)));
            assert_eq!(verdict, Verdict::NotEnoughData, "{confidence:?}");
            assert_eq!(confidence.certainty, Certainty::None, "{confidence:?}");
            assert!(confidence.reason.contains(help), "{confidence:?}");
        }
        let one_size = Made::on("6.12.94", Era::Bh).ios(ON_KVERITYD);
        let mut newer = off(Era::Bh);
        newer.0.kernel.release = "8.0.0".to_owned();
        let mut nameless = off(Era::Bh);
        nameless.0.kernel.release = "made by hand".to_owned();
        let mut lossy = off(Era::Bh);
        lossy.totals().loss.insert(Loss::TableFull, 50);
        let weak = (Verdict::Enable, Certainty::Weak);
        for (made, help) in [
            (one_size, "watch with a load as it will be"),
            (newer, "drivers/md/dm-verity-target.c"),
            (nameless, "drivers/md/dm-verity-target.c"),
            (lossy, "lost or incomplete"),
        ] {
            assert_eq!(replayed(&made, &gain), weak, "{help}");
            let advice = advise(&made.case(), Ok(&forecast(&gain)), None);
            let said = advice.not_considered.join("; ");
            assert!(said.contains(help), "{said}");
        }
        let likely = (Verdict::Enable, Certainty::Likely);
        assert_eq!(replayed(&off(Era::Bh), &gain), likely);
    }

    #[test]
    fn where_processes_share_a_cpu_a_forecast_is_weak() {
        let made = off(Era::Bh);
        let case = made.case();
        let mut forecast = forecast(&[(true, None, outcome(-20_000.0, -3_000.0))]);
        forecast.unknown.push(Unknown::Interleaved(60));
        let (verdict, confidence) = of(&case, &rules::findings(&case).fired, Some(&forecast));
        assert_eq!(
            (verdict, confidence.certainty),
            (Verdict::Enable, Certainty::Weak)
        );
        // What the kernel settles stays as sure as it is.
        let inert = Made::on("6.1.192", Era::Inert).ios(ON_KVERITYD).ios(LARGER);
        let inert = inert.option();
        let case = inert.case();
        let (verdict, confidence) = of(&case, &rules::findings(&case).fired, Some(&forecast));
        assert_eq!(
            (verdict, confidence.certainty),
            (Verdict::NotEffective, Certainty::Certain)
        );
    }

    #[test]
    fn where_many_attempts_give_up_no_forecast_is_certain_of_the_cache() {
        let cold = Outcome {
            placements: BTreeMap::from([(Placement::Fallback, 600), (Placement::Bh, 9_400)]),
            ..outcome(-20_000.0, -3_000.0)
        };
        let found = replayed(&off(Era::Bh), &[(true, None, cold)]);
        assert_eq!(found, (Verdict::Enable, Certainty::Weak));
    }

    #[test]
    fn whatever_a_forecast_says_no_io_is_to_take_the_whole_budget() {
        let large = Ios {
            bytes: 4 << 20,
            verify: 5_120_000,
            count: 100,
            ..ON_KVERITYD
        };
        let gain = [(true, None, outcome(-20_000.0, -10_000.0))];
        let found = replayed(&off(Era::Bh).ios(large), &gain);
        assert_eq!(found, (Verdict::Keep, Certainty::Likely));
    }

    #[test]
    fn of_the_limits_that_gain_the_best_is_taken_that_no_device_suffers_from() {
        let now = Some([8_192, 8_192, 8_192, 0]);
        let made = Made::on("7.3.4", Era::Inline)
            .option()
            .ios(IN_BH)
            .ios(LARGER);
        let limits = |bytes| Some([bytes, bytes, bytes, 0]);
        let settings = [
            (false, now, outcome(1_000.0, 2_000.0)),
            (true, now, outcome(0.0, 0.0)),
            (true, limits(16_384), outcome(-4_000.0, -3_000.0)),
            (true, limits(65_536), outcome(-8_000.0, -6_000.0)),
            // 5 us a block: in 200 us there are 40.
            (true, limits(1 << 20), outcome(-20_000.0, -15_000.0)),
        ];
        let found = replayed(&made, &settings);
        let expected = Verdict::Limit([65_536, 65_536, 65_536, 0]);
        assert_eq!(found, (expected, Certainty::Likely));
        // Between -2.2 and -8 %: enough where it is the only one, and not sure as the best of four.
        let near = (true, limits(32_768), outcome(-8_000.0, -2_200.0));
        let found = replayed(
            &made,
            &[&settings[..2], std::slice::from_ref(&near)].concat(),
        );
        let expected = Verdict::Limit([32_768, 32_768, 32_768, 0]);
        assert_eq!(found, (expected, Certainty::Likely));
        let near_best = near.clone();
        let others = [4_096, 16_384, 131_072];
        let others = others.map(|bytes| (true, limits(bytes), outcome(-500.0, 500.0)));
        let found = replayed(&made, &[&settings[..2], &[near], &others].concat());
        assert_eq!(found, (expected, Certainty::Weak));
        // Unless it is better to be rid of the option.
        let off = (false, now, outcome(-25_000.0, 5_000.0));
        let found = replayed(
            &made,
            &[&[off, settings[1].clone()], &others[..], &[near_best]].concat(),
        );
        assert_eq!(found, (Verdict::Disable, Certainty::Weak));
        // Half of 3 % does not matter.
        let little = (true, limits(32_768), outcome(-4_000.0, -2_000.0));
        let found = replayed(&made, &[&settings[..2], &[little]].concat());
        assert_eq!(found, (Verdict::Keep, Certainty::Likely));
        let found = replayed(&made, &settings[..2]);
        assert_eq!(found, (Verdict::Keep, Certainty::Likely));
    }
}
