//! What each step of a verification costs: as the recording tells, or else as a prior with its range.
//!
//! Priors are ratios wherever they can be. So what was measured of one placement also tells how fast the machine is.

use std::collections::{BTreeMap, HashMap};

use super::begins::{Begin, each_begin};
use super::load::{Arrival, Seen};
use super::trace::each_spacing;
use super::{Facts, Unknown};
use crate::snapshot::{Completion, Era};
use verity_trace_ebpf::sending::scattered;

/// How a verification comes to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// A worker of kverityd is woken.
    Kverityd = 0,
    /// A softirq is raised in an interrupt or in a softirq, and runs on the way out.
    Softirq = 1,
    /// A softirq is raised in a task, which wakes ksoftirqd.
    Ksoftirqd = 2,
    /// The completion calls it.
    Inline = 3,
}

impl Way {
    const ALL: [Self; 4] = [Self::Kverityd, Self::Softirq, Self::Ksoftirqd, Self::Inline];

    /// The way into softirq from this completion.
    pub const fn into_softirq(completion: Completion) -> Self {
        match completion {
            Completion::Task => Self::Ksoftirqd,
            _ => Self::Softirq,
        }
    }

    /// The way in which the verification of this one began, or its first attempt.
    pub const fn of(io: &Arrival) -> Self {
        match io.seen {
            Seen::Kverityd => Self::Kverityd,
            Seen::Softirq | Seen::SoftirqGaveUp => Self::into_softirq(io.completion),
            Seen::Inline | Seen::InlineGaveUp => Self::Inline,
        }
    }

    const fn unknown(self) -> Unknown {
        match self {
            Self::Kverityd => Unknown::KverityDispatch,
            Self::Softirq => Unknown::BhDispatch,
            Self::Ksoftirqd => Unknown::KsoftirqdDispatch,
            Self::Inline => Unknown::InlineDispatch,
        }
    }
}

/// A number that is not measured, and between what it may be.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Prior {
    middle: f64,
    low: f64,
    high: f64,
}

impl Prior {
    const fn new(middle: f64, low: f64, high: f64) -> Self {
        Self { middle, low, high }
    }

    const fn at(self, end: Option<End>) -> f64 {
        match end {
            None => self.middle,
            Some(End::Low) => self.low,
            Some(End::High) => self.high,
        }
    }
}

