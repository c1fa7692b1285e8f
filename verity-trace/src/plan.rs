//! How dm-verity is watched on a kernel: one pure function from facts to a plan.
//!
//! The rungs are tried from the best to the last. What a kernel refuses in spite of the facts is a fact
//! too: it goes into [`Refusals`], and the plan is made anew.

pub mod facts;
mod hooks;
pub mod memory;
mod refusals;
pub mod settings;

use std::slice;

pub use facts::Facts;
pub use hooks::{Guard, Hook, MAP, VERIFY_EXIT};
pub use refusals::{MAKE_ROOM, Refusal, Refusals};

use crate::snapshot::{Era, Gap, Probe, ProbeKind, Rung};
use facts::{Address, DIRECT_CALLS, IRQ_REGS, LIMITS};
use refusals::Lack;

/// What is missing where the kernel describes itself to nobody.
pub const NO_BTF: &str = "there is no /sys/kernel/btf/vmlinux";

/// How to get it.
pub const NEEDS_BTF: &str = "the kernel needs CONFIG_DEBUG_INFO_BTF=y";

/// How a kernel is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the option does there, and by what that is known; absent while dm-verity is not there.
    pub era: Option<(Era, &'static str)>,
    /// The rung; absent where none can be had, and while dm-verity is not there.
    pub rung: Option<Rung>,
    /// What is attached, in this order.
    pub hooks: Vec<Hook>,
    /// What this kernel does not let be seen.
    pub gaps: Vec<Gap>,
    /// Whether dm-verity is awaited, and nothing else is missing.
    pub waits_for_module: bool,
}

impl Plan {
    /// What is attached, in this order.
    #[must_use]
    pub fn probes(&self) -> Vec<Probe> {
        self.hooks.iter().map(|hook| hook.probe).collect()
    }

    /// Whether it is seen when a hash does not match.
    #[must_use]
    pub fn sees_mismatch(&self) -> bool {
        [hooks::RECHECK, hooks::FEC_EXIT]
            .iter()
            .all(|&name| self.attaches(name))
    }

    /// Why no rung can be had, in one line.
    #[must_use]
    pub fn obstacles(&self) -> String {
        let mut reasons: Vec<String> = Vec::new();
        for gap in &self.gaps {
            let reason = gap.reason();
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        reasons.join("; ")
    }

    fn attaches(&self, name: &str) -> bool {
        self.hooks.iter().any(|hook| hook.probe.name == name)
    }
}

/// The plan for a kernel; `wish` is the only rung to try.
#[must_use]
pub fn plan(facts: &Facts, wish: Option<Rung>, refusals: &Refusals) -> Plan {
    let mut plan = Plan {
        era: facts.era(),
        rung: None,
        hooks: Vec::new(),
        gaps: Vec::new(),
        waits_for_module: false,
    };
    if !facts.btf.vmlinux {
        let lack = lack(NO_BTF.to_owned(), Some(NEEDS_BTF));
        plan.gaps.push(gap("BTF", "everything", lack));
        return plan;
    }
    let Some((era, _)) = plan.era else {
        plan.waits_for_module = true;
        let lack = lack(
            "dm_verity is not loaded".to_owned(),
            Some("load it with `modprobe dm_verity`, or open a device"),
        );
        plan.gaps.push(gap("dm_verity", "everything", lack));
        return plan;
    };
    for &rung in wish.as_ref().map_or(&Rung::ALL[..], slice::from_ref) {
        let kernel = Kernel {
            facts,
            era,
            refusals,
        };
        match kernel.hooks(rung) {
            Ok((hooks, left_out)) => {
                plan.rung = Some(rung);
                plan.hooks = hooks;
                plan.gaps.extend(left_out);
                plan.gaps.extend(kernel.gaps(rung));
                return plan;
            }
            Err(lacks) => plan.gaps.extend(
                lacks
                    .into_iter()
                    .map(|lack| gap(rung.name(), lost_without(rung), lack)),
            ),
        }
    }
    plan
}

/// What cannot be seen where a rung cannot be had.
const fn lost_without(rung: Rung) -> &'static str {
    match rung {
        Rung::Fentry => {
            "the certainty that every call is seen; the context of completions; rechecks and FEC"
        }
        Rung::Kprobe => "placements, reasons, stages and devices, and what is verified inline",
        Rung::Tracepoint => "everything",
    }
}

/// A kernel with dm-verity.
struct Kernel<'a> {
    facts: &'a Facts,
    era: Era,
    refusals: &'a Refusals,
}

