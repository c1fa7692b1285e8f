//! Which programs are loaded, what they attach to, and in which order.

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
use verity_trace_ebpf::counters::Hook;
use verity_trace_ebpf::settings::{
    IRQ_REGS, IRQ_RESTORE_CALL, IRQ_SAVE_CALL, PREEMPT_DISABLE_CALL, PREEMPT_ENABLE_CALL,
};

use crate::cost::Attachment;
use crate::error::{Error, Result};
use crate::kernel::{FunctionType, Types};
use crate::live::bpf::{self, TracingProgram};
use crate::live::statistics::Program;
use crate::snapshot::{Era, Rung};

/// `BPF_PSEUDO_KFUNC_CALL`, include/uapi/linux/bpf.h.
const PSEUDO_KFUNC_CALL: u8 = 2;

/// `BPF_LD | BPF_IMM | BPF_DW`, include/uapi/linux/bpf.h.
const LOAD_IMMEDIATE: u8 = 0x18;

/// `BPF_PSEUDO_BTF_ID`, include/uapi/linux/bpf.h.
const PSEUDO_BTF_ID: u8 = 3;

/// The registers of the interrupt that a CPU handles (`lib/irq_regs.c`).
pub const IRQ_REGS_VARIABLE: &str = "__irq_regs";

/// `BPF_ALU64 | BPF_MOV | BPF_K`, include/uapi/linux/bpf.h.
const MOVE_IMMEDIATE: u8 = 0xb7;

/// Tracepoints of the kernel itself; the program for each has its name.
const TRACEPOINTS: [&str; 3] = ["softirq_entry", "softirq_exit", "workqueue_queue_work"];

/// A program for a function of dm-verity.
struct FunctionProgram {
    function: &'static str,
    name: &'static str,
    attach_type: bpf_attach_type,
    /// Set on the first of several copies: what it misses the others take over.
    first_of: Option<Hook>,
}

impl FunctionProgram {
    const fn new(function: &'static str, name: &'static str) -> Self {
        Self {
            function,
            name,
            attach_type: BPF_TRACE_FENTRY,
            first_of: None,
        }
    }

    const fn first(function: &'static str, hook: Hook) -> Self {
        Self {
            first_of: Some(hook),
            ..Self::new(function, function)
        }
    }
}

/// In the order of attaching: the end of an I/O's life first, so that every I/O whose beginning is
/// seen is seen to its end; and the last copy first, since the kernel runs the programs of a function
/// in the reverse order (`hlist_add_head` in `__bpf_trampoline_link_prog`,
/// kernel/bpf/trampoline.c).
const FUNCTIONS: [FunctionProgram; 9] = [
    FunctionProgram::new("verity_finish_io", "verity_finish_io_second"),
    FunctionProgram::first("verity_finish_io", Hook::FinishIo),
    FunctionProgram::new("verity_verify_io", "verity_verify_io_second"),
    FunctionProgram::first("verity_verify_io", Hook::VerifyIo),
    FunctionProgram::new("verity_end_io", "verity_end_io_second"),
    FunctionProgram::first("verity_end_io", Hook::EndIo),
    FunctionProgram {
        attach_type: BPF_TRACE_FEXIT,
        ..FunctionProgram::new("verity_map", "verity_map_exit")
    },
    FunctionProgram::new("verity_map", "verity_map_second"),
    FunctionProgram::first("verity_map", Hook::Map),
];

/// For functions that run only when a hash did not match, or a block could not be read; where one of
/// them cannot be watched none is.
const MISMATCHES: [FunctionProgram; 2] = [
    FunctionProgram::new("verity_recheck", "verity_recheck"),
    FunctionProgram {
        attach_type: BPF_TRACE_FEXIT,
        ..FunctionProgram::new("verity_fec_decode", "verity_fec_decode_exit")
    },
];

/// Functions and the programs for a kprobe or kretprobe there, in the order of attaching.
const KPROBES: [(&str, &str); 5] = [
    ("verity_finish_io", "verity_finish_io_kprobe"),
    ("verity_verify_io", "verity_verify_io_kprobe"),
    ("verity_end_io", "verity_end_io_kprobe"),
    ("verity_map", "verity_map_kretprobe"),
    ("verity_map", "verity_map_kprobe"),
];

/// A loaded tracing program and, while it is attached, its link.
struct Attached {
    // The link goes first: a program without a link is not run any more.
    link: Option<OwnedFd>,
    program: OwnedFd,
    name: &'static str,
    attachment: Attachment,
    first_of: Option<Hook>,
}

/// Every program that is attached. Dropping it detaches and unloads them all.
pub struct Programs {
    tracing: Vec<Attached>,
    /// How dm-verity's functions are watched.
    pub rung: Rung,
}

