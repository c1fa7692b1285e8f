//! Traces of recordings, read by Perfetto's own schema, which shares no line with what wrote them.

mod python;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Cursor};
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use bytemuck::Zeroable as _;
use serde::Deserialize;
use serde_json::Value;
use verity_trace::archive::Given;
use verity_trace::decode::Io;
use verity_trace::dm::VerityDevice;
use verity_trace::export::{Document, Entry};
use verity_trace::histogram::Nanos;
use verity_trace::overview::Overview;
use verity_trace::perfetto::{self, Omitted};
use verity_trace::recording::{
    Block, Devices, Encoder, Header, Kept, MAX_RECORDS, Picture, Reader, Writer,
};
use verity_trace::snapshot::{Era, Placement as SnapshotPlacement, Snapshot, Stage, stage_name};
use verity_trace::{demo, table};
use verity_trace_ebpf::context::Context;
use verity_trace_ebpf::placement::Placement;
use verity_trace_ebpf::reason::{Reason, outcome};
use verity_trace_ebpf::record::{ABSENT, INCOMPLETE, INLINE_ATTEMPT, Record};

mod common;

/// What the script prints.
#[derive(Debug, Deserialize)]
struct Trace {
    clock: String,
    clocks: BTreeMap<String, u64>,
    tracks: BTreeMap<String, Track>,
    slices: Vec<Slice>,
    counts: BTreeMap<String, Vec<(u64, f64)>>,
    /// The slices that each goes through.
    flows: BTreeMap<String, Vec<usize>>,
}

#[derive(Debug, Deserialize)]
struct Track {
    path: Vec<String>,
    merges: bool,
    description: String,
}

#[derive(Debug, Deserialize)]
struct Slice {
    track: u64,
    name: String,
    start: u64,
    end: u64,
    parent: Option<usize>,
    args: BTreeMap<String, Value>,
}

impl Trace {
    fn path(&self, slice: &Slice) -> Vec<&str> {
        let path = &self.tracks[&slice.track.to_string()].path;
        path.iter().map(String::as_str).collect()
    }

    /// Slices of I/Os, as the file has them in the order of time.
    fn ios(&self) -> impl Iterator<Item = (usize, &Slice)> {
        let all = self.slices.iter().enumerate();
        all.filter(|(_, slice)| slice.parent.is_none() && self.path(slice)[2] == "I/Os")
    }

    fn stages(&self, of: usize) -> Vec<(&str, Range<u64>)> {
        let stages = self.slices.iter().filter(|slice| slice.parent == Some(of));
        stages
            .map(|slice| (slice.name.as_str(), slice.start..slice.end))
            .collect()
    }

    fn counter(&self, path: &[&str]) -> &[(u64, f64)] {
        let found = self.tracks.iter().find(|(_, track)| track.path == path);
        &self.counts[found.unwrap_or_else(|| panic!("no {path:?}")).0]
    }
}

#[test]
fn every_io_of_the_demos_is_there_with_its_stages_and_arguments() {
    for demo in demo::ALL {
        let option = format!("--demo={}", demo.kernel);
        let trace = trace_of(&[&option]);
        let mut reader = Given::Demo(demo).open(false).expect("a recording");
        let header = reader.header();
        let start = reader.place();
        let snapshot = Overview::read(&mut reader).expect("a recording").snapshot;
        reader.go_to(start).expect("a recording");
        let mut ios = BTreeMap::new();
        table::each(&mut reader, |io| {
            assert!(ios.insert(io.seq, io.clone()).is_none());
            Ok(())
        })
        .expect("a recording");
        assert_eq!(trace.clock, "BUILTIN_CLOCK_MONOTONIC");
        assert_eq!(trace.clocks["BUILTIN_CLOCK_MONOTONIC"], header.monotonic_ns);
        assert_eq!(trace.clocks["BUILTIN_CLOCK_BOOTTIME"], header.boottime_ns);
        assert_eq!(trace.clocks["BUILTIN_CLOCK_REALTIME"], header.realtime_ns);
        assert_eq!(trace.ios().count(), ios.len());
        for (at, slice) in trace.ios() {
            let io = &ios[&slice.args["seq"].as_u64().expect("a number")];
            assert_eq!(slice.name, io.placement.name());
            assert_eq!(
                slice.start..slice.end,
                io.mapped_at.0..io.mapped_at.0 + io.total.0
            );
            let mut from = slice.start;
            let stages = io.stages.iter().map(|(&stage, &Nanos(ns))| {
                from += ns;
                (stage_name(stage), from - ns..from)
            });
            assert_eq!(trace.stages(at), stages.collect::<Vec<_>>());
            same_arguments(slice, io, &snapshot);
        }
        verifications_are_on_their_cpus(&trace, &ios, &snapshot);
    }
}

