//! Files that this program writes: never over another one unless that is asked for, never through a
//! symbolic link, and for nobody else to read unless that is asked for.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;

use crate::error::{Error, Result};
use crate::person::Person;

/// Creates a file for its owner alone: whoever called sudo, if somebody did.
pub fn create(path: &Path, replaces: bool) -> Result<File> {
    let file = match open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            make_room(path, replaces)?;
            open(path)
        }
        opened => opened,
    };
    let file = file.with_context(|| format!("create {}", path.display()))?;
    give(&file, path)?;
    Ok(file)
}

/// To whoever called sudo, if somebody did.
fn give(file: &File, path: &Path) -> Result<()> {
    if let Some(person) = Person::behind_sudo() {
        person
            .own(file)
            .with_context(|| format!("give {} to its owner", path.display()))?;
    }
    Ok(())
}

/// Writes a file with these permissions in the place of one that may be there. Until it is whole it has another
/// name in the same folder, which begins with a dot and ends with `.part`.
pub fn replace(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    replaceable(path)?;
    let context = || format!("write {}", path.display());
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let part = tempfile::Builder::new()
        .prefix(".verity-trace-")
        .suffix(".part")
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .with_context(context)?;
    let mut out = BufWriter::new(part.as_file());
    write(&mut out)
        .and_then(|()| out.flush())
        .with_context(context)?;
    drop(out);
    // The process' mask is for what nobody named permissions for.
    let permissions = fs::Permissions::from_mode(mode);
    part.as_file()
        .set_permissions(permissions)
        .with_context(context)?;
    give(part.as_file(), path)?;
    part.persist(path)
        .map_err(|failed| failed.error)
        .with_context(context)?;
    Ok(())
}

/// That what is there may be replaced: a regular file, or nothing.
pub fn replaceable(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => Err(no_file(path)),
        _ => Ok(()),
    }
}

fn no_file(path: &Path) -> Error {
    Error::Usage(format!(
        "{} is no regular file, and so is not replaced",
        path.display()
    ))
}

/// That a file could be created there, as far as its name goes.
pub fn check(path: &Path, replaces: bool) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(_) if !replaces => Err(exists(path)),
        _ => Ok(()),
    }
}

fn open(path: &Path) -> io::Result<File> {
    // A link counts as a file that exists.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Takes away the file that is there, if that is one and may go.
fn make_room(path: &Path, replaces: bool) -> Result<()> {
    if !replaces {
        return Err(exists(path));
    }
    let found = fs::symlink_metadata(path);
    let found = found.with_context(|| format!("look at {}", path.display()))?;
    if !found.is_file() {
        return Err(no_file(path));
    }
    fs::remove_file(path).with_context(|| format!("replace {}", path.display()))?;
    Ok(())
}

fn exists(path: &Path) -> Error {
    Error::Usage(format!(
        "{} exists; another name, or --force to replace it",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn a_file_is_for_its_owner_and_is_replaced_only_when_that_is_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        create(&path, false).expect("created");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, "kept").expect("written");
        let refused = create(&path, false).expect_err("it exists");
        assert_eq!(refused.exit_code(), 2);
        assert_eq!(fs::read(&path).expect("a file"), b"kept");
        assert!(check(&path, false).is_err());
        create(&path, true).expect("replaced");
        assert!(fs::read(&path).expect("a file").is_empty());
    }

    #[test]
    fn a_file_that_is_replaced_is_whole_and_has_the_permissions_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        for (mode, text) in [
            (0o644, "first"),
            (0o640, "second, longer"),
            (0o666, "third"),
        ] {
            replace(&path, mode, |out| out.write_all(text.as_bytes())).expect("written");
            let found = fs::metadata(&path).expect("a file").permissions().mode();
            assert_eq!(found & 0o777, mode);
            assert_eq!(fs::read_to_string(&path).expect("a file"), text);
        }
        let failed = replace(&path, 0o644, |out| {
            out.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.expect_err("the disk is full").exit_code(), 1);
        assert_eq!(fs::read_to_string(&path).expect("a file"), "third");
        let left = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 1, "nothing else is left behind");
    }

    #[test]
    fn what_is_no_regular_file_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "kept").expect("written");
        symlink(&target, &link).expect("a link");
        for path in [&link, folder.path(), Path::new("/dev/null")] {
            let refused = replace(path, 0o644, |_| Ok(())).expect_err("refused");
            assert_eq!(refused.exit_code(), 2, "{refused}");
        }
        assert!(link.is_symlink());
    }

    #[test]
    fn nothing_is_written_through_a_link_or_over_what_is_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "kept").expect("written");
        symlink(&target, &link).expect("a link");
        for replaces in [false, true] {
            assert!(create(&link, replaces).is_err());
            assert!(create(folder.path(), replaces).is_err());
        }
        assert_eq!(fs::read(&target).expect("a file"), b"kept");
        let dangling = folder.path().join("dangling");
        symlink(folder.path().join("none"), &dangling).expect("a link");
        assert!(create(&dangling, false).is_err());
        assert!(!folder.path().join("none").exists());
    }
}
