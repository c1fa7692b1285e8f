//! What `/proc` says of processes.

use std::fs;

/// A field of its status, its words apart by one blank; empty where there is no such process or field.
pub fn status(pid: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// KiB of memory that it has.
pub fn resident_kib(pid: u32) -> u64 {
    let text = status(pid, "VmRSS");
    let kib = text.strip_suffix(" kB").and_then(|it| it.parse().ok());
    kib.unwrap_or_else(|| panic!("the memory of process {pid}: {text:?}"))
}
