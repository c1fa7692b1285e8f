//! The linker of the eBPF target.

use std::fs;

use anyhow::{Context, Result};

use super::rust::Toolchain;
use crate::{command, install, progress, workspace};

/// The last version that links with the compiler's own LLVM; later ones want a matching LLVM
/// installed.
const PACKAGE: &str = "bpf-linker@0.10.3";

/// Makes `target/tools/bin/bpf-linker`, anew for another toolchain as it uses that one's LLVM; one
/// that was put there by hand stays.
pub fn install(toolchain: &Toolchain) -> Result<()> {
    let bin = workspace::tools("bin");
    if bin.join("bpf-linker").exists() && !install::is_ours(&bin) {
        return Ok(());
    }
    let recipe = format!("{PACKAGE}\n{}", toolchain.identity);
    install::folder(&bin, &recipe, |part| {
        let step = progress::step(&format!("compiling {PACKAGE}"));
        let objects = part.join("objects");
        let mut cargo = command::cargo();
        cargo
            .args(["install", PACKAGE, "--locked", "--quiet", "--root"])
            .arg(part.join("root"))
            .env("CARGO_TARGET_DIR", &objects);
        let by_hand = format!("cargo install {PACKAGE} --locked --root target/tools");
        command::output(&mut cargo)
            .with_context(|| install::missing(PACKAGE, "it links the eBPF programs", &by_hand))?;
        fs::rename(part.join("root/bin/bpf-linker"), part.join("bpf-linker"))?;
        fs::remove_dir_all(part.join("root"))?;
        fs::remove_dir_all(objects)?;
        step.finish_and_clear();
        Ok(())
    })
}
