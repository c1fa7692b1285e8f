//! What is mounted where, down to the verity device that it lies on.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::dm::VerityDevice;
use crate::error::Result;
use crate::snapshot::DeviceNumber;

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// File systems that lie on no block device.
const NOWHERE: [&str; 9] = [
    "rootfs", "ramfs", "tmpfs", "nfs", "nfs4", "cifs", "9p", "virtiofs", "ceph",
];

/// The mounts of this process's mount namespace.
#[derive(Clone, Debug)]
pub struct Mounts {
    mounts: Vec<Mount>,
    /// The devices that a device is made of.
    below: fn(DeviceNumber) -> Vec<DeviceNumber>,
}

#[derive(Clone, Debug)]
struct Mount {
    point: PathBuf,
    device: DeviceNumber,
    kind: String,
    source: String,
}

impl Mounts {
    /// Reads them from the running kernel.
    pub fn read() -> Result<Self> {
        Self::read_from(MOUNTINFO)
    }

    /// The mounts of the first process, whose namespace is the system's.
    pub fn of_the_system() -> Result<Self> {
        Self::read_from("/proc/1/mountinfo")
    }

    fn read_from(file: &'static str) -> Result<Self> {
        let text = fs::read(file).context(file)?;
        let mut mounts = Self::parse(&String::from_utf8_lossy(&text), below);
        for mount in &mut mounts.mounts {
            mount.find_number();
        }
        Ok(mounts)
    }

    /// No mounts at all.
    #[must_use]
    pub fn none() -> Self {
        Self::parse("", |_| Vec::new())
    }

    /// Reads the text of `/proc/self/mountinfo` (Documentation/filesystems/proc.rst); `below` tells
    /// the devices that a device is made of.
    #[must_use]
    pub fn parse(mountinfo: &str, below: fn(DeviceNumber) -> Vec<DeviceNumber>) -> Self {
        let mounts = mountinfo.lines().filter_map(Mount::parse).collect();
        Self { mounts, below }
    }

    /// Whether something is mounted there.
    #[must_use]
    pub fn has(&self, point: &Path) -> bool {
        self.mounts.iter().any(|mount| mount.point == point)
    }

    /// The verity device that what is mounted there lies on, itself or below others; otherwise why
    /// there is none.
    pub fn verity_device<'a>(
        &self,
        point: &Path,
        devices: &'a [VerityDevice],
    ) -> Result<&'a VerityDevice, String> {
        // What was mounted last hides what was mounted there before.
        let mount = self.mounts.iter().rev().find(|mount| mount.point == point);
        let mount = mount.ok_or("is no mount point")?;
        let number = mount.number(devices);
        let mut found = self.at_the_bottom_of(number, devices).into_iter();
        match (found.next(), found.next()) {
            (Some(device), None) => Ok(device),
            (Some(_), Some(_)) => Err(format!(
                "is on device {number}, which lies on several dm-verity devices"
            )),
            (None, _) => Err(format!(
                "is on device {number}, which is no dm-verity device and lies on none"
            )),
        }
    }

    /// Whether what is mounted there lies on this device, however many others are between; absent where it cannot be
    /// told. What is no mount point does not, by itself.
    #[must_use]
    pub fn lies_on(
        &self,
        point: &Path,
        number: DeviceNumber,
        devices: &[VerityDevice],
    ) -> Option<bool> {
        let mounts = self.mounts.iter().filter(|mount| mount.point == point);
        let found: Vec<_> = mounts
            .map(|mount| {
                let upper = mount.number(devices);
                if self.all_below(upper).contains(&number) {
                    return Some(true);
                }
                // A number of its own, such as that of an overlay, tells nothing.
                let is_known = upper.major != 0 || NOWHERE.contains(&mount.kind.as_str());
                is_known.then_some(false)
            })
            .collect();
        if found.contains(&Some(true)) {
            return Some(true);
        }
        (!found.contains(&None)).then_some(false)
    }

    /// A device and all that it lies on.
    fn all_below(&self, number: DeviceNumber) -> BTreeSet<DeviceNumber> {
        let mut seen = BTreeSet::new();
        let mut left = vec![number];
        while let Some(number) = left.pop() {
            if seen.insert(number) {
                left.extend((self.below)(number));
            }
        }
        seen
    }

    /// The verity devices that a device is or lies on; what is below them does not matter.
    fn at_the_bottom_of<'a>(
        &self,
        number: DeviceNumber,
        devices: &'a [VerityDevice],
    ) -> Vec<&'a VerityDevice> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        let mut left = vec![number];
        while let Some(number) = left.pop() {
            if !seen.insert(number) {
                continue;
            }
            match devices.iter().find(|device| device.number == number) {
                Some(device) => found.push(device),
                None => left.extend((self.below)(number)),
            }
        }
        found
    }
}

