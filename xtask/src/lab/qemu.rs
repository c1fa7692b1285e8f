//! The emulator's command line.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::io::{FdFlags, fcntl_setfd};

use super::machine::Machine;
use crate::Usage;
use crate::setup::{KernelFiles, LabParts};

/// No message that nobody reads, no checks that only cost time, and an end at the first panic.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet panic=-1 mitigations=off nowatchdog \
                                tsc=reliable random.trust_cpu=on";

const BARE_MACHINE: [&str; 11] = [
    "-nodefaults",
    "-no-user-config",
    "-no-reboot",
    "-display",
    "none",
    "-cpu",
    "max,la57=off",
    "-M",
    "q35,usb=off,vmport=off",
    "-m",
    "1024",
];

/// Two CPUs, emulated in turn by one thread. With a thread each, a kernel died while probes were being
/// attached under load: of an `int3` that the other CPU had already patched away, which the kernel's
/// protocol (`text_poke_bp_batch`) and real CPUs rule out. It is hardly slower.
const FAST: [&str; 4] = ["-accel", "tcg,thread=single", "-smp", "2"];

/// One CPU whose clock is the number of instructions executed.
const COUNTING: [&str; 10] = [
    "-accel",
    "tcg,thread=single",
    "-smp",
    "1",
    "-icount",
    "shift=0,sleep=off",
    "-rtc",
    "clock=vm,base=2026-01-01",
    "-seed",
    "1",
];

/// A port of the guest on this machine's loopback address.
#[derive(Debug, PartialEq)]
pub struct Forward {
    host: u16,
    guest: u16,
}

impl Forward {
    /// Reads `HOSTPORT:GUESTPORT`.
    pub fn parse(text: &str) -> Result<Self> {
        let ports = text.split_once(':').and_then(|(host, guest)| {
            Some(Self {
                host: host.parse().ok()?,
                guest: guest.parse().ok()?,
            })
        });
        ports.ok_or_else(|| Usage(format!("--forward {text}: write HOSTPORT:GUESTPORT")).into())
    }
}

/// Builds the command line piece by piece.
pub struct Emulator {
    command: Command,
    /// Open until the emulator has been started and has its own copies.
    ports: Vec<OwnedFd>,
}

impl Emulator {
    pub fn new(machine: &Machine, kernel: &KernelFiles, parts: &LabParts) -> Self {
        let mut command = parts.host.emulator();
        command.args(BARE_MACHINE);
        let arguments = if machine.icount {
            command.args(COUNTING);
            format!("{KERNEL_ARGUMENTS} norandmaps")
        } else {
            command.args(FAST);
            KERNEL_ARGUMENTS.to_owned()
        };
        command
            .arg("-kernel")
            .arg(&kernel.image)
            .args(["-append", &arguments]);
        let mut emulator = Self {
            command,
            ports: Vec::new(),
        };
        emulator.disk("data", &parts.disks.data, Disk::Scratch { queues: 2 });
        emulator.disk("hash", &parts.disks.hash, Disk::Scratch { queues: 1 });
        emulator.disk("single", &parts.disks.data, Disk::Scratch { queues: 1 });
        emulator.nvme(&parts.disks.data);
        emulator.disk("usr", &parts.guest.usr, Disk::ReadOnly);
        emulator.disk("modules", &kernel.modules, Disk::ReadOnly);
        emulator.network(&machine.forwards);
        emulator.command.args(["-device", "virtio-serial-pci"]);
        emulator
    }

    pub fn initramfs(&mut self, path: &Path) {
        self.command.arg("-initrd").arg(path);
    }

    /// Writes what the kernel says into a file.
    pub fn console(&mut self, log: &Path) {
        self.command
            .arg("-chardev")
            .arg(with_path("file,id=console,path=", log));
        self.command.args(["-serial", "chardev:console"]);
    }

    /// Gives the guest a port named `name` that ends at our side of a socket.
    pub fn port(&mut self, name: &str, socket: OwnedFd) -> Result<()> {
        fcntl_setfd(&socket, FdFlags::empty()).context("hand a socket to the emulator")?;
        let chardev = format!("socket,id={name},fd={}", socket.as_raw_fd());
        let device = format!("virtserialport,chardev={name},name={name}");
        self.command
            .args(["-chardev", &chardev, "-device", &device]);
        self.ports.push(socket);
        Ok(())
    }

    /// Makes the caller's terminal the guest's `/dev/hvc0`.
    pub fn terminal(&mut self) {
        self.command
            .args(["-chardev", "stdio,id=terminal,signal=off"]);
        self.command
            .args(["-device", "virtconsole,chardev=terminal"]);
    }

    /// The finished command line, and what must stay open until it has been started.
    pub fn finish(self) -> (Command, Vec<OwnedFd>) {
        (self.command, self.ports)
    }

    fn disk(&mut self, name: &str, image: &Path, disk: Disk) {
        let (mode, queues) = match disk {
            Disk::Scratch { queues } => ("snapshot=on,cache=unsafe", queues),
            Disk::ReadOnly => ("readonly=on", 1),
        };
        let drive = format!("if=none,id={name},format=raw,{mode},file=");
        self.command.arg("-drive").arg(with_path(&drive, image));
        let device = format!("virtio-blk-pci,drive={name},serial={name},num-queues={queues}");
        self.command.args(["-device", &device]);
    }

    /// The data disk once more, behind another driver.
    fn nvme(&mut self, image: &Path) {
        let drive = "if=none,id=nvme,format=raw,snapshot=on,cache=unsafe,file=";
        self.command.arg("-drive").arg(with_path(drive, image));
        self.command
            .args(["-device", "nvme,drive=nvme,serial=nvme"]);
    }

    /// No network at all but for the forwarded ports.
    fn network(&mut self, forwards: &[Forward]) {
        if forwards.is_empty() {
            return;
        }
        let netdev =
            forwards
                .iter()
                .fold("user,id=net,restrict=on".to_owned(), |netdev, forward| {
                    let Forward { host, guest } = forward;
                    netdev + &format!(",hostfwd=tcp:127.0.0.1:{host}-10.0.2.15:{guest}")
                });
        self.command.args([
            "-netdev",
            &netdev,
            "-device",
            "virtio-net-pci,netdev=net,romfile=",
        ]);
    }
}

/// How a guest may use a disk.
#[derive(Clone, Copy)]
enum Disk {
    /// It may write, and the next machine does not see it.
    Scratch {
        queues: u32,
    },
    ReadOnly,
}

/// An option that ends with a path, in which the emulator wants commas doubled.
fn with_path(option: &str, path: &Path) -> OsString {
    let mut text = OsString::from(option);
    text.push(path.to_string_lossy().replace(',', ",,"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_two_ports() {
        assert_eq!(
            Forward::parse("8080:80").unwrap(),
            Forward {
                host: 8080,
                guest: 80
            }
        );
        for text in ["8080", "8080:x", "70000:80"] {
            assert!(Forward::parse(text).unwrap_err().is::<Usage>(), "{text}");
        }
    }

    #[test]
    fn commas_in_a_path_are_doubled() {
        assert_eq!(with_path("file,path=", Path::new("a,b")), "file,path=a,,b");
    }
}
