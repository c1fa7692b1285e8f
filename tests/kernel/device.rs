//! dm-verity devices on the backings that decide where the data I/O completes.

use std::fs;
use std::os::unix::fs::FileExt as _;

use crate::knobs::ShortRequests;
use crate::oracle::DiskCounts;
use crate::shell::{run, succeeds, wait_until};

const DATA_BYTES: u64 = 64 << 20;

const NULL_BLK: &str = "/sys/kernel/config/nullb";

/// An open dm-verity device, closed when dropped.
pub struct Verity {
    name: String,
}

/// Where a device's data and hashes are, and what they add up to.
#[derive(Clone, Debug)]
pub struct Backing {
    data: String,
    hash: String,
    root_hash: String,
}

impl Backing {
    /// Two block devices with the lab's data and hashes.
    fn at(data: &str, hash: &str) -> Self {
        Self {
            data: data.to_owned(),
            hash: hash.to_owned(),
            root_hash: variable("LAB_ROOT_HASH"),
        }
    }

    /// The first and the second of some RAM disks of this size, all of them new.
    pub fn ram_disks(count: u32, kib: u64) -> Self {
        if succeeds("test", &["-b", "/dev/ram0"]) {
            run("rmmod", &["brd"]);
        }
        let (count, kib) = (format!("rd_nr={count}"), format!("rd_size={kib}"));
        run("modprobe", &["brd", &count, &kib]);
        Self::at("/dev/ram0", "/dev/ram1")
    }

    /// Two RAM disks of this size for each, all of them new, and one more behind them.
    pub fn three_of_ram(kib: u64) -> [Self; 3] {
        Self::ram_disks(7, kib);
        [0, 2, 4].map(|first| {
            let (data, hash) = (format!("/dev/ram{first}"), format!("/dev/ram{}", first + 1));
            Self::at(&data, &hash)
        })
    }

    /// Computes hashes of what is on the data device, with what veritysetup calls its options.
    pub fn format(self, options: &[&str]) -> Self {
        let printed = run(
            "veritysetup",
            &[&["format", &self.data, &self.hash], options].concat(),
        );
        let root_hash = printed.lines().find_map(|it| it.strip_prefix("Root hash:"));
        Self {
            root_hash: root_hash.expect("a root hash").trim().to_owned(),
            ..self
        }
    }

    /// virtio-blk with as many queues as CPUs: completes in hardirq.
    pub fn virtio() -> Self {
        Self::at(&variable("LAB_DATA"), &variable("LAB_HASH"))
    }

    /// A RAM disk with the same data: completes in the task that reads. A new one each time.
    pub fn brd() -> Self {
        let (virtio, brd) = (Self::virtio(), Self::ram_disks(2, DATA_BYTES / 1024));
        copy(&virtio.data, &brd.data);
        copy(&virtio.hash, &brd.hash);
        brd
    }

    /// virtio-blk with one queue for both CPUs: completes in the BLOCK softirq.
    pub fn virtio_with_one_queue() -> Self {
        Self {
            data: variable("LAB_DATA_ONE_QUEUE"),
            ..Self::virtio()
        }
    }

    /// `NVMe`: completes in hardirq.
    pub fn nvme() -> Self {
        run("modprobe", &["nvme"]);
        let data = "/dev/nvme0n1".to_owned();
        wait_until("the NVMe disk is there", || {
            succeeds("test", &["-b", &data])
        });
        Self {
            data,
            ..Self::virtio()
        }
    }

    /// A loop device over a file in memory: its worker completes, and with one queue that is handed to
    /// the BLOCK softirq (`blk_mq_complete_request_remote`, block/blk-mq.c).
    pub fn loop_device() -> Self {
        let virtio = Self::virtio();
        let file = "/tmp/loop.img";
        if !succeeds("test", &["-e", file]) {
            run("modprobe", &["loop"]);
            copy(&virtio.data, file);
            run("losetup", &["/dev/loop7", file]);
        }
        Self {
            data: "/dev/loop7".to_owned(),
            ..virtio
        }
    }

