//! What the running kernel is and has: its facts, the layout of its structures, addresses of its
//! functions.
//!
//! Everything comes from the kernel's own BTF, its symbol table and its files in `/sys` and `/proc`.

mod symbols;
mod types;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::time::{ClockId, clock_gettime};

pub use symbols::Symbols;
pub use types::{CAST, FunctionType, Types, has_btf};

use crate::dm;
use crate::error::Result;
use crate::plan::Facts;
use crate::plan::facts::{
    Address, BtfFiles, FUNCTIONS, KERNEL_FUNCTIONS, MEMBERS, Presence, SYMBOLS, TRACEPOINTS,
    VARIABLES,
};
use crate::snapshot::{Era, Kernel};

const DM_VERITY: &str = "/sys/module/dm_verity";
const USE_BH_BYTES: &str = "parameters/use_bh_bytes";

/// Whether `dm_verity` is there, as a module or built in.
#[must_use]
pub fn has_dm_verity() -> bool {
    Path::new(DM_VERITY).exists()
}

/// `use_bh_bytes`: the bytes up to which an I/O of each ioprio class is verified in BH or inline;
/// absent where there is no such parameter.
#[must_use]
pub fn use_bh_bytes() -> Option<Vec<u64>> {
    let text = fs::read_to_string(Path::new(DM_VERITY).join(USE_BH_BYTES)).ok()?;
    text.trim()
        .split(',')
        .map(|word| word.parse().ok())
        .collect()
}

/// Sets `use_bh_bytes`, all four values of it.
pub fn set_use_bh_bytes(limits: [u64; 4]) -> Result<()> {
    let path = Path::new(DM_VERITY).join(USE_BH_BYTES);
    let text = limits.map(|it| it.to_string()).join(",");
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(())
}

/// Whether signed root hashes alone are taken; absent where the kernel knows no signed ones.
#[must_use]
pub fn requires_signatures() -> Option<bool> {
    let path = Path::new(DM_VERITY).join("parameters/require_signatures");
    let text = fs::read_to_string(path).ok()?;
    Some(!matches!(text.trim(), "N" | "0"))
}

/// What tells this boot from every other one.
pub fn boot_id() -> Result<String> {
    const FILE: &str = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(FILE).context(FILE)?;
    Ok(text.trim().to_owned())
}

/// Model of the CPU; absent where the kernel does not tell it.
#[must_use]
pub fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"))?;
    Some(model.trim_start_matches([' ', '\t', ':']).to_owned())
}

/// The machine, without the era.
#[must_use]
pub fn machine() -> Kernel {
    let uname = rustix::system::uname();
    Kernel {
        release: uname.release().to_string_lossy().into_owned(),
        host: uname.nodename().to_string_lossy().into_owned(),
        cpus: aya::util::online_cpus().map_or(1, |cpus| cpus.len()),
        era: None,
    }
}

/// What the option does on this kernel, without need of BTF; absent where neither the symbol table
/// nor the verity target tells.
pub fn era() -> Result<Option<Era>> {
    if dm::target_version()?.is_none() {
        return Ok(None);
    }
    let facts = facts(&Types::default(), &Symbols::read()?)?;
    Ok(facts.era().map(|(era, _)| era))
}

