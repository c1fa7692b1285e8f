//! Loads and attaches the programs of a plan.

use std::collections::HashSet;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use anyhow::{Context as _, anyhow};
use aya::Ebpf;
use aya::maps::Map;
use aya::programs::{KProbe, ProgramError};
use aya_obj::Object;
use aya_obj::generated::bpf_attach_type::{
    self, BPF_TRACE_FENTRY, BPF_TRACE_FEXIT, BPF_TRACE_RAW_TP,
};
use aya_obj::generated::{BPF_CALL, BPF_JMP, bpf_insn};
use verity_trace_ebpf::counters::Hook as WatchedTwice;
use verity_trace_ebpf::settings::{
    BH_WORKER_POOLS, IRQ_REGS, IRQ_RESTORE_CALL, IRQ_SAVE_CALL, PREEMPT_DISABLE_CALL,
    PREEMPT_ENABLE_CALL,
};

use crate::cost::Attachment;
use crate::error::Error;
use crate::kernel::{FunctionType, Types};
use crate::live::bpf::{self, TracingProgram};
use crate::live::statistics::Program;
use crate::plan::facts::{self, PREEMPTION_FUNCTIONS};
use crate::plan::{Hook, Plan, Refusal};
use crate::snapshot::{Probe, ProbeKind};

/// `BPF_PSEUDO_KFUNC_CALL`, include/uapi/linux/bpf.h.
const PSEUDO_KFUNC_CALL: u8 = 2;

/// `BPF_LD | BPF_IMM | BPF_DW`, include/uapi/linux/bpf.h.
const LOAD_IMMEDIATE: u8 = 0x18;

/// `BPF_PSEUDO_BTF_ID`, include/uapi/linux/bpf.h.
const PSEUDO_BTF_ID: u8 = 3;

/// `BPF_ALU64 | BPF_MOV | BPF_K`, include/uapi/linux/bpf.h.
const MOVE_IMMEDIATE: u8 = 0xb7;

/// A loaded tracing program and, while it is attached, its link.
struct Attached {
    // The link goes first: a program without a link is not run any more.
    link: Option<OwnedFd>,
    program: OwnedFd,
    name: &'static str,
    attachment: Attachment,
    /// Set on the first of several copies: what it misses the others take over.
    first_of: Option<WatchedTwice>,
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
    /// Loads and attaches what a plan names. When the kernel refuses any of it, nothing stays.
    pub fn attach(
        ebpf: &mut Ebpf,
        object: &[u8],
        types: &Types,
        plan: &Plan,
    ) -> Result<Self, Stop> {
        let object = relocated(ebpf, object, types)?;
        let module = plan
            .hooks
            .iter()
            .filter_map(|hook| types.function(hook.probe.target))
            .any(|function| function.in_module)
            .then(|| bpf::module_btf("dm_verity"))
            .transpose()
            .context("find the BTF of the module dm_verity")?;
        // All are loaded before the first is attached, so that these are attached at about one time.
        let mut loaded = Vec::new();
        for hook in &plan.hooks {
            for &name in hook.programs {
                loaded.push((
                    hook,
                    name,
                    load(ebpf, &object, types, module.as_ref(), hook, name)?,
                ));
            }
        }
        let mut programs = Self {
            tracing: Vec::new(),
            kprobes: Vec::new(),
        };
        for (hook, name, program) in loaded {
            if let Some(program) = program {
                programs.tracing.push(attach(program, hook, name)?);
            } else {
                let link = attach_kprobe(ebpf, hook, name)?;
                programs.kprobes.push(AttachedKprobe {
                    program: name,
                    link,
                });
            }
        }
        Ok(programs)
    }

