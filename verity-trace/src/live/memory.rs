//! The memory that the start took: the kernel's types and symbols are much larger than all that is kept.

use std::fs;
use std::ops::Range;
use std::ptr;

use rustix::mm::{Advice, madvise};

/// Gives it back for good. The allocator would hold it as long as the process lives; and of a heap that is long and nearly
/// empty the kernel makes huge pages by and by, so that one page in use takes 2 MiB (`khugepaged`,
/// Documentation/admin-guide/mm/transhuge.rst, `max_ptes_none`).
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only releases pages that nothing is in.
    unsafe {
        libc::malloc_trim(0);
    }
    // The advice is of these regions, not of the process: a command that this one starts is to run as it always does.
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else {
        return;
    };
    for region in maps.lines().filter_map(own) {
        let start = ptr::with_exposed_provenance_mut(region.start);
        // SAFETY: it changes nothing of what is in the memory. A region that is gone by now is refused, and so is the
        // advice where the kernel has no huge pages.
        let _ = unsafe { madvise(start, region.len(), Advice::LinuxNoHugepage) };
    }
}

/// The addresses of a line of `/proc/PID/maps` (Documentation/filesystems/proc.rst) where it is memory of no file.
fn own(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let is_private = fields.next()? == "rw-p";
    let has_no_file = fields.nth(2)? == "0";
    let address = |text| usize::from_str_radix(text, 16).ok();
    (is_private && has_no_file).then_some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_no_file_is_found() {
        let heap = "7f0000001000-7f0000003000 rw-p 00000000 00:00 0                  [heap]";
        assert_eq!(own(heap), Some(0x7f00_0000_1000..0x7f00_0000_3000));
        assert_eq!(
            own("1000-2000 rw-p 00000000 00:00 0 "),
            Some(0x1000..0x2000)
        );
        for other in [
            "1000-2000 rw-p 00000000 fe:01 77        /usr/bin/verity-trace",
            "1000-2000 rw-s 00000000 00:0f 1037      anon_inode:bpf-map",
            "1000-2000 ---p 00000000 00:00 0 ",
            "1000-2000 r-xp 00000000 00:00 0         [vdso]",
            "",
        ] {
            assert_eq!(own(other), None, "{other}");
        }
    }
}
