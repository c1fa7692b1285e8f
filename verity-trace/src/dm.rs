//! The verity devices that exist, from device-mapper's control node.
//!
//! The interface is include/uapi/linux/dm-ioctl.h, stable since version 4.0.0 of it. The library
//! that wraps it generates bindings with libclang whenever it is built, which is more than this
//! project asks of a machine; a few calls are all that is needed of it. Those that change a device are in
//! [`held`], and for [`switch`] alone.

mod held;
mod switch;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::thread::CapabilitySet;

use crate::error::{Error, Result};
use crate::snapshot::{Device, DeviceNumber};
use crate::target::{Status, Table};

pub use held::Held;
pub use switch::{Fault, Identity, Line, Live, Mapper, Staged, Stopped, is_as_left, switch};

const CONTROL: &str = "/dev/mapper/control";
const DRIVER: &str = "/sys/class/misc/device-mapper";
/// The number of the last event that the kernel reported.
const EVENTS: &str = "/sys/kernel/uevent_seqnum";
const HEADER_BYTES: usize = 312;
const DM_LIST_DEVICES: u8 = 2;
const DM_TABLE_STATUS: u8 = 12;
const DM_LIST_VERSIONS: u8 = 13;
const DM_STATUS_TABLE: u32 = 1 << 4;
const DM_NOFLUSH: u32 = 1 << 11;
const DM_BUFFER_FULL: u32 = 1 << 8;

/// A device whose table has a verity target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerityDevice {
    /// Device-mapper name.
    pub name: String,
    /// Device-mapper uuid, which may be empty.
    pub uuid: String,
    /// Device number, which another device can have once this one is gone.
    pub number: DeviceNumber,
    /// The kernel's sequence number of the disk, which no other device ever has; absent before
    /// Linux 5.15.
    pub disk_sequence: Option<u64>,
    /// What its table says.
    pub table: Table,
    /// What its target found so far; absent when it does not say.
    pub status: Option<Status>,
}

impl From<&Device> for VerityDevice {
    fn from(device: &Device) -> Self {
        Self {
            name: device.name.clone(),
            uuid: device.uuid.clone(),
            number: device.number,
            disk_sequence: device.disk_sequence,
            table: device.table.clone(),
            status: device.status.clone(),
        }
    }
}

/// Says what to do to whoever may not ask device-mapper for anything.
pub fn require_root() -> Result<()> {
    let held = rustix::thread::capabilities(None)
        .context("read this process's capabilities")?
        .effective;
    if held.contains(CapabilitySet::SYS_ADMIN) {
        return Ok(());
    }
    Err(Error::NotPermitted(
        "looking into device-mapper needs root (CAP_SYS_ADMIN); run it with sudo".to_owned(),
    ))
}

/// The verity devices that exist now; none when device-mapper is not loaded.
pub fn verity_devices() -> Result<Vec<VerityDevice>> {
    Finder::default().find()
}

/// Finds the verity devices again and again.
///
/// Asking a device for its status calls its target, and that of a thin pool waits for its metadata, maybe
/// for ever. So nobody is asked who cannot be a verity device, and who is none is not asked again until
/// its table can have changed.
#[derive(Debug, Default)]
pub struct Finder {
    /// Devices of other targets, by the sequence number of their disk.
    others: BTreeSet<u64>,
    /// How many events the kernel had reported before these were asked.
    events: Option<u64>,
}

impl Finder {
    /// The verity devices that exist now; none when device-mapper is not loaded.
    pub fn find(&mut self) -> Result<Vec<VerityDevice>> {
        let Some(control) = control()? else {
            return Ok(Vec::new());
        };
        self.begin(number_in(EVENTS));
        let mut devices = Vec::new();
        for (name, number) in list(&control)? {
            let disk_sequence = sysfs(number, "diskseq");
            if !self.may_be_verity(sysfs(number, "ro"), disk_sequence) {
                continue;
            }
            match ask(&control, name, number, disk_sequence) {
                Ok(Some(device)) => devices.push(device),
                Ok(None) => self.others.extend(disk_sequence),
                // It went away meanwhile, or has an answer another time.
                Err(_) => {}
            }
        }
        devices.sort_by_key(|device| device.number);
        Ok(devices)
    }

    /// A table comes into effect when its device resumes, and the kernel reports that after (`do_resume`,
    /// drivers/md/dm-ioctl.c).
    fn begin(&mut self, events: Option<u64>) {
        if events.is_none() || events != self.events {
            self.others.clear();
        }
        self.events = events;
    }

    /// A verity target is refused in a table that can be written (`verity_ctr`,
    /// drivers/md/dm-verity-target.c), and the disk is read-only from before its device resumes with such
    /// a table. What is not known excludes nothing.
    fn may_be_verity(&self, read_only: Option<u64>, disk_sequence: Option<u64>) -> bool {
        let is_other = disk_sequence.is_some_and(|number| self.others.contains(&number));
        read_only != Some(0) && !is_other
    }
}

