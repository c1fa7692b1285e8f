//! Folders that are either complete or not there, whenever the making was interrupted.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace;

/// The file in a finished folder that tells what it was made from.
const STAMP: &str = ".made-from";

/// Makes the folder `dest` unless it is there already and was made from the same `recipe`.
///
/// `make` fills a folder beside it, which takes its place once it is complete.
pub fn folder(dest: &Path, recipe: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if is_made(dest, recipe) {
        return Ok(());
    }
    let _lock = lock()?;
    if is_made(dest, recipe) {
        return Ok(());
    }
    let part = part_of(dest);
    remove(&part)?;
    fs::create_dir_all(&part).with_context(|| format!("create {}", part.display()))?;
    make(&part)?;
    fs::write(part.join(STAMP), recipe).with_context(|| format!("write in {}", part.display()))?;
    remove(dest)?;
    fs::rename(&part, dest).with_context(|| format!("rename to {}", dest.display()))
}

/// The one line about a thing that cannot be had.
pub fn missing(what: &str, why: &str, by_hand: &str) -> String {
    format!("{what} is missing: {why}; by hand: {by_hand}")
}

/// Whether `dest` is complete and made from `recipe`.
fn is_made(dest: &Path, recipe: &str) -> bool {
    fs::read_to_string(dest.join(STAMP)).is_ok_and(|made_from| made_from == recipe)
}

/// Whether a folder was made here, and not by hand.
pub fn is_ours(dest: &Path) -> bool {
    dest.join(STAMP).exists()
}

/// Keeps other xtask processes of this workspace from making anything until the file is dropped.
fn lock() -> Result<File> {
    let path = workspace::target("xtask.lock");
    fs::create_dir_all(workspace::target(""))?;
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("waiting for another cargo xtask to finish its setup");
        file.lock()
            .with_context(|| format!("lock {}", path.display()))?;
    }
    Ok(file)
}

fn part_of(dest: &Path) -> PathBuf {
    let mut name = dest.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_a_folder_once_and_again_when_the_recipe_changes() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("thing");
        let fill = |text: &'static str| move |part: &Path| Ok(fs::write(part.join("a"), text)?);
        folder(&dest, "one", fill("first")).unwrap();
        folder(&dest, "one", fill("second")).unwrap();
        assert_eq!(fs::read_to_string(dest.join("a")).unwrap(), "first");
        folder(&dest, "two", fill("third")).unwrap();
        assert_eq!(fs::read_to_string(dest.join("a")).unwrap(), "third");
    }

    #[test]
    fn an_interrupted_making_leaves_nothing_that_counts_as_made() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("thing");
        folder(&dest, "one", |_| anyhow::bail!("interrupted")).unwrap_err();
        assert!(!is_made(&dest, "one"));
        folder(&dest, "one", |_| Ok(())).unwrap();
        assert!(is_made(&dest, "one"));
    }
}
