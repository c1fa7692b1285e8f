//! Builds the kernel programs with the tools that `cargo xtask setup` puts under `target/tools`.
//! Without them the programs are left out, the rest builds and is tested, and the loader says so.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};

fn main() -> Result<()> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    let rustc = tools.join("rustc");
    let bin = tools.join("bin");
    let linker = bin.join("bpf-linker");
    for file in [&rustc, &linker] {
        println!("cargo:rerun-if-changed={}", file.display());
    }
    if rustc.exists() && linker.exists() {
        return build(&rustc, &bin);
    }
    println!(
        "cargo:warning=built without kernel programs: run `cargo xtask setup`, then build again"
    );
    let out = env::var_os("OUT_DIR").context("OUT_DIR is not set")?;
    fs::write(Path::new(&out).join("programs"), []).context("write an empty object")
}

fn build(rustc: &Path, bin: &Path) -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let path: Vec<PathBuf> = std::iter::once(bin.to_owned())
        .chain(env::split_paths(&path))
        .collect();
    let path = env::join_paths(path).context("put the BPF linker on the PATH")?;
    let toolchain = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "stable".to_owned());
    // SAFETY: this process has one thread, which reads no variable at the same time.
    unsafe {
        env::set_var("PATH", path);
        // The stable compiler builds `core` for the BPF target from source, which is a nightly
        // option; the wrapper tells it where that source is.
        env::set_var("RUSTC_BOOTSTRAP", "1");
        env::set_var("CARGO_BUILD_RUSTC", rustc);
        // What the inner cargo prints comes out as warnings: only real ones should.
        env::set_var("CARGO_TERM_QUIET", "true");
    }
    aya_build::build_ebpf(
        [Package {
            name: "verity-trace-ebpf",
            root_dir: "../verity-trace-ebpf",
            ..Package::default()
        }],
        Toolchain::Custom(&toolchain),
    )
}
