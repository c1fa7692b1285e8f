//! A device that stays what it is while its table is changed: it is held open, so that it cannot be removed and its
//! number cannot come to be another one's.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::{
    DM_NOFLUSH, DM_STATUS_TABLE, DM_TABLE_STATUS, Fault, Line, Live, Mapper, Staged, Target, call,
    call_with, control, field, identity, string, targets, verity,
};
use crate::snapshot::DeviceNumber;
use crate::target::Status;

const DM_DEV_SUSPEND: u8 = 6;
const DM_TABLE_LOAD: u8 = 9;
const DM_TABLE_CLEAR: u8 = 10;
const DM_READONLY: u32 = 1;
const DM_SUSPEND: u32 = 1 << 1;
const DM_INACTIVE_PRESENT: u32 = 1 << 6;
const DM_SKIP_LOCKFS: u32 = 1 << 10;
const DM_QUERY_INACTIVE_TABLE: u32 = 1 << 12;
/// `struct dm_target_spec`.
const SPEC_BYTES: usize = 40;

/// See the module.
#[derive(Debug)]
pub struct Held {
    control: File,
    /// Nothing is read from it.
    _device: File,
    number: DeviceNumber,
}

impl Held {
    /// Holds the device with this number.
    pub fn open(number: DeviceNumber) -> Result<Self, Fault> {
        let control = control().map_err(|error| Fault::Refused(error.to_string()))?;
        let control = control.ok_or(Fault::Gone)?;
        // Device-mapper names its disks so (`alloc_dev`, drivers/md/dm.c).
        let path = format!("/dev/dm-{}", number.minor);
        let device = open(Path::new(&path), number).map_err(|error| match error.kind() {
            ErrorKind::NotFound if !is_there(number) => Fault::Gone,
            _ if error.raw_os_error() == Some(libc::ENXIO) => Fault::Gone,
            _ => Fault::Refused(format!("hold {path} open: {error}")),
        })?;
        Ok(Self {
            control,
            _device: device,
            number,
        })
    }

    fn call(&self, command: u8, flags: u32, target: &[u8]) -> Result<Vec<u8>, Fault> {
        let reply = call_with(&self.control, command, flags, Some(self.number), target);
        reply.map_err(|error| {
            let code = error.downcast_ref().and_then(io::Error::raw_os_error);
            match code {
                Some(libc::ENXIO) => Fault::Gone,
                Some(libc::EINTR) => Fault::Interrupted,
                _ => Fault::Refused(error.to_string()),
            }
        })
    }

    fn table(&self, flags: u32) -> Result<(Vec<u8>, Vec<Target>), Fault> {
        let reply = self.call(DM_TABLE_STATUS, DM_STATUS_TABLE | DM_NOFLUSH | flags, &[])?;
        let targets = targets(&reply).map_err(|error| Fault::Refused(error.to_string()))?;
        Ok((reply, targets))
    }
}

impl Mapper for Held {
    fn look(&mut self) -> Result<Live, Fault> {
        // The state goes before the table, so that what is found corrupt meanwhile is found the next time.
        let state = call(
            &self.control,
            DM_TABLE_STATUS,
            DM_NOFLUSH,
            Some(self.number),
        );
        let state = state.and_then(|reply| targets(&reply)).ok();
        let status = state.and_then(|it| Status::parse(verity(&it)?));
        let (reply, active) = self.table(0)?;
        let flags = field(&reply, 28).map(u32::from_ne_bytes);
        let flags = flags.map_err(|error| Fault::Refused(error.to_string()))?;
        let staged = if flags & DM_INACTIVE_PRESENT == 0 {
            Staged::Nothing
        } else {
            let (_, targets) = self.table(DM_QUERY_INACTIVE_TABLE)?;
            line(&targets).map_or(Staged::Other, Staged::Line)
        };
        Ok(Live {
            identity: identity(self.number, string(&reply, 176)),
            name: string(&reply, 48),
            line: line(&active),
            staged,
            is_suspended: flags & DM_SUSPEND != 0,
            is_read_only: flags & DM_READONLY != 0,
            status,
        })
    }

