//! What it costs to run an empty program, measured on programs that nobody else runs.
//!
//! A BPF program that does nothing is run by `BPF_PROG_TEST_RUN`, with and without an empty program
//! attached to it: the kernel calls that through the same trampoline as one for a function of its own.
//! Each such run also passes the tracepoint `bpf_test_finish` once (`net/bpf/test_run.c`), which
//! nothing else does; there, several empty programs at once stand out from the call around them.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use aya_obj::generated::bpf_attach_type::{self, BPF_TRACE_FENTRY, BPF_TRACE_RAW_TP};
use aya_obj::generated::{bpf_cmd, bpf_insn, bpf_prog_type};

use crate::cost::{Attachment, Calibration};
use crate::kernel::Types;
use crate::live::bpf::{self, TracingProgram};

/// How often the kernel runs the program in one call.
const REPEAT: u32 = 4_000;

/// Calls that are timed together, each with one run.
const CALLS: u32 = 64;

/// Empty programs at the tracepoint.
const COPIES: u32 = 16;

/// Each is measured so often, and the fastest counts: whatever else the CPU did made it slower.
const ROUNDS: usize = 7;

/// The number of the function in [`TYPES`].
const FUNCTION: u32 = 3;

/// What describes `static int empty(void)` in BTF: types of three words and more, by include/uapi/linux/btf.h.
const TYPES: [u32; 10] = [
    // 1: an `int` of 32 bits, signed.
    1,
    1 << 24,
    4,
    1 << 24 | 32,
    // 2: a function without arguments that returns type 1.
    0,
    13 << 24,
    1,
    // 3: the function of type 2.
    5,
    12 << 24,
    2,
];

const NAMES: &[u8] = b"\0int\0empty\0";

/// Measures; what this kernel refuses stays absent.
#[must_use]
pub fn calibrate(types: &Types) -> Calibration {
    let mut calibration = Calibration::default();
    let Ok(target) = target() else {
        return calibration;
    };
    if let Ok((dispatch, clock)) = fentry(&target) {
        calibration.clock_ns = Some(clock);
        calibration
            .dispatch_ns
            .extend(dispatch.map(|ns| (Attachment::Fentry, ns)));
    }
    if let Ok(Some(ns)) = tracepoint(&target, types) {
        calibration.dispatch_ns.insert(Attachment::TpBtf, ns);
    }
    calibration
}

/// The cost of one call of an fentry program, where it stands out, and what the statistics say of
/// one.
fn fentry(target: &OwnedFd) -> io::Result<(Option<u64>, u64)> {
    let without = fastest(|| run(target, REPEAT))?;
    let program = empty(BPF_TRACE_FENTRY, FUNCTION, Some(target.as_fd()))?;
    let _link = bpf::attach(program.as_fd())?;
    let with = fastest(|| run(target, REPEAT))?;
    let statistics = bpf::enable_statistics()?;
    run(target, REPEAT)?;
    drop(statistics);
    let (runs, run_ns) = bpf::runs(program.as_fd())?;
    let clock = run_ns
        .checked_div(runs)
        .ok_or_else(|| io::Error::other("the program was not run"))?;
    Ok((difference(with, without, REPEAT), clock))
}

fn tracepoint(target: &OwnedFd, types: &Types) -> io::Result<Option<u64>> {
    let Some(id) = types.tracepoint("bpf_test_finish") else {
        return Ok(None);
    };
    let calls = || (0..CALLS).try_for_each(|_| run(target, 1));
    let without = fastest(calls)?;
    let mut attached = Vec::new();
    for _ in 0..COPIES {
        let program = empty(BPF_TRACE_RAW_TP, id, None)?;
        attached.push((bpf::attach(program.as_fd())?, program));
    }
    Ok(difference(fastest(calls)?, without, CALLS * COPIES))
}

fn fastest(run: impl Fn() -> io::Result<()>) -> io::Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        run()?;
        times.push(begun.elapsed());
    }
    Ok(times.into_iter().min().unwrap_or_default())
}

/// The difference by run, in nanoseconds; absent when there is none to see.
fn difference(with: Duration, without: Duration, runs: u32) -> Option<u64> {
    let each = with.checked_sub(without)?.checked_div(runs)?;
    u64::try_from(each.as_nanos()).ok().filter(|&ns| ns > 0)
}

/// Loads a program that only returns.
pub fn empty(
    attach_type: bpf_attach_type,
    attach_btf_id: u32,
    of: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    bpf::load(&TracingProgram {
        name: "verity_trace",
        instructions: &nothing(),
        license: c"GPL",
        attach_type,
        attach_btf_id,
        module: of,
    })
}

/// `r0 = 0; exit`, include/uapi/linux/bpf.h.
fn nothing() -> [bpf_insn; 2] {
    [0xb7, 0x95].map(|code| {
        // SAFETY: all zeroes are valid for a structure of numbers.
        let mut instruction: bpf_insn = unsafe { std::mem::zeroed() };
        instruction.code = code;
        instruction
    })
}

/// The program that is run: one with a type, which another can be attached to.
fn target() -> io::Result<OwnedFd> {
    let types = btf()?;
    let function_info = [0, FUNCTION];
    let instructions = nothing();
    let mut attr = bpf::zeroed();
    // SAFETY: the attributes are all zeroes, which is valid for every member of the union.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32;
    load.insns = instructions.as_ptr() as u64;
    load.insn_cnt = bpf::length(instructions.len())?;
    load.license = c"GPL".as_ptr() as u64;
    load.prog_btf_fd = types.as_raw_fd().cast_unsigned();
    load.func_info = function_info.as_ptr() as u64;
    load.func_info_rec_size = bpf::length(size_of_val(&function_info))?;
    load.func_info_cnt = 1;
    bpf::call_for_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

fn btf() -> io::Result<OwnedFd> {
    const HEADER_BYTES: u32 = 24;
    const MAGIC_AND_VERSION: u32 = if cfg!(target_endian = "little") {
        0x0001_eb9f
    } else {
        0xeb9f_0100
    };
    let type_bytes = bpf::length(size_of_val(&TYPES))?;
    let header = [
        MAGIC_AND_VERSION,
        HEADER_BYTES,
        0,
        type_bytes,
        type_bytes,
        bpf::length(NAMES.len())?,
    ];
    let words = header.iter().chain(&TYPES);
    let mut blob: Vec<u8> = words.flat_map(|word| word.to_ne_bytes()).collect();
    blob.extend_from_slice(NAMES);
    let mut attr = bpf::zeroed();
    // SAFETY: as in `target`.
    let load = unsafe { &mut attr.__bindgen_anon_7 };
    load.btf = blob.as_ptr() as u64;
    load.btf_size = bpf::length(blob.len())?;
    bpf::call_for_fd(bpf_cmd::BPF_BTF_LOAD, &mut attr)
}

/// Has the kernel run the target, on a packet that it does not look at.
fn run(target: &OwnedFd, repeat: u32) -> io::Result<()> {
    let packet = [0u8; 64];
    let mut attr = bpf::zeroed();
    attr.test.prog_fd = target.as_raw_fd().cast_unsigned();
    attr.test.data_in = packet.as_ptr() as u64;
    attr.test.data_size_in = bpf::length(packet.len())?;
    attr.test.repeat = repeat;
    bpf::call(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_stand_out_is_absent() {
        let us = Duration::from_micros;
        assert_eq!(difference(us(50), us(10), 1_000), Some(40));
        assert_eq!(difference(us(10), us(10), 1_000), None);
        assert_eq!(difference(us(9), us(10), 1_000), None);
    }
}
