//! Shapes of the numbers that have a known cause, one to a file. `docs/patterns.md` says of each what it looks like
//! and what to do.

mod all_too_large;
mod class_without_limit;
mod device_dominates;
mod fallbacks_eat_the_gain;
mod gives_way;
mod hashed_without_simd;
mod large_in_one_softirq;
mod not_the_question;
mod one_cpu_verifies;
mod option_inert;
mod prefetch_too_small;
mod slow_hash;
mod softirq_budget;
mod task_completion;
mod tasklet_unsafe;
mod wait_dominates;

pub use softirq_budget::BUDGET;

use super::case::Case;

/// A rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its name, for ever.
    pub id: &'static str,
    /// Where its threshold is from.
    pub source: &'static str,
    /// What it finds.
    pub check: fn(&Case<'_>) -> Outcome,
}

/// What a rule finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is so; the sentence has the numbers.
    Fires(String),
    /// It is not so.
    Quiet,
    /// What would tell was not seen; the text says what, and how to get it.
    NotEnoughData(String),
}

/// A rule that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub id: &'static str,
    /// What was found.
    pub sentence: String,
    /// Where the threshold is from.
    pub source: &'static str,
}

/// Every rule, those first that make others meaningless.
pub const RULES: [Rule; 16] = [
    not_the_question::RULE,
    option_inert::RULE,
    tasklet_unsafe::RULE,
    wait_dominates::RULE,
    device_dominates::RULE,
    fallbacks_eat_the_gain::RULE,
    hashed_without_simd::RULE,
    large_in_one_softirq::RULE,
    softirq_budget::RULE,
    task_completion::RULE,
    all_too_large::RULE,
    class_without_limit::RULE,
    gives_way::RULE,
    one_cpu_verifies::RULE,
    slow_hash::RULE,
    prefetch_too_small::RULE,
];

/// What all rules found.
#[derive(Debug)]
pub struct Findings {
    /// Those that fired.
    pub fired: Vec<Finding>,
    /// What the others would need, with the rules that do.
    pub unanswered: Vec<(String, Vec<&'static str>)>,
}

/// Asks every rule.
pub fn findings(case: &Case<'_>) -> Findings {
    let mut found = Findings {
        fired: Vec::new(),
        unanswered: Vec::new(),
    };
    for Rule { id, source, check } in RULES {
        match check(case) {
            Outcome::Fires(sentence) => found.fired.push(Finding {
                id,
                sentence,
                source,
            }),
            Outcome::Quiet => {}
            Outcome::NotEnoughData(what) => {
                let known = found.unanswered.iter_mut().find(|(it, _)| *it == what);
                match known {
                    Some((_, rules)) => rules.push(id),
                    None => found.unanswered.push((what, vec![id])),
                }
            }
        }
    }
    found
}

/// Fires where it is so.
fn fires_if(is_so: bool, sentence: impl FnOnce() -> String) -> Outcome {
    if is_so {
        Outcome::Fires(sentence())
    } else {
        Outcome::Quiet
    }
}

fn lacks(what: &str) -> Outcome {
    Outcome::NotEnoughData(what.to_owned())
}

#[cfg(test)]
pub(super) mod fixture;
