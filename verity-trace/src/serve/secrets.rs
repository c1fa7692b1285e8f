//! The token, and the key of TLS: files that others must not be able to read.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::{Error, Result};

/// Shorter ones can be guessed.
const SHORTEST: usize = 16;
/// Longer ones fit in no header.
const LONGEST: usize = 512;
/// Bytes of a key or of certificates at most.
const MOST: u64 = 1 << 20;

/// Reads a token: one line without blanks.
pub fn token(path: &Path) -> Result<String> {
    let text = read(path)?;
    let token = text.trim_end_matches(['\n', '\r']);
    let is_plain = token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_plain || !(SHORTEST..=LONGEST).contains(&token.len()) {
        return Err(Error::Input(format!(
            "{}: a token is one line of {SHORTEST} to {LONGEST} characters without blanks; \
             `openssl rand -hex 32` makes one",
            path.display()
        )));
    }
    Ok(token.to_owned())
}

/// Reads a private key, in PEM.
pub fn key(path: &Path) -> Result<String> {
    read(path)
}

/// Reads a file that is for its owner alone.
fn read(path: &Path) -> Result<String> {
    let refused = |why: &str| Error::Input(format!("{}: {why}", path.display()));
    let failed = |error: std::io::Error| refused(&error.to_string());
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(refused("is no regular file"));
    }
    if about.mode() & 0o077 != 0 {
        return Err(refused(
            "others may read or write it; take that away with chmod 600",
        ));
    }
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_token_is_long_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let read = |text: &str, mode| {
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("a mode");
            token(&path).map_err(|error| error.to_string())
        };
        assert_eq!(
            read("0123456789abcdef\n", 0o600).expect("a token"),
            "0123456789abcdef"
        );
        assert_eq!(
            read("0123456789abcdef", 0o400).expect("a token"),
            "0123456789abcdef"
        );
        for (text, mode, why) in [
            ("0123456789abcdef\n", 0o640, "others may read"),
            ("0123456789abcdef\n", 0o604, "others may read"),
            ("short\n", 0o600, "one line"),
            ("0123456789 abcdef\n", 0o600, "one line"),
            ("0123456789abcdef\n0123\n", 0o600, "one line"),
            ("", 0o600, "one line"),
        ] {
            let message = read(text, mode).expect_err("refused");
            assert!(message.contains(why), "{text:?}: {message}");
        }
        assert!(token(folder.path()).is_err());
        assert!(token(&folder.path().join("none")).is_err());
    }
}
