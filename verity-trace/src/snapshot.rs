//! The picture of all totals at one moment: everything that a view may read.
//!
//! A snapshot is never changed once it is made. What is missing is absent, never 0.

mod probe;

use std::collections::BTreeMap;
use std::time::Duration;

pub use verity_trace_ebpf::context::{Completion, Context};
pub use verity_trace_ebpf::loss::Loss;
pub use verity_trace_ebpf::placement::{Stage, pair};
pub use verity_trace_ebpf::queue_counters::QueueWait;
pub use verity_trace_ebpf::reason::Reason;

pub use probe::{Gap, Probe, ProbeKind, When};

use crate::cost::Cost;
use crate::histogram::Histogram;
use crate::target::{Status, Table};

/// Where I/Os were verified; the kernel side's `bh` is told apart by era.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Placement {
    /// Regular workqueue.
    Kverityd,
    /// BH workqueue.
    Bh,
    /// Called directly in the completion.
    Inline,
    /// Tasklet, on kernels of that era.
    Tasklet,
    /// A softirq attempt gave up and kverityd finished the I/O.
    Fallback,
    /// Finished without verification.
    None,
}

impl Placement {
    /// Every placement, in the order in which views show them.
    pub const ALL: [Self; 6] = [
        Self::Kverityd,
        Self::Bh,
        Self::Inline,
        Self::Tasklet,
        Self::Fallback,
        Self::None,
    ];

    /// The word for it everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kverityd => "kverityd",
            Self::Bh => "bh",
            Self::Inline => "inline",
            Self::Tasklet => "tasklet",
            Self::Fallback => "fallback",
            Self::None => "none",
        }
    }
}

/// The word for a stage everywhere.
#[must_use]
pub const fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Device => "device",
        Stage::Wait => "wait",
        Stage::Attempt => "attempt",
        Stage::RetryWait => "retry_wait",
        Stage::Verify => "verify",
        Stage::Total => "total",
    }
}

/// What the running kernel makes of the option, found by features, never by version alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// The option is refused (before 6.0).
    NoOption,
    /// Tasklets (6.0 to 6.8, until stable kernels disabled them).
    Tasklet,
    /// The option is accepted and ignored.
    Inert,
    /// BH workqueue, every size (6.9 to 6.14).
    Bh,
    /// Inline or BH workqueue, up to `use_bh_bytes` (6.15 and later).
    Inline,
}

impl Era {
    /// Every era, the oldest first.
    pub const ALL: [Self; 5] = [
        Self::NoOption,
        Self::Tasklet,
        Self::Inert,
        Self::Bh,
        Self::Inline,
    ];

    /// Whether a verification outside kverityd can happen at all.
    #[must_use]
    pub const fn can_attempt(self) -> bool {
        matches!(self, Self::Tasklet | Self::Bh | Self::Inline)
    }

    /// The word for it everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoOption => "no-option",
            Self::Tasklet => "tasklet",
            Self::Inert => "inert",
            Self::Bh => "bh",
            Self::Inline => "inline",
        }
    }
}

/// How dm-verity's functions are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// fentry and fexit: exact.
    Fentry,
    /// kprobes: may lose events where an interrupt lands inside another kprobe's handler.
    Kprobe,
    /// Tracepoints of workqueues and softirqs alone: what is verified inline or not at all is invisible.
    Tracepoint,
}

impl Rung {
    /// Every rung, the best first.
    pub const ALL: [Self; 3] = [Self::Fentry, Self::Kprobe, Self::Tracepoint];

    /// The word for it everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }
}

/// Whether dm-verity is being watched at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracing {
    /// Probes are attached.
    Attached(Rung),
    /// `dm_verity` is not loaded; the probes attach when it is.
    WaitingForModule,
    /// No verity device exists; the probes are detached so that the module can be removed, and
    /// attach when one appears.
    WaitingForDevice,
    /// Attaching failed; the sentence says what, why and what to do. It is tried again.
    Failed(String),
}

