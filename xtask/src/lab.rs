//! `cargo xtask lab`: virtual machines with a dm-verity device's disks and the freshly built
//! binary.

mod files;
mod initramfs;
mod machine;
mod qemu;
mod stream;
mod terminal;
mod watch;

use std::time::Duration;

use anyhow::Result;

pub use files::{Input, Output};
pub use machine::{Job, Machine};
pub use terminal::is_terminal;

use crate::setup::Kernel;
use crate::{Usage, build};
use qemu::Forward;

/// How long a command may take unless it is told otherwise; a shell may take for ever.
pub const TIMEOUT: Duration = Duration::from_mins(10);

#[derive(clap::Args)]
pub struct Args {
    /// The kernel to boot
    #[arg(long, value_enum, default_value_t = Kernel::NEWEST)]
    kernel: Kernel,
    /// Bring a file or folder in, as /lab/in/GUESTNAME
    #[arg(long = "in", value_name = "HOSTPATH[:GUESTNAME]")]
    inputs: Vec<String>,
    /// Bring a file or folder back after the command
    #[arg(long = "out", value_name = "GUESTPATH:HOSTPATH")]
    outputs: Vec<String>,
    /// Make a port of the guest reachable on this machine's loopback address
    #[arg(long = "forward", value_name = "HOSTPORT:GUESTPORT")]
    forwards: Vec<String>,
    /// Let guest time count instructions, so that measurements repeat
    #[arg(long)]
    icount: bool,
    /// End the machine after this many seconds [default: 600 for a command, none for a terminal]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Run the command on this terminal
    #[arg(long)]
    tty: bool,
    /// The command and its arguments; without it, a shell
    #[arg(last = true)]
    command: Vec<String>,
}

/// Returns the command's own exit code.
pub fn main(args: &Args) -> Result<u8> {
    let tty = args.tty || args.command.is_empty();
    if tty && !is_terminal() {
        let what = if args.tty { "--tty" } else { "a shell" };
        return Err(Usage(format!("{what} needs a terminal: name a command after --")).into());
    }
    let (command, env) = if args.command.is_empty() {
        shell(args.kernel)
    } else {
        (args.command.clone(), Vec::new())
    };
    let job = Job {
        command,
        tty,
        env,
        inputs: parse_all(&args.inputs, Input::parse)?,
        outputs: parse_all(&args.outputs, Output::parse)?,
        timeout: args
            .timeout
            .map(Duration::from_secs)
            .or((!tty).then_some(TIMEOUT)),
        log: None,
    };
    let machine = Machine {
        kernel: args.kernel,
        icount: args.icount,
        forwards: parse_all(&args.forwards, Forward::parse)?,
    };
    machine.run(&build::binary()?, &job)
}

/// An interactive shell, whose prompt tells where it runs.
fn shell(kernel: Kernel) -> (Vec<String>, Vec<(String, String)>) {
    let prompt = format!("lab {kernel} \\w \\$ ");
    let command = ["bash", "-i"].map(str::to_owned).to_vec();
    (command, vec![("PS1".to_owned(), prompt)])
}

fn parse_all<T>(texts: &[String], parse: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    texts.iter().map(|text| parse(text)).collect()
}
