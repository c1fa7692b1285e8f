//! Meters of the same I/Os that are not ours: the block layer's counters and dm-stats, with its own
//! clock and histogram.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{major, minor};

use crate::device::{Backing, Verity};
use crate::load::RandomReads;
use crate::placement::{NAME, trace};
use crate::tracer::Document;

/// What `/proc/diskstats` says of a disk. One of device-mapper counts each bio that was mapped, without
/// refused ones (`__map_bio`, drivers/md/dm.c), merges none, and has columns of its own for flushes; other
/// disks count requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskCounts {
    pub reads: u64,
    pub sectors: u64,
}

impl DiskCounts {
    pub fn of(path: &str) -> Self {
        // Behind the name: reads, merged reads, sectors read.
        let columns = columns(path);
        Self {
            reads: columns[0],
            sectors: columns[2],
        }
    }

    /// What came since.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            reads: self.reads - earlier.reads,
            sectors: self.sectors - earlier.sectors,
        }
    }
}

/// I/Os that are in flight on a disk: behind four columns each of reads and writes.
pub fn in_flight(path: &str) -> u64 {
    columns(path)[8]
}

/// The columns of `/proc/diskstats` behind a disk's name.
fn columns(path: &str) -> Vec<u64> {
    let number = fs::metadata(path).expect("a disk").rdev();
    let number = [major(number).to_string(), minor(number).to_string()];
    let disks = fs::read_to_string("/proc/diskstats").expect("disks");
    let words: Vec<&str> = disks
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| words[..2] == number)
        .expect("the disk");
    let columns = words[3..].iter().map(|word| word.parse().expect("a count"));
    columns.collect()
}

/// dm-stats on a verity device. Its buckets begin at 16 us and double up to 8.6 s.
struct DmStats<'a> {
    device: &'a Verity,
}

/// What dm-stats counted.
#[derive(Debug)]
struct DmCounts {
    reads: u64,
    sectors: u64,
    ns: u64,
    buckets: Vec<u64>,
}

fn edges() -> Vec<u64> {
    (14..=33).map(|bit| 1 << bit).collect()
}

impl<'a> DmStats<'a> {
    fn start(device: &'a Verity) -> Self {
        let edges: Vec<_> = edges().iter().map(ToString::to_string).collect();
        let histogram = format!("histogram:{}", edges.join(","));
        let message = ["@stats_create", "-", "/1", "2", "precise_timestamps"];
        device.message(&[&message[..], &[&histogram]].concat());
        Self { device }
    }

    /// Documentation/admin-guide/device-mapper/statistics.rst: the range, then reads, merged reads, sectors
    /// and time of reads, as many for writes, five more, and the histogram.
    fn stop(self) -> DmCounts {
        let line = self.device.message(&["@stats_print", "0"]);
        self.device.message(&["@stats_delete", "0"]);
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |word: &str| word.parse().unwrap_or_else(|_| panic!("{line}"));
        DmCounts {
            reads: number(words[1]),
            sectors: number(words[3]),
            ns: number(words[4]),
            buckets: words[14].split(':').map(number).collect(),
        }
    }
}

/// The bucket that holds a quantile.
fn bucket_at(buckets: &[u64], permille: u64) -> usize {
    let rank = (buckets.iter().sum::<u64>() * permille).div_ceil(1000);
    let mut seen = 0;
    buckets
        .iter()
        .position(|count| {
            seen += count;
            seen >= rank
        })
        .expect("a histogram with something in it")
}

/// Our `total` of all placements in the buckets of dm-stats, and its sum. A bucket of ours goes by its
/// lower end: it is no longer than what it holds.
fn totals(document: &Document) -> (Vec<u64>, u64) {
    let edges = edges();
    let mut buckets = vec![0; edges.len() + 1];
    let mut sum = 0;
    let placements = document.device(NAME)["placements"].as_object();
    for placement in placements.expect("placements").values() {
        let total = &placement["stages"]["total"];
        sum += total["sum_ns"].as_u64().expect("a sum");
        for bucket in total["buckets"].as_array().expect("buckets") {
            let lower = bucket["lower_ns"].as_u64().expect("a time");
            let index = edges.partition_point(|&edge| edge <= lower);
            buckets[index] += bucket["count"].as_u64().expect("a count");
        }
    }
    (buckets, sum)
}

/// Both meter every I/O of one load. dm-stats begins in `alloc_io`, before the target's map function is
/// called, and ends in `dm_end_io_acct`, which `bio_endio` in `verity_finish_io` leads to
/// (drivers/md/dm.c of 6.1, 6.12 and 7.3). So each time of its is longer than ours, by what is between
/// the two and by our own programs: for every quantile the same bucket or, near an edge, the next.
pub fn agrees_with_dm_stats(device: &Verity, load: RandomReads) {
    let before = device.counts();
    let stats = DmStats::start(device);
    let (document, ios) = trace(device, load);
    let theirs = stats.stop();
    let counts = device.counts().since(before);
    let (ours, sum) = totals(&document);

    let bytes = ios * load.kib * 1024;
    assert_eq!((counts.reads, counts.sectors * 512), (ios, bytes));
    // "The race only results in not counting some events" (`dm_stat_for_entry`, drivers/md/dm-stats.c).
    assert!(theirs.reads <= ios && theirs.reads + ios / 100 >= ios);
    assert!(theirs.sectors * 512 <= bytes);
    assert!(theirs.reads < ios || sum <= theirs.ns, "{sum} {theirs:?}");
    for permille in [500, 900, 990] {
        let (our, their) = (
            bucket_at(&ours, permille),
            bucket_at(&theirs.buckets, permille),
        );
        println!("p{permille}: bucket {our}, by dm-stats {their}");
        assert!(
            (our..=our + 1).contains(&their),
            "{permille} permille: ours {ours:?}, by dm-stats {:?}",
            theirs.buckets
        );
    }
}

#[test]
fn counts_and_percentiles_are_those_of_dm_stats() {
    let device = Backing::virtio().open(NAME, true);
    device.warm_up();
    agrees_with_dm_stats(&device, RandomReads::small(2_000));
}
