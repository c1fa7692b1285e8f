//! Every map, and the load-time settings. All are bounded; user space sets the sizes that depend on
//! the machine before it loads the programs.

use core::arch::asm;

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, Queue, RingBuf};
use verity_trace_ebpf::counters::{Cpus, DeviceTotals, FirstFailure, QueueDelays, Shared};
use verity_trace_ebpf::loss::{DeviceLosses, Loss};
use verity_trace_ebpf::settings::{CPUS_VALUE, IN_FLIGHT_VALUE, RING_BYTES, SHARED_VALUE};
use verity_trace_ebpf::table::Sets;

use crate::memory::Memory;

// The next three have one value each: a program reaches into that without a look-up (see `only_value`).
// User space maps them into its memory.

/// The I/Os in flight (see `table`).
#[map]
static IN_FLIGHT: Array<Sets> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What each CPU did.
#[map]
static CPUS: Array<Cpus> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What all CPUs share beside counters.
#[map]
static SHARED: Array<Shared> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The slot of each device, by `dev_t`. A device that finds no free slot shares the slot `other`.
#[map]
pub static DEVICES: HashMap<u32, u32> = HashMap::with_max_entries(64, 0);

/// The slots that no device has yet; user space fills it.
#[map]
pub static FREE_SLOTS: Queue<u32> = Queue::with_max_entries(64, 0);

/// Counters and histograms by device slot and shard.
#[map]
pub static TOTALS: Array<DeviceTotals> = Array::with_max_entries(1, 0);

/// The first failure of each device, by device slot.
#[map]
pub static FIRST_FAILURES: Array<FirstFailure> = Array::with_max_entries(1, 0);

/// What was not seen, by kind.
#[map]
pub static LOSSES: Array<u64> = Array::with_max_entries(Loss::COUNT as u32, 0);

/// Those of them that can be told by device, by device slot and kind.
#[map]
pub static DEVICE_LOSSES: Array<DeviceLosses> = Array::with_max_entries(1, 0);

/// Records of finished I/Os, written only when somebody asked for them. A record that finds it full
/// is counted as `ring-full`.
#[map]
pub static RECORDS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// For the last rung alone: when each verification that has not begun was queued, by its work. One that
/// finds it full is counted as `table-full`, and not among those that began.
#[map]
pub static QUEUED: HashMap<u64, u64> = HashMap::with_max_entries(1, 0);

/// For the last rung alone: how long verifications were queued, on kverityd and on the BH workqueue.
#[map]
pub static QUEUE_DELAYS: Array<QueueDelays> = Array::with_max_entries(2, 0);

/// The I/Os in flight.
#[inline(always)]
pub fn in_flight<M: Memory>() -> Option<*mut Sets> {
    only_value::<M, Sets, IN_FLIGHT_VALUE>(&IN_FLIGHT)
}

/// What each CPU did.
#[inline(always)]
pub fn cpus<M: Memory>() -> Option<*mut Cpus> {
    only_value::<M, Cpus, CPUS_VALUE>(&CPUS)
}

/// What all CPUs share.
#[inline(always)]
pub fn shared<M: Memory>() -> Option<*mut Shared> {
    only_value::<M, Shared, SHARED_VALUE>(&SHARED)
}

/// The only value of a map: one instruction in programs that user space loads by itself, which makes the
/// number that address.
#[inline(always)]
fn only_value<M: Memory, T, const NUMBER: i32>(map: &Array<T>) -> Option<*mut T> {
    if !M::IS_TYPED {
        return map.get_ptr_mut(0);
    }
    // The address is valid as long as the program.
    Some(load::<NUMBER>() as *mut T)
}

/// Reads one load-time setting; to the verifier it is a constant.
macro_rules! setting {
    ($field:ident) => {
        $crate::maps::load::<
            {
                verity_trace_ebpf::settings::placeholder(core::mem::offset_of!(
                    verity_trace_ebpf::settings::Settings,
                    $field
                ))
            },
        >()
    };
}
pub(crate) use setting;

/// The number, or the address, that user space puts in the place of another number (see
/// [`placeholder`](verity_trace_ebpf::settings::placeholder)).
#[inline(always)]
pub fn load<const PLACEHOLDER: i32>() -> u64 {
    let value: u64;
    // SAFETY: the instruction loads a number and has no other effect.
    unsafe {
        asm!(
            "{value} = {placeholder} ll",
            value = out(reg) value,
            placeholder = const PLACEHOLDER,
            options(pure, nomem, preserves_flags, nostack),
        );
    }
    value
}
