//! What the tool says of its own cost, and what it does to keep to a budget.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use crate::bpf;
use crate::device::{Backing, Verity};
use crate::load::RandomReads;
use crate::shell::{run, wait_until};
use crate::tracer::Tracer;

const NAME: &str = "verity0";

/// Reads until something is so; returns how many reads that took.
fn read_until(device: &Verity, what: &str, is_so: impl FnMut() -> bool) -> u64 {
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut ios = 0;
            while !enough.load(Ordering::Relaxed) {
                ios += RandomReads::small(3_000).on(device);
            }
            ios
        });
        let until = Until(&enough);
        wait_until(what, is_so);
        drop(until);
        load.join().expect("the load")
    })
}

/// Says that it is enough when dropped, by a panic too.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether the kernel has counted runs of the program that sees I/Os finish; it does while its
/// statistics are on. It cuts names to 15 bytes, which bpftool completes where it can.
fn has_counted() -> bool {
    let runs = |it: &Value| it["run_cnt"].as_u64().unwrap_or(0);
    let is_ours = |it: &Value| {
        let name = it["name"].as_str();
        name.is_some_and(|name| name.starts_with("verity_finish_i"))
    };
    bpf::list("prog")
        .iter()
        .any(|it| is_ours(it) && runs(it) > 0)
}

#[test]
fn it_says_what_every_program_costs() {
    let device = Backing::virtio().open(NAME, true);
    let tracer = Tracer::start(&[]);
    let ios = read_until(&device, "the programs are counted", has_counted);
    let document = tracer.stop();
    drop(device);
    document.assert_exact(NAME, ios);

    let cost = &document.0["self_cost"];
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{cost}"));
    let measured = number(&cost["measured_ns"]);
    assert!(0 < measured && measured < number(&document.0["watched_ns"]));
    assert!(number(&cost["process_ns"]) > 0);
    assert!(number(&cost["clock_ns"]) > 0);
    let dispatch = ["fentry", "tp_btf"].map(|it| (it, number(&cost["dispatch_ns"][it])));
    assert!(dispatch.iter().all(|&(_, ns)| ns > 0), "{cost}");

    let programs = cost["programs"].as_array().expect("programs");
    let mut sum = 0;
    for program in programs {
        let attachment = program["attachment"].as_str().expect("a word");
        let (_, ns) = dispatch
            .into_iter()
            .find(|&(it, _)| it == attachment)
            .unwrap_or_else(|| panic!("{program}"));
        let [runs, cost] = ["runs", "cost_ns"].map(|it| number(&program[it]));
        assert!(cost >= runs * ns, "{program}");
        sum += cost;
    }
    let share = cost["cpu_share"].as_f64().expect("a share");
    assert!(
        (share - sum as f64 / measured as f64).abs() < 1e-6,
        "{cost}"
    );
    let runs = |name: &str| {
        let program = programs.iter().find(|it| it["name"] == name);
        number(&program.unwrap_or_else(|| panic!("no {name} in {cost}"))["runs"])
    };
    let finished = runs("verity_finish_io");
    assert!(0 < finished && finished <= ios, "{finished} of {ios}");
    assert!(runs("softirq_entry") > 0);
    let of_io = programs.iter().filter(|it| {
        let name = it["name"].as_str().expect("a name");
        name.starts_with("verity_")
    });
    let of_io: u64 = of_io.map(|it| number(&it["cost_ns"])).sum();
    assert_eq!(number(&cost["each_ns"]["io"]), of_io / finished);
}

/// What it costs to call a kprobe is not known, and nothing is made up for it.
#[test]
fn the_cost_of_calling_a_kprobe_is_absent() {
    let device = Backing::virtio().open(NAME, false);
    let tracer = Tracer::start(&["--attach", "kprobe"]);
    read_until(&device, "the programs are counted", has_counted);
    let document = tracer.stop();
    drop(device);
    let cost = &document.0["self_cost"];
    assert!(cost["dispatch_ns"].get("kprobe").is_none());
    let programs = cost["programs"].as_array().expect("programs");
    let kprobes: Vec<_> = programs
        .iter()
        .filter(|it| it["attachment"] == "kprobe")
        .collect();
    assert!(kprobes.iter().any(|it| it["runs"].as_u64() > Some(0)));
    assert!(kprobes.iter().all(|it| it["cost_ns"] == it["run_ns"]));
    assert!(cost["each_ns"]["io"].as_u64() > Some(0));
}

/// Counters count every I/O, and every record that is missing is accounted for.
#[test]
fn a_budget_thins_the_records_and_nothing_else() {
    let device = Backing::virtio().open(NAME, true);
    let tracer = Tracer::start(&["--records", "1000000", "--max-overhead", "0.001"]);
    let mut ios = read_until(&device, "fewer records are sent", || {
        let map = run("bpftool", &["-j", "map", "dump", "name", "SENDING"]);
        let map: Value = serde_json::from_str(&map).expect("JSON");
        let is_zero = |byte: &Value| byte == "0x00";
        let bytes = map[0]["value"].as_array().expect("bytes");
        !bytes.iter().all(is_zero)
    });
    ios += RandomReads::small(2_000).on(&device);
    let document = tracer.stop();
    drop(device);

    document.assert_accounted(NAME, ios);
    let number = |field: &str| {
        document.0[field]
            .as_u64()
            .unwrap_or_else(|| panic!("{field}"))
    };
    assert!(number("records_one_in") >= 2);
    assert!(number("records_sampled_out") > 0);
    assert_eq!(number("records_omitted"), 0);
    let records = document.records();
    let sent = records.len() as u64;
    let unsent = number("records_sampled_out") + document.loss("ring-full");
    assert_eq!(sent + unsent, document.count(NAME, "ios"));
    let identities: BTreeSet<_> = records.iter().map(|it| it["seq"].as_str()).collect();
    assert_eq!(identities.len(), records.len());
}

#[test]
fn within_the_budget_every_record_is_sent() {
    let device = Backing::virtio().open(NAME, false);
    let tracer = Tracer::start(&["--records", "1000", "--max-overhead", "100"]);
    let ios = RandomReads::small(200).on(&device);
    let document = tracer.stop();
    drop(device);
    document.assert_exact(NAME, ios);
    assert_eq!(document.records().len() as u64, ios);
    assert_eq!(document.0["records_one_in"], 1);
    assert_eq!(document.0["records_sampled_out"], 0);
}
