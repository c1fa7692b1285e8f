//! The bio's way: `verity_map`, where an I/O begins or is refused, and `verity_end_io`, where its
//! data device completed it.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_get_current_comm};
use aya_ebpf::macros::{fentry, kprobe};
use aya_ebpf::programs::{FEntryContext, ProbeContext};
use verity_trace_ebpf::counters::Hook;
use verity_trace_ebpf::in_flight::Begin;
use verity_trace_ebpf::loss::Loss;
use verity_trace_ebpf::record::COMMAND_BYTES;
use verity_trace_ebpf::settings::OTHER_SLOT;

use crate::account;
use crate::cpu::{self, ThisCpu};
use crate::limits::limit_of;
use crate::maps::{DEVICES, FREE_SLOTS, setting, shared};
use crate::memory::{Memory, Typed, Untyped};
use crate::places::{self, Claim};
use crate::task;

/// What every operation that writes has (`op_is_write` in `include/linux/blk_types.h`).
const WRITES: u32 = 1;

#[fentry(function = "verity_map")]
fn verity_map(ctx: FEntryContext) -> i32 {
    begin::<Typed, false>(ctx.arg(0), ctx.arg(1));
    0
}

#[fentry(function = "verity_map")]
fn verity_map_guard(ctx: FEntryContext) -> i32 {
    begin::<Typed, true>(ctx.arg(0), ctx.arg(1));
    0
}

#[kprobe]
fn verity_map_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(target), Some(bio)) = (ctx.arg(0), ctx.arg(1)) {
        begin::<Untyped, false>(target, bio);
    }
    0
}

#[fentry(function = "verity_end_io")]
fn verity_end_io(ctx: FEntryContext) -> i32 {
    complete::<Typed, false>(ctx.arg(0));
    0
}

#[fentry(function = "verity_end_io")]
fn verity_end_io_guard(ctx: FEntryContext) -> i32 {
    complete::<Typed, true>(ctx.arg(0));
    0
}

#[kprobe]
fn verity_end_io_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(bio) = ctx.arg(0) {
        complete::<Untyped, false>(bio);
    }
    0
}

/// An I/O begins, or is refused.
#[inline(always)]
fn begin<M: Memory, const IS_GUARD: bool>(target: u64, bio: u64) {
    cpu::watch::<M, IS_GUARD>(Hook::Map, move |this| {
        let device = device_of::<M>(bio);
        let opf: u32 = M::read(bio, setting!(bio_opf));
        if opf & WRITES != 0 {
            // `verity_map` refuses what writes, so it is not an I/O. What else it refuses, device-mapper does
            // not let through: what lies outside of the target, and parts of a block.
            if IS_GUARD {
                return this.leave_to_program(Hook::Map);
            }
            this.next_seq::<IS_GUARD>();
            account::rejected(this, slot_of::<M>(this, device));
            return true;
        }
        let address = this.address_of_event::<M, IS_GUARD>(Hook::Map, bio);
        let place = match places::claim::<M>(io_of_bio::<M>(target, address)) {
            Claim::New(place) => place,
            Claim::Again(place) => {
                // SAFETY: the events of one I/O come one after the other.
                let (is_fresh, device_slot) =
                    unsafe { ((*place.state).is_fresh(), (*place.state).device_slot()) };
                if !IS_GUARD && is_fresh && cpu::is_guarded::<M>(Hook::Map) {
                    return false;
                }
                account::lose_of(device_slot, Loss::StartWithoutFinish);
                place
            }
            // There may be room when the program looks.
            Claim::Full if IS_GUARD => return this.leave_to_program(Hook::Map),
            Claim::Full => {
                account::lose_of(slot_of::<M>(this, device), Loss::TableFull);
                return true;
            }
        };
        let begin = Begin {
            seq: this.next_seq::<IS_GUARD>(),
            device,
            device_slot: slot_of::<M>(this, device),
            sector: M::read(bio, setting!(bio_sector)),
            bytes: M::read(bio, setting!(bio_size)),
            ioprio: M::read(bio, setting!(bio_ioprio)),
            read_ahead: u64::from(opf) & setting!(read_ahead_mask) != 0,
            cpu: this.number,
        };
        // SAFETY: the place belongs to this I/O.
        let state = unsafe { &mut *place.state };
        if setting!(keeps_submitters) != 0 {
            let submitter = (bpf_get_current_pid_tgid() >> 32) as u32;
            // SAFETY: the helper has no preconditions.
            let cgroup = unsafe { bpf_get_current_cgroup_id() };
            let command = state.submitted_by(submitter, cgroup);
            // SAFETY: the helper fills what it is given.
            unsafe { bpf_get_current_comm(command.as_mut_ptr().cast(), COMMAND_BYTES as u32) };
        }
        // Last, since who walks the table takes what has a beginning for whole.
        state.begin(cpu::now(), &begin);
        true
    });
}

/// The device-mapper device of a bio that enters `verity_map`, as the kernel's `dev_t`.
#[inline(always)]
fn device_of<M: Memory>(bio: u64) -> u32 {
    let bdev: u64 = M::read(bio, setting!(bio_bdev));
    M::read(bdev, setting!(bdev_dev))
}

/// The data device completed an I/O.
#[inline(always)]
fn complete<M: Memory, const IS_GUARD: bool>(bio: u64) {
    cpu::watch::<M, IS_GUARD>(Hook::EndIo, move |this| {
        let io = M::read(bio, setting!(bio_private));
        let io = this.address_of_event::<M, IS_GUARD>(Hook::EndIo, io);
        let Some(place) = places::find::<M>(io) else {
            return false;
        };
        // SAFETY: the events of one I/O come one after the other, so nothing else writes it now.
        let state = unsafe { &mut *place.state };
        if state.is_completed() {
            return false;
        }
        let completion = task::completion(this, M::IS_TYPED);
        let status = M::read(bio, setting!(bio_status));
        // The kernel is about to read the same.
        let limit = saw_option::<M>()
            .then(|| limit_of::<M>(state.ioprio()))
            .flatten();
        state.complete(cpu::now(), this.number, completion, status, limit);
        true
    });
}

/// Whether a verification was one of a device with the option.
#[inline(always)]
fn saw_option<M: Memory>() -> bool {
    // SAFETY: a pointer to a valid value.
    shared::<M>()
        .is_some_and(|shared| unsafe { (&raw const (*shared).has_option).read_volatile() } != 0)
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
fn slot_of<M: Memory>(this: ThisCpu, device: u32) -> u32 {
    // SAFETY: a pointer to a valid value, which user space writes to.
    let generation = shared::<M>().map_or(0, |shared| unsafe {
        (&raw const (*shared).generation).read_volatile()
    });
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
