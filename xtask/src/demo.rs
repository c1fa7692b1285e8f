//! `cargo xtask demo-recordings`: the recordings that travel inside the program, made anew on a kernel of
//! each era.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::lab::{Input, Job, Machine, Output};
use crate::setup::Kernel;
use crate::{build, workspace};

/// Longer than a boot and the load take on a slow machine.
const TIMEOUT: Duration = Duration::from_mins(5);

/// Overwrites them.
pub fn main() -> Result<()> {
    let binary = build::binary()?;
    let root = workspace::root();
    for &kernel in Kernel::ERAS {
        let file = root.join(format!("verity-trace/demo/{kernel}.vtrec"));
        let job = Job {
            command: ["sh", "/lab/in/load.sh"].map(str::to_owned).to_vec(),
            inputs: vec![Input {
                path: root.join("xtask/src/demo/load.sh"),
                name: "load.sh".to_owned(),
            }],
            outputs: vec![Output::parse(&format!(
                "/tmp/demo.vtrec:{}",
                file.display()
            ))?],
            timeout: Some(TIMEOUT),
            ..Job::default()
        };
        match Machine::new(kernel).run(&binary, &job)? {
            0 => println!("{}", file.display()),
            code => bail!("recording on {kernel} ended with exit code {code}"),
        }
    }
    Ok(())
}
