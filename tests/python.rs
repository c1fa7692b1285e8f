//! What was written, read by others' readers in Python.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What a script of this folder prints of a file, or of a folder, with the Python that `cargo xtask setup` installs.
pub fn read(script: &str, file: &Path) -> Value {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = workspace.join("target/tools/python/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run `cargo xtask setup`",
        python.display()
    );
    let output = Command::new(python)
        .arg(workspace.join("tests").join(script))
        .arg(file)
        .output()
        .expect("Python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}
