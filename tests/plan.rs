//! The plan for every kernel whose facts are under `tests/facts`, and what `doctor` says of it.

mod facts;
mod valid;

use verity_trace::checkup::Checkup;
use verity_trace::plan::memory::{MapKind, MapSize};
use verity_trace::plan::settings::{reads_limits, settings};
use verity_trace::plan::{Facts, Plan, Refusal, Refusals, plan};
use verity_trace::snapshot::{Era, Kernel, Probe, ProbeKind, Rung, When};
use verity_trace::{doctor, export};

use facts::{facts, files};

/// What a kernel must get.
struct Expected {
    facts: &'static str,
    era: Option<Era>,
    rung: Option<Rung>,
    /// Probes that its rung does without, there or because there is nothing to see.
    without: &'static [&'static str],
    /// What is missing, and a word of what is said about it.
    gaps: &'static [(&'static str, &'static str)],
}

const QUEUE: &str = "workqueue_queue_work";
const GAVE_UP: &str = "verity_verify_io exit";
const RECHECK: &str = "verity_recheck";
const FEC: &str = "verity_fec_decode exit";
const BY_VALUE: &str = "takes a struct bvec_iter by value";
const NO_DESCRIPTION: &str = "CONFIG_DEBUG_INFO_BTF_MODULES";

/// As the kernels' sources have it (KERNEL.md, and the comments in the files).
const EXPECTED: [Expected; 22] = [
    // Nothing is attempted in softirq, so nothing gives up.
    Expected {
        facts: "6.1",
        era: Some(Era::Inert),
        rung: Some(Rung::Fentry),
        without: &[QUEUE, GAVE_UP, RECHECK, FEC],
        gaps: &[(RECHECK, BY_VALUE), (FEC, RECHECK)],
    },
    Expected {
        facts: "6.12",
        era: Some(Era::Bh),
        rung: Some(Rung::Fentry),
        without: &[QUEUE],
        gaps: &[],
    },
    Expected {
        facts: "7.3",
        era: Some(Era::Inline),
        rung: Some(Rung::Fentry),
        without: &[QUEUE],
        gaps: &[],
    },
    Expected {
        facts: "6.18",
        era: Some(Era::Inline),
        rung: Some(Rung::Fentry),
        without: &[QUEUE],
        gaps: &[],
    },
    Expected {
        facts: "6.12-rt",
        era: Some(Era::Bh),
        rung: Some(Rung::Fentry),
        without: &[QUEUE],
        gaps: &[("bpf_preempt_disable", "without PREEMPT_RT")],
    },
    Expected {
        facts: "7.3-rt",
        era: Some(Era::Inline),
        rung: Some(Rung::Fentry),
        without: &[QUEUE],
        gaps: &[],
    },
    Expected {
        facts: "built_in",
        era: Some(Era::Bh),
        rung: Some(Rung::Fentry),
        without: &[QUEUE],
        gaps: &[],
    },
    Expected {
        facts: "arm64_without_fentry",
        era: Some(Era::Inert),
        rung: Some(Rung::Kprobe),
        without: &[QUEUE],
        gaps: &[("fentry", "register_ftrace_direct")],
    },
    Expected {
        facts: "6.6",
        era: Some(Era::Inert),
        rung: Some(Rung::Fentry),
        without: &[QUEUE, GAVE_UP, RECHECK, FEC],
        gaps: &[(RECHECK, BY_VALUE), (FEC, RECHECK)],
    },
    Expected {
        facts: "6.0",
        era: Some(Era::Tasklet),
        rung: Some(Rung::Fentry),
        without: &[QUEUE, RECHECK, FEC],
        gaps: &[(RECHECK, "no function verity_recheck"), (FEC, RECHECK)],
    },
    Expected {
        facts: "5.15",
        era: Some(Era::NoOption),
        rung: Some(Rung::Tracepoint),
        without: &[],
        gaps: &[("fentry", "Linux 6.0"), ("kprobe", "Linux 6.0")],
    },
    Expected {
        facts: "lockdown_confidentiality",
        era: Some(Era::Inline),
        rung: Some(Rung::Fentry),
        without: &[],
        gaps: &[("use_bh_bytes", "lockdown=confidentiality")],
    },
    // What a work does is told by its function's address, which fentry can do without:
    Expected {
        facts: "kptr_restrict_2_inert",
        era: Some(Era::Inert),
        rung: Some(Rung::Fentry),
        without: &[QUEUE, GAVE_UP, RECHECK, FEC],
        gaps: &[(RECHECK, BY_VALUE), (FEC, RECHECK)],
    },
    // a verification's return tells the end of an attempt,
    Expected {
        facts: "kptr_restrict_2_bh",
        era: Some(Era::Bh),
        rung: Some(Rung::Fentry),
        without: &[QUEUE],
        gaps: &[],
    },
    // and the BH worker tells BH from inline.
    Expected {
        facts: "kptr_restrict_2_inline",
        era: Some(Era::Inline),
        rung: Some(Rung::Fentry),
        without: &[QUEUE],
        gaps: &[("use_bh_bytes", "kernel.kptr_restrict")],
    },
    Expected {
        facts: "without_bh_worker_pools",
        era: Some(Era::Inline),
        rung: Some(Rung::Fentry),
        without: &[],
        gaps: &[],
    },
    Expected {
        facts: "without_kallsyms_all",
        era: Some(Era::Inline),
        rung: Some(Rung::Fentry),
        without: &[QUEUE],
        gaps: &[("use_bh_bytes", "CONFIG_KALLSYMS_ALL")],
    },
    Expected {
        facts: "without_module_btf",
        era: Some(Era::Bh),
        rung: Some(Rung::Tracepoint),
        without: &[],
        gaps: &[("fentry", NO_DESCRIPTION), ("kprobe", NO_DESCRIPTION)],
    },
    Expected {
        facts: "without_btf",
        era: Some(Era::Bh),
        rung: None,
        without: &[],
        gaps: &[("BTF", "CONFIG_DEBUG_INFO_BTF=y")],
    },
    Expected {
        facts: "not_loaded",
        era: None,
        rung: None,
        without: &[],
        gaps: &[("dm_verity", "modprobe dm_verity")],
    },
    Expected {
        facts: "fully_preemptible",
        era: Some(Era::Bh),
        rung: Some(Rung::Fentry),
        without: &[QUEUE],
        gaps: &[("bpf_preempt_disable", "preempt=voluntary")],
    },
    Expected {
        facts: "inlined_verify_io",
        era: Some(Era::Bh),
        rung: Some(Rung::Tracepoint),
        without: &[],
        gaps: &[
            ("fentry", "verity_verify_io"),
            ("kprobe", "verity_verify_io"),
        ],
    },
];

