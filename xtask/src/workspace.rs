//! Where things are: everything that xtask makes lies under the workspace's `target` folder.

use std::path::{Path, PathBuf};

/// The folder with the workspace's `Cargo.toml`.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the xtask crate is a folder of the workspace")
}

/// `target/NAME`.
pub fn target(name: &str) -> PathBuf {
    root().join("target").join(name)
}

/// `target/tools/NAME`: what the build needs, known to the build script of `verity-trace`.
pub fn tools(name: &str) -> PathBuf {
    target("tools").join(name)
}

/// `target/lab/NAME`: what the virtual machines need.
pub fn lab(name: &str) -> PathBuf {
    target("lab").join(name)
}
