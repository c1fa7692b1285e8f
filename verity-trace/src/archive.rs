//! Recordings as files that somebody gives: opened only where they can be one, with errors that name
//! the file.

use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::io::{BufReader, Cursor, Read, Seek};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use crate::demo::Demo;
use crate::error::{Error, Result};
use crate::recording::{Fault, Reader};

/// What is wrong with a folder.
pub const FOLDER: &str = "is a folder, and no recording";

/// What a recording can be read from.
pub trait Source: Read + Seek + Send {}

impl<T: Read + Seek + Send> Source for T {}

/// A recording that somebody gave.
pub type Archive = Reader<Box<dyn Source>>;

/// Which recording.
#[derive(Clone, Copy, Debug)]
pub enum Given<'a> {
    /// The one in a file.
    File(&'a Path),
    /// One that travels inside the program.
    Demo(Demo),
}

impl Given<'_> {
    /// Opens it. Where it `salvages`, damage is skipped and counted.
    pub fn open(&self, salvages: bool) -> Result<Archive> {
        let source: Box<dyn Source> = match self {
            Self::File(path) => Box::new(BufReader::new(self.file(path)?)),
            Self::Demo(demo) => Box::new(Cursor::new(demo.bytes)),
        };
        Reader::new(source, salvages).map_err(|fault| self.wrong(&fault))
    }

    fn file(&self, path: &Path) -> Result<File> {
        let refused = |why: &str| Error::Input(format!("{self}: {why}"));
        let kind = fs::metadata(path).map_err(|error| refused(&error.to_string()))?;
        let kind = kind.file_type();
        if kind.is_dir() {
            return Err(refused(FOLDER));
        }
        if kind.is_fifo() {
            return Err(refused(
                "is a pipe, and a recording cannot be read from one; save it to a file first",
            ));
        }
        if !kind.is_file() {
            return Err(refused("is no regular file"));
        }
        File::open(path).map_err(|error| refused(&error.to_string()))
    }

    /// The error for what is wrong with it.
    #[must_use]
    pub fn wrong(&self, fault: &Fault) -> Error {
        let hint = if fault.can_be_salvaged() {
            "; --salvage reads what is left"
        } else {
            ""
        };
        Error::Input(format!("{self}: {fault}{hint}"))
    }
}

impl Display for Given<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Demo(demo) => write!(f, "the demo of Linux {}", demo.kernel),
        }
    }
}