    /// A `null_blk` device that keeps what is written to it, and completes as `irqmode` says: 0 and
    /// 1 in the task that submits, 2 in a timer's hardirq (`drivers/block/null_blk/main.c`).
    pub fn null_blk(irqmode: u8) -> Self {
        let virtio = Self::virtio();
        if !succeeds("test", &["-d", NULL_BLK]) {
            run("modprobe", &["null_blk", "nr_devices=0"]);
            let configfs = "/sys/kernel/config";
            run("mount", &["-t", "configfs", "configfs", configfs]);
        }
        let name = format!("mode{irqmode}");
        let folder = format!("{NULL_BLK}/{name}");
        if !succeeds("test", &["-d", &folder]) {
            fs::create_dir(&folder).expect("a null_blk device");
            for (attribute, value) in [
                ("size", "64"),
                ("blocksize", "4096"),
                ("memory_backed", "1"),
                ("submit_queues", "1"),
                ("irqmode", &irqmode.to_string()),
                ("power", "1"),
            ] {
                fs::write(format!("{folder}/{attribute}"), value)
                    .unwrap_or_else(|error| panic!("{attribute}: {error}"));
            }
        }
        let index = fs::read_to_string(format!("{folder}/index")).expect("its number");
        // Later kernels call the disk by the folder's name.
        let data = [
            format!("/dev/{name}"),
            format!("/dev/nullb{}", index.trim()),
        ]
        .into_iter()
        .find(|path| succeeds("test", &["-b", path]))
        .expect("a null_blk disk");
        copy(&virtio.data, &data);
        Self { data, ..virtio }
    }

    /// The same with every read of a hash block 20 ms late, behind dm-delay.
    pub fn with_slow_hashes(&self) -> (Self, Mapped) {
        let sectors = run("blockdev", &["--getsz", &self.hash]);
        let table = format!("0 {} delay {} 0 20", sectors.trim(), self.hash);
        let slow = Mapped::create("slow", &table);
        let backing = Self {
            hash: slow.path(),
            ..self.clone()
        };
        (backing, slow)
    }

    /// The same with one data block that cannot be read.
    pub fn with_a_broken_block(&self, block: u64) -> (Self, Mapped) {
        self.with_one_block_from("broken", block, "error")
    }

    /// The same with one data block that holds something else.
    pub fn with_a_wrong_block(&self, block: u64) -> (Self, Mapped) {
        self.with_one_block_from("wrong", block, &format!("linear {} 0", self.hash))
    }

    fn with_one_block_from(&self, name: &'static str, block: u64, target: &str) -> (Self, Mapped) {
        let (start, data) = (block * 8, &self.data);
        let rest = start + 8;
        let table = format!(
            "0 {start} linear {data} 0\n{start} 8 {target}\n{rest} {} linear {data} {rest}",
            self.sectors() - rest
        );
        self.behind(Mapped::create(name, &table))
    }

    /// The same with data that dm-linear puts together from two parts, the second beginning in the
    /// middle of a mebibyte.
    pub fn in_two_parts(&self) -> (Self, Mapped) {
        let (data, all) = (&self.data, self.sectors());
        let half = all / 2 + 8;
        let rest = all - half;
        let table = format!("0 {half} linear {data} 0\n{half} {rest} linear {data} {half}");
        self.behind(Mapped::create("parts", &table))
    }

    /// dm-crypt on the data device, with the beginning of the lab's data in it, hashed anew.
    pub fn encrypted(&self) -> (Self, Mapped) {
        let key = "0123456789abcdef".repeat(8);
        let table = format!(
            "0 {} crypt aes-xts-plain64 {key} 0 {} 0",
            self.sectors(),
            self.data
        );
        let (backing, crypt) = self.behind(Mapped::create("crypt", &table));
        let mebibytes = format!("count={}", self.sectors() / 2048);
        let (from, to) = (format!("if={}", Self::virtio().data), crypt.path());
        run(
            "dd",
            &[
                &from,
                &format!("of={to}"),
                "bs=1M",
                &mebibytes,
                "conv=fsync",
            ],
        );
        (backing.format(&[]), crypt)
    }

    /// The same with a device-mapper device as data device.
    fn behind(&self, mapped: Mapped) -> (Self, Mapped) {
        let backing = Self {
            data: mapped.path(),
            ..self.clone()
        };
        (backing, mapped)
    }

    /// The same with the data of a verity device on it: what it hands out is what it lies on.
    pub fn on(&self, below: &Verity) -> Self {
        Self {
            data: below.path(),
            ..self.clone()
        }
    }

    /// The data device as a disk for anything.
    pub fn as_disk(&self, name: &'static str) -> Mapped {
        Mapped::create(
            name,
            &format!("0 {} linear {} 0", self.sectors(), self.data),
        )
    }

    fn sectors(&self) -> u64 {
        let sectors = run("blockdev", &["--getsz", &self.data]);
        sectors.trim().parse().expect("a number")
    }

    /// What the block layer counts for the data device.
    pub fn data_counts(&self) -> DiskCounts {
        DiskCounts::of(&self.data)
    }

