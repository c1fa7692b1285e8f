//! The bio's way: `verity_map`, where an I/O begins or is refused, and `verity_end_io`, where its
//! data device completed it.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_get_current_comm};
use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext};
use aya_log_ebpf::warn;
use verity_trace_ebpf::counters::Hook;
use verity_trace_ebpf::in_flight::Begin;
use verity_trace_ebpf::loss::Loss;
use verity_trace_ebpf::record::COMMAND_BYTES;
use verity_trace_ebpf::settings::OTHER_SLOT;

use crate::account;
use crate::cpu::{self, FIRST, SECOND, ThisCpu};
use crate::limits::limit_of;
use crate::maps::{DEVICES, FREE_SLOTS, GENERATION, MAPPING, setting};
use crate::memory::{Memory, Typed, Untyped, scalar_arg};
use crate::places::{self, Claim};
use crate::task;

/// include/linux/device-mapper.h
const DM_MAPIO_SUBMITTED: i32 = 0;
const DM_MAPIO_KILL: i32 = 4;

#[fentry(function = "verity_map")]
fn verity_map(ctx: FEntryContext) -> i32 {
    begin::<Typed, FIRST>(ctx.arg(0), ctx.arg(1));
    0
}

#[fentry(function = "verity_map")]
fn verity_map_second(ctx: FEntryContext) -> i32 {
    begin::<Typed, SECOND>(ctx.arg(0), ctx.arg(1));
    0
}

#[fexit(function = "verity_map")]
fn verity_map_exit(ctx: FExitContext) -> i32 {
    let returned: i32 = ctx.arg(2);
    if returned != DM_MAPIO_SUBMITTED {
        if returned != DM_MAPIO_KILL {
            warn!(
                &ctx,
                "verity_map returned {}, which no known kernel does", returned
            );
        }
        reject(io_of_bio::<Typed>(ctx.arg(0), scalar_arg(&ctx, 1)));
    }
    0
}

#[kprobe]
fn verity_map_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(target), Some(bio)) = (ctx.arg(0), ctx.arg(1)) {
        begin::<Untyped, FIRST>(target, bio);
        let io = io_of_bio::<Untyped>(target, bio);
        // A full table leaves a refused map in flight until its memory is used again; that is then
        // counted as a start without finish.
        let _ = MAPPING.insert(&bpf_get_current_pid_tgid(), &io, BPF_ANY.into());
    }
    0
}

#[kretprobe]
fn verity_map_kretprobe(ctx: RetProbeContext) -> u32 {
    let task = bpf_get_current_pid_tgid();
    // SAFETY: the value is copied at once, and only this task writes it.
    let io = unsafe { MAPPING.get(&task) }.copied();
    let _ = MAPPING.remove(&task);
    if let Some(io) = io
        && ctx.ret::<i32>() != DM_MAPIO_SUBMITTED
    {
        reject(io);
    }
    0
}

#[fentry(function = "verity_end_io")]
fn verity_end_io(ctx: FEntryContext) -> i32 {
    complete::<Typed, FIRST>(ctx.arg(0));
    0
}

#[fentry(function = "verity_end_io")]
fn verity_end_io_second(ctx: FEntryContext) -> i32 {
    complete::<Typed, SECOND>(ctx.arg(0));
    0
}

#[kprobe]
fn verity_end_io_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(bio) = ctx.arg(0) {
        complete::<Untyped, FIRST>(bio);
    }
    0
}

