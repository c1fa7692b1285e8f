//! Snapshots from scenario files. A scenario describes one moment: the machine, its devices, and
//! groups of I/Os that were alike. `CONTRIBUTING.md` tells how to add one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use verity_trace::cost::{Attachment, Calibration, Cost, ProgramRuns};
use verity_trace::histogram::{Histogram, Nanos};
use verity_trace::snapshot::{
    Account, Completion, Context, Cpu, CpuQueues, Device, DeviceNumber, Era, Failure, Gap,
    HashCache, InFlight, IoClass, Kernel, Kind, Loss, Other, OtherSubmitters, Placement, QueueWait,
    Reads, Reason, Rung, Sampling, Snapshot, Softirq, Stage, Submitter, Submitters, Totals,
    Tracing, stage_name,
};
use verity_trace::target::{Status, Table};

/// A scenario file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What the case is about.
    pub description: String,
    watched_ms: u64,
    interval_ms: Option<u64>,
    kernel: Machine,
    tracing: State,
    #[serde(default)]
    loss: BTreeMap<String, u64>,
    #[serde(default)]
    hides_misses: bool,
    #[serde(default)]
    before_attach: u64,
    #[serde(default)]
    gaps: Vec<Missing>,
    /// By placement, how many verifications began, and the nanoseconds that each was queued.
    #[serde(default)]
    queued: BTreeMap<String, (u64, u64)>,
    /// The devices.
    #[serde(default)]
    pub devices: Vec<Case>,
    #[serde(default)]
    other: Vec<Group>,
    /// As that of a device.
    #[serde(default)]
    other_in_flight: BTreeMap<String, (u64, u64)>,
    #[serde(default)]
    cpus: Vec<Work>,
    cost: Option<Tracers>,
    hash_cache_unseen: Option<u64>,
    queues_unseen: Option<u64>,
    /// Of how many I/Os one is sent, and how many were not.
    sampling: Option<(u64, u64)>,
}

/// What tracing costs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tracers {
    measured_ms: u64,
    process_ms: u64,
    #[serde(default)]
    dispatch_ns: BTreeMap<String, u64>,
    clock_ns: Option<u64>,
    /// By name, how it is attached, its runs and their nanoseconds.
    programs: BTreeMap<String, (String, u64, u64)>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Missing {
    #[serde(rename = "missing")]
    what: String,
    lost: String,
    why: String,
    remedy: Option<String>,
}

impl Missing {
    fn gap(&self) -> Gap {
        // What a plan says of itself lives as long as the program.
        let lasting = |text: &str| -> &'static str { String::leak(text.to_owned()) };
        Gap {
            missing: lasting(&self.what),
            lost: lasting(&self.lost),
            why: self.why.clone(),
            remedy: self.remedy.as_deref().map(lasting),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Machine {
    release: String,
    host: String,
    cpus: usize,
    era: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "state")]
enum State {
    Attached { rung: String },
    WaitingForModule,
    WaitingForDevice,
    Failed { failure: String },
}

/// A device, or several that differ by name and minor number only.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    name: String,
    #[serde(default)]
    uuid: String,
    minor: u32,
    #[serde(default = "one")]
    devices: u32,
    option: bool,
    #[serde(default = "sha256")]
    algorithm: String,
    /// As device-mapper prints it.
    status: Option<String>,
    #[serde(default)]
    counted_in_other: bool,
    /// By stage, how many and the age of the oldest in milliseconds.
    #[serde(default)]
    in_flight: BTreeMap<String, (u64, u64)>,
    first_failure: Option<FirstFailure>,
    /// I/Os and bytes.
    before_attach: Option<(u64, u64)>,
    in_flight_before_attach: Option<u64>,
    rechecked: Option<u64>,
    fec: Option<u64>,
    hash_cache: Option<Lookups>,
    /// I/Os, those behind another work, their nanoseconds, nanoseconds of waking up, and not split.
    queue_wait: Option<[u64; 5]>,
    submitters: Option<Shares>,
    #[serde(default)]
    rejected: u64,
    #[serde(default)]
    incomplete: u64,
    #[serde(default)]
    loss: BTreeMap<String, u64>,
    /// The I/Os.
    #[serde(default)]
    pub ios: Vec<Group>,
}

impl Case {
    fn table(&self) -> Table {
        let (algorithm, root) = (&self.algorithm, "4fa5d3b7c8e1a296".repeat(4));
        let option = if self.option {
            " 1 try_verify_in_tasklet"
        } else {
            ""
        };
        Table::parse(&format!(
            "1 254:0 254:16 4096 4096 16384 1 {algorithm} {root} -{option}"
        ))
        .expect("a verity table")
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FirstFailure {
    sector: u64,
    status: u8,
}

/// I/Os that were alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Where they were verified.
    pub placement: String,
    /// For a fallback, where the attempt was.
    pub attempt: Option<String>,
    /// Why not in BH or inline.
    pub reason: Option<String>,
    /// Where the data device completed them.
    #[serde(default = "unknown")]
    pub completion: String,
    /// Where they were verified.
    pub context: Option<String>,
    /// For a fallback, where the attempt ran.
    pub attempt_context: Option<String>,
    /// How many.
    pub count: u64,
    /// How many of them finished in the last interval.
    #[serde(default)]
    pub recent: u64,
    /// Bytes of each.
    pub bytes: u64,
    /// Whether they failed.
    #[serde(default)]
    pub failed: bool,
    /// The stages of each, in nanoseconds.
    pub stages: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Work {
    number: usize,
    #[serde(default)]
    block_us: u64,
    #[serde(default)]
    tasklet_us: u64,
    #[serde(default)]
    softirq_us: u64,
    #[serde(default)]
    verify_us: u64,
    #[serde(default)]
    kverityd: u64,
    #[serde(default)]
    bh: u64,
    #[serde(default)]
    inline: u64,
    queues: Option<Queues>,
}

/// Softirqs and workqueues in detail.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Queues {
    /// By vector.
    softirqs: BTreeMap<String, u64>,
    ksoftirqd: BTreeMap<String, u64>,
    bh_works: u64,
    bh_limits: u64,
    longest_us: Option<u64>,
}

impl Queues {
    fn seen(&self) -> CpuQueues {
        let by_vector = |counts: &BTreeMap<String, u64>| {
            counts
                .iter()
                .map(|(name, &count)| {
                    let all: [Softirq; 10] = std::array::from_fn(Softirq);
                    (named(&all, Softirq::name, name), count)
                })
                .collect()
        };
        CpuQueues {
            softirqs: by_vector(&self.softirqs),
            ksoftirqd: by_vector(&self.ksoftirqd),
            bh_works: self.bh_works,
            bh_limits: self.bh_limits,
            longest_verify: self.longest_us.map(Duration::from_micros),
        }
    }
}

/// Every scenario with its name, in the order of names.
pub fn scenarios() -> Vec<(String, Scenario)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("the folder of scenarios")
        .map(|entry| entry.expect("a scenario").path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let name = file
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let scenario = scenario(&name);
            (name, scenario)
        })
        .collect()
}

