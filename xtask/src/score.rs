//! `cargo xtask score`: whether what is advised is right. Cases that a generator makes are recorded on lab kernels
//! with the option off and on, while guest time counts instructions. What the program foretells from one recording is
//! set against what was measured in the other one. Both are recorded once more: where that says something else of which
//! setting is better, nobody knows, and a verdict is neither right nor wrong.

mod cases;
mod documents;
mod judge;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::lab::{Input, Job, Machine, Output};
use crate::setup::Kernel;
use crate::{build, command, workspace};
use cases::cases;
use documents::{foretold, measured};
use judge::{Direction, Pair, Score};

/// Where the guest leaves recordings.
const RECORDINGS: &str = "/tmp/score";

/// How long one kernel may take.
const TIMEOUT: Duration = Duration::from_hours(1);

/// A kernel that ignores the option needs few cases: its verdict is always the same.
const INERT: (Kernel, usize) = (Kernel::V6_1, 3);
const EFFECTIVE: [Kernel; 2] = [Kernel::V6_12, Kernel::V7_3];

/// How many cases each of them gets.
const CASES: usize = 15;

/// Of how many verdicts at least, on kernels that heed the option, it has to be known whether they are right: of both
/// directions of 24 cases.
const KNOWN: usize = 48;

/// Where the cases of all tests come from.
const PART_SEED: u64 = 37;

#[derive(clap::Args)]
pub struct Args {
    /// Score this kernel alone
    #[arg(long, value_enum)]
    kernel: Option<Kernel>,
    /// Where the chance comes from that makes cases
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many cases on each kernel
    #[arg(long, default_value_t = CASES)]
    cases: usize,
    /// Keep the recordings in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Score the recordings that --keep left in this folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["seed", "cases", "keep"])]
    from: Option<PathBuf>,
}

/// Prints how every case went, and the scores; an error where a threshold is missed.
pub fn main(args: &Args) -> Result<()> {
    let binary = build::binary()?;
    if let Some(folder) = &args.from {
        return score(&binary, folder).map(drop);
    }
    let temporary = tempfile::tempdir()?;
    let folder = args.keep.as_deref().unwrap_or(temporary.path());
    record_all(&binary, kernels(args.kernel, args.cases), args.seed, folder)?;
    score(&binary, folder).map(drop)
}

/// The same as a part of all tests, with other cases than those that the model was made with. The recordings stay, as
/// others of the same cases differ: what was wrong can be looked into.
pub fn part() -> Result<()> {
    let folder = workspace::target("score");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::create_dir(&folder).with_context(|| format!("create {}", folder.display()))?;
    let binary = build::binary()?;
    record_all(&binary, kernels(None, CASES), PART_SEED, &folder)?;
    println!("recorded in {}", folder.display());
    let known = score(&binary, &folder)?;
    ensure!(
        known >= KNOWN,
        "of {known} verdicts alone it is known whether they are right: at least {KNOWN}"
    );
    Ok(())
}

/// What is recorded: kernels with their numbers of cases.
fn kernels(only: Option<Kernel>, cases: usize) -> Vec<(Kernel, usize)> {
    match only {
        Some(kernel) => vec![(kernel, cases)],
        None => EFFECTIVE
            .map(|kernel| (kernel, cases))
            .into_iter()
            .chain([INERT])
            .collect(),
    }
}

/// Records cases on kernels side by side, each of which is emulated by one thread.
fn record_all(binary: &Path, kernels: Vec<(Kernel, usize)>, seed: u64, to: &Path) -> Result<()> {
    let waiting = Mutex::new(kernels.into_iter());
    let next = || {
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next()
    };
    let work = || -> Result<()> {
        while let Some((kernel, count)) = next() {
            record(binary, kernel, seed, count, &to.join(kernel.name()))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        let ended = workers.map(|it| it.join().map_err(|_| anyhow!("a thread died"))?);
        ended.into_iter().collect()
    })
}