/// How long a verification takes to begin where nobody is ahead, in units of what it then takes on kverityd, by
/// [`Way::ALL`]. Sources: `cargo xtask score`, which counts instructions, seeds 1 and 2, the shortest tenth of each case:
/// kverityd 4,500 to 12,000 and BH 2,100 (6.12), kverityd 5,200 to 16,200 and BH 2,480 (7.3), where the longer ones
/// had a task in the kernel ahead; ksoftirqd 5,200 to 5,500 for 5,250 (6.12); inline 462 for 19,600 (7.3, in a task).
/// By the clock: BH to kverityd 32 to 46 us (6.12), 54 to 94 us (7.3) in recordings of the demos' load.
const DISPATCH: [Prior; 4] = [
    Prior::new(1.0, 0.7, 1.5),
    Prior::new(0.4, 0.15, 0.7),
    Prior::new(1.05, 0.9, 1.5),
    Prior::new(0.05, 0.01, 0.15),
];
/// The same where only verifications inline were measured. These are mostly in the task that completes, which goes on until it
/// leaves the kernel before kverityd begins: 19,600 for 462.
const FROM_INLINE: Prior = Prior::new(2.1, 1.0, 3.0);
/// The same where only those in BH after an interrupt were, which never have a task ahead: 4,500 to 5,400 for 2,100 (6.12),
/// 5,200 to 7,000 for 2,480 (7.3) where kverityd had none either.
const FROM_SOFTIRQ: Prior = Prior::new(1.0, 0.7, 1.6);
/// The same where only ksoftirqd began with any, of whose waits the shortest tenth is what kverityd takes mostly: 4,615, 4,780 and 5,013
/// for 4,683, 4,848 and 5,081 (6.12).
const FROM_KSOFTIRQD: Prior = Prior::new(1.066, 1.0, 1.2);
/// What BH takes to begin after an interrupt, in units of what a verification of 4 KiB takes: another clue, which no task that kverityd
/// waited for makes longer. Source: 2,100 to 11,700 (6.12), 2,480 to 12,000 (7.3).
const BH_TO_VERIFICATION: f64 = 0.2;
/// What kverityd takes of a task's CPU when that maps an I/O whose hash blocks are in the cache, to prefetch them: in units of what it
/// takes to begin. Source: a task hands 4 KiB over in 24,000 instructions, and in 4,000 where kverityd comes later, for 5,000 (6.12).
const PREFETCH: Prior = Prior::new(4.0, 2.0, 5.0);
/// How much longer that takes without `try_verify_in_tasklet`, in the same units: a cache whose clients may sleep has a mutex in the
/// place of a spinlock. Source: 540 to 770 (6.12).
const PREFETCH_SLEEPS: Prior = Prior::new(0.14, 0.0, 0.2);
/// So long a task stays in the kernel after it has mapped an I/O, in the same units: without full preemption kverityd begins after
/// that (`CONFIG_PREEMPT_VOLUNTARY`, `CONFIG_PREEMPT_LAZY`), and BH does not wait for it. Source: in these cases kverityd still
/// waits for it 17,000 (6.12) and 21,000 (7.3) instructions after.
const SUBMITS: Prior = Prior::new(3.3, 0.0, 6.0);
const SUBMITS_INLINE: Prior = Prior::new(4.0, 0.0, 6.0);
/// The same as a part of the time until it maps the next one without waiting for any, where that is known. Source: kverityd, which
/// then takes 5,200, begins 22,400 after it where that is 34,000 (6.12); 25,600 to 26,800 beside what bytes take, with 34,000 (7.3).
const SUBMITS_OF_SPACING: Prior = Prior::new(0.5, 0.0, 0.8);
const SUBMITS_OF_SPACING_INLINE: Prior = Prior::new(0.6, 0.0, 0.9);
/// So long after it has mapped one a task begins to hand its bytes over, if no verification comes between: in the same units, and as a part
/// of that time. With voluntary preemption, as kernels of this era mostly have it, the task lets kverityd prefetch before.
/// Source: 25,000 with 34,000 from one to the next, or 4,000 where there is no prefetch (6.12).
const HANDS_OVER: Prior = Prior::new(4.7, 0.5, 6.0);
const HANDS_OVER_OF_SPACING: Prior = Prior::new(0.7, 0.1, 1.0);
/// The same on 6.15 and later, which wait until the task leaves the kernel: 4,000 to 6,000 with 34,000 from one to the next (7.3).
const HANDS_OVER_INLINE: Prior = Prior::new(0.5, 0.25, 2.0);
const HANDS_OVER_INLINE_OF_SPACING: Prior = Prior::new(0.2, 0.1, 0.6);
/// The part of the CPU that ksoftirqd has, to that of each task which would go on, where they complete I/Os of which they keep
/// several in flight: as much, as all have nice 0. One that goes on maps its next I/O before. Source: 28 to 52 % do with one
/// process, 70 and 76 % with three (6.12).
const KSOFTIRQD: Prior = Prior::new(1.0, 0.25, 3.0);
/// The same of a task that was never seen with two in flight: it waits for each, unless it only seems so since kverityd, which has
/// more right to the CPU, verified before it went on. Source: 39 % where fio had eight, and was never seen with two.
const KSOFTIRQD_ALONE: Prior = Prior::new(f64::INFINITY, 0.25, f64::INFINITY);
/// From the end of a verification to the begin of the next one that waits for the same worker, in the same units: the
/// end of one work and the begin of another, without a wake-up (`process_one_work`, kernel/workqueue.c). Source: in
/// these cases 2,900 to 3,300 in BH, 2,600 to 5,400 on kverityd, and 18,000 where it has a prefetch between.
const HAND_OVER: [Prior; 4] = [
    Prior::new(0.55, 0.3, 3.5),
    Prior::new(0.55, 0.3, 1.2),
    Prior::new(0.55, 0.3, 1.2),
    Prior::new(0.55, 0.3, 1.2),
];
/// What a verification takes in softirq, as a ratio to kverityd: the same hashing, with locks that do not sleep. Source: in
/// these cases 1.03 (4 KiB), 1.01 (8 KiB), 0.99 to 1.00 (128 KiB).
const IN_SOFTIRQ: Prior = Prior::new(1.01, 0.95, 1.1);
/// How many times as long it takes where the softirq interrupted kverityd while that was hashing: on x86 before 6.15 the vector unit
/// is not to be had then, and the hash is computed without (`crypto_simd_usable`; mended by d02198550423, "x86/fpu: Improve crypto
/// performance by making kernel-mode FPU reliably usable in softirqs"). Source: 231,000 instructions for 12,000 (6.12, SHA-NI), of which
/// `verity_hash` takes 227,600; a factor of 3 to 8 by the clock, and 1 on other architectures.
const WITHOUT_SIMD: Prior = Prior::new(10.0, 1.0, 20.0);
/// Nothing else makes the same hashing take so many times as long.
const SAME_WORK: f64 = 2.0;
/// How long an attempt takes until it gives up, as a ratio to a whole verification with a warm cache. The first
/// hash block that is missing ends it (`verity_verify_level`, drivers/md/dm-verity-target.c). Source: 0.07 in
/// instructions; 0.6 to 1.6 by the clock in the demos, where a cold path is new to the CPU too.
const ATTEMPT: Prior = Prior::new(0.2, 0.05, 1.2);
/// A verification on kverityd that takes so many times as long as the fastest of its size waited for a hash block. There is no
/// sharp edge: one that a worker was interrupted in looks alike, so it may also be none at all, unless there are more of them than
/// [`INTERRUPTED`]; and one that is twice as long has hashed a hash block that was read in time for kverityd, and may be too
/// late for BH. Source: 11,700 where nothing is missing, 23,600 with a hash block that was read before, from 77,000 on where
/// one is that takes 50 us (6.12, 7.3).
const COLD: Prior = Prior::new(3.0, 1.8, f64::INFINITY);
/// No more verifications than these take many times as long for another reason than a missing hash block: nothing but an interrupt
/// or a thread of real time comes before a worker of nice -20. Source: one in 400 with a warm cache, at a tick of the clock; in
/// instructions, so that a machine whose host is busy may have more, for which no verdict is better than weak then.
const INTERRUPTED: f64 = 0.05;
/// How often the CPU has another task to run when an I/O completes in an interrupt. Source: 2.7 % (virtio-blk) and
/// 10 % (nvme) of 5,400 on a loaded machine with two CPUs in emulation; none of 5,400 where a task completes them.
const GIVES_WAY: Prior = Prior::new(0.03, 0.0, 0.12);
/// So many tell a distribution.
const LEAST: usize = 30;
/// Where fewer than one in so many attempts give up, these say less of how long kverityd takes to begin with others.
const MANY_GIVE_UP: u64 = 4;
/// Values of a distribution that are kept.
const KEPT: usize = 1_024;
/// One in so many verifications of a size takes no longer than those that have no hash block to read, also where the cache
/// is cold: none of them is faster.
const WARMEST: usize = 20;
/// One in so many waits is one that nobody was ahead of, not even another interrupt or a task in the kernel.
const NOBODY_AHEAD: usize = 10;
/// Sizes that the time of a verification is learned of one by one.
const LEAST_OF_SIZE: usize = 20;
/// As many I/Os tell how long it takes a task to hand one over, whose device then copies it (`null_blk`), or has every page of it mapped
/// for DMA. It varies little: 38,600 to 38,800 for 80 of 100 of 4 KiB, 105,100 to 106,400 for those of 64 KiB.
const LEAST_SPACINGS: usize = 5;
/// The same of each of several sizes: some are handed over before kverityd prefetches for them, which takes 21,000 less, and where that
/// are most of one size, the line through the sizes is none. Source: 4 of 7 of 4 KiB, 5 of 5 of 8 KiB, 3 of 8 of 64 KiB (6.12).
const LEAST_SPACINGS_OF_SIZE: usize = 10;

