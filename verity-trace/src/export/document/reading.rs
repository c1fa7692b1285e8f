//! A document becomes the snapshot that it was made of. It may come from anybody: a word that is
//! none of this program's, and a number that cannot be, are errors.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use verity_trace_ebpf::slot;

use super::{Document, Named, SelfCost};
use crate::histogram::{self, Nanos};
use crate::snapshot::{
    self, Completion, Context, DeviceNumber, Era, Gap, InFlight, InStage, IoClass, Kind, Loss,
    Placement, Probe, ProbeKind, QueueWait, Reason, Rung, Sampling, Snapshot, Softirq, Stage,
    Tracing, When, stage_name,
};

/// Counts are not above it, so that no sum of them over placements and devices can overflow.
const MOST: u64 = 1 << 48;
/// The same of bytes, of which a fast machine reads that many in a working day: they are added up over the placements
/// of one device alone.
const MOST_BYTES: u64 = 1 << 60;
/// Devices are not more.
const DEVICES: usize = 4_096;
/// Limits of the module are not more; there is one for each of four ioprio classes.
const LIMITS: u64 = 16;
/// The start of the year 9999, in milliseconds: later ones have no date that could be printed.
const LATEST_MS: u64 = 253_370_764_800_000;
/// Bytes of all names that are kept for good: those of this program's own take a tenth of it.
const NAMES: usize = 64 << 10;

/// Why a document is no snapshot. It may quote the document: escape it before printing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

type Result<T> = std::result::Result<T, Unreadable>;

impl Document<'_> {
    /// The snapshot; what only two snapshots tell together is absent.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot {
            taken_at: Duration::from_millis(at_most(self.taken_at_unix_ms, LATEST_MS)?),
            watched: Duration::from_nanos(self.watched_ns),
            interval: None,
            kernel: snapshot::Kernel {
                release: self.kernel.release.clone(),
                host: self.kernel.host.clone(),
                cpus: self.kernel.cpus,
                era: self.kernel.era.as_deref().map(era).transpose()?,
            },
            tracing: self.tracing.tracing()?,
            probes: read(&self.tracing.probes, super::Probe::probe)?,
            gaps: read(&self.tracing.gaps, super::Gap::gap)?,
            devices: {
                at_most(self.devices.len() as u64, DEVICES as u64)?;
                read(&self.devices, super::Device::device)?
            },
            kernel_names: self.kernel_names(),
            queued: match &self.queued {
                None => BTreeMap::new(),
                Some(queued) => keyed(queued, placement, super::Histogram::histogram)?,
            },
            other: self.other.as_ref().map(super::Other::other).transpose()?,
            cpus: read(&self.cpus, super::Cpu::cpu)?,
            recent_cpus: Vec::new(),
            use_bh_bytes: {
                let limits = self.use_bh_bytes.as_ref().map_or(0, Vec::len);
                at_most(limits as u64, LIMITS)?;
                self.use_bh_bytes.clone()
            },
            account: self.account.as_ref().map(|account| snapshot::Account {
                mapped: account.mapped,
                finished: account.finished,
                rejected: account.rejected,
                in_flight: account.in_flight,
                lost: account.lost,
            }),
            loss: counts(&self.loss, loss)?,
            hides_misses: self.loss_is_lower_bound,
            before_attach: self.before_attach,
            hash_cache_unseen: self.hash_cache_unseen,
            queues_unseen: self.queues_unseen,
            cost: self.self_cost.as_ref().map(SelfCost::cost).transpose()?,
            sampling: match (self.records_one_in, self.records_sampled_out) {
                (Some(one_in), Some(sampled_out)) => Some(Sampling {
                    one_in,
                    sampled_out,
                }),
                _ => None,
            },
        })
    }

    fn kernel_names(&self) -> BTreeMap<String, String> {
        let named = self.devices.iter().flat_map(|device| {
            let mut places = device.target.places();
            places.push(&device.place);
            places
        });
        named
            .filter_map(|place| Some((place.number().to_owned(), place.kernel_name()?.to_owned())))
            .collect()
    }
}

