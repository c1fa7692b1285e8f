//! The data disk and the matching hash disk that every lab machine has.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::host::HostTools;
use crate::{install, workspace};

const DATA_BYTES: u64 = 64 << 20;

/// Fixed, so that the hash disk is the same on every machine.
const FORMAT: [&str; 5] = [
    "--hash=sha256",
    "--data-block-size=4096",
    "--hash-block-size=4096",
    "--salt=6c61622073616c74206f66207665726974792d74726163652c20333220622121",
    "--uuid=2f5f1d3c-7d0e-4b0a-9a57-0c1d2e3f4a5b",
];

/// A dm-verity device that is not opened yet.
pub struct Disks {
    pub data: PathBuf,
    pub hash: PathBuf,
    pub root_hash: String,
}

pub fn install(host: &HostTools) -> Result<Disks> {
    let dir = workspace::lab("disks");
    let recipe = format!("{DATA_BYTES} {}", FORMAT.join(" "));
    install::folder(&dir, &recipe, |part| make(host, part)).context("make the lab's disks")?;
    Ok(Disks {
        data: dir.join("data.img"),
        hash: dir.join("hash.img"),
        root_hash: fs::read_to_string(dir.join("root-hash"))?,
    })
}

fn make(host: &HostTools, dir: &Path) -> Result<()> {
    let (data, hash) = (dir.join("data.img"), dir.join("hash.img"));
    let mut file = BufWriter::new(File::create(&data)?);
    for word in Words(0).take(usize::try_from(DATA_BYTES / 8)?) {
        file.write_all(&word.to_le_bytes())?;
    }
    file.flush()?;
    File::create(&hash)?;
    let mut args: Vec<OsString> = vec!["format".into()];
    args.extend(FORMAT.map(OsString::from));
    args.extend([data.into(), hash.into()]);
    let printed = host.output("usr/sbin/veritysetup", args)?;
    let root_hash = root_hash(&printed).context("veritysetup printed no root hash")?;
    fs::write(dir.join("root-hash"), root_hash).context("write the root hash")
}

fn root_hash(printed: &str) -> Option<&str> {
    Some(
        printed
            .lines()
            .find_map(|line| line.strip_prefix("Root hash:"))?
            .trim(),
    )
}

/// Pseudo-random numbers that are the same everywhere (`SplitMix64`).
struct Words(u64);

impl Iterator for Words {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(word ^ (word >> 31))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_never_changes() {
        let words: Vec<u64> = Words(0).take(2).collect();
        assert_eq!(words, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn finds_the_root_hash() {
        let printed = "Salt:            \t00\nRoot hash:      \t4fa5\n";
        assert_eq!(root_hash(printed), Some("4fa5"));
        assert_eq!(root_hash("no such line"), None);
    }
}
