//! What is in the kernel, as bpftool and bpftrace see it: tools that are not ours.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::shell::{run, wait_until};

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
fn list(kind: &str) -> Vec<Value> {
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

/// Returns once nothing is left that was not there before: the kernel frees behind a grace period.
pub fn wait_until_only(before: &BTreeSet<(&'static str, u64)>) {
    wait_until("every program, map and link has left the kernel", || {
        objects().is_subset(before)
    });
}

/// How many hold the module: open devices, and each attached fentry program.
pub fn module_references() -> u64 {
    fs::read_to_string("/sys/module/dm_verity/refcnt")
        .expect("dm_verity is loaded")
        .trim()
        .parse()
        .expect("a number")
}

/// bpftrace, counting calls of dm-verity's functions.
pub struct Bpftrace {
    child: Child,
    output: BufReader<ChildStdout>,
    programs: BTreeSet<(&'static str, u64)>,
}

/// What it counted, with the calls that it could not because its own program was running on that
/// CPU.
#[derive(Debug, PartialEq, Eq)]
pub struct Calls {
    pub verify_io: u64,
    pub finish_io: u64,
}

const COUNT_CALLS: &str = "fentry:dm_verity:verity_verify_io { @verify = count(); }
     fentry:dm_verity:verity_finish_io { @finish = count(); }";

impl Bpftrace {
    /// Returns once both of its programs are attached.
    pub fn start() -> Self {
        let before = objects();
        let references = module_references();
        let mut child = Command::new("bpftrace")
            .args(["-f", "json", "-e", COUNT_CALLS])
            .stdout(Stdio::piped())
            .spawn()
            .expect("bpftrace");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        wait_until("bpftrace is attached", || {
            module_references() == references + 2
        });
        let programs = objects().difference(&before).copied().collect();
        Self {
            child,
            output,
            programs,
        }
    }

    pub fn stop(mut self) -> Calls {
        let missed = |name: &str| -> u64 {
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
        };
        let (verify_missed, finish_missed) = (missed("verify"), missed("finish"));
        run("kill", &["-INT", &self.child.id().to_string()]);
        let mut text = String::new();
        self.output.read_to_string(&mut text).expect("its output");
        self.child.wait().expect("its exit");
        let count = |map: &str| {
            text.lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find_map(|line| line["data"][map].as_u64())
                .unwrap_or_else(|| panic!("no {map} in {text}"))
        };
        Calls {
            verify_io: count("@verify") + verify_missed,
            finish_io: count("@finish") + finish_missed,
        }
    }
}
