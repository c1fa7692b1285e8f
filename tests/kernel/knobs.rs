//! Limits of the kernel that a test changes, and that are as before when it is done.

use std::fs;

use crate::LabKernel;
use crate::shell::run;

/// How many hash blocks a prefetch reads at once, in bytes of data blocks; the default again when
/// dropped.
pub struct PrefetchCluster;

const PREFETCH_CLUSTER: &str = "/sys/module/dm_verity/parameters/prefetch_cluster";

impl PrefetchCluster {
    /// The smallest: a cold cache then stays cold for most of a load.
    pub fn smallest() -> Self {
        run("modprobe", &["dm_verity"]);
        fs::write(PREFETCH_CLUSTER, "4096").expect("set prefetch_cluster");
        Self
    }
}

impl Drop for PrefetchCluster {
    fn drop(&mut self) {
        fs::write(PREFETCH_CLUSTER, "262144").expect("set prefetch_cluster");
    }
}

/// `use_bh_bytes`, where the kernel has it; as it was when dropped.
pub struct Limits {
    before: Option<String>,
}

impl Limits {
    pub const FILE: &str = "/sys/module/dm_verity/parameters/use_bh_bytes";

    pub fn keep() -> Self {
        let has_limits = LabKernel::running() == LabKernel::Inline;
        Self {
            before: has_limits.then(|| fs::read_to_string(Self::FILE).expect(Self::FILE)),
        }
    }

    /// Of the classes none, real time, best effort and idle, in bytes.
    pub fn set(&self, limits: [u32; 4]) {
        if self.before.is_some() {
            let limits = limits.map(|it| it.to_string()).join(",");
            fs::write(Self::FILE, limits).expect(Self::FILE);
        }
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            fs::write(Self::FILE, before.trim()).expect(Self::FILE);
        }
    }
}

/// See [`Backing::with_short_requests`].
pub struct ShortRequests {
    file: String,
    before: String,
}

impl ShortRequests {
    pub fn set(disk: &str, kib: u64) -> Self {
        let name = disk.trim_start_matches("/dev/");
        let file = format!("/sys/block/{name}/queue/max_sectors_kb");
        let before = fs::read_to_string(&file).expect("a limit");
        fs::write(&file, kib.to_string()).expect("set max_sectors_kb");
        Self { file, before }
    }
}

impl Drop for ShortRequests {
    fn drop(&mut self) {
        fs::write(&self.file, self.before.trim()).expect("set max_sectors_kb");
    }
}

/// `kernel.kptr_restrict`, which hides the kernel's addresses: with 1 from whoever lacks `CAP_SYSLOG`, with 2 from
/// everybody. As it was when dropped.
pub struct HiddenAddresses {
    before: String,
}

const KPTR_RESTRICT: &str = "/proc/sys/kernel/kptr_restrict";

impl HiddenAddresses {
    pub fn set(restrict: u8) -> Self {
        let before = fs::read_to_string(KPTR_RESTRICT).expect(KPTR_RESTRICT);
        fs::write(KPTR_RESTRICT, restrict.to_string()).expect(KPTR_RESTRICT);
        Self { before }
    }
}

impl Drop for HiddenAddresses {
    fn drop(&mut self) {
        fs::write(KPTR_RESTRICT, self.before.trim()).expect(KPTR_RESTRICT);
    }
}