impl super::Tracing {
    fn tracing(&self) -> Result<Tracing> {
        match (self.state.as_ref(), &self.rung, &self.failure) {
            ("attached", Some(rung), _) => Ok(Tracing::Attached(known(
                "rung",
                Rung::ALL,
                Rung::name,
                rung,
            )?)),
            ("waiting-for-module", ..) => Ok(Tracing::WaitingForModule),
            ("waiting-for-device", ..) => Ok(Tracing::WaitingForDevice),
            ("failed", _, Some(sentence)) => Ok(Tracing::Failed(sentence.clone())),
            (state, ..) => Err(unknown("state", state)),
        }
    }
}

impl super::Probe {
    fn probe(&self) -> Result<Probe> {
        Ok(Probe {
            name: lasting(&self.name)?,
            target: lasting(&self.target)?,
            kind: known("attachment", ProbeKind::ALL, ProbeKind::name, &self.attach)?,
            without: lasting(&self.without)?,
            when: known("time to attach", When::ALL, When::name, &self.when)?,
        })
    }
}

impl super::Gap {
    fn gap(&self) -> Result<Gap> {
        Ok(Gap {
            missing: lasting(&self.missing)?,
            lost: lasting(&self.lost)?,
            why: self.why.clone(),
            remedy: self.remedy.as_deref().map(lasting).transpose()?,
        })
    }
}

impl super::Device<'_> {
    fn device(&self) -> Result<snapshot::Device> {
        Ok(snapshot::Device {
            name: self.name.clone().into_owned(),
            uuid: self.uuid.clone().into_owned(),
            number: device_number(self.place.number())?,
            disk_sequence: self.disk_sequence,
            table: self.target.table()?,
            status: self.target.status(),
            counted_in_other: self.counted_in_other,
            totals: self
                .totals
                .as_ref()
                .map(super::Totals::totals)
                .transpose()?,
            recent: None,
            in_flight: self
                .in_flight
                .as_ref()
                .map(super::IosInFlight::in_flight)
                .transpose()?,
            first_failure: self.first_failure.as_ref().map(super::Failure::failure),
            before_attach: self.before_attach.as_ref().map(|it| snapshot::Reads {
                ios: it.ios,
                bytes: it.bytes,
            }),
            in_flight_before_attach: self.in_flight_before_attach,
        })
    }
}

impl super::Other {
    fn other(&self) -> Result<snapshot::Other> {
        Ok(snapshot::Other {
            totals: self.totals.totals()?,
            in_flight: self.in_flight.in_flight()?,
            first_failure: self.first_failure.as_ref().map(super::Failure::failure),
        })
    }
}

impl super::IosInFlight {
    fn in_flight(&self) -> Result<InFlight> {
        let in_stage = |these: &super::InStage| {
            Ok(InStage {
                ios: count(these.ios)?,
                oldest: Duration::from_nanos(these.oldest_ns),
            })
        };
        Ok(InFlight {
            stages: keyed(&self.in_flight_stages, stage, in_stage)?,
        })
    }
}

impl super::Failure {
    const fn failure(&self) -> snapshot::Failure {
        snapshot::Failure {
            sector: self.sector,
            status: self.status,
        }
    }
}

