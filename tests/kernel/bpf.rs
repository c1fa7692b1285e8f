//! What is in the kernel, as bpftool and bpftrace see it: tools that are not ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufReader, Read as _};
use std::process::{ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::shell::{KillOnDrop, run, wait_until};

/// Ids of all programs, maps and links that are in the kernel.
pub fn objects() -> BTreeSet<(&'static str, u64)> {
    let mut ids = BTreeSet::new();
    for kind in ["prog", "map", "link"] {
        for object in list(kind) {
            ids.insert((kind, object["id"].as_u64().expect("an id")));
        }
    }
    ids
}

/// All objects of a kind. bpftool fails when one goes away while it lists them; then it lists again.
pub fn list(kind: &str) -> Vec<Value> {
    let mut objects = Vec::new();
    wait_until("bpftool has listed everything", || {
        let output = Command::new("bpftool")
            .args(["-j", kind, "list"])
            .output()
            .expect("bpftool");
        match serde_json::from_slice(&output.stdout) {
            Ok(Value::Array(listed)) if output.status.success() => {
                objects = listed;
                true
            }
            _ => false,
        }
    });
    objects
}

/// The names of all programs that are in the kernel, sorted.
pub fn program_names() -> Vec<String> {
    let mut names: Vec<_> = list("prog")
        .iter()
        .filter_map(|program| Some(program["name"].as_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

/// How many links there are: each attached program has one.
pub fn links() -> usize {
    list("link").len()
}

/// Bytes that all maps take, by the kernel's account.
pub fn map_bytes() -> u64 {
    list("map")
        .iter()
        .filter_map(|map| map["bytes_memlock"].as_u64())
        .sum()
}

/// Returns once nothing is left that was not there before: the kernel frees behind a grace period.
pub fn wait_until_only(before: &BTreeSet<(&'static str, u64)>) {
    wait_until("every program, map and link has left the kernel", || {
        objects().is_subset(before)
    });
}

/// How many hold the module: open devices, and each loaded fentry program, before it is attached.
pub fn module_references() -> u64 {
    fs::read_to_string("/sys/module/dm_verity/refcnt")
        .expect("dm_verity is loaded")
        .trim()
        .parse()
        .expect("a number")
}

/// What the kernel says of the kprobe programs of a tracer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kprobe {
    /// How often it was run.
    pub hits: u64,
    /// How often it did not fire, or was not run; absent where the kernel keeps it back.
    pub misses: Option<u64>,
}

/// Makes the kernel count how often it runs programs; no longer when dropped.
pub struct CountRuns;

const COUNT_RUNS: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl CountRuns {
    pub fn start() -> Self {
        fs::write(COUNT_RUNS, "1").expect(COUNT_RUNS);
        Self
    }
}

impl Drop for CountRuns {
    fn drop(&mut self) {
        fs::write(COUNT_RUNS, "0").expect(COUNT_RUNS);
    }
}

/// The kprobe programs of the one tracer that runs, by name. Their runs are counted from
/// [`CountRuns::start`] on.
pub fn kprobes() -> BTreeMap<String, Kprobe> {
    let links = list("link");
    list("prog")
        .iter()
        .filter(|program| program["type"] == "kprobe")
        .map(|program| {
            let number = |field: &str| program[field].as_u64().unwrap_or(0);
            let missed = links
                .iter()
                .find(|link| link["prog_id"] == program["id"])
                .and_then(|link| link["missed"].as_u64());
            let kprobe = Kprobe {
                hits: number("run_cnt"),
                misses: missed.map(|missed| missed + number("recursion_misses")),
            };
            (program["name"].as_str().expect("a name").to_owned(), kprobe)
        })
        .collect()
}

/// bpftrace, running a script.
pub struct Bpftrace {
    child: KillOnDrop,
    output: BufReader<ChildStdout>,
    programs: BTreeSet<(&'static str, u64)>,
}

/// What bpftrace counted of dm-verity's calls, with those that it could not because its own program
/// was running on that CPU.
#[derive(Debug, PartialEq, Eq)]
pub struct Calls {
    pub verify_io: u64,
    pub finish_io: u64,
}

/// Counts calls.
pub const CALLS: &str = "fentry:dm_verity:verity_verify_io { @verify = count(); }
     fentry:dm_verity:verity_finish_io { @finish = count(); }";

/// Counts the ways to a verification.
pub const STACKS: &str = "fentry:dm_verity:verity_verify_io { @stacks[kstack(24)] = count(); }";

impl Bpftrace {
    /// Returns once the script's programs are attached.
    pub fn start(script: &str) -> Self {
        let before = objects();
        let attached = links();
        let programs = script.matches("fentry:").count();
        let child = Command::new("bpftrace")
            .args(["-f", "json", "-e", script])
            .stdout(Stdio::piped())
            .spawn();
        let mut child = KillOnDrop(child.expect("bpftrace"));
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        wait_until("bpftrace is attached", || links() == attached + programs);
        let programs = objects().difference(&before).copied().collect();
        Self {
            child,
            output,
            programs,
        }
    }

    /// Ends [`CALLS`].
    pub fn stop_calls(self) -> Calls {
        let (verify_missed, finish_missed) = (self.missed("verify"), self.missed("finish"));
        let maps = self.stop();
        let count = |map: &str| maps[map].as_u64().unwrap_or_else(|| panic!("no {map}"));
        Calls {
            verify_io: count("@verify") + verify_missed,
            finish_io: count("@finish") + finish_missed,
        }
    }

    /// Ends [`STACKS`]: how often each was seen, its functions from the inside out, and how many calls
    /// were not seen.
    pub fn stop_stacks(self) -> (Vec<(Vec<String>, u64)>, u64) {
        let missed = self.missed("verify");
        let maps = self.stop();
        let stacks = maps["@stacks"].as_object().expect("stacks");
        let stacks = stacks
            .iter()
            .map(|(stack, count)| {
                let functions = stack
                    .split("\\n")
                    .filter_map(|frame| Some(frame.trim().split_once('+')?.0.to_owned()))
                    .collect();
                (functions, count.as_u64().expect("a count"))
            })
            .collect();
        (stacks, missed)
    }

    /// How often a program with this in its name was not run.
    fn missed(&self, name: &str) -> u64 {
        list("prog")
            .iter()
            .filter(|program| {
                let id = program["id"].as_u64().expect("an id");
                self.programs.contains(&("prog", id))
                    && program["name"]
                        .as_str()
                        .is_some_and(|found| found.contains(name))
            })
            .filter_map(|program| program["recursion_misses"].as_u64())
            .sum()
    }

    /// Its maps by name.
    fn stop(mut self) -> serde_json::Map<String, Value> {
        run("kill", &["-INT", &self.child.id().to_string()]);
        let mut text = String::new();
        self.output.read_to_string(&mut text).expect("its output");
        self.child.wait().expect("its exit");
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| line["type"] == "map")
            .filter_map(|line| line["data"].as_object().cloned())
            .flatten()
            .collect()
    }
}