/// The scenario with this name.
pub fn scenario(name: &str) -> Scenario {
    let file = folder().join(format!("{name}.toml"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
    toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The placement with this word.
pub fn placement(name: &str) -> Placement {
    named(&Placement::ALL, Placement::name, name)
}

/// The stage with this word.
pub fn stage(name: &str) -> Stage {
    named(&Stage::ALL, stage_name, name)
}

/// The reason with this word.
pub fn reason(name: &str) -> Reason {
    named(&Reason::ALL, Reason::name, name)
}

/// The context with this word.
pub fn context(name: &str) -> Context {
    named(&Context::ALL, Context::name, name)
}

/// The context of a completion with this word.
pub fn completion(name: &str) -> Completion {
    named(&Completion::ALL, Completion::name, name)
}

impl Scenario {
    /// The moment that it describes.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.without_account();
        let is_watched = matches!(snapshot.tracing, Tracing::Attached(_));
        snapshot.account = is_watched.then(|| account(&snapshot));
        snapshot
    }

    fn without_account(&self) -> Snapshot {
        Snapshot {
            taken_at: Duration::from_secs(1_795_000_000),
            watched: Duration::from_millis(self.watched_ms),
            interval: self.interval_ms.map(Duration::from_millis),
            kernel: Kernel {
                release: self.kernel.release.clone(),
                host: self.kernel.host.clone(),
                cpus: self.kernel.cpus,
                era: self.kernel.era.as_deref().map(era),
            },
            probes: Vec::new(),
            gaps: self.gaps.iter().map(Missing::gap).collect(),
            queued: self
                .queued
                .iter()
                .map(|(name, &(count, ns))| {
                    let alike = Histogram::from_values((0..count).map(|_| Nanos(ns)));
                    (placement(name), alike)
                })
                .collect(),
            tracing: match &self.tracing {
                State::Attached { rung } => Tracing::Attached(named(&Rung::ALL, Rung::name, rung)),
                State::WaitingForModule => Tracing::WaitingForModule,
                State::WaitingForDevice => Tracing::WaitingForDevice,
                State::Failed { failure } => Tracing::Failed(failure.clone()),
            },
            kernel_names: [("254:0", "vda"), ("254:16", "vdb")]
                .map(|(number, name)| (number.to_owned(), name.to_owned()))
                .into(),
            devices: self
                .devices
                .iter()
                .flat_map(|case| (0..case.devices).map(|copy| self.device(case, copy)))
                .collect(),
            other: (!self.other.is_empty()).then(|| Other {
                totals: totals(&self.other, |group| group.count),
                in_flight: in_flight(&self.other_in_flight),
                first_failure: None,
            }),
            cpus: self
                .cpus
                .iter()
                .map(|work| cpu(work, self.sees_ios()))
                .collect(),
            recent_cpus: Vec::new(),
            use_bh_bytes: None,
            loss: losses(&self.loss),
            hides_misses: self.hides_misses,
            account: None,
            before_attach: self.before_attach,
            hash_cache_unseen: self.hash_cache_unseen,
            queues_unseen: self.queues_unseen,
            cost: self.cost.as_ref().map(Tracers::cost),
            sampling: self.sampling.map(|(one_in, sampled_out)| Sampling {
                one_in,
                sampled_out,
            }),
        }
    }

    /// The last rung sees none.
    fn sees_ios(&self) -> bool {
        !matches!(&self.tracing, State::Attached { rung } if rung == "tracepoint")
    }

    fn device(&self, case: &Case, copy: u32) -> Device {
        let is_counted = self.sees_ios() && !case.counted_in_other;
        let mut all = totals(&case.ios, |group| group.count);
        all.rejected = case.rejected;
        all.incomplete = case.incomplete;
        all.loss = losses(&case.loss);
        all.rechecked = case.rechecked;
        all.fec = case.fec;
        all.hash_cache = case.hash_cache.map(Lookups::found);
        all.queue_wait = case
            .queue_wait
            .map(|[ios, behind, behind_ns, wake_up_ns, unsplit]| QueueWait {
                ios,
                behind,
                behind_ns,
                wake_up_ns,
                unsplit,
            });
        all.submitters = case.submitters.as_ref().map(Shares::shown);
        Device {
            name: if case.devices == 1 {
                case.name.clone()
            } else {
                format!("{}{}", case.name, case.minor + copy)
            },
            uuid: case.uuid.clone(),
            number: DeviceNumber {
                major: 253,
                minor: case.minor + copy,
            },
            disk_sequence: None,
            table: case.table(),
            status: case.status.as_deref().and_then(Status::parse),
            counted_in_other: case.counted_in_other,
            totals: is_counted.then_some(all),
            recent: self
                .interval_ms
                .filter(|_| is_counted)
                .map(|_| totals(&case.ios, |group| group.recent)),
            in_flight: is_counted.then(|| in_flight(&case.in_flight)),
            first_failure: case
                .first_failure
                .map(|FirstFailure { sector, status }| Failure { sector, status }),
            before_attach: case.before_attach.map(|(ios, bytes)| Reads { ios, bytes }),
            in_flight_before_attach: case.in_flight_before_attach,
        }
    }
}

/// Who submitted I/Os.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shares {
    /// Process, command, cgroup, I/Os and bytes.
    top: Vec<(u32, String, u64, u64, u64)>,
    /// Processes, I/Os, bytes, and I/Os that found no room.
    #[serde(default)]
    others: (usize, u64, u64, u64),
}

impl Shares {
    fn shown(&self) -> Submitters {
        let (tasks, ios, bytes, unlisted) = self.others;
        let submitter =
            |&(task, ref command, cgroup, ios, bytes): &(u32, String, u64, u64, u64)| {
                let command = command.clone();
                Submitter {
                    task,
                    command,
                    cgroup,
                    ios,
                    bytes,
                }
            };
        Submitters {
            top: self.top.iter().map(submitter).collect(),
            others: OtherSubmitters {
                tasks,
                ios,
                bytes,
                unlisted,
            },
        }
    }
}

/// Look-ups of hash blocks.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lookups {
    hits: u64,
    misses: u64,
    awaited: u64,
    wait_us: u64,
    #[serde(default)]
    unmeasured: u64,
}

