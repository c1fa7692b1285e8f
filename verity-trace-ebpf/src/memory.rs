//! Reading kernel memory at offsets that user space found in BTF.

use core::arch::asm;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_probe_read_kernel, generated::bpf_get_func_arg};
use verity_trace_ebpf::settings::CAST_CALL;

/// How memory behind a pointer is read.
pub trait Memory {
    /// Whether user space loads the programs that read it this way by itself, and fills in what only
    /// the kernel's BTF knows.
    const IS_TYPED: bool;

    /// The value at `base + offset`; what cannot be read is 0.
    fn read<T: Copy + Default>(base: u64, offset: u64) -> T;
}

/// Behind a pointer whose type the verifier knows from BTF: an argument of a `tp_btf`, `fentry` or `fexit`
/// program, or a pointer loaded from one. The load is a single instruction; the kernel turns a fault
/// into 0.
pub struct Typed;

/// Behind any other address, through a helper.
pub struct Untyped;

impl Memory for Typed {
    const IS_TYPED: bool = true;

    #[inline(always)]
    fn read<T: Copy + Default>(base: u64, offset: u64) -> T {
        // SAFETY: the verifier accepts the program only when this is a field of a known type, and
        // the kernel handles the fault of a stale pointer.
        unsafe { core::ptr::read_volatile(base.wrapping_add(offset) as *const T) }
    }
}

impl Memory for Untyped {
    const IS_TYPED: bool = false;

    #[inline(always)]
    fn read<T: Copy + Default>(base: u64, offset: u64) -> T {
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_kernel(base.wrapping_add(offset) as *const T) }.unwrap_or_default()
    }
}

/// Makes a pointer of an address, to what the kernel's BTF has this id for, so that [`Typed`] can read
/// behind it: the kernel turns a fault into 0. For programs that user space loads by itself, where it has
/// replaced the call.
#[inline(always)]
pub fn cast(address: u64, type_id: u64) -> u64 {
    let pointer: u64;
    // SAFETY: the function changes nothing but what the verifier knows; a call gives up the registers that
    // are named.
    unsafe {
        asm!(
            "call {cast}",
            cast = const CAST_CALL,
            inout("r1") address => _, inout("r2") type_id => _, out("r0") pointer,
            out("r3") _, out("r4") _, out("r5") _,
            options(pure, nomem),
        );
    }
    pointer
}

/// An argument of an fentry or fexit program as a plain number: the verifier lets nobody calculate
/// with a typed pointer as freely as `io_of_bio` has to.
#[inline(always)]
pub fn scalar_arg(ctx: &impl EbpfContext, index: u32) -> u64 {
    let mut value = 0;
    // SAFETY: the helper writes one value, and fails only for an argument that does not exist.
    unsafe { bpf_get_func_arg(ctx.as_ptr(), index, &raw mut value) };
    value
}

/// The same number, of which the compiler knows nothing: it leaves out no check that the verifier
/// needs, and makes no branch of a calculation.
#[inline(always)]
pub fn opaque(mut number: u64) -> u64 {
    // SAFETY: it only looks like a change.
    unsafe { asm!("{0} = {0}", inout(reg) number, options(nomem, preserves_flags, nostack)) };
    number
}
