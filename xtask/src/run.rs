//! `cargo xtask run`: watch a real dm-verity device, on this machine or in the lab.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::build;
use crate::lab::{Job, Machine, TIMEOUT, is_terminal};
use crate::setup::Kernel;

/// Opens the lab's disks as a device and keeps it busy, with reads below and above the limits of
/// verification in BH, then runs what is asked for.
const DEMO: &str = r#"
veritysetup open --use-tasklets "$LAB_DATA" demo "$LAB_HASH" "$LAB_ROOT_HASH" || exit
fio --filename=/dev/mapper/demo --direct=1 --rw=randread --ioengine=libaio \
    --time_based --runtime=1d \
    --name=small --bs=4k --iodepth=8 --rate_iops=400 \
    --name=large --bs=64k --iodepth=2 --rate_iops=40 \
    </dev/null >/dev/null 2>&1 &
verity-trace "$@"
"#;

/// What runs when nobody looks at a terminal.
const REPORT: [&str; 3] = ["report", "--duration", "10s"];

#[derive(clap::Args)]
pub struct Args {
    /// Boot this kernel in the lab, even if this machine has a verity device
    #[arg(long, value_enum)]
    kernel: Option<Kernel>,
    /// Arguments for verity-trace; without them the live view, or a report if there is no terminal
    #[arg(last = true)]
    args: Vec<String>,
}

/// Returns the program's own exit code.
pub fn main(args: &Args) -> Result<u8> {
    let binary = build::binary()?;
    let tty = is_terminal();
    let words = if args.args.is_empty() && !tty {
        REPORT.map(str::to_owned).to_vec()
    } else {
        args.args.clone()
    };
    if args.kernel.is_none() && can_trace(Path::new("/sys")) {
        return here(&binary, &words);
    }
    let kernel = args.kernel.unwrap_or(Kernel::NEWEST);
    eprintln!("booting kernel {kernel} with a busy dm-verity device");
    let script = ["sh", "-c", DEMO, "demo"].map(str::to_owned);
    let job = Job {
        command: script.into_iter().chain(words).collect(),
        tty,
        timeout: (!tty).then_some(TIMEOUT),
        ..Job::default()
    };
    Machine::new(kernel).run(&binary, &job)
}

/// Runs a program on this machine, as root, and returns its exit code.
pub fn here(binary: &Path, args: &[String]) -> Result<u8> {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new(binary)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg(binary);
        sudo
    };
    let status = command.args(args).status();
    let status = status.with_context(|| format!("start {}", binary.display()))?;
    // A program that a signal ended has told why, or was told to end.
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

/// Whether there is a verity device, and type information for the code that serves it.
fn can_trace(sys: &Path) -> bool {
    let types = sys.join("kernel/btf");
    let is_module = sys.join("module/dm_verity/initstate").exists();
    let has_types =
        types.join("vmlinux").exists() && (!is_module || types.join("dm_verity").exists());
    has_types && has_verity_device(&sys.join("block"))
}

fn has_verity_device(block: &Path) -> bool {
    let Ok(devices) = fs::read_dir(block) else {
        return false;
    };
    devices.flatten().any(|device| {
        let uuid = fs::read_to_string(device.path().join("dm/uuid"));
        uuid.is_ok_and(|uuid| uuid.starts_with("CRYPT-VERITY-"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sys(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    const DEVICE: (&str, &str) = ("block/dm-0/dm/uuid", "CRYPT-VERITY-00-root\n");
    const MODULE: (&str, &str) = ("module/dm_verity/initstate", "live\n");
    const VMLINUX: (&str, &str) = ("kernel/btf/vmlinux", "");
    const TYPES: (&str, &str) = ("kernel/btf/dm_verity", "");

    #[test]
    fn a_verity_device_and_types_are_enough() {
        assert!(can_trace(sys(&[DEVICE, MODULE, VMLINUX, TYPES]).path()));
        assert!(can_trace(sys(&[DEVICE, VMLINUX]).path()), "built in");
    }

    #[test]
    fn either_missing_sends_us_to_the_lab() {
        assert!(!can_trace(sys(&[DEVICE, MODULE, VMLINUX]).path()));
        assert!(!can_trace(sys(&[DEVICE, MODULE, TYPES]).path()));
        let other = ("block/dm-0/dm/uuid", "CRYPT-LUKS2-00-home\n");
        assert!(!can_trace(sys(&[other, VMLINUX]).path()));
        assert!(!can_trace(sys(&[VMLINUX]).path()));
    }
}