impl super::Totals {
    fn totals(&self) -> Result<snapshot::Totals> {
        let mut mix = BTreeMap::new();
        let mut all = 0;
        for kind in &self.mix {
            let reason = kind.reason.as_deref().map(reason).transpose()?;
            let alike = Kind {
                size: kind.size_bytes,
                class: known("class", IoClass::ALL, IoClass::name, &kind.class)?,
                placement: placement(&kind.placement)?,
                reason,
            };
            all = count(count(kind.ios)? + all)?;
            mix.insert(alike, kind.ios);
        }
        Ok(snapshot::Totals {
            placements: keyed(
                &self.placements,
                placement,
                super::PlacementTotals::placement_totals,
            )?,
            rejected: count(self.rejected)?,
            incomplete: count(self.incomplete)?,
            loss: counts(&self.loss, loss)?,
            attempts: counts(&self.attempts, placement)?,
            attempt_contexts: counts(&self.attempt_contexts, context)?,
            rechecked: self.rechecked,
            fec: self.fec,
            mix,
            hash_cache: match &self.hash_cache {
                None => None,
                Some(it) => Some(snapshot::HashCache {
                    hits: count(it.hits)?,
                    misses: count(it.misses)?,
                    awaited: count(it.awaited)?,
                    wait: Duration::from_nanos(it.wait_ns),
                    unmeasured: count(it.unmeasured)?,
                }),
            },
            queue_wait: self.kverityd_queue.as_ref().map(|wait| QueueWait {
                ios: wait.ios,
                behind: wait.behind,
                behind_ns: wait.behind_ns,
                wake_up_ns: wait.wake_up_ns,
                unsplit: wait.unsplit,
            }),
            submitters: self
                .submitters
                .as_ref()
                .map(super::Submitters::submitters)
                .transpose()?,
        })
    }
}

impl super::Submitters {
    fn submitters(&self) -> Result<snapshot::Submitters> {
        let top = |it: &super::TopSubmitter| {
            Ok(snapshot::Submitter {
                task: it.submitter,
                command: it.command.clone(),
                cgroup: parsed("cgroup", &it.cgroup)?,
                ios: it.ios,
                bytes: it.bytes,
            })
        };
        Ok(snapshot::Submitters {
            top: read(&self.top, top)?,
            others: snapshot::OtherSubmitters {
                tasks: self.others.submitters,
                ios: self.others.ios,
                bytes: self.others.bytes,
                unlisted: self.others.unlisted,
            },
        })
    }
}

impl super::PlacementTotals {
    fn placement_totals(&self) -> Result<snapshot::PlacementTotals> {
        let completion = |word: &str| known("context", Completion::ALL, Completion::name, word);
        Ok(snapshot::PlacementTotals {
            ios: count(self.ios)?,
            bytes: at_most(self.bytes, MOST_BYTES)?,
            failed: count(self.failed)?,
            reasons: counts(&self.reasons, reason)?,
            completions: counts(&self.completion_contexts, completion)?,
            contexts: counts(&self.contexts, context)?,
            stages: keyed(&self.stages, stage, super::Histogram::histogram)?,
        })
    }
}

impl super::Histogram {
    fn histogram(&self) -> Result<histogram::Histogram> {
        let mut slots: Vec<(usize, u64)> = Vec::new();
        let mut all = 0;
        for bucket in &self.buckets {
            let slot = slot::slot(bucket.lower_ns);
            // So there are no more than there are slots.
            if slots.last().is_some_and(|&(last, _)| slot <= last) {
                let text = format!("the bucket from {} is out of order", bucket.lower_ns);
                return Err(Unreadable(text));
            }
            all = count(count(bucket.count)? + all)?;
            slots.push((slot, bucket.count));
        }
        // Whoever adds these up does it without overflow.
        let sum = Nanos(self.sum_ns);
        Ok(histogram::Histogram::from_slots(slots, sum))
    }
}

