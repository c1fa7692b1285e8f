//! The types of the JSON document, made from a snapshot.

mod part;
pub(super) mod reading;
pub(super) mod recount;
pub(super) mod slow;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Formatter};
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use verity_trace_ebpf::slot::{LIMIT_NS, LOWEST_NS};

use part::Part;

use super::advice::Advised;
use super::cost::SelfCost;
use super::devices::{Place, Target};
use super::{Records, SCHEMA_VERSION};
use crate::decode::Io;
use crate::format::nanos;
use crate::histogram::{self, Nanos};
use crate::recommend::Advice;
use crate::snapshot::{
    self, Completion, Context, Loss, Placement, Reason, Snapshot, Softirq, When, stage_name,
};

/// A word of this program's, or the same out of a document.
pub(super) type Word = Cow<'static, str>;

/// Everything that is known at one moment.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Document<'a> {
    schema_version: u32,
    version: Word,
    taken_at_unix_ms: u64,
    watched_ns: u64,
    kernel: Kernel,
    tracing: Tracing,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Account>,
    lost: u64,
    loss_is_lower_bound: bool,
    loss: Named<u64>,
    before_attach: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    use_bh_bytes: Option<Vec<u64>>,
    inferred_reasons: Vec<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_cache_unseen: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queues_unseen: Option<u64>,
    devices: Vec<Device<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queued: Option<Named<Histogram>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<Other>,
    cpus: Vec<Cpu>,
    #[serde(skip_serializing_if = "Option::is_none")]
    self_cost: Option<SelfCost>,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    records: Option<RecordList<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records_omitted: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records_one_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records_sampled_out: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Kernel {
    release: String,
    host: String,
    cpus: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    era: Option<Word>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Tracing {
    state: Word,
    #[serde(skip_serializing_if = "Option::is_none")]
    rung: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    probes: Vec<Probe>,
    gaps: Vec<Gap>,
}

/// A probe that is attached, or would be.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    name: Word,
    attach: Word,
    target: Word,
    without: Word,
    #[serde(default = "always")]
    when: Word,
}

/// What this kernel does not let be seen.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    missing: Word,
    lost: Word,
    why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<Word>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Account {
    mapped: u64,
    finished: u64,
    rejected: u64,
    in_flight: u64,
    lost: u64,
}

/// A verity device.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Device<'a> {
    name: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    uuid: Cow<'a, str>,
    #[serde(flatten)]
    place: Place<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_sequence: Option<u64>,
    option: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective: Option<bool>,
    #[serde(flatten)]
    target: Target<'a>,
    #[serde(default)]
    counted_in_other: bool,
    #[serde(flatten, deserialize_with = "part::read")]
    in_flight: Option<IosInFlight>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_failure: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before_attach: Option<Reads>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight_before_attach: Option<u64>,
    #[serde(flatten, deserialize_with = "part::read")]
    totals: Option<Totals>,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    advice: Option<Advised<'a>>,
}

/// Devices without an object of their own, together.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Other {
    #[serde(flatten)]
    in_flight: IosInFlight,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_failure: Option<Failure>,
    #[serde(flatten)]
    totals: Totals,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct IosInFlight {
    in_flight: u64,
    in_flight_stages: Named<InStage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_in_flight_ns: Option<u64>,
}