impl Lookups {
    fn found(self) -> HashCache {
        HashCache {
            hits: self.hits,
            misses: self.misses,
            awaited: self.awaited,
            wait: Duration::from_micros(self.wait_us),
            unmeasured: self.unmeasured,
        }
    }
}

impl Tracers {
    fn cost(&self) -> Cost {
        let all = [Attachment::Fentry, Attachment::TpBtf, Attachment::Kprobe];
        let attachment = |name: &str| named(&all, Attachment::name, name);
        let dispatch_ns = self.dispatch_ns.iter();
        Cost {
            measured: Duration::from_millis(self.measured_ms),
            programs: self
                .programs
                .iter()
                .map(|(name, (attached, runs, run_ns))| ProgramRuns {
                    name: name.clone().leak(),
                    attachment: attachment(attached),
                    runs: *runs,
                    run_ns: *run_ns,
                })
                .collect(),
            calibration: Calibration {
                dispatch_ns: dispatch_ns.map(|(it, &ns)| (attachment(it), ns)).collect(),
                clock_ns: self.clock_ns,
            },
            process: Duration::from_millis(self.process_ms),
        }
    }
}

/// The account of a machine at rest.
fn account(snapshot: &Snapshot) -> Account {
    let totals = || {
        let devices = snapshot
            .devices
            .iter()
            .filter_map(|device| device.totals.as_ref());
        devices.chain(snapshot.other.as_ref().map(|other| &other.totals))
    };
    let lost = snapshot.loss.get(&Loss::StartWithoutFinish);
    let mut account = Account {
        mapped: 0,
        finished: totals().map(Totals::ios).sum(),
        rejected: totals().map(|totals| totals.rejected).sum(),
        in_flight: snapshot
            .devices
            .iter()
            .filter_map(|device| device.in_flight.as_ref())
            .chain(snapshot.other.as_ref().map(|other| &other.in_flight))
            .map(InFlight::ios)
            .sum(),
        lost: lost.copied().unwrap_or(0),
    };
    account.mapped = account.finished + account.rejected + account.in_flight + account.lost;
    account
}

