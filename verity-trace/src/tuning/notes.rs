//! Where notes are kept: a folder that root alone can write to and look into, gone with the boot.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags};
use verity_trace::error::{Error, Result};
use verity_trace::snapshot::DeviceNumber;
use verity_trace::tune::{Note, files_of};

/// Where they are.
pub const FOLDER: &str = "/run/verity-trace";

const LOCK: &str = "lock";
/// A note is shorter, whatever its table has.
const MOST_BYTES: u64 = 1 << 20;

/// The folder, locked: of all runs on this machine one at a time changes something.
#[derive(Debug)]
pub struct Notes {
    folder: OwnedFd,
    _lock: OwnedFd,
    owner: u32,
}

impl Notes {
    /// Opens it, and makes it where there is none. It has to be this user's, and nobody else's to write to.
    pub fn open(path: &Path, owner: u32) -> Result<Self> {
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Err(error) if error != rustix::io::Errno::EXIST => {
                return Err(anyhow!(error)
                    .context(format!("make {}", path.display()))
                    .into());
            }
            _ => {}
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, path, flags, Mode::empty()).with_context(|| {
            format!(
                "open {}, which has to be a folder and no link",
                path.display()
            )
        })?;
        let found = rustix::fs::fstat(&folder).context("look at the folder for notes")?;
        if found.st_uid != owner || found.st_mode & 0o7777 != 0o700 {
            return Err(Error::NotPermitted(format!(
                "{} is not root's alone (mode 0700), and what is in it could be anybody's: remove it",
                path.display()
            )));
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::openat(&folder, LOCK, flags, Mode::RUSR | Mode::WUSR)
            .with_context(|| format!("open {}/{LOCK}", path.display()))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Usage(
                "another `verity-trace tune` is running on this machine".to_owned(),
            )),
            locked => {
                locked.with_context(|| format!("lock {}/{LOCK}", path.display()))?;
                Ok(Self {
                    folder,
                    _lock: lock,
                    owner,
                })
            }
        }
    }

    /// The notes of what concerns a device; an error where one cannot be read.
    pub fn of(&self, number: DeviceNumber) -> Result<Vec<Note>> {
        let read = |name: String| {
            self.read(&name).map_err(|error| {
                Error::Input(format!(
                    "{FOLDER}/{name}: {error}; look at it, and remove it"
                ))
            })
        };
        let notes = files_of(number).into_iter().map(read);
        notes.filter_map(Result::transpose).collect()
    }

    fn read(&self, name: &str) -> Result<Option<Note>, String> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.folder, name, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            opened => opened.map_err(|error| error.to_string())?,
        };
        let found = rustix::fs::fstat(&file).map_err(|error| error.to_string())?;
        let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        if !is_file || found.st_uid != self.owner {
            return Err("it is not root's, or no file".to_owned());
        }
        let mut text = String::new();
        let mut file = File::from(file).take(MOST_BYTES);
        file.read_to_string(&mut text)
            .map_err(|error| error.to_string())?;
        let note = Note::parse(&text)?;
        if note.file() != name {
            return Err("it is a note of something else".to_owned());
        }
        Ok(Some(note))
    }

    /// Writes a note, whole and on its disk before this returns.
    pub fn keep(&self, note: &Note) -> Result<()> {
        let name = note.file();
        self.write(&name, note)
            .with_context(|| format!("write {FOLDER}/{name}"))?;
        Ok(())
    }

    fn write(&self, name: &str, note: &Note) -> io::Result<()> {
        let new = format!("{name}.new");
        self.unlink(&new)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, &new, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        file.write_all(note.text().as_bytes())?;
        file.sync_all()?;
        rustix::fs::renameat(&self.folder, &new, &self.folder, name)?;
        rustix::fs::fsync(&self.folder)?;
        Ok(())
    }

    /// Removes a note, where it is there.
    pub fn remove(&self, note: &Note) -> Result<()> {
        let name = note.file();
        let removed = self.unlink(&name).and_then(|()| {
            rustix::fs::fsync(&self.folder)?;
            Ok(())
        });
        removed.with_context(|| format!("remove {FOLDER}/{name}"))?;
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.folder, name, AtFlags::empty()) {
            Err(error) if error != rustix::io::Errno::NOENT => Err(error.into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::PathBuf;

    use super::*;
    use verity_trace::dm::{Identity, Line};
    use verity_trace::tune::Undo;

    const NUMBER: DeviceNumber = DeviceNumber {
        major: 253,
        minor: 4,
    };

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("notes")
        }

        fn open(&self) -> Result<Notes> {
            Notes::open(&self.path(), rustix::process::geteuid().as_raw())
        }
    }

    fn note(parameters: &str) -> Note {
        let line = |parameters: &str| Line {
            sectors: 8,
            parameters: parameters.to_owned(),
        };
        of(Undo::Table {
            found: line("off"),
            loaded: line(parameters),
        })
    }

    fn of(undo: Undo) -> Note {
        let identity = Identity {
            number: NUMBER,
            disk_sequence: Some(1),
            uuid: "x".to_owned(),
        };
        Note::new("boot", &identity, "usr", undo)
    }

    #[test]
    fn a_note_is_kept_for_its_owner_alone_and_replaced_and_removed() {
        let place = Place::new();
        let notes = place.open().expect("a folder");
        assert_eq!(notes.of(NUMBER).expect("nothing"), []);
        for parameters in ["on", "on again"] {
            notes.keep(&note(parameters)).expect("written");
            assert_eq!(notes.of(NUMBER).expect("read"), [note(parameters)]);
        }
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
        assert_eq!(mode(&place.path()), 0o700);
        assert_eq!(mode(&place.path().join("tune-253:4.json")), 0o600);
        let second = place.open().expect_err("one at a time");
        assert!(second.to_string().contains("another"), "{second}");
        drop(notes);
        let notes = place.open().expect("the lock went with it");
        notes.remove(&note("on")).expect("removed");
        notes.remove(&note("on")).expect("nothing to remove");
        assert_eq!(notes.of(NUMBER).expect("nothing"), []);
        let left: Vec<_> = fs::read_dir(place.path()).expect("a folder").collect();
        assert_eq!(left.len(), 1, "the lock alone: {left:?}");
    }

    /// Whichever device they were tried on.
    #[test]
    fn a_note_of_limits_concerns_every_device() {
        let place = Place::new();
        let notes = place.open().expect("a folder");
        let limits = || {
            of(Undo::Limits {
                found: [8192, 8192, 8192, 0],
                set: [0; 4],
            })
        };
        notes.keep(&limits()).expect("written");
        let other = DeviceNumber { minor: 5, ..NUMBER };
        assert_eq!(notes.of(other).expect("read"), [limits()]);
        notes.keep(&note("on")).expect("written");
        assert_eq!(notes.of(other).expect("read"), [limits()]);
        assert_eq!(notes.of(NUMBER).expect("read"), [note("on"), limits()]);
    }

    #[test]
    fn a_folder_that_is_somebody_elses_is_refused() {
        let place = Place::new();
        let other = place.0.path().join("other");
        fs::create_dir(&other).expect("a folder");
        symlink(&other, place.path()).expect("a link");
        assert!(place.open().is_err(), "a link");
        assert_eq!(fs::read_dir(&other).expect("a folder").count(), 0);
        fs::remove_file(place.path()).expect("a link");
        fs::write(place.path(), "").expect("a file");
        assert!(place.open().is_err(), "a file");
        fs::remove_file(place.path()).expect("a file");
        fs::create_dir(place.path()).expect("a folder");
        for mode in [0o755, 0o770, 0o701, 0o1700] {
            fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).expect("a mode");
            let error = place.open().expect_err("others can look into it");
            assert_eq!(error.exit_code(), 3, "{mode:o}: {error}");
        }
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).expect("a mode");
        let stranger = rustix::process::geteuid().as_raw() + 1;
        let error = Notes::open(&place.path(), stranger).expect_err("not theirs");
        assert_eq!(error.exit_code(), 3);
        assert!(place.open().is_ok());
    }

    #[test]
    fn nothing_is_read_or_written_through_a_link() {
        let place = Place::new();
        let target = place.0.path().join("target");
        fs::write(&target, note("on").text()).expect("a file");
        let notes = place.open().expect("a folder");
        let path = place.path().join("tune-253:4.json");
        symlink(&target, &path).expect("a link");
        assert_eq!(notes.of(NUMBER).expect_err("a link").exit_code(), 6);
        symlink(&target, place.path().join("tune-253:4.json.new")).expect("a link");
        fs::write(&target, "kept").expect("a file");
        notes.keep(&note("on")).expect("written");
        assert_eq!(fs::read_to_string(&target).expect("a file"), "kept");
        assert_eq!(notes.of(NUMBER).expect("read"), [note("on")]);
        fs::remove_file(&path).expect("a note");
        fs::create_dir(&path).expect("a folder");
        assert!(notes.of(NUMBER).is_err(), "a folder is no note");
    }

    #[test]
    fn what_cannot_be_read_is_said_with_its_name() {
        let place = Place::new();
        let notes = place.open().expect("a folder");
        let path = place.path().join("tune-253:4.json");
        fs::write(place.path().join("tune-253:5.json"), note("on").text()).expect("a file");
        let other = DeviceNumber { minor: 5, ..NUMBER };
        let error = notes.of(other).expect_err("another device's");
        assert!(error.to_string().contains("something else"), "{error}");
        fs::write(path, "{}").expect("a file");
        let error = notes.of(NUMBER).expect_err("no note");
        let text = error.to_string();
        assert!(
            text.starts_with("/run/verity-trace/tune-253:4.json: "),
            "{text}"
        );
    }
}
