//! Which records are sent when not all are: some under a budget (`--max-overhead`), and for the live view
//! those that it may show.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray};
use verity_trace_ebpf::sending::Sending;

use crate::account::add;
use crate::maps::setting;

/// User space writes it.
#[map]
static SENDING: Array<Sending> = Array::with_max_entries(1, 0);

/// Records that were not sent for that reason.
#[map]
static SAMPLED_OUT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Whether the record of the I/O with this number is sent, which took so long; counts it when not.
#[inline(always)]
pub fn is_sent(seq: u64, total_ns: u64) -> bool {
    if setting!(samples) == 0 {
        return true;
    }
    let sending = SENDING.get(0).copied().unwrap_or_default();
    if sending.sends(seq, total_ns) {
        return true;
    }
    if let Some(count) = SAMPLED_OUT.get_ptr_mut(0) {
        add(count, 1);
    }
    false
}
