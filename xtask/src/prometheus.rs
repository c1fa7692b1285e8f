//! Prometheus for the tests: `target/tools/prometheus/bin/prometheus`, and its `promtool`.
//!
//! They are Debian's, with their own loader, so that it does not matter what the machine has installed.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::apt::{BY_HAND, Reach, Suite};
use crate::{install, workspace};

/// The suite that they are from, which decides their version.
const SUITE: &str = "trixie";

/// Packages, each with a program of its name.
const PROGRAMS: [&str; 2] = ["prometheus", "promtool"];

/// Everything that they need but for what Prometheus' own pages in a browser are made of, and what sets it up as a
/// service.
const PACKAGES: [&str; 3] = ["prometheus", "promtool", "libc6"];

/// Starts a program wherever the folder is.
const WRAPPER: &str = r#"#!/bin/sh
here=$(cd "$(dirname "$0")/.." && pwd) || exit
unset LD_LIBRARY_PATH
exec "$here/debian/usr/lib64/ld-linux-x86-64.so.2" \
    --library-path "$here/debian/usr/lib/x86_64-linux-gnu" "$here/debian/usr/bin/PROGRAM" "$@"
"#;

/// Prometheus itself, for where there is a C library of the same suite, as in the lab's machines.
pub fn program() -> PathBuf {
    let dest = workspace::tools("prometheus");
    let program = if install::is_ours(&dest) {
        "debian/usr/bin/prometheus"
    } else {
        "bin/prometheus"
    };
    dest.join(program)
}

/// Makes `target/tools/prometheus`; one that was put there by hand stays.
pub fn install() -> Result<()> {
    let dest = workspace::tools("prometheus");
    if dest.join("bin/prometheus").exists() && !install::is_ours(&dest) {
        return Ok(());
    }
    let recipe = format!("{}\n{WRAPPER}", PACKAGES.join(" "));
    install::folder(&dest, &recipe, make)
}

fn make(dest: &Path) -> Result<()> {
    if env::consts::ARCH != "x86_64" {
        bail!(
            "this is no x86_64 machine; put Prometheus and promtool there, as target/tools/prometheus/bin/prometheus and \
             target/tools/prometheus/bin/promtool"
        );
    }
    let debian = dest.join("debian");
    fs::create_dir_all(&debian)?;
    Suite::open(SUITE)
        .and_then(|suite| suite.unpack("Prometheus", &PACKAGES, Reach::Named, &debian))
        .with_context(|| {
            install::missing(
                "Prometheus",
                "the tests ask it what the dashboards ask",
                BY_HAND,
            )
        })?;
    fs::create_dir_all(dest.join("bin"))?;
    for program in PROGRAMS {
        let path = dest.join("bin").join(program);
        fs::write(&path, WRAPPER.replace("PROGRAM", program))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
