//! dm-verity devices on the backings that decide where the data I/O completes.

use std::fs;
use std::os::unix::fs::FileExt as _;

use crate::shell::{run, succeeds, wait_until};

const DATA_BYTES: u64 = 64 << 20;

const NULL_BLK: &str = "/sys/kernel/config/nullb";

/// An open dm-verity device, closed when dropped.
pub struct Verity {
    name: String,
}

/// Where a device's data and hashes are.
#[derive(Clone, Debug)]
pub struct Backing {
    data: String,
    hash: String,
}

impl Backing {
    /// Two block devices.
    pub fn at(data: &str, hash: &str) -> Self {
        Self {
            data: data.to_owned(),
            hash: hash.to_owned(),
        }
    }

    /// virtio-blk with as many queues as CPUs: completes in hardirq.
    pub fn virtio() -> Self {
        Self::at(&variable("LAB_DATA"), &variable("LAB_HASH"))
    }

    /// A RAM disk with the same data: completes in the task that reads. A new one each time.
    pub fn brd() -> Self {
        let virtio = Self::virtio();
        if succeeds("test", &["-b", "/dev/ram0"]) {
            run("rmmod", &["brd"]);
        }
        let kib = format!("rd_size={}", DATA_BYTES / 1024);
        run("modprobe", &["brd", "rd_nr=2", &kib]);
        for (from, to) in [(&virtio.data, "/dev/ram0"), (&virtio.hash, "/dev/ram1")] {
            copy(from, to);
        }
        Self::at("/dev/ram0", "/dev/ram1")
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
        let sectors: u64 = run("blockdev", &["--getsz", &self.data])
            .trim()
            .parse()
            .expect("a number");
        let (start, data) = (block * 8, &self.data);
        let rest = start + 8;
        let table = format!(
            "0 {start} linear {data} 0\n{start} 8 error\n{rest} {} linear {data} {rest}",
            sectors - rest
        );
        let broken = Mapped::create("broken", &table);
        let backing = Self {
            data: broken.path(),
            ..self.clone()
        };
        (backing, broken)
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
        let root_hash = variable("LAB_ROOT_HASH");
        let device = ["open", &self.data, name, &self.hash, &root_hash];
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
    fn create(name: &'static str, table: &str) -> Self {
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
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let removed = succeeds("dmsetup", &["remove", self.0]);
        assert!(removed || std::thread::panicking(), "remove {}", self.0);
    }
}

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

fn copy(from: &str, to: &str) {
    let (from, to) = (format!("if={from}"), format!("of={to}"));
    run("dd", &[&from, &to, "bs=1M", "conv=fsync"]);
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; this runs in the lab alone"))
}