fn same_arguments(slice: &Slice, io: &Io, snapshot: &Snapshot) {
    let expected = [
        ("reason_inferred", reason_inferred(io, snapshot)),
        ("sector", Some(io.sector.into())),
        ("bytes", Some(io.bytes.into())),
        ("placement", Some(io.placement.name().into())),
        ("attempt", io.attempt.map(|it| it.name().into())),
        ("reason", io.reason.map(|it| it.name().into())),
        ("completion_context", Some(io.completion.name().into())),
        ("context", io.context.map(|it| it.name().into())),
        (
            "attempt_context",
            io.attempt_context.map(|it| it.name().into()),
        ),
        ("status", Some(io.status.into())),
        ("ioprio", Some(io.ioprio.into())),
        ("submitter", Some(io.submitter.into())),
        ("cgroup", Some(io.cgroup.into())),
        ("submit_cpu", Some(io.submit_cpu.into())),
        ("complete_cpu", io.complete_cpu.map(Value::from)),
        ("verify_cpu", io.verify_cpu.map(Value::from)),
        ("read_ahead", io.read_ahead.then_some(true.into())),
        ("incomplete", io.incomplete.then_some(true.into())),
    ];
    for (name, value) in expected {
        assert_eq!(slice.args.get(name), value.as_ref(), "{name}");
    }
}

fn reason_inferred(io: &Io, snapshot: &Snapshot) -> Option<Value> {
    let is_so = io.reason.is_some_and(|it| snapshot.is_inferred(it));
    is_so.then_some(true.into())
}

/// Every verification, with a flow to it from the completion, and from the device before.
fn verifications_are_on_their_cpus(trace: &Trace, ios: &BTreeMap<u64, Io>, snapshot: &Snapshot) {
    let mut verified = 0;
    for (at, slice) in trace.slices.iter().enumerate() {
        let path = trace.path(slice);
        if !path[1].starts_with("CPU ") || path[2] == "completions" {
            continue;
        }
        assert!(slice.parent.is_none());
        let io = &ios[&slice.args["seq"].as_u64().expect("a number")];
        let (stage, cpu, context) = match slice.name.as_str() {
            "attempt" => (Stage::Attempt, io.complete_cpu, io.attempt_context),
            "verify" => (Stage::Verify, io.verify_cpu, io.context),
            other => panic!("{other}"),
        };
        verified += usize::from(stage == Stage::Verify);
        assert_eq!(slice.end - slice.start, io.stages[&stage].0);
        assert_eq!(path[1], format!("CPU {}", cpu.expect("a CPU")));
        assert_eq!(path[2], context.expect("a context").name());
        let inferred = reason_inferred(io, snapshot);
        assert_eq!(slice.args.get("reason_inferred"), inferred.as_ref());
        // An attempt runs where the completion queued it, which was not seen, or within it.
        let inferred = stage == Stage::Attempt && io.attempt != Some(SnapshotPlacement::Inline);
        let inferred = inferred.then_some(Value::from(true));
        assert_eq!(slice.args.get("cpu_inferred"), inferred.as_ref());
        let flow = trace.flows.values().find(|steps| steps.contains(&at));
        let steps = flow.expect("a flow").iter().map(|&at| &trace.slices[at]);
        let steps: Vec<_> = steps.collect();
        let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
        let expected = if io.stages.contains_key(&Stage::Attempt) {
            &["device", "completion", "attempt", "verify"][..]
        } else {
            &["device", "completion", "verify"]
        };
        assert_eq!(names, expected);
        assert_eq!(steps[0].end, steps[1].start);
        let cpu = format!("CPU {}", io.complete_cpu.expect("a CPU"));
        assert_eq!(trace.path(steps[1])[1], cpu);
    }
    let expected = ios
        .values()
        .filter(|io| io.stages.contains_key(&Stage::Verify));
    assert_eq!(verified, expected.count());
}