/// What a device says of itself; none when it is no verity device.
fn ask(
    control: &File,
    name: String,
    number: DeviceNumber,
    disk_sequence: Option<u64>,
) -> anyhow::Result<Option<VerityDevice>> {
    // The state goes before the table, which can hold another target's keys.
    let (_, targets) = status(control, number, DM_NOFLUSH)?;
    let Some(state) = verity(&targets) else {
        return Ok(None);
    };
    let (uuid, targets) = status(control, number, DM_STATUS_TABLE)?;
    let table = verity(&targets).and_then(Table::parse);
    Ok(table.map(|table| VerityDevice {
        name,
        uuid,
        number,
        disk_sequence,
        table,
        status: Status::parse(state),
    }))
}

/// The version of the verity target; absent when there is none.
pub fn target_version() -> Result<Option<[u32; 3]>> {
    let Some(control) = control()? else {
        return Ok(None);
    };
    let reply = call(&control, DM_LIST_VERSIONS, 0, None).context("list device-mapper targets")?;
    let mut at = data_start(&reply)?;
    loop {
        let next = u32::from_ne_bytes(field(&reply, at)?) as usize;
        if string(&reply, at + 16) == "verity" {
            let part = |index: usize| field(&reply, at + 4 + 4 * index).map(u32::from_ne_bytes);
            return Ok(Some([part(0)?, part(1)?, part(2)?]));
        }
        if next == 0 {
            return Ok(None);
        }
        at += next;
    }
}

