//! What the benchmarks have in common: I/Os that nobody made, and one CPU.

use std::io;

use bytemuck::Zeroable as _;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use verity_trace_ebpf::record::{ABSENT, Record};

/// Made up once, and repeated later.
pub const RECORDS: usize = 1_000_000;

/// Keeps this process, and every thread that it starts, on one CPU.
pub fn pin() -> io::Result<usize> {
    let may = sched_getaffinity(None)?;
    let cpu = (0..CpuSet::MAX_CPU).rfind(|&cpu| may.is_set(cpu));
    let cpu = cpu.ok_or_else(|| io::Error::other("there is no CPU"))?;
    let mut one = CpuSet::new();
    one.set(cpu);
    sched_setaffinity(None, &one)?;
    Ok(cpu)
}

/// The same I/O, so many turns later.
pub fn later(record: &Record, turn: usize) -> Record {
    let turn = turn as u64;
    Record {
        seq: record.seq + turn * RECORDS as u64,
        mapped_at: record.mapped_at + turn * 20_000_000_000,
        ..*record
    }
}

/// I/Os of eight CPUs and four processes at queue depth 32, whose times are those of a fast disk, scattered to
/// the nanosecond; some wait for kverityd and some are verified in BH.
pub fn made_up() -> Vec<Record> {
    let mut random = Random(1);
    let mut numbers = [0; 8];
    let mut clock = 1_000_000_000_000;
    let mut records: Vec<_> = (0..RECORDS)
        .map(|_| {
            clock += 4_000 + random.below(24_000);
            let cpu = random.below(8);
            numbers[usize::try_from(cpu).unwrap_or(0)] += 1;
            let is_bh = random.below(10) > 1;
            let device = 60_000 + random.below(30_000) + random.below(30_000);
            let wait = if is_bh {
                800 + random.below(2_000)
            } else {
                5_000 + random.below(40_000)
            };
            let verify = 4_000 + random.below(3_000) + random.below(3_000);
            let submitter = random.below(4);
            Record {
                seq: cpu << 48 | numbers[usize::try_from(cpu).unwrap_or(0)],
                mapped_at: clock,
                sector: random.below(262_144) * 8,
                total_ns: device + wait + verify,
                stages_ns: [device, wait, ABSENT, ABSENT, verify],
                cgroup: 4_026,
                command: *b"fio\0\0\0\0\0\0\0\0\0\0\0\0\0",
                device: 253 << 20,
                bytes: 4_096,
                submitter: 3_000 + u32::try_from(submitter).unwrap_or(0),
                ioprio: 2 << 13,
                submit_cpu: u16::try_from(cpu).unwrap_or(0),
                complete_cpu: u16::try_from(cpu).unwrap_or(0),
                verify_cpu: u16::try_from(if is_bh { cpu } else { random.below(8) }).unwrap_or(0),
                placement: u8::from(is_bh),
                outcome: u8::from(is_bh),
                ..Record::zeroed()
            }
        })
        .collect();
    // They reach the buffer when they finish.
    records.sort_by_key(|record| record.mapped_at + record.total_ns);
    records
}

/// Numbers without a pattern (xorshift64*), the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) * limit) >> 32
    }
}