impl Tracing {
    /// The word for it in documents and metrics.
    #[must_use]
    pub const fn state(&self) -> &'static str {
        match self {
            Self::Attached(_) => "attached",
            Self::WaitingForModule => "waiting-for-module",
            Self::WaitingForDevice => "waiting-for-device",
            Self::Failed(_) => "failed",
        }
    }
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// Host name.
    pub host: String,
    /// CPUs online.
    pub cpus: usize,
    /// Absent until `dm_verity` is loaded.
    pub era: Option<Era>,
}

/// The first two numbers of a release, as `uname -r` has it; absent where there are none.
#[must_use]
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-', '+']);
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

/// A device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl std::fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl std::str::FromStr for DeviceNumber {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text
            .split_once(':')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let (major, minor) = parsed.ok_or("not of the form major:minor")?;
        Ok(Self { major, minor })
    }
}

/// What happened to the I/Os of one placement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementTotals {
    /// I/Os finished.
    pub ios: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that finished with an error.
    pub failed: u64,
    /// Why they were not verified in BH or inline; empty for those that were.
    pub reasons: BTreeMap<Reason, u64>,
    /// In which context their data device completed them.
    pub completions: BTreeMap<Completion, u64>,
    /// In which context they were verified, of a fallback the second time; empty for
    /// [`Placement::None`].
    pub contexts: BTreeMap<Context, u64>,
    /// How long each stage took; a stage that never happened is absent.
    pub stages: BTreeMap<Stage, Histogram>,
}

/// Totals of one device over some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By placement; a placement that never happened is absent.
    pub placements: BTreeMap<Placement, PlacementTotals>,
    /// Maps that the target refused: not I/Os.
    pub rejected: u64,
    /// Finished I/Os of which some event was not seen.
    pub incomplete: u64,
    /// What was not seen of this device, as far as that can be told by device; kinds that did not
    /// happen are absent.
    pub loss: BTreeMap<Loss, u64>,
    /// Fallbacks by the placement of their attempt.
    pub attempts: BTreeMap<Placement, u64>,
    /// Fallbacks by the context of their attempt.
    pub attempt_contexts: BTreeMap<Context, u64>,
    /// I/Os of which a block was read again because its hash did not match; absent where that cannot
    /// be seen.
    pub rechecked: Option<u64>,
    /// I/Os for which forward error correction was tried; absent where that cannot be seen.
    pub fec: Option<u64>,
    /// I/Os by size, ioprio class, placement and reason.
    pub mix: BTreeMap<Kind, u64>,
    /// What verifications found in the cache of hash blocks; absent unless it was asked for.
    pub hash_cache: Option<HashCache>,
    /// How I/Os waited for kverityd; absent unless it was asked for.
    pub queue_wait: Option<QueueWait>,
    /// Who submitted them; absent unless it was asked for, and in [`Device::recent`].
    pub submitters: Option<Submitters>,
}

/// Who submitted the finished I/Os of a device: all of them, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submitters {
    /// The processes with most I/Os, most first.
    pub top: Vec<Submitter>,
    /// Everybody else.
    pub others: OtherSubmitters,
}

/// A process, by what it submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitter {
    /// Its thread group.
    pub task: u32,
    /// The name of the thread that submitted the first I/O. It comes from outside: escape it before
    /// printing.
    pub command: String,
    /// The cgroup of the same in the unified hierarchy, as the inode number of its folder.
    pub cgroup: u64,
    /// I/Os finished.
    pub ios: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Processes that are not shown one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherSubmitters {
    /// How many were told apart.
    pub tasks: usize,
    /// I/Os finished.
    pub ios: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them whose process found no room in the table.
    pub unlisted: u64,
}

/// What verifications found in the cache of hash blocks: look-ups of one block each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashCache {
    /// The block was there.
    pub hits: u64,
    /// It was not, and was read, or an attempt gave up for it.
    pub misses: u64,
    /// A read of it was under way already, such as a prefetch's, and was waited for.
    pub awaited: u64,
    /// Time in look-ups that read or waited.
    pub wait: Duration,
    /// Look-ups that could not be followed, since too many went on at once.
    pub unmeasured: u64,
}

