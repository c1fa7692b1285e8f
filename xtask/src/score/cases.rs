//! Cases: a data device, hash blocks that are cached or not, and a load, drawn by chance from a seed.

use std::fmt;

use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

/// What decides in which context the data device completes, and how long it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    /// A RAM disk: in the task that reads.
    Ram,
    /// `null_blk` with irqmode 0: the same.
    InTask,
    /// With irqmode 1: on the way of a softirq, where there are several queues.
    BySoftirq,
    /// With irqmode 2: in the interrupt of a timer that goes off after so many nanoseconds.
    ByTimer(u32),
}

/// Completion times of a timer, from a fast SSD to a slow one.
const TIMERS_NS: [u32; 6] = [5_000, 10_000, 20_000, 50_000, 100_000, 200_000];
/// Reading times of a hash block where it is not in the cache.
const COLD_NS: [u32; 4] = [50_000, 100_000, 200_000, 400_000];
const DEPTHS: [u32; 5] = [1, 2, 4, 8, 16];
/// More I/Os than a case needs, of each size: what a block costs is what costs time here.
const SMALL: u32 = 800;
const LARGE: u32 = 200;
/// Where the cache is cold it is chance which blocks it keeps, and how long kverityd waits for a task: the same case of 800 I/Os,
/// recorded twice, had a gain of 48 % and a loss of 194 %.
const COLD: u32 = 3_200;

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// 4 KiB at random.
    Small,
    /// 8 KiB at random, the largest that `use_bh_bytes` lets in by itself.
    Double,
    /// 128 KiB, one after the other.
    Sequential,
    /// 4 to 64 KiB at random.
    Mixed,
    /// 4 KiB at random by processes of the classes real time, best effort and idle.
    Classes,
    /// 4 KiB at random, with a small cache of hash blocks in front of a device that takes so many nanoseconds.
    Cold(u32),
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    number: usize,
    disk: Disk,
    load: Load,
    depth: u32,
    /// Whether `use_bh_bytes` lets in every size of the load, where the kernel has it.
    is_raised: bool,
}

/// So many cases. The first ones are the same, however many there are.
pub fn cases(seed: u64, count: usize) -> Vec<Case> {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    (1..=count)
        .map(|number| case(number, &mut random))
        .collect()
}

/// Loads take turns, the rest is chance: half of the devices complete in interrupts, as hardware does.
fn case(number: usize, random: &mut Pcg64Mcg) -> Case {
    let mut of = |values: &[u32]| values.choose(random).copied().unwrap_or_default();
    let (timer, cold, depth) = (of(&TIMERS_NS), of(&COLD_NS), of(&DEPTHS));
    let load = match number % 6 {
        1 => Load::Small,
        2 => Load::Mixed,
        3 => Load::Cold(cold),
        4 => Load::Double,
        5 => Load::Classes,
        _ => Load::Sequential,
    };
    let disk = match random.random_range(0..6) {
        0 => Disk::Ram,
        1 => Disk::InTask,
        2 => Disk::BySoftirq,
        _ => Disk::ByTimer(timer),
    };
    Case {
        number,
        disk,
        load,
        depth,
        is_raised: random.random_bool(0.5),
    }
}

impl Case {
    /// A line for the script in the guest: name, kind of disk and its time, reading time of hash blocks, limit, and what
    /// fio is told.
    pub fn line(&self) -> String {
        let (disk, ns) = match self.disk {
            Disk::Ram => ("brd", 0),
            Disk::InTask => ("0", 0),
            Disk::BySoftirq => ("1", 0),
            Disk::ByTimer(ns) => ("2", ns),
        };
        let hashes = match self.load {
            Load::Cold(ns) => ns,
            _ => 0,
        };
        let limit = if self.raises() { 131_072 } else { 0 };
        let (seed, load) = (self.number, self.fio());
        format!("{self} {disk} {ns} {hashes} {limit} --randseed={seed} {load}")
    }

    /// Limits matter where something is above them.
    fn raises(&self) -> bool {
        self.is_raised && matches!(self.load, Load::Sequential | Load::Mixed)
    }

    fn fio(&self) -> String {
        let depth = self.depth;
        let reads = |how: &str, count: u32| {
            let engine = if depth == 1 {
                "--ioengine=psync".to_owned()
            } else {
                format!("--ioengine=libaio --iodepth={depth}")
            };
            format!("{engine} {how} --number_ios={count}")
        };
        match self.load {
            Load::Small => reads("--name=small --rw=randread --bs=4k", SMALL),
            Load::Cold(_) => reads("--name=small --rw=randread --bs=4k", COLD),
            Load::Double => reads("--name=double --rw=randread --bs=8k", SMALL),
            Load::Sequential => reads("--name=sequential --rw=read --bs=128k", LARGE),
            Load::Mixed => reads(
                "--name=mixed --rw=randread --bssplit=4k/50:8k/20:16k/20:64k/10",
                SMALL / 2,
            ),
            Load::Classes => {
                let job = |name: &str, class: u32| {
                    reads(
                        &format!("--name={name} --rw=randread --bs=4k --prioclass={class}"),
                        SMALL / 3,
                    )
                };
                [job("rt", 1), job("be", 2), job("idle", 3)].join(" ")
            }
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}-", self.number)?;
        match self.disk {
            Disk::Ram => write!(f, "brd")?,
            Disk::InTask => write!(f, "null_blk0")?,
            Disk::BySoftirq => write!(f, "null_blk1")?,
            Disk::ByTimer(ns) => write!(f, "null_blk2-{}us", ns / 1_000)?,
        }
        match self.load {
            Load::Small => write!(f, "-4k")?,
            Load::Double => write!(f, "-8k")?,
            Load::Sequential => write!(f, "-128k")?,
            Load::Mixed => write!(f, "-mixed")?,
            Load::Classes => write!(f, "-classes")?,
            Load::Cold(ns) => write!(f, "-cold-{}us", ns / 1_000)?,
        }
        write!(f, "-depth-{}", self.depth)?;
        if self.raises() {
            write!(f, "-raised")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_makes_the_same_cases_and_another_one_others() {
        let lines =
            |seed, count| -> Vec<String> { cases(seed, count).iter().map(Case::line).collect() };
        assert_eq!(lines(1, 12), lines(1, 24)[..12]);
        assert_ne!(lines(1, 12), lines(2, 12));
    }

    #[test]
    fn names_are_words_and_all_different() {
        let cases = cases(3, 60);
        let names: BTreeSet<String> = cases.iter().map(Case::to_string).collect();
        assert_eq!(names.len(), 60);
        assert!(names.iter().all(|it| !it.contains([' ', '/'])));
        let of = |what| names.iter().filter(|it| it.contains(what)).count();
        for what in ["brd", "null_blk0", "null_blk1", "null_blk2", "raised"] {
            assert!(of(what) > 2, "{what}: {names:?}");
        }
        for what in ["-4k", "-8k", "-128k", "-mixed", "-classes", "-cold"] {
            assert_eq!(of(what), 10, "{what}");
        }
    }
}
