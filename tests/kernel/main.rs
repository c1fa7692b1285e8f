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
mod exporting;
mod full;
mod hash_cache;
mod knobs;
mod lifetime;
mod live_view;
mod load;
mod loss;
mod oracle;
mod output_disk;
mod placement;
mod plan;
#[path = "../process.rs"]
mod process;
#[expect(dead_code, reason = "the tests of the dashboards ask for more")]
#[path = "../prometheus.rs"]
mod prometheus;
mod queues;
mod recommend;
mod recording;
#[expect(dead_code, reason = "the suites of this machine ask for more")]
mod screen;
mod self_cost;
#[expect(dead_code, reason = "the tests of `serve` itself ask for more")]
#[path = "../serve/server.rs"]
mod server;
mod serving;
mod shell;
mod stages;
mod storm;
mod submitters;
mod tracer;
mod tune;
#[path = "../valid.rs"]
mod valid;

/// The lab kernel that the suite runs on, by its era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LabKernel {
    /// 6.1: the option is accepted and ignored.
    Inert,
    /// 6.12: BH workqueue, every size.
    Bh,
    /// 6.18 and 7.3: inline or BH workqueue, up to `use_bh_bytes`.
    Inline,
}

impl LabKernel {
    fn running() -> Self {
        match name().as_str() {
            "6.1" => Self::Inert,
            "6.12" | "6.12-rt" => Self::Bh,
            "6.18" | "7.3" | "7.3-rt" => Self::Inline,
            other => panic!("no lab kernel is called {other}"),
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

/// The program under test.
fn program() -> std::process::Command {
    std::process::Command::new("verity-trace")
}

/// The lab's name for the kernel.
fn name() -> String {
    std::env::var("LAB_KERNEL").expect("this suite runs in the lab alone")
}

/// Whether it handles interrupts and softirqs in threads, so that nearly everything can be preempted
/// (`PREEMPT_RT`).
fn is_real_time() -> bool {
    name().ends_with("-rt")
}

/// Whether it preempts tasks anywhere: since 6.18 Debian builds with `PREEMPT_LAZY`.
fn preempts_anywhere() -> bool {
    LabKernel::running() == LabKernel::Inline || is_real_time()
}