/// Records cases on one kernel into a folder.
fn record(binary: &Path, kernel: Kernel, seed: u64, count: usize, to: &Path) -> Result<()> {
    eprintln!("recording {count} cases on kernel {kernel}");
    let (list, log) = (NamedTempFile::new()?, NamedTempFile::new()?);
    let lines: Vec<_> = cases(seed, count)
        .iter()
        .map(|it| it.line() + "\n")
        .collect();
    fs::write(list.path(), lines.concat())?;
    let input = |path: PathBuf, name: &str| Input {
        path,
        name: name.to_owned(),
    };
    let job = Job {
        command: ["sh", "/lab/in/record.sh", RECORDINGS]
            .map(str::to_owned)
            .to_vec(),
        inputs: vec![
            input(
                workspace::root().join("xtask/src/score/record.sh"),
                "record.sh",
            ),
            input(list.path().to_owned(), "cases"),
        ],
        outputs: vec![Output {
            guest: RECORDINGS.into(),
            host: to.to_owned(),
        }],
        timeout: Some(TIMEOUT),
        log: Some(log.reopen()?),
        ..Job::default()
    };
    let machine = Machine {
        icount: true,
        ..Machine::new(kernel)
    };
    let code = machine.run(binary, &job);
    let code = code.with_context(|| format!("record on kernel {kernel}"))?;
    if code != 0 {
        eprint!("{}", fs::read_to_string(log.path())?);
        bail!("recording on kernel {kernel} ended with exit code {code}");
    }
    Ok(())
}

/// Scores all recordings in a folder. Returns of how many verdicts, on kernels that heed the option, it is known whether
/// they are right.
fn score(binary: &Path, folder: &Path) -> Result<usize> {
    let mut directions = Vec::new();
    for kernel in folders(folder)? {
        let name = kernel.file_name().unwrap_or_default().display().to_string();
        for case in folders(&kernel)? {
            directions.extend(read(binary, &name, &case)?);
        }
    }
    ensure!(
        !directions.is_empty(),
        "there are no recordings in {}",
        folder.display()
    );
    println!("{}", table::table(&directions));
    let judgements: Vec<_> = directions.iter().map(Direction::judge).collect();
    let score = Score::of(judgements.iter().copied());
    let unknown = judgements.len() - score.directions;
    println!(
        "{unknown} of {} verdicts are not scored: right in one pair of recordings, wrong in the other",
        judgements.len()
    );
    let mut missed = 0;
    for (text, holds) in score.thresholds() {
        println!("{text}: {}", if holds { "holds" } else { "MISSED" });
        missed += usize::from(!holds);
    }
    ensure!(missed == 0, "{missed} of 3 thresholds are missed");
    let known = directions
        .iter()
        .filter(|it| it.is_effective && it.judge().verdict_is_right.is_some());
    Ok(known.count())
}

/// The folders in a folder, by name.
fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path).with_context(|| format!("read {}", path.display()))?;
    let mut folders = entries
        .map(|it| Ok(it?.path()))
        .collect::<Result<Vec<_>>>()?;
    folders.sort();
    Ok(folders)
}

/// A case in both directions.
fn read(binary: &Path, kernel: &str, folder: &Path) -> Result<[Direction; 2]> {
    let case = folder.file_name().unwrap_or_default().display();
    let export = |name: &str| document(binary, &["export", "--once"], &folder.join(name));
    let exported = [export("off.vtrec")?, export("on.vtrec")?];
    let [off, on] = [measured(&exported[0])?, measured(&exported[1])?];
    let again = |name: &str| measured(&export(name)?);
    let [again_off, again_on] = [again("again-off.vtrec")?, again("again-on.vtrec")?];
    let recommend = |name: &str| {
        let document = document(binary, &["recommend", "--json"], &folder.join(name))?;
        foretold(&document)
    };
    let era = exported[0]["kernel"]["era"].as_str();
    let limited = if folder.join("limited.vtrec").exists() {
        Some([export("limited.vtrec")?, export("again-limited.vtrec")?])
    } else {
        None
    };
    let direction = |from_on: bool| -> Result<Direction> {
        let (name, settings) = if from_on {
            ("on.vtrec", [(on, off), (again_on, again_off)])
        } else {
            ("off.vtrec", [(off, on), (again_off, again_on)])
        };
        let foretold = recommend(name)?;
        let limited = limited
            .as_ref()
            .filter(|[it, _]| foretold.has_limits(&it["use_bh_bytes"]));
        let limited = limited
            .map(|[first, again]| anyhow::Ok([measured(first)?, measured(again)?]))
            .transpose()?;
        let pair = |at: usize| Pair {
            own: settings[at].0,
            other: settings[at].1,
            limited: limited.map(|it| it[at]),
        };
        Ok(Direction {
            case: format!("{kernel} {case}"),
            is_effective: !matches!(era, Some("inert" | "no-option")),
            from_on,
            pairs: [pair(0), pair(1)],
            foretold,
        })
    };
    Ok([direction(false)?, direction(true)?])
}

/// What the program prints of a recording.
fn document(binary: &Path, how: &[&str], file: &Path) -> Result<Value> {
    let text = command::output(Command::new(binary).args(how).arg(file))?;
    serde_json::from_str(&text).with_context(|| format!("what it says of {}", file.display()))
}
