//! Programs of the lab that run on this machine: the emulator and makers of file systems.
//!
//! They come with all their libraries and their own loader, so that it does not matter what the
//! machine has installed.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::{BY_HAND, Reach, Suite};
use crate::{command, install, workspace};

/// The suite that all programs of the lab are from.
pub const SUITE: &str = "trixie";

const PACKAGES: [&str; 5] = [
    "qemu-system-x86",
    "kmod",
    "xz-utils",
    "e2fsprogs",
    "cryptsetup-bin",
];

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Where the programs are.
pub struct HostTools {
    root: PathBuf,
}

pub fn install() -> Result<HostTools> {
    if env::consts::ARCH != "x86_64" {
        bail!("the lab's machines and their tools are for x86_64: run this on such a machine");
    }
    let root = workspace::lab("host");
    install::folder(&root, &PACKAGES.join(" "), |part| {
        Suite::open(SUITE)?.unpack("qemu and disk tools", &PACKAGES, Reach::Closure, part)
    })
    .with_context(|| install::missing("qemu", "it runs the lab's machines", BY_HAND))?;
    Ok(HostTools { root })
}

impl HostTools {
    /// Runs a program, named by its path in the packages, and returns what it printed.
    pub fn output<A: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Result<String> {
        let mut command = Command::new(self.loader());
        command
            .args(self.loader_args(program))
            .args(args)
            .env_remove("LD_LIBRARY_PATH");
        command::output(&mut command).with_context(|| format!("run {program}"))
    }

    /// The emulator, started so that it dies with the caller.
    pub fn emulator(&self) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(self.loader())
            .args(self.loader_args("usr/bin/qemu-system-x86_64"))
            .env_remove("LD_LIBRARY_PATH")
            .env("QEMU_MODULE_DIR", self.root.join(LIBRARIES).join("qemu"));
        for data in ["usr/share/qemu", "usr/share/seabios"] {
            command.arg("-L").arg(self.root.join(data));
        }
        command
    }

    fn loader(&self) -> PathBuf {
        self.root.join("usr/lib64/ld-linux-x86-64.so.2")
    }

    fn loader_args(&self, program: &str) -> [OsString; 3] {
        [
            "--library-path".into(),
            self.root.join(LIBRARIES).into(),
            self.root.join(program).into(),
        ]
    }
}
