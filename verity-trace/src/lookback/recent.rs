//! What happened in a window before a snapshot, found out of each device when it is asked for: of hundreds a screen
//! shows few, and of these mostly sums.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::Kept;
use super::packed::Packed;
use crate::aggregate;
use crate::histogram::{Histogram, Nanos, Slots};
use crate::snapshot::{Cpu, Device, Placement, PlacementTotals, Reason, Snapshot, Stage, Totals};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    interval: Option<Duration>,
    cpus: Vec<Cpu>,
    before: Before,
    /// The snapshot, where devices that are asked for have counts alone.
    now: Option<Arc<Kept>>,
}

/// What there had been when the window began.
#[derive(Clone, Debug, Default)]
pub(super) enum Before {
    /// The snapshot itself says what happened since.
    #[default]
    Told,
    /// Nothing: it began with the start.
    Nothing,
    /// This.
    Kept(Arc<Kept>),
}

impl Recent {
    /// What a snapshot itself says of the time before it ([`Snapshot::interval`]).
    #[must_use]
    pub fn told(snapshot: &Snapshot) -> Self {
        Self::new(snapshot, Before::Told)
    }

    pub(super) fn new(snapshot: &Snapshot, before: Before) -> Self {
        let since = |watched| Some(snapshot.watched.saturating_sub(watched));
        let (interval, cpus) = match &before {
            Before::Told => (snapshot.interval, snapshot.recent_cpus.clone()),
            Before::Nothing => (
                since(Duration::ZERO),
                aggregate::cpus_since(&snapshot.cpus, &[]),
            ),
            Before::Kept(kept) => (
                since(kept.watched),
                aggregate::cpus_since(&snapshot.cpus, kept.cpus()),
            ),
        };
        Self {
            interval,
            cpus,
            before,
            now: None,
        }
    }

    /// The same for devices that have counts alone, from the snapshot as it was kept.
    pub(super) fn looked_up(self, now: Option<Arc<Kept>>) -> Self {
        Self { now, ..self }
    }

    /// How long the window really is; absent where nothing is known of the time before the snapshot.
    #[must_use]
    pub const fn interval(&self) -> Option<Duration> {
        self.interval
    }

    /// What each CPU did in it.
    #[must_use]
    pub fn cpus(&self) -> &[Cpu] {
        &self.cpus
    }

    /// What a device of the snapshot did in it; absent where that is not known.
    #[must_use]
    pub fn of<'a>(&'a self, device: &'a Device) -> Option<Did<'a>> {
        let device = match &self.now {
            Some(now) => now.device(device)?,
            None => device,
        };
        let (now, earlier) = match &self.before {
            Before::Told => (&device.recent, Earlier::Apart),
            Before::Nothing => (&device.totals, Earlier::Nothing),
            Before::Kept(kept) => (&device.totals, kept.totals(device)),
        };
        now.as_ref().map(|now| Did { now, earlier })
    }
}

/// What a device did in a window.
#[derive(Clone, Copy, Debug)]
pub struct Did<'a> {
    now: &'a Totals,
    earlier: Earlier<'a>,
}

/// What there is to be taken away from what a device has done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Earlier<'a> {
    /// It has been taken away already.
    Apart,
    Nothing,
    Whole(&'a Totals),
    Packed(&'a Packed),
}

impl<'a> Earlier<'a> {
    /// All but how long it took.
    fn counts(self, placement: Placement) -> Option<&'a PlacementTotals> {
        match self {
            Self::Apart | Self::Nothing => None,
            Self::Whole(totals) => totals.placements.get(&placement),
            Self::Packed(packed) => packed.counts(placement),
        }
    }

    /// How long a stage took, all added up.
    fn time(self, placement: Placement, stage: Stage) -> Nanos {
        match self {
            Self::Apart | Self::Nothing => Nanos(0),
            Self::Whole(totals) => {
                let placement = totals.placements.get(&placement);
                let stage = placement.and_then(|it| it.stages.get(&stage));
                stage.map_or(Nanos(0), Histogram::sum)
            }
            Self::Packed(packed) => packed.stage(placement, stage).0,
        }
    }
}

