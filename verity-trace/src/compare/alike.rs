//! What differs between two recordings beside durations: a shift may come from any of it.

use std::collections::BTreeMap;

use super::side::Side;
use super::timeline::Load;
use crate::format::{self, ABSENT};
use crate::recording::{Machine, Parameters};
use crate::snapshot::{Era, IoClass, Loss, Placement};
use crate::target::Table;
use crate::{facts, overview};

/// Rates and sizes that differ by less are called the same.
const SAME_AMOUNT: f64 = 0.1;
/// Shares of I/Os that differ by less are called the same.
const SAME_SHARE: f64 = 0.05;

/// What differs where verification went to other places.
pub const PLACEMENTS: &str = "placements";

/// One thing that is not the same. The texts come from outside: escape them before printing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The device that it is about, by its name in A; absent where it is about all.
    pub device: Option<String>,
    /// What differs.
    pub what: &'static str,
    /// What it is in A and in B.
    pub values: [String; 2],
}

/// Everything that differs between the machines and between these pairs of devices.
pub fn differences(sides: [&Side; 2], pairs: &[[String; 2]]) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut note = |device: Option<&str>, what, values: [String; 2]| {
        if values[0] != values[1] {
            found.push(Difference {
                device: device.map(str::to_owned),
                what,
                values,
            });
        }
    };
    for (what, text) in MACHINE {
        note(None, what, sides.map(text));
    }
    if let [Some(left), Some(right)] = sides.map(|it| it.overview.machine.as_ref()) {
        let bytes = [left, right].map(|it| it.memory_bytes);
        if !are_close(bytes.map(|it| it as f64)) {
            note(None, "memory", bytes.map(format::mebibytes));
        }
    }
    for pair in pairs {
        let [a, b] = [0, 1].map(|at| (sides[at], pair[at].as_str()));
        let tables = [a, b].map(|(side, name)| side.tables.get(name));
        for (what, text) in TABLE {
            let values = tables.map(|table| table.map_or_else(|| ABSENT.to_owned(), text));
            note(Some(&pair[0]), what, values);
        }
        if let (Some(left), Some(right)) = (a.0.rate(a.1), b.0.rate(b.1))
            && !are_close([left, right])
        {
            let rates = [left, right].map(|rate| format!("{rate:.1}"));
            note(Some(&pair[0]), "I/Os a second", rates);
        }
        let placements = [a, b].map(|(side, name)| side.placements(name));
        if !are_alike(&placements[0], &placements[1]) {
            let name = |placement: &Placement| placement.name().to_owned();
            let shares = placements.each_ref().map(|it| mix(it, name));
            note(Some(&pair[0]), PLACEMENTS, shares);
        }
        if let (Some(left), Some(right)) = (a.0.load(a.1), b.0.load(b.1)) {
            for (what, values) in loads(&left, &right) {
                note(Some(&pair[0]), what, values);
            }
        }
    }
    found
}

fn are_close([a, b]: [f64; 2]) -> bool {
    (a - b).abs() <= SAME_AMOUNT * a.max(b)
}

