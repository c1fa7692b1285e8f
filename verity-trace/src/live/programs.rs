//! Loads and attaches the programs of a plan.

use std::collections::HashSet;
use std::ffi::CString;
use std::mem;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use aya::Ebpf;
use aya::maps::Map;
use aya::programs::{KProbe, ProgramError};
use aya_obj::Object;
use aya_obj::generated::bpf_attach_type::{
    self, BPF_TRACE_FENTRY, BPF_TRACE_FEXIT, BPF_TRACE_RAW_TP,
};
use aya_obj::generated::{BPF_CALL, BPF_JMP, bpf_insn};
use rustix::time::ClockId;
use verity_trace_ebpf::counters::{Hook as Watched, Shared};
use verity_trace_ebpf::settings::{
    BH_WORKER_POOLS, CAST_CALL, CPUS_VALUE, IN_FLIGHT_VALUE, IRQ_REGS, IRQ_RESTORE_CALL,
    IRQ_SAVE_CALL, PREEMPT_DISABLE_CALL, PREEMPT_ENABLE_CALL, SHARED_VALUE,
};

use crate::cost::Attachment;
use crate::error::Error;
use crate::kernel::{self, CAST, FunctionType, Types};
use crate::live::bpf::{self, TracingProgram};
use crate::live::mapping::Mapping;
use crate::live::object::LOAD_IMMEDIATE;
use crate::live::statistics::Program;
use crate::plan::facts::{self, PREEMPTION_FUNCTIONS};
use crate::plan::{Hook, MAKE_ROOM, MAP, Plan, Refusal, VERIFY_EXIT};
use crate::snapshot::{Gap, Probe, ProbeKind, When};

/// `BPF_PSEUDO_KFUNC_CALL`, include/uapi/linux/bpf.h.
const PSEUDO_KFUNC_CALL: u8 = 2;

/// `BPF_PSEUDO_BTF_ID`, include/uapi/linux/bpf.h.
const PSEUDO_BTF_ID: u8 = 3;

/// `BPF_PSEUDO_MAP_VALUE`, include/uapi/linux/bpf.h.
const PSEUDO_MAP_VALUE: u8 = 2;

/// `BPF_JMP | BPF_JA`, include/uapi/linux/bpf.h.
const JUMP: u8 = 0x05;

/// A loaded tracing program and, while it is attached, its link.
struct Attached {
    // The link goes first: a program without a link is not run any more.
    link: Option<OwnedFd>,
    program: OwnedFd,
    name: &'static str,
    attachment: Attachment,
    /// What it watches that has or can have a guard; a guard itself watches nothing here.
    watched: Option<Watched>,
    /// Of a guard, what it watches.
    guards: Option<Watched>,
    /// Whether it sees attempts give up.
    sees_giving_up: bool,
    /// Whether it has no guard, is none, and each call that it misses is a loss.
    is_alone: bool,
}

/// A tracing program that is loaded and attached when it is needed.
struct Reserve {
    hook: Hook,
    name: &'static str,
    /// Of a guard, what it watches.
    guards: Option<Watched>,
    instructions: Vec<bpf_insn>,
    license: CString,
    place: Place,
}

/// Where a tracing program attaches.
#[derive(Clone)]
struct Place {
    attach_type: bpf_attach_type,
    attach_btf_id: u32,
    module: Option<Arc<OwnedFd>>,
}

/// What is needed beside what always is.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// What sees attempts outside of kverityd: a device has the option, and this kernel heeds it.
    pub attempts: bool,
    /// The guard of `verity_end_io`: a completion can interrupt another one.
    pub nested_completions: bool,
    /// A guard for every program: this kernel preempts tasks anywhere, and programs cannot forbid it.
    pub guards: bool,
}

/// A kprobe program, which stays with aya.
struct AttachedKprobe {
    program: &'static str,
    /// Absent where the kernel gives a kprobe none.
    link: Option<OwnedFd>,
}