/// Every probe of a rung, with each of its kinds.
fn all_probes(rung: Rung) -> &'static [&'static str] {
    match rung {
        Rung::Fentry => &[
            "softirq_entry tp_btf",
            "softirq_exit tp_btf",
            "workqueue_queue_work tp_btf",
            "verity_verify_io exit fexit",
            "verity_recheck fentry",
            "verity_fec_decode exit fexit",
            "verity_finish_io fentry",
            "verity_verify_io fentry",
            "verity_end_io fentry",
            "verity_map fentry",
        ],
        Rung::Kprobe => &[
            "softirq_entry tp_btf",
            "softirq_exit tp_btf",
            "workqueue_queue_work tp_btf",
            "verity_finish_io kprobe",
            "verity_verify_io kprobe",
            "verity_end_io kprobe",
            "verity_map kprobe",
        ],
        Rung::Tracepoint => &[
            "softirq_entry tp_btf",
            "softirq_exit tp_btf",
            "workqueue_execute_start tp_btf",
            "workqueue_queue_work tp_btf",
        ],
    }
}

#[test]
fn every_kernel_gets_its_plan() {
    for expected in &EXPECTED {
        let name = expected.facts;
        let plan = plan_of(name);
        assert_eq!(plan.era.map(|(era, _)| era), expected.era, "{name}");
        assert_eq!(plan.rung, expected.rung, "{name}: {:#?}", plan.gaps);
        let probes: Vec<&str> = expected.rung.map_or_else(Vec::new, |rung| {
            let is_there = |probe: &&&str| {
                !expected
                    .without
                    .iter()
                    .any(|name| without_kind(probe) == *name)
            };
            all_probes(rung).iter().filter(is_there).copied().collect()
        });
        assert_eq!(attached(&plan), probes, "{name}");
        let missing: Vec<_> = plan.gaps.iter().map(|gap| gap.missing).collect();
        let gaps: Vec<_> = expected.gaps.iter().map(|gap| gap.0).collect();
        assert_eq!(missing, gaps, "{name}: {:#?}", plan.gaps);
        for (gap, (_, word)) in plan.gaps.iter().zip(expected.gaps) {
            assert!(gap.reason().contains(word), "{name}: {gap:?}");
        }
        assert_eq!(plan.waits_for_module, name == "not_loaded");
    }
}

