//! Every place that can be watched, by rung: what is attached there, and what cannot be seen without it.

use verity_trace_ebpf::counters::Hook as Watched;

use crate::snapshot::{Probe, ProbeKind, Rung, When};

/// A place that can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The probe that it becomes.
    pub probe: Probe,
    /// The programs there, in the order of attaching.
    pub programs: &'static [&'static str],
    /// The guard of the program there, if it can have one. It is attached after the program and runs before
    /// it: the kernel runs the programs of a function in the reverse order (`hlist_add_head` in
    /// `__bpf_trampoline_link_prog`, kernel/bpf/trampoline.c).
    pub guard: Option<Guard>,
    /// Whether the rung goes without it.
    pub is_optional: bool,
}

/// The same program once more, for where the kernel may not run one of them (see [`Watched`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Its name.
    pub program: &'static str,
    /// What it watches.
    pub watched: Watched,
}

const fn hook(
    name: &'static str,
    target: &'static str,
    kind: ProbeKind,
    programs: &'static [&'static str],
    without: &'static str,
) -> Hook {
    Hook {
        probe: Probe {
            name,
            target,
            kind,
            without,
            when: When::Always,
        },
        programs,
        guard: None,
        is_optional: false,
    }
}

const fn guarded(hook: Hook, program: &'static str, watched: Watched) -> Hook {
    Hook {
        guard: Some(Guard { program, watched }),
        ..hook
    }
}

const fn with_option(hook: Hook) -> Hook {
    Hook {
        probe: Probe {
            when: When::WithOption,
            ..hook.probe
        },
        ..hook
    }
}

const fn optional(hook: Hook) -> Hook {
    Hook {
        is_optional: true,
        ..hook
    }
}

/// The name of the probe that sees attempts give up.
pub const VERIFY_EXIT: &str = "verity_verify_io exit";

/// The function that begins an I/O. Its probe is attached last of all, after every guard of others.
pub const MAP: &str = "verity_map";

/// The names of other probes that the plan decides about one by one.
pub const QUEUE_WORK: &str = "workqueue_queue_work";
pub const RECHECK: &str = "verity_recheck";
pub const FEC_EXIT: &str = "verity_fec_decode exit";

const SOFTIRQ_ENTRY: Hook = hook(
    "softirq_entry",
    "softirq_entry",
    ProbeKind::TpBtf,
    &["softirq_entry"],
    "softirq time, and the contexts softirq and ksoftirqd",
);

const SOFTIRQ_EXIT: Hook = hook(
    "softirq_exit",
    "softirq_exit",
    ProbeKind::TpBtf,
    &["softirq_exit"],
    "softirq time, and the contexts softirq and ksoftirqd",
);

const QUEUED: Hook = hook(
    QUEUE_WORK,
    "workqueue_queue_work",
    ProbeKind::TpBtf,
    &["workqueue_queue_work"],
    "when a softirq attempt gave up: every fallback is incomplete; and BH from inline",
);

/// In the order of attaching: the end of an I/O's life first, so that every I/O whose beginning is seen
/// is seen to its end.
const BY_FENTRY: [Hook; 10] = [
    SOFTIRQ_ENTRY,
    SOFTIRQ_EXIT,
    optional(QUEUED),
    with_option(optional(hook(
        VERIFY_EXIT,
        "verity_verify_io",
        ProbeKind::Fexit,
        &["verity_verify_io_exit"],
        "the reason no-memory, which counts as cache-miss; when an attempt gave up is then told by \
         workqueue_queue_work",
    ))),
    optional(hook(
        RECHECK,
        "verity_recheck",
        ProbeKind::Fentry,
        &["verity_recheck"],
        "rechecked I/Os; a fallback whose hash did not match counts as cache-miss unless it fails",
    )),
    optional(hook(
        FEC_EXIT,
        "verity_fec_decode",
        ProbeKind::Fexit,
        &["verity_fec_decode_exit"],
        "I/Os for which FEC is tried; a fallback that FEC mended counts as cache-miss",
    )),
    guarded(
        hook(
            "verity_finish_io",
            "verity_finish_io",
            ProbeKind::Fentry,
            &["verity_finish_io"],
            "the end of every I/O",
        ),
        "verity_finish_io_guard",
        Watched::FinishIo,
    ),
    guarded(
        hook(
            "verity_verify_io",
            "verity_verify_io",
            ProbeKind::Fentry,
            &["verity_verify_io"],
            "where and when every I/O is verified",
        ),
        "verity_verify_io_guard",
        Watched::VerifyIo,
    ),
    guarded(
        hook(
            "verity_end_io",
            "verity_end_io",
            ProbeKind::Fentry,
            &["verity_end_io"],
            "when and in which context the data of every I/O arrives",
        ),
        "verity_end_io_guard",
        Watched::EndIo,
    ),
    guarded(
        hook(
            "verity_map",
            MAP,
            ProbeKind::Fentry,
            &["verity_map"],
            "the beginning of every I/O",
        ),
        "verity_map_guard",
        Watched::Map,
    ),
];

/// In the same order.
const BY_KPROBE: [Hook; 7] = [
    SOFTIRQ_ENTRY,
    SOFTIRQ_EXIT,
    optional(QUEUED),
    hook(
        "verity_finish_io",
        "verity_finish_io",
        ProbeKind::Kprobe,
        &["verity_finish_io_kprobe"],
        "the end of every I/O",
    ),
    hook(
        "verity_verify_io",
        "verity_verify_io",
        ProbeKind::Kprobe,
        &["verity_verify_io_kprobe"],
        "where and when every I/O is verified",
    ),
    hook(
        "verity_end_io",
        "verity_end_io",
        ProbeKind::Kprobe,
        &["verity_end_io_kprobe"],
        "when the data of every I/O arrives",
    ),
    hook(
        "verity_map",
        MAP,
        ProbeKind::Kprobe,
        &["verity_map_kprobe"],
        "the beginning of every I/O",
    ),
];

const BY_TRACEPOINT: [Hook; 4] = [
    SOFTIRQ_ENTRY,
    SOFTIRQ_EXIT,
    hook(
        "workqueue_execute_start",
        "workqueue_execute_start",
        ProbeKind::TpBtf,
        &["verification_begins", "verification_begins_second"],
        "verifications that begin on kverityd and on the BH workqueue",
    ),
    hook(
        QUEUE_WORK,
        "workqueue_queue_work",
        ProbeKind::TpBtf,
        &["verification_queued"],
        "how long a verification was queued, and so any",
    ),
];

/// The hooks of a rung, in the order of attaching.
pub const fn of(rung: Rung) -> &'static [Hook] {
    match rung {
        Rung::Fentry => &BY_FENTRY,
        Rung::Kprobe => &BY_KPROBE,
        Rung::Tracepoint => &BY_TRACEPOINT,
    }
}
