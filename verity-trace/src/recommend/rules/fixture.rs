//! Made-up devices for the tests of rules.

use std::time::Duration;

use super::{Outcome, Rule};
use crate::histogram::{Histogram, Nanos};
use crate::recommend::Case;
use crate::snapshot::{
    Account, Completion, Context, Cpu, Device, DeviceNumber, Era, IoClass, Kernel, Kind, Placement,
    Reason, Rung, Snapshot, Stage, Totals, Tracing,
};
use crate::target::Table;

/// The first device is the one that is asked about.
#[derive(Clone)]
pub struct Made(pub Snapshot);

/// I/Os that were alike, all stages in nanoseconds.
#[derive(Clone, Copy)]
pub struct Ios {
    pub placement: Placement,
    pub reason: Option<Reason>,
    pub completion: Completion,
    pub context: Context,
    pub class: IoClass,
    pub count: u64,
    pub bytes: u32,
    pub device: u64,
    pub wait: u64,
    pub attempt: Option<u64>,
    pub retry_wait: Option<u64>,
    pub verify: u64,
}

/// Small reads with the option off, on a device that takes 80 us.
pub const ON_KVERITYD: Ios = Ios {
    placement: Placement::Kverityd,
    reason: Some(Reason::OptionOff),
    completion: Completion::HardirqOrIrqsOff,
    context: Context::Kworker,
    class: IoClass::BestEffort,
    count: 5_000,
    bytes: 4_096,
    device: 80_000,
    wait: 30_000,
    attempt: None,
    retry_wait: None,
    verify: 5_000,
};

/// The same on the BH workqueue.
pub const IN_BH: Ios = Ios {
    placement: Placement::Bh,
    reason: None,
    context: Context::Softirq,
    wait: 3_000,
    ..ON_KVERITYD
};

/// The same where the attempt found a hash block missing.
pub const FELL_BACK: Ios = Ios {
    placement: Placement::Fallback,
    reason: Some(Reason::CacheMiss),
    wait: 3_000,
    attempt: Some(1_000),
    retry_wait: Some(30_000),
    verify: 300_000,
    count: 500,
    ..ON_KVERITYD
};

impl Made {
    pub fn on(release: &str, era: Era) -> Self {
        Self(Snapshot {
            taken_at: Duration::from_secs(1_795_000_000),
            watched: Duration::from_secs(10),
            interval: None,
            kernel: Kernel {
                release: release.to_owned(),
                host: "web-7".to_owned(),
                cpus: 2,
                era: Some(era),
            },
            tracing: Tracing::Attached(Rung::Fentry),
            probes: Vec::new(),
            gaps: Vec::new(),
            devices: vec![device("root", 0)],
            kernel_names: [("254:0", "vda"), ("254:16", "vdb")]
                .map(|(number, name)| (number.to_owned(), name.to_owned()))
                .into(),
            queued: std::collections::BTreeMap::new(),
            other: None,
            cpus: vec![cpu(0), cpu(1)],
            recent_cpus: Vec::new(),
            use_bh_bytes: (era == Era::Inline).then(|| vec![8_192, 8_192, 8_192, 0]),
            account: Some(Account::default()),
            loss: std::collections::BTreeMap::new(),
            hides_misses: false,
            before_attach: 0,
            hash_cache_unseen: None,
            queues_unseen: None,
            cost: None,
            sampling: None,
        })
    }

    pub fn option(mut self) -> Self {
        self.0.devices[0].table.options.try_verify_in_tasklet = true;
        self
    }

    pub fn ios(mut self, ios: Ios) -> Self {
        add(self.totals(), ios);
        self
    }

    /// On another device, with the option on.
    pub fn beside(mut self, ios: Ios) -> Self {
        let minor = u32::try_from(self.0.devices.len()).expect("few devices");
        let mut other = device("other", minor);
        other.table.options.try_verify_in_tasklet = true;
        add(other.totals.as_mut().expect("totals"), ios);
        self.0.devices.push(other);
        self
    }

    pub fn totals(&mut self) -> &mut Totals {
        self.0.devices[0].totals.as_mut().expect("totals")
    }

    pub fn case(&self) -> Case<'_> {
        Case::since_start(&self.0, &self.0.devices[0])
    }

    pub fn ask(&self, rule: &Rule) -> Outcome {
        (rule.check)(&self.case())
    }
}

pub fn fires(rule: &Rule, made: &Made) -> String {
    match made.ask(rule) {
        Outcome::Fires(sentence) => sentence,
        other => panic!("{} does not fire: {other:?}", rule.id),
    }
}

pub fn is_quiet(rule: &Rule, made: &Made) {
    assert_eq!(made.ask(rule), Outcome::Quiet, "{}", rule.id);
}

pub fn has_too_little(rule: &Rule, made: &Made) -> String {
    match made.ask(rule) {
        Outcome::NotEnoughData(text) => text,
        other => panic!("{} has enough: {other:?}", rule.id),
    }
}

fn device(name: &str, minor: u32) -> Device {
    let line = "1 254:0 254:16 4096 4096 16384 1 sha256 4fa5d3b7c8e1a2964fa5d3b7c8e1a296 -";
    Device {
        name: name.to_owned(),
        uuid: format!("CRYPT-VERITY-53b45bfe0de9451cae0dd5cd4e0d0c2b-{name}"),
        number: DeviceNumber { major: 253, minor },
        disk_sequence: None,
        table: Table::parse(line).expect("a verity table"),
        status: None,
        counted_in_other: false,
        totals: Some(Totals::default()),
        recent: None,
        in_flight: None,
        first_failure: None,
        before_attach: None,
        in_flight_before_attach: None,
    }
}

fn cpu(number: usize) -> Cpu {
    Cpu {
        number,
        ..Cpu::default()
    }
}

fn add(totals: &mut Totals, ios: Ios) {
    let these = totals.placements.entry(ios.placement).or_default();
    these.ios += ios.count;
    these.bytes += ios.count * u64::from(ios.bytes);
    *these.completions.entry(ios.completion).or_default() += ios.count;
    *these.contexts.entry(ios.context).or_default() += ios.count;
    if let Some(reason) = ios.reason {
        *these.reasons.entry(reason).or_default() += ios.count;
    }
    let stages = [
        (Stage::Device, Some(ios.device)),
        (Stage::Wait, Some(ios.wait)),
        (Stage::Attempt, ios.attempt),
        (Stage::RetryWait, ios.retry_wait),
        (Stage::Verify, Some(ios.verify)),
    ];
    let total = stages.iter().filter_map(|(_, ns)| *ns).sum();
    for (stage, ns) in stages.into_iter().chain([(Stage::Total, Some(total))]) {
        if let Some(ns) = ns {
            let alike = Histogram::from_values((0..ios.count).map(|_| Nanos(ns)));
            these.stages.entry(stage).or_default().merge(&alike);
        }
    }
    let kind = Kind {
        size: 1 << ios.bytes.ilog2(),
        class: ios.class,
        placement: ios.placement,
        reason: ios.reason,
    };
    *totals.mix.entry(kind).or_default() += ios.count;
}