impl Kernel<'_> {
    /// What is attached on this rung, and what is left out; or all that the kernel lacks for it.
    fn hooks(&self, rung: Rung) -> Result<(Vec<Hook>, Vec<Gap>), Vec<Lack>> {
        let mut lacks = self.lacks(rung);
        // Without a description of dm-verity everything else is missing too.
        if !lacks.is_empty() {
            return Err(lacks);
        }
        let (mut hooks, mut left_out) = (Vec::new(), Vec::new());
        let all = hooks::of(rung).iter();
        for hook in all.filter(|hook| self.is_wanted(rung, hook)) {
            match self.lack(hook).or_else(|| self.lack_of_partner(hook)) {
                None => hooks.push(*hook),
                Some(lack) if self.is_optional(rung, hook) => {
                    left_out.push(gap(hook.probe.name, hook.probe.without, lack));
                }
                Some(lack) if lacks.contains(&lack) => {}
                Some(lack) => lacks.push(lack),
            }
        }
        if lacks.is_empty() {
            Ok((hooks, left_out))
        } else {
            Err(lacks)
        }
    }

    /// What keeps the whole rung from being had, whatever its hooks are.
    fn lacks(&self, rung: Rung) -> Vec<Lack> {
        let facts = self.facts;
        let mut lacks = Vec::new();
        match rung {
            Rung::Fentry if !facts.kernel_functions.contains(DIRECT_CALLS) => lacks.push(lack(
                format!("the kernel has no {DIRECT_CALLS}, which fentry on a function needs"),
                Some(
                    "the kernel needs CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y, which arm64 has \
                     since Linux 6.4",
                ),
            )),
            Rung::Kprobe if !facts.has_kprobes => lacks.push(lack(
                "perf offers no kprobes".to_owned(),
                Some("the kernel needs CONFIG_KPROBE_EVENTS=y"),
            )),
            Rung::Kprobe if facts.is_confidential() => lacks.push(lack(
                "lockdown=confidentiality forbids kprobes".to_owned(),
                Some("boot with lockdown=integrity or lockdown=none"),
            )),
            _ => {}
        }
        if rung != Rung::Tracepoint {
            lacks.extend(settings::missing(facts));
        } else if facts.member(&[settings::WORK_FUNCTION]).is_none() {
            lacks.push(settings::no_member(settings::WORK_FUNCTION));
        }
        lacks
    }

    /// Whether there is something to see at this hook: elsewhere nothing is lost without it.
    fn is_wanted(&self, rung: Rung, hook: &Hook) -> bool {
        match hook.probe.name {
            // A queued work is the end of an attempt that gave up, and tells BH from inline. Every work of
            // the machine pays for it, so it is for where nothing else tells these.
            hooks::QUEUE_WORK => {
                let tells_end = rung == Rung::Kprobe || self.lacks_end_of_attempts();
                let is_needed = tells_end || self.tells_inline_by_queueing(rung);
                !hook.is_optional || self.era.can_attempt() && is_needed
            }
            VERIFY_EXIT => self.era.can_attempt(),
            _ => true,
        }
    }

    fn is_optional(&self, rung: Rung, hook: &Hook) -> bool {
        let is_needed = hook.probe.name == hooks::QUEUE_WORK && self.tells_inline_by_queueing(rung);
        hook.is_optional && !is_needed
    }

    /// Whether BH looks like inline unless the queueing of a work is seen.
    fn tells_inline_by_queueing(&self, rung: Rung) -> bool {
        self.era == Era::Inline && (rung == Rung::Kprobe || !settings::shows_bh_workers(self.facts))
    }

    /// Whether the return of a verification cannot be seen.
    fn lacks_end_of_attempts(&self) -> bool {
        let mut hooks = hooks::of(Rung::Fentry).iter();
        hooks
            .find(|hook| hook.probe.name == VERIFY_EXIT)
            .is_some_and(|hook| self.lack(hook).is_some())
    }

    /// What the kernel lacks for a hook.
    fn lack(&self, hook: &Hook) -> Option<Lack> {
        let Probe {
            name, target, kind, ..
        } = hook.probe;
        let facts = self.facts;
        self.refusals.of(&hook.probe).or_else(|| match kind {
            ProbeKind::TpBtf if !facts.tracepoints.contains(target) => Some(lack(
                format!("the kernel's BTF has no tracepoint {target}"),
                None,
            )),
            ProbeKind::TpBtf if target.starts_with("workqueue_") => self.lack_of_address(),
            ProbeKind::TpBtf => None,
            ProbeKind::Kprobe => (!facts.symbols.contains_key(target)).then(|| {
                lack(
                    format!("the kernel lists no function {target}"),
                    Some("the kernel needs CONFIG_KALLSYMS=y, and that function"),
                )
            }),
            ProbeKind::Fentry | ProbeKind::Fexit => {
                let takes_io = [hooks::RECHECK, hooks::FEC_EXIT].contains(&name);
                self.lack_of_function(target, takes_io)
            }
        })
    }

    /// Works are told apart by the address of their function.
    fn lack_of_address(&self) -> Option<Lack> {
        let functions: &[&str] = match self.era {
            Era::Bh | Era::Inline => &["verity_work", "verity_bh_work"],
            Era::NoOption | Era::Tasklet | Era::Inert => &["verity_work"],
        };
        let unknown = functions.iter().find(|&&name| !self.facts.shows(name))?;
        Some(lack_of_symbol(self.facts, unknown))
    }

    fn lack_of_function(&self, name: &str, takes_io: bool) -> Option<Lack> {
        let Some(arguments) = self.facts.functions.get(name) else {
            return Some(lack(
                format!("dm-verity's BTF has no function {name}: it has none, or it is inlined"),
                None,
            ));
        };
        if let Some(value) = arguments.iter().find(|it| it.starts_with("struct ")) {
            return Some(lack(
                format!("{name} takes a {value} by value, which fentry cannot have"),
                None,
            ));
        }
        let is_io_second = arguments.get(1).is_some_and(|it| it == "*dm_verity_io");
        (takes_io && !is_io_second).then(|| {
            lack(
                format!("{name} does not take the I/O as its second argument"),
                None,
            )
        })
    }

    /// That no hash fails to match can be told by both of two hooks or not at all.
    fn lack_of_partner(&self, hook: &Hook) -> Option<Lack> {
        let partner = match hook.probe.name {
            hooks::RECHECK => hooks::FEC_EXIT,
            hooks::FEC_EXIT => hooks::RECHECK,
            _ => return None,
        };
        let partner = hooks::of(Rung::Fentry)
            .iter()
            .find(|it| it.probe.name == partner)?;
        self.lack(partner).map(|_| {
            lack(
                format!(
                    "one tells nothing without the other: {}",
                    partner.probe.name
                ),
                None,
            )
        })
    }

    /// What cannot be seen although every hook is attached.
    fn gaps(&self, rung: Rung) -> Vec<Gap> {
        let facts = self.facts;
        let mut gaps = Vec::new();
        if rung != Rung::Tracepoint && self.era == Era::Inline {
            gaps.extend(lack_of_limits(facts).map(|lack| {
                let lost = "the reasons too-large and need-resched, which are unknown";
                gap("use_bh_bytes", lost, lack)
            }));
        }
        if rung == Rung::Tracepoint && self.era == Era::Tasklet {
            let why = "the tracepoints of workqueues show no tasklet".to_owned();
            let lost = "what a tasklet verifies";
            gaps.push(gap("tasklet", lost, lack(why, None)));
        }
        if rung != Rung::Fentry {
            return gaps;
        }
        if !facts.variables.contains(IRQ_REGS) {
            let why = format!("the kernel's BTF has no variable {IRQ_REGS}");
            gaps.push(gap(
                IRQ_REGS,
                "the context of completions, which is unknown",
                lack(why, None),
            ));
        }
        if facts.can_be_preempted() && !facts.can_hold_preemption() {
            // With PREEMPT_RT `preempt=` offers nothing less (kernel/sched/core.c).
            let remedy = if facts.is_real_time() {
                "Linux 6.14 or later, or a kernel without PREEMPT_RT"
            } else {
                "Linux 6.14 or later, or boot with preempt=voluntary"
            };
            gaps.push(gap(
                "bpf_preempt_disable",
                "a few I/Os in a thousand, if the kernel runs fully preemptible: they are counted as \
                 the losses recursion and start-without-finish",
                lack(
                    "programs cannot keep their task from being preempted".to_owned(),
                    Some(remedy),
                ),
            ));
        }
        gaps
    }
}