/// An end of a prior's range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Low,
    High,
}

/// Which prior is at an end of its range, and which end.
pub(super) type Bent = Option<(Knob, End)>;

/// What is not measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knob {
    Dispatch(Way),
    HandOver(Way),
    InSoftirq,
    Attempt,
    WithoutSimd,
    Cold,
    GivesWay,
    BehindTask,
    Submission,
    Prefetch,
    GoesOn,
}

impl Knob {
    /// What is said of it.
    pub const fn unknown(self) -> Unknown {
        match self {
            Self::Dispatch(way) => way.unknown(),
            Self::HandOver(_) => Unknown::HandOver,
            Self::InSoftirq | Self::WithoutSimd => Unknown::SoftirqCost,
            Self::Attempt => Unknown::AttemptCost,
            Self::Cold => Unknown::ColdCache,
            Self::GivesWay => Unknown::NeedResched,
            Self::BehindTask => Unknown::KverityDispatch,
            Self::Submission => Unknown::Submission,
            Self::Prefetch => Unknown::Prefetch,
            Self::GoesOn => Unknown::KsoftirqdDispatch,
        }
    }
}

/// What the recording tells.
#[derive(Clone, Debug)]
pub(super) struct Learned {
    /// How long verifications took to begin on an idle CPU, by [`Way`], in order; empty where too few did.
    dispatch: [Vec<u64>; 4],
    /// Whether kverityd began only with verifications of which an attempt had given up, and these were few: those that waited longest
    /// did so for what they gave up for.
    few_gave_up: bool,
    /// Whether so many verifications waited for a hash block, or gave up for one, that the cache is cold.
    is_cold: bool,
    hand_over: [Option<u64>; 4],
    kverityd: Verification,
    softirq: Verification,
    /// What an attempt takes that gave up; absent where too few did.
    attempt: Option<u64>,
    /// The share of I/Os in whose completion the CPU had another task to run, of those that the kernel asked for; absent
    /// where it asked for too few.
    gives_way: Option<f64>,
    /// The share of verifications on kverityd that look as if they waited for a hash block.
    long: f64,
    /// From when a task maps an I/O until it maps the next one without waiting for any: nanoseconds that all have in common, and
    /// those of each byte; absent where sizes do not tell.
    spacing: Option<(f64, f64)>,
}

