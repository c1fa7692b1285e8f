//! Chromium, in which the tests open the page: the machine's own.

use std::env;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command;

/// Debian's package, where there is none and this may install it; what to do where it may not.
pub fn install() -> Result<()> {
    if env::var_os("CHROMIUM").is_some() || is_there() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "there is no chromium, in which the page is tested: `apt-get install chromium` as root, or CHROMIUM=PATH \
             for another one"
        );
    }
    println!("installing Debian's chromium, in which the page is tested");
    apt(&["update"])?;
    apt(&["install", "--yes", "--no-install-recommends", "chromium"])
}

fn is_there() -> bool {
    let started = Command::new("chromium").arg("--version").output();
    started.is_ok_and(|output| output.status.success())
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut apt = Command::new("apt-get");
    apt.arg("--quiet=2").args(arguments);
    command::run(apt.env("DEBIAN_FRONTEND", "noninteractive"))
}