impl HashCache {
    /// Look-ups of which is known how they went.
    #[must_use]
    pub const fn lookups(&self) -> u64 {
        self.hits + self.misses + self.awaited
    }
}

/// The class of an ioprio (`include/uapi/linux/ioprio.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IoClass {
    /// None was set.
    None,
    /// Real time.
    RealTime,
    /// Best effort, which the block layer gives to ordinary tasks.
    BestEffort,
    /// Idle.
    Idle,
}

impl IoClass {
    /// Every class, in the order of the kernel's number.
    pub const ALL: [Self; 4] = [Self::None, Self::RealTime, Self::BestEffort, Self::Idle];

    /// The word for it everywhere, as ionice(1) has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::RealTime => "realtime",
            Self::BestEffort => "best-effort",
            Self::Idle => "idle",
        }
    }
}

/// I/Os that are alike in what decides their placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// The power of two that their bytes are not below; 512 stands for less too, and 16 MiB for more.
    pub size: u32,
    /// Their ioprio class.
    pub class: IoClass,
    /// Where they were verified.
    pub placement: Placement,
    /// Why not in BH or inline.
    pub reason: Option<Reason>,
}

/// I/Os between `verity_map` and `verity_finish_io` now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    /// By the stage that they are in. A verification may yet turn out to be an attempt.
    pub stages: BTreeMap<Stage, InStage>,
}

/// I/Os that are in one stage now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InStage {
    /// How many.
    pub ios: u64,
    /// The time since the oldest of them entered `verity_map`.
    pub oldest: Duration,
}

impl InFlight {
    /// How many there are.
    #[must_use]
    pub fn ios(&self) -> u64 {
        self.stages.values().map(|stage| stage.ios).sum()
    }

    /// The oldest of them: the stage that it is in, and its age.
    #[must_use]
    pub fn oldest(&self) -> Option<(Stage, Duration)> {
        let oldest = self.stages.iter().max_by_key(|(_, stage)| stage.oldest)?;
        Some((*oldest.0, oldest.1.oldest))
    }

    /// Adds one that has been in flight for this long.
    pub fn add(&mut self, stage: Stage, age: Duration) {
        let entry = self.stages.entry(stage).or_insert(InStage {
            ios: 0,
            oldest: age,
        });
        entry.ios += 1;
        entry.oldest = entry.oldest.max(age);
    }

    /// Adds those of another device.
    pub fn merge(&mut self, other: &Self) {
        for (&stage, these) in &other.stages {
            let entry = self.stages.entry(stage).or_insert(InStage {
                ios: 0,
                oldest: these.oldest,
            });
            entry.ios += these.ios;
            entry.oldest = entry.oldest.max(these.oldest);
        }
    }
}

/// What a disk has read, as the block layer counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// I/Os.
    pub ios: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// An I/O that finished with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its first sector on the device, in units of 512 bytes. What is bad may be anywhere in it.
    pub sector: u64,
    /// Its `blk_status_t`.
    pub status: u8,
}

impl Totals {
    /// I/Os finished.
    #[must_use]
    pub fn ios(&self) -> u64 {
        self.placements.values().map(|totals| totals.ios).sum()
    }