impl Mount {
    /// `36 35 254:0 / /mnt ro - ext4 /dev/vda ro`, with any number of fields before the dash.
    fn parse(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(2);
        let mut file_system = file_system.split(' ');
        Some(Self {
            device: mount.next()?.parse().ok()?,
            point: unescape(mount.nth(1)?).into(),
            kind: file_system.next()?.to_owned(),
            source: unescape(file_system.next()?),
        })
    }

    /// The number of the device that is named as its source, where it has one of its own.
    fn find_number(&mut self) {
        if self.device.major == 0
            && self.source.starts_with("/dev/")
            && let Ok(found) = fs::metadata(&self.source)
        {
            self.device = device_number(found.rdev());
        }
    }

    /// The number of the device. A file system that may span several, such as btrfs, has a number
    /// of its own, and only the name of its source tells.
    fn number(&self, devices: &[VerityDevice]) -> DeviceNumber {
        let by_name = self.source.strip_prefix("/dev/mapper/").and_then(|name| {
            let device = devices.iter().find(|device| device.name == name)?;
            Some(device.number)
        });
        match (self.device.major, by_name) {
            (0, Some(number)) => number,
            _ => self.device,
        }
    }
}

/// Blanks, line breaks and backslashes are written as three octal digits.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut unescaped = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|it| u8::from_str_radix(it, 8).ok());
        if let Some(code) = code.filter(u8::is_ascii) {
            unescaped.push(code.into());
            unescaped.push_str(&part[3..]);
        } else {
            unescaped.push('\\');
            unescaped.push_str(part);
        }
    }
    unescaped
}

fn device_number(dev: u64) -> DeviceNumber {
    DeviceNumber {
        major: libc::major(dev),
        minor: libc::minor(dev),
    }
}

/// The devices that a device is made of, as the running kernel lists them, and the one that the file of a loop device is
/// on; none for a disk.
fn below(number: DeviceNumber) -> Vec<DeviceNumber> {
    let file = fs::read_to_string(format!("/sys/dev/block/{number}/loop/backing_file"));
    if let Ok(file) = file {
        let found = fs::metadata(file.trim_end_matches('\n'));
        return found.map_or_else(|_| Vec::new(), |it| vec![device_number(it.dev())]);
    }
    let Ok(entries) = fs::read_dir(format!("/sys/dev/block/{number}/slaves")) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.ok()?.path().join("dev")).ok()?;
            text.trim().parse().ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Table;
    use proptest::prelude::*;

    const MOUNTINFO: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