impl<'a> Did<'a> {
    /// I/Os and bytes of each placement that happened.
    pub fn placements(self) -> impl Iterator<Item = (Placement, u64, u64)> + use<'a> {
        self.happened().map(|(placement, now, before)| {
            let less = |count: fn(&PlacementTotals) -> u64| {
                count(now).saturating_sub(before.map_or(0, count))
            };
            (placement, less(|it| it.ios), less(|it| it.bytes))
        })
    }

    /// I/Os finished.
    #[must_use]
    pub fn ios(self) -> u64 {
        self.placements().map(|(_, ios, _)| ios).sum()
    }

    /// Nanoseconds that the stages took, all added up, of each placement that happened.
    pub fn times(self) -> impl Iterator<Item = (Placement, Stage, Nanos)> + use<'a> {
        self.happened().flat_map(move |(placement, now, _)| {
            now.stages.iter().map(move |(&stage, histogram)| {
                let Nanos(before) = self.earlier.time(placement, stage);
                let time = Nanos(histogram.sum().0.saturating_sub(before));
                (placement, stage, time)
            })
        })
    }

    /// Why most I/Os of a placement were not verified in BH or inline; absent where none has a reason.
    #[must_use]
    pub fn main_reason(self, placement: Placement) -> Option<Reason> {
        let (_, now, before) = self.happened().find(|&(it, ..)| it == placement)?;
        let new = now.reasons.iter().map(|(&reason, ios)| {
            let before = before.and_then(|it| it.reasons.get(&reason));
            (reason, ios.saturating_sub(before.copied().unwrap_or(0)))
        });
        let (reason, ios) = new.max_by_key(|&(_, ios)| ios)?;
        (ios > 0).then_some(reason)
    }

    /// How long a stage took, over all placements.
    #[must_use]
    pub fn stage(self, stage: Stage) -> Histogram {
        let mut slots = Slots::default();
        self.add_stage(stage, &mut slots);
        slots.histogram()
    }

    /// Adds how long it took to what others did.
    pub fn add_stage(self, stage: Stage, slots: &mut Slots) {
        for (placement, now) in self.histograms(stage) {
            match self.earlier {
                Earlier::Apart | Earlier::Nothing => slots.add(now.slots(), now.sum()),
                Earlier::Whole(totals) => {
                    let before = totals.placements.get(&placement);
                    match before.and_then(|it| it.stages.get(&stage)) {
                        Some(before) => slots.add_since(now, before),
                        None => slots.add(now.slots(), now.sum()),
                    }
                }
                Earlier::Packed(packed) => {
                    let (Nanos(time), before) = packed.stage(placement, stage);
                    let sum = Nanos(now.sum().0.saturating_sub(time));
                    slots.add(now.slots_since(before), sum);
                }
            }
        }
    }

    /// All of it.
    #[must_use]
    pub fn totals(self) -> Cow<'a, Totals> {
        match self.earlier {
            Earlier::Apart => Cow::Borrowed(self.now),
            Earlier::Nothing => Cow::Owned(aggregate::since(self.now, &Totals::default())),
            Earlier::Whole(before) => Cow::Owned(aggregate::since(self.now, before)),
            Earlier::Packed(before) => Cow::Owned(aggregate::since(self.now, &before.totals())),
        }
    }

    /// What a stage took until now, for each placement that happened in the window.
    fn histograms(self, stage: Stage) -> impl Iterator<Item = (Placement, &'a Histogram)> {
        self.happened()
            .filter_map(move |(placement, now, _)| Some((placement, now.stages.get(&stage)?)))
    }

    /// The placements that happened in the window, each with what it did until now, and what it had done before but
    /// for how long that took.
    fn happened(
        self,
    ) -> impl Iterator<Item = (Placement, &'a PlacementTotals, Option<&'a PlacementTotals>)> + use<'a>
    {
        self.now
            .placements
            .iter()
            .filter_map(move |(&placement, now)| {
                let before = self.earlier.counts(placement);
                let had = before.map_or(0, |it| it.ios);
                (now.ios > had).then_some((placement, now, before))
            })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const PLACEMENTS: [Placement; 3] = [Placement::Kverityd, Placement::Bh, Placement::Fallback];
    const STAGES: [Stage; 3] = [Stage::Wait, Stage::Verify, Stage::Total];

    /// I/Os, each with its placement and how long every stage took.
    fn totals(ios: &[(usize, [u64; 3])]) -> Totals {
        let mut totals = Totals::default();
        for &(placement, times) in ios {
            let these = totals.placements.entry(PLACEMENTS[placement]).or_default();
            these.ios += 1;
            these.bytes += 4_096;
            for (stage, ns) in STAGES.into_iter().zip(times) {
                these.stages.entry(stage).or_default().add(Nanos(ns));
            }
        }
        totals
    }

    #[test]
    fn the_main_reason_is_that_of_the_window() {
        let with = |reasons: &[(Reason, u64)]| {
            let mut totals = totals(&[(0, [64; 3]); 9][..if reasons.len() > 1 { 9 } else { 5 }]);
            let kverityd = totals.placements.get_mut(&Placement::Kverityd);
            kverityd.expect("kverityd").reasons = reasons.iter().copied().collect();
            totals
        };
        let before = with(&[(Reason::TooLarge, 5)]);
        let now = with(&[(Reason::TooLarge, 6), (Reason::NeedResched, 3)]);
        let did = |earlier| Did { now: &now, earlier };
        let of = |did: Did<'_>| did.main_reason(Placement::Kverityd);
        assert_eq!(of(did(Earlier::Nothing)), Some(Reason::TooLarge));
        let window = did(Earlier::Whole(&before));
        assert_eq!(of(window), Some(Reason::NeedResched));
        assert_eq!(window.main_reason(Placement::Bh), None);
    }

    fn ios() -> impl Strategy<Value = Vec<(usize, [u64; 3])>> {
        prop::collection::vec(
            (0usize..3, [64u64..1 << 20, 64..1 << 20, 64..1 << 20]),
            0..40,
        )
    }

    proptest! {
        /// However it is kept what there was before, what is found out of it one by one is what a snapshot would
        /// say.
        #[test]
        fn a_part_is_that_of_all_of_it(before in ios(), new in ios()) {
            let all: Vec<_> = before.iter().chain(&new).copied().collect();
            let (before, now) = (totals(&before), totals(&all));
            let packed = Packed::new(&before);
            let told = aggregate::since(&now, &before);
            prop_assert_eq!(&told, &totals(&new));
            let earlier = [
                (&now, Earlier::Whole(&before)),
                (&now, Earlier::Packed(&packed)),
                (&told, Earlier::Apart),
                (&told, Earlier::Nothing),
            ];
            for (now, earlier) in earlier {
                let did = Did { now, earlier };
                let all = did.totals();
                prop_assert_eq!(&*all, &told);
                prop_assert_eq!(did.ios(), all.ios());
                let placements: BTreeMap<_, _> =
                    did.placements().map(|(it, ios, bytes)| (it, (ios, bytes))).collect();
                let expected = all.placements.iter().map(|(&it, these)| (it, (these.ios, these.bytes)));
                prop_assert_eq!(placements, expected.collect());
                for stage in STAGES {
                    prop_assert_eq!(did.stage(stage), all.stage(stage));
                    let times = did.times().filter(|it| it.1 == stage);
                    prop_assert_eq!(times.map(|(.., Nanos(ns))| ns).sum::<u64>(), all.stage(stage).sum().0);
                }
            }
        }
    }
}