/// A queued work is the end of an attempt that gave up, and tells BH from inline. Where the kernel
/// attempts nothing in softirq, no other subsystem's work has to pay for it.
fn is_wanted(tracepoint: &str, era: Era) -> bool {
    tracepoint != "workqueue_queue_work" || era.can_attempt()
}

impl Programs {
    /// Loads and attaches all of them: `forced` is the only rung that is tried, else fentry and,
    /// where that cannot be had, kprobes.
    pub fn attach(
        ebpf: &mut Ebpf,
        object: &[u8],
        types: &Types,
        forced: Option<Rung>,
    ) -> Result<Self> {
        let object = relocated(ebpf, object, types)?;
        let mut tracing = Vec::new();
        let era = types.era();
        for tracepoint in TRACEPOINTS {
            if !is_wanted(tracepoint, era) {
                continue;
            }
            let id = types.tracepoint(tracepoint)?;
            let program = load(&object, tracepoint, BPF_TRACE_RAW_TP, id, None)
                .with_context(|| format!("load the program for the tracepoint {tracepoint}"))
                .map_err(|error| permission(&error))?;
            let attached = attach(tracepoint, Attachment::TpBtf, program, None)
                .with_context(|| format!("attach to the tracepoint {tracepoint}"))?;
            tracing.push(attached);
        }
        let rung = match forced {
            Some(Rung::Kprobe) => {
                attach_kprobes(ebpf)?;
                Rung::Kprobe
            }
            Some(Rung::Fentry) => {
                tracing.extend(attach_fentry(&object, types)?);
                Rung::Fentry
            }
            None => match attach_fentry(&object, types) {
                Ok(hooks) => {
                    tracing.extend(hooks);
                    Rung::Fentry
                }
                Err(fentry) => {
                    attach_kprobes(ebpf).map_err(|kprobe| {
                        Error::Kernel(format!(
                            "this kernel can watch dm-verity's functions neither by fentry \
                             ({fentry}) nor by kprobe ({kprobe})"
                        ))
                    })?;
                    Rung::Kprobe
                }
            },
        };
        Ok(Self { tracing, rung })
    }

    /// How often no program was run because it was already running on that CPU: of first copies,
    /// by [`Hook`]. What is missed of the tracepoints shows as `incomplete`: most of it is not
    /// dm-verity's.
    pub fn missed(&self) -> anyhow::Result<[u64; Hook::COUNT]> {
        let mut missed = [0; Hook::COUNT];
        for attached in &self.tracing {
            if let Some(hook) = attached.first_of {
                missed[hook as usize] += bpf::recursion_misses(attached.program.as_fd())?;
            }
        }
        Ok(missed)
    }

