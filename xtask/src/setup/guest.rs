//! The programs inside the lab's machines: a read-only file system that is their `/usr`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::host::{HostTools, SUITE};
use crate::apt::{BY_HAND, Reach, Suite};
use crate::{command, install, progress, workspace};

const PACKAGES: [&str; 10] = [
    "bash",
    "bpftool",
    "bpftrace",
    "busybox-static",
    "cryptsetup-bin",
    "dash",
    "dmsetup",
    "e2fsprogs",
    "fio",
    "kmod",
];

/// A file system without what only writing needs.
const MKE2FS: [&str; 12] = [
    "-q",
    "-F",
    "-t",
    "ext4",
    "-O",
    "^has_journal",
    "-m",
    "0",
    "-b",
    "4096",
    "-E",
    "root_owner=0:0",
];

/// Where the guest's programs are.
pub struct Guest {
    /// A file system with what belongs under `/usr`.
    pub usr: PathBuf,
    /// The one program that the guest has before `/usr` is there.
    pub busybox: PathBuf,
}

pub fn install(host: &HostTools) -> Result<Guest> {
    let dir = workspace::lab("guest");
    install::folder(&dir, &PACKAGES.join(" "), |part| make(host, part)).with_context(|| {
        install::missing(
            "fio, dmsetup and others",
            "the lab's machines use them",
            BY_HAND,
        )
    })?;
    Ok(Guest {
        usr: dir.join("usr.img"),
        busybox: dir.join("busybox"),
    })
}

fn make(host: &HostTools, dir: &Path) -> Result<()> {
    let tree = dir.join("tree");
    fs::create_dir(&tree)?;
    Suite::open(SUITE)?.unpack("guest programs", &PACKAGES, Reach::Closure, &tree)?;
    let usr = tree.join("usr");
    fs::copy(usr.join("bin/busybox"), dir.join("busybox"))?;
    link_applets(&usr.join("bin"))?;
    fs::create_dir_all(usr.join("lib/modules"))?;
    make_image(host, &usr, &dir.join("usr.img"))?;
    fs::remove_dir_all(tree).context("remove the unpacked guest programs")
}

/// Gives busybox every name that no other program has.
fn link_applets(bin: &Path) -> Result<()> {
    let applets = command::output(Command::new(bin.join("busybox")).arg("--list"))?;
    let sbin = bin.with_file_name("sbin");
    for applet in applets.lines() {
        let taken = [bin, &sbin]
            .iter()
            .any(|dir| dir.join(applet).symlink_metadata().is_ok());
        if !taken {
            symlink("busybox", bin.join(applet))?;
        }
    }
    Ok(())
}

/// Makes a file system image that holds the contents of a folder and little room besides.
pub fn make_image(host: &HostTools, from: &Path, image: &Path) -> Result<()> {
    let step = progress::step(&format!(
        "making {}",
        image.file_name().unwrap_or_default().display()
    ));
    let usage = command::output(Command::new("du").args(["-sk", "--inodes"]).arg(from))?;
    let inodes = first_number(&usage)? + 64;
    let usage = command::output(Command::new("du").arg("-sk").arg(from))?;
    let kib = first_number(&usage)? * 21 / 20 + inodes / 2 + 4096;
    let mut options: Vec<OsString> = MKE2FS.map(OsString::from).to_vec();
    options.extend(["-N".into(), inodes.to_string().into()]);
    options.extend([
        "-d".into(),
        from.into(),
        image.into(),
        format!("{kib}k").into(),
    ]);
    host.output("usr/sbin/mke2fs", options)?;
    step.finish_and_clear();
    Ok(())
}

fn first_number(text: &str) -> Result<u64> {
    let number = text.split_whitespace().next().unwrap_or_default();
    number
        .parse()
        .with_context(|| format!("no number in `{text}`"))
}
