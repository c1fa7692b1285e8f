//! `serve` while a device is read: with nothing but what the unit for systemd leaves it, to a real Prometheus, and under
//! many scrapes.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::thread::{
    CapabilitySet, capability_is_in_bounding_set, remove_capability_from_bounding_set,
    set_no_new_privs,
};
use serde_json::{Value, json};

use crate::LabKernel;
use crate::device::{Backing, Verity};
use crate::knobs::HiddenAddresses;
use crate::load::{RandomReads, Running};
use crate::placement::NAME;
use crate::plan::expected_gaps;
use crate::process::{kib, resident_kib, status};
use crate::prometheus::{Prometheus, number};
use crate::server::{Server, get, once};
use crate::shell::wait_until;
use crate::tracer::Document;
use crate::valid;

const UNIT: &str = include_str!("../../dashboards/verity-trace.service");

/// No capability, as `/proc` has it.
const NONE: &str = "0000000000000000";

/// Where the lab has Prometheus, and what the server is called there.
const PROMETHEUS: &str = "/lab/in/prometheus";
const INSTANCE: &str = "lab";

/// How often Prometheus scrapes, and how long it waits for an answer: much longer than one takes, since two emulated
/// CPUs do everything.
const SCRAPE: &str = "15s";

/// So many scrapes and for so long, by so many clients: a minute of 50 each second, for which a slow machine takes several.
const SCRAPES: usize = 3_000;
const MINUTE: Duration = Duration::from_mins(1);
const CLIENTS: usize = 4;
/// KiB by which a process may have more in the second half than it ever had in the first one, when all that is kept of a
/// load came to be.
const GROWTH: u64 = 2 << 10;
/// There is a snapshot each second. An emulated machine whose host was busy was seen to have none for six.
const LONGEST: Duration = Duration::from_secs(30);

/// What the unit says.
fn setting(name: &str) -> &'static str {
    let mut lines = UNIT.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {name} in the unit"))
}

fn units_capabilities() -> CapabilitySet {
    let names = setting("CapabilityBoundingSet").split(' ');
    let known = |name: &str| CapabilitySet::from_name(name.strip_prefix("CAP_")?);
    names
        .map(|name| known(name).unwrap_or_else(|| panic!("no capability {name}")))
        .collect()
}

/// What is started by this can have these capabilities and no others, as a service manager does it.
fn with_only<T: Send>(capabilities: CapabilitySet, start: impl FnOnce() -> T + Send) -> T {
    let restricted = || {
        for bit in 0..u64::BITS {
            let one = CapabilitySet::from_bits_retain(1 << bit);
            // The kernel knows fewer than there are bits.
            let is_there = capability_is_in_bounding_set(one) == Ok(true);
            if is_there && !capabilities.contains(one) {
                remove_capability_from_bounding_set(one).expect("root may do this");
            }
        }
        set_no_new_privs(true).expect("everybody may do this");
        start()
    };
    // All of this is a thread's, and what it starts has it too.
    thread::scope(|scope| scope.spawn(restricted).join().expect("it goes well"))
}

