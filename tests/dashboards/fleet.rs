//! Hosts to be scraped: `serve` over the demos, and over recordings made of scenarios, which have what the demos lack.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use verity_trace::export::Document;
use verity_trace::recording::{Encoder, Filter, Header, Kept, Machine, Picture, Writer};
use verity_trace::snapshot::{Account, Snapshot, Totals};

use crate::common;

/// The demos, by the kernels that they are of.
pub const DEMOS: [&str; 2] = ["7.3", "6.12"];

/// And what these lack: advice to change something and its gain, an option without effect, failures, what hangs, loss,
/// what only options show, a kernel where only workqueues are seen, and one where nothing is.
pub const SCENARIOS: [&str; 10] = [
    "attaching_failed",
    "bh_always_with_fallbacks",
    "kverityd_only_option_off",
    "inert_option_on",
    "failed_ios",
    "hung_before_it_was_watched",
    "losses_of_every_kind",
    "cold_hash_cache",
    "softirqs_and_workqueues",
    "workqueues_alone",
];

/// How long nothing has happened there: Prometheus is to have seen that. The demos take as long.
const BEFORE: Duration = Duration::from_secs(15);

/// A host.
pub struct Host {
    /// What its series have as their instance.
    pub name: String,
    /// Where it is scraped.
    pub address: String,
    /// Its devices.
    pub devices: Vec<String>,
    /// When the last snapshot of its recording was made, in milliseconds since the Unix epoch.
    pub last_at_ms: u64,
    process: Child,
    /// Kept open: what it says at its end goes there.
    _said: BufReader<ChildStderr>,
}

impl Host {
    /// One over a demo.
    pub fn of_demo(kernel: &str) -> Self {
        let demo = format!("--demo={kernel}");
        let last = last_snapshot(&demo);
        let devices = last["devices"].as_array().expect("devices").iter();
        let devices = devices.map(|it| it["name"].as_str().expect("a name").to_owned());
        let last_at_ms = last["taken_at_unix_ms"].as_u64().expect("a time");
        Self::start(kernel, &demo, devices.collect(), last_at_ms)
    }

    /// One over a scenario, whose recording is written into a folder.
    pub fn of_scenario(name: &str, folder: &Path) -> Self {
        let snapshot = common::scenario(name).snapshot();
        let file = folder.join(name).with_extension("vtrec");
        fs::write(&file, recording(&snapshot)).expect("written");
        let file = file.to_str().expect("a plain path");
        let devices = snapshot.devices.iter().map(|it| it.name.clone());
        let last_at_ms = snapshot.taken_at.as_millis();
        let last_at_ms = u64::try_from(last_at_ms).expect("a time");
        Self::start(name, file, devices.collect(), last_at_ms)
    }

    fn start(name: &str, recording: &str, devices: Vec<String>, last_at_ms: u64) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_verity-trace"))
            .args(["serve", recording, "--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut said = BufReader::new(process.stderr.take().expect("its words"));
        let mut line = String::new();
        said.read_line(&mut line).expect("a line");
        let address = line.split("http://").nth(1);
        let address = address.and_then(|rest| rest.split_once('/'));
        let (address, _) = address.unwrap_or_else(|| panic!("{name}: {line}"));
        Self {
            name: name.to_owned(),
            address: address.to_owned(),
            devices,
            last_at_ms,
            process,
            _said: said,
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // One that has ended is waited for all the same.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
    }
}

/// What the tool itself says of the end of a recording.
fn last_snapshot(recording: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_verity-trace"))
        .args(["export", "--once", recording])
        .output()
        .expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{recording}: {errors}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Two snapshots: before anything happened, and later the scenario.
fn recording(snapshot: &Snapshot) -> Vec<u8> {
    let mut before = snapshot.clone();
    for device in &mut before.devices {
        device.totals = device.totals.as_ref().map(|_| Totals::default());
    }
    before.account = before.account.map(|_| Account::default());
    before.loss.clear();
    before.taken_at -= BEFORE;
    let header = Header {
        realtime_ns: 1_795_000_000_000_000_000,
        monotonic_ns: 5_000_000_000,
        boottime_ns: 5_000_000_000,
    };
    let machine = Machine {
        version: "0.1.0".to_owned(),
        release: snapshot.kernel.release.clone(),
        machine: "x86_64".to_owned(),
        host: None,
        cpus: 2,
        cpu_model: None,
        memory_bytes: 1 << 30,
        command: None,
        redacted: true,
        filter: Filter {
            slower_than_ns: 0,
            one_in: 1,
        },
        ring_bytes: None,
    };
    let mut encoder = Encoder::new(false).expect("an encoder");
    let mut writer = Writer::new(Vec::new(), &header).expect("written to memory");
    let pictures = [(0, &before), (BEFORE.as_secs(), snapshot)];
    let pictures = pictures.map(|(second, snapshot)| Picture {
        monotonic_ns: header.monotonic_ns + second * 1_000_000_000,
        kept: Kept::default(),
        document: Document::new(snapshot, None),
    });
    let mut frames = vec![encoder.machine(&machine)];
    frames.extend(pictures.iter().map(|it| encoder.picture(it)));
    for frame in frames {
        writer.write(&frame.expect("a block")).expect("written");
    }
    writer.into_inner()
}
