//! Recordings as files that somebody gives: opened only where they can be one, with errors that name
//! the file.

use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use crate::error::{Error, Result};
use crate::recording::{Fault, Reader};

/// A recording in a file.
pub type Archive = Reader<BufReader<File>>;

/// Opens one. Where it `salvages`, damage is skipped and counted.
pub fn open(path: &Path, salvages: bool) -> Result<Archive> {
    let refused = |why: &str| Error::Input(format!("{}: {why}", path.display()));
    let kind = fs::metadata(path).map_err(|error| refused(&error.to_string()))?;
    let kind = kind.file_type();
    if kind.is_dir() {
        return Err(refused("is a folder, and no recording"));
    }
    if kind.is_fifo() {
        return Err(refused(
            "is a pipe, and a recording cannot be read from one; save it to a file first",
        ));
    }
    if !kind.is_file() {
        return Err(refused("is no regular file"));
    }
    let file = File::open(path).map_err(|error| refused(&error.to_string()))?;
    Reader::new(BufReader::new(file), salvages).map_err(|fault| wrong(path, &fault))
}

/// The error for what is wrong with a file.
#[must_use]
pub fn wrong(path: &Path, fault: &Fault) -> Error {
    let hint = if fault.can_be_salvaged() {
        "; --salvage reads what is left"
    } else {
        ""
    };
    Error::Input(format!("{}: {fault}{hint}", path.display()))
}