/// The kernel's name of a block device, such as `vda`, by its number, such as `254:0`.
#[must_use]
pub fn kernel_name(number: &str) -> Option<String> {
    let number: DeviceNumber = number.parse().ok()?;
    let link = std::fs::read_link(format!("/sys/dev/block/{number}")).ok()?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

/// Absent when device-mapper is not loaded.
fn control() -> Result<Option<File>> {
    // The node may exist without the driver, and opening it would load that.
    if !Path::new(DRIVER).exists() {
        return Ok(None);
    }
    match File::open(CONTROL) {
        Ok(control) => Ok(Some(control)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(Error::NotPermitted(format!(
                "open {CONTROL}: permission denied; run as root, for example with sudo"
            )))
        }
        Err(error) => Err(anyhow::Error::new(error).context(CONTROL).into()),
    }
}

/// What identifies a device whatever its number comes to be.
fn identity(number: DeviceNumber, uuid: String) -> Identity {
    Identity {
        number,
        disk_sequence: sysfs(number, "diskseq"),
        uuid,
    }
}

/// What the verity target among these says of itself.
fn verity(targets: &[Target]) -> Option<&str> {
    let verity = targets.iter().find(|target| target.kind == "verity")?;
    Some(&verity.parameters)
}

/// One target of a table.
struct Target {
    start: u64,
    sectors: u64,
    kind: String,
    parameters: String,
}

fn list(control: &File) -> anyhow::Result<Vec<(String, DeviceNumber)>> {
    let reply = call(control, DM_LIST_DEVICES, 0, None).context("list device-mapper devices")?;
    let mut devices = Vec::new();
    let mut at = data_start(&reply)?;
    // An empty list is one entry with device number 0 (`list_devices`, drivers/md/dm-ioctl.c).
    loop {
        let dev = u64::from_ne_bytes(field(&reply, at)?);
        let next = u32::from_ne_bytes(field(&reply, at + 8)?) as usize;
        if dev == 0 {
            return Ok(devices);
        }
        devices.push((string(&reply, at + 12), decode_dev(dev)));
        if next == 0 {
            return Ok(devices);
        }
        at += next;
    }
}

fn status(
    control: &File,
    number: DeviceNumber,
    flags: u32,
) -> anyhow::Result<(String, Vec<Target>)> {
    let reply = call(control, DM_TABLE_STATUS, flags, Some(number))
        .with_context(|| format!("read the table of device {number}"))?;
    Ok((string(&reply, 176), targets(&reply)?))
}

fn targets(reply: &[u8]) -> anyhow::Result<Vec<Target>> {
    let count = u32::from_ne_bytes(field(reply, 20)?);
    let start = data_start(reply)?;
    let mut at = start;
    let mut targets = Vec::new();
    for _ in 0..count {
        targets.push(Target {
            start: u64::from_ne_bytes(field(reply, at)?),
            sectors: u64::from_ne_bytes(field(reply, at + 8)?),
            kind: string(reply.get(..at + 40).unwrap_or_default(), at + 24),
            parameters: string(reply, at + 40),
        });
        at = start + u32::from_ne_bytes(field(reply, at + 20)?) as usize;
    }
    Ok(targets)
}

/// One ioctl on the control node, with a buffer that grows until the answer fits.
fn call(
    control: &File,
    command: u8,
    flags: u32,
    number: Option<DeviceNumber>,
) -> anyhow::Result<Vec<u8>> {
    call_with(control, command, flags, number, &[])
}

/// The same with one target, as `struct dm_target_spec` and its parameters, unless it is empty.
fn call_with(
    control: &File,
    command: u8,
    flags: u32,
    number: Option<DeviceNumber>,
    target: &[u8],
) -> anyhow::Result<Vec<u8>> {
    let mut bytes: usize = HEADER_BYTES + target.len() + 16 * 1024;
    loop {
        let mut buffer = vec![0u8; bytes];
        buffer[HEADER_BYTES..HEADER_BYTES + target.len()].copy_from_slice(target);
        let mut put = |at: usize, value: u32| {
            buffer[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        };
        put(0, 4);
        put(12, u32::try_from(bytes)?);
        put(16, u32::try_from(HEADER_BYTES)?);
        put(20, u32::from(!target.is_empty()));
        put(28, flags);
        if let Some(number) = number {
            let dev = encode_dev(number);
            buffer[40..48].copy_from_slice(&dev.to_ne_bytes());
        }
        let request = rustix::ioctl::opcode::read_write::<[u8; HEADER_BYTES]>(0xfd, command);
        // SAFETY: the buffer is as long as its header says, and the kernel writes no further.
        let result =
            unsafe { libc::ioctl(control.as_raw_fd(), request.into(), buffer.as_mut_ptr()) };
        if result != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        if u32::from_ne_bytes(field(&buffer, 28)?) & DM_BUFFER_FULL == 0 {
            return Ok(buffer);
        }
        if bytes >= 64 << 20 {
            bail!("the answer has more than {bytes} bytes");
        }
        bytes *= 4;
    }
}

/// A number that sysfs has of a device.
fn sysfs(number: DeviceNumber, name: &str) -> Option<u64> {
    number_in(&format!("/sys/dev/block/{number}/{name}"))
}

fn number_in(file: &str) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn data_start(reply: &[u8]) -> anyhow::Result<usize> {
    Ok(u32::from_ne_bytes(field(reply, 16)?) as usize)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> anyhow::Result<[u8; N]> {
    bytes
        .get(at..at + N)
        .and_then(|slice| slice.try_into().ok())
        .context("the answer is shorter than it says")
}

/// A NUL-terminated string; bytes that are not UTF-8 are replaced.
fn string(bytes: &[u8], at: usize) -> String {
    let tail = bytes.get(at..).unwrap_or_default();
    let end = tail
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(tail.len());
    String::from_utf8_lossy(&tail[..end]).into_owned()
}

/// `huge_encode_dev`, `include/linux/kdev_t.h`.
fn encode_dev(number: DeviceNumber) -> u64 {
    let (major, minor) = (u64::from(number.major), u64::from(number.minor));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// `huge_decode_dev`, `include/linux/kdev_t.h`.
#[expect(clippy::cast_possible_truncation, reason = "both are masked")]
fn decode_dev(dev: u64) -> DeviceNumber {
    DeviceNumber {
        major: ((dev & 0xf_ff00) >> 8) as u32,
        minor: ((dev & 0xff) | ((dev >> 12) & 0xf_ff00)) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verity_target_is_found_among_others() {
        let target = |kind: &str| Target {
            start: 0,
            sectors: 8,
            kind: kind.to_owned(),
            parameters: format!("of {kind}"),
        };
        assert_eq!(verity(&[target("linear")]), None);
        let both = [target("linear"), target("verity")];
        assert_eq!(verity(&both), Some("of verity"));
    }

    #[test]
    fn a_device_that_cannot_be_verity_is_not_asked() {
        let mut finder = Finder::default();
        finder.begin(Some(7));
        assert!(!finder.may_be_verity(Some(0), Some(1)), "it can be written");
        assert!(finder.may_be_verity(Some(1), Some(1)));
        assert!(finder.may_be_verity(None, None), "nothing is known");
        finder.others.insert(1);
        finder.begin(Some(7));
        assert!(!finder.may_be_verity(Some(1), Some(1)), "it was asked");
        assert!(finder.may_be_verity(Some(1), Some(2)), "another disk");
        assert!(finder.may_be_verity(Some(1), None));
        finder.begin(Some(8));
        assert!(finder.may_be_verity(Some(1), Some(1)), "a table may be new");
        finder.others.insert(1);
        finder.begin(None);
        finder.others.insert(1);
        finder.begin(None);
        assert!(finder.may_be_verity(Some(1), Some(1)), "who knows");
    }

    #[test]
    fn device_numbers_survive_the_kernels_encoding() {
        for (major, minor) in [(253, 0), (253, 255), (254, 256), (4095, 0xf_ffff)] {
            let number = DeviceNumber { major, minor };
            assert_eq!(decode_dev(encode_dev(number)), number);
        }
    }
}