/// Every program that is attached. Dropping it detaches and unloads them all.
pub struct Programs {
    tracing: Vec<Attached>,
    kprobes: Vec<AttachedKprobe>,
    reserve: Vec<Reserve>,
    /// What sees I/Os begin, until it is attached; none for a kprobe, whose program stays with aya.
    beginning: Vec<(Hook, &'static str, Option<OwnedFd>)>,
    /// Whether what sees attempts is attached.
    sees_attempts: bool,
    gaps: Vec<Gap>,
    shared: Mapping<Shared>,
}

/// Why a plan was not carried out.
pub enum Stop {
    /// The kernel refused one of its hooks.
    Refused(Refusal),
    /// Something else, which no other plan would mend.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Programs {
    /// Loads what a plan names and is needed now, and attaches all of it but what sees I/Os begin. When the kernel
    /// refuses any of it, nothing stays.
    pub fn attach(
        ebpf: &mut Ebpf,
        object: &[u8],
        types: &Types,
        plan: &Plan,
        needs: Needs,
    ) -> Result<Self, Stop> {
        let object = relocated(ebpf, object, types)?;
        let module = plan
            .hooks
            .iter()
            .filter_map(|hook| types.function(hook.probe.target))
            .any(|function| function.in_module)
            .then(|| bpf::module_btf("dm_verity"))
            .transpose()
            .context("find the BTF of the module dm_verity")?
            .map(Arc::new);
        // All are loaded before the first is attached, so that these are attached at about one time.
        let mut loaded = Vec::new();
        let mut reserve = Vec::new();
        for hook in &plan.hooks {
            let place = place(types, hook, module.as_ref())?;
            for &name in hook.programs {
                match &place {
                    Some(place) if hook.probe.when == When::WithOption => {
                        reserve.push(Reserve::of(&object, hook, name, None, place)?);
                    }
                    Some(place) => {
                        let program = Reserve::of(&object, hook, name, None, place)?.load()?;
                        loaded.push((*hook, name, Some(program)));
                    }
                    None => {
                        load_kprobe(ebpf, hook, name)?;
                        loaded.push((*hook, name, None));
                    }
                }
            }
            if let (Some(guard), Some(place)) = (hook.guard, &place) {
                let watched = Some(guard.watched);
                reserve.push(Reserve::of(&object, hook, guard.program, watched, place)?);
            }
        }
        let (beginning, loaded) = loaded
            .into_iter()
            .partition(|(hook, ..)| hook.probe.target == MAP);
        let mut programs = Self {
            tracing: Vec::new(),
            kprobes: Vec::new(),
            reserve,
            beginning,
            sees_attempts: false,
            gaps: Vec::new(),
            shared: Mapping::of(ebpf.map("SHARED").context("map SHARED")?)?,
        };
        programs.attach_all(ebpf, loaded)?;
        if needs.attempts {
            programs.see_attempts()?;
        }
        programs.guard_as_needed(needs)?;
        Ok(programs)
    }

    /// Attaches what sees I/Os begin, once all else is: guards take long to load, and what is missed before would
    /// cost I/Os that were seen to begin.
    pub fn begin(&mut self, ebpf: &mut Ebpf, needs: Needs) -> Result<(), Stop> {
        let beginning = mem::take(&mut self.beginning);
        self.attach_all(ebpf, beginning)?;
        Ok(self.guard_as_needed(needs)?)
    }

    fn attach_all(
        &mut self,
        ebpf: &mut Ebpf,
        loaded: Vec<(Hook, &'static str, Option<OwnedFd>)>,
    ) -> Result<(), Stop> {
        for (hook, name, program) in loaded {
            if let Some(program) = program {
                let watched = hook.guard.map(|guard| guard.watched);
                self.tracing.push(attach(program, &hook, name, watched)?);
            } else {
                let link = attach_kprobe(ebpf, &hook, name)?;
                self.kprobes.push(AttachedKprobe {
                    program: name,
                    link,
                });
            }
        }
        Ok(())
    }

    /// Attaches what has become needed.
    pub fn keep_up(&mut self, needs: Needs) -> anyhow::Result<()> {
        if needs.attempts && !self.sees_attempts {
            self.begin_to_see_attempts()?;
        }
        self.guard_as_needed(needs)?;
        self.guard_where_missed().context("attach a guard")
    }

    fn guard_as_needed(&mut self, needs: Needs) -> Result<(), Error> {
        for watched in Watched::ALL {
            // What a guard sees alone would make up for what is missed later.
            if watched == Watched::Map && !self.beginning.is_empty() {
                continue;
            }
            if needs.guards || needs.nested_completions && watched == Watched::EndIo {
                self.guard(watched)?;
            }
        }
        Ok(())
    }

    /// An attempt that begins from now on and gives up unseen is a loss.
    fn expect_to_see_attempts(&self) -> anyhow::Result<()> {
        if self.tracing.iter().any(|it| it.sees_giving_up) {
            let now = kernel::clock(ClockId::Monotonic)?.as_nanos();
            let now = u64::try_from(now).context("the time since the boot")?;
            // SAFETY: a pointer to a field of a valid value, which the programs only read.
            unsafe {
                (&raw mut (*self.shared.value()).sees_giving_up_since).write_volatile(now);
            }
        }
        Ok(())
    }

    /// Attaches what sees them, and the guards of what such an attempt can interrupt on its CPU.
    fn see_attempts(&mut self) -> Result<(), Stop> {
        self.sees_attempts = true;
        self.attach_reserve(|it| it.hook.probe.when == When::WithOption)?;
        self.expect_to_see_attempts()
            .map_err(|error| Stop::Failed(error.into()))?;
        self.guard(Watched::VerifyIo)?;
        self.guard(Watched::FinishIo)?;
        Ok(())
    }

    /// The same while I/Os are watched: what the kernel refuses is a gap.
    fn begin_to_see_attempts(&mut self) -> Result<(), Error> {
        match self.see_attempts() {
            Ok(()) => return Ok(()),
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Refused(refusal)) => self.gaps.push(Gap {
                missing: refusal.probe.name,
                lost: "when an attempt gave up: every fallback is incomplete",
                why: refusal.sentence,
                remedy: refusal.is_full.then_some(MAKE_ROOM),
            }),
        }
        self.guard(Watched::VerifyIo)?;
        self.guard(Watched::FinishIo)
    }

