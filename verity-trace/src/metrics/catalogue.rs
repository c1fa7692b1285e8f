//! The catalogue itself, in the order in which metrics are exposed.

use super::gather::{NONE, Of, Samples, label};
use super::{Kind, Metric};
use crate::cost::Occasion;
use crate::facts;
use crate::format::nanos;
use crate::recommend::Advice;
use crate::snapshot::{
    Cpu, Device, Era, InFlight, IoClass, Loss, Placement, PlacementTotals, Stage, Totals,
    stage_name,
};
use crate::target::Verdict;

/// Stages with a histogram: the others are rare, or follow from these.
const STAGES: [Stage; 3] = [Stage::Wait, Stage::Verify, Stage::Total];

/// Where an I/O in flight can be.
const IN_FLIGHT: [Stage; 5] = [
    Stage::Device,
    Stage::Wait,
    Stage::Attempt,
    Stage::RetryWait,
    Stage::Verify,
];

/// Every metric.
pub static CATALOGUE: &[Metric] = &[
    Metric {
        name: "verity_trace_build_info",
        kind: Kind::Info,
        unit: None,
        labels: &["version"],
        help: "The program that measures",
        of: Of::Snapshot(|_, samples| samples.info([env!("CARGO_PKG_VERSION")])),
    },
    Metric {
        name: "verity_trace_kernel_info",
        kind: Kind::Info,
        unit: None,
        labels: &["release", "era"],
        help: "The kernel, and what it makes of try_verify_in_tasklet: no-option, tasklet, inert, bh, inline; unknown while dm_verity is not loaded",
        of: Of::Snapshot(|snapshot, samples| {
            let era = snapshot.kernel.era.map_or("unknown", Era::name);
            samples.info([label(&snapshot.kernel.release), era.to_owned()]);
        }),
    },
    Metric {
        name: "verity_trace_tracing_info",
        kind: Kind::Info,
        unit: None,
        labels: &["state", "rung"],
        help: "Whether dm-verity is watched (attached, waiting-for-module, waiting-for-device, failed), and how (fentry, kprobe, tracepoint, none)",
        of: Of::Snapshot(|snapshot, samples| {
            let tracing = &snapshot.tracing;
            samples.info([tracing.state(), facts::rung(tracing)]);
        }),
    },
    Metric {
        name: "verity_trace_snapshot_timestamp_seconds",
        kind: Kind::Gauge,
        unit: Some("seconds"),
        labels: &[],
        help: "When everything here was read, since the Unix epoch",
        of: Of::Snapshot(|snapshot, samples| samples.gauge(NONE, snapshot.taken_at.as_secs_f64())),
    },
    Metric {
        name: "verity_trace_watched_seconds_total",
        kind: Kind::Counter,
        unit: Some("seconds"),
        labels: &[],
        help: "Time with the probes attached, during which everything was counted",
        of: Of::Snapshot(|snapshot, samples| samples.seconds(NONE, nanos(snapshot.watched).0)),
    },
    Metric {
        name: "verity_trace_devices",
        kind: Kind::Gauge,
        unit: None,
        labels: &[],
        help: "Verity devices",
        of: Of::Snapshot(|snapshot, samples| samples.gauge(NONE, snapshot.devices.len() as f64)),
    },
    Metric {
        name: "verity_trace_devices_folded",
        kind: Kind::Gauge,
        unit: None,
        labels: &[],
        help: "Verity devices without series of their own, which are in those of the device other",
        of: Of::Folded(|folded, samples| samples.gauge(NONE, folded as f64)),
    },
    Metric {
        name: "verity_trace_device_info",
        kind: Kind::Info,
        unit: None,
        labels: &["device", "number", "algorithm", "option", "effective"],
        help: "A device: its number, its hash, whether its table has try_verify_in_tasklet (on, off), and whether anything but kverityd verified or tried to (yes, no; unknown while nothing was verified)",
        of: Of::OwnDevice(device_info),
    },
    Metric {
        name: "verity_trace_device_corrupted",
        kind: Kind::Gauge,
        unit: None,
        labels: &["device"],
        help: "1 where a block did not match its hash since the table was loaded, else 0; of the device other, how many do",
        of: Of::Device(|device, samples| {
            if let Some(status) = &device.status {
                let is_corrupt = status.verdict == Verdict::Corruption;
                samples.gauge(NONE, f64::from(u8::from(is_corrupt)));
            }
        }),
    },
    Metric {
        name: "verity_trace_device_fec_corrected_blocks_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["device"],
        help: "Blocks that forward error correction repaired since the table was loaded (Linux 7.0 and later)",
        of: Of::Device(|device, samples| {
            let corrected = device.status.as_ref().and_then(|it| it.fec_corrected);
            samples.known(NONE, corrected);
        }),
    },
    Metric {
        name: "verity_trace_use_bh_bytes",
        kind: Kind::Gauge,
        unit: Some("bytes"),
        labels: &["class"],
        help: "The module's limit for verification in BH or inline, by ioprio class",
        of: Of::Snapshot(|snapshot, samples| {
            let limits = snapshot.use_bh_bytes.iter().flatten();
            for (class, &bytes) in IoClass::ALL.into_iter().zip(limits) {
                samples.gauge([class.name()], bytes as f64);
            }
        }),
    },
    Metric {
        name: "verity_trace_io_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["device", "placement"],
        help: "I/Os finished, by where they were verified",
        of: Of::Totals(|totals, possible, samples| {
            by_placement(totals, possible, samples, |it| it.ios);
        }),
    },
    Metric {
        name: "verity_trace_io_bytes_total",
        kind: Kind::Counter,
        unit: Some("bytes"),
        labels: &["device", "placement"],
        help: "Bytes of the I/Os finished",
        of: Of::Totals(|totals, possible, samples| {
            by_placement(totals, possible, samples, |it| it.bytes);
        }),
    },
    Metric {
        name: "verity_trace_io_failed_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["device", "placement"],
        help: "I/Os that finished with an error",
        of: Of::Totals(|totals, possible, samples| {
            by_placement(totals, possible, samples, |it| it.failed);
        }),
    },
    Metric {
        name: "verity_trace_io_reason_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["device", "placement", "reason"],
        help: "I/Os that were not verified in BH or inline, by why",
        of: Of::Totals(|totals, _, samples| {
            for (placement, these) in &totals.placements {
                for (reason, &ios) in &these.reasons {
                    samples.count([placement.name(), reason.name()], ios);
                }
            }
        }),
    },
    Metric {
        name: "verity_trace_io_attempts_given_up_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["device", "placement"],
        help: "I/Os with the placement fallback, by where the attempt was that gave up",
        of: Of::Totals(|totals, possible, samples| {
            let attempted = possible.iter().filter(|&&it| can_give_up(it));
            for &placement in attempted {
                samples.count([placement.name()], 0);
            }
            for (placement, &ios) in &totals.attempts {
                samples.count([placement.name()], ios);
            }
        }),
    },
    Metric {
        name: "verity_trace_stage_seconds",
        kind: Kind::Histogram,
        unit: Some("seconds"),
        labels: &["device", "placement", "stage"],
        help: "How long the I/Os' stages took: wait, verify, and total, from verity_map to verity_finish_io",
        of: Of::Totals(|totals, _, samples| {
            for (placement, these) in &totals.placements {
                for stage in STAGES {
                    if let Some(histogram) = these.stages.get(&stage) {
                        samples.histogram([placement.name(), stage_name(stage)], histogram);
                    }
                }
            }
        }),
    },
    Metric {
        name: "verity_trace_io_rejected_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["device"],
        help: "Maps that the target refused, which are no I/Os",
        of: Of::Totals(|totals, _, samples| samples.count(NONE, totals.rejected)),
    },
    Metric {
        name: "verity_trace_io_incomplete_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["device"],
        help: "I/Os finished of which some event was not seen",
        of: Of::Totals(|totals, _, samples| samples.count(NONE, totals.incomplete)),
    },
    Metric {
        name: "verity_trace_io_rechecked_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["device"],
        help: "I/Os of which a block was read again because its hash did not match",
        of: Of::Totals(|totals, _, samples| samples.known(NONE, totals.rechecked)),
    },
    Metric {
        name: "verity_trace_io_fec_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["device"],
        help: "I/Os for which forward error correction was tried",
        of: Of::Totals(|totals, _, samples| samples.known(NONE, totals.fec)),
    },
    Metric {
        name: "verity_trace_io_in_flight",
        kind: Kind::Gauge,
        unit: None,
        labels: &["device", "stage"],
        help: "I/Os begun and not finished, by the stage that they are in",
        of: Of::InFlight(in_flight),
    },
    Metric {
        name: "verity_trace_io_oldest_seconds",
        kind: Kind::Gauge,
        unit: Some("seconds"),
        labels: &["device"],
        help: "Age of the oldest I/O in flight; absent when none is",
        of: Of::InFlight(|in_flight, samples| {
            if let Some((_, age)) = in_flight.oldest() {
                samples.highest(NONE, age.as_secs_f64());
            }
        }),
    },
    Metric {
        name: "verity_trace_io_in_flight_before_attach",
        kind: Kind::Gauge,
        unit: None,
        labels: &["device"],
        help: "At least so many I/Os are in flight that began before they could be seen, as on a disk that hung already",
        of: Of::Device(|device, samples| {
            if let Some(ios) = device.in_flight_before_attach {
                samples.gauge(NONE, ios as f64);
            }
        }),
    },
    Metric {
        name: "verity_trace_hash_cache_lookups_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["device", "result"],
        help: "With --hash-cache: what verifications found in the cache of hash blocks (hit, miss, awaited: it was being read already)",
        of: Of::Totals(|totals, _, samples| {
            if let Some(cache) = totals.hash_cache {
                samples.count(["hit"], cache.hits);
                samples.count(["miss"], cache.misses);
                samples.count(["awaited"], cache.awaited);
            }
        }),
    },
    Metric {
        name: "verity_trace_hash_cache_wait_seconds_total",
        kind: Kind::Counter,
        unit: Some("seconds"),
        labels: &["device"],
        help: "With --hash-cache: time that verifications waited for hash blocks",
        of: Of::Totals(|totals, _, samples| {
            if let Some(cache) = totals.hash_cache {
                samples.seconds(NONE, nanos(cache.wait).0);
            }
        }),
    },
    Metric {
        name: "verity_trace_kverityd_wait_seconds_total",
        kind: Kind::Counter,
        unit: Some("seconds"),
        labels: &["device", "cause"],
        help: "With --queues: what waits for kverityd consist of: another work before (work), and the worker's wake-up (wake-up)",
        of: Of::Totals(|totals, _, samples| {
            if let Some(wait) = totals.queue_wait {
                samples.seconds(["work"], wait.behind_ns);
                samples.seconds(["wake-up"], wait.wake_up_ns);
            }
        }),
    },
    Metric {
        name: "verity_trace_advice_info",
        kind: Kind::Info,
        unit: None,
        labels: &["device", "verdict", "certainty", "change"],
        help: "What is advised: enable, disable, keep, limit, not-effective or not-enough-data; how sure that is; and whether it is to change something (yes, no)",
        of: Of::Advice(|advice, samples| {
            samples.info([
                advice.verdict.name(),
                advice.confidence.certainty.name(),
                yes(advice.changes()),
            ]);
        }),
    },
    Metric {
        name: "verity_trace_advice_gain_ratio",
        kind: Kind::Gauge,
        unit: Some("ratio"),
        labels: &["device", "bound"],
        help: "By what part of it the mean total would get shorter with the option, or the limits, switched over: at least (worst) and at most (best); below 0 it would get longer",
        of: Of::OwnAdvice(gain),
    },
    Metric {
        name: "verity_trace_io_mapped_total",
        kind: Kind::Counter,
        unit: None,
        labels: &[],
        help: "I/Os begun; at rest the sum of those that finished, were rejected, or were lost",
        of: Of::Snapshot(|snapshot, samples| {
            samples.known(NONE, snapshot.account.map(|account| account.mapped));
        }),
    },
    Metric {
        name: "verity_trace_io_before_attach_total",
        kind: Kind::Counter,
        unit: None,
        labels: &[],
        help: "I/Os that began before all probes were attached, and are counted nowhere else",
        of: Of::Snapshot(|snapshot, samples| samples.count(NONE, snapshot.before_attach)),
    },
    Metric {
        name: "verity_trace_loss_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["kind"],
        help: "What went unseen, by kind",
        of: Of::Snapshot(|snapshot, samples| {
            if snapshot.account.is_some() {
                for kind in Loss::ALL {
                    let count = snapshot.loss.get(&kind).copied();
                    samples.count([kind.name()], count.unwrap_or(0));
                }
            }
        }),
    },
    Metric {
        name: "verity_trace_loss_is_lower_bound",
        kind: Kind::Gauge,
        unit: None,
        labels: &[],
        help: "1 where the kernel does not count what its kprobes miss, so that more can have gone unseen, else 0",
        of: Of::Snapshot(|snapshot, samples| {
            samples.gauge(NONE, f64::from(u8::from(snapshot.hides_misses)));
        }),
    },
    Metric {
        name: "verity_trace_verifications_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["placement"],
        help: "Verifications begun, attempts that gave up included, of all devices; a tasklet's are in bh",
        of: Of::Snapshot(|snapshot, samples| {
            for cpu in &snapshot.cpus {
                samples.count([Placement::Kverityd.name()], cpu.kverityd_verifications);
                samples.count([Placement::Bh.name()], cpu.bh_verifications);
                samples.known([Placement::Inline.name()], cpu.inline_verifications);
            }
        }),
    },
    Metric {
        name: "verity_trace_queued_seconds",
        kind: Kind::Histogram,
        unit: Some("seconds"),
        labels: &["placement"],
        help: "On the rung tracepoint: how long verifications that began had been queued, of all devices",
        of: Of::Snapshot(|snapshot, samples| {
            for (placement, histogram) in &snapshot.queued {
                samples.histogram([placement.name()], histogram);
            }
        }),
    },
    Metric {
        name: "verity_trace_softirq_seconds_total",
        kind: Kind::Counter,
        unit: Some("seconds"),
        labels: &["cpu", "vector"],
        help: "Time in softirqs, whatever they are for",
        of: Of::Cpu(|cpu, samples| {
            for (vector, &time) in &cpu.softirqs {
                samples.seconds([vector.name()], nanos(time).0);
            }
        }),
    },
    Metric {
        name: "verity_trace_softirq_verify_seconds_total",
        kind: Kind::Counter,
        unit: Some("seconds"),
        labels: &["cpu"],
        help: "Time of verification in softirq, attempts that gave up included",
        of: Of::Cpu(softirq_verify),
    },
    Metric {
        name: "verity_trace_softirq_verify_longest_seconds",
        kind: Kind::Gauge,
        unit: Some("seconds"),
        labels: &[],
        help: "With --queues: the longest verification in softirq",
        of: Of::Snapshot(|snapshot, samples| {
            let queues = snapshot.cpus.iter().filter_map(|cpu| cpu.queues.as_ref());
            if let Some(longest) = queues.filter_map(|it| it.longest_verify).max() {
                samples.gauge(NONE, longest.as_secs_f64());
            }
        }),
    },
    Metric {
        name: "verity_trace_programs_cpu_ratio",
        kind: Kind::Gauge,
        unit: Some("ratio"),
        labels: &[],
        help: "What tracing costs: the part of one CPU that the programs in the kernel take",
        of: Of::Snapshot(|snapshot, samples| {
            if let Some(share) = snapshot.cost.as_ref().and_then(crate::cost::Cost::share) {
                samples.gauge(NONE, share);
            }
        }),
    },
    Metric {
        name: "verity_trace_programs_each_seconds",
        kind: Kind::Gauge,
        unit: Some("seconds"),
        labels: &["occasion"],
        help: "What tracing costs each I/O, softirq, work item and hash block (io, softirq, work_item, hash_block)",
        of: Of::Snapshot(|snapshot, samples| {
            for occasion in Occasion::ALL {
                let cost = snapshot.cost.as_ref();
                if let Some(ns) = cost.and_then(|cost| cost.each(occasion)) {
                    samples.gauge([occasion.name()], ns as f64 / 1e9);
                }
            }
        }),
    },
    Metric {
        name: "verity_trace_process_cpu_seconds_total",
        kind: Kind::Counter,
        unit: Some("seconds"),
        labels: &[],
        help: "CPU time of the program itself while the probes were attached",
        of: Of::Snapshot(|snapshot, samples| {
            if let Some(cost) = &snapshot.cost {
                samples.seconds(NONE, nanos(cost.process).0);
            }
        }),
    },
];