#[test]
fn counters_say_what_the_snapshots_say() {
    for demo in demo::ALL {
        let trace = trace_of(&[&format!("--demo={}", demo.kernel)]);
        let mut reader = Given::Demo(demo).open(false).expect("a recording");
        let mut snapshots = Vec::new();
        while let Some(block) = reader.next_block().expect("a recording") {
            if let Block::Picture { picture, .. } = block {
                let snapshot = picture.document.snapshot().expect("a snapshot");
                snapshots.push((picture.monotonic_ns, snapshot));
            }
        }
        let losses: Vec<_> = snapshots
            .iter()
            .map(|(at, snapshot)| (*at, snapshot.lost() as f64))
            .collect();
        assert_eq!(trace.counter(&["verity-trace", "lost"]), losses);
        let last = &snapshots.last().expect("a snapshot").1;
        for device in &last.devices {
            let title = format!("{} ({})", device.name, device.number);
            let rates = trace.counter(&["verity-trace", &title, "finished"]);
            let of = |snapshot: &Snapshot| {
                let mut all = snapshot.devices.iter();
                let found = all.find(|it| it.number == device.number);
                found.and_then(|it| Some(it.totals.as_ref()?.ios()))
            };
            let counted = snapshots
                .iter()
                .filter_map(|(at, snapshot)| Some((*at, snapshot.watched, of(snapshot)?)));
            let counted: Vec<_> = counted.collect();
            let expected = counted.windows(2).map(|pair| {
                let [(at, since, before), (_, watched, ios)] = pair else {
                    unreachable!("two");
                };
                let seconds = watched.saturating_sub(*since).as_secs_f64();
                (*at, (ios - before) as f64 / seconds)
            });
            let expected: Vec<_> = expected.collect();
            assert!(expected.len() > 1);
            assert_eq!(rates.len(), expected.len());
            for (&(at, rate), (from, expected)) in rates.iter().zip(expected) {
                assert_eq!(at, from);
                assert!((rate - expected).abs() < 1e-6, "{rate} {expected}");
            }
            let until = snapshots.last().expect("a snapshot").0;
            let in_flight = trace.counter(&["verity-trace", &title, "in flight"]);
            let expected = device.in_flight.as_ref().expect("seen").ios() as f64;
            assert_eq!(*in_flight.last().expect("a count"), (until, expected));
        }
    }
}

#[test]
fn the_snapshot_of_every_scenario_can_be_counted() {
    let scenarios = common::scenarios();
    let mut file = Made::new();
    for (at, (_, scenario)) in (1..).zip(&scenarios) {
        file.picture(at * 1_000, &scenario.snapshot());
    }
    let trace = file.trace();
    let lost = trace.counter(&["verity-trace", "lost"]);
    assert_eq!(lost.len(), scenarios.len());
    for (&(at, count), (name, scenario)) in lost.iter().zip(&scenarios) {
        let expected = (at, scenario.snapshot().lost() as f64);
        assert_eq!((at, count), expected, "{name}: {}", scenario.description);
    }
}

#[test]
fn devices_can_be_chosen() {
    let all = trace_of(&["--demo=7.3"]);
    let some = trace_of(&["--demo=7.3", "usr"]);
    let groups = |trace: &Trace| {
        let groups = trace
            .ios()
            .map(|(_, slice)| trace.path(slice)[1].to_owned());
        groups.collect::<std::collections::BTreeSet<_>>()
    };
    assert!(groups(&all).len() > 1);
    assert_eq!(groups(&some).len(), 1);
    assert_eq!(some.ios().count(), 600);
}

