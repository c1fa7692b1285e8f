//! Every map, and the load-time settings. All are bounded; user space sets the sizes that depend on
//! the machine before it loads the programs.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, Queue, RingBuf};
use verity_trace_ebpf::counters::{
    CpuCounters, DeviceCounters, FirstFailure, Histograms, QueueDelays,
};
use verity_trace_ebpf::loss::{DeviceLosses, Loss};
use verity_trace_ebpf::settings::{RING_BYTES, Settings};
use verity_trace_ebpf::table::{SETS, Set};

/// The I/Os in flight (see `table`). User space maps it into its memory to walk it.
#[map]
pub static IN_FLIGHT: Array<Set> = Array::with_max_entries(SETS, BPF_F_MMAPABLE);

/// The slot of each device, by `dev_t`. A device that finds no free slot shares the slot `other`.
#[map]
pub static DEVICES: HashMap<u32, u32> = HashMap::with_max_entries(64, 0);

/// The slots that no device has yet; user space fills it.
#[map]
pub static FREE_SLOTS: Queue<u32> = Queue::with_max_entries(64, 0);

/// How often user space has given a slot back: what a CPU remembers of slots from before is void.
#[map]
pub static GENERATION: Array<u64> = Array::with_max_entries(1, 0);

/// Counters by device slot and shard.
#[map]
pub static COUNTERS: Array<DeviceCounters> = Array::with_max_entries(1, 0);

/// Histograms by device slot and shard.
#[map]
pub static HISTOGRAMS: Array<Histograms> = Array::with_max_entries(1, 0);

/// The first failure of each device, by device slot.
#[map]
pub static FIRST_FAILURES: Array<FirstFailure> = Array::with_max_entries(1, 0);

/// What each CPU did.
#[map]
pub static CPUS: PerCpuArray<CpuCounters> = PerCpuArray::with_max_entries(1, 0);

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

/// For the kprobe rung alone: the I/O that each task is mapping, since a return probe cannot see the
/// arguments. A task that finds it full cannot have its refused map told apart.
#[map]
pub static MAPPING: HashMap<u64, u64> = HashMap::with_max_entries(4096, 0);

/// For the last rung alone: when each verification that has not begun was queued, by its work. One that
/// finds it full is counted as `table-full`, and not among those that began.
#[map]
pub static QUEUED: HashMap<u64, u64> = HashMap::with_max_entries(1, 0);

/// For the last rung alone: how long verifications were queued, on kverityd and on the BH workqueue.
#[map]
pub static QUEUE_DELAYS: Array<QueueDelays> = Array::with_max_entries(2, 0);

/// Load-time settings; user space replaces the zeroes.
#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings::ZERO;

/// Reads one load-time setting; to the verifier it is a constant.
macro_rules! setting {
    ($field:ident) => {
        // SAFETY: the settings are a map that user space froze before the program was loaded; the
        // volatile read keeps the compiler from taking the zeroes that stand here.
        unsafe { core::ptr::read_volatile(&raw const (*$crate::maps::settings()).$field) }
    };
}
pub(crate) use setting;

#[inline(always)]
pub fn settings() -> *const Settings {
    &raw const SETTINGS
}
