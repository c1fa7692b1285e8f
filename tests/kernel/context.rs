//! In which context each I/O was completed and verified, and why there: eight ways to complete, each
//! record checked by itself.
//!
//! The table says where the block layer completes each kind of disk, from its source; where the I/O is
//! then verified follows from `verity_end_io` of each kernel.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::LabKernel::{self, Bh, Inert, Inline};
use crate::bpf::{Bpftrace, STACKS};
use crate::device::Backing;
use crate::is_real_time;
use crate::load::RandomReads;
use crate::placement::NAME;
use crate::tracer::{Document, Tracer};

/// A disk, and what nearly always completes its requests.
struct Row {
    name: &'static str,
    backing: fn() -> Backing,
    by: By,
}

/// What completes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The handler of the disk's interrupt. A request whose task has moved to the other CPU can be
    /// completed in softirq instead (`blk_mq_complete_need_ipi`, block/blk-mq.c). With `PREEMPT_RT` it
    /// is the interrupt's thread (`irq_forced_thread_fn`, kernel/irq/manage.c), and no request goes to
    /// another CPU (`force_irqthreads` in `blk_mq_complete_need_ipi`).
    Interrupt,
    /// The handler of a timer; with `PREEMPT_RT` those run in softirq (`__hrtimer_setup`,
    /// kernel/time/hrtimer.c; in 6.12 `__hrtimer_init`).
    Timer,
    /// A softirq.
    Softirq,
    /// The task that reads, or a worker on its behalf.
    Task,
}

const HARDIRQ: &str = "hardirq-or-irqs-off";

impl By {
    fn completion(self) -> &'static str {
        match (self, is_real_time()) {
            (Self::Interrupt | Self::Timer, false) => HARDIRQ,
            (Self::Timer, true) | (Self::Softirq, _) => "softirq",
            (Self::Interrupt, true) | (Self::Task, _) => "task",
        }
    }

    /// In what a completion that is in no softirq and no hardirq runs.
    fn threads(self) -> &'static [&'static str] {
        match self {
            Self::Interrupt if is_real_time() => &["irq-thread"],
            Self::Task => &["task", "kworker"],
            Self::Interrupt | Self::Timer | Self::Softirq => &[],
        }
    }
}

const ROWS: [Row; 8] = [
    Row {
        name: "virtio-blk, two queues",
        backing: Backing::virtio,
        by: By::Interrupt,
    },
    Row {
        name: "virtio-blk, one queue",
        backing: Backing::virtio_with_one_queue,
        by: By::Softirq,
    },
    Row {
        name: "NVMe",
        backing: Backing::nvme,
        by: By::Interrupt,
    },
    Row {
        name: "brd",
        backing: Backing::brd,
        by: By::Task,
    },
    Row {
        name: "loop",
        backing: Backing::loop_device,
        by: By::Softirq,
    },
    Row {
        name: "null_blk, irqmode 0",
        backing: || Backing::null_blk(0),
        by: By::Task,
    },
    // It asks for softirq, and would get it with one queue; but the queue for polling that every
    // null_blk has is a second one (`g_poll_queues`, drivers/block/null_blk/main.c), and then
    // `blk_mq_complete_request_remote` leaves the completion to the task.
    Row {
        name: "null_blk, irqmode 1",
        backing: || Backing::null_blk(1),
        by: By::Task,
    },
    Row {
        name: "null_blk, irqmode 2",
        backing: || Backing::null_blk(2),
        by: By::Timer,
    },
];

/// Small reads with the option on.
#[test]
fn each_io_is_verified_where_its_completion_puts_it() {
    for row in &ROWS {
        check(row, true, RandomReads::small(500));
    }
}

/// bpftrace, which knows nothing of our rules, says by the kernel's stack how each verification came
/// about.
#[test]
fn the_kernels_stack_says_the_same() {
    for backing in [
        Backing::virtio(),
        Backing::virtio_with_one_queue(),
        Backing::brd(),
    ] {
        let device = backing.open(NAME, true);
        device.warm_up();
        let bpftrace = Bpftrace::start(STACKS);
        let tracer = Tracer::start(&["--records", "100000"]);
        let ios = RandomReads::small(500).on(&device);
        let document = tracer.stop();
        let (stacks, missed) = bpftrace.stop_stacks();
        drop(device);
        document.assert_exact(NAME, ios);
        let (ours, our_threads) = fold(verifications(&document));
        let mut by_stack = BTreeMap::new();
        for (stack, count) in &stacks {
            *by_stack.entry(classify(stack)).or_default() += count;
        }
        let (theirs, their_threads) = fold(by_stack);
        // The kernel drops a stack whose hash another one has (`bpf_get_stackid`,
        // kernel/bpf/stackmap.c), so there may be a few less, and never one more or one elsewhere.
        let message = format!("ours {ours:?}, by the stack {theirs:?}, missed {missed}");
        println!("{message}; in ksoftirqd {our_threads} and {their_threads}");
        let lost = document.loss("recursion");
        for (kind, count) in &theirs {
            let our = ours.get(kind).copied().unwrap_or(0);
            assert!(*count <= our + lost, "{kind:?}: {message}");
        }
        let (all, seen): (u64, u64) = (ours.values().sum(), theirs.values().sum());
        assert!(seen + missed + all / 20 >= all, "{message}");
        assert!(their_threads <= our_threads + lost, "{message}");
    }
}

/// Softirqs of either kind as one, and how many of them `ksoftirqd` had: we count one there too that
/// runs on the way out of an interrupt of that thread.
fn fold<'a>(counts: BTreeMap<(&'a str, &'a str), u64>) -> (BTreeMap<(&'a str, &'a str), u64>, u64) {
    let mut folded = BTreeMap::new();
    let mut threads = 0;
    for ((placement, context), count) in counts {
        let mut context = context;
        if context == "ksoftirqd" {
            threads += count;
            context = "softirq";
        }
        *folded.entry((placement, context)).or_default() += count;
    }
    (folded, threads)
}