    /// Bytes of the I/Os finished.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.placements.values().map(|totals| totals.bytes).sum()
    }

    /// I/Os that finished with an error.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.placements.values().map(|totals| totals.failed).sum()
    }

    /// The counts alone, without how long anything took and without who submitted: few bytes.
    #[must_use]
    pub fn counts(&self) -> Self {
        let counts = |these: &PlacementTotals| PlacementTotals {
            ios: these.ios,
            bytes: these.bytes,
            failed: these.failed,
            reasons: these.reasons.clone(),
            completions: these.completions.clone(),
            contexts: these.contexts.clone(),
            stages: BTreeMap::new(),
        };
        let placements = self.placements.iter();
        Self {
            placements: placements.map(|(&it, these)| (it, counts(these))).collect(),
            rejected: self.rejected,
            incomplete: self.incomplete,
            loss: self.loss.clone(),
            attempts: self.attempts.clone(),
            attempt_contexts: self.attempt_contexts.clone(),
            rechecked: self.rechecked,
            fec: self.fec,
            mix: self.mix.clone(),
            hash_cache: self.hash_cache,
            queue_wait: self.queue_wait,
            submitters: None,
        }
    }

    /// What stands in tables of devices, whatever the window is.
    fn of_tables(&self) -> Self {
        let counts = |these: &PlacementTotals| PlacementTotals {
            ios: these.ios,
            bytes: these.bytes,
            failed: these.failed,
            reasons: these.reasons.clone(),
            ..PlacementTotals::default()
        };
        let placements = self.placements.iter();
        Self {
            placements: placements.map(|(&it, these)| (it, counts(these))).collect(),
            rejected: self.rejected,
            incomplete: self.incomplete,
            loss: self.loss.clone(),
            submitters: self.submitters.clone(),
            ..Self::default()
        }
    }

    /// I/Os finished of each placement.
    pub fn each_ios(&self) -> impl Iterator<Item = (Placement, u64)> {
        let placements = self.placements.iter();
        placements.map(|(&placement, totals)| (placement, totals.ios))
    }

    /// The share of I/Os with this placement, from 0 to 1; absent when no I/O finished.
    #[must_use]
    pub fn share(&self, placement: Placement) -> Option<f64> {
        let all = self.ios();
        let these = self
            .placements
            .get(&placement)
            .map_or(0, |totals| totals.ios);
        (all > 0).then(|| these as f64 / all as f64)
    }

    /// A stage over all placements; empty when it never happened.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> Histogram {
        Self::stage_of([self], stage)
    }

    /// The same over the totals of several devices.
    #[must_use]
    pub fn stage_of<'a>(all: impl IntoIterator<Item = &'a Self>, stage: Stage) -> Histogram {
        let placements = all
            .into_iter()
            .flat_map(|totals| totals.placements.values());
        placements
            .filter_map(|totals| totals.stages.get(&stage))
            .sum()
    }
}

/// What a device-mapper table says about one verity device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The device-mapper name. It comes from outside: escape it before printing.
    pub name: String,
    /// The device-mapper uuid, which may be empty.
    pub uuid: String,
    /// Its number, which another device can have once this one is gone.
    pub number: DeviceNumber,
    /// The kernel's sequence number of the disk, which no other device ever has; absent before
    /// Linux 5.15.
    pub disk_sequence: Option<u64>,
    /// What its table says.
    pub table: Table,
    /// What its target found since the table was loaded; absent when it does not say.
    pub status: Option<Status>,
    /// Whether all slots are taken and none is its own: what its I/Os do is then in
    /// [`Snapshot::other`], and in nothing below.
    pub counted_in_other: bool,
    /// Since tracing began, or since it was given a slot; absent where its I/Os are not seen one by one.
    pub totals: Option<Totals>,
    /// During [`Snapshot::interval`]; absent where that is.
    pub recent: Option<Totals>,
    /// I/Os between `verity_map` and `verity_finish_io` now; absent as `totals` are.
    pub in_flight: Option<InFlight>,
    /// The first I/O that finished with an error since tracing began.
    pub first_failure: Option<Failure>,
    /// What it had read before its I/Os were seen, which is in no other count; absent where it is not
    /// known, and where its I/Os are not seen one by one.
    pub before_attach: Option<Reads>,
    /// At least so many of its I/Os are in flight still that began before they could be seen, by what the block layer
    /// counts; absent where that is not known.
    pub in_flight_before_attach: Option<u64>,
}

impl Device {
    /// Whether softirq verification (BH, inline or tasklet; fallbacks count as attempts) really
    /// happened since tracing began; absent when no I/O was verified.
    #[must_use]
    pub fn effective(&self) -> Option<bool> {
        let totals = self.totals.as_ref()?;
        let verified = |placement| {
            totals
                .placements
                .get(&placement)
                .is_some_and(|totals| totals.ios > 0)
        };
        let softirq = [
            Placement::Bh,
            Placement::Inline,
            Placement::Tasklet,
            Placement::Fallback,
        ]
        .into_iter()
        .any(verified);
        (softirq || verified(Placement::Kverityd)).then_some(softirq)
    }
}