/// Why the programs cannot read `use_bh_bytes`.
fn lack_of_limits(facts: &Facts) -> Option<Lack> {
    if facts.is_confidential() {
        return Some(lack(
            "lockdown=confidentiality keeps programs from the kernel's memory".to_owned(),
            Some("boot with lockdown=integrity or lockdown=none"),
        ));
    }
    (!facts.shows(LIMITS)).then(|| lack_of_symbol(facts, LIMITS))
}

fn lack_of_symbol(facts: &Facts, name: &str) -> Lack {
    if facts.symbols.get(name) == Some(&Address::Hidden) {
        return lack(
            format!("/proc/kallsyms hides the address of {name}"),
            Some("set kernel.kptr_restrict to 1 or 0"),
        );
    }
    let remedy = if name == LIMITS {
        "the kernel needs CONFIG_KALLSYMS_ALL=y"
    } else {
        "the kernel needs CONFIG_KALLSYMS=y"
    };
    lack(format!("/proc/kallsyms does not list {name}"), Some(remedy))
}

fn lack(why: String, remedy: Option<&'static str>) -> Lack {
    Lack { why, remedy }
}

fn gap(missing: &'static str, lost: &'static str, lack: Lack) -> Gap {
    Gap {
        missing,
        lost,
        why: lack.why,
        remedy: lack.remedy,
    }
}