/// An I/O begins.
#[inline(always)]
fn begin<M: Memory, const COPY: usize>(target: u64, bio: u64) {
    cpu::take_turn::<M, COPY>(Hook::Map, bio, move |this, address| {
        let io = io_of_bio::<M>(target, address);
        let place = match places::claim(io) {
            Claim::New(place) => place,
            Claim::Again(place) => {
                // SAFETY: the events of one I/O come one after the other.
                if COPY != FIRST && unsafe { (*place.state).is_fresh() } {
                    return;
                }
                // SAFETY: as above; it still is the state of the one before.
                let device_slot = unsafe { (*place.state).device_slot() };
                account::lose_of(device_slot, Loss::StartWithoutFinish);
                place
            }
            Claim::Full => {
                account::lose_of(slot_of(this, device_of::<M>(bio)), Loss::TableFull);
                return;
            }
        };
        this.took_over::<COPY>(Hook::Map);
        let device = device_of::<M>(bio);
        let opf: u32 = M::read(bio, setting!(bio_opf));
        let begin = Begin {
            seq: this.next_seq::<COPY>(),
            device,
            device_slot: slot_of(this, device),
            sector: M::read(bio, setting!(bio_sector)),
            bytes: M::read(bio, setting!(bio_size)),
            ioprio: M::read(bio, setting!(bio_ioprio)),
            read_ahead: u64::from(opf) & setting!(read_ahead_mask) != 0,
            cpu: cpu::number(),
        };
        // SAFETY: the place belongs to this I/O.
        let state = unsafe { &mut *place.state };
        state.begin(cpu::now(), &begin);
        if setting!(keeps_submitters) != 0 {
            let submitter = (bpf_get_current_pid_tgid() >> 32) as u32;
            // SAFETY: the helper has no preconditions.
            let cgroup = unsafe { bpf_get_current_cgroup_id() };
            let command = state.submitted_by(submitter, cgroup);
            // SAFETY: the helper fills what it is given.
            unsafe { bpf_get_current_comm(command.as_mut_ptr().cast(), COMMAND_BYTES as u32) };
        }
    });
}

/// The device-mapper device of a bio that enters `verity_map`, as the kernel's `dev_t`.
#[inline(always)]
fn device_of<M: Memory>(bio: u64) -> u32 {
    let bdev: u64 = M::read(bio, setting!(bio_bdev));
    M::read(bdev, setting!(bdev_dev))
}

/// The target refused the map: it is not an I/O.
#[inline(always)]
fn reject(io: u64) {
    if let Some(place) = places::find(io) {
        // SAFETY: nothing else knows a refused I/O.
        account::rejected(unsafe { (*place.state).device_slot() });
        place.release();
    }
}

/// The data device completed an I/O.
#[inline(always)]
fn complete<M: Memory, const COPY: usize>(bio: u64) {
    let io = M::read(bio, setting!(bio_private));
    cpu::take_turn::<M, COPY>(Hook::EndIo, io, move |this, io| {
        let is_news = places::find(io).is_none_or(|place| {
            let completion = task::completion(this, M::IS_TYPED);
            let status = M::read(bio, setting!(bio_status));
            // SAFETY: the events of one I/O come one after the other, so nothing else writes it now.
            let state = unsafe { &mut *place.state };
            // The kernel is about to read the same.
            let limit = this
                .has_option()
                .then(|| limit_of(state.ioprio()))
                .flatten();
            state.complete(cpu::now(), cpu::number(), completion, status, limit)
        });
        if is_news {
            this.took_over::<COPY>(Hook::EndIo);
        }
    });
}

/// The `dm_verity_io` of a bio that device-mapper hands to the target: it lies in front of the
/// bio's `dm_io` (`dm_per_bio_data`, drivers/md/dm.c).
#[inline(always)]
fn io_of_bio<M: Memory>(target: u64, bio_address: u64) -> u64 {
    let size: u32 = M::read(target, setting!(target_per_io_data_size));
    bio_address
        .wrapping_sub(setting!(dm_io_to_bio))
        .wrapping_sub(u64::from(size))
}

/// The slot of a device; a new one takes a free slot.
#[inline(always)]
fn slot_of(this: ThisCpu, device: u32) -> u32 {
    let generation = GENERATION.get(0).copied().unwrap_or(0);
    if let Some(slot) = this.slot_of(device, generation) {
        return slot;
    }
    let slot = look_up_slot_of(device);
    // What found no room shall look again: a slot may be free by then.
    if slot != OTHER_SLOT {
        this.keep_slot(device, slot, generation);
    }
    slot
}

#[inline(always)]
fn look_up_slot_of(device: u32) -> u32 {
    // SAFETY: a slot is written once, before anybody can find it.
    if let Some(slot) = unsafe { DEVICES.get(&device) } {
        return *slot;
    }
    let Ok(Some(slot)) = FREE_SLOTS.pop() else {
        return OTHER_SLOT;
    };
    if DEVICES.insert(&device, &slot, BPF_NOEXIST.into()).is_ok() {
        return slot;
    }
    // Another CPU was first, or the bucket is locked: this slot goes back.
    let _ = FREE_SLOTS.push(slot, 0);
    // SAFETY: as above.
    let slot = unsafe { DEVICES.get(&device) }.copied();
    slot.unwrap_or_else(|| {
        account::lose_of(OTHER_SLOT, Loss::MapBusy);
        OTHER_SLOT
    })
}