/// Devices without a line of their own, together: those beyond the limit, and those that are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Other {
    /// Since tracing began.
    pub totals: Totals,
    /// I/Os between `verity_map` and `verity_finish_io` now.
    pub in_flight: InFlight,
    /// An I/O that finished with an error: the first of one of these devices.
    pub first_failure: Option<Failure>,
}

/// A softirq vector, by its number (include/linux/interrupt.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Softirq(pub usize);

impl Softirq {
    /// Where the BH workqueue and tasklets run.
    pub const TASKLET: Self = Self(6);
    /// Where many drivers complete I/Os.
    pub const BLOCK: Self = Self(4);

    /// Every vector.
    pub const ALL: [Self; Self::NAMES.len()] = {
        let mut all = [Self(0); Self::NAMES.len()];
        let mut number = 0;
        while number < all.len() {
            all[number] = Self(number);
            number += 1;
        }
        all
    };

    const NAMES: [&str; 10] = [
        "HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER",
        "RCU",
    ];

    /// The kernel's word for it (`softirq_to_name`, kernel/softirq.c).
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.get(self.0).copied().unwrap_or("unknown")
    }
}

/// What one CPU did in softirqs and for the BH workqueue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuQueues {
    /// How often each softirq ran.
    pub softirqs: BTreeMap<Softirq, u64>,
    /// How often of that it ran in the CPU's softirq thread.
    pub ksoftirqd: BTreeMap<Softirq, u64>,
    /// Works that the BH workqueue executed.
    pub bh_works: u64,
    /// How often it reached its limit of works or time, inferred from both.
    pub bh_limits: u64,
    /// The longest verification in softirq, attempts that gave up included; absent when there was none, and
    /// during a shorter time than all when it was none of these.
    pub longest_verify: Option<Duration>,
}

/// What one CPU did, since tracing began or during a shorter time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub number: usize,
    /// Time in the `BLOCK` softirq.
    pub block_softirq: Duration,
    /// Time in the `TASKLET` softirq, where the BH workqueue runs.
    pub tasklet_softirq: Duration,
    /// Time in all softirqs.
    pub softirq: Duration,
    /// The same by vector; one that took no time is absent.
    pub softirqs: BTreeMap<Softirq, Duration>,
    /// Softirqs and workqueues in detail; absent unless they were asked for.
    pub queues: Option<CpuQueues>,
    /// Time of verification in softirq, attempts that gave up included; absent where it is not seen.
    pub softirq_verify: Option<Duration>,
    /// I/Os that were mapped here.
    pub mapped: u64,
    /// Verifications that began on `kverityd`.
    pub kverityd_verifications: u64,
    /// Verifications that began on the BH workqueue or in a tasklet, attempts included.
    pub bh_verifications: u64,
    /// Verifications that began inline, attempts included; absent where they are not seen.
    pub inline_verifications: Option<u64>,
}

/// What became of the I/Os of all devices, each number counted on its own: at rest `mapped` is the sum
/// of the others, and while I/Os come and go it is not less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// I/Os that were given an identity in `verity_map`.
    pub mapped: u64,
    /// Those that finished.
    pub finished: u64,
    /// Those that the target then refused, and that are no I/Os after all.
    pub rejected: u64,
    /// Those that are in the table of I/Os in flight.
    pub in_flight: u64,
    /// Those of which the end was not seen ([`Loss::StartWithoutFinish`]).
    pub lost: u64,
}

/// How many records are sent under a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Of so many I/Os one has its record sent now.
    pub one_in: u64,
    /// Records that were not sent for that reason.
    pub sampled_out: u64,
}

