//! `use_bh_bytes`, by which the kernel decides for each I/O whether it may be verified in BH.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use verity_trace_ebpf::counters::{CLASS_SHIFT, CLASSES};

use crate::maps::setting;
use crate::memory::{Memory, Typed, cast};

/// How many bytes an I/O of this ioprio may have to be verified in BH (`verity_use_bh`,
/// drivers/md/dm-verity-target.c); absent where there is no limit, or it cannot be read.
#[inline(always)]
pub fn limit_of<M: Memory>(ioprio: u16) -> Option<u32> {
    let limits = setting!(use_bh_bytes);
    if limits == 0 {
        return None;
    }
    let class = u64::from(ioprio >> CLASS_SHIFT);
    if class >= CLASSES as u64 {
        return Some(0);
    }
    let limit = limits + class * size_of::<u32>() as u64;
    if M::IS_TYPED && setting!(number_type) != 0 {
        return Some(Typed::read(cast(limit, setting!(number_type)), 0));
    }
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(limit as *const u32) }.ok()
}