type Text<T> = (&'static str, fn(&T) -> String);

const MACHINE: [Text<Side>; 14] = [
    ("kernel", |it| it.overview.snapshot.kernel.release.clone()),
    ("era", |it| {
        known(it.overview.snapshot.kernel.era.map(Era::name))
    }),
    ("CPUs", |it| it.overview.snapshot.kernel.cpus.to_string()),
    ("CPU", |it| {
        machine(it, |it| it.cpu_model.clone().unwrap_or_default())
    }),
    ("architecture", |it| machine(it, |it| it.machine.clone())),
    ("use_bh_bytes", |it| limits(&it.overview.parameters)),
    ("probes", |it| {
        facts::rung(&it.overview.snapshot.tracing).to_owned()
    }),
    ("watched in detail", details),
    ("verity-trace", |it| machine(it, |it| it.version.clone())),
    ("records", |it| {
        machine(it, |machine| {
            if machine.filter.is_everything() && machine.ring_bytes.is_none() {
                return "of every I/O".to_owned();
            }
            overview::records(&it.overview)
        })
    }),
    ("loss", loss),
    ("cut", |it| match it.overview.condition.cut {
        Some(cut) => format!("at byte {cut}"),
        None => "no".to_owned(),
    }),
    ("damage", |it| {
        overview::damage(it.overview.condition).unwrap_or_else(|| "none".to_owned())
    }),
    ("undecoded records", |it| it.undecoded.to_string()),
];

const TABLE: [Text<Table>; 7] = [
    ("options", |it| {
        let fec = it.options.fec.is_some().then(|| "FEC".to_owned());
        let words: Vec<_> = it.options.words().into_iter().chain(fec).collect();
        if words.is_empty() {
            return "none".to_owned();
        }
        words.join(" ")
    }),
    ("algorithm", |it| it.algorithm.clone()),
    ("bytes of a data block", |it| {
        it.data_block_bytes.to_string()
    }),
    ("bytes of a hash block", |it| {
        it.hash_block_bytes.to_string()
    }),
    ("data blocks", |it| it.data_blocks.to_string()),
    ("format of hashes", |it| it.hash_type.to_string()),
    ("root hash", |it| it.root_hash.clone()),
];

fn machine(side: &Side, text: impl Fn(&Machine) -> String) -> String {
    side.overview
        .machine
        .as_ref()
        .map_or_else(|| ABSENT.to_owned(), text)
}

fn known(text: Option<&str>) -> String {
    text.unwrap_or(ABSENT).to_owned()
}

/// Every one there was, the first first.
fn limits(parameters: &[Parameters]) -> String {
    let mut all: Vec<String> = parameters
        .iter()
        .map(|it| {
            it.use_bh_bytes.as_ref().map_or_else(
                || ABSENT.to_owned(),
                |limits| {
                    let limits: Vec<_> = limits.iter().map(u64::to_string).collect();
                    limits.join(",")
                },
            )
        })
        .collect();
    all.dedup();
    if all.is_empty() {
        return ABSENT.to_owned();
    }
    all.join(" then ")
}

/// What costs more than the rest.
fn details(side: &Side) -> String {
    let snapshot = &side.overview.snapshot;
    let submitters = snapshot.devices.iter().any(|device| {
        let totals = device.totals.as_ref();
        totals.is_some_and(|totals| totals.submitters.is_some())
    });
    let asked = [
        (snapshot.hash_cache_unseen.is_some(), "hash cache"),
        (snapshot.queues_unseen.is_some(), "queues"),
        (submitters, "submitters"),
    ];
    let asked: Vec<_> = asked
        .into_iter()
        .filter_map(|(is, what)| is.then_some(what))
        .collect();
    if asked.is_empty() {
        return "nothing".to_owned();
    }
    asked.join(", ")
}

/// What was lost, by kind.
pub fn loss(side: &Side) -> String {
    let snapshot = &side.overview.snapshot;
    let bound = if snapshot.hides_misses {
        ", a lower bound"
    } else {
        ""
    };
    let kinds: Vec<_> = snapshot
        .loss
        .iter()
        .map(|(&kind, count)| format!("{} {count}", Loss::name(kind)))
        .collect();
    if kinds.is_empty() {
        return format!("none{bound}");
    }
    format!("{}{bound}", kinds.join(", "))
}

fn loads(a: &Load, b: &Load) -> Vec<(&'static str, [String; 2])> {
    let mut found = Vec::new();
    let size = |size: &u32| {
        if *size < 1_024 {
            return format!("{size} B");
        }
        format!("{} KiB", size >> 10)
    };
    if !are_alike(&a.sizes, &b.sizes) {
        found.push(("sizes", [a, b].map(|it| mix(&it.sizes, size))));
    }
    if !are_alike(&a.classes, &b.classes) {
        let name = |class: &IoClass| class.name().to_owned();
        found.push(("ioprio classes", [a, b].map(|it| mix(&it.classes, name))));
    }
    let share = |load: &Load| Some(load.read_ahead? as f64 / load.ios.max(1) as f64);
    if let (Some(left), Some(right)) = (share(a), share(b))
        && (left - right).abs() > SAME_SHARE
    {
        let shares = [left, right].map(|it| format::share(Some(it)));
        found.push(("read-ahead", shares));
    }
    found
}

/// Whether no more than a small share of the I/Os would have to be others.
fn are_alike<K: Ord>(a: &BTreeMap<K, u64>, b: &BTreeMap<K, u64>) -> bool {
    let [all_a, all_b] = [a, b].map(|it| it.values().sum::<u64>() as f64);
    if all_a == 0.0 || all_b == 0.0 {
        return true;
    }
    let share = |of: &BTreeMap<K, u64>, key: &K, all: f64| {
        of.get(key).copied().unwrap_or_default() as f64 / all
    };
    let others: f64 = a
        .keys()
        .map(|key| (share(a, key, all_a) - share(b, key, all_b)).max(0.0))
        .sum();
    others <= SAME_SHARE
}

/// The three that are most, as shares.
fn mix<K>(counts: &BTreeMap<K, u64>, name: impl Fn(&K) -> String) -> String {
    let all: u64 = counts.values().sum();
    let mut most: Vec<_> = counts.iter().collect();
    most.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let texts: Vec<_> = most
        .into_iter()
        .take(3)
        .map(|(key, &count)| {
            let share = format::share(Some(count as f64 / all.max(1) as f64));
            format!("{} {share}", name(key))
        })
        .collect();
    texts.join(", ")
}