#[test]
fn every_file_of_facts_has_its_expected_plan() {
    let mut files: Vec<_> = files().into_keys().collect();
    let mut expected: Vec<_> = EXPECTED.iter().map(|it| it.facts.to_owned()).collect();
    files.sort();
    expected.sort();
    assert_eq!(files, expected);
}

#[test]
fn a_rung_that_is_asked_for_is_the_only_one_tried() {
    for kernel in ["6.1", "6.12", "7.3", "6.18", "6.12-rt", "7.3-rt"] {
        for rung in Rung::ALL {
            let plan = plan(&facts(kernel), Some(rung), &Refusals::default());
            assert_eq!(plan.rung, Some(rung), "{kernel}");
        }
    }
    let tasklets = plan(&facts("6.0"), Some(Rung::Tracepoint), &Refusals::default());
    assert_eq!(tasklets.gaps[0].missing, "tasklet");
    let confidential = facts("lockdown_confidentiality");
    let kprobe = plan(&confidential, Some(Rung::Kprobe), &Refusals::default());
    assert_eq!(kprobe.rung, None);
    assert!(kprobe.obstacles().contains("lockdown"), "{kprobe:?}");
    let tracepoint = plan(&confidential, Some(Rung::Tracepoint), &Refusals::default());
    assert_eq!(tracepoint.rung, Some(Rung::Tracepoint));
}

/// What is optional costs itself alone; of the two that tell a mismatch, both.
#[test]
fn an_optional_probe_that_is_refused_is_left_out_and_said() {
    let cases: [(&str, &[&str]); 3] = [
        (GAVE_UP, &[GAVE_UP]),
        (RECHECK, &[RECHECK, FEC]),
        (FEC, &[RECHECK, FEC]),
    ];
    let facts = facts("6.12");
    let first = plan_of("6.12");
    for (name, gone) in cases {
        let second = plan(&facts, None, &refused(&first, name, false));
        assert_eq!(second.rung, Some(Rung::Fentry), "{name}");
        let missing: Vec<_> = second.gaps.iter().map(|gap| gap.missing).collect();
        assert_eq!(missing, gone, "{name}");
        assert!(second.gaps.iter().any(|gap| gap.why == REFUSAL), "{name}");
        let left: Vec<_> = attached(&first)
            .into_iter()
            .filter(|probe| !gone.contains(&without_kind(probe)))
            .collect();
        let mut attached = attached(&second);
        // Where the return of a verification is not seen, the queueing that follows is.
        attached.retain(|probe| name != GAVE_UP || without_kind(probe) != QUEUE);
        assert_eq!(attached, left, "{name}");
        assert_eq!(
            second.probes().len(),
            left.len() + usize::from(name == GAVE_UP)
        );
        assert_eq!(second.sees_mismatch(), !gone.contains(&RECHECK));
    }
}

#[test]
fn a_needed_probe_that_is_refused_costs_the_rung_and_the_reason_is_kept() {
    let facts = facts("7.3");
    let first = plan_of("7.3");
    for name in ["verity_map", "verity_end_io", "verity_verify_io"] {
        let second = plan(&facts, None, &refused(&first, name, false));
        assert_eq!(second.rung, Some(Rung::Kprobe), "{name}");
        assert_eq!(second.gaps[0].missing, "fentry");
        assert_eq!(second.gaps[0].why, REFUSAL);
    }
    // Where the tracepoint alone tells BH from inline it is needed, and the same on every rung.
    let by_queueing = plan_of("without_bh_worker_pools");
    let refusals = refused(&by_queueing, QUEUE, false);
    let second = plan(&self::facts("without_bh_worker_pools"), None, &refusals);
    assert_eq!(second.rung, None);
    assert_eq!(second.gaps[0].why, REFUSAL);
    let kprobe = plan(&facts, Some(Rung::Kprobe), &Refusals::default());
    let mut refusals = refused(&first, "verity_map", false);
    refusals.add(&kprobe, refusal(&kprobe, "verity_map", false));
    let third = plan(&facts, None, &refusals);
    assert_eq!(third.rung, Some(Rung::Tracepoint));
    let missing: Vec<_> = third.gaps.iter().map(|gap| gap.missing).collect();
    assert_eq!(missing, ["fentry", "kprobe"]);
}

