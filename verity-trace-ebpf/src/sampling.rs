//! Which records are sent when there is a budget for them (`--max-overhead`).

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray};

use crate::account::add;
use crate::maps::setting;

/// The bits of an I/O's number that are 0 where its record is sent: none when every record is. User
/// space writes it.
#[map]
static SAMPLING: Array<u64> = Array::with_max_entries(1, 0);

/// Records that were not sent for that reason.
#[map]
static SAMPLED_OUT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Whether the record of the I/O with this number is sent; counts it when not.
#[inline(always)]
pub fn is_sent(seq: u64) -> bool {
    if setting!(samples) == 0 {
        return true;
    }
    let mask = SAMPLING.get(0).copied().unwrap_or(0);
    if seq & mask == 0 {
        return true;
    }
    if let Some(count) = SAMPLED_OUT.get_ptr_mut(0) {
        add(count, 1);
    }
    false
}
