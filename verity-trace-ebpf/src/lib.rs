//! What the kernel programs and user space share: the vocabulary, the state of an I/O in flight,
//! the record it becomes, the histogram slots and the load-time settings.
//!
//! Architecture invariant: nothing here calls a BPF helper, reads a clock or allocates, so that
//! every part runs, and is tested, on the host.
#![no_std]
#![expect(
    clippy::inline_always,
    reason = "a call between BPF functions costs the verifier what it knows about the arguments"
)]

pub mod context;
pub mod counters;
pub mod hash_cache;
pub mod in_flight;
pub mod loss;
pub mod placement;
pub mod queue_counters;
pub mod reason;
pub mod record;
pub mod sending;
pub mod settings;
pub mod slot;
pub mod submitters;
pub mod table;