/// Losses of a kind begin with the snapshot before they were first seen, and hostile names are harmless.
#[test]
fn what_is_hostile_comes_out_harmless_and_losses_are_told_by_kind() {
    let quiet = common::scenario("bh_always_with_fallbacks").snapshot();
    let losing = common::scenario("losses_of_every_kind").snapshot();
    let hostile = common::scenario("hostile_names").snapshot();
    let device = &hostile.devices[0];
    let mut record = kverityd(0);
    record.device = device.number.major << 20 | device.number.minor;
    record.command = *b"\x1b[2J$(id)<script";
    let mut file = Made::new();
    file.devices(&hostile);
    file.picture(1_000, &quiet);
    file.ios(&[record]);
    file.picture(2_000, &losing);
    let trace = file.trace();
    let (_, io) = trace.ios().next().expect("an I/O");
    assert_eq!(io.args["command"], "\\u{1b}[2J$(id)<script");
    let title = trace.path(io)[1];
    assert!(title.contains("\\u{1b}["), "{title}");
    assert!(!title.contains('\u{1b}'), "{title}");
    assert!(
        trace
            .tracks
            .values()
            .all(|it| !it.description.contains('\u{1b}'))
    );
    for (loss, &count) in &losing.loss {
        let counts = trace.counter(&["verity-trace", &format!("lost: {}", loss.name())]);
        let expected: &[_] = match quiet.loss.get(loss) {
            Some(&before) => &[(1_000, before as f64), (2_000, count as f64)],
            None => &[(1_000, 0.0), (2_000, count as f64)],
        };
        assert_eq!(counts, expected);
    }
}

/// Two at a time on a device and on a CPU, one in the other, and cut ones.
#[test]
fn what_overlaps_is_on_tracks_of_its_own_that_are_shown_as_one() {
    let mut softirq = kverityd(30);
    softirq.placement = Placement::Bh as u8;
    softirq.outcome = outcome(Placement::Bh, None);
    softirq.context = Context::Softirq as u8;
    softirq.stages_ns = [1, 4, ABSENT, ABSENT, 5];
    softirq.total_ns = 10;
    let mut fallback = kverityd(35);
    fallback.placement = Placement::Fallback as u8;
    fallback.outcome = outcome(Placement::Fallback, Some(Reason::CacheMiss));
    fallback.flags = INLINE_ATTEMPT;
    fallback.attempt_context = Context::Softirq as u8;
    fallback.stages_ns = [10, 20, 5, 5, 10];
    fallback.total_ns = 50;
    let mut unseen = kverityd(50);
    unseen.flags = INCOMPLETE;
    unseen.stages_ns = [ABSENT, ABSENT, ABSENT, ABSENT, 20];
    unseen.total_ns = 60;
    let mut file = Made::new();
    // Finished at 40, 60, 85, 110 and 160.
    file.ios(&[softirq, kverityd(0), fallback, unseen, kverityd(100)]);
    file.picture(
        2_000,
        &common::scenario("bh_always_with_fallbacks").snapshot(),
    );
    let trace = file.trace();
    let mut tracks: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for slice in trace.slices.iter().filter(|it| it.parent.is_none()) {
        let of = &trace.tracks[&slice.track.to_string()];
        assert!(of.merges, "{of:?}");
        tracks.entry(of.path[2].as_str()).or_default().push((
            slice.name.as_str(),
            slice.start,
            slice.end,
        ));
    }
    let kworker = [
        ("verify", 30, 60),
        ("verify", 75, 85),
        ("verify", 90, 110),
        ("verify", 130, 160),
    ];
    assert_eq!(tracks["kworker"], kworker);
    assert_eq!(tracks["softirq"], [("verify", 35, 40), ("attempt", 65, 70)]);
    assert_eq!(tracks["I/Os"].len(), 5);
    let completions = [10, 31, 45, 110].map(|at| ("completion", at, at));
    assert_eq!(tracks["completions"], completions);
    let lanes = trace.ios().map(|(_, slice)| slice.track);
    let lanes: std::collections::BTreeSet<_> = lanes.collect();
    assert_eq!(lanes.len(), 3);
    // Where nothing was seen of the completion, no flow leads anywhere.
    assert_eq!(trace.flows.len(), 4);
}

#[test]
fn a_number_that_another_device_has_by_now_has_tracks_of_its_own() {
    let mut snapshot = common::scenario("bh_always_with_fallbacks").snapshot();
    let number = snapshot.devices[0].number;
    let mut file = Made::new();
    for (at, name) in [(0, "first"), (100, "second"), (200, "second")] {
        name.clone_into(&mut snapshot.devices[0].name);
        file.devices(&snapshot);
        let mut record = kverityd(at);
        record.device = number.major << 20 | number.minor;
        file.ios(&[record]);
    }
    file.picture(2_000, &snapshot);
    let trace = file.trace();
    let titles: Vec<_> = trace.ios().map(|(_, slice)| trace.path(slice)[1]).collect();
    let expected = ["first", "second", "second"].map(|name| format!("{name} ({number})"));
    assert_eq!(titles, expected);
}