    /// Attaches the guard of every program that has missed something.
    fn guard_where_missed(&mut self) -> anyhow::Result<()> {
        let mut missing = Vec::new();
        for attached in &self.tracing {
            if let Some(watched) = attached.watched
                && self.reserve.iter().any(|it| it.guards == Some(watched))
                && bpf::recursion_misses(attached.program.as_fd())? > 0
            {
                missing.push(watched);
            }
        }
        for watched in missing {
            self.guard(watched)?;
        }
        Ok(())
    }

    /// What goes unseen for want of a guard, once.
    pub fn take_gaps(&mut self) -> Vec<Gap> {
        mem::take(&mut self.gaps)
    }

    /// Attaches a guard that is not there yet. It is tried once: the kernel may refuse it.
    fn guard(&mut self, watched: Watched) -> Result<(), Error> {
        match self.attach_reserve(|it| it.guards == Some(watched)) {
            Err(Stop::Refused(refusal)) => {
                self.gaps.push(Gap {
                    missing: guard_name(watched),
                    lost: "what comes while its program runs on the same CPU: it is counted as recursion",
                    why: refusal.sentence,
                    remedy: refusal.is_full.then_some(MAKE_ROOM),
                });
                Ok(())
            }
            Err(Stop::Failed(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    fn attach_reserve(&mut self, is_it: impl Fn(&Reserve) -> bool) -> Result<(), Stop> {
        while let Some(index) = self.reserve.iter().position(&is_it) {
            let reserve = self.reserve.remove(index);
            let program = reserve.load()?;
            // First: what the guard sees is not to look like a loss to the program.
            self.set_guarded(reserve.guards, true);
            let attached = attach(program, &reserve.hook, reserve.name, None)
                .inspect_err(|_| self.set_guarded(reserve.guards, false))?;
            self.tracing.push(Attached {
                guards: reserve.guards,
                ..attached
            });
        }
        Ok(())
    }

    fn set_guarded(&self, watched: Option<Watched>, is_guarded: bool) {
        let Some(watched) = watched else { return };
        // SAFETY: a pointer to a field of a valid value, which the programs only read.
        unsafe {
            let guarded = &raw mut (*self.shared.value()).guarded;
            let others = guarded.read_volatile() & !watched.bit();
            guarded.write_volatile(others | if is_guarded { watched.bit() } else { 0 });
        }
    }

    /// Makes what every CPU remembers of slots void.
    pub fn begin_generation(&self) {
        // SAFETY: as in `set_guarded`.
        unsafe {
            let generation = &raw mut (*self.shared.value()).generation;
            generation.write_volatile(generation.read_volatile() + 1);
        }
    }

    /// How often no program was run because it was already running on that CPU, by what can have a guard.
    /// What is missed of the tracepoints shows as `incomplete`: most of it is not dm-verity's.
    pub fn missed(&self) -> anyhow::Result<[u64; Watched::COUNT]> {
        let mut missed = [0; Watched::COUNT];
        for attached in &self.tracing {
            if let Some(watched) = attached.watched {
                missed[watched as usize] += bpf::recursion_misses(attached.program.as_fd())?;
            }
        }
        Ok(missed)
    }

    /// The same of dm-verity's functions that have no guard.
    pub fn missed_unguarded(&self) -> anyhow::Result<u64> {
        let is_unguarded = |it: &&Attached| it.attachment == Attachment::Fentry && it.is_alone;
        let mut missed = 0;
        for attached in self.tracing.iter().filter(is_unguarded) {
            missed += bpf::recursion_misses(attached.program.as_fd())?;
        }
        Ok(missed)
    }

    /// How often a kprobe did not fire; absent where the kernel keeps it back.
    pub fn probe_misses(&self) -> anyhow::Result<Option<u64>> {
        let mut all = 0;
        for AttachedKprobe { link, .. } in &self.kprobes {
            let misses = link.as_ref().map(|link| bpf::kprobe_misses(link.as_fd()));
            let Some(misses) = misses.transpose()?.flatten() else {
                return Ok(None);
            };
            all += misses;
        }
        Ok(Some(all))
    }

    /// How often no kprobe program was run because another one was running on that CPU; 0 on the other
    /// rungs.
    pub fn missed_by_kprobes(&self, ebpf: &Ebpf) -> anyhow::Result<u64> {
        let mut missed = 0;
        for AttachedKprobe { program, .. } in &self.kprobes {
            let program: &KProbe = ebpf.program(program).context(*program)?.try_into()?;
            missed += bpf::recursion_misses(program.fd()?.as_fd())?;
        }
        Ok(missed)
    }

    /// Every program that is attached.
    pub fn list<'a>(&'a self, ebpf: &'a Ebpf) -> anyhow::Result<Vec<Program<'a>>> {
        let mut list: Vec<_> = self
            .tracing
            .iter()
            .map(|it| Program {
                name: it.name,
                attachment: it.attachment,
                fd: it.program.as_fd(),
            })
            .collect();
        for &AttachedKprobe { program: name, .. } in &self.kprobes {
            let program: &KProbe = ebpf.program(name).context(name)?.try_into()?;
            list.push(Program {
                name,
                attachment: Attachment::Kprobe,
                fd: program.fd()?.as_fd(),
            });
        }
        Ok(list)
    }

    /// Detaches the programs in the order that lets I/Os in flight finish unseen rather than begin.
    pub fn detach(&mut self) {
        for number in (0..self.tracing.len()).rev() {
            self.tracing[number].link = None;
            self.set_guarded(self.tracing[number].guards, false);
        }
    }
}

impl Reserve {
    fn of(
        object: &Object,
        hook: &Hook,
        name: &'static str,
        guards: Option<Watched>,
        place: &Place,
    ) -> anyhow::Result<Self> {
        let (instructions, license) = code(object, name)?;
        Ok(Self {
            hook: *hook,
            name,
            guards,
            instructions: instructions.to_vec(),
            license: license.clone(),
            place: place.clone(),
        })
    }

    fn load(&self) -> Result<OwnedFd, Stop> {
        let name = self.name;
        let loaded = bpf::load(&TracingProgram {
            name,
            instructions: &self.instructions,
            license: &self.license,
            attach_type: self.place.attach_type,
            attach_btf_id: self.place.attach_btf_id,
            module: self.place.module.as_deref().map(OwnedFd::as_fd),
        });
        loaded.map_err(|error| {
            not_permitted(name, &error).map_or_else(
                || refused(self.hook.probe, format!("load the program {name}: {error}")),
                Stop::Failed,
            )
        })
    }
}

/// Where the tracing programs of a hook attach; absent for kprobes.
fn place(
    types: &Types,
    hook: &Hook,
    module: Option<&Arc<OwnedFd>>,
) -> anyhow::Result<Option<Place>> {
    let target = hook.probe.target;
    let function = || {
        types
            .function(target)
            .with_context(|| format!("the BTF of {target} is gone"))
    };
    let (attach_type, FunctionType { id, in_module }) = match hook.probe.kind {
        ProbeKind::TpBtf => {
            let id = types
                .tracepoint(target)
                .with_context(|| format!("the BTF of {target} is gone"))?;
            let in_module = false;
            (BPF_TRACE_RAW_TP, FunctionType { id, in_module })
        }
        ProbeKind::Fentry => (BPF_TRACE_FENTRY, function()?),
        ProbeKind::Fexit => (BPF_TRACE_FEXIT, function()?),
        ProbeKind::Kprobe => return Ok(None),
    };
    Ok(Some(Place {
        attach_type,
        attach_btf_id: id,
        module: module.filter(|_| in_module).cloned(),
    }))
}

/// Loads a kprobe's program, which stays with aya.
fn load_kprobe(ebpf: &mut Ebpf, hook: &Hook, name: &'static str) -> Result<(), Stop> {
    let program = ebpf.program_mut(name).context(name)?;
    let program: &mut KProbe = program.try_into().context(name)?;
    program
        .load()
        .map_err(|error| refused(hook.probe, refusal(name, &error)))
}

/// A lack of privilege, which is no fact about the kernel.
pub(super) fn not_permitted(name: &str, error: &std::io::Error) -> Option<Error> {
    (error.raw_os_error() == Some(libc::EPERM)).then(|| {
        Error::NotPermitted(format!(
            "load the program {name}: {error}; run as root, outside of a container"
        ))
    })
}

/// Loads a tracing program of an object that [`relocated`] returned.
pub fn load_tracing(
    object: &Object,
    name: &str,
    attach_type: bpf_attach_type,
    attach_btf_id: u32,
    module: Option<BorrowedFd<'_>>,
) -> anyhow::Result<std::io::Result<OwnedFd>> {
    let (instructions, license) = code(object, name)?;
    Ok(bpf::load(&TracingProgram {
        name,
        instructions,
        license,
        attach_type,
        attach_btf_id,
        module,
    }))
}

/// The instructions of a program, and its licence.
fn code<'a>(object: &'a Object, name: &str) -> anyhow::Result<(&'a [bpf_insn], &'a CString)> {
    let program = object
        .programs
        .get(name)
        .with_context(|| format!("the object has no program {name}"))?;
    let function = object
        .functions
        .get(&program.function_key())
        .with_context(|| format!("the program {name} has no instructions"))?;
    Ok((&function.instructions, &program.license))
}

fn attach(
    program: OwnedFd,
    hook: &Hook,
    name: &'static str,
    watched: Option<Watched>,
) -> Result<Attached, Stop> {
    let link = bpf::attach(program.as_fd()).map_err(|error| {
        Stop::Refused(Refusal {
            probe: hook.probe,
            is_full: error.raw_os_error() == Some(libc::E2BIG),
            sentence: format!("attach to {}: {error}", hook.probe.target),
        })
    })?;
    let sees_giving_up = hook.probe.name == VERIFY_EXIT;
    Ok(Attached {
        link: Some(link),
        program,
        name,
        attachment: match hook.probe.kind {
            ProbeKind::TpBtf => Attachment::TpBtf,
            ProbeKind::Fentry | ProbeKind::Fexit => Attachment::Fentry,
            ProbeKind::Kprobe => Attachment::Kprobe,
        },
        watched,
        guards: None,
        sees_giving_up,
        // Most verifications do not give up: another program counts those that gave up unseen.
        is_alone: hook.guard.is_none() && !sees_giving_up,
    })
}

/// What a guard is called where it is missing.
const fn guard_name(watched: Watched) -> &'static str {
    match watched {
        Watched::Map => "verity_map guard",
        Watched::EndIo => "verity_end_io guard",
        Watched::VerifyIo => "verity_verify_io guard",
        Watched::FinishIo => "verity_finish_io guard",
    }
}

/// Returns the link, where there is one.
fn attach_kprobe(ebpf: &mut Ebpf, hook: &Hook, name: &str) -> Result<Option<OwnedFd>, Stop> {
    let function = hook.probe.target;
    let program = ebpf.program_mut(name).context(name.to_owned())?;
    let program: &mut KProbe = program.try_into().context(name.to_owned())?;
    // The bare name may be another module's function.
    program
        .attach(format!("dm_verity:{function}"), 0)
        .or_else(|_| program.attach(function, 0))
        .map_err(|error| {
            let kind = hook.probe.kind.name();
            refused(
                hook.probe,
                format!("attach a {kind} to {function}: {error}"),
            )
        })?;
    let program = program.fd().context(name.to_owned())?.as_fd();
    Ok(bpf::link_of(program).context("find a kprobe's link")?)
}

fn refused(probe: Probe, sentence: String) -> Stop {
    Stop::Refused(Refusal {
        probe,
        is_full: false,
        sentence,
    })
}

/// aya's error carries the whole log of the verifier.
fn refusal(name: &str, error: &ProgramError) -> String {
    let reason = match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => format!("{io_error} ({})", bpf::verdict(&verifier_log.to_string())),
        other => other.to_string(),
    };
    format!("load the program {name}: {reason}")
}

/// The object parsed again, with the maps that aya created: what aya loads by itself cannot attach
/// to a module's function.
pub fn relocated(ebpf: &Ebpf, bytes: &[u8], types: &Types) -> anyhow::Result<Object> {
    let mut object = Object::parse(bytes).context("parse the kernel programs")?;
    let text: HashSet<usize> = object
        .functions
        .keys()
        .map(|&(section, _)| section)
        .collect();
    let parsed = object.maps.clone();
    let mut maps = Vec::new();
    for (name, map) in &parsed {
        let created = ebpf.map(name).with_context(|| format!("map {name}"))?;
        maps.push((name.as_str(), map_fd(created)?, map));
    }
    object.relocate_maps(maps.into_iter(), &text)?;
    object.relocate_calls(&text)?;
    // In the order of the functions' names.
    let calls = [
        PREEMPT_DISABLE_CALL,
        PREEMPT_ENABLE_CALL,
        IRQ_SAVE_CALL,
        IRQ_RESTORE_CALL,
    ];
    // Without one of them the others only move the moment at which a task gives way.
    let are_there = PREEMPTION_FUNCTIONS
        .iter()
        .all(|name| types.kernel_function(name).is_some());
    for (placeholder, name) in calls.into_iter().zip(PREEMPTION_FUNCTIONS) {
        let kernel_function = types.kernel_function(name).filter(|_| are_there);
        for function in object.functions.values_mut() {
            for instruction in &mut function.instructions {
                replace_call(instruction, placeholder, kernel_function);
            }
        }
    }
    if let Some(cast) = types.kernel_function(CAST) {
        for function in object.functions.values_mut() {
            for instruction in &mut function.instructions {
                replace_call(instruction, CAST_CALL, Some(cast));
            }
        }
    }
    for (placeholder, name) in [
        (IN_FLIGHT_VALUE, "IN_FLIGHT"),
        (CPUS_VALUE, "CPUS"),
        (SHARED_VALUE, "SHARED"),
    ] {
        let map = map_fd(ebpf.map(name).with_context(|| format!("map {name}"))?)?;
        for function in object.functions.values_mut() {
            replace_load(
                &mut function.instructions,
                placeholder,
                PSEUDO_MAP_VALUE,
                map,
            );
        }
    }
    for (placeholder, name) in [
        (IRQ_REGS, facts::IRQ_REGS),
        (BH_WORKER_POOLS, facts::BH_WORKER_POOLS),
    ] {
        if let Some(variable) = types.variable(name) {
            for function in object.functions.values_mut() {
                let variable = variable.cast_signed();
                replace_load(
                    &mut function.instructions,
                    placeholder,
                    PSEUDO_BTF_ID,
                    variable,
                );
            }
        }
    }
    Ok(object)
}

/// Makes the load of a placeholder one of an address: of a variable in the kernel's BTF, or of the
/// only value of a map.
fn replace_load(instructions: &mut [bpf_insn], placeholder: i32, kind: u8, what: i32) {
    for instruction in instructions {
        let is_load = instruction.code == LOAD_IMMEDIATE && instruction.src_reg() == 0;
        if is_load && instruction.imm == placeholder {
            instruction.set_src_reg(kind);
            instruction.imm = what;
        }
    }
}

/// Makes the call of a placeholder one of a kernel function, or nothing where there is none.
fn replace_call(instruction: &mut bpf_insn, placeholder: i32, kernel_function: Option<u32>) {
    let is_helper_call = u32::from(instruction.code) == BPF_JMP | BPF_CALL;
    if !is_helper_call || instruction.src_reg() != 0 || instruction.imm != placeholder {
        return;
    }
    if let Some(id) = kernel_function {
        instruction.set_src_reg(PSEUDO_KFUNC_CALL);
        instruction.imm = id.cast_signed();
    } else {
        // A jump to the next instruction, which the kernel leaves out.
        instruction.code = JUMP;
        instruction.imm = 0;
    }
}

fn map_fd(map: &Map) -> anyhow::Result<RawFd> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::Queue(data)
        | Map::RingBuf(data) => Ok(data.fd().as_fd().as_raw_fd()),
        other => Err(anyhow!(
            "the programs have a map of an unexpected kind: {other:?}"
        )),
    }
}
