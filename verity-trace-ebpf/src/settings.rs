//! What user space finds out about the running kernel and hands to the programs before they are
//! loaded. The verifier sees every value as a constant and removes the branches it rules out.

use bytemuck::{Pod, Zeroable};

/// Most shards that the counters are split into.
pub const MAX_SHARDS: u32 = 8;

/// Bytes of the ring buffer that records travel through when somebody asks for them.
pub const RING_BYTES: u32 = 4 << 20;

/// The device slot of every device that found no slot of its own.
pub const OTHER_SLOT: u32 = 0;

/// What stands in the programs for the first of the [`Settings`]; those that follow count up.
pub const FIRST_SETTING: i32 = 0x7ffe_0000;

/// What stands in the programs for the setting at an offset within [`Settings`], as the immediate of a load
/// of 64 bits, until user space replaces it.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "there are a few dozen"
)]
pub const fn placeholder(offset: usize) -> i32 {
    FIRST_SETTING + (offset / size_of::<u64>()) as i32
}

impl Settings {
    /// What is not known, and not needed.
    // SAFETY: every field is a number, for which all zeroes are valid.
    pub const ZERO: Self = unsafe { core::mem::zeroed() };
}

/// The number of the call that user space replaces with the kernel's `bpf_preempt_disable` before it
/// loads a program, or removes where the kernel lacks one of these four (before Linux 6.14).
pub const PREEMPT_DISABLE_CALL: i32 = 0x7fff_0001;

/// The same for `bpf_preempt_enable`.
pub const PREEMPT_ENABLE_CALL: i32 = 0x7fff_0002;

/// The same for `bpf_local_irq_save`.
pub const IRQ_SAVE_CALL: i32 = 0x7fff_0003;

/// The same for `bpf_local_irq_restore`.
pub const IRQ_RESTORE_CALL: i32 = 0x7fff_0004;

/// The number of the call that user space replaces with the kernel's `bpf_rdonly_cast`, where there is that
/// (Linux 6.2).
pub const CAST_CALL: i32 = 0x7fff_000a;

/// The number that user space replaces with the BTF id of the kernel's `__irq_regs`.
pub const IRQ_REGS: i32 = 0x7fff_0005;

/// The number that user space replaces with the BTF id of the kernel's `bh_worker_pools`.
pub const BH_WORKER_POOLS: i32 = 0x7fff_0006;

/// The number that user space replaces with the only value of the map of I/Os in flight.
pub const IN_FLIGHT_VALUE: i32 = 0x7fff_0007;

/// The same for the map of CPUs.
pub const CPUS_VALUE: i32 = 0x7fff_0008;

/// The same for what all CPUs share.
pub const SHARED_VALUE: i32 = 0x7fff_0009;

/// Load-time settings. Offsets are in bytes, from the running kernel's BTF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Settings {
    /// `bio.bi_bdev`.
    pub bio_bdev: u64,
    /// `bio.bi_private`.
    pub bio_private: u64,
    /// `bio.bi_status`.
    pub bio_status: u64,
    /// `bio.bi_opf`.
    pub bio_opf: u64,
    /// `bio.bi_ioprio`.
    pub bio_ioprio: u64,
    /// `bio.bi_iter.bi_sector`.
    pub bio_sector: u64,
    /// `bio.bi_iter.bi_size`.
    pub bio_size: u64,
    /// `block_device.bd_dev`.
    pub bdev_dev: u64,
    /// `dm_target.per_io_data_size`.
    pub target_per_io_data_size: u64,
    /// From device-mapper's `dm_io` to the bio in it (`DM_IO_BIO_OFFSET`, drivers/md/dm.c).
    pub dm_io_to_bio: u64,
    /// `dm_verity_io.v`.
    pub io_verity: u64,
    /// The byte of `dm_verity` that has the option's bit.
    pub verity_option: u64,
    /// That bit, as a mask.
    pub verity_option_mask: u64,
    /// `task_struct.flags`.
    pub task_flags: u64,
    /// `task_struct.comm`.
    pub task_comm: u64,
    /// `task_struct.softirq_disable_cnt`, where softirqs can be preempted (`PREEMPT_RT`); else 0.
    pub task_softirq_count: u64,
    /// `dm_verity_io.in_bh`, on older kernels `in_tasklet`.
    pub io_in_bh: u64,
    /// `dm_verity_io.work`.
    pub io_work: u64,
    /// The work that goes to the BH workqueue: `dm_verity_io.bh_work`, since 7.0 the same `work`.
    pub io_bh_work: u64,
    /// `work_struct.func`.
    pub work_func: u64,
    /// Address of `verity_work`; 0 when unknown.
    pub verity_work: u64,
    /// Address of `verity_bh_work`; 0 on kernels without it.
    pub verity_bh_work: u64,
    /// The bit of `REQ_RAHEAD` in `bi_opf`, as a mask.
    pub read_ahead_mask: u64,
    /// Address of the array behind the parameter `use_bh_bytes`; 0 where there is none or it is unknown.
    pub use_bh_bytes: u64,
    /// 1 on kernels that accept the option and ignore it, else 0.
    pub is_inert: u64,
    /// 1 on kernels that leave an I/O to kverityd when the CPU has another task to run (Linux 6.16 and
    /// later), else 0.
    pub gives_way: u64,
    /// 1 when the programs for `verity_recheck` and `verity_fec_decode` are attached, else 0.
    pub sees_mismatch: u64,
    /// 1 when [`IRQ_REGS`] has been replaced, else 0.
    pub has_irq_regs: u64,
    /// 1 when [`BH_WORKER_POOLS`] has been replaced, else 0.
    pub has_bh_worker_pools: u64,
    /// `worker_pool.workers`, the list of a pool's workers.
    pub pool_workers: u64,
    /// `worker.node`, its place in that list.
    pub worker_node: u64,
    /// `worker.current_work`.
    pub worker_current_work: u64,
    /// 1 on kernels where the completion can verify by itself (Linux 6.15 and later), else 0.
    pub can_be_inline: u64,
    /// How many shards the counters have: a power of two, at most [`MAX_SHARDS`].
    pub shards: u64,
    /// 1 when records are wanted, else 0.
    pub records: u64,
    /// `dm_verity.bufio`.
    pub verity_bufio: u64,
    /// 1 when it is seen that an attempt finds a hash block missing, else 0.
    pub sees_cache_misses: u64,
    /// 1 when softirqs and workqueues are watched in detail, else 0.
    pub sees_queues: u64,
    /// 1 when only some records may be sent, else 0.
    pub samples: u64,
    /// 1 when of those only so many are sent until user space allows more, else 0.
    pub has_quota: u64,
    /// 1 when it is kept with each I/O who submitted it, else 0.
    pub keeps_submitters: u64,
    /// 1 when I/Os are counted by who submitted them, else 0.
    pub counts_submitters: u64,
    /// The BTF id of `refcount_struct`, which is a number of 32 bits, as which any can be read; 0 where
    /// [`CAST_CALL`] has not been replaced.
    pub number_type: u64,
    /// The BTF id of `worker`, as before.
    pub worker_type: u64,
}
