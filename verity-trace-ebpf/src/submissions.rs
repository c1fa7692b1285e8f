//! Who submits I/Os, counted as each finishes. Only when asked for: it takes a look-up in a hash map.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap};
use verity_trace_ebpf::in_flight::InFlight;
use verity_trace_ebpf::submitters::{Submitted, Submitter, key};

use crate::account::add;

/// What each process submitted to each device, by [`key`]. An I/O of one that finds no room is counted in
/// `UNLISTED`.
#[map]
static SUBMITTERS: HashMap<u64, Submitter> = HashMap::with_max_entries(1, 0);

/// I/Os of processes that found no room, by device slot.
#[map]
static UNLISTED: Array<Submitted> = Array::with_max_entries(1, 0);

/// Counts a finished I/O, once.
#[inline(always)]
pub fn finished(state: &InFlight) {
    let submitter = state.submitter();
    let key = key(state.device_slot(), submitter.task);
    if let Some(known) = SUBMITTERS.get_ptr_mut(&key) {
        count(known.cast(), state.bytes());
        return;
    }
    let new = Submitter {
        submitted: Submitted {
            ios: 1,
            bytes: u64::from(state.bytes()),
        },
        cgroup: submitter.cgroup,
        command: *submitter.command,
    };
    if SUBMITTERS.insert(&key, &new, BPF_NOEXIST.into()).is_ok() {
        return;
    }
    // Another CPU was first, there is no room, or the bucket is locked by what this interrupted.
    if let Some(known) = SUBMITTERS.get_ptr_mut(&key) {
        count(known.cast(), state.bytes());
    } else if let Some(unlisted) = UNLISTED.get_ptr_mut(state.device_slot()) {
        count(unlisted, state.bytes());
    }
}

#[inline(always)]
fn count(submitted: *mut Submitted, bytes: u32) {
    // SAFETY: pointers to fields of a valid value, which a `Submitter` begins with.
    unsafe {
        add(&raw mut (*submitted).ios, 1);
        add(&raw mut (*submitted).bytes, u64::from(bytes));
    }
}
