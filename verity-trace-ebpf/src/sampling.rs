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

/// Records that were not sent: under a budget all of them, else those alone that were asked for and found no
/// quota left.
#[map]
static UNSENT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Whether the record of the I/O with this number is sent, which took so long.
#[inline(always)]
pub fn is_sent(seq: u64, total_ns: u64) -> bool {
    if setting!(samples) == 0 {
        return true;
    }
    let Some(sending) = SENDING.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: a pointer to a valid value, which user space writes to meanwhile; any mixture of two values is one.
    let asked = unsafe { (*sending).asks_for(seq, total_ns) };
    if setting!(has_quota) == 0 {
        if !asked {
            count_unsent();
        }
        return asked;
    }
    if !asked {
        return false;
    }
    // SAFETY: as above.
    let quota = unsafe { &raw mut (*sending).quota };
    // SAFETY: as above.
    if unsafe { quota.read_volatile() } <= 0 {
        count_unsent();
        return false;
    }
    add(quota.cast(), u64::MAX);
    true
}

#[inline(always)]
fn count_unsent() {
    if let Some(count) = UNSENT.get_ptr_mut(0) {
        add(count, 1);
    }
}