/// The facts about the running kernel; what cannot be found out is absent.
pub fn facts(types: &Types, symbols: &Symbols) -> Result<Facts> {
    let uname = rustix::system::uname();
    let names = |names: &[&str]| -> Vec<String> { names.iter().map(|&it| it.to_owned()).collect() };
    let listed = SYMBOLS.into_iter().filter_map(|name| {
        let address = match symbols.address(name)? {
            0 => Address::Hidden,
            _ => Address::Shown,
        };
        Some((name.to_owned(), address))
    });
    Ok(Facts {
        release: uname.release().to_string_lossy().into_owned(),
        machine: uname.machine().to_string_lossy().into_owned(),
        dm_verity: presence(),
        target_version: dm::target_version()?,
        has_use_bh_bytes: Path::new(DM_VERITY).join(USE_BH_BYTES).exists(),
        has_kprobes: Path::new("/sys/bus/event_source/devices/kprobe").exists(),
        lockdown: chosen("/sys/kernel/security/lockdown", '[', ']'),
        kptr_restrict: fs::read_to_string("/proc/sys/kernel/kptr_restrict")
            .ok()
            .and_then(|text| text.trim().parse().ok()),
        preemption: preemption(&uname.version().to_string_lossy()),
        btf: BtfFiles {
            vmlinux: has_btf("vmlinux"),
            dm_mod: has_btf("dm_mod"),
            dm_verity: has_btf("dm_verity"),
        },
        symbols: listed.collect(),
        functions: FUNCTIONS
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), types.arguments(name)?)))
            .collect(),
        tracepoints: names(&TRACEPOINTS)
            .into_iter()
            .filter(|name| types.tracepoint(name).is_some())
            .collect(),
        kernel_functions: names(&KERNEL_FUNCTIONS)
            .into_iter()
            .filter(|name| types.kernel_function(name).is_some())
            .collect(),
        variables: names(&VARIABLES)
            .into_iter()
            .filter(|name| types.variable(name).is_some())
            .collect(),
        members: MEMBERS
            .into_iter()
            .filter_map(|(part, structure, member)| {
                let bits = types.member(part, structure, member)?;
                Some((format!("{structure}.{member}"), bits))
            })
            .collect(),
        read_ahead_bit: types.enumerator("req_flag_bits", "__REQ_RAHEAD"),
    })
}

fn presence() -> Presence {
    if !has_dm_verity() {
        Presence::Absent
    } else if Path::new(DM_VERITY).join("initstate").exists() {
        Presence::Module
    } else {
        Presence::BuiltIn
    }
}

/// How far tasks can be preempted in the kernel, from what the scheduler or else `uname -v` says.
fn preemption(version: &str) -> Option<String> {
    let words: Vec<&str> = version.split_ascii_whitespace().collect();
    if words.contains(&"PREEMPT_RT") {
        return Some("rt".to_owned());
    }
    chosen("/sys/kernel/debug/sched/preempt", '(', ')').or_else(|| {
        // A kernel that can choose at boot does not say here what was chosen.
        if words.contains(&"PREEMPT_DYNAMIC") {
            None
        } else if words.contains(&"PREEMPT") {
            Some("full".to_owned())
        } else {
            Some("voluntary".to_owned())
        }
    })
}

/// The word between brackets in a file that lists what can be chosen.
fn chosen(file: &str, open: char, close: char) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let (_, rest) = text.split_once(open)?;
    Some(rest.split_once(close)?.0.to_owned())
}

/// What one of the kernel's clocks shows; the programs' is `Monotonic`.
pub fn clock(id: ClockId) -> Result<Duration> {
    Ok(Duration::try_from(clock_gettime(id)).context("read the clock")?)
}

/// How many numbers CPUs that could come online can have: some may be no CPU's.
pub fn cpu_numbers() -> Result<usize> {
    const PATH: &str = "/sys/devices/system/cpu/possible";
    let ranges = fs::read_to_string(PATH).with_context(|| format!("read {PATH}"))?;
    let highest = highest(&ranges).with_context(|| format!("{PATH} names no CPU"))?;
    Ok(highest + 1)
}

/// The highest number in a list of ranges, such as `0-3,8-11`.
fn highest(ranges: &str) -> Option<usize> {
    let numbers = ranges.trim().split([',', '-']);
    numbers.filter_map(|number| number.parse().ok()).max()
}

/// How many CPUs could come online: the length of every per-CPU value.
pub fn possible_cpus() -> Result<usize> {
    aya::util::nr_cpus()
        .map_err(|(path, error)| anyhow!(error).context(format!("read {path}")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_number_is_found_whatever_lies_between() {
        assert_eq!(highest("0-3\n"), Some(3));
        assert_eq!(highest("0\n"), Some(0));
        assert_eq!(highest("0-1,64,8-11\n"), Some(64));
        assert_eq!(highest("\n"), None);
    }
}