    /// How often no program was run because it was already running on that CPU: of first copies,
    /// by [`WatchedTwice`]. What is missed of the tracepoints shows as `incomplete`: most of it is not
    /// dm-verity's.
    pub fn missed(&self) -> anyhow::Result<[u64; WatchedTwice::COUNT]> {
        let mut missed = [0; WatchedTwice::COUNT];
        for attached in &self.tracing {
            if let Some(hook) = attached.first_of {
                missed[hook as usize] += bpf::recursion_misses(attached.program.as_fd())?;
            }
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
        for attached in self.tracing.iter_mut().rev() {
            attached.link = None;
        }
    }
}

/// Loads one program of a hook; a kprobe's stays with aya.
fn load(
    ebpf: &mut Ebpf,
    object: &Object,
    types: &Types,
    module: Option<&OwnedFd>,
    hook: &Hook,
    name: &'static str,
) -> Result<Option<OwnedFd>, Stop> {
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
        ProbeKind::Kprobe | ProbeKind::Kretprobe => {
            let program = ebpf.program_mut(name).context(name)?;
            let program: &mut KProbe = program.try_into().context(name)?;
            return match program.load() {
                Ok(()) => Ok(None),
                Err(error) => Err(refused(hook.probe, refusal(name, &error))),
            };
        }
    };
    let module = module.filter(|_| in_module).map(OwnedFd::as_fd);
    match load_tracing(object, name, attach_type, id, module)? {
        Ok(program) => Ok(Some(program)),
        Err(error) => Err(not_permitted(name, &error).map_or_else(
            || refused(hook.probe, format!("load the program {name}: {error}")),
            Stop::Failed,
        )),
    }
}

/// A lack of privilege, which is no fact about the kernel.
pub(super) fn not_permitted(name: &str, error: &std::io::Error) -> Option<Error> {
    (error.raw_os_error() == Some(libc::EPERM)).then(|| {
        Error::NotPermitted(format!(
            "load the program {name}: {error}; run as root, outside of a container"
        ))
    })
}

pub(super) fn load_tracing(
    object: &Object,
    name: &str,
    attach_type: bpf_attach_type,
    attach_btf_id: u32,
    module: Option<BorrowedFd<'_>>,
) -> anyhow::Result<std::io::Result<OwnedFd>> {
    let program = object
        .programs
        .get(name)
        .with_context(|| format!("the object has no program {name}"))?;
    let function = object
        .functions
        .get(&program.function_key())
        .with_context(|| format!("the program {name} has no instructions"))?;
    Ok(bpf::load(&TracingProgram {
        name,
        instructions: &function.instructions,
        license: &program.license,
        attach_type,
        attach_btf_id,
        module,
    }))
}

fn attach(program: OwnedFd, hook: &Hook, name: &'static str) -> Result<Attached, Stop> {
    let link = bpf::attach(program.as_fd()).map_err(|error| {
        Stop::Refused(Refusal {
            probe: hook.probe,
            is_full: error.raw_os_error() == Some(libc::E2BIG),
            sentence: format!("attach to {}: {error}", hook.probe.target),
        })
    })?;
    Ok(Attached {
        link: Some(link),
        program,
        name,
        attachment: match hook.probe.kind {
            ProbeKind::TpBtf => Attachment::TpBtf,
            ProbeKind::Fentry | ProbeKind::Fexit => Attachment::Fentry,
            ProbeKind::Kprobe | ProbeKind::Kretprobe => Attachment::Kprobe,
        },
        first_of: first_of(name),
    })
}

/// What the first of two copies watches.
fn first_of(program: &str) -> Option<WatchedTwice> {
    match program {
        "verity_map" => Some(WatchedTwice::Map),
        "verity_end_io" => Some(WatchedTwice::EndIo),
        "verity_verify_io" => Some(WatchedTwice::VerifyIo),
        "verity_finish_io" => Some(WatchedTwice::FinishIo),
        _ => None,
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
pub(super) fn relocated(ebpf: &Ebpf, bytes: &[u8], types: &Types) -> anyhow::Result<Object> {
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
    for (placeholder, name) in [
        (IRQ_REGS, facts::IRQ_REGS),
        (BH_WORKER_POOLS, facts::BH_WORKER_POOLS),
    ] {
        if let Some(variable) = types.variable(name) {
            for function in object.functions.values_mut() {
                replace_variable(&mut function.instructions, placeholder, variable);
            }
        }
    }
    Ok(object)
}

/// Makes the load of a placeholder one of the address of a variable in the kernel's BTF.
fn replace_variable(instructions: &mut [bpf_insn], placeholder: i32, variable: u32) {
    for instruction in instructions {
        let is_load = instruction.code == LOAD_IMMEDIATE && instruction.src_reg() == 0;
        if is_load && instruction.imm == placeholder {
            instruction.set_src_reg(PSEUDO_BTF_ID);
            instruction.imm = variable.cast_signed();
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
        // r0 = 0: nobody reads it.
        instruction.code = MOVE_IMMEDIATE;
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
