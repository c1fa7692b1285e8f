//! What `/proc` says of processes.

use std::fs;

/// A field of its status, its words apart by one blank; empty where there is no such process or field.
pub fn status(pid: u32, field: &str) -> String {
    line(pid, "status", field)
}

/// KiB of memory that it has.
pub fn resident_kib(pid: u32) -> u64 {
    kib(pid, "status", "VmRSS")
}

/// The KiB that a field of one of its files says.
pub fn kib(pid: u32, file: &str, field: &str) -> u64 {
    let text = line(pid, file, field);
    let kib = text.strip_suffix(" kB").and_then(|it| it.parse().ok());
    kib.unwrap_or_else(|| panic!("{field} of process {pid}: {text:?}"))
}

fn line(pid: u32, file: &str, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