    fn load(&mut self, line: &Line) -> Result<(), Fault> {
        self.call(DM_TABLE_LOAD, DM_READONLY, &spec(line))
            .map(|_| ())
    }

    /// Without the flag that suspends this resumes, and first suspends when a table is staged (`do_resume`,
    /// drivers/md/dm-ioctl.c). A file system need not be frozen for it: nobody can write to it.
    fn resume(&mut self) -> Result<(), Fault> {
        self.call(DM_DEV_SUSPEND, DM_SKIP_LOCKFS, &[]).map(|_| ())
    }

    fn clear(&mut self) -> Result<(), Fault> {
        self.call(DM_TABLE_CLEAR, 0, &[]).map(|_| ())
    }
}

/// The one line of a table; absent where there is more than one, or another target's.
fn line(targets: &[Target]) -> Option<Line> {
    let [target] = targets else { return None };
    let is_whole = target.start == 0 && target.kind == "verity";
    is_whole.then(|| Line {
        sectors: target.sectors,
        parameters: target.parameters.clone(),
    })
}

/// `struct dm_target_spec` and the parameters behind it, padded to a multiple of 8 bytes.
fn spec(line: &Line) -> Vec<u8> {
    let mut bytes = vec![0; SPEC_BYTES];
    bytes[8..16].copy_from_slice(&line.sectors.to_ne_bytes());
    bytes[24..30].copy_from_slice(b"verity");
    bytes.extend(line.parameters.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let next = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes[20..24].copy_from_slice(&next.to_ne_bytes());
    bytes
}

/// Opens the node, which has to be this device's.
fn open(path: &Path, number: DeviceNumber) -> io::Result<File> {
    let node = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    let found = node.metadata()?;
    let device = DeviceNumber {
        major: libc::major(found.rdev()),
        minor: libc::minor(found.rdev()),
    };
    if found.file_type().is_block_device() && device == number {
        return Ok(node);
    }
    Err(io::Error::other(format!("it is not device {number}")))
}

fn is_there(number: DeviceNumber) -> bool {
    Path::new(&format!("/sys/dev/block/{number}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(start: u64, kind: &str) -> Target {
        Target {
            start,
            sectors: 8,
            kind: kind.to_owned(),
            parameters: "1 8:1 8:2".to_owned(),
        }
    }

    #[test]
    fn only_a_table_of_one_verity_target_is_a_line() {
        let whole = line(&[target(0, "verity")]).expect("a line");
        assert_eq!(whole.to_string(), "0 8 verity 1 8:1 8:2");
        assert_eq!(line(&[]), None);
        assert_eq!(line(&[target(0, "linear")]), None);
        assert_eq!(line(&[target(8, "verity")]), None);
        assert_eq!(line(&[target(0, "verity"), target(8, "verity")]), None);
    }

    #[test]
    fn a_line_that_is_sent_is_the_one_that_would_be_read() {
        let sent = line(&[target(0, "verity")]).expect("a line");
        let spec = spec(&sent);
        assert!(spec.len().is_multiple_of(8));
        let mut reply = vec![0; super::super::HEADER_BYTES];
        reply[16..20].copy_from_slice(&312_u32.to_ne_bytes());
        reply[20..24].copy_from_slice(&1_u32.to_ne_bytes());
        reply.extend(spec);
        let read = targets(&reply).expect("targets");
        assert_eq!(line(&read), Some(sent));
    }

    #[test]
    fn what_is_not_the_device_is_not_held() {
        let number = DeviceNumber { major: 1, minor: 3 };
        // A character device of this number.
        assert!(open(Path::new("/dev/null"), number).is_err());
        assert!(open(Path::new("/"), number).is_err());
    }
}