/// The whole picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// When it was made, since the Unix epoch.
    pub taken_at: Duration,
    /// How long the probes have been attached.
    pub watched: Duration,
    /// The time that what is called recent covers; absent until an earlier snapshot is set against this one.
    pub interval: Option<Duration>,
    /// The machine.
    pub kernel: Kernel,
    /// Whether dm-verity is watched.
    pub tracing: Tracing,
    /// The probes that are attached.
    pub probes: Vec<Probe>,
    /// What this kernel does not let be seen, while probes are attached.
    pub gaps: Vec<Gap>,
    /// The verity devices, by number.
    pub devices: Vec<Device>,
    /// The kernel's names of the devices and of those they lie on, such as `vda` for `254:0`; one
    /// that could not be found out is absent.
    pub kernel_names: BTreeMap<String, String>,
    /// By placement, how long each verification that began had been queued, on all devices together:
    /// what the rung [`Rung::Tracepoint`] sees. Absent where none began.
    pub queued: BTreeMap<Placement, Histogram>,
    /// Devices without a line of their own; absent when there were none.
    pub other: Option<Other>,
    /// The CPUs.
    pub cpus: Vec<Cpu>,
    /// What each of them did during [`Snapshot::interval`]; none where that is absent.
    pub recent_cpus: Vec<Cpu>,
    /// The module's `use_bh_bytes`: bytes up to which an I/O of each ioprio class is verified in BH or inline;
    /// absent where the kernel has no such parameter, and where a recording does not say.
    pub use_bh_bytes: Option<Vec<u64>>,
    /// What became of what was mapped; absent while nothing was ever watched.
    pub account: Option<Account>,
    /// What was not seen, kinds that did not happen left out.
    pub loss: BTreeMap<Loss, u64>,
    /// Whether the kernel keeps back what its kprobes missed: the loss is then a lower bound.
    pub hides_misses: bool,
    /// I/Os that began before all probes were attached, so that only their end was seen.
    pub before_attach: u64,
    /// Calls that the programs for the cache of hash blocks were not run for; absent unless the cache
    /// was asked for.
    pub hash_cache_unseen: Option<u64>,
    /// The same of the programs for softirqs and workqueues.
    pub queues_unseen: Option<u64>,
    /// What tracing itself costs; absent while no probe has been attached.
    pub cost: Option<Cost>,
    /// How many records are sent; absent without a budget.
    pub sampling: Option<Sampling>,
}

impl Snapshot {
    /// Whether a reason was concluded from the absence of every other, and not seen.
    #[must_use]
    pub const fn is_inferred(&self, reason: Reason) -> bool {
        match reason {
            Reason::CacheMiss => self.hash_cache_unseen.is_none(),
            other => other.is_inferred(),
        }
    }

    /// The same, where devices have of their I/Os how many there were of each placement, why and how many failed, what
    /// was lost, and who submitted: few bytes.
    #[must_use]
    pub fn with_counts_alone(&self) -> Self {
        let devices = self.devices.iter().map(|device| Device {
            name: device.name.clone(),
            uuid: device.uuid.clone(),
            number: device.number,
            disk_sequence: device.disk_sequence,
            table: device.table.clone(),
            status: device.status.clone(),
            counted_in_other: device.counted_in_other,
            totals: device.totals.as_ref().map(Totals::of_tables),
            recent: None,
            in_flight: device.in_flight.clone(),
            first_failure: device.first_failure,
            before_attach: device.before_attach,
            in_flight_before_attach: device.in_flight_before_attach,
        });
        Self {
            taken_at: self.taken_at,
            watched: self.watched,
            interval: self.interval,
            kernel: self.kernel.clone(),
            tracing: self.tracing.clone(),
            probes: self.probes.clone(),
            gaps: self.gaps.clone(),
            devices: devices.collect(),
            kernel_names: self.kernel_names.clone(),
            queued: self.queued.clone(),
            other: self.other.clone(),
            cpus: self.cpus.clone(),
            recent_cpus: Vec::new(),
            use_bh_bytes: self.use_bh_bytes.clone(),
            account: self.account,
            loss: self.loss.clone(),
            hides_misses: self.hides_misses,
            before_attach: self.before_attach,
            hash_cache_unseen: self.hash_cache_unseen,
            queues_unseen: self.queues_unseen,
            cost: self.cost.clone(),
            sampling: self.sampling,
        }
    }

    /// Everything that was not seen.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.loss.values().sum()
    }
}