#[test]
fn there_are_not_more_tracks_than_a_reader_can_bear() {
    let mut file = Made::new();
    let mut record = kverityd(0);
    let blocks = 3;
    for _ in 0..blocks {
        let records: Vec<_> = (0..MAX_RECORDS)
            .map(|_| {
                // All of them are in flight at the same time, on device after device.
                record.total_ns += 1;
                record.device += 1 << 10;
                record
            })
            .collect();
        file.ios(&records);
    }
    file.picture(
        2_000,
        &common::scenario("bh_always_with_fallbacks").snapshot(),
    );
    let mut reader = Reader::new(Cursor::new(file.done()), false).expect("a recording");
    let start = reader.place();
    let overview = Overview::read(&mut reader).expect("a recording");
    reader.go_to(start).expect("a recording");
    let omitted = perfetto::trace(&mut reader, &overview, None, io::sink()).expect("written");
    let Omitted {
        undecoded,
        unplaced,
    } = omitted;
    assert_eq!(undecoded, 0);
    assert!(
        unplaced > (blocks * MAX_RECORDS) as u64 - 65_536,
        "{unplaced}"
    );
}

/// A recording made by hand.
struct Made {
    encoder: Encoder,
    writer: Writer<Vec<u8>>,
}

impl Made {
    fn new() -> Self {
        let header = Header {
            realtime_ns: 1_795_000_000_000_000_000,
            monotonic_ns: 5,
            boottime_ns: 6,
        };
        Self {
            encoder: Encoder::new(false).expect("an encoder"),
            writer: Writer::new(Vec::new(), &header).expect("written to memory"),
        }
    }

    fn ios(&mut self, records: &[Record]) {
        let frame = self
            .encoder
            .ios(records, Some(Era::Inline))
            .expect("a block");
        self.writer.write(&frame).expect("written");
    }

    fn picture(&mut self, monotonic_ns: u64, snapshot: &Snapshot) {
        let picture = Picture {
            monotonic_ns,
            kept: Kept::default(),
            document: Document::new(snapshot, None),
        };
        let frame = self.encoder.picture(&picture).expect("a block");
        self.writer.write(&frame).expect("written");
    }

    fn devices(&mut self, snapshot: &Snapshot) {
        let devices: Vec<_> = snapshot.devices.iter().map(VerityDevice::from).collect();
        let entry = |it| Entry::new(it, &snapshot.kernel_names, Some(Era::Bh));
        let devices = Devices {
            monotonic_ns: 0,
            devices: devices.iter().map(entry).collect(),
        };
        let frame = self.encoder.devices(&devices).expect("a block");
        self.writer.write(&frame).expect("written");
    }

    fn done(self) -> Vec<u8> {
        self.writer.into_inner()
    }

    fn trace(self) -> Trace {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, self.done()).expect("written");
        trace_of(&[path.to_str().expect("a name")])
    }
}

/// Mapped at this time, and verified 30 ns later for 30 ns.
fn kverityd(mapped_at: u64) -> Record {
    Record {
        seq: mapped_at,
        mapped_at,
        total_ns: 60,
        stages_ns: [10, 20, ABSENT, ABSENT, 30],
        bytes: 4_096,
        device: 253 << 20,
        command: *b"fio\0\0\0\0\0\0\0\0\0\0\0\0\0",
        outcome: outcome(Placement::Kverityd, Some(Reason::OptionOff)),
        context: Context::Kworker as u8,
        ..Record::zeroed()
    }
}

/// What the script reads in the trace of a recording.
fn trace_of(arguments: &[&str]) -> Trace {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("trace");
    let output = Command::new(env!("CARGO_BIN_EXE_verity-trace"))
        .args(["report", "--format=perfetto", "-o"])
        .arg(&path)
        .args(arguments)
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{output:?}");
    read(&path)
}

fn read(trace: &Path) -> Trace {
    let read = python::read("read_perfetto.py", trace);
    serde_json::from_value(read).expect("a trace")
}
