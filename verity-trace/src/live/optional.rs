//! Programs that are attached only when their view is asked for, by fentry and tracepoints alone.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::Context as _;
use aya::Ebpf;
use aya_obj::Object;
use aya_obj::generated::bpf_attach_type::{
    self, BPF_TRACE_FENTRY, BPF_TRACE_FEXIT, BPF_TRACE_RAW_TP,
};

use crate::cost::Attachment;
use crate::error::{Error, Result};
use crate::kernel::{FunctionType, Types};
use crate::live::bpf;
use crate::live::programs::{load_tracing, not_permitted, relocated};
use crate::live::statistics::Program;
use crate::snapshot::{Gap, Rung};

/// Where the function is that a program attaches to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    /// dm-verity.
    Verity,
    /// dm-bufio.
    Bufio,
    /// The kernel itself.
    Kernel,
    /// The kernel's tracepoint of this name.
    Tracepoint,
}

/// A program, and where it attaches.
struct Probe {
    name: &'static str,
    home: Home,
    function: &'static str,
    attach_type: bpf_attach_type,
}

/// The programs about the cache of hash blocks, in the order of attaching: what tells a hit from a miss
/// is there before the first look-up is followed.
fn hash_cache(types: &Types) -> Vec<Probe> {
    // What dm-verity calls: the other since Linux 6.9.
    let read = ["dm_bufio_read_with_ioprio", "dm_bufio_read"]
        .into_iter()
        .find(|name| types.bufio_function(name).is_some())
        .unwrap_or("dm_bufio_read");
    let probe = |name, home, function| Probe {
        name,
        home,
        function,
        attach_type: BPF_TRACE_FENTRY,
    };
    vec![
        probe("hash_read_submitted", Home::Bufio, "submit_io"),
        probe("hash_read_awaited", Home::Kernel, "out_of_line_wait_on_bit"),
        Probe {
            attach_type: BPF_TRACE_FEXIT,
            ..probe("hash_read_end", Home::Bufio, read)
        },
        probe("hash_read_begin", Home::Bufio, read),
        Probe {
            attach_type: BPF_TRACE_FEXIT,
            ..probe("hash_get", Home::Bufio, "dm_bufio_get")
        },
        probe("hash_cache_verify", Home::Verity, "verity_verify_io"),
    ]
}

/// The programs about softirqs and workqueues, in the order of attaching.
fn queues() -> Vec<Probe> {
    let probe = |name, function| Probe {
        name,
        home: Home::Tracepoint,
        function,
        attach_type: BPF_TRACE_RAW_TP,
    };
    vec![
        probe("queues_softirq_exit", "softirq_exit"),
        probe("queues_softirq_entry", "softirq_entry"),
        probe("queues_execute_end", "workqueue_execute_end"),
        probe("queues_execute_start", "workqueue_execute_start"),
    ]
}

/// A view that costs where nobody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The cache of hash blocks.
    HashCache,
    /// Softirqs and workqueues in detail.
    Queues,
    /// Who submits I/Os, which other programs count.
    Submitters,
}

impl View {
    /// The option of the command line that asks for it.
    const fn flag(self) -> &'static str {
        match self {
            Self::HashCache => "--hash-cache",
            Self::Queues => "--queues",
            Self::Submitters => "--submitters",
        }
    }

    /// What is not seen of it on a rung; absent where all of it is.
    pub fn gap(self, rung: Rung) -> Option<Gap> {
        let (is_seen, lost, needed) = match self {
            Self::HashCache => (
                rung == Rung::Fentry,
                "hits and misses of hash blocks, and the time that verifications wait for them",
                "fentry",
            ),
            Self::Queues => (
                rung != Rung::Tracepoint,
                "softirqs and workqueues in detail",
                "fentry or kprobe",
            ),
            Self::Submitters => (
                rung != Rung::Tracepoint,
                "the processes that submit I/Os",
                "fentry or kprobe",
            ),
        };
        (!is_seen).then(|| Gap {
            missing: self.flag(),
            lost,
            why: format!("the rung is {}, and it needs {needed}", rung.name()),
            remedy: None,
        })
    }

    fn probes(self, types: &Types) -> Vec<Probe> {
        match self {
            Self::HashCache => hash_cache(types),
            Self::Queues => queues(),
            Self::Submitters => Vec::new(),
        }
    }
}

struct Attached {
    view: View,
    // The link goes first: a program without a link is not run any more.
    _link: OwnedFd,
    program: OwnedFd,
    name: &'static str,
    attachment: Attachment,
}

/// Every optional program that is attached. Dropping it detaches and unloads them all.
#[derive(Default)]
pub struct Optional(Vec<Attached>);

impl Optional {
    /// Loads and attaches the programs of some views.
    pub fn attach(ebpf: &mut Ebpf, object: &[u8], types: &Types, views: &[View]) -> Result<Self> {
        if views.is_empty() {
            return Ok(Self::default());
        }
        let object = relocated(ebpf, object, types)?;
        let mut attached = Vec::new();
        for &view in views {
            for probe in view.probes(types) {
                attached.push(attach(&object, types, view, &probe)?);
            }
        }
        Ok(Self(attached))
    }

    /// Every program that is attached.
    pub fn list(&self) -> impl Iterator<Item = Program<'_>> {
        self.0.iter().map(|it| Program {
            name: it.name,
            attachment: it.attachment,
            fd: it.program.as_fd(),
        })
    }

    /// How often the kernel did not run one of a view because it was already running on that CPU.
    pub fn missed(&self, view: View) -> anyhow::Result<u64> {
        let mut missed = 0;
        for attached in self.0.iter().filter(|it| it.view == view) {
            missed += bpf::recursion_misses(attached.program.as_fd())?;
        }
        Ok(missed)
    }
}

fn attach(object: &Object, types: &Types, view: View, probe: &Probe) -> Result<Attached> {
    let (function, flag) = (probe.function, view.flag());
    let FunctionType { id, in_module } = probe.found(types).ok_or_else(|| {
        Error::Kernel(format!(
            "this kernel's BTF has no {function}, without which {flag} shows nothing; leave it out"
        ))
    })?;
    let module = match probe.home {
        Home::Verity if in_module => Some("dm_verity"),
        Home::Bufio if in_module => Some("dm_bufio"),
        _ => None,
    };
    let module = module
        .map(bpf::module_btf)
        .transpose()
        .with_context(|| format!("find the BTF around {function}"))?;
    let module = module.as_ref().map(OwnedFd::as_fd);
    let name = probe.name;
    let program = load_tracing(object, name, probe.attach_type, id, module)?.map_err(|error| {
        not_permitted(name, &error).unwrap_or_else(|| {
            Error::Kernel(format!(
                "load the program {name}: {error}; leave out {flag}"
            ))
        })
    })?;
    let link = bpf::attach(program.as_fd()).map_err(|error| {
        Error::Kernel(format!("attach to {function}: {error}; leave out {flag}"))
    })?;
    Ok(Attached {
        view,
        _link: link,
        program,
        name,
        attachment: if probe.home == Home::Tracepoint {
            Attachment::TpBtf
        } else {
            Attachment::Fentry
        },
    })
}

impl Probe {
    fn found(&self, types: &Types) -> Option<FunctionType> {
        match self.home {
            Home::Verity => types.function(self.function),
            Home::Bufio => types.bufio_function(self.function),
            Home::Tracepoint => Some(FunctionType {
                id: types.tracepoint(self.function)?,
                in_module: false,
            }),
            Home::Kernel => Some(FunctionType {
                id: u32::try_from(types.kernel_function(self.function)?).ok()?,
                in_module: false,
            }),
        }
    }
}