fn device_info(device: &Device, samples: &mut Samples) {
    let option = if device.table.options.try_verify_in_tasklet {
        "on"
    } else {
        "off"
    };
    samples.info([
        device.number.to_string(),
        label(&device.table.algorithm),
        option.to_owned(),
        device.effective().map_or("unknown", yes).to_owned(),
    ]);
}

/// 0 where a placement is possible and nothing had it: a rate has to begin somewhere.
fn by_placement(
    totals: &Totals,
    possible: &[Placement],
    samples: &mut Samples,
    of: impl Fn(&PlacementTotals) -> u64,
) {
    for &placement in possible {
        samples.count([placement.name()], 0);
    }
    for (placement, these) in &totals.placements {
        samples.count([placement.name()], of(these));
    }
}

const fn can_give_up(placement: Placement) -> bool {
    matches!(
        placement,
        Placement::Bh | Placement::Inline | Placement::Tasklet
    )
}

fn in_flight(in_flight: &InFlight, samples: &mut Samples) {
    for stage in IN_FLIGHT {
        let ios = in_flight.stages.get(&stage).map_or(0, |these| these.ios);
        samples.gauge([stage_name(stage)], ios as f64);
    }
}

fn gain(advice: &Advice, samples: &mut Samples) {
    let Some(effect) = advice.confidence.effect else {
        return;
    };
    samples.gauge(["best"], -effect.best);
    if let Some(worst) = effect.worst {
        samples.gauge(["worst"], -worst);
    }
}

fn softirq_verify(cpu: &Cpu, samples: &mut Samples) {
    if let Some(time) = cpu.softirq_verify {
        samples.seconds(NONE, nanos(time).0);
    }
}

const fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}
