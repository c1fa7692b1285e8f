//! What the process with the socket gives up before it reads the first byte of anybody's.
//!
//! It becomes another user, without capabilities and without a way to any. It can have no more files, start
//! nothing, and make no system calls but those of talking over connections that it accepts.

use std::collections::BTreeMap;
use std::env;

use anyhow::{Context as _, Result};
use rustix::process::{DumpableBehavior, Gid, Resource, Rlimit, Signal, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::feed::Account;

/// Bytes of address space at most.
const MEMORY: u64 = 4 << 30;

/// Does all of it. This process must have one thread: each of these is of a thread.
pub fn confine(account: Option<Account>, files: u64) -> Result<()> {
    limit(files).context("set limits")?;
    lose_capabilities_to_come()?;
    if let Some(account) = account {
        become_somebody(account).context("become another user")?;
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).context("give up capabilities")?;
    rustix::thread::set_no_new_privs(true).context("give up new privileges")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("keep memory from others")?;
    // Whoever changes its user has to ask for it again.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .context("end with the process that watches")?;
    let filter = filter().context("make a seccomp filter")?;
    seccompiler::apply_filter(&filter).context("set a seccomp filter")
}

fn limit(files: u64) -> rustix::io::Result<()> {
    for (resource, most) in [
        (Resource::Nofile, files),
        (Resource::Nproc, 0),
        (Resource::Core, 0),
        (Resource::As, MEMORY),
    ] {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        rustix::process::setrlimit(resource, limit)?;
    }
    Ok(())
}

/// Capabilities that it could be given by what it starts: nothing at all, in the end.
fn lose_capabilities_to_come() -> Result<()> {
    rustix::thread::clear_ambient_capability_set().context("clear the ambient set")?;
    let sets = rustix::thread::capabilities(None).context("ask for capabilities")?;
    if !sets.effective.contains(CapabilitySet::SETPCAP) {
        // Not root; what it has it gives up all the same.
        return Ok(());
    }
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        // The kernel knows fewer than there are bits.
        if rustix::thread::capability_is_in_bounding_set(capability) == Ok(true) {
            rustix::thread::remove_capability_from_bounding_set(capability)
                .context("empty the bounding set")?;
        }
    }
    Ok(())
}

fn become_somebody(account: Account) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Everything else fails with `EPERM`: a C library that tries something new goes on without it.
fn filter() -> Result<BpfProgram> {
    let forbidden = libc::EPERM.unsigned_abs();
    let filter = SeccompFilter::new(
        allowed()?,
        SeccompAction::Errno(forbidden),
        SeccompAction::Allow,
        env::consts::ARCH.try_into()?,
    )?;
    Ok(filter.try_into()?)
}

fn allowed() -> Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let freely = [
        // Connections, and the feed.
        libc::SYS_accept4,
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_shutdown,
        libc::SYS_close,
        libc::SYS_getsockopt,
        libc::SYS_setsockopt,
        libc::SYS_getsockname,
        libc::SYS_getpeername,
        libc::SYS_fcntl,
        // Waiting.
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
        libc::SYS_ppoll,
        libc::SYS_futex,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_restart_syscall,
        libc::SYS_sched_yield,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
        // Memory.
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_getrandom,
        // The end.
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_tgkill,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let mut allowed: BTreeMap<_, _> = freely.into_iter().map(|call| (call, Vec::new())).collect();
    // Memory that holds no program.
    let exec = u64::from(libc::PROT_EXEC.unsigned_abs());
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let holds_none =
            SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(exec), 0)?;
        allowed.insert(call, vec![SeccompRule::new(vec![holds_none])?]);
    }
    Ok(allowed)
}
