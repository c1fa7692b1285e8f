//! The eBPF programs. On any other target this is an empty program, so that cargo's commands work
//! on the whole workspace.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch, core_intrinsics))]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        internal_features,
        reason = "atomic addition has no other name on this target"
    )
)]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        clippy::inline_always,
        reason = "a call between BPF functions costs the verifier what it knows about the arguments"
    ),
    expect(
        clippy::needless_pass_by_value,
        reason = "the macros ask for programs that take their context by value"
    ),
    expect(
        clippy::needless_borrows_for_generic_args,
        reason = "what is borrowed is not copied again onto a stack of 512 bytes"
    ),
    expect(
        clippy::cast_possible_truncation,
        reason = "CPU numbers, shards and thread group ids are smaller than what they come in"
    )
)]

#[cfg(target_arch = "bpf")]
mod account;
#[cfg(target_arch = "bpf")]
mod bio;
#[cfg(target_arch = "bpf")]
mod bufio;
#[cfg(target_arch = "bpf")]
mod cpu;
#[cfg(target_arch = "bpf")]
mod limits;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod memory;
#[cfg(target_arch = "bpf")]
mod places;
#[cfg(target_arch = "bpf")]
mod queues;
#[cfg(target_arch = "bpf")]
mod sampling;
#[cfg(target_arch = "bpf")]
mod softirq;
#[cfg(target_arch = "bpf")]
mod submissions;
#[cfg(target_arch = "bpf")]
mod task;
#[cfg(target_arch = "bpf")]
mod tracepoints;
#[cfg(target_arch = "bpf")]
mod verify;
#[cfg(target_arch = "bpf")]
mod workqueue;

/// The licence that the kernel asks for: tracing helpers are for GPL-compatible programs alone.
#[cfg(target_arch = "bpf")]
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
