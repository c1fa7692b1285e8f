//! `cargo xtask test`: every check there is, on this machine and on lab kernels.

use std::fs::{self, File};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::build::{self, Suite};
use crate::lab::{Input, Job, Machine};
use crate::parts::Parts;
use crate::setup::{self, Kernel};
use crate::{command, fuzz, installed, lint, prometheus, python, score};

/// How long a share of the kernel suite may take, sampled and in full.
const SAMPLED: Duration = Duration::from_mins(20);
const FULL: Duration = Duration::from_mins(90);

/// What holds where everything can be preempted, also the programs: some events go unseen there, which is
/// counted, and most of the suite's other tests want every one.
const REAL_TIME: [&str; 7] = [
    "behaviour::",
    "context::",
    "hundreds_in_flight",
    "matrix",
    "mixed_storm",
    "plan::what_doctor_says",
    "option_on_completing",
];

/// What user space does by itself, and takes long: no kernel does it otherwise than another one.
const ON_ONE_KERNEL: &str = "exporting_for_long";

/// The test that needs a Prometheus: a machine without it boots faster, and has more memory.
const OF_PROMETHEUS: &str = "a_prometheus_";

/// How much work is done at once: each machine is emulated by one thread, and the fuzzer is another.
const SIDE_BY_SIDE: usize = 2;

/// In how many machines the suite of one kernel runs, so that none is still at work while no other is.
const SHARES: usize = 2;

#[derive(clap::Args)]
pub struct Args {
    /// Leave the lab out
    #[arg(long)]
    host_only: bool,
    /// Leave out what needs no lab
    #[arg(long, conflicts_with = "host_only")]
    lab_only: bool,
    /// Run the whole matrix and the long storms, and on the kernels beside those of the eras too
    #[arg(long)]
    full: bool,
    /// Run the kernel suite on this kernel alone, or on those that are named; the score needs all eras
    #[arg(long, value_enum, conflicts_with = "host_only")]
    kernel: Vec<Kernel>,
}

impl Args {
    /// The kernels that the suite runs on.
    fn kernels(&self) -> Vec<Kernel> {
        let all = if self.full || !self.kernel.is_empty() {
            Kernel::ALL
        } else {
            Kernel::ERAS
        };
        let is_named = |kernel: &Kernel| self.kernel.is_empty() || self.kernel.contains(kernel);
        all.iter().copied().filter(is_named).collect()
    }

    /// Whether the advice is scored, which is done on the kernels of all eras.
    fn scores(&self) -> bool {
        let kernels = self.kernels();
        self.full && !self.host_only && Kernel::ERAS.iter().all(|era| kernels.contains(era))
    }

    /// What is left out, as the end of the last line.
    fn remark(&self) -> &'static str {
        match (self.host_only, self.lab_only) {
            (true, _) => "; the lab was left out (--host-only)",
            (_, true) => "; what needs no lab was left out (--lab-only)",
            _ => "",
        }
    }
}

/// Runs all parts, also after one has failed, and ends with what failed.
pub fn main(args: &Args) -> u8 {
    let mut parts = Parts::default();
    if parts.run("setup", || set_up(args)) {
        if !args.lab_only {
            lint::run(&mut parts);
            parts.run("tests on this machine", host_tests);
        }
        let mut work = Vec::new();
        if !args.host_only {
            work.extend(kernel_suite(&mut parts, args).into_iter().map(Work::Share));
        }
        if args.full && !args.lab_only {
            // Before what is shorter still, so that nothing is at work alone for long in the end.
            let longer =
                |it: &Work| matches!(it, Work::Share(share) if !share.kernel.is_real_time());
            let at = work.iter().take_while(|it| longer(it)).count();
            work.insert(at, Work::Recordings);
        }
        side_by_side(&mut parts, &work);
        if args.scores() {
            parts.run("score of the advice", score::part);
        }
    }
    parts.finish(args.remark())
}

fn set_up(args: &Args) -> Result<()> {
    setup::build_tools()?;
    python::install()?;
    prometheus::install()?;
    installed::install()?;
    if !args.host_only {
        setup::lab_parts()?;
        for kernel in args.kernels() {
            setup::kernel_files(kernel)?;
        }
    }
    Ok(())
}

fn host_tests() -> Result<()> {
    command::run(command::cargo().args(["test", "--workspace"])).context("cargo test")
}

/// The kernel suite, built; nothing where it cannot be.
fn kernel_suite(parts: &mut Parts, args: &Args) -> Vec<Share> {
    let mut suite = None;
    parts.run("build for the lab", || {
        suite = Some(Arc::new(build::suite("kernel")?));
        Ok(())
    });
    let mut shares = Vec::new();
    if let Some(suite) = suite {
        parts.run("tests for the lab", || {
            shares = shares_of(args, &suite)?;
            Ok(())
        });
    }
    shares
}

