//! What the block layer counts for a disk.

use std::path::PathBuf;
use std::{fs, io};

use crate::kernel;
use crate::snapshot::{DeviceNumber, Reads, version};

/// What a disk has read since it was created. Of device-mapper's disks the kernel counts an I/O when it has
/// finished, as of others, and each bio that was mapped, without those that the target refused
/// (`__map_bio` and `dm_io_acct`, drivers/md/dm.c; before Linux 6.3 when it begins,
/// `bdev_start_io_acct`, block/blk-core.c).
pub fn reads(number: DeviceNumber) -> io::Result<Reads> {
    let text = fs::read_to_string(format!("/sys/dev/block/{number}/stat"))?;
    parse(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// I/Os that the block layer counts as in flight on a disk of device-mapper's, none on one that is gone; absent where
/// it does not count them (`queue/iostats`), or cannot be asked.
#[must_use]
pub fn in_flight(device: DeviceNumber) -> Option<u64> {
    let folder: PathBuf = format!("/sys/dev/block/{device}").into();
    match fs::read_to_string(folder.join("queue/iostats")) {
        Ok(counts) if counts.trim() == "0" && can_be_off(&kernel::machine().release) => {
            return None;
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(0),
        Err(_) => return None,
    }
    let counts = fs::read_to_string(folder.join("inflight")).ok()?;
    counts
        .split_ascii_whitespace()
        .map(|word| word.parse::<u64>().ok())
        .sum()
}

/// Whether device-mapper heeds `iostats`: before Linux 6.6 it counts all the same, and the file always has 0
/// (`DM_IO_BLK_STAT`, drivers/md/dm-core.h).
fn can_be_off(release: &str) -> bool {
    version(release).is_none_or(|version| version >= (6, 6))
}

/// Reads, merged reads, sectors of 512 bytes, and more that is not about reads or not a count
/// (Documentation/block/stat.rst).
fn parse(text: &str) -> Option<Reads> {
    let mut words = text.split_ascii_whitespace();
    let ios = words.next()?.parse().ok()?;
    let sectors: u64 = words.nth(1)?.parse().ok()?;
    Some(Reads {
        ios,
        bytes: sectors * 512,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_kernels_count_whatever_the_file_says() {
        for release in ["6.6.0", "6.12.117+deb13-cloud-amd64", "10.0-rc1", "odd"] {
            assert!(can_be_off(release), "{release}");
        }
        for release in ["6.1.0-50-cloud-amd64", "5.15.0", "6.5.13"] {
            assert!(!can_be_off(release), "{release}");
        }
    }

    #[test]
    fn reads_and_their_sectors_are_taken() {
        let line = "     300        7     2400       41        1        2        3        4        5 6 7\n";
        let reads = Reads {
            ios: 300,
            bytes: 1_228_800,
        };
        assert_eq!(parse(line), Some(reads));
        assert_eq!(parse(""), None);
        assert_eq!(parse("300 7 many"), None);
    }
}
