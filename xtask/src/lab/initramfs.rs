//! The archive that a machine boots from: its first process, the job and what goes in with it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::newc;

const FOLDERS: [&str; 12] = [
    "boot", "dev", "etc", "lab", "lab/bin", "lab/in", "proc", "root", "run", "sys", "tmp", "usr",
];

const LINKS: [(&str, &str); 5] = [
    ("bin", "usr/bin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("sbin", "usr/sbin"),
    ("etc/mtab", "/proc/self/mounts"),
];

const TEXTS: [(&str, &str); 3] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n"),
];

const INIT: &str = include_str!("init.sh");

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;

/// Writes a root file system entry by entry.
pub struct Initramfs<W: Write> {
    out: W,
    inode: u32,
}

impl<W: Write> Initramfs<W> {
    /// Starts with what every machine has.
    pub fn start(out: W) -> Result<Self> {
        let mut archive = Self { out, inode: 0 };
        for name in FOLDERS {
            archive.entry(name, FOLDER, b"")?;
        }
        for (name, target) in LINKS {
            archive.entry(name, LINK, target.as_bytes())?;
        }
        for (name, text) in TEXTS {
            archive.text(name, text)?;
        }
        archive.entry("init", FILE | 0o755, INIT.as_bytes())?;
        Ok(archive)
    }

    pub fn text(&mut self, name: &str, text: &str) -> Result<()> {
        self.entry(name, FILE | 0o644, text.as_bytes())
    }

    /// Adds a file, or a folder with all that is in it.
    pub fn tree(&mut self, name: &str, path: &Path) -> Result<()> {
        self.tree_entry(name, path)
            .with_context(|| format!("bring in {}", path.display()))
    }

    /// Adds the modules that are loaded before any disk is there, in this order.
    pub fn boot_modules(&mut self, paths: &[PathBuf]) -> Result<()> {
        let mut order = String::new();
        for path in paths {
            let name = path.file_name().unwrap_or_default().display().to_string();
            self.tree(&format!("boot/{name}"), path)?;
            writeln!(order, "{name}")?;
        }
        self.text("boot/order", &order)
    }

    /// Adds what appears as `/lab/in/NAME`, with the folders above it.
    pub fn input(&mut self, name: &str, path: &Path) -> Result<()> {
        for (slash, _) in name.match_indices('/') {
            self.entry(&format!("lab/in/{}", &name[..slash]), FOLDER, b"")?;
        }
        self.tree(&format!("lab/in/{name}"), path)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<()> {
        newc::trailer(&mut self.out)?
            .flush()
            .context("write the archive's end")
    }

    fn tree_entry(&mut self, name: &str, path: &Path) -> Result<()> {
        // The path that the caller names may be a link; links below it stay links.
        let metadata = fs::metadata(path)?;
        if !metadata.is_dir() {
            return self.file(name, path);
        }
        self.entry(name, FOLDER, b"")?;
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let below = format!("{name}/{}", entry.file_name().display());
            if entry.file_type()?.is_symlink() {
                self.entry(
                    &below,
                    LINK,
                    fs::read_link(entry.path())?.as_os_str().as_bytes(),
                )?;
            } else {
                self.tree_entry(&below, &entry.path())?;
            }
        }
        Ok(())
    }

    fn file(&mut self, name: &str, path: &Path) -> Result<()> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let mode = FILE | (metadata.permissions().mode() & 0o777);
        self.write(name, mode, metadata.len(), file)
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) -> Result<()> {
        self.write(name, mode, data.len() as u64, data)
    }

    fn write(&mut self, name: &str, mode: u32, size: u64, data: impl Read) -> Result<()> {
        self.inode += 1;
        let builder = newc::Builder::new(name).ino(self.inode).mode(mode).nlink(1);
        let size = u32::try_from(size).with_context(|| format!("{name} is larger than 4 GiB"))?;
        let mut writer = builder.write(&mut self.out, size);
        io::copy(&mut data.take(size.into()), &mut writer)?;
        writer
            .finish()
            .with_context(|| format!("write {name} into the archive"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut found = Vec::new();
        loop {
            let mut reader = newc::Reader::new(archive).unwrap();
            if reader.entry().is_trailer() {
                return found;
            }
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut data = Vec::new();
            reader.read_to_end(&mut data).unwrap();
            found.push((name, mode, data));
            archive = reader.finish().unwrap();
        }
    }

    #[test]
    fn a_folder_comes_with_its_files_modes_and_links() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/tool"), "#!").unwrap();
        fs::set_permissions(
            dir.path().join("sub/tool"),
            fs::Permissions::from_mode(0o750),
        )
        .unwrap();
        std::os::unix::fs::symlink("sub/tool", dir.path().join("link")).unwrap();

        let mut bytes = Vec::new();
        let mut archive = Initramfs::start(&mut bytes).unwrap();
        archive.tree("lab/in/x", dir.path()).unwrap();
        archive.finish().unwrap();

        let contents = contents(&bytes);
        let find = |name: &str| contents.iter().find(|entry| entry.0 == name).unwrap();
        assert_eq!(find("lab/in/x").1, FOLDER);
        assert_eq!(find("lab/in/x/sub/tool").1, FILE | 0o750);
        assert_eq!(find("lab/in/x/sub/tool").2, b"#!");
        assert_eq!(find("lab/in/x/link").1, LINK);
        assert_eq!(find("lab/in/x/link").2, b"sub/tool");
        assert_eq!(find("init").1, FILE | 0o755);
    }
}
