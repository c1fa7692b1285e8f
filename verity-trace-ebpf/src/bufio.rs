//! The cache of hash blocks (dm-bufio), as far as verification uses it. These programs are attached
//! only when asked for: they run for every hash block that is looked up.
//!
//! An attempt in softirq takes what is in the cache (`dm_bufio_get`) or gives up. kverityd reads
//! (`dm_bufio_read`), and in it a task that submits a read has missed, and one that waits without
//! having submitted meets a read that is under way already, such as a prefetch's. What a prefetch
//! itself reads is in neither: it happens in no read of a verification.

use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{fentry, fexit, map};
use aya_ebpf::maps::{HashMap, LruHashMap, PerCpuArray};
use aya_ebpf::programs::{FEntryContext, FExitContext};
use verity_trace_ebpf::hash_cache::{Attempt, HashCacheCounters, HashRead, MAX_CLIENTS, MAX_READS};

use crate::account::add;
use crate::cpu::{self, ThisCpu, without_preemption};
use crate::maps::setting;
use crate::memory::{Memory, Typed, scalar_arg};
use crate::places::find;
use crate::task;

/// The device slot of each client of dm-bufio that a verification has used. One that is pushed out is
/// known again with its device's next verification.
#[map]
static CLIENTS: LruHashMap<u64, u32> = LruHashMap::with_max_entries(MAX_CLIENTS, 0);

/// The read that each task is in. One that finds it full is counted as `unmeasured`.
#[map]
static READS: HashMap<u64, HashRead> = HashMap::with_max_entries(MAX_READS, 0);

/// The attempt that runs on this CPU, outside of softirq and in it.
#[map]
static ATTEMPTS: PerCpuArray<[Attempt; 2]> = PerCpuArray::with_max_entries(1, 0);

/// Counters by device slot; user space sets how many there are.
#[map]
static HASH_CACHE: PerCpuArray<HashCacheCounters> = PerCpuArray::with_max_entries(1, 0);

#[fexit(function = "dm_bufio_get")]
fn hash_get(ctx: FExitContext) -> i32 {
    without_preemption(|| looked_up(scalar_arg(&ctx, 0), ctx.arg(3)));
    0
}

#[fentry(function = "dm_bufio_read")]
fn hash_read_begin(ctx: FEntryContext) -> i32 {
    without_preemption(|| begin_read(scalar_arg(&ctx, 0)));
    0
}

#[fentry(function = "submit_io")]
fn hash_read_submitted(_ctx: FEntryContext) -> i32 {
    without_preemption(|| {
        if let Some(read) = READS.get_ptr_mut(&bpf_get_current_pid_tgid()) {
            // SAFETY: a pointer to a valid value, which this task alone uses.
            unsafe { (*read).has_submitted = 1 };
        }
    });
    0
}

#[fentry(function = "out_of_line_wait_on_bit")]
fn hash_read_awaited(_ctx: FEntryContext) -> i32 {
    without_preemption(|| {
        if let Some(read) = READS.get_ptr_mut(&bpf_get_current_pid_tgid()) {
            // SAFETY: as in `hash_read_submitted`.
            unsafe { (*read).has_waited = 1 };
        }
    });
    0
}

#[fexit(function = "dm_bufio_read")]
fn hash_read_end(_ctx: FExitContext) -> i32 {
    without_preemption(end_read);
    0
}

/// A verification begins: what it looks up belongs to its device.
#[inline(always)]
pub fn verification<M: Memory>(slot: u32, io: u64, verity: u64, in_bh: bool) {
    let client: u64 = M::read(verity, setting!(verity_bufio));
    // SAFETY: the value is copied at once.
    let known = unsafe { CLIENTS.get(&client) }.copied();
    if known != Some(slot) {
        // It fails where the bucket is locked by what this interrupted: the next verification tries
        // again.
        let _ = CLIENTS.insert(&client, &slot, BPF_ANY.into());
    }
    if in_bh && let Some(attempt) = this_attempt() {
        // SAFETY: a pointer to this CPU's value; an attempt in softirq has a place of its own.
        unsafe {
            *attempt = Attempt {
                task: task::current(),
                io,
            };
        }
    }
}

/// An attempt has looked a block up in the cache; `block` is 0 if it is not there.
#[inline(always)]
fn looked_up(client: u64, block: u64) {
    if let Some(counters) = counters_of(client) {
        // SAFETY: pointers to fields of a valid value.
        unsafe {
            if block != 0 {
                add(&raw mut (*counters).hits, 1);
            } else {
                add(&raw mut (*counters).misses, 1);
                attempt_missed();
            }
        }
    }
}

/// kverityd looks a block up, and reads it if need be.
#[inline(always)]
fn begin_read(client: u64) {
    // SAFETY: the value is copied at once.
    let Some(&slot) = (unsafe { CLIENTS.get(&client) }) else {
        return;
    };
    let read = HashRead {
        began_at: cpu::now(),
        slot,
        has_submitted: 0,
        has_waited: 0,
    };
    let is_kept = READS
        .insert(&bpf_get_current_pid_tgid(), &read, BPF_ANY.into())
        .is_ok();
    if !is_kept && let Some(counters) = HASH_CACHE.get_ptr_mut(slot) {
        // SAFETY: a pointer to a field of a valid value.
        add(unsafe { &raw mut (*counters).unmeasured }, 1);
    }
}

/// It has the block.
#[inline(always)]
fn end_read() {
    let task = bpf_get_current_pid_tgid();
    // SAFETY: the value is copied at once, and this task alone uses it.
    let Some(read) = unsafe { READS.get(&task) }.copied() else {
        return;
    };
    let _ = READS.remove(&task);
    if let Some(counters) = HASH_CACHE.get_ptr_mut(read.slot) {
        // SAFETY: pointers to fields of a valid value.
        unsafe {
            if read.has_submitted + read.has_waited == 0 {
                add(&raw mut (*counters).hits, 1);
                return;
            }
            if read.has_submitted != 0 {
                add(&raw mut (*counters).misses, 1);
            } else {
                add(&raw mut (*counters).awaited, 1);
            }
            let ns = cpu::now().saturating_sub(read.began_at);
            add(&raw mut (*counters).wait_ns, ns);
        }
    }
}

/// Where the attempt that runs here is kept.
#[inline(always)]
fn this_attempt() -> Option<*mut Attempt> {
    let in_softirq = ThisCpu::get::<Typed>()?.is_in_softirq(task::current());
    let attempts: *mut Attempt = ATTEMPTS.get_ptr_mut(0)?.cast();
    // SAFETY: there are two.
    Some(unsafe { attempts.add(usize::from(in_softirq)) })
}

/// The attempt that runs here found a hash block missing. One that has been preempted and goes on
/// elsewhere is not known here, and its reason stays unknown.
#[inline(always)]
fn attempt_missed() {
    if let Some(attempt) = this_attempt() {
        // SAFETY: as in `verification`.
        unsafe {
            if (*attempt).task == task::current()
                && let Some(place) = find::<Typed>((*attempt).io)
            {
                (*place.state).miss_cache();
            }
        }
    }
}

#[inline(always)]
fn counters_of(client: u64) -> Option<*mut HashCacheCounters> {
    // SAFETY: the value is copied at once.
    let slot = unsafe { CLIENTS.get(&client) }.copied()?;
    HASH_CACHE.get_ptr_mut(slot)
}
