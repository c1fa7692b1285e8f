//! Loads, made and counted by fio.

use serde_json::Value;

use crate::device::Verity;
use crate::shell::run;

/// Random direct reads with libaio.
#[derive(Clone, Copy, Debug)]
pub struct RandomReads {
    pub count: u64,
    pub kib: u64,
    pub depth: u64,
}

impl RandomReads {
    /// 4 KiB at queue depth 8.
    pub const fn small(count: u64) -> Self {
        Self {
            count,
            kib: 4,
            depth: 8,
        }
    }

    /// 64 KiB at queue depth 8: above every limit of `use_bh_bytes` as the kernel sets it.
    pub const fn large(count: u64) -> Self {
        Self {
            kib: 64,
            ..Self::small(count)
        }
    }

    /// Runs them on a device; returns how many fio says it did.
    pub fn on(self, device: &Verity) -> u64 {
        let text = run(
            "fio",
            &[
                "--name=load",
                "--rw=randread",
                "--direct=1",
                "--ioengine=libaio",
                "--norandommap",
                "--randseed=1",
                "--thread",
                "--output-format=json",
                &format!("--filename={}", device.path()),
                &format!("--bs={}k", self.kib),
                &format!("--iodepth={}", self.depth),
                &format!("--number_ios={}", self.count),
                "--size=64m",
                "--io_size=100g",
            ],
        );
        let start = text.find('{').expect("fio prints JSON");
        let report: Value = serde_json::from_str(&text[start..]).expect("fio prints JSON");
        let job = &report["jobs"][0];
        assert_eq!(job["error"], 0, "fio: {job}");
        job["read"]["total_ios"].as_u64().expect("a count")
    }
}
