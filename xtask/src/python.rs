//! Python for the tests, with the packages of `tests/requirements.txt`: `target/tools/python/bin/python`.
//!
//! It is Debian's, with all its libraries and its own loader, so that it does not matter what the machine has
//! installed, or whether it has a Python at all.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::{BY_HAND, Reach, Suite};
use crate::{command, install, progress, workspace};

/// The suite that it is from, which decides its version.
const SUITE: &str = "trixie";

/// Besides Python, what installs packages and what compiled ones need.
const PACKAGES: [&str; 3] = ["python3", "python3-pip-whl", "libstdc++6"];

/// What to do where the Python Package Index cannot be reached.
const PACKAGES_BY_HAND: &str = "name an index that has them, PIP_INDEX_URL=ADDRESS cargo xtask setup, or put a \
     Python that has them there, as target/tools/python/bin/python";

/// Starts Python wherever the folder is.
const WRAPPER: &str = r#"#!/bin/sh
here=$(cd "$(dirname "$0")/.." && pwd) || exit
unset LD_LIBRARY_PATH
export PYTHONHOME="$here/debian/usr" PYTHONPATH="$here/packages" PYTHONNOUSERSITE=1
exec "$here/debian/usr/lib64/ld-linux-x86-64.so.2" \
    --library-path "$here/debian/usr/lib/x86_64-linux-gnu" "$here/debian/usr/bin/python3" "$@"
"#;

/// Makes `target/tools/python`, anew when the requirements change; one that was put there by hand stays.
pub fn install() -> Result<()> {
    let dest = workspace::tools("python");
    if dest.join("bin/python").exists() && !install::is_ours(&dest) {
        return Ok(());
    }
    let requirements = workspace::root().join("tests/requirements.txt");
    let pinned = fs::read_to_string(&requirements)
        .with_context(|| format!("read {}", requirements.display()))?;
    let recipe = format!("{}\n{WRAPPER}\n{pinned}", PACKAGES.join(" "));
    install::folder(&dest, &recipe, |part| make(part, &requirements))
}

fn make(dest: &Path, requirements: &Path) -> Result<()> {
    if env::consts::ARCH != "x86_64" {
        bail!(
            "this is no x86_64 machine; put a Python with the packages of tests/requirements.txt there, \
             as target/tools/python/bin/python"
        );
    }
    let debian = dest.join("debian");
    fs::create_dir_all(&debian)?;
    Suite::open(SUITE)
        .and_then(|suite| suite.unpack("Python", &PACKAGES, Reach::Closure, &debian))
        .with_context(|| {
            install::missing("Python", "the tests read with it what others read", BY_HAND)
        })?;
    let python = dest.join("bin/python");
    fs::create_dir_all(dest.join("bin"))?;
    fs::write(&python, WRAPPER)?;
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755))?;
    let step = progress::step("installing tests/requirements.txt");
    let mut pip = Command::new(&python);
    // A person's own settings may ask for a place that goes with no other.
    pip.env("PIP_USER", "0");
    pip.arg(pip_wheel(&debian)?.join("pip"))
        .args(["install", "--quiet", "--no-compile", "--no-cache-dir"])
        .args(["--disable-pip-version-check", "--only-binary=:all:"])
        .args(["--require-hashes", "--no-deps", "--target"])
        .arg(dest.join("packages"))
        .arg("--requirement")
        .arg(requirements);
    command::output(&mut pip).with_context(|| {
        install::missing(
            "what tests/requirements.txt lists",
            "the tests read with it what others read",
            PACKAGES_BY_HAND,
        )
    })?;
    step.finish_and_clear();
    Ok(())
}

/// Python's installer, which runs out of its archive.
fn pip_wheel(debian: &Path) -> Result<PathBuf> {
    let folder = debian.join("usr/share/python-wheels");
    let entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("pip-") && name.ends_with(".whl")
        })
        .context("the package python3-pip-whl has no pip")
}
