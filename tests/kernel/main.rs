//! The kernel suite: real dm-verity devices on a real kernel, fio as the load, and what
//! verity-trace says of it. It runs as root inside a lab machine; `cargo xtask test` builds it,
//! boots the machines and brings it in.
//!
//! Every expected value follows from what the kernel's source says of that era, and none from a
//! run; wall-clock times are never asserted.

mod behaviour;
mod bpf;
mod context;
mod device;
mod devices;
mod full;
mod hash_cache;
mod knobs;
mod lifetime;
mod load;
mod loss;
mod oracle;
mod placement;
mod plan;
mod queues;
mod screen;
mod self_cost;
mod shell;
mod stages;
mod storm;
mod submitters;
mod tracer;

/// The lab kernel that the suite runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LabKernel {
    /// 6.1: the option is accepted and ignored.
    Inert,
    /// 6.12: BH workqueue, every size.
    Bh,
    /// 7.3: inline or BH workqueue, up to `use_bh_bytes`.
    Inline,
}

impl LabKernel {
    fn running() -> Self {
        match std::env::var("LAB_KERNEL").as_deref() {
            Ok("6.1") => Self::Inert,
            Ok("6.12") => Self::Bh,
            Ok("7.3") => Self::Inline,
            other => panic!("LAB_KERNEL is {other:?}; this suite runs in the lab alone"),
        }
    }

    fn era(self) -> &'static str {
        match self {
            Self::Inert => "inert",
            Self::Bh => "bh",
            Self::Inline => "inline",
        }
    }
}