    /// The longest request that the data device takes, in KiB; the default again when dropped.
    pub fn with_short_requests(&self, kib: u64) -> ShortRequests {
        ShortRequests::set(&self.data, kib)
    }

    /// Turns the bits of one byte of a data block over.
    pub fn corrupt(&self, block: u64) {
        let disk = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.data)
            .expect("the data device");
        let mut byte = [0];
        disk.read_exact_at(&mut byte, block * 4096).expect("a read");
        disk.write_all_at(&[!byte[0]], block * 4096)
            .and_then(|()| disk.sync_all())
            .expect("a write");
    }

    /// Opens a dm-verity device on it, with the option or without, and an empty hash cache.
    pub fn open(&self, name: &str, option: bool) -> Verity {
        self.open_with(name, if option { &["--use-tasklets"] } else { &[] })
    }

    /// The same with what veritysetup calls its options.
    pub fn open_with(&self, name: &str, options: &[&str]) -> Verity {
        let device = ["open", &self.data, name, &self.hash, &self.root_hash];
        run("veritysetup", &[&device, options].concat());
        Verity::named(name)
    }
}

impl Verity {
    /// One that is open.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn path(&self) -> String {
        format!("/dev/mapper/{}", self.name)
    }

    /// Whether a block can be read.
    pub fn reads_block(&self, block: u64) -> bool {
        let from = format!("if={}", self.path());
        let skip = format!("skip={block}");
        let arguments = [
            &from,
            "of=/dev/null",
            "bs=4096",
            "count=1",
            "iflag=direct",
            &skip,
        ];
        succeeds("dd", &arguments)
    }

    /// Reads every block once, so that every hash block is in the cache.
    pub fn warm_up(&self) {
        let from = format!("if={}", self.path());
        run("dd", &[&from, "of=/dev/null", "bs=1M", "iflag=direct"]);
    }

    /// Sends it a device-mapper message, and returns the answer.
    pub fn message(&self, words: &[&str]) -> String {
        let device = ["message", &self.name, "0"];
        run("dmsetup", &[&device, words].concat())
    }

    /// What the block layer counts for it.
    pub fn counts(&self) -> DiskCounts {
        DiskCounts::of(&self.path())
    }

    /// Gives it another table: the same with the option or without. I/Os that were mapped before finish
    /// under the old one (`dm_swap_table`, drivers/md/dm.c).
    pub fn reload(&self, option: bool) {
        let table = run("dmsetup", &["table", &self.name]);
        let words: Vec<&str> = table.split_whitespace().collect();
        // Start, length, target and its ten parameters, then the number of options.
        let mut table = words[..13].join(" ");
        if option {
            table.push_str(" 1 try_verify_in_tasklet");
        }
        let reload = ["reload", "--readonly", &self.name, "--table", &table];
        run("dmsetup", &reload);
        run("dmsetup", &["resume", &self.name]);
    }

    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Verity {
    fn drop(&mut self) {
        let closed = succeeds("veritysetup", &["close", &self.name]);
        assert!(closed || std::thread::panicking(), "close {}", self.name);
    }
}

/// Another device-mapper device; drop it after the device that uses it.
pub struct Mapped(&'static str);

impl Mapped {
    pub fn create(name: &'static str, table: &str) -> Self {
        run("dmsetup", &["create", name, "--table", table]);
        Self(name)
    }

    /// One that cannot be written to, as all that has to do with verity.
    pub fn read_only(name: &'static str, table: &str) -> Self {
        run("dmsetup", &["create", name, "--readonly", "--table", table]);
        Self(name)
    }

    pub fn path(&self) -> String {
        format!("/dev/mapper/{}", self.0)
    }

    /// From now on it answers nothing, until the guard is gone.
    pub fn suspend(&self) -> Suspended<'_> {
        run("dmsetup", &["suspend", "--noflush", "--nolockfs", self.0]);
        Suspended(self)
    }
}

/// See [`Mapped::suspend`].
pub struct Suspended<'a>(&'a Mapped);

impl Drop for Suspended<'_> {
    fn drop(&mut self) {
        let resumed = succeeds("dmsetup", &["resume", self.0.0]);
        assert!(resumed || std::thread::panicking(), "resume {}", self.0.0);
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let removed = succeeds("dmsetup", &["remove", self.0]);
        assert!(removed || std::thread::panicking(), "remove {}", self.0);
    }
}

fn copy(from: &str, to: &str) {
    let (from, to) = (format!("if={from}"), format!("of={to}"));
    run("dd", &[&from, &to, "bs=1M", "conv=fsync"]);
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; this runs in the lab alone"))
}