/// `BPF_MAX_TRAMP_LINKS`: what the rung needs goes first.
#[test]
fn where_a_function_is_full_an_optional_probe_gives_way() {
    let facts = facts("6.12");
    let mut refusals = Refusals::default();
    let before = plan(&facts, None, &refusals);
    refusals.add(&before, refusal(&before, "verity_verify_io", true));
    let after = plan(&facts, None, &refusals);
    assert_eq!(after.rung, Some(Rung::Fentry));
    let gap = after.gaps.iter().find(|gap| gap.missing == GAVE_UP);
    let gap = gap.expect("what is optional gave way");
    assert!(gap.reason().contains("another tracer"), "{gap:?}");
    let full = plan(&facts, None, &refusals);
    refusals.add(&full, refusal(&full, "verity_map", true));
    assert_eq!(plan(&facts, None, &refusals).rung, Some(Rung::Kprobe));
}

/// Each refusal makes another plan, until there is none: attaching always ends.
#[test]
fn refusing_everything_ends() {
    for expected in &EXPECTED {
        for is_full in [false, true] {
            let facts = facts(expected.facts);
            let mut refusals = Refusals::default();
            let mut turns = 0;
            loop {
                let plan = plan(&facts, None, &refusals);
                let Some(last) = plan.hooks.last().filter(|_| plan.rung.is_some()) else {
                    break;
                };
                let name = last.probe.name;
                refusals.add(&plan, refusal(&plan, name, is_full));
                turns += 1;
                assert!(turns < 40, "{}: {plan:#?}", expected.facts);
            }
        }
    }
}

/// The offsets of KERNEL.md, section 2, in bytes.
#[test]
fn settings_follow_from_the_facts() {
    for (kernel, in_bh, work, bh_work, option) in [
        ("6.1", 52, 56, 56, 117),
        ("6.12", 52, 56, 88, 141),
        ("6.18", 52, 56, 88, 125),
        ("7.3", 52, 64, 64, 125),
    ] {
        let is_inline = matches!(kernel, "6.18" | "7.3");
        let settings = settings(&facts(kernel), &plan_of(kernel));
        assert_eq!(settings.io_verity, 0, "{kernel}");
        assert_eq!(settings.io_in_bh, in_bh, "{kernel}");
        assert_eq!(settings.io_work, work, "{kernel}");
        assert_eq!(settings.io_bh_work, bh_work, "{kernel}");
        assert_eq!(settings.verity_option, option, "{kernel}");
        assert_eq!(settings.verity_option_mask.count_ones(), 1, "{kernel}");
        assert_eq!(settings.is_inert, u64::from(kernel == "6.1"));
        assert_eq!(settings.can_be_inline, u64::from(is_inline));
        assert_eq!(settings.gives_way, u64::from(is_inline));
        assert_eq!(settings.sees_mismatch, u64::from(kernel != "6.1"));
        assert_eq!(settings.has_irq_regs, 1);
    }
    assert!(reads_limits(&facts("7.3")));
    assert!(!reads_limits(&facts("lockdown_confidentiality")));
    assert!(!reads_limits(&facts("without_kallsyms_all")));
}

/// Each task counts what it serves of softirqs where those can be preempted (`softirq_disable_cnt`,
/// include/linux/sched.h), and nowhere else.
#[test]
fn with_preempt_rt_a_task_tells_whether_it_serves_softirqs() {
    for (name, (_, facts)) in files() {
        let settings = settings(&facts, &plan_of(&name));
        let is_known = settings.task_softirq_count != 0;
        assert_eq!(is_known, facts.is_real_time(), "{name}");
    }
}

#[test]
fn the_doctor_says_it() {
    for (name, (description, facts)) in files() {
        let checkup = checkup(facts);
        let mut text = Vec::new();
        doctor::doctor(&checkup, &mut text).expect("memory does not fail");
        let text = String::from_utf8(text).expect("text");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        insta::with_settings!({ description => description }, {
            insta::assert_snapshot!(format!("doctor_{name}"), text);
        });
    }
}