impl Part for IosInFlight {
    const FIELDS: &[&str] = &["in_flight", "in_flight_stages"];
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct InStage {
    ios: u64,
    oldest_ns: u64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Reads {
    ios: u64,
    bytes: u64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Failure {
    sector: u64,
    status: u8,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Totals {
    ios: u64,
    bytes: u64,
    failed: u64,
    rejected: u64,
    incomplete: u64,
    loss: Named<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rechecked: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fec: Option<u64>,
    placements: Named<PlacementTotals>,
    attempts: Named<u64>,
    attempt_contexts: Named<u64>,
    mix: Vec<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_cache: Option<HashCache>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kverityd_queue: Option<KveritydQueue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    submitters: Option<Submitters>,
}

impl Part for Totals {
    const FIELDS: &[&str] = &[
        "ios",
        "bytes",
        "failed",
        "rejected",
        "incomplete",
        "loss",
        "placements",
        "attempts",
        "attempt_contexts",
        "mix",
    ];
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Submitters {
    top: Vec<TopSubmitter>,
    others: OtherSubmitters,
}

/// `cgroup` is a string, as in a [`Record`].
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct TopSubmitter {
    submitter: u32,
    command: String,
    cgroup: String,
    ios: u64,
    bytes: u64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct OtherSubmitters {
    submitters: usize,
    ios: u64,
    bytes: u64,
    unlisted: u64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct KveritydQueue {
    ios: u64,
    behind: u64,
    behind_ns: u64,
    wake_up_ns: u64,
    unsplit: u64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct HashCache {
    hits: u64,
    misses: u64,
    awaited: u64,
    wait_ns: u64,
    unmeasured: u64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Kind {
    size_bytes: u32,
    class: Word,
    placement: Word,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Word>,
    ios: u64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct PlacementTotals {
    ios: u64,
    bytes: u64,
    failed: u64,
    reasons: Named<u64>,
    completion_contexts: Named<u64>,
    contexts: Named<u64>,
    stages: Named<Histogram>,
}

/// How often each duration was seen.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Histogram {
    count: u64,
    sum_ns: u64,
    #[serde(flatten, skip_deserializing)]
    percentiles: Percentiles,
    #[serde(skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    upper_bounds: Vec<Word>,
    #[serde(skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    lower_bounds: Vec<Word>,
    buckets: Vec<Bucket>,
}

/// Absent where nothing was counted.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "each says its unit")]
struct Percentiles {
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p90_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p999_ns: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Bucket {
    lower_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    upper_ns: Option<u64>,
    count: u64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Cpu {
    number: usize,
    softirq_ns: u64,
    tasklet_softirq_ns: u64,
    block_softirq_ns: u64,
    softirqs_ns: Named<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    softirq_verify_ns: Option<u64>,
    mapped: u64,
    kverityd_verifications: u64,
    bh_verifications: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    inline_verifications: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queues: Option<CpuQueues>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct CpuQueues {
    softirqs: Named<u64>,
    ksoftirqd: Named<u64>,
    bh_works: u64,
    bh_limits_inferred: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    longest_softirq_verify_ns: Option<u64>,
}

/// Fields in the order in which they were put in.
#[derive(Debug)]
pub(super) struct Named<T>(pub Vec<(Word, T)>);

/// Each is made when it is written: there may be a million.
#[derive(Debug)]
struct RecordList<'a>(&'a [Io]);

/// `seq`, `mapped_at_ns` and `cgroup` are strings: they pass 2^53, where JavaScript begins to round.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of the document"
)]
struct Record {
    seq: String,
    device: String,
    mapped_at_ns: String,
    sector: u64,
    bytes: u32,
    placement: Word,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Word>,
    completion_context: Word,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt_context: Option<Word>,
    stages_ns: Named<u64>,
    total_ns: u64,
    status: u8,
    ioprio: u16,
    read_ahead: bool,
    submitter: u32,
    command: String,
    cgroup: String,
    submit_cpu: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete_cpu: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verify_cpu: Option<u16>,
    rechecked: bool,
    fec: bool,
    incomplete: bool,
    clock: bool,
}

impl<'a> Document<'a> {
    /// The document of a snapshot, with the I/Os one by one when they were asked for.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot, records: Option<Records<'a>>) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            version: word(env!("CARGO_PKG_VERSION")),
            taken_at_unix_ms: u64::try_from(snapshot.taken_at.as_millis()).unwrap_or(u64::MAX),
            watched_ns: nanos(snapshot.watched).0,
            kernel: Kernel::from(&snapshot.kernel),
            tracing: Tracing::new(snapshot),
            account: snapshot.account.map(Account::from),
            lost: snapshot.lost(),
            loss_is_lower_bound: snapshot.hides_misses,
            loss: named(&snapshot.loss, Loss::name),
            before_attach: snapshot.before_attach,
            use_bh_bytes: snapshot.use_bh_bytes.clone(),
            // Where I/Os are not seen, there is no reason of any.
            inferred_reasons: snapshot
                .account
                .map(|_| inferred_reasons(snapshot))
                .unwrap_or_default(),
            hash_cache_unseen: snapshot.hash_cache_unseen,
            queues_unseen: snapshot.queues_unseen,
            devices: snapshot
                .devices
                .iter()
                .map(|device| Device::new(device, &snapshot.kernel_names))
                .collect(),
            queued: (!snapshot.queued.is_empty()).then(|| {
                snapshot
                    .queued
                    .iter()
                    .map(|(placement, histogram)| (placement.name(), Histogram::from(histogram)))
                    .collect()
            }),
            other: snapshot.other.as_ref().map(Other::from),
            cpus: snapshot.cpus.iter().map(Cpu::from).collect(),
            self_cost: snapshot.cost.as_ref().map(SelfCost::from),
            records: records.map(|records| RecordList(records.ios)),
            records_omitted: records.map(|records| records.omitted),
            records_one_in: snapshot.sampling.map(|sampling| sampling.one_in),
            records_sampled_out: snapshot.sampling.map(|sampling| sampling.sampled_out),
        }
    }

    /// The same with what is advised for its devices.
    #[must_use]
    pub fn advised(mut self, advices: &'a [Advice]) -> Self {
        for device in &mut self.devices {
            let number = &device.place.number;
            let advice = advices.iter().find(|it| it.number.to_string() == *number);
            device.advice = advice.map(Advised::from);
        }
        self
    }
}

fn inferred_reasons(snapshot: &Snapshot) -> Vec<Word> {
    let inferred = Reason::ALL
        .into_iter()
        .filter(|&reason| snapshot.is_inferred(reason));
    inferred.map(|reason| word(reason.name())).collect()
}

impl From<&snapshot::Kernel> for Kernel {
    fn from(kernel: &snapshot::Kernel) -> Self {
        Self {
            release: kernel.release.clone(),
            host: kernel.host.clone(),
            cpus: kernel.cpus,
            era: kernel.era.map(|era| word(era.name())),
        }
    }
}

impl Tracing {
    fn new(snapshot: &Snapshot) -> Self {
        let (rung, failure) = match &snapshot.tracing {
            snapshot::Tracing::Attached(rung) => (Some(rung.name()), None),
            snapshot::Tracing::WaitingForModule | snapshot::Tracing::WaitingForDevice => {
                (None, None)
            }
            snapshot::Tracing::Failed(sentence) => (None, Some(sentence.clone())),
        };
        Self {
            state: word(snapshot.tracing.state()),
            rung: rung.map(word),
            failure,
            probes: snapshot.probes.iter().map(Probe::from).collect(),
            gaps: snapshot.gaps.iter().map(Gap::from).collect(),
        }
    }
}

impl From<&snapshot::Probe> for Probe {
    fn from(probe: &snapshot::Probe) -> Self {
        Self {
            name: word(probe.name),
            attach: word(probe.kind.name()),
            target: word(probe.target),
            without: word(probe.without),
            when: word(probe.when.name()),
        }
    }
}

/// What a probe is that does not say when: there was nothing else.
const fn always() -> Word {
    word(When::Always.name())
}

impl From<&snapshot::Gap> for Gap {
    fn from(gap: &snapshot::Gap) -> Self {
        Self {
            missing: word(gap.missing),
            lost: word(gap.lost),
            why: gap.why.clone(),
            remedy: gap.remedy.map(word),
        }
    }
}

impl From<snapshot::Account> for Account {
    fn from(account: snapshot::Account) -> Self {
        Self {
            mapped: account.mapped,
            finished: account.finished,
            rejected: account.rejected,
            in_flight: account.in_flight,
            lost: account.lost,
        }
    }
}

impl<'a> Device<'a> {
    fn new(device: &'a snapshot::Device, kernel_names: &'a BTreeMap<String, String>) -> Self {
        Self {
            name: Cow::Borrowed(&device.name),
            uuid: Cow::Borrowed(&device.uuid),
            place: Place::new(device.number.to_string(), kernel_names),
            disk_sequence: device.disk_sequence,
            option: device.table.options.try_verify_in_tasklet,
            effective: device.effective(),
            target: Target::new(&device.table, device.status.as_ref(), kernel_names),
            counted_in_other: device.counted_in_other,
            in_flight: device.in_flight.as_ref().map(IosInFlight::from),
            first_failure: device.first_failure.map(Failure::from),
            before_attach: device.before_attach.map(Reads::from),
            in_flight_before_attach: device.in_flight_before_attach,
            totals: device.totals.as_ref().map(Totals::from),
            advice: None,
        }
    }
}

impl From<snapshot::Reads> for Reads {
    fn from(reads: snapshot::Reads) -> Self {
        Self {
            ios: reads.ios,
            bytes: reads.bytes,
        }
    }
}

impl From<&snapshot::Other> for Other {
    fn from(other: &snapshot::Other) -> Self {
        Self {
            in_flight: IosInFlight::from(&other.in_flight),
            first_failure: other.first_failure.map(Failure::from),
            totals: Totals::from(&other.totals),
        }
    }
}

impl From<&snapshot::InFlight> for IosInFlight {
    fn from(in_flight: &snapshot::InFlight) -> Self {
        Self {
            in_flight: in_flight.ios(),
            in_flight_stages: in_flight
                .stages
                .iter()
                .map(|(&stage, these)| {
                    let these = InStage {
                        ios: these.ios,
                        oldest_ns: nanos(these.oldest).0,
                    };
                    (stage_name(stage), these)
                })
                .collect(),
            oldest_in_flight_ns: in_flight.oldest().map(|(_, age)| nanos(age).0),
        }
    }
}

impl From<snapshot::Failure> for Failure {
    fn from(failure: snapshot::Failure) -> Self {
        Self {
            sector: failure.sector,
            status: failure.status,
        }
    }
}

impl From<&snapshot::Totals> for Totals {
    fn from(totals: &snapshot::Totals) -> Self {
        Self {
            ios: totals.ios(),
            bytes: totals.bytes(),
            failed: totals.failed(),
            rejected: totals.rejected,
            incomplete: totals.incomplete,
            loss: named(&totals.loss, Loss::name),
            rechecked: totals.rechecked,
            fec: totals.fec,
            placements: totals
                .placements
                .iter()
                .map(|(placement, totals)| (placement.name(), PlacementTotals::from(totals)))
                .collect(),
            attempts: named(&totals.attempts, Placement::name),
            attempt_contexts: named(&totals.attempt_contexts, Context::name),
            mix: totals
                .mix
                .iter()
                .map(|(kind, &ios)| Kind {
                    size_bytes: kind.size,
                    class: word(kind.class.name()),
                    placement: word(kind.placement.name()),
                    reason: kind.reason.map(|reason| word(reason.name())),
                    ios,
                })
                .collect(),
            hash_cache: totals.hash_cache.map(|cache| HashCache {
                hits: cache.hits,
                misses: cache.misses,
                awaited: cache.awaited,
                wait_ns: nanos(cache.wait).0,
                unmeasured: cache.unmeasured,
            }),
            kverityd_queue: totals.queue_wait.map(|wait| KveritydQueue {
                ios: wait.ios,
                behind: wait.behind,
                behind_ns: wait.behind_ns,
                wake_up_ns: wait.wake_up_ns,
                unsplit: wait.unsplit,
            }),
            submitters: totals.submitters.as_ref().map(Submitters::from),
        }
    }
}

impl From<&snapshot::Submitters> for Submitters {
    fn from(submitters: &snapshot::Submitters) -> Self {
        Self {
            top: submitters
                .top
                .iter()
                .map(|it| TopSubmitter {
                    submitter: it.task,
                    command: it.command.clone(),
                    cgroup: it.cgroup.to_string(),
                    ios: it.ios,
                    bytes: it.bytes,
                })
                .collect(),
            others: OtherSubmitters {
                submitters: submitters.others.tasks,
                ios: submitters.others.ios,
                bytes: submitters.others.bytes,
                unlisted: submitters.others.unlisted,
            },
        }
    }
}

impl From<&snapshot::PlacementTotals> for PlacementTotals {
    fn from(totals: &snapshot::PlacementTotals) -> Self {
        Self {
            ios: totals.ios,
            bytes: totals.bytes,
            failed: totals.failed,
            reasons: named(&totals.reasons, Reason::name),
            completion_contexts: named(&totals.completions, Completion::name),
            contexts: named(&totals.contexts, Context::name),
            stages: totals
                .stages
                .iter()
                .map(|(&stage, histogram)| (stage_name(stage), Histogram::from(histogram)))
                .collect(),
        }
    }
}

impl From<&histogram::Histogram> for Histogram {
    fn from(histogram: &histogram::Histogram) -> Self {
        let percentile = |permille| Some(histogram.percentile(permille)?.0);
        let percentiles = Percentiles {
            p50_ns: percentile(500),
            p90_ns: percentile(900),
            p99_ns: percentile(990),
            p999_ns: percentile(999),
        };
        Self {
            count: histogram.count(),
            sum_ns: histogram.sum().0,
            upper_bounds: percentiles.names_of(LOWEST_NS),
            lower_bounds: percentiles.names_of(LIMIT_NS),
            percentiles,
            buckets: histogram
                .buckets()
                .map(|bucket| Bucket {
                    lower_ns: bucket.lower.0,
                    upper_ns: bucket.upper.map(|Nanos(ns)| ns),
                    count: bucket.count,
                })
                .collect(),
        }
    }
}

impl From<&snapshot::Cpu> for Cpu {
    fn from(cpu: &snapshot::Cpu) -> Self {
        Self {
            number: cpu.number,
            softirq_ns: nanos(cpu.softirq).0,
            tasklet_softirq_ns: nanos(cpu.tasklet_softirq).0,
            block_softirq_ns: nanos(cpu.block_softirq).0,
            softirqs_ns: cpu
                .softirqs
                .iter()
                .map(|(vector, &time)| (vector.name(), nanos(time).0))
                .collect(),
            softirq_verify_ns: cpu.softirq_verify.map(|time| nanos(time).0),
            mapped: cpu.mapped,
            kverityd_verifications: cpu.kverityd_verifications,
            bh_verifications: cpu.bh_verifications,
            inline_verifications: cpu.inline_verifications,
            queues: cpu.queues.as_ref().map(|queues| CpuQueues {
                softirqs: named(&queues.softirqs, Softirq::name),
                ksoftirqd: named(&queues.ksoftirqd, Softirq::name),
                bh_works: queues.bh_works,
                bh_limits_inferred: queues.bh_limits,
                longest_softirq_verify_ns: queues.longest_verify.map(|time| nanos(time).0),
            }),
        }
    }
}

impl From<&Io> for Record {
    fn from(io: &Io) -> Self {
        Self {
            seq: io.seq.to_string(),
            device: io.device.to_string(),
            mapped_at_ns: io.mapped_at.0.to_string(),
            sector: io.sector,
            bytes: io.bytes,
            placement: word(io.placement.name()),
            attempt: io.attempt.map(|it| word(it.name())),
            reason: io.reason.map(|it| word(it.name())),
            completion_context: word(io.completion.name()),
            context: io.context.map(|it| word(it.name())),
            attempt_context: io.attempt_context.map(|it| word(it.name())),
            stages_ns: io
                .stages
                .iter()
                .map(|(&stage, &Nanos(ns))| (stage_name(stage), ns))
                .collect(),
            total_ns: io.total.0,
            status: io.status,
            ioprio: io.ioprio,
            read_ahead: io.read_ahead,
            submitter: io.submitter,
            command: io.command.clone(),
            cgroup: io.cgroup.to_string(),
            submit_cpu: io.submit_cpu,
            complete_cpu: io.complete_cpu,
            verify_cpu: io.verify_cpu,
            rechecked: io.rechecked,
            fec: io.fec,
            incomplete: io.incomplete,
            clock: io.clock,
        }
    }
}

pub(super) fn named<K: Copy>(
    counts: &BTreeMap<K, u64>,
    name: impl Fn(K) -> &'static str,
) -> Named<u64> {
    counts
        .iter()
        .map(|(&key, &count)| (name(key), count))
        .collect()
}

impl Percentiles {
    /// The fields with this value.
    fn names_of(&self, value: u64) -> Vec<Word> {
        let fields = [
            ("p50_ns", self.p50_ns),
            ("p90_ns", self.p90_ns),
            ("p99_ns", self.p99_ns),
            ("p999_ns", self.p999_ns),
        ];
        let fields = fields.into_iter().filter(|&(_, it)| it == Some(value));
        fields.map(|(name, _)| word(name)).collect()
    }
}

pub(super) const fn word(text: &'static str) -> Word {
    Cow::Borrowed(text)
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> FromIterator<(&'static str, T)> for Named<T> {
    fn from_iter<I: IntoIterator<Item = (&'static str, T)>>(fields: I) -> Self {
        let fields = fields.into_iter();
        Self(fields.map(|(name, value)| (word(name), value)).collect())
    }
}

impl Serialize for RecordList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Record::from))
    }
}

impl JsonSchema for RecordList<'_> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Word {
        word("Records")
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<Record>::json_schema(generator)
    }
}

/// An object with fields of one type.
impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Word {
        format!("Named_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, T>::json_schema(generator)
    }
}

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = Named<T>;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Named(fields))
    }
}