/// Does all of it, each with one processor of this machine.
fn side_by_side(parts: &mut Parts, work: &[Work]) {
    let waiting = Mutex::new(work.iter());
    let parts = Mutex::new(parts);
    let next = || lock(&waiting).next();
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(work) = next() {
                    let start = Instant::now();
                    let mut printed = Vec::new();
                    let result = work.run(&mut printed);
                    lock(&parts).add(&work.name(), start.elapsed(), &printed, result);
                }
            });
        }
    });
}

/// What runs beside other work.
enum Work {
    /// Made-up recordings.
    Recordings,
    Share(Share),
}

impl Work {
    fn name(&self) -> String {
        match self {
            Self::Recordings => "made-up recordings".to_owned(),
            Self::Share(share) => share.name(),
        }
    }

    fn run(&self, printed: &mut Vec<u8>) -> Result<()> {
        let log = tempfile::NamedTempFile::new()?;
        let result = match self {
            Self::Recordings => fuzz::run(log.as_file()),
            Self::Share(share) => share.run(log.reopen()?),
        };
        *printed = fs::read(log.path())?;
        result
    }
}

/// A part of the suite, by the names of its tests, on one kernel.
struct Share {
    suite: Arc<Suite>,
    /// Whether it may take long.
    full: bool,
    kernel: Kernel,
    /// From 1.
    number: usize,
    tests: Vec<String>,
}

/// All that is to be run; the last kernels first, as their suites take longest, and those with few tests in the end,
/// so that no machine is then at work alone for long.
fn shares_of(args: &Args, suite: &Arc<Suite>) -> Result<Vec<Share>> {
    let list = command::output(Command::new(&suite.tests).args(["--list", "--format=terse"]))?;
    let all = list.lines().filter_map(|line| line.strip_suffix(": test"));
    let all: Vec<&str> = all
        .filter(|name| args.full || !name.starts_with("full::"))
        .collect();
    let mut shares = Vec::new();
    for kernel in args.kernels().into_iter().rev() {
        let runs = |name: &str| {
            let holds = REAL_TIME.iter().any(|chosen| name.contains(chosen));
            let is_here = kernel == Kernel::NEWEST || !name.contains(ON_ONE_KERNEL);
            is_here && (holds || !kernel.is_real_time())
        };
        let chosen: Vec<&str> = all.iter().copied().filter(|name| runs(name)).collect();
        if chosen.len() < SHARES {
            bail!("only {} tests for {kernel}", chosen.len());
        }
        // Neighbours are alike, also in how long they take.
        for number in 1..=SHARES {
            let tests = chosen.iter().skip(number - 1).step_by(SHARES);
            shares.push(Share {
                suite: Arc::clone(suite),
                full: args.full,
                kernel,
                number,
                tests: tests.map(|&name| name.to_owned()).collect(),
            });
        }
    }
    shares.sort_by_key(|share| share.kernel.is_real_time());
    Ok(shares)
}

/// A thread that died leaves what it was at as it is.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Share {
    fn name(&self) -> String {
        format!("kernel {}, {} of {SHARES}", self.kernel, self.number)
    }

    fn run(&self, log: File) -> Result<()> {
        let command = ["/lab/in/kernel", "--test-threads=1", "--exact"].map(str::to_owned);
        let input = |path, name: &str| Input {
            path,
            name: name.to_owned(),
        };
        let mut inputs = vec![input(self.suite.tests.clone(), "kernel")];
        if self.tests.iter().any(|name| name.contains(OF_PROMETHEUS)) {
            inputs.push(input(prometheus::program(), "prometheus"));
        }
        let job = Job {
            command: command.into_iter().chain(self.tests.clone()).collect(),
            inputs,
            timeout: Some(if self.full { FULL } else { SAMPLED }),
            log: Some(log),
            ..Job::default()
        };
        match Machine::new(self.kernel).run(&self.suite.binary, &job)? {
            0 => Ok(()),
            code => bail!("the suite ended with exit code {code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(full: bool, kernel: &[Kernel]) -> Args {
        Args {
            host_only: false,
            lab_only: false,
            full,
            kernel: kernel.to_vec(),
        }
    }

    #[test]
    fn kernels_are_those_named_or_the_tiers() {
        assert_eq!(args(false, &[]).kernels(), Kernel::ERAS);
        assert_eq!(args(true, &[]).kernels(), Kernel::ALL);
        let named = [Kernel::V7_3Rt, Kernel::V6_12];
        assert_eq!(
            args(false, &named).kernels(),
            [Kernel::V6_12, Kernel::V7_3Rt]
        );
    }

    #[test]
    fn the_score_needs_the_full_tier_on_all_eras() {
        assert!(args(true, &[]).scores());
        assert!(args(true, Kernel::ERAS).scores());
        assert!(!args(true, &[Kernel::V7_3]).scores());
        assert!(!args(false, &[]).scores());
        let host_only = Args {
            host_only: true,
            ..args(true, &[])
        };
        assert!(!host_only.scores());
    }
}
