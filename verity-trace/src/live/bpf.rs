//! The few bpf(2) calls that aya does not make: programs that attach to a function inside a module
//! need that module's BTF object, which aya never passes.

use std::ffi::{CStr, c_char};
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use aya_obj::generated::{
    bpf_attach_type, bpf_attr, bpf_btf_info, bpf_cmd, bpf_insn, bpf_link_info, bpf_prog_info,
    bpf_prog_type, bpf_stats_type,
};

/// What a tracing program is loaded with.
pub struct TracingProgram<'a> {
    /// Name, cut to 15 bytes.
    pub name: &'a str,
    /// The instructions, with maps and calls relocated.
    pub instructions: &'a [bpf_insn],
    /// Licence.
    pub license: &'a CStr,
    /// What kind of hook it attaches to.
    pub attach_type: bpf_attach_type,
    /// The function or tracepoint in BTF.
    pub attach_btf_id: u32,
    /// The module's BTF, or another BPF program; absent for the kernel's own.
    pub module: Option<BorrowedFd<'a>>,
}

/// Loads a tracing program; on refusal the error carries the verifier's reason.
pub fn load(program: &TracingProgram<'_>) -> io::Result<OwnedFd> {
    match try_load(program, &mut []) {
        Err(error) if error.raw_os_error() != Some(libc::EPERM) => {
            let mut log = vec![0u8; 1 << 20];
            try_load(program, &mut log).map_err(|error| {
                let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
                let reason = verdict(&String::from_utf8_lossy(&log[..end]));
                io::Error::new(error.kind(), format!("{error} ({reason})"))
            })
        }
        result => result,
    }
}

/// The verifier's reason for a refusal: the last line of its log that is no statistic.
pub fn verdict(log: &str) -> String {
    log.lines()
        .map(str::trim)
        .rfind(|line| {
            let statistics = ["processed ", "verification time", "stack depth", "subprog "];
            !line.is_empty() && !statistics.iter().any(|start| line.starts_with(start))
        })
        .unwrap_or("the verifier gave no reason")
        .to_owned()
}

fn try_load(program: &TracingProgram<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: the attributes are all zeroes, which is valid for every member of the union.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    for (to, &from) in load.prog_name[..15].iter_mut().zip(program.name.as_bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    load.prog_type = bpf_prog_type::BPF_PROG_TYPE_TRACING as u32;
    load.expected_attach_type = program.attach_type as u32;
    load.insns = program.instructions.as_ptr() as u64;
    load.insn_cnt = length(program.instructions.len())?;
    load.license = program.license.as_ptr() as u64;
    load.attach_btf_id = program.attach_btf_id;
    if let Some(module) = program.module {
        load.__bindgen_anon_1.attach_btf_obj_fd = module.as_raw_fd().cast_unsigned();
    }
    if !log.is_empty() {
        load.log_level = 1;
        load.log_buf = log.as_mut_ptr() as u64;
        load.log_size = length(log.len())?;
    }
    call_for_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// Attaches a tracing program to what it was loaded for. Closing the result detaches it.
pub fn attach(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.raw_tracepoint.prog_fd = program.as_raw_fd().cast_unsigned();
    call_for_fd(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
}

/// The BTF object of a module.
pub fn module_btf(name: &str) -> io::Result<OwnedFd> {
    let all = Objects {
        next: bpf_cmd::BPF_BTF_GET_NEXT_ID,
        open: bpf_cmd::BPF_BTF_GET_FD_BY_ID,
    };
    let found = all.find(|btf| {
        let mut found = [0u8; 64];
        // SAFETY: all zeroes are valid for a structure of numbers.
        let mut info: bpf_btf_info = unsafe { std::mem::zeroed() };
        info.name = found.as_mut_ptr() as u64;
        info.name_len = length(found.len())?;
        object_info(btf, &mut info)?;
        let end = found.iter().position(|&byte| byte == 0).unwrap_or(0);
        Ok(&found[..end] == name.as_bytes())
    })?;
    found.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
}

/// How often the kernel did not run a program because it was already running on that CPU.
pub fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(program_info(program)?.recursion_misses)
}

/// How often a program was run, and for how many nanoseconds, while the kernel's statistics were on.
pub fn runs(program: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let info = program_info(program)?;
    Ok((info.run_cnt, info.run_time_ns))
}

/// Turns the kernel's statistics of all BPF programs on until the result is closed, and every other
/// that somebody holds.
pub fn enable_statistics() -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.enable_stats.type_ = bpf_stats_type::BPF_STATS_RUN_TIME as u32;
    call_for_fd(bpf_cmd::BPF_ENABLE_STATS, &mut attr)
}

fn program_info(program: BorrowedFd<'_>) -> io::Result<bpf_prog_info> {
    // SAFETY: all zeroes are valid for a structure of numbers.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    object_info(&program, &mut info)?;
    Ok(info)
}

/// The link by which a program is attached; absent where the kernel has none for its kind.
pub fn link_of(program: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let wanted = program_info(program)?.id;
    let all = Objects {
        next: bpf_cmd::BPF_LINK_GET_NEXT_ID,
        open: bpf_cmd::BPF_LINK_GET_FD_BY_ID,
    };
    all.find(|link| {
        // SAFETY: all zeroes are valid for a structure of numbers.
        let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
        object_info(link, &mut info)?;
        Ok(info.prog_id == wanted)
    })
}

/// All objects of one kind, each with a number.
struct Objects {
    /// What gives the number after another.
    next: bpf_cmd,
    /// What opens the one of a number.
    open: bpf_cmd,
}

impl Objects {
    fn find(
        &self,
        mut is_wanted: impl FnMut(&OwnedFd) -> io::Result<bool>,
    ) -> io::Result<Option<OwnedFd>> {
        let mut id = 0;
        loop {
            let mut attr = zeroed();
            attr.__bindgen_anon_6.__bindgen_anon_1.start_id = id;
            match call(self.next, &mut attr) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
                result => result?,
            };
            // SAFETY: the kernel wrote this member.
            id = unsafe { attr.__bindgen_anon_6.next_id };

            let mut attr = zeroed();
            // The first number in this member, whatever the kind.
            attr.__bindgen_anon_6.__bindgen_anon_1.start_id = id;
            let object = match call_for_fd(self.open, &mut attr) {
                Err(error) if cannot_be_opened(&error) => continue,
                result => result?,
            };
            if is_wanted(&object)? {
                return Ok(Some(object));
            }
        }
    }
}