impl super::Cpu {
    fn cpu(&self) -> Result<snapshot::Cpu> {
        let queues = |it: &super::CpuQueues| {
            Ok(snapshot::CpuQueues {
                softirqs: counts(&it.softirqs, softirq)?,
                ksoftirqd: counts(&it.ksoftirqd, softirq)?,
                bh_works: it.bh_works,
                bh_limits: it.bh_limits_inferred,
                longest_verify: it.longest_softirq_verify_ns.map(Duration::from_nanos),
            })
        };
        Ok(snapshot::Cpu {
            number: self.number,
            block_softirq: Duration::from_nanos(self.block_softirq_ns),
            tasklet_softirq: Duration::from_nanos(self.tasklet_softirq_ns),
            softirq: Duration::from_nanos(self.softirq_ns),
            softirqs: keyed(&self.softirqs_ns, softirq, |&ns| {
                Ok(Duration::from_nanos(ns))
            })?,
            queues: self.queues.as_ref().map(queues).transpose()?,
            softirq_verify: self.softirq_verify_ns.map(Duration::from_nanos),
            mapped: self.mapped,
            kverityd_verifications: count(self.kverityd_verifications)?,
            bh_verifications: count(self.bh_verifications)?,
            inline_verifications: self.inline_verifications.map(count).transpose()?,
        })
    }
}

/// A text for as long as the program lives, as what it says of its own probes is. Each is kept once,
/// and of all of them no more than a recording can need.
pub fn lasting(text: &str) -> Result<&'static str> {
    static KEPT: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&text) = kept.get(text) {
        return Ok(text);
    }
    let bytes: usize = kept.iter().map(|text| text.len()).sum();
    if bytes + text.len() > NAMES {
        return Err(Unreadable(
            "it names more probes than there can be".to_owned(),
        ));
    }
    let text: &'static str = String::leak(text.to_owned());
    kept.insert(text);
    Ok(text)
}

/// The one of all that has this name.
pub fn known<T: Copy, const N: usize>(
    what: &'static str,
    all: [T; N],
    name: impl Fn(T) -> &'static str,
    word: &str,
) -> Result<T> {
    let found = all.into_iter().find(|&it| name(it) == word);
    found.ok_or_else(|| unknown(what, word))
}

/// A count that can be.
pub fn count(count: u64) -> Result<u64> {
    at_most(count, MOST)
}

/// A number that is not above a limit.
pub fn at_most(number: u64, limit: u64) -> Result<u64> {
    if number <= limit {
        return Ok(number);
    }
    Err(Unreadable(format!("{number} is more than there can be")))
}

/// The entries with keys of their own.
pub fn keyed<T, K: Ord, V>(
    named: &Named<T>,
    key: impl Fn(&str) -> Result<K>,
    value: impl Fn(&T) -> Result<V>,
) -> Result<BTreeMap<K, V>> {
    let entries = named.0.iter();
    entries
        .map(|(name, it)| Ok((key(name)?, value(it)?)))
        .collect()
}

fn counts<K: Ord>(named: &Named<u64>, key: impl Fn(&str) -> Result<K>) -> Result<BTreeMap<K, u64>> {
    keyed(named, key, |&it| count(it))
}

fn read<T, V>(entries: &[T], value: impl Fn(&T) -> Result<V>) -> Result<Vec<V>> {
    entries.iter().map(value).collect()
}

fn placement(word: &str) -> Result<Placement> {
    known("placement", Placement::ALL, Placement::name, word)
}

fn stage(word: &str) -> Result<Stage> {
    known("stage", Stage::ALL, stage_name, word)
}

fn loss(word: &str) -> Result<Loss> {
    known("loss", Loss::ALL, Loss::name, word)
}

fn reason(word: &str) -> Result<Reason> {
    known("reason", Reason::ALL, Reason::name, word)
}

fn context(word: &str) -> Result<Context> {
    known("context", Context::ALL, Context::name, word)
}

fn era(word: &str) -> Result<Era> {
    known("era", Era::ALL, Era::name, word)
}

fn softirq(word: &str) -> Result<Softirq> {
    known("softirq", Softirq::ALL, Softirq::name, word)
}

/// A device's number.
pub fn device_number(text: &str) -> Result<DeviceNumber> {
    parsed("device number", text)
}

fn parsed<T: FromStr>(what: &'static str, text: &str) -> Result<T> {
    text.parse().map_err(|_| unknown(what, text))
}

fn unknown(what: &str, word: &str) -> Unreadable {
    Unreadable(format!("there is no {what} `{word}`"))
}