    /// The same of kprobe programs, which have one copy each; 0 on the other rung.
    pub fn missed_by_kprobes(&self, ebpf: &Ebpf) -> anyhow::Result<u64> {
        if self.rung != Rung::Kprobe {
            return Ok(0);
        }
        let mut missed = 0;
        for (_, name) in KPROBES {
            let program: &KProbe = ebpf.program(name).context(name)?.try_into()?;
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
        if self.rung == Rung::Kprobe {
            for (_, name) in KPROBES {
                let program: &KProbe = ebpf.program(name).context(name)?.try_into()?;
                list.push(Program {
                    name,
                    attachment: Attachment::Kprobe,
                    fd: program.fd()?.as_fd(),
                });
            }
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

fn attach_fentry(object: &Object, types: &Types) -> Result<Vec<Attached>> {
    let module = FUNCTIONS
        .iter()
        .filter_map(|program| types.function(program.function))
        .any(|function| function.in_module)
        .then(|| bpf::module_btf("dm_verity"))
        .transpose()
        .context("find the BTF of the module dm_verity")?;
    let no_memory = FunctionProgram {
        attach_type: BPF_TRACE_FEXIT,
        ..FunctionProgram::new("verity_verify_io", "verity_verify_io_exit")
    };
    let allocates = types.era().can_attempt() && types.attempts_allocate();
    let wanted = allocates
        .then_some(&no_memory)
        .into_iter()
        .chain(MISMATCHES.iter().filter(|_| types.sees_mismatch()))
        .chain(&FUNCTIONS);
    let mut loaded = Vec::new();
    for program in wanted {
        let FunctionType { id, in_module } = types.function(program.function).ok_or_else(|| {
            Error::Kernel(format!(
                "the kernel's BTF has no function {}",
                program.function
            ))
        })?;
        let module = module.as_ref().filter(|_| in_module).map(OwnedFd::as_fd);
        let fd = load(object, program.name, program.attach_type, id, module)
            .with_context(|| format!("load the fentry program {}", program.name))
            .map_err(|error| permission(&error))?;
        loaded.push((program, fd));
    }
    let mut attached = Vec::new();
    for (program, fd) in loaded {
        attached.push(
            attach(program.name, Attachment::Fentry, fd, program.first_of).map_err(|error| {
                Error::Kernel(format!("attach to {}: {error}", program.function))
            })?,
        );
    }
    Ok(attached)
}

fn attach_kprobes(ebpf: &mut Ebpf) -> Result<()> {
    for (function, name) in KPROBES {
        let program = ebpf.program_mut(name).context(name)?;
        let program: &mut KProbe = program.try_into().context(name)?;
        program.load().map_err(|error| refusal(name, &error))?;
        // The bare name may be another module's function.
        program
            .attach(format!("dm_verity:{function}"), 0)
            .or_else(|_| program.attach(function, 0))
            .map_err(|error| Error::Kernel(format!("attach a kprobe to {function}: {error}")))?;
    }
    Ok(())
}

/// aya's error carries the whole log of the verifier.
fn refusal(name: &str, error: &ProgramError) -> Error {
    let reason = match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => format!("{io_error} ({})", bpf::verdict(&verifier_log.to_string())),
        other => other.to_string(),
    };
    Error::Kernel(format!("load the kprobe program {name}: {reason}"))
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
    let calls = [
        (PREEMPT_DISABLE_CALL, "bpf_preempt_disable"),
        (PREEMPT_ENABLE_CALL, "bpf_preempt_enable"),
        (IRQ_SAVE_CALL, "bpf_local_irq_save"),
        (IRQ_RESTORE_CALL, "bpf_local_irq_restore"),
    ];
    // Without one of them the others only move the moment at which a task gives way.
    let are_there = calls
        .iter()
        .all(|(_, name)| types.kernel_function(name).is_some());
    for (placeholder, name) in calls {
        let kernel_function = types.kernel_function(name).filter(|_| are_there);
        for function in object.functions.values_mut() {
            for instruction in &mut function.instructions {
                replace_call(instruction, placeholder, kernel_function);
            }
        }
    }
    if let Some(variable) = types.variable(IRQ_REGS_VARIABLE) {
        for function in object.functions.values_mut() {
            replace_variable(&mut function.instructions, IRQ_REGS, variable);
        }
    }
    Ok(object)
}

/// Makes the load of a placeholder one of the address of a variable in the kernel's BTF.
fn replace_variable(instructions: &mut [bpf_insn], placeholder: i32, variable: i32) {
    for instruction in instructions {
        let is_load = instruction.code == LOAD_IMMEDIATE && instruction.src_reg() == 0;
        if is_load && instruction.imm == placeholder {
            instruction.set_src_reg(PSEUDO_BTF_ID);
            instruction.imm = variable;
        }
    }
}

/// Makes the call of a placeholder one of a kernel function, or nothing where there is none.
fn replace_call(instruction: &mut bpf_insn, placeholder: i32, kernel_function: Option<i32>) {
    let is_helper_call = u32::from(instruction.code) == BPF_JMP | BPF_CALL;
    if !is_helper_call || instruction.src_reg() != 0 || instruction.imm != placeholder {
        return;
    }
    if let Some(id) = kernel_function {
        instruction.set_src_reg(PSEUDO_KFUNC_CALL);
        instruction.imm = id;
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

pub(super) fn load(
    object: &Object,
    name: &str,
    attach_type: bpf_attach_type,
    attach_btf_id: u32,
    module: Option<BorrowedFd<'_>>,
) -> anyhow::Result<OwnedFd> {
    let program = object
        .programs
        .get(name)
        .context("it is not in the object")?;
    let function = object
        .functions
        .get(&program.function_key())
        .context("it has no instructions")?;
    Ok(bpf::load(&TracingProgram {
        name,
        instructions: &function.instructions,
        license: &program.license,
        attach_type,
        attach_btf_id,
        module,
    })?)
}

fn attach(
    name: &'static str,
    attachment: Attachment,
    program: OwnedFd,
    first_of: Option<Hook>,
) -> std::io::Result<Attached> {
    let link = bpf::attach(program.as_fd())?;
    Ok(Attached {
        link: Some(link),
        program,
        name,
        attachment,
        first_of,
    })
}

/// A refusal for lack of privilege is the user's to mend; any other is the kernel's.
pub(super) fn permission(error: &anyhow::Error) -> Error {
    let denied = error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.raw_os_error() == Some(libc::EPERM));
    if denied {
        Error::NotPermitted(format!(
            "{error:#}; run as root, and on a kernel whose lockdown is not `confidentiality`"
        ))
    } else {
        Error::Kernel(format!("{error:#}"))
    }
}