/// Whether an object whose number was listed went away since, or is a link that somebody is creating: it
/// has a number before it can be opened (`bpf_link_by_id`, kernel/bpf/syscall.c).
fn cannot_be_opened(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EAGAIN))
}

/// How often a kprobe did not fire; absent where the kernel does not say, which is before
/// Linux 6.7 (`bpf_perf_link_fill_kprobe`, kernel/bpf/syscall.c). Such a kernel also does not count
/// what `trace_call_bpf` (`kernel/trace/bpf_trace.c`) does not run.
pub fn kprobe_misses(link: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    // SAFETY: all zeroes are valid for a structure of numbers.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    let written = object_info(&link, &mut info)?;
    let end = size_of::<u64>()
        + offset_of!(
            bpf_link_info,
            __bindgen_anon_1.perf_event.__bindgen_anon_1.kprobe.missed
        );
    if written < end {
        return Ok(None);
    }
    // SAFETY: the kernel wrote so far, or zeroes stand there.
    let missed = unsafe {
        info.__bindgen_anon_1
            .perf_event
            .__bindgen_anon_1
            .kprobe
            .missed
    };
    Ok(Some(missed))
}

/// Fills in what the kernel says of an object; returns how many bytes that are.
fn object_info<T>(fd: &impl std::os::fd::AsRawFd, info: &mut T) -> io::Result<usize> {
    let mut attr = zeroed();
    attr.info.bpf_fd = fd.as_raw_fd().cast_unsigned();
    attr.info.info_len = length(size_of::<T>())?;
    attr.info.info = std::ptr::from_mut(info) as u64;
    call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    // SAFETY: the kernel wrote this member.
    Ok(unsafe { attr.info.info_len } as usize)
}

pub(super) fn zeroed() -> bpf_attr {
    // SAFETY: all zeroes are valid for every member of this union of numbers.
    unsafe { std::mem::zeroed() }
}

pub(super) fn length(n: usize) -> io::Result<u32> {
    u32::try_from(n).map_err(io::Error::other)
}

pub(super) fn call_for_fd(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = call(command, attr)?;
    // SAFETY: these commands return a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(super) fn call(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the attributes are as long as is said, and every pointer in them is to memory of the
    // length beside it that outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_the_last_line_that_is_no_statistic() {
        let log = "0: (b7) r0 = 0\nR1 invalid mem access 'scalar'\nverification time 12 usec\n\
                   processed 1 insns (limit 1000000)\n\n";
        assert_eq!(verdict(log), "R1 invalid mem access 'scalar'");
        assert_eq!(verdict(""), "the verifier gave no reason");
    }

    #[test]
    fn an_object_that_comes_or_goes_is_passed_over_and_a_refusal_is_not() {
        let passed_over = |code| cannot_be_opened(&io::Error::from_raw_os_error(code));
        assert!(passed_over(libc::ENOENT));
        assert!(passed_over(libc::EAGAIN));
        assert!(!passed_over(libc::EPERM));
    }
}
