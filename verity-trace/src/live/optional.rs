//! Programs that are attached only when their view is asked for, by fentry and tracepoints alone.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::Context as _;
use aya::Ebpf;
use aya_obj::Object;
use aya_obj::generated::bpf_attach_type::{BPF_TRACE_FENTRY, BPF_TRACE_FEXIT, BPF_TRACE_RAW_TP};

use crate::cost::Attachment;
use crate::error::{Error, Result};
use crate::kernel::{FunctionType, Types};
use crate::live::Options;
use crate::live::bpf;
use crate::live::programs::{load_tracing, not_permitted, relocated};
use crate::live::statistics::Program;
use crate::snapshot::ProbeKind::{Fentry, Fexit, TpBtf};
use crate::snapshot::{Gap, Probe, Rung, When};

/// Where the function is that a program attaches to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    /// dm-bufio.
    Bufio,
    /// The kernel itself.
    Kernel,
}

/// A program, and where it attaches.
struct Hook {
    probe: Probe,
    home: Home,
}

impl Hook {
    fn found(&self, types: &Types) -> Option<FunctionType> {
        let target = self.probe.target;
        if self.home == Home::Bufio {
            return types.bufio_function(target);
        }
        let id = if self.probe.kind == TpBtf {
            types.tracepoint(target)
        } else {
            types.kernel_function(target)
        };
        Some(FunctionType {
            id: id?,
            in_module: false,
        })
    }
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

    /// What cannot be seen without it.
    const fn shows(self) -> &'static str {
        match self {
            Self::HashCache => {
                "hits and misses of hash blocks, and the time that verifications wait for them"
            }
            Self::Queues => "softirqs and workqueues in detail",
            Self::Submitters => "the processes that submit I/Os",
        }
    }

    /// What is not seen of it on a rung; absent where all of it is.
    pub fn gap(self, rung: Rung) -> Option<Gap> {
        let (is_seen, needed) = match self {
            Self::HashCache => (rung == Rung::Fentry, "fentry"),
            Self::Queues | Self::Submitters => (rung != Rung::Tracepoint, "fentry or kprobe"),
        };
        (!is_seen).then(|| Gap {
            missing: self.flag(),
            lost: self.shows(),
            why: format!("the rung is {}, and it needs {needed}", rung.name()),
            remedy: None,
        })
    }

    /// Its probes, or what this kernel does not describe that one of them needs.
    fn probes(self, types: &Types) -> std::result::Result<Vec<Probe>, Gap> {
        let hooks = self.hooks(types);
        match hooks.iter().find(|hook| hook.found(types).is_none()) {
            Some(hook) => Err(Gap {
                missing: self.flag(),
                lost: self.shows(),
                why: format!("this kernel's BTF has no {}", hook.probe.target),
                remedy: Some("leave it out"),
            }),
            None => Ok(hooks.into_iter().map(|hook| hook.probe).collect()),
        }
    }

    /// Its programs, in the order of attaching.
    fn hooks(self, types: &Types) -> Vec<Hook> {
        let hook = |name, kind, home, target| Hook {
            probe: Probe {
                name,
                target,
                kind,
                without: self.shows(),
                when: When::Always,
            },
            home,
        };
        match self {
            Self::HashCache => {
                // What dm-verity calls: the other since Linux 6.9.
                let read = ["dm_bufio_read_with_ioprio", "dm_bufio_read"]
                    .into_iter()
                    .find(|name| types.bufio_function(name).is_some())
                    .unwrap_or("dm_bufio_read");
                let awaited = "out_of_line_wait_on_bit";
                // What tells a hit from a miss is there before the first look-up is followed.
                vec![
                    hook("hash_read_submitted", Fentry, Home::Bufio, "submit_io"),
                    hook("hash_read_awaited", Fentry, Home::Kernel, awaited),
                    hook("hash_read_end", Fexit, Home::Bufio, read),
                    hook("hash_read_begin", Fentry, Home::Bufio, read),
                    hook("hash_get", Fexit, Home::Bufio, "dm_bufio_get"),
                ]
            }
            Self::Queues => [
                ("queues_softirq_exit", "softirq_exit"),
                ("queues_softirq_entry", "softirq_entry"),
                ("queues_execute_end", "workqueue_execute_end"),
                ("queues_execute_start", "workqueue_execute_start"),
            ]
            .map(|(name, tracepoint)| hook(name, TpBtf, Home::Kernel, tracepoint))
            .into(),
            // The programs that are there anyway count them.
            Self::Submitters => Vec::new(),
        }
    }
}

