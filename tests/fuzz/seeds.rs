//! Makes what libFuzzer begins with: the recordings in the folders that are named, made short; the last folder is the
//! one to write to.

mod short;

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use short::short;

fn main() -> Result<()> {
    let mut folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let to = folders.pop().context("no folder to write to")?;
    for folder in folders {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.extension() == Some(OsStr::new("vtrec")) {
                let name = path.file_stem().context("a file of no name")?;
                let short = short(&path).with_context(|| path.display().to_string())?;
                fs::write(to.join(name), short)?;
            }
        }
    }
    Ok(())
}
