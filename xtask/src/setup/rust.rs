//! The source of Rust's core library, which the eBPF target is built from.
//!
//! Where the toolchain has no `rust-src` component, Debian's package of exactly the same version
//! goes into a shadow of the toolchain: a folder of links to the real one, plus the source.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use crate::apt::{Reach, Suite};
use crate::{command, install, progress, workspace};

/// Debian suites that carry recent versions of Rust.
const SUITES: [&str; 4] = ["trixie-backports", "sid", "testing", "trixie"];

/// Where a toolchain keeps its source.
const SOURCE: &str = "lib/rustlib/src/rust/library";

/// The Rust toolchain that cargo uses in this workspace.
pub struct Toolchain {
    /// All that `rustc -vV` prints; changes with every toolchain.
    pub identity: String,
    sysroot: PathBuf,
}

impl Toolchain {
    pub fn in_use() -> Result<Self> {
        let rustc = |argument: &[&str]| {
            let mut command = Command::new("rustc");
            command::output(command.current_dir(workspace::root()).args(argument))
        };
        Ok(Self {
            identity: rustc(&["-vV"])?,
            sysroot: rustc(&["--print", "sysroot"])?.trim().into(),
        })
    }

    /// The target triple that the toolchain itself runs on.
    pub fn host(&self) -> Result<&str> {
        self.field("host: ")
    }

    fn release(&self) -> Result<&str> {
        self.field("release: ")
    }

    /// Makes `target/tools/rustc`, a compiler that knows the source of its core library.
    pub fn install_wrapper(&self) -> Result<()> {
        let real = self.sysroot.join("bin/rustc");
        let real = shlex::try_quote(path_str(&real)?)?.into_owned();
        if self.sysroot.join(SOURCE).exists() {
            return write_wrapper(&format!("#!/bin/sh\nexec {real} \"$@\"\n"));
        }
        let shadow = workspace::tools("sysroot");
        install::folder(&shadow, &self.identity, |part| self.make_shadow(part)).with_context(
            || {
                let what = format!("rust-src {}", self.release().unwrap_or_default());
                let why = "the eBPF programs' core library is built from it";
                install::missing(&what, why, "rustup component add rust-src")
            },
        )?;
        let shadow = shlex::try_quote(path_str(&shadow)?)?.into_owned();
        write_wrapper(&format!(
            "#!/bin/sh\nexec {real} --sysroot {shadow} \"$@\"\n"
        ))
    }

    fn make_shadow(&self, shadow: &Path) -> Result<()> {
        link_all_but(&self.sysroot, shadow, "lib")?;
        link_all_but(&self.sysroot.join("lib"), &shadow.join("lib"), "rustlib")?;
        link_all_but(
            &self.sysroot.join("lib/rustlib"),
            &shadow.join("lib/rustlib"),
            "src",
        )?;
        self.unpack_source(&shadow.join(SOURCE))
    }

    fn unpack_source(&self, dest: &Path) -> Result<()> {
        let release = self.release()?;
        for name in SUITES {
            let suite = Suite::open(name)?;
            let versions = suite.versions("rust-src")?;
            if let Some(version) = versions.iter().find(|version| is_release(version, release)) {
                let package = format!("rust-src={version}");
                let archives = suite.fetch("rust-src", &[&package], Reach::Named)?;
                return unpack_library(&archives, release, dest);
            }
        }
        bail!(
            "none of Debian's suites {} has this version",
            SUITES.join(", ")
        )
    }

    fn field(&self, name: &str) -> Result<&str> {
        let value = self
            .identity
            .lines()
            .find_map(|line| line.strip_prefix(name));
        value.with_context(|| format!("rustc -vV has no line `{name}`"))
    }
}

/// Unpacks nothing but the library out of the package, which holds the whole compiler.
fn unpack_library(archives: &Path, release: &str, dest: &Path) -> Result<()> {
    let step = progress::step("unpacking rust-src");
    let deb = fs::read_dir(archives)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension() == Some(OsStr::new("deb")))
        .context("the package rust-src did not arrive")?;
    let mut contents = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()
        .context("start dpkg-deb")?;
    fs::create_dir_all(dest)?;
    let mut tar = Command::new("tar");
    tar.args(["-x", "--strip-components=5", "-C"])
        .arg(dest)
        .arg(format!("./usr/src/rustc-{release}/library"))
        .stdin(contents.stdout.take().context("dpkg-deb has no output")?);
    command::run(&mut tar)?;
    contents.wait()?;
    step.finish_and_clear();
    fs::remove_dir_all(archives).context("remove the package rust-src")
}

/// Whether a Debian version is a packaging of this release.
fn is_release(version: &str, release: &str) -> bool {
    let rest = version.strip_prefix(release);
    rest.is_some_and(|rest| rest.starts_with(['+', '-', '~']))
}

/// Makes `to` a folder of links to the entries of `from`, leaving out one name.
fn link_all_but(from: &Path, to: &Path, left_out: &str) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        if entry.file_name() != left_out {
            symlink(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn write_wrapper(text: &str) -> Result<()> {
    let path = workspace::tools("rustc");
    if fs::read_to_string(&path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    let tools = workspace::tools("");
    fs::create_dir_all(&tools)?;
    let mut part = NamedTempFile::new_in(tools)?;
    part.write_all(text.as_bytes())?;
    part.as_file()
        .set_permissions(fs::Permissions::from_mode(0o755))?;
    part.into_temp_path()
        .persist(&path)
        .with_context(|| format!("write {}", path.display()))
}

fn path_str(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_exactly_the_release() {
        assert!(is_release("1.95.0+dfsg1-2~bpo13+1", "1.95.0"));
        assert!(is_release("1.95.0-1", "1.95.0"));
        assert!(!is_release("1.95.01-1", "1.95.0"));
        assert!(!is_release("1.96.1+dfsg1-2", "1.95.0"));
        assert!(!is_release("1.95.0+dfsg1-2", "1.95.0-nightly"));
    }

    #[test]
    fn a_shadow_links_all_but_one_name() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::create_dir_all(from.join("src")).unwrap();
        fs::write(from.join("etc"), "text").unwrap();
        let to = dir.path().join("to");
        link_all_but(&from, &to, "src").unwrap();
        assert_eq!(fs::read_link(to.join("etc")).unwrap(), from.join("etc"));
        assert!(!to.join("src").exists());
    }
}
