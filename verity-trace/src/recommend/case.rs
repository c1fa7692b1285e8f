//! What is known of one device during some time, and the numbers that rules and verdict ask of it.

use std::time::Duration;

use super::effect::Range;
use super::sample::Sample;
use crate::format;
use crate::histogram::{Histogram, Nanos};
use crate::snapshot::{
    Completion, Context, Cpu, Device, Era, IoClass, Kind, Loss, Placement, PlacementTotals, Reason,
    Rung, Snapshot, Stage, Totals, Tracing, stage_name,
};

/// Fewer I/Os that were verified say nothing: it is what `compare` asks of a recording too.
pub const FEWEST: u64 = 100;

/// From this share of loss on, what was seen need not be what happened.
pub const MUCH_LOSS: f64 = 0.01;

/// The newest kernel whose dm-verity the rules were written from (drivers/md/dm-verity-target.c).
pub const NEWEST_KNOWN: (u32, u32) = (7, 3);

/// Where an attempt to verify outside kverityd ended.
const ATTEMPTED: [Placement; 4] = [
    Placement::Bh,
    Placement::Inline,
    Placement::Tasklet,
    Placement::Fallback,
];

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The machine, with every verity device that it has.
    pub snapshot: &'a Snapshot,
    /// The device.
    pub device: &'a Device,
    /// What its I/Os did; absent where they are not seen apart.
    pub totals: Option<&'a Totals>,
    /// During how much time.
    pub over: Duration,
    /// What each CPU did in it, for all devices.
    pub cpus: &'a [Cpu],
}

impl<'a> Case<'a> {
    /// All since tracing began.
    #[must_use]
    pub fn since_start(snapshot: &'a Snapshot, device: &'a Device) -> Self {
        Self {
            snapshot,
            device,
            totals: device.totals.as_ref(),
            over: snapshot.watched,
            cpus: &snapshot.cpus,
        }
    }

    /// What happened in the snapshot's interval; absent where that is.
    #[must_use]
    pub fn recent(snapshot: &'a Snapshot, device: &'a Device) -> Option<Self> {
        Some(Self {
            totals: device.recent.as_ref(),
            over: snapshot.interval?,
            cpus: &snapshot.recent_cpus,
            ..Self::since_start(snapshot, device)
        })
    }

    /// The same of another device of the machine.
    pub(super) fn other(&self, device: &'a Device) -> Self {
        let is_recent = match (self.totals, &self.device.recent) {
            (Some(totals), Some(recent)) => std::ptr::eq(totals, recent),
            _ => false,
        };
        Self {
            device,
            totals: if is_recent {
                device.recent.as_ref()
            } else {
                device.totals.as_ref()
            },
            ..*self
        }
    }

    /// What the kernel makes of the option.
    pub(super) fn era(&self) -> Option<Era> {
        self.snapshot.kernel.era
    }

    /// Whether the device's table has the option.
    pub(super) const fn option(&self) -> bool {
        self.device.table.options.try_verify_in_tasklet
    }

    /// The first two numbers of the kernel's release; absent where it has none.
    pub(super) fn version(&self) -> Option<(u32, u32)> {
        let release = &self.snapshot.kernel.release;
        let mut numbers = release.split(['.', '-', '+']);
        let mut next = || numbers.next()?.parse().ok();
        Some((next()?, next()?))
    }

    /// Whether it is known to be older than this one.
    pub(super) fn is_before(&self, version: (u32, u32)) -> Option<bool> {
        Some(self.version()? < version)
    }

    /// Whether interrupts are handled in threads (`PREEMPT_RT`): that was seen, or the release says so.
    pub(super) fn is_real_time(&self) -> bool {
        let seen = self.placements().any(|(_, totals)| {
            let contexts = &totals.contexts;
            contexts
                .get(&Context::IrqThread)
                .is_some_and(|&ios| ios > 0)
        });
        let mut words = self.snapshot.kernel.release.split(['-', '+']);
        seen || words.any(|word| word == "rt")
    }

    fn placements(&self) -> impl Iterator<Item = (Placement, &'a PlacementTotals)> {
        let placements = self.totals.into_iter().flat_map(|it| &it.placements);
        placements.map(|(&placement, totals)| (placement, totals))
    }