fn snapshot(server: &Server) -> Document {
    let answer = get(server, "/snapshot.json", &[]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    Document(valid::written("export", &answer.body))
}

/// With everything that happened until now: a snapshot is of the moment when it is complete, so that the second one
/// from now on was begun since.
fn settled(server: &Server) -> Document {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.expect("a time").as_millis();
    let mut taken = BTreeSet::new();
    let mut document = snapshot(server);
    wait_until("there are snapshots since", || {
        document = snapshot(server);
        let at = document.0["taken_at_unix_ms"].as_u64().expect("a time");
        if u128::from(at) > now {
            taken.insert(at);
        }
        taken.len() > 1
    });
    document
}

/// The device's I/Os by placement.
fn by_placement(document: &Document) -> BTreeMap<String, u64> {
    let placements = document.device(NAME)["placements"].as_object();
    let placements = placements.expect("placements").iter();
    let ios = placements.filter_map(|(name, it)| Some((name.clone(), it["ios"].as_u64()?)));
    ios.collect()
}

/// The same from `/metrics`, where those without an I/O are 0.
fn scraped(server: &Server) -> BTreeMap<String, u64> {
    let answer = get(server, "/metrics", &[]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let prefix = format!("verity_trace_io_total{{device=\"{NAME}\",placement=\"");
    let lines = answer.body.lines();
    let counted = lines.filter_map(|line| line.strip_prefix(&prefix)?.split_once("\"} "));
    counted
        .map(|(placement, count)| (placement.to_owned(), count.parse().expect("a count")))
        .filter(|&(_, count)| count > 0)
        .collect()
}

/// As root, with the kernel's addresses hidden from whoever lacks `CAP_SYSLOG`, which some systems do.
#[test]
fn the_units_capabilities_are_enough() {
    assert_eq!(setting("NoNewPrivileges"), "yes");
    let _hidden = HiddenAddresses::set(1);
    let device = Backing::virtio().open(NAME, true);
    device.warm_up();
    let server = with_only(units_capabilities(), || Server::start(&[]));
    let before = device.counts();
    let ios = RandomReads::small(2_000).on(&device);
    assert_eq!(device.counts().since(before).reads, ios);
    let document = settled(&server);
    document.assert_exact(NAME, ios);
    let counted = by_placement(&document);
    assert_eq!(counted.values().sum::<u64>(), document.count(NAME, "ios"));
    assert_eq!(scraped(&server), counted);
    let tracing = &document.0["tracing"];
    assert_eq!(tracing["rung"], "fentry");
    assert_eq!(gaps(&document), expected_gaps("fentry"), "{tracing}");

    let (parent, child) = (server.pid(), server.http_pid());
    let all = format!("{:016x}", units_capabilities().bits());
    for field in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(status(parent, field), all, "{field}");
    }
    for field in ["CapInh", "CapAmb"] {
        assert_eq!(status(parent, field), NONE, "{field}");
    }
    for field in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(child, field), NONE, "{field}");
    }
    for field in ["Uid", "CapEff", "NoNewPrivs"] {
        println!(
            "{field}: watches {}, serves {}",
            status(parent, field),
            status(child, field)
        );
    }
    for pid in [parent, child] {
        assert_eq!(status(pid, "NoNewPrivs"), "1");
    }
    assert_eq!(status(child, "Uid"), "65534 65534 65534 65534");
}

/// What is not seen.
fn gaps(document: &Document) -> Vec<&str> {
    let gaps = document.0["tracing"]["gaps"].as_array().expect("gaps");
    let missing = gaps.iter().map(|gap| gap["missing"].as_str());
    missing.map(|it| it.expect("a name")).collect()
}

/// Each of the unit's capabilities is needed: without it nothing is served, less is seen, or the process with the
/// socket keeps what it could be given.
#[test]
fn without_one_of_the_units_capabilities_it_is_not_enough() {
    let _hidden = HiddenAddresses::set(1);
    let _device = Backing::virtio().open(NAME, true);
    for missing in units_capabilities() {
        let rest = units_capabilities() - missing;
        let start = || with_only(rest, || Server::start(&[]));
        let refuses = |code, says: &str| {
            let (ended, said) = with_only(rest, || once(&["--listen", "127.0.0.1:0"]));
            println!("{missing:?}: {said}");
            assert_eq!(ended, Some(code), "{said}");
            assert!(said.contains(says), "{said}");
        };
        match missing {
            CapabilitySet::SYS_ADMIN => refuses(3, "CAP_SYS_ADMIN"),
            CapabilitySet::SETUID | CapabilitySet::SETGID => refuses(1, "become another user"),
            CapabilitySet::SETPCAP => {
                let server = start();
                let all = format!("{:016x}", rest.bits());
                assert_eq!(status(server.http_pid(), "CapBnd"), all);
            }
            CapabilitySet::SYSLOG => {
                // Only `use_bh_bytes` is read by its address.
                let is_less = LabKernel::running() == LabKernel::Inline;
                let document = snapshot(&start());
                println!("{missing:?}: {:?}", gaps(&document));
                assert_eq!(gaps(&document) != expected_gaps("fentry"), is_less);
            }
            other => panic!("why does the unit have {other:?}?"),
        }
    }
}

