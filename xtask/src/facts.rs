//! `cargo xtask facts`: what decides how each lab kernel is watched, gathered from it into
//! `tests/facts`.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::lab::{Job, Machine, Output};
use crate::setup::Kernel;
use crate::{build, workspace};

/// Longer than a boot and one command take on a slow machine.
const TIMEOUT: Duration = Duration::from_mins(5);

/// Where the guest leaves them.
const GATHERED: &str = "/tmp/facts.json";

#[derive(clap::Args)]
pub struct Args {
    /// Ask this kernel alone
    #[arg(long, value_enum)]
    kernel: Option<Kernel>,
}

/// Overwrites the file of each kernel that is asked.
pub fn main(args: &Args) -> Result<()> {
    let binary = build::binary()?;
    let kernels = args
        .kernel
        .as_ref()
        .map_or(Kernel::ALL, std::slice::from_ref);
    for &kernel in kernels {
        let file = workspace::root().join(format!("tests/facts/{kernel}.json"));
        // Lockdown is told in a file system that the lab does not mount.
        let script = format!(
            "modprobe dm_verity && mount -t securityfs none /sys/kernel/security && \
             verity-trace doctor --facts >{GATHERED}"
        );
        let job = Job {
            command: ["sh", "-c", &script].map(str::to_owned).to_vec(),
            outputs: vec![Output::parse(&format!("{GATHERED}:{}", file.display()))?],
            timeout: Some(TIMEOUT),
            ..Job::default()
        };
        match Machine::new(kernel).run(&binary, &job)? {
            0 => println!("{}", file.display()),
            code => bail!("gathering on {kernel} ended with exit code {code}"),
        }
    }
    Ok(())
}