    /// I/Os with this placement.
    pub(super) fn ios_of(&self, placement: Placement) -> u64 {
        let mut all = self.placements();
        all.find(|(it, _)| *it == placement)
            .map_or(0, |(_, totals)| totals.ios)
    }

    /// I/Os that were verified.
    pub(super) fn verified(&self) -> u64 {
        self.placements()
            .filter(|(placement, _)| *placement != Placement::None)
            .map(|(_, totals)| totals.ios)
            .sum()
    }

    /// How many were verified; an error, with what would help, where they are too few to say anything.
    pub(super) fn enough(&self) -> Result<u64, String> {
        let verified = self.verified();
        if verified >= FEWEST {
            return Ok(verified);
        }
        Err(format!(
            "{verified} I/Os were verified, and it takes {FEWEST}: watch longer, or while the load runs"
        ))
    }

    /// How long a stage of I/Os with this placement took.
    pub(super) fn stage(&self, placement: Placement, stage: Stage) -> Option<&'a Histogram> {
        let totals = self.totals?.placements.get(&placement)?;
        totals.stages.get(&stage)
    }

    /// The mean of that; absent where there are too few.
    pub(super) fn sample(&self, placement: Placement, stage: Stage) -> Option<Sample> {
        Sample::of(self.stage(placement, stage)?)
    }

    /// A stage of every I/O that was verified.
    pub(super) fn stage_of_all(&self, stage: Stage) -> Histogram {
        self.placements()
            .filter(|(placement, _)| *placement != Placement::None)
            .filter_map(|(_, totals)| totals.stages.get(&stage))
            .sum()
    }

    /// The mean of that; absent where there are too few.
    pub(super) fn sample_of_all(&self, stage: Stage) -> Option<Sample> {
        Sample::of(&self.stage_of_all(stage))
    }

    /// The part that a stage has in the time of all I/Os that were verified.
    pub(super) fn share_of_time(&self, stage: Stage) -> Option<f64> {
        let total = self.stage_of_all(Stage::Total).sum().0;
        let part = self.stage_of_all(stage).sum().0;
        (total > 0).then(|| part as f64 / total as f64)
    }

    /// I/Os that were tried outside kverityd.
    pub(super) fn attempted(&self) -> u64 {
        ATTEMPTED.iter().map(|&it| self.ios_of(it)).sum()
    }

    /// The part that these have in all that were verified.
    pub(super) fn attempted_share(&self) -> Option<f64> {
        let verified = self.verified();
        (verified > 0).then(|| self.attempted() as f64 / verified as f64)
    }

    /// The part of the attempts that gave up.
    pub(super) fn fallback_share(&self) -> Option<f64> {
        let attempted = self.attempted();
        (attempted > 0).then(|| self.ios_of(Placement::Fallback) as f64 / attempted as f64)
    }

    /// A stage of every I/O that was tried outside kverityd.
    pub(super) fn attempts_stage(&self, stage: Stage) -> Histogram {
        let stages = ATTEMPTED.iter();
        stages.filter_map(|&it| self.stage(it, stage)).sum()
    }

    /// What fallbacks cost, divided by all attempts: the attempt, and the wait for kverityd after it.
    pub(super) fn fallback_cost_per_attempt(&self) -> f64 {
        let sum = |stage| {
            let histogram = self.stage(Placement::Fallback, stage);
            histogram.map_or(0, |it| it.sum().0)
        };
        let cost = sum(Stage::Attempt) + sum(Stage::RetryWait);
        cost as f64 / self.attempted().max(1) as f64
    }

    /// Every wait for kverityd, also that of fallbacks.
    pub(super) fn waits_for_kverityd(&self) -> Histogram {
        let waits = [
            self.stage(Placement::Kverityd, Stage::Wait),
            self.stage(Placement::Fallback, Stage::RetryWait),
        ];
        waits.into_iter().flatten().sum()
    }

    /// The part of the I/Os that their data device completed in this context.
    pub(super) fn completions_share(&self, completion: Completion) -> Option<f64> {
        let count = |completion| -> u64 {
            let totals = self.placements().filter(|(it, _)| *it != Placement::None);
            let counts = totals.filter_map(|(_, totals)| totals.completions.get(&completion));
            counts.sum()
        };
        let known = self.verified().saturating_sub(count(Completion::Unknown));
        (known > 0).then(|| count(completion) as f64 / known as f64)
    }

    /// I/Os with this reason.
    pub(super) fn reason(&self, reason: Reason) -> u64 {
        self.placements()
            .filter_map(|(_, totals)| totals.reasons.get(&reason))
            .sum()
    }

    /// I/Os by size, class and more, of those that were verified.
    pub(super) fn mix(&self) -> impl Iterator<Item = (&'a Kind, u64)> {
        let mix = self.totals.into_iter().flat_map(|it| &it.mix);
        mix.filter(|(kind, _)| kind.placement != Placement::None)
            .map(|(kind, &ios)| (kind, ios))
    }

    /// The most bytes that an I/O of such a size can have.
    pub(super) fn most_bytes(&self, size: u32) -> u64 {
        let block = u64::from(self.device.table.data_block_bytes);
        // Sizes are known by the power of two that they are not below.
        (2 * u64::from(size))
            .saturating_sub(block)
            .max(u64::from(size))
    }

    /// The limit for a class; absent where this kernel has none.
    pub(super) fn limit(&self, class: IoClass) -> Option<u64> {
        let limits = self.snapshot.use_bh_bytes.as_ref()?;
        limits.get(class as usize).copied()
    }

    /// The part of the I/Os that BH or inline may take with the option on, by their size.
    pub(super) fn eligible(&self) -> Option<Range> {
        let verified = self.verified();
        match self.era()? {
            _ if verified == 0 => None,
            Era::NoOption | Era::Inert => Some(Range {
                low: 0.0,
                high: 0.0,
            }),
            Era::Tasklet | Era::Bh => Some(Range {
                low: 1.0,
                high: 1.0,
            }),
            Era::Inline => {
                self.snapshot.use_bh_bytes.as_ref()?;
                let within = |bytes: fn(&Self, u32) -> u64| -> u64 {
                    self.mix()
                        .filter(|(kind, _)| {
                            let limit = self.limit(kind.class).unwrap_or(0);
                            bytes(self, kind.size) <= limit
                        })
                        .map(|(_, ios)| ios)
                        .sum()
                };
                let all: u64 = self.mix().map(|(_, ios)| ios).sum();
                (all > 0).then(|| Range {
                    low: within(Self::most_bytes) as f64 / all as f64,
                    high: within(|_, size| u64::from(size)) as f64 / all as f64,
                })
            }
        }
    }

    /// The part of attempts that gives up, or would: at the most. What the cache of hash blocks did says it best;
    /// with the option off and without `--hash-cache`, a verification that took no longer than the fastest read
    /// of the data device cannot have waited for a hash block (inferred: the hash device is no faster).
    pub(super) fn may_give_up(&self) -> Option<f64> {
        let verified = self.verified();
        if self.attempted() >= FEWEST {
            return self.fallback_share();
        }
        let totals = self.totals?;
        if let Some(cache) = totals.hash_cache.filter(|it| it.lookups() > 0) {
            let missed = cache.misses + cache.awaited + cache.unmeasured;
            return Some((missed as f64 / verified.max(1) as f64).min(1.0));
        }
        let fastest = self.stage_of_all(Stage::Device).buckets().next()?.lower;
        let verify = self.stage_of_all(Stage::Verify);
        let longer = verify
            .buckets()
            .filter(|it| it.upper.is_none_or(|upper| upper > fastest));
        let longer: u64 = longer.map(|it| it.count).sum();
        (verify.count() > 0).then(|| longer as f64 / verify.count() as f64)
    }

    /// Nanoseconds that verifying a block takes, without waiting for hash blocks as far as that can be told:
    /// where there are verifications outside kverityd, which never wait, of those.
    pub(super) fn verify_per_block(&self) -> Option<f64> {
        let outside = [Placement::Bh, Placement::Inline, Placement::Tasklet];
        let has_outside = outside.iter().map(|&it| self.ios_of(it)).sum::<u64>() >= FEWEST;
        let from: &[Placement] = if has_outside {
            &outside
        } else {
            &[Placement::Kverityd]
        };
        let (mut bytes, mut time, mut ios) = (0, 0, 0);
        for (placement, totals) in self.placements().filter(|(it, _)| from.contains(it)) {
            let verify = self.stage(placement, Stage::Verify)?;
            time += verify.sum().0;
            bytes += totals.bytes;
            ios += totals.ios;
        }
        let blocks = bytes / u64::from(self.device.table.data_block_bytes).max(1);
        (ios >= FEWEST && blocks > 0).then(|| time as f64 / blocks as f64)
    }

    /// The longest verification in softirq, and where that is from.
    pub(super) fn longest_in_softirq(&self) -> Option<(Nanos, &'static str)> {
        let queues = self.cpus.iter().filter_map(|cpu| cpu.queues.as_ref());
        let longest = queues.filter_map(|it| it.longest_verify).max();
        if let Some(longest) = longest.filter(|_| self.attempted() > 0) {
            return Some((format::nanos(longest), "by CPU, all devices"));
        }
        let all = self.in_softirq();
        Some((all.percentile(1_000)?, "histogram, 1/32 off"))
    }

    /// How long the device's verifications in softirq took, attempts that gave up included.
    pub(super) fn in_softirq(&self) -> Histogram {
        let in_softirq = self.placements().filter(|(placement, totals)| {
            let contexts = [Context::Softirq, Context::Ksoftirqd];
            ATTEMPTED.contains(placement)
                && *placement != Placement::Fallback
                && contexts.iter().any(|it| totals.contexts.contains_key(it))
        });
        let verified = in_softirq.filter_map(|(_, totals)| totals.stages.get(&Stage::Verify));
        let attempts = self.stage(Placement::Fallback, Stage::Attempt);
        verified.chain(attempts).sum()
    }

    /// The part of what happened that was not seen, of this device or of the machine, whichever is more. What a full
    /// ring lost is in all counts.
    pub(super) fn loss_share(&self) -> f64 {
        let lost = |loss: &std::collections::BTreeMap<Loss, u64>| -> u64 {
            let counted = loss.iter().filter(|&(&kind, _)| kind != Loss::RingFull);
            counted.map(|(_, count)| count).sum()
        };
        let share = |lost: u64, seen: u64| lost as f64 / (lost + seen).max(1) as f64;
        let of_device = self.totals.map_or(0.0, |totals| {
            share(lost(&totals.loss) + totals.incomplete, totals.ios())
        });
        let mapped = self.snapshot.account.map_or(0, |it| it.mapped);
        let of_machine = share(lost(&self.snapshot.loss), mapped);
        of_device.max(of_machine)
    }

    /// The only size that I/Os had, as the power of two that they are not below; absent where there are more.
    pub(super) fn only_size(&self) -> Option<u32> {
        let mut sizes = self.mix().map(|(kind, _)| kind.size);
        let first = sizes.next()?;
        sizes.all(|size| size == first).then_some(first)
    }

    /// Whether the kernel is newer than what the rules were written from, or of no known version.
    pub(super) fn is_unknown_kernel(&self) -> bool {
        self.version().is_none_or(|version| version > NEWEST_KNOWN)
    }

    /// What makes everything that is concluded weaker, and what would help.
    pub(super) fn weaknesses(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.is_unknown_kernel() {
            let (major, minor) = NEWEST_KNOWN;
            found.push(format!(
                "this kernel: the rules are written from dm-verity up to Linux {major}.{minor}; look at what has \
                 changed in drivers/md/dm-verity-target.c since"
            ));
        }
        if let Some(size) = self.only_size() {
            found.push(format!(
                "other sizes than about {}, since no I/O had another one: watch with a load as it will be",
                format::bytes(u64::from(size))
            ));
        }
        let loss = self.loss_share();
        if loss > 0.0 {
            let share = format::percentage(Some(loss));
            found.push(format!("the {share} of I/Os that were lost or incomplete"));
        }
        if self.snapshot.hides_misses {
            found.push(format!(
                "what else was lost: {}",
                crate::facts::HIDDEN_MISSES
            ));
        }
        if let Tracing::Attached(Rung::Kprobe) = self.snapshot.tracing {
            found.push(
                "in which context I/Os were completed, which the rung kprobe does not see"
                    .to_owned(),
            );
        }
        if self.device.table.options.check_at_most_once {
            found.push(format!(
                "that the stage {} gets longer after a reload: with check_at_most_once, what was verified before is \
                 skipped, and a new table forgets it",
                stage_name(Stage::Verify)
            ));
        }
        found
    }
}
