//! `cargo xtask setup`: fetches what the build and the lab need into `target/`, and nothing twice.

mod disks;
mod guest;
mod host;
mod kernel;
mod linker;
mod rust;

use anyhow::{Result, bail};

use crate::{installed, prometheus, python};

pub use disks::Disks;
pub use guest::Guest;
pub use host::HostTools;
pub use kernel::{Kernel, KernelFiles};

#[derive(clap::Args)]
pub struct Args {
    /// Fetch only what the build and the tests on this machine need, and leave the lab out
    #[arg(long)]
    host_only: bool,
}

/// All that a virtual machine is made of, apart from its kernel.
pub struct LabParts {
    pub host: HostTools,
    pub guest: Guest,
    pub disks: Disks,
}

/// Fetches everything; what cannot be had gets one line each, after the rest is there.
pub fn main(args: &Args) -> Result<()> {
    let mut results = Vec::from(build_parts()?);
    results.push(python::install());
    results.push(prometheus::install());
    results.push(installed::install());
    if !args.host_only {
        let parts = lab_parts().map(drop);
        if parts.is_ok() {
            results.extend(
                Kernel::ERAS
                    .iter()
                    .map(|&kernel| kernel_files(kernel).map(drop)),
            );
        }
        results.push(parts);
    }
    let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    for error in &errors {
        eprintln!("error: {error:#}");
    }
    if !errors.is_empty() {
        bail!("setup is not complete");
    }
    Ok(())
}

/// What building the eBPF programs needs.
pub fn build_tools() -> Result<()> {
    build_parts()?.into_iter().collect()
}

/// Gets a compiler that knows its source, and a linker, each also without the other.
fn build_parts() -> Result<[Result<()>; 2]> {
    let toolchain = rust::Toolchain::in_use()?;
    Ok([toolchain.install_wrapper(), linker::install(&toolchain)])
}

/// The target triple of programs for this machine.
pub fn host_triple() -> Result<String> {
    Ok(rust::Toolchain::in_use()?.host()?.to_owned())
}

/// What every virtual machine needs.
pub fn lab_parts() -> Result<LabParts> {
    let host = host::install()?;
    let guest = guest::install(&host)?;
    let disks = disks::install(&host)?;
    Ok(LabParts { host, guest, disks })
}

/// One lab kernel and its modules.
pub fn kernel_files(kernel: Kernel) -> Result<KernelFiles> {
    let host = host::install()?;
    kernel::install(kernel, &host)
}