/// A real Prometheus scrapes while a device is read; what it has then is what the tool and the block layer say.
pub fn a_prometheus_has_what_was_watched() {
    let device = Backing::virtio().open(NAME, true);
    device.warm_up();
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let program = Command::new(PROMETHEUS);
    let prometheus = Prometheus::start(program, &configuration(&server), folder.path());
    let (document, reads) = read_while(&device, &server, || {
        let scrapes = "count_over_time(up[1h]) >= 4";
        prometheus.wait_for("it has scraped", scrapes, |answer| !answer.is_empty());
    });
    let at = document.0["taken_at_unix_ms"].as_u64().expect("a time") as f64 / 1e3;
    let since = format!("verity_trace_snapshot_timestamp_seconds >= {at}");
    prometheus.wait_for("that snapshot", &since, |answer| !answer.is_empty());

    let of_device = format!("verity_trace_io_total{{instance=\"{INSTANCE}\", device=\"{NAME}\"}}");
    let counted = prometheus.ask(&of_device);
    let counted: BTreeMap<_, _> = counted
        .iter()
        .map(placement_and_count)
        .filter(|&(_, count)| count > 0.0)
        .collect();
    let ours = by_placement(&document);
    let exact = ours.iter().map(|(name, &ios)| (name.clone(), ios as f64));
    assert_eq!(counted, exact.collect());
    let compared = prometheus.percentiles_agree(INSTANCE, &document.0);
    assert!(compared > 0);
    let worst = prometheus.ask("min_over_time(up[1h])");
    assert_eq!(number(&worst[0]), Some(1.0), "a scrape failed: {worst:?}");
    println!("{reads} reads, {ours:?}, {compared} percentiles");
}

/// Reads a device meanwhile; returns a document with all reads, of which each is accounted for, and how many there were.
fn read_while(device: &Verity, server: &Server, act: impl FnOnce()) -> (Document, u64) {
    let before = device.counts();
    let jobs = ["--name=load", "--rw=randread", "--bs=4k", "--iodepth=8"];
    let load = Running::start(device, &jobs);
    act();
    let reads = load.stop_and_count();
    assert_eq!(device.counts().since(before).reads, reads);
    let document = settled(server);
    document.assert_exact(NAME, reads);
    (document, reads)
}

fn configuration(server: &Server) -> Value {
    let target = json!({
        "targets": [format!("127.0.0.1:{}", server.port())],
        "labels": { "instance": INSTANCE },
    });
    json!({
        "global": { "scrape_interval": SCRAPE, "scrape_timeout": SCRAPE },
        "scrape_configs": [{ "job_name": "verity-trace", "static_configs": [target] }],
    })
}

fn placement_and_count(series: &Value) -> (String, f64) {
    let placement = series["metric"]["placement"].as_str().expect("a placement");
    (placement.to_owned(), number(series).expect("a count"))
}

/// Clients that do not pause take no memory, and neither the watching nor the load waits for them.
pub fn many_scrapes_hold_up_nothing() {
    let device = Backing::virtio().open(NAME, true);
    let server = Server::start(&[]);
    let processes = [server.pid(), server.http_pid()];
    let (_, reads) = read_while(&device, &server, || {
        let done = AtomicUsize::new(0);
        let start = Instant::now();
        let scrape = || {
            while done.load(Ordering::Relaxed) < SCRAPES || start.elapsed() < MINUTE {
                assert_eq!(get(&server, "/metrics", &[]).status, 200);
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        let (mut watched, mut resident) = (Vec::new(), Vec::new());
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(scrape)).collect();
            while clients.iter().any(|client| !client.is_finished()) {
                let ns = snapshot(&server).0["watched_ns"].as_u64();
                watched.push(Duration::from_nanos(ns.expect("a time")));
                resident.push(processes.map(resident_kib));
            }
        });
        let took = start.elapsed();
        let scrapes = done.into_inner();
        let (first, second) = resident.split_at(resident.len() / 2);
        let (early, late) = (most(first), most(second));
        assert!(watched.is_sorted());
        let distances = watched
            .windows(2)
            .map(|pair| pair[1].saturating_sub(pair[0]));
        let longest = distances.max().expect("snapshots");
        let all = watched[watched.len() - 1].saturating_sub(watched[0]);
        watched.dedup();
        println!(
            "{scrapes} scrapes in {took:.0?}, {:.0} each second; {} snapshots, at most {longest:.1?} apart; early \
             {early:?} KiB, late {late:?} KiB",
            scrapes as f64 / took.as_secs_f64(),
            watched.len(),
        );
        assert!(longest < LONGEST, "{longest:?}");
        assert!(all + LONGEST > took, "{all:?} of {took:?}");
        for (early, late) in early.into_iter().zip(late) {
            assert!(late < early + GROWTH, "{early} KiB, then {late} KiB");
        }
        // `khugepaged` would make them of a heap that is nearly empty.
        assert_eq!(kib(server.pid(), "smaps_rollup", "AnonHugePages"), 0);
    });
    println!("{reads} reads meanwhile");
}

/// The most that each of the two processes had.
fn most(resident: &[[u64; 2]]) -> [u64; 2] {
    let both = resident.iter().copied();
    both.fold([0; 2], |[one, other], it| {
        [one.max(it[0]), other.max(it[1])]
    })
}