#[test]
fn the_doctors_document() {
    for name in ["6.1", "kptr_restrict_2_inline"] {
        let mut json = Vec::new();
        export::doctor(&checkup(facts(name)), &mut json).expect("memory does not fail");
        let json = String::from_utf8(json).expect("text");
        valid::written("doctor", &json);
        insta::assert_snapshot!(format!("json_doctor_{name}"), json);
    }
}

#[test]
fn what_an_optional_view_watches_is_listed_too() {
    let mut checkup = checkup(facts("6.12"));
    let all = checkup.plan.hooks.len() + 1;
    checkup.optional.push(Probe {
        name: "queues_softirq_exit",
        target: "softirq_exit",
        kind: ProbeKind::TpBtf,
        without: "softirqs and workqueues in detail",
        when: When::Always,
    });
    let (mut text, mut json) = (Vec::new(), Vec::new());
    doctor::doctor(&checkup, &mut text).expect("memory does not fail");
    export::doctor(&checkup, &mut json).expect("memory does not fail");
    let [text, json] = [text, json].map(|it| String::from_utf8(it).expect("text"));
    assert!(text.contains("  queues_softirq_exit      tp_btf"), "{text}");
    let document = valid::written("doctor", &json);
    let probes = document["probes"].as_array().expect("probes");
    assert_eq!(probes.len(), all);
    assert_eq!(probes[all - 1]["name"], "queues_softirq_exit");
}

/// What the kernel says goes onto a terminal, and into a document.
#[test]
fn what_the_kernel_says_is_escaped() {
    let mut facts = facts("6.12");
    facts.lockdown = Some("none\u{1b}[2J".to_owned());
    let checkup = checkup(facts);
    let (mut text, mut json) = (Vec::new(), Vec::new());
    doctor::doctor(&checkup, &mut text).expect("memory does not fail");
    export::doctor(&checkup, &mut json).expect("memory does not fail");
    assert!(!text.contains(&0x1b) && !json.contains(&0x1b));
}

#[test]
fn facts_survive_being_written() {
    for (name, (_, facts)) in files() {
        let mut json = Vec::new();
        export::facts(&facts, &mut json).expect("memory does not fail");
        let read: Facts = serde_json::from_slice(&json).expect("facts");
        assert_eq!(read, facts, "{name}");
    }
}

const REFUSAL: &str = "the kernel said no";

fn refused(plan: &Plan, name: &str, is_full: bool) -> Refusals {
    let mut refusals = Refusals::default();
    refusals.add(plan, refusal(plan, name, is_full));
    refusals
}

fn refusal(plan: &Plan, name: &str, is_full: bool) -> Refusal {
    let probes = plan.probes();
    let probe = probes.iter().find(|probe| probe.name == name);
    Refusal {
        probe: *probe.unwrap_or_else(|| panic!("{name} is not in the plan")),
        is_full,
        sentence: REFUSAL.to_owned(),
    }
}

fn plan_of(name: &str) -> Plan {
    plan(&facts(name), None, &Refusals::default())
}

fn attached(plan: &Plan) -> Vec<String> {
    let probes = plan.probes();
    probes
        .iter()
        .map(|probe| format!("{} {}", probe.name, probe.kind.name()))
        .collect()
}

fn without_kind(probe: &str) -> &str {
    probe.rsplit_once(' ').map_or(probe, |(name, _)| name)
}

fn checkup(facts: Facts) -> Checkup {
    let plan = plan(&facts, None, &Refusals::default());
    let map = |name: &str, kind, value, entries| MapSize {
        name: name.to_owned(),
        kind,
        key: 4,
        value,
        entries,
    };
    Checkup {
        kernel: Kernel {
            release: facts.release.clone(),
            host: "lab".to_owned(),
            cpus: 2,
            era: plan.era.map(|(era, _)| era),
        },
        possible_cpus: 4,
        maps: plan.rung.is_some().then(|| {
            vec![
                map("CPU_QUEUES", MapKind::PerCpuArray, 800, 1),
                map("TOTALS", MapKind::Array, 87_848, 520),
            ]
        }),
        facts,
        plan,
        optional: Vec::new(),
        wish: None,
        max_devices: 64,
    }
}