impl Options {
    /// What the optional views that are asked for watch on a rung, and what is not seen of them.
    #[must_use]
    pub fn optional(&self, rung: Rung, types: &Types) -> (Vec<Probe>, Vec<Gap>) {
        let (mut probes, mut gaps) = (Vec::new(), Vec::new());
        for view in self.wishes() {
            match view.gap(rung).map_or_else(|| view.probes(types), Err) {
                Ok(these) => probes.extend(these),
                Err(gap) => gaps.push(gap),
            }
        }
        (probes, gaps)
    }
}

struct Attached {
    view: View,
    // The link goes first: a program without a link is not run any more.
    _link: OwnedFd,
    program: OwnedFd,
    probe: Probe,
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
            for hook in view.hooks(types) {
                attached.push(attach(&object, types, view, &hook)?);
            }
        }
        Ok(Self(attached))
    }

    /// Every program that is attached.
    pub fn list(&self) -> impl Iterator<Item = Program<'_>> {
        self.0.iter().map(|it| Program {
            name: it.probe.name,
            attachment: if it.probe.kind == TpBtf {
                Attachment::TpBtf
            } else {
                Attachment::Fentry
            },
            fd: it.program.as_fd(),
        })
    }

    /// What is watched for the views.
    pub fn probes(&self) -> impl Iterator<Item = Probe> {
        self.0.iter().map(|it| it.probe)
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

fn attach(object: &Object, types: &Types, view: View, hook: &Hook) -> Result<Attached> {
    let Probe {
        name, target, kind, ..
    } = hook.probe;
    let flag = view.flag();
    let FunctionType { id, in_module } = hook.found(types).ok_or_else(|| {
        Error::Kernel(format!(
            "this kernel's BTF has no {target}, without which {flag} shows nothing; leave it out"
        ))
    })?;
    let module = in_module
        .then(|| bpf::module_btf("dm_bufio"))
        .transpose()
        .with_context(|| format!("find the BTF around {target}"))?;
    let module = module.as_ref().map(OwnedFd::as_fd);
    let attach_type = match kind {
        Fexit => BPF_TRACE_FEXIT,
        TpBtf => BPF_TRACE_RAW_TP,
        _ => BPF_TRACE_FENTRY,
    };
    let program = load_tracing(object, name, attach_type, id, module)?.map_err(|error| {
        not_permitted(name, &error).unwrap_or_else(|| {
            Error::Kernel(format!(
                "load the program {name}: {error}; leave out {flag}"
            ))
        })
    })?;
    let link = bpf::attach(program.as_fd())
        .map_err(|error| Error::Kernel(format!("attach to {target}: {error}; leave out {flag}")))?;
    Ok(Attached {
        view,
        _link: link,
        program,
        probe: hook.probe,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Wanted;

    #[test]
    fn a_view_that_is_asked_for_is_watched_or_said_to_be_missing() {
        let mut options = Options {
            max_devices: 64,
            rung: None,
            records: Wanted::Nothing,
            budget: None,
            hash_cache: false,
            queues: false,
            submitters: false,
        };
        let nothing = Types::default();
        assert_eq!(
            options.optional(Rung::Fentry, &nothing),
            (Vec::new(), Vec::new())
        );
        options.hash_cache = true;
        options.queues = true;
        options.submitters = true;
        for (rung, expected) in [
            (
                Rung::Fentry,
                &[
                    ("--hash-cache", "no submit_io"),
                    ("--queues", "no softirq_exit"),
                ][..],
            ),
            (
                Rung::Kprobe,
                &[
                    ("--hash-cache", "needs fentry"),
                    ("--queues", "no softirq_exit"),
                ],
            ),
            (
                Rung::Tracepoint,
                &[
                    ("--hash-cache", "needs fentry"),
                    ("--queues", "needs fentry or kprobe"),
                    ("--submitters", "needs fentry or kprobe"),
                ],
            ),
        ] {
            let (probes, gaps) = options.optional(rung, &nothing);
            assert_eq!(probes, []);
            assert_eq!(gaps.len(), expected.len(), "{gaps:?}");
            for (gap, (missing, why)) in gaps.iter().zip(expected) {
                assert_eq!(gap.missing, *missing);
                assert!(gap.why.contains(why), "{}", gap.why);
            }
        }
    }
}