fn losses(kinds: &BTreeMap<String, u64>) -> BTreeMap<Loss, u64> {
    kinds
        .iter()
        .map(|(kind, &count)| (named(&Loss::ALL, Loss::name, kind), count))
        .collect()
}

fn in_flight(stages: &BTreeMap<String, (u64, u64)>) -> InFlight {
    let mut in_flight = InFlight::default();
    for (name, &(ios, age)) in stages {
        for _ in 0..ios {
            in_flight.add(stage(name), Duration::from_millis(age));
        }
    }
    in_flight
}

fn totals(groups: &[Group], count: impl Fn(&Group) -> u64) -> Totals {
    let mut totals = Totals::default();
    for group in groups {
        let count = count(group);
        if count == 0 {
            continue;
        }
        let these = totals
            .placements
            .entry(placement(&group.placement))
            .or_default();
        these.ios += count;
        these.bytes += count * group.bytes;
        these.failed += if group.failed { count } else { 0 };
        *these
            .completions
            .entry(completion(&group.completion))
            .or_default() += count;
        if let Some(name) = &group.context {
            *these.contexts.entry(context(name)).or_default() += count;
        }
        if let Some(name) = &group.reason {
            *these.reasons.entry(reason(name)).or_default() += count;
        }
        let kind = Kind {
            size: 1 << group.bytes.ilog2(),
            class: IoClass::BestEffort,
            placement: placement(&group.placement),
            reason: group.reason.as_deref().map(reason),
        };
        let total = group.stages.values().sum();
        let parts = group.stages.iter().map(|(name, &ns)| (stage(name), ns));
        for (stage, ns) in parts.chain([(Stage::Total, total)]) {
            let alike = Histogram::from_values((0..count).map(|_| Nanos(ns)));
            these.stages.entry(stage).or_default().merge(&alike);
        }
        if let Some(attempt) = &group.attempt {
            *totals.attempts.entry(placement(attempt)).or_default() += count;
        }
        if let Some(name) = &group.attempt_context {
            *totals.attempt_contexts.entry(context(name)).or_default() += count;
        }
        *totals.mix.entry(kind).or_default() += count;
    }
    totals
}

fn cpu(work: &Work, sees_ios: bool) -> Cpu {
    Cpu {
        number: work.number,
        block_softirq: Duration::from_micros(work.block_us),
        tasklet_softirq: Duration::from_micros(work.tasklet_us),
        softirq: Duration::from_micros(work.softirq_us),
        softirqs: [
            (Softirq::BLOCK, work.block_us),
            (Softirq::TASKLET, work.tasklet_us),
        ]
        .into_iter()
        .filter(|&(_, us)| us > 0)
        .map(|(vector, us)| (vector, Duration::from_micros(us)))
        .collect(),
        queues: work.queues.as_ref().map(Queues::seen),
        softirq_verify: sees_ios.then(|| Duration::from_micros(work.verify_us)),
        kverityd_verifications: work.kverityd,
        bh_verifications: work.bh,
        inline_verifications: sees_ios.then_some(work.inline),
        ..Cpu::default()
    }
}

fn era(name: &str) -> Era {
    let all = [
        Era::NoOption,
        Era::Tasklet,
        Era::Inert,
        Era::Bh,
        Era::Inline,
    ];
    named(&all, Era::name, name)
}

fn named<T: Copy>(all: &[T], word: impl Fn(T) -> &'static str, name: &str) -> T {
    *all.iter()
        .find(|&&it| word(it) == name)
        .unwrap_or_else(|| panic!("there is no `{name}`"))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/scenarios")
}

fn one() -> u32 {
    1
}

fn unknown() -> String {
    Completion::Unknown.name().to_owned()
}

fn sha256() -> String {
    "sha256".to_owned()
}
