//! Loads, made and counted by fio.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::device::Verity;
use crate::shell::{run, wait_until};

/// Random direct reads with libaio.
#[derive(Clone, Copy, Debug)]
pub struct RandomReads {
    /// By all jobs together.
    pub count: u64,
    pub kib: u64,
    pub depth: u64,
    pub jobs: u64,
}

/// What all loads have in common.
const COMMON: [&str; 6] = [
    "--direct=1",
    "--ioengine=libaio",
    "--norandommap",
    "--randseed=1",
    "--thread",
    "--output-format=json",
];

impl RandomReads {
    /// 4 KiB at queue depth 8.
    pub const fn small(count: u64) -> Self {
        Self {
            count,
            kib: 4,
            depth: 8,
            jobs: 1,
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
        let options = [
            "--name=load",
            "--rw=randread",
            "--group_reporting",
            &format!("--filename={}", device.path()),
            &format!("--bs={}k", self.kib),
            &format!("--iodepth={}", self.depth),
            &format!("--numjobs={}", self.jobs),
            &format!("--number_ios={}", self.count / self.jobs),
            "--io_size=100g",
        ];
        total_ios(&run("fio", &[&COMMON[..], &options].concat()))
    }
}

/// What fio says it did without an error, over all its jobs.
fn total_ios(text: &str) -> u64 {
    let start = text.find('{').expect("fio prints JSON");
    let report: Value = serde_json::from_str(&text[start..]).expect("fio prints JSON");
    let jobs = report["jobs"].as_array().expect("jobs");
    jobs.iter()
        .map(|job| {
            assert_eq!(job["error"], 0, "fio: {job}");
            job["read"]["total_ios"].as_u64().expect("a count")
        })
        .sum()
}

/// fio, reading until it is stopped.
pub struct Running<'a> {
    fio: Option<Child>,
    device: &'a Verity,
}

impl<'a> Running<'a> {
    /// Returns once the device has been read from.
    pub fn start(device: &'a Verity, jobs: &[&str]) -> Self {
        let file = format!("--filename={}", device.path());
        let common = [&COMMON[..], &["--time_based", "--runtime=1h", &file]].concat();
        let fio = Command::new("fio")
            .args([&common, jobs].concat())
            .stdout(Stdio::piped())
            .spawn()
            .expect("fio");
        let running = Self {
            fio: Some(fio),
            device,
        };
        running.run_for(1);
        running
    }

    /// Returns once so many more reads have finished.
    pub fn run_for(&self, reads: u64) {
        let before = self.device.counts();
        wait_until("fio has read on", || {
            self.device.counts().since(before).reads >= reads
        });
    }

    /// Ends it and waits for its last read.
    pub fn stop(self) {
        self.report();
    }

    /// The same, and returns how many fio says it did, all without an error.
    pub fn stop_and_count(self) -> u64 {
        total_ios(&self.report())
    }

    fn report(mut self) -> String {
        let fio = self.fio.take().expect("it runs until it is stopped");
        run("kill", &["-INT", &fio.id().to_string()]);
        let output = fio.wait_with_output().expect("fio");
        // What fio ends with when it was told to (`fio_backend`, backend.c).
        assert_eq!(output.status.code(), Some(128));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Running<'_> {
    /// Where a test fails before it stops it: nobody can close a device that is being read.
    fn drop(&mut self) {
        if let Some(mut fio) = self.fio.take() {
            // One that has ended by itself is not there to be killed, and has to be waited for all the same.
            let _ = fio.kill();
            let _ = fio.wait();
        }
    }
}
