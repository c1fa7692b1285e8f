//! Where the time of I/Os went, stage by stage: bars, and the same in words.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::format;
use crate::histogram::Nanos;
use crate::snapshot::{Stage, Totals, stage_name};

/// How long stages took together, and all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    stages: BTreeMap<Stage, u128>,
    total: u128,
}

impl Parts {
    /// Of all I/Os that these totals count.
    pub fn of<'a>(totals: impl IntoIterator<Item = &'a Totals>) -> Self {
        let mut parts = Self::default();
        let placements = totals.into_iter().flat_map(|it| it.placements.values());
        for (&stage, histogram) in placements.flat_map(|these| &these.stages) {
            parts.add(stage, histogram.sum());
        }
        parts
    }

    /// Of one I/O.
    pub fn of_io(stages: &BTreeMap<Stage, Nanos>, total: Nanos) -> Self {
        let mut parts = Self::default();
        for (&stage, &ns) in stages {
            parts.add(stage, ns);
        }
        parts.total = total.0.into();
        parts
    }

    fn add(&mut self, stage: Stage, Nanos(ns): Nanos) {
        match stage {
            Stage::Total => self.total += u128::from(ns),
            part => *self.stages.entry(part).or_default() += u128::from(ns),
        }
    }

    /// All the time in nanoseconds.
    pub const fn total(&self) -> u128 {
        self.total
    }

    /// The share of a stage, from 0 to 1; absent when no time passed.
    pub fn share(&self, stage: Stage) -> Option<f64> {
        let these = self.stages.get(&stage).copied().unwrap_or(0);
        self.share_of(these)
    }

    /// The time of all stages but the device's: what verification added.
    pub fn verification(&self) -> u128 {
        let stages = self.stages.iter();
        let these = stages.filter(|&(&stage, _)| stage != Stage::Device);
        these.map(|(_, ns)| ns).sum()
    }

    /// The share of it.
    pub fn verification_share(&self) -> Option<f64> {
        self.share_of(self.verification())
    }

    /// The longest stage; absent when there is none.
    pub fn longest(&self) -> Option<Stage> {
        let longest = self.stages.iter().max_by_key(|&(_, ns)| ns)?;
        Some(*longest.0)
    }

    /// The stages that took any time, and then the time of which no stage was seen.
    fn parts(&self) -> Vec<(Option<Stage>, u128)> {
        let known = self.stages.iter().map(|(&stage, &ns)| (Some(stage), ns));
        let parts = known.chain([(None, self.unseen())]);
        parts.filter(|&(_, ns)| ns > 0).collect()
    }

    /// The time of which no stage was seen.
    pub fn unseen(&self) -> u128 {
        let seen: u128 = self.stages.values().sum();
        self.total.saturating_sub(seen)
    }

    fn share_of(&self, part: u128) -> Option<f64> {
        (self.total > 0).then(|| part as f64 / self.total as f64)
    }

    /// A bar with a piece for each, as long as its share of `whole`.
    pub fn bar(&self, whole: u128) -> Markup {
        let scaled = |ns: u128| format!("{:.1}", ns as f64 * 1_000.0 / whole.max(1) as f64);
        let pieces = self.parts().into_iter().scan(0, |end, (stage, ns)| {
            let start = *end;
            *end += ns;
            Some((stage, scaled(start), scaled(ns)))
        });
        html! {
            svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
                @for (stage, start, width) in pieces {
                    rect class=(class(stage)) x=(start) y="0" width=(width) height="10" {}
                }
            }
        }
    }

    /// The same in words, as shares.
    pub fn shares(&self) -> Markup {
        let shares = format::shares(self.parts());
        self.words(|stage, _| shares.get(&stage).cloned().unwrap_or_default())
    }

    /// The same in words, as durations.
    pub fn durations(&self) -> Markup {
        self.words(|_, ns| format::duration(Nanos(u64::try_from(ns).unwrap_or(u64::MAX))))
    }

    fn words(&self, text: impl Fn(Option<Stage>, u128) -> String) -> Markup {
        html! {
            span.parts {
                @for (stage, ns) in self.parts() {
                    span { (key(stage)) (stage.map_or("not seen", stage_name)) " " (text(stage, ns)) }
                    " "
                }
            }
        }
    }
}

/// The colour of a stage, beside its name.
fn key(stage: Option<Stage>) -> Markup {
    html! {
        svg.key viewBox="0 0 10 10" aria-hidden="true" {
            rect class=(class(stage)) width="10" height="10" {}
        }
    }
}

fn class(stage: Option<Stage>) -> &'static str {
    match stage {
        Some(stage) => stage_name(stage),
        None => "unseen",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_stage_accounts_for_is_said_to_be_unseen() {
        let stages = [(Stage::Device, Nanos(600)), (Stage::Verify, Nanos(100))];
        let parts = Parts::of_io(&stages.into(), Nanos(1_000));
        let expected = [
            (Some(Stage::Device), 600),
            (Some(Stage::Verify), 100),
            (None, 300),
        ];
        assert_eq!(parts.parts(), expected);
        assert_eq!(parts.longest(), Some(Stage::Device));
        assert_eq!(parts.verification(), 100);
        let words = parts.durations().into_string();
        assert!(words.contains("not seen 300 ns"), "{words}");
        let bar = parts.bar(2_000).into_string();
        assert!(
            bar.contains(r#"class="verify" x="300.0" y="0" width="50.0""#),
            "{bar}"
        );
    }

    #[test]
    fn no_time_has_no_shares() {
        let parts = Parts::of([]);
        assert_eq!(parts.verification_share(), None);
        assert_eq!(parts.share(Stage::Wait), None);
        assert!(parts.parts().is_empty());
    }
}