impl Learned {
    /// From these stretches of time.
    pub fn from<'a>(spans: impl Iterator<Item = &'a [Arrival]>, facts: &Facts) -> Self {
        let mut samples = Samples::default();
        for span in spans {
            samples.add(span);
        }
        samples.learned(facts)
    }

    /// Made up: how long verifications take to begin, always; from one to the next; bytes with what they take; and
    /// what an attempt does.
    #[cfg(test)]
    pub fn fixed(
        dispatch: [u64; 4],
        hand_over: [u64; 4],
        bytes: u32,
        ns: u64,
        attempt: u64,
    ) -> Self {
        let verification = Verification {
            by_size: BTreeMap::from([(bytes, ns)]),
            line: Some((0.0, ns as f64 / f64::from(bytes))),
        };
        Self {
            dispatch: dispatch.map(|it| vec![it]),
            few_gave_up: false,
            is_cold: false,
            hand_over: hand_over.map(Some),
            kverityd: verification.clone(),
            softirq: verification,
            attempt: Some(attempt),
            gives_way: None,
            long: 0.0,
            spacing: None,
        }
    }

    /// Whether many hash blocks were not in the cache.
    pub const fn is_cold(&self) -> bool {
        self.is_cold
    }

    /// The wait that nobody was ahead of.
    fn alone(&self, way: Way) -> &[u64] {
        alone(&self.dispatch[way as usize])
    }

    /// What the shortest wait for kverityd tells of BH, and what a verification does, are taken as equally good: the square root of
    /// their ratio.
    fn both_clues(&self) -> f64 {
        let first = self.alone(Way::Kverityd).first().copied().unwrap_or(0) as f64;
        let first = first * DISPATCH[Way::Softirq as usize].middle;
        let verification = self.kverityd.usual(4_096).unwrap_or(0) as f64;
        let ratio = verification * BH_TO_VERIFICATION / first;
        if ratio.is_normal() { ratio.sqrt() } else { 1.0 }
    }

    /// What is not known.
    pub fn knobs(&self, facts: &Facts) -> Vec<Knob> {
        let mut knobs = Vec::new();
        if !facts.era.can_attempt() {
            // No setting changes anything.
            return knobs;
        }
        for way in Way::ALL {
            if self.dispatch[way as usize].is_empty() {
                knobs.push(Knob::Dispatch(way));
            }
            if self.hand_over[way as usize].is_none() && way != Way::Inline {
                knobs.push(Knob::HandOver(way));
            }
        }
        if self.kverityd.ratio_to(&self.softirq).is_none() {
            knobs.push(Knob::InSoftirq);
        }
        if self.attempt.is_none() {
            knobs.push(Knob::Attempt);
        }
        if facts.gives_way && self.gives_way.is_none() {
            knobs.push(Knob::GivesWay);
        }
        if self.dispatch[Way::Kverityd as usize].is_empty() {
            knobs.push(Knob::BehindTask);
        }
        if facts.era == Era::Bh {
            knobs.extend([Knob::WithoutSimd, Knob::Prefetch]);
        }
        if facts.era == Era::Bh && self.dispatch[Way::Ksoftirqd as usize].is_empty() {
            knobs.push(Knob::GoesOn);
        }
        knobs.extend([Knob::Cold, Knob::Submission]);
        knobs
    }
}