36 22 253:0 / /usr ro,relatime shared:2 master:1 - erofs /dev/mapper/usr ro\n\
37 22 253:2 / /srv/with\\040blank ro - squashfs /dev/mapper/top ro\n\
38 22 253:3 / /srv/both ro - ext4 /dev/mapper/both ro\n\
39 22 0:45 /sub /srv/btrfs ro - btrfs /dev/mapper/data ro,subvol=/sub\n\
40 22 254:16 / /usr/local rw - ext4 /dev/vdb rw\n\
41 22 253:1 / /usr/local ro - ext4 /dev/mapper/data ro\n\
42 22 0:46 / /proc rw - proc proc rw\n";

    fn number(minor: u32) -> DeviceNumber {
        DeviceNumber { major: 253, minor }
    }

    fn device(name: &str, minor: u32) -> VerityDevice {
        VerityDevice {
            name: name.to_owned(),
            uuid: String::new(),
            number: number(minor),
            disk_sequence: None,
            table: Table::parse("1 8:1 8:2 4096 4096 8 1 sha256 00 -").expect("a verity table"),
            status: None,
        }
    }

    /// 253:2 lies on `usr` by way of 253:4; 253:3 on `usr` and `data`.
    fn below(device: DeviceNumber) -> Vec<DeviceNumber> {
        match device.minor {
            2 if device.major == 253 => vec![number(4)],
            4 => vec![number(0)],
            3 => vec![number(0), number(1)],
            _ => Vec::new(),
        }
    }

    #[test]
    fn a_mount_leads_to_the_one_verity_device_below() {
        let devices = [device("usr", 0), device("data", 1)];
        let mounts = Mounts::parse(MOUNTINFO, below);
        let cases = [
            ("/usr", Ok("usr")),
            ("/usr/", Ok("usr")),
            ("/srv/with blank", Ok("usr")),
            ("/srv/btrfs", Ok("data")),
            ("/usr/local", Ok("data")),
            ("/srv/both", Err("several")),
            ("/", Err("254:0, which is no dm-verity device")),
            ("/proc", Err("0:46")),
            ("/usr/bin", Err("no mount point")),
        ];
        for (point, expected) in cases {
            match (mounts.verity_device(Path::new(point), &devices), expected) {
                (Ok(device), Ok(name)) => assert_eq!(device.name, name, "{point}"),
                (Err(reason), Err(part)) => assert!(reason.contains(part), "{point}: {reason}"),
                (found, _) => panic!("{point}: {found:?}"),
            }
        }
    }

    #[test]
    fn what_the_system_lies_on_is_found_however_far_below() {
        let devices = [device("usr", 0), device("data", 1)];
        let mounts = format!(
            "{MOUNTINFO}43 22 0:2 / /early rw - rootfs none rw\n\
             44 22 0:50 / /over ro - overlay overlay ro\n45 22 0:45 / /over ro - btrfs /dev/mapper/data ro\n"
        );
        let mounts = Mounts::parse(&mounts, below);
        let cases = [
            ("/usr", 0, Some(true)),
            ("/usr", 1, Some(false)),
            ("/", 0, Some(false)),
            // Below another verity device, too.
            ("/srv/with blank", 0, Some(true)),
            ("/srv/with blank", 4, Some(true)),
            ("/srv/btrfs", 1, Some(true)),
            ("/nothing", 0, Some(false)),
            ("/early", 0, Some(false)),
            ("/over", 1, Some(true)),
            ("/over", 0, None),
        ];
        for (point, minor, expected) in cases {
            let found = mounts.lies_on(Path::new(point), number(minor), &devices);
            assert_eq!(found, expected, "{point} on {minor}");
        }
    }

    #[test]
    fn a_ring_of_devices_has_an_end() {
        let mounts = Mounts::parse("1 1 253:7 / /ring ro - ext4 /dev/x ro", |it| vec![it]);
        assert!(mounts.verity_device(Path::new("/ring"), &[]).is_err());
    }

    #[test]
    fn octal_digits_are_read_and_other_backslashes_kept() {
        assert_eq!(unescape("a\\040b\\134"), "a b\\");
        assert_eq!(unescape("a\\9\\777\\0根"), "a\\9\\777\\0根");
    }

    proptest! {
        #[test]
        fn no_mountinfo_panics(text in any::<String>()) {
            let mounts = Mounts::parse(&text, |_| Vec::new());
            let _ = mounts.verity_device(Path::new("/"), &[]);
        }

        #[test]
        fn no_line_of_it_panics(line in "[0-9:]{0,5} [0-9]* [0-9:]* [/a-z\\\\0-7]* [/a-z\\\\0-7]* - [a-z ]*") {
            Mount::parse(&line);
        }
    }
}