/// Every verification of every I/O by placement and context; a fallback has two.
fn verifications(document: &Document) -> BTreeMap<(&str, &str), u64> {
    let mut counts = BTreeMap::new();
    for record in document.records() {
        let context = text(&record["context"]);
        if let Some(attempt) = record["attempt"].as_str() {
            *counts
                .entry((attempt, text(&record["attempt_context"])))
                .or_default() += 1;
            *counts.entry(("kverityd", context)).or_default() += 1;
        } else {
            *counts
                .entry((text(&record["placement"]), context))
                .or_default() += 1;
        }
    }
    counts
}

/// From the innermost function outwards: who called the verification, and what that ran in.
fn classify(stack: &[String]) -> (&'static str, &'static str) {
    // What lies before is the tracer's own, in which the function itself may be hidden.
    let mut callers = stack
        .iter()
        .map(String::as_str)
        .skip_while(|function| !["verity_work", "verity_bh_work"].contains(function));
    let placement = match callers.next() {
        Some("verity_work") => "kverityd",
        // The completion calls it by a jump, which leaves no trace of `verity_end_io`.
        Some("verity_bh_work") if callers.clone().nth(1) == Some("bh_worker") => "bh",
        Some("verity_bh_work") => "inline",
        other => panic!("verified by {other:?}: {stack:?}"),
    };
    while let Some(function) = callers.next() {
        match function {
            // With PREEMPT_RT the compiler adds `.isra.0`.
            _ if ["handle_softirqs", "__do_softirq"]
                .iter()
                .any(|it| function.starts_with(it)) =>
            {
                let is_thread = callers.next() == Some("run_ksoftirqd");
                return (placement, if is_thread { "ksoftirqd" } else { "softirq" });
            }
            "worker_thread" => return (placement, "kworker"),
            "irq_thread" => return (placement, "irq-thread"),
            _ => {}
        }
    }
    (placement, "task")
}

/// What the other cells of the matrix expect.
pub fn check_the_whole_matrix() {
    for row in &ROWS {
        check(row, true, RandomReads::large(200));
        check(row, false, RandomReads::small(500));
        check(row, false, RandomReads::large(200));
    }
}

fn check(row: &Row, option: bool, load: RandomReads) {
    let device = (row.backing)().open(NAME, option);
    device.warm_up();
    let tracer = Tracer::start(&["--records", "100000"]);
    let ios = load.on(&device);
    let document = tracer.stop();
    drop(device);
    document.assert_exact(NAME, ios);
    println!("{}: {}", row.name, summary(&document));
    let expected = row.by.completion();
    let mut as_expected = 0;
    for record in document.records() {
        if record["incomplete"] == true {
            continue;
        }
        let completion = text(&record["completion_context"]);
        as_expected += u64::from(completion == expected);
        if completion != expected {
            assert_eq!((completion, expected), ("softirq", HARDIRQ), "{record}");
        }
        assert_placement(record, option, row.by);
    }
    assert!(
        as_expected > ios / 2,
        "{as_expected} of {ios} completed in {expected}"
    );
}

/// What `verity_end_io` and `verity_bh_work` make of a completion (drivers/md/dm-verity-target.c).
fn assert_placement(record: &Value, option: bool, by: By) {
    let completion = text(&record["completion_context"]);
    let context = text(&record["context"]);
    let reason = record["reason"].as_str();
    let is_small = record["bytes"].as_u64().expect("bytes") <= 8_192;
    let in_softirq = |context| matches!(context, "softirq" | "ksoftirqd");
    match (text(&record["placement"]), LabKernel::running()) {
        ("kverityd", kernel) => {
            assert_eq!(context, "kworker", "{record}");
            let expected = match kernel {
                _ if !option => "option-off",
                Inert => "inert",
                Bh => panic!("the BH workqueue takes every size: {record}"),
                Inline if is_small => "need-resched",
                Inline => "too-large",
            };
            assert_eq!(reason, Some(expected), "{record}");
        }
        ("bh", kernel) => {
            assert!(option && in_softirq(context), "{record}");
            assert!(kernel == Bh || completion == HARDIRQ, "{record}");
            assert_eq!(reason, None, "{record}");
        }
        ("inline", Inline) => {
            assert!(option && is_small, "{record}");
            match completion {
                "task" => assert!(by.threads().contains(&context), "{record}"),
                "softirq" => assert!(in_softirq(context), "{record}"),
                _ => panic!("inline in hardirq: {record}"),
            }
            assert_eq!(reason, None, "{record}");
        }
        ("fallback", Bh | Inline) => {
            assert!(option, "{record}");
            assert_eq!(context, "kworker", "{record}");
            assert_eq!(reason, Some("cache-miss"), "{record}");
        }
        (_, kernel) => panic!("on {kernel:?}: {record}"),
    }
}

/// How many of each: what the run showed, for the log.
fn summary(document: &Document) -> String {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for record in document.records() {
        let [placement, completion, context] =
            ["placement", "completion_context", "context"].map(|field| text(&record[field]));
        let reason = record["reason"].as_str().unwrap_or("-");
        *counts
            .entry(format!(
                "{placement} in {context} ({reason}), completed in {completion}"
            ))
            .or_default() += 1;
    }
    let lines: Vec<_> = counts
        .into_iter()
        .map(|(line, count)| format!("{count} {line}"))
        .collect();
    lines.join("; ")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("absent")
}
