//! What the tests use of the machine's own: Chromium, in which they open the page, and systemd, which judges the unit.

use std::env;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command;

/// A program, of which package it is, and what the tests do with it.
struct Program {
    name: &'static str,
    package: &'static str,
    purpose: &'static str,
    /// The variable that names another one.
    instead: Option<&'static str>,
}

const PROGRAMS: [Program; 2] = [
    Program {
        name: "chromium",
        package: "chromium",
        purpose: "in which the page is tested",
        instead: Some("CHROMIUM"),
    },
    Program {
        name: "systemd-analyze",
        package: "systemd",
        purpose: "which checks the unit",
        instead: None,
    },
];

/// Debian's packages, of what is not there and this may install; what to do where it may not.
pub fn install() -> Result<()> {
    let missing: Vec<_> = PROGRAMS.iter().filter(|it| !it.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        let lines: Vec<_> = missing.iter().map(|it| it.by_hand()).collect();
        bail!("{}", lines.join("; "));
    }
    apt(&["update"])?;
    for it in missing {
        println!("installing Debian's {}, {}", it.package, it.purpose);
        apt(&["install", "--yes", "--no-install-recommends", it.package])?;
    }
    Ok(())
}

impl Program {
    fn is_there(&self) -> bool {
        if self.instead.is_some_and(|it| env::var_os(it).is_some()) {
            return true;
        }
        let started = Command::new(self.name).arg("--version").output();
        started.is_ok_and(|output| output.status.success())
    }

    fn by_hand(&self) -> String {
        let instead = self
            .instead
            .map(|it| format!(", or {it}=PATH for another one"));
        format!(
            "there is no {}, {}: `apt-get install {}` as root{}",
            self.name,
            self.purpose,
            self.package,
            instead.unwrap_or_default()
        )
    }
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut apt = Command::new("apt-get");
    apt.arg("--quiet=2").args(arguments);
    command::run(apt.env("DEBIAN_FRONTEND", "noninteractive"))
}
