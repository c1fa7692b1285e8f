//! The verity devices that exist, from device-mapper's control node.
//!
//! The interface is include/uapi/linux/dm-ioctl.h, stable since version 4.0.0 of it. The library
//! that wraps it generates bindings with libclang whenever it is built, which is more than this
//! project asks of a machine; these two read-only calls are all that is needed of it.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::error::{Error, Result};
use crate::snapshot::DeviceNumber;

const CONTROL: &str = "/dev/mapper/control";
const DRIVER: &str = "/sys/class/misc/device-mapper";
const HEADER_BYTES: usize = 312;
const DM_LIST_DEVICES: u8 = 2;
const DM_TABLE_STATUS: u8 = 12;
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
}

/// What a verity target's table line says (`verity_status`, drivers/md/dm-verity-target.c).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Whether it carries `try_verify_in_tasklet`.
    pub option: bool,
    /// Hash algorithm.
    pub algorithm: String,
    /// Bytes of a data block.
    pub data_block_bytes: u32,
}

/// The verity devices that exist now; none when device-mapper is not loaded.
pub fn verity_devices() -> Result<Vec<VerityDevice>> {
    // The node may exist without the driver, and opening it would load that.
    if !Path::new(DRIVER).exists() {
        return Ok(Vec::new());
    }
    let control = match File::open(CONTROL) {
        Ok(control) => control,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(Error::NotPermitted(format!(
                "open {CONTROL}: permission denied; run as root, for example with sudo"
            )));
        }
        Err(error) => return Err(anyhow::Error::new(error).context(CONTROL).into()),
    };
    let mut devices = Vec::new();
    for (name, number) in list(&control)? {
        // A device that went away between the two calls is no error.
        if let Ok(true) = has_verity_target(&control, number)
            && let Ok((uuid, targets)) = status(&control, number, DM_STATUS_TABLE)
            && let Some(table) = targets.iter().find_map(verity_table)
        {
            devices.push(VerityDevice {
                name,
                uuid,
                number,
                disk_sequence: disk_sequence(number),
                table,
            });
        }
    }
    devices.sort_by_key(|device| device.number);
    Ok(devices)
}

/// One target of a table.
struct Target {
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

/// Asks for the state and not for the table, which can hold another target's keys.
fn has_verity_target(control: &File, number: DeviceNumber) -> anyhow::Result<bool> {
    let (_, targets) = status(control, number, DM_NOFLUSH)?;
    Ok(targets.iter().any(|target| target.kind == "verity"))
}

fn status(
    control: &File,
    number: DeviceNumber,
    flags: u32,
) -> anyhow::Result<(String, Vec<Target>)> {
    let reply = call(control, DM_TABLE_STATUS, flags, Some(number))
        .with_context(|| format!("read the table of device {number}"))?;
    let uuid = string(&reply, 176);
    let count = u32::from_ne_bytes(field(&reply, 20)?);
    let start = data_start(&reply)?;
    let mut at = start;
    let mut targets = Vec::new();
    for _ in 0..count {
        targets.push(Target {
            kind: string(reply.get(..at + 40).unwrap_or_default(), at + 24),
            parameters: string(&reply, at + 40),
        });
        at = start + u32::from_ne_bytes(field(&reply, at + 20)?) as usize;
    }
    Ok((uuid, targets))
}

/// One ioctl on the control node, with a buffer that grows until the answer fits.
fn call(
    control: &File,
    command: u8,
    flags: u32,
    number: Option<DeviceNumber>,
) -> anyhow::Result<Vec<u8>> {
    let mut bytes: usize = 16 * 1024;
    loop {
        let mut buffer = vec![0u8; bytes];
        let mut put = |at: usize, value: u32| {
            buffer[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        };
        put(0, 4);
        put(12, u32::try_from(bytes)?);
        put(16, u32::try_from(HEADER_BYTES)?);
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

fn disk_sequence(number: DeviceNumber) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/sys/dev/block/{number}/diskseq")).ok()?;
    text.trim().parse().ok()
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

fn verity_table(target: &Target) -> Option<Table> {
    (target.kind == "verity").then_some(())?;
    let words: Vec<&str> = target.parameters.split(' ').collect();
    Some(Table {
        // version, data device, hash device, data block size, hash block size, data blocks,
        // hash start, algorithm, root digest, salt, then options.
        option: words.get(10..)?.contains(&"try_verify_in_tasklet"),
        algorithm: (*words.get(7)?).to_owned(),
        data_block_bytes: words.get(3)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "1 254:0 254:16 4096 4096 16384 1 sha256 6d6f aabb";

    fn table(parameters: &str) -> Option<Table> {
        verity_table(&Target {
            kind: "verity".to_owned(),
            parameters: parameters.to_owned(),
        })
    }

    #[test]
    fn the_option_is_found_among_others() {
        assert_eq!(table(PLAIN).map(|table| table.option), Some(false));
        let with = format!("{PLAIN} 2 check_at_most_once try_verify_in_tasklet");
        let table = table(&with).expect("a verity table");
        assert!(table.option);
        assert_eq!(table.algorithm, "sha256");
        assert_eq!(table.data_block_bytes, 4096);
    }

    #[test]
    fn a_short_line_and_another_target_are_no_verity_table() {
        assert_eq!(table("1 254:0"), None);
        let target = Target {
            kind: "linear".to_owned(),
            parameters: PLAIN.to_owned(),
        };
        assert_eq!(verity_table(&target), None);
    }

    #[test]
    fn device_numbers_survive_the_kernels_encoding() {
        for (major, minor) in [(253, 0), (253, 255), (254, 256), (4095, 0xf_ffff)] {
            let number = DeviceNumber { major, minor };
            assert_eq!(decode_dev(encode_dev(number)), number);
        }
    }
}