/// What each step costs.
#[derive(Clone, Debug)]
pub(super) struct Costs<'a> {
    learned: &'a Learned,
    /// Values by [`Way`], and the factor of a prior; absent where they were measured.
    dispatch: [(&'a [u64], Option<f64>); 4],
    hand_over: [u64; 4],
    /// Of a verification in softirq to one on kverityd.
    ratio: f64,
    attempt: f64,
    without_simd: f64,
    cold: f64,
    /// Whether hash blocks are read once they are needed, and not before.
    reads_late: bool,
    gives_way: f64,
    submits: u64,
    hands_over: u64,
    /// What a task needs for each byte of an I/O, to hand it over.
    each_byte: f64,
    lets_kverityd_before: bool,
    prefetch: u64,
    prefetch_sleeps: u64,
    /// Where a task keeps several I/Os in flight, and where it was not seen to.
    ksoftirqd: [f64; 2],
}

impl<'a> Costs<'a> {
    /// As was learned, with one of the priors at an end of its range.
    pub fn new(learned: &'a Learned, facts: &Facts, bent: Bent) -> Self {
        let end = |knob| bent.filter(|&(it, _)| it == knob).map(|(_, end)| end);
        let measured = Way::ALL
            .into_iter()
            .find(|&way| !learned.dispatch[way as usize].is_empty());
        let base = measured.unwrap_or(Way::Kverityd);
        let dispatch = Way::ALL.map(|way| {
            let own = &learned.dispatch[way as usize];
            if !own.is_empty() {
                return (own.as_slice(), None);
            }
            let end = end(Knob::Dispatch(way));
            let mut factor = DISPATCH[way as usize].at(end) / DISPATCH[base as usize].middle;
            factor *= match (way, base) {
                (_, Way::Inline) => FROM_INLINE.at(end),
                (_, Way::Softirq) => FROM_SOFTIRQ.at(end),
                (Way::Kverityd, Way::Ksoftirqd) => FROM_KSOFTIRQD.at(end),
                (Way::Softirq, Way::Kverityd) => learned.both_clues(),
                _ => 1.0,
            };
            let values = match (way, base) {
                (Way::Ksoftirqd, Way::Kverityd) => &learned.dispatch[base as usize],
                _ => learned.alone(base),
            };
            (values, Some(factor))
        });
        let (usual, factor) = dispatch[Way::Kverityd as usize];
        let unit = alone(usual).first().copied().unwrap_or(0) as f64 * factor.unwrap_or(1.0);
        let mut hand_over = Way::ALL.map(|way| {
            let known = learned.hand_over[way as usize];
            known.unwrap_or_else(|| {
                rounded(unit * HAND_OVER[way as usize].at(end(Knob::HandOver(way))))
            })
        });
        // Neither of two threads has the CPU while a task is in the kernel.
        let [kverityd, _, ksoftirqd, _] = &mut hand_over;
        if learned.hand_over[Way::Ksoftirqd as usize].is_none() {
            *ksoftirqd = (*kverityd).max(*ksoftirqd);
        }
        let gives_way = if facts.gives_way {
            let prior = || GIVES_WAY.at(end(Knob::GivesWay));
            learned.gives_way.unwrap_or_else(prior)
        } else {
            0.0
        };
        Self {
            learned,
            dispatch,
            hand_over,
            ratio: learned
                .kverityd
                .ratio_to(&learned.softirq)
                .unwrap_or_else(|| IN_SOFTIRQ.at(end(Knob::InSoftirq))),
            attempt: ATTEMPT.at(end(Knob::Attempt)),
            without_simd: match facts.era {
                Era::Bh => WITHOUT_SIMD.at(end(Knob::WithoutSimd)),
                _ => 1.0,
            },
            cold: match end(Knob::Cold) {
                Some(End::High) if learned.long > INTERRUPTED => COLD.middle,
                end => COLD.at(end),
            },
            reads_late: end(Knob::Cold) == Some(End::Low),
            gives_way,
            submits: rounded(match (learned.spacing, facts.era) {
                (Some((fixed, _)), Era::Inline) => {
                    fixed * SUBMITS_OF_SPACING_INLINE.at(end(Knob::BehindTask))
                }
                (Some((fixed, _)), _) => fixed * SUBMITS_OF_SPACING.at(end(Knob::BehindTask)),
                (None, Era::Inline) => unit * SUBMITS_INLINE.at(end(Knob::BehindTask)),
                (None, _) => unit * SUBMITS.at(end(Knob::BehindTask)),
            }),
            hands_over: rounded(match (learned.spacing, facts.era) {
                (Some((fixed, _)), Era::Inline) => {
                    fixed * HANDS_OVER_INLINE_OF_SPACING.at(end(Knob::Submission))
                }
                (Some((fixed, _)), _) => fixed * HANDS_OVER_OF_SPACING.at(end(Knob::Submission)),
                (None, Era::Inline) => unit * HANDS_OVER_INLINE.at(end(Knob::Submission)),
                (None, _) => unit * HANDS_OVER.at(end(Knob::Submission)),
            }),
            each_byte: learned.spacing.map_or(0.0, |(_, each)| each),
            prefetch: rounded(unit * PREFETCH.at(end(Knob::Prefetch))),
            prefetch_sleeps: rounded(unit * PREFETCH_SLEEPS.at(end(Knob::Prefetch))),
            lets_kverityd_before: facts.era != Era::Inline,
            ksoftirqd: [KSOFTIRQD, KSOFTIRQD_ALONE].map(|it| it.at(end(Knob::GoesOn))),
        }
    }

    /// How long after it has mapped this I/O a task keeps kverityd from its CPU, which lets it have that at points where it may sleep,
    /// or only where it leaves the kernel.
    pub fn submits(&self, io: &Arrival) -> u64 {
        let of_bytes = if self.lets_kverityd_before {
            0
        } else {
            self.of_bytes(io)
        };
        self.submits + of_bytes
    }

    /// Whether that is measured, as a part of how long kverityd takes to begin.
    pub const fn knows_kverityd(&self) -> bool {
        self.dispatch[Way::Kverityd as usize].1.is_none()
    }

    /// How long after it has mapped an I/O a task begins to hand its bytes over, before which it may sleep.
    pub const fn hands_over(&self) -> u64 {
        self.hands_over
    }

    /// How long an interrupt takes until BH begins that nobody was ahead of; 0 where none was seen.
    pub fn interrupt(&self) -> u64 {
        let alone = self.learned.alone(Way::Softirq);
        alone.first().copied().unwrap_or(0)
    }

    /// Whether a task that hands an I/O to its device lets kverityd verify others before: it does at each point where it may sleep
    /// (`CONFIG_PREEMPT_VOLUNTARY`). Kernels of 6.15 and later wait until it leaves the kernel (`CONFIG_PREEMPT_LAZY`).
    pub const fn lets_kverityd_before(&self) -> bool {
        self.lets_kverityd_before
    }

    /// How long handing its bytes over takes: a driver copies them, or maps each page.
    pub fn of_bytes(&self, io: &Arrival) -> u64 {
        rounded(self.each_byte * f64::from(io.bytes))
    }

    /// Whether a task maps its next I/O before ksoftirqd verifies the one that it has completed, where that is not measured
    /// and so many tasks would go on.
    pub fn goes_on(&self, keeps_several: bool, tasks: usize, chance: u32) -> bool {
        let [several, one] = self.ksoftirqd;
        let ksoftirqd = if keeps_several { several } else { one };
        let share = tasks as f64 / (tasks as f64 + ksoftirqd);
        self.dispatch[Way::Ksoftirqd as usize].1.is_some()
            && f64::from(chance) / f64::from(u32::MAX) < share
    }

    /// How long a verification takes to begin on an idle CPU, by chance: any number is as likely as any other.
    pub fn dispatch(&self, way: Way, chance: u32) -> u64 {
        let (values, factor) = self.dispatch[way as usize];
        let values = if way == Way::Kverityd && self.learned.few_gave_up {
            &values[..values.len().div_ceil(2)]
        } else {
            values
        };
        // Less than there are values.
        let at = (u64::from(chance) * values.len() as u64) >> u32::BITS;
        let value = usize::try_from(at).ok().and_then(|at| values.get(at));
        let value = value.copied().unwrap_or(0);
        match (way, factor) {
            (_, None) => value,
            (Way::Ksoftirqd, Some(factor)) => self.in_ksoftirqd(value, factor),
            (_, Some(factor)) => rounded(value as f64 * factor),
        }
    }

    /// The same for one that began in such a way after such a time; absent where that says nothing of this way, or too few
    /// began so.
    pub fn dispatch_of(&self, way: Way, (was, wait): (Way, u64)) -> Option<u64> {
        let factor = |way: Way| self.dispatch[way as usize].1;
        if factor(was).is_some() {
            return None;
        }
        match (way, was, factor(way)) {
            _ if way == was => Some(wait),
            (Way::Ksoftirqd, Way::Kverityd, Some(factor)) => Some(self.in_ksoftirqd(wait, factor)),
            _ => None,
        }
    }

    /// How long ksoftirqd takes to begin where a thread took so long: it waits for no prefetch, but as well for a task that has the
    /// CPU until its slice ends, which takes longer than one (`RUN_TO_PARITY`, kernel/sched/fair.c). Where the cache is cold, that made
    /// the long waits. Nothing follows from ksoftirqd's waits for kverityd, which has more right to the CPU.
    fn in_ksoftirqd(&self, wait: u64, factor: f64) -> u64 {
        let alone = self.learned.alone(Way::Kverityd).first();
        let alone = alone.copied().unwrap_or(wait);
        let prefetches = alone as f64 * (1.0 + HAND_OVER[Way::Kverityd as usize].high);
        let has_slice_ahead = wait as f64 > prefetches && self.learned.long <= INTERRUPTED;
        let wait = if has_slice_ahead {
            wait
        } else {
            wait.min(alone)
        };
        rounded(wait as f64 * factor)
    }

    /// What kverityd takes of a task's CPU to prefetch hash blocks that are there.
    pub const fn prefetch(&self) -> u64 {
        self.prefetch
    }

    /// How much longer that takes where the clients of the cache may sleep.
    pub const fn prefetch_sleeps(&self) -> u64 {
        self.prefetch_sleeps
    }

    /// From the end of a verification to the begin of the next one that waits.
    pub const fn hand_over(&self, way: Way) -> u64 {
        self.hand_over[way as usize]
    }

    /// How long this I/O's verification takes there. What took much longer than usual in softirq did for a reason that kverityd does
    /// not have ([`WITHOUT_SIMD`]).
    pub fn verify(&self, io: &Arrival, in_softirq: bool) -> u64 {
        let was_in_softirq = matches!(io.seen, Seen::Softirq | Seen::Inline);
        if in_softirq == was_in_softirq {
            return io.verify;
        }
        let ratio = self.ratio_of(io.bytes);
        if in_softirq {
            return rounded(io.verify as f64 * ratio);
        }
        let usual = self.learned.softirq.usual(io.bytes);
        let most = usual.map_or(io.verify, |it| rounded(it as f64 * SAME_WORK));
        rounded(io.verify.min(most) as f64 / ratio)
    }

    /// The same in a softirq that interrupted kverityd while that was hashing; as it did where it was in a softirq.
    pub fn verify_meanwhile(&self, io: &Arrival) -> u64 {
        let usual = self.verify(io, true);
        match io.seen {
            Seen::Softirq | Seen::Inline => usual,
            _ => rounded(usual as f64 * self.without_simd),
        }
    }

    /// Whether it was hashed in a softirq without the vector unit ([`WITHOUT_SIMD`]).
    pub fn lacks_simd(&self, io: &Arrival) -> bool {
        let usual = self.learned.softirq.usual(io.bytes);
        let is_long = usual.is_some_and(|it| io.verify as f64 > it as f64 * SAME_WORK);
        io.seen == Seen::Softirq && self.without_simd > 1.0 && is_long
    }

    /// How long it takes on kverityd when it has no hash block to read.
    pub fn warm(&self, io: &Arrival) -> u64 {
        let on_kverityd = self.learned.kverityd.usual(io.bytes);
        // What verifies in softirq has all of its hash blocks.
        let in_softirq = self.learned.softirq.usual(io.bytes);
        let in_softirq = in_softirq.map(|it| rounded(it as f64 / self.ratio));
        let both = on_kverityd.into_iter().chain(in_softirq);
        both.min().unwrap_or(0)
    }

    /// How long kverityd hashes once it has read a hash block, which it hashes too: 23,600 where 11,700 is the data's (6.12).
    pub fn hashes_cold(&self, io: &Arrival) -> u64 {
        let block = self.learned.kverityd.usual(4_096).unwrap_or(0);
        self.warm(io).saturating_add(block)
    }

    /// How long after its completion the last hash block that it needs is in the cache; absent when it was there before.
    /// The read began when the I/O was mapped (`verity_submit_prefetch`), so that it goes on while an I/O waits.
    pub fn read_after(&self, io: &Arrival, attempts: bool) -> Option<u64> {
        let warm = self.warm(io);
        let is_cold = match io.seen {
            Seen::Softirq | Seen::Inline => false,
            Seen::SoftirqGaveUp | Seen::InlineGaveUp => true,
            Seen::Kverityd => io.verify as f64 > warm as f64 * self.cold,
        };
        // Where the read began only with the verification, it would have begun earlier without the attempt.
        let spared = if self.reads_late && !attempts {
            u64::from(io.attempt).saturating_add(u64::from(io.retry_wait))
        } else {
            0
        };
        let verified_after = io.total() - io.device;
        is_cold.then(|| {
            let hashes = self.hashes_cold(io);
            verified_after.saturating_sub(hashes).saturating_sub(spared)
        })
    }

    /// How long an attempt of it takes until it gives up.
    pub fn attempt(&self, io: &Arrival) -> u64 {
        if io.seen.gave_up() {
            return u64::from(io.attempt);
        }
        let usual = self.learned.attempt;
        usual.unwrap_or_else(|| rounded(self.warm(io) as f64 * self.attempt))
    }

    /// Whether the CPU has another task to run when it completes: in an interrupt or a softirq, since a task completes
    /// in its own time.
    pub fn gives_way(&self, io: &Arrival, chance: u32) -> bool {
        match io.seen {
            Seen::Kverityd if io.gave_way => true,
            Seen::Kverityd => {
                f64::from(chance) / f64::from(u32::MAX) < self.gives_way
                    && (self.learned.gives_way.is_some() || io.completion != Completion::Task)
            }
            _ => false,
        }
    }

    fn ratio_of(&self, bytes: u32) -> f64 {
        let learned = self.learned;
        let (kverityd, softirq) = (&learned.kverityd.by_size, &learned.softirq.by_size);
        let measured = ratio(kverityd.get(&bytes), softirq.get(&bytes));
        measured.unwrap_or(self.ratio)
    }
}

/// What verifications took.
#[derive(Clone, Debug, Default)]
struct Verification {
    /// What the fastest of this many bytes take, where there are enough: some are interrupted, and some wait for a hash
    /// block.
    by_size: BTreeMap<u32, u64>,
    /// Nanoseconds that all have in common, and those of each byte; absent where nothing is known.
    line: Option<(f64, f64)>,
}

impl Verification {
    fn new(samples: impl Iterator<Item = (u32, Sample)>) -> Self {
        let mut all: Vec<_> = samples
            .filter_map(|(bytes, it)| Some((bytes, it.values.len(), it.quantile(WARMEST)?)))
            .collect();
        all.sort_unstable();
        let enough = |&&(_, count, _): &&(u32, usize, u64)| count >= LEAST_OF_SIZE;
        let by_size: BTreeMap<_, _> = all
            .iter()
            .filter(enough)
            .map(|&(bytes, _, median)| (bytes, median))
            .collect();
        let points: Vec<_> = if by_size.is_empty() {
            all.iter()
                .map(|&(bytes, _, median)| (f64::from(bytes), median as f64))
                .collect()
        } else {
            by_size
                .iter()
                .map(|(&bytes, &median)| (f64::from(bytes), median as f64))
                .collect()
        };
        Self {
            line: line(&points),
            by_size,
        }
    }

    fn usual(&self, bytes: u32) -> Option<u64> {
        if let Some(&median) = self.by_size.get(&bytes) {
            return Some(median);
        }
        let (fixed, each) = self.line?;
        Some(rounded(each.mul_add(f64::from(bytes), fixed)))
    }

    /// How much longer the other takes, over the sizes that both have.
    fn ratio_to(&self, other: &Self) -> Option<f64> {
        let sizes = self.by_size.iter();
        let ratios = sizes.filter_map(|(bytes, one)| ratio(Some(one), other.by_size.get(bytes)));
        median(ratios.collect())
    }
}

/// How much longer the other takes; absent where that cannot be, as one of them waited for hash blocks.
fn ratio(one: Option<&u64>, other: Option<&u64>) -> Option<f64> {
    let ratio = *other? as f64 / *one? as f64;
    (1.0 / SAME_WORK..=SAME_WORK)
        .contains(&ratio)
        .then_some(ratio)
}

/// The line through points that is half above and half below (Theil-Sen): a few that are far off change nothing.
fn line(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let slopes = points.iter().enumerate().flat_map(|(at, one)| {
        let later = points[at + 1..].iter();
        later.map(move |other| (other.1 - one.1) / (other.0 - one.0))
    });
    let each = match points {
        [] => return None,
        [(bytes, ns)] => ns / bytes.max(1.0),
        _ => median(slopes.collect())?.max(0.0),
    };
    let fixed = median(points.iter().map(|(bytes, ns)| ns - each * bytes).collect())?;
    Some((fixed.max(0.0), each))
}

/// Values of which some stand for all, chosen by their number.
#[derive(Clone, Debug, Default)]
struct Sample {
    seen: u64,
    values: Vec<u64>,
}

impl Sample {
    const MOST: usize = 8_192;

    fn add(&mut self, value: u64) {
        self.seen += 1;
        if self.values.len() < Self::MOST {
            self.values.push(value);
            return;
        }
        let at = scattered(self.seen) % self.seen;
        if let Some(kept) = usize::try_from(at)
            .ok()
            .and_then(|at| self.values.get_mut(at))
        {
            *kept = value;
        }
    }

    /// The value that one in so many is below.
    fn quantile(mut self, one_in: usize) -> Option<u64> {
        self.values.sort_unstable();
        self.values.get(self.values.len() / one_in).copied()
    }

    /// Evenly chosen, in order; nothing where there are too few.
    fn quantiles(mut self) -> Vec<u64> {
        if self.values.len() < LEAST {
            return Vec::new();
        }
        self.values.sort_unstable();
        let count = self.values.len();
        let kept = count.min(KEPT);
        (0..kept)
            .map(|at| self.values[(2 * at + 1) * count / (2 * kept)])
            .collect()
    }
}

/// What is gathered from the I/Os.
#[derive(Default)]
struct Samples {
    /// By [`Way`], then whether it is our device's.
    dispatch: [[Sample; 2]; 4],
    hand_over: [Sample; 4],
    kverityd: HashMap<u32, Sample>,
    softirq: HashMap<u32, Sample>,
    attempt: Sample,
    ours_on_kverityd: u64,
    asked: u64,
    gave_way: u64,
    any: Sample,
    /// By size: from when a task maps an I/O until it maps the next one without waiting for any.
    spacing: HashMap<u32, Sample>,
}

impl Samples {
    fn add(&mut self, span: &[Arrival]) {
        each_begin(span, |_, io, begins| {
            let on_kverityd = io.seen == Seen::Kverityd;
            let way = Way::of(io);
            self.begins(way, io.is_ours, begins.first, io.wait);
            if let Some(again) = begins.again {
                self.begins(Way::Kverityd, io.is_ours, again, u64::from(io.retry_wait));
            }
            self.ours_on_kverityd += u64::from(on_kverityd && io.is_ours);
            self.any.add(io.wait);
            match io.seen {
                Seen::Kverityd => self.kverityd.entry(io.bytes).or_default().add(io.verify),
                Seen::Softirq | Seen::Inline => {
                    self.softirq.entry(io.bytes).or_default().add(io.verify);
                }
                Seen::SoftirqGaveUp | Seen::InlineGaveUp => {
                    self.attempt.add(u64::from(io.attempt));
                }
            }
            let asked = !on_kverityd || io.gave_way;
            self.asked += u64::from(asked);
            self.gave_way += u64::from(io.gave_way);
        });
        each_spacing(span, |io, next| {
            let passed = next.mapped_at - io.mapped_at;
            self.spacing.entry(io.bytes).or_default().add(passed);
        });
    }

    /// A verification began after it had waited so long.
    fn begins(&mut self, way: Way, is_ours: bool, begin: Begin, waited: u64) {
        match begin {
            Begin::Idle => self.dispatch[way as usize][usize::from(is_ours)].add(waited),
            Begin::After(ns) => self.hand_over[way as usize].add(ns),
            Begin::Behind => {}
        }
    }

    fn learned(self, facts: &Facts) -> Learned {
        let mut dispatch = self.dispatch.map(|[others, ours]| {
            let ours = ours.quantiles();
            if ours.is_empty() {
                others.quantiles()
            } else {
                ours
            }
        });
        if dispatch.iter().all(Vec::is_empty) {
            // No worker was ever idle: then what is known of waiting includes queues.
            let all = if facts.era.can_attempt() {
                Way::Softirq
            } else {
                Way::Kverityd
            };
            dispatch[all as usize] = self.any.quantiles();
        }
        let kverityd = Verification::new(self.kverityd.clone().into_iter());
        let long = share_of_long(&self.kverityd, &kverityd);
        let seen = |of: &HashMap<u32, Sample>| of.values().map(|it| it.seen).sum::<u64>();
        let (gave_up, on_kverityd) = (self.attempt.seen, seen(&self.kverityd));
        let attempts = gave_up + seen(&self.softirq);
        let few_gave_up = self.ours_on_kverityd < LEAST as u64 && gave_up * MANY_GIVE_UP < attempts;
        let missed = long.mul_add(on_kverityd as f64, gave_up as f64);
        let is_cold = missed / (attempts + on_kverityd).max(1) as f64 > INTERRUPTED;
        let attempt = Some(self.attempt).filter(|it| it.values.len() >= LEAST);
        let counts = self.spacing.values().map(|it| it.values.len());
        let least = match counts.filter(|&it| it >= LEAST_SPACINGS).count() {
            0 | 1 => LEAST_SPACINGS,
            _ => LEAST_SPACINGS_OF_SIZE,
        };
        let spacing = self.spacing.into_iter();
        let enough = spacing.filter(|(_, it)| it.values.len() >= least);
        let points: Vec<_> = enough
            .filter_map(|(bytes, it)| Some((f64::from(bytes), it.quantile(2)? as f64)))
            .collect();
        let spacing = match points[..] {
            // What its bytes take of that, nobody knows.
            [(_, all)] => Some((all, 0.0)),
            _ => line(&points),
        };
        Learned {
            spacing,
            dispatch,
            few_gave_up,
            is_cold,
            hand_over: self.hand_over.map(|it| {
                Some(it)
                    .filter(|it| it.values.len() >= LEAST)
                    .and_then(|it| it.quantile(2))
            }),
            long,
            kverityd,
            softirq: Verification::new(self.softirq.into_iter()),
            attempt: attempt.and_then(|it| it.quantile(2)),
            gives_way: (self.asked >= LEAST as u64)
                .then(|| self.gave_way as f64 / self.asked as f64),
        }
    }
}

/// The share of verifications that take many times as long as is usual for their size.
fn share_of_long(samples: &HashMap<u32, Sample>, usual: &Verification) -> f64 {
    let all = samples.iter().flat_map(|(&bytes, sample)| {
        let most = usual.usual(bytes).unwrap_or(0) as f64 * COLD.middle;
        sample.values.iter().map(move |&ns| ns as f64 > most)
    });
    let (long, count) = all.fold((0_u64, 0_u64), |(long, count), is_long| {
        (long + u64::from(is_long), count + 1)
    });
    long as f64 / count.max(1) as f64
}

/// The value that one in [`NOBODY_AHEAD`] is below.
fn alone(sorted: &[u64]) -> &[u64] {
    let at = sorted.len() / NOBODY_AHEAD;
    sorted.get(at..=at).unwrap_or_default()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// No cost is longer than an hour: a line through sizes that say nothing may lead anywhere.
const LONGEST_NS: f64 = 3.6e12;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float keeps to the range of what it becomes"
)]
const fn rounded(ns: f64) -> u64 {
    ns.round().min(LONGEST_NS) as u64
}
