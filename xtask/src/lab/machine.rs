//! A virtual machine, and what it is started for.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use signal_hook::low_level::emulate_default_handler;
use tempfile::TempDir;

use super::files::{Input, Output};
use super::initramfs::Initramfs;
use super::qemu::{Emulator, Forward};
use super::terminal;
use super::watch::{End, Ports};
use crate::setup::{self, Kernel, LabParts};
use crate::workspace;

/// How many of a log's last lines an error shows.
const LAST_LINES: usize = 40;

/// A kind of machine.
pub struct Machine {
    pub kernel: Kernel,
    /// Whether guest time counts instructions.
    pub icount: bool,
    pub forwards: Vec<Forward>,
}

/// What a machine is started for.
#[derive(Default)]
pub struct Job {
    pub command: Vec<String>,
    /// Whether the command runs on the caller's terminal.
    pub tty: bool,
    pub env: Vec<(String, String)>,
    pub inputs: Vec<Input>,
    pub outputs: Vec<Output>,
    pub timeout: Option<Duration>,
    /// Where what the command prints goes, instead of where ours goes.
    pub log: Option<File>,
}

impl Machine {
    /// A machine as most jobs want it.
    pub fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            icount: false,
            forwards: Vec::new(),
        }
    }

    /// Boots with `binary` on the path, runs the job, ends the machine, and returns the job's
    /// exit code.
    pub fn run(&self, binary: &Path, job: &Job) -> Result<u8> {
        let lab = setup::lab_parts()?;
        let kernel = setup::kernel_files(self.kernel)?;
        let dir = TempDir::with_prefix_in("machine-", workspace::lab(""))?;
        // The folder's name is new for every machine, so that no command prints it by chance.
        let mark = format!("<{}>", dir.path().file_name().unwrap_or_default().display());

        let initramfs = dir.path().join("initramfs");
        let mut archive = Initramfs::start(File::create(&initramfs)?)?;
        archive.tree("busybox", &lab.guest.busybox)?;
        archive.boot_modules(&kernel.boot)?;
        archive.tree("lab/bin/verity-trace", binary)?;
        archive.text("lab/env", &assignments(self.env(job, &lab, &mark)?)?)?;
        add_job(job, &mut archive)?;
        archive.finish()?;

        let mut emulator = Emulator::new(self, &kernel, &lab);
        emulator.initramfs(&initramfs);
        emulator.console(&console_log(dir.path()));
        let ports = Ports::open(job, &mut emulator)?;
        let restore = job.tty.then(terminal::Restore::at_drop).transpose()?;
        let running = Running::start(emulator, job.tty, dir.path())?;
        let end = ports.watch(job, &mark);
        drop((running, restore));
        match end? {
            End::Code(code) => Ok(code),
            End::Signal(signal) => {
                drop(dir);
                emulate_default_handler(signal)?;
                bail!("signal {signal} did not end this program")
            }
            End::Lost(why) => bail!("kernel {}: {why}{}", self.kernel, last_words(dir.path())),
        }
    }

    /// The guest's environment; what is not exported is for its first process alone.
    fn env(&self, job: &Job, lab: &LabParts, mark: &str) -> Result<Vec<(String, String)>> {
        let mut env = vec![
            (
                "export LAB_KERNEL".to_owned(),
                self.kernel.name().to_owned(),
            ),
            (
                "export LAB_ROOT_HASH".to_owned(),
                lab.disks.root_hash.clone(),
            ),
            ("mark".to_owned(), mark.to_owned()),
        ];
        if !self.forwards.is_empty() {
            env.push(("network".to_owned(), "yes".to_owned()));
        }
        if job.tty {
            let (rows, columns) = terminal::size()?;
            env.push(("rows".to_owned(), rows.to_string()));
            env.push(("columns".to_owned(), columns.to_string()));
            env.push(("export TERM".to_owned(), terminal::kind()));
            env.push(("export LC_CTYPE".to_owned(), terminal::locale()));
        }
        let own = job.env.iter();
        env.extend(own.map(|(name, value)| (format!("export {name}"), value.clone())));
        Ok(env)
    }
}

/// Writes down for the guest what it shall do.
fn add_job(job: &Job, archive: &mut Initramfs<File>) -> Result<()> {
    let words = job.command.iter().map(String::as_str);
    archive.text("lab/job", &format!("exec {}\n", shlex::try_join(words)?))?;
    for input in &job.inputs {
        archive.input(&input.name, &input.path)?;
    }
    if !job.outputs.is_empty() {
        let mut paths = String::new();
        for output in &job.outputs {
            writeln!(paths, "{}", output.guest.display())?;
        }
        archive.text("lab/outputs", &paths)?;
    }
    Ok(())
}

/// Shell assignments, one a line.
fn assignments(pairs: Vec<(String, String)>) -> Result<String> {
    let line =
        |(name, value): (String, String)| Ok(format!("{name}={}\n", shlex::try_quote(&value)?));
    pairs.into_iter().map(line).collect()
}

/// The emulator, which ends with its owner.
struct Running(Child);

impl Running {
    fn start(emulator: Emulator, tty: bool, dir: &Path) -> Result<Self> {
        let (mut command, _handed_over) = emulator.finish();
        command
            .env("TMPDIR", dir)
            .stderr(File::create(emulator_log(dir))?);
        if !tty {
            // Ctrl-C is for us alone. On a terminal the guest has it.
            command
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(Stdio::null());
        }
        Ok(Self(command.spawn().context("start setpriv with qemu")?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Every disk is thrown away, so that there is nothing to shut down. That it has ended
        // already is no error.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn console_log(dir: &Path) -> PathBuf {
    dir.join("console.log")
}

fn emulator_log(dir: &Path) -> PathBuf {
    dir.join("emulator.log")
}

/// What the kernel and the emulator said last, a line each.
fn last_words(dir: &Path) -> String {
    let logs = [("console", console_log(dir)), ("qemu", emulator_log(dir))];
    let lines = logs.iter().flat_map(|(who, path)| {
        let log = fs::read(path).unwrap_or_default();
        let lines = last_lines(&String::from_utf8_lossy(&log));
        lines
            .into_iter()
            .map(move |line| format!("\n{who}: {line}"))
    });
    lines.collect()
}

fn last_lines(log: &str) -> Vec<String> {
    let lines = log.lines().filter(|line| !line.trim().is_empty());
    let lines: Vec<&str> = lines.collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    last.iter()
        .map(|line| line.replace(char::is_control, " "))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_the_shell() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let text = assignments(vec![pair("export A", "x y"), pair("B", "$(id)")]).unwrap();
        assert_eq!(text, "export A='x y'\nB='$(id)'\n");
    }

    #[test]
    fn an_error_shows_the_end_of_a_log() {
        let log: Vec<String> = (0..60).map(|n| format!("line {n}\n\n")).collect();
        let log = log.concat();
        let lines = last_lines(&log);
        assert_eq!(
            (lines.len(), &*lines[0], &*lines[39]),
            (40, "line 20", "line 59")
        );
    }
}
