//! A real Prometheus on a port of its own, and that it says of latencies what the tool itself does.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::typestate::WithoutBody;
use ureq::{Agent, RequestBuilder};
use verity_trace::metrics::BOUNDS_NS;

/// Longer than anything here takes on a slow machine; reached only when something is wrong.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often it is asked whether something has come.
const POLL: Duration = Duration::from_millis(200);

/// See the module.
pub struct Prometheus {
    process: Child,
    address: String,
    /// What it writes of itself.
    log: Receiver<String>,
    agent: Agent,
}

impl Prometheus {
    /// This program with this configuration; it keeps what it needs in a folder.
    pub fn start(mut program: Command, configuration: &Value, folder: &Path) -> Self {
        let config = folder.join("prometheus.yml");
        fs::write(&config, configuration.to_string()).expect("written");
        let mut process = program
            .arg("--config.file")
            .arg(config)
            .arg("--storage.tsdb.path")
            .arg(folder.join("data"))
            .args(["--web.listen-address", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("Prometheus starts");
        let said = BufReader::new(process.stderr.take().expect("its log"));
        let (tell, log) = mpsc::channel();
        // Read to its end, so that it never waits for a reader.
        thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                // Whoever does not listen any more is ending.
                let _ = tell.send(line);
            }
        });
        let address = address(&log);
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false);
        Self {
            process,
            address,
            log,
            agent: config.build().new_agent(),
        }
    }

    /// The series that a query returns now.
    pub fn ask(&self, query: &str) -> Vec<Value> {
        let path = format!("http://{}/api/v1/query", self.address);
        let answer = sent(self.agent.get(path).query("query", query));
        assert_eq!(answer["status"], "success", "{query}: {}", answer["error"]);
        let data = &answer["data"];
        // A number alone is data too.
        if data["resultType"] == "scalar" {
            return vec![data.clone()];
        }
        data["result"].as_array().expect("series").clone()
    }

    /// That a percentile of the host with this name is in the same bucket as the tool's own, which are in its snapshot;
    /// returns how many were compared.
    pub fn percentiles_agree(&self, instance: &str, snapshot: &Value) -> usize {
        let mut compared = 0;
        for device in snapshot["devices"].as_array().expect("devices") {
            let Some(placements) = device["placements"].as_object() else {
                continue;
            };
            for (placement, these) in placements {
                for stage in ["wait", "verify", "total"] {
                    let labels = format!(
                        "instance=\"{instance}\", device={}, placement=\"{placement}\", stage=\"{stage}\"",
                        device["name"]
                    );
                    compared += self.histogram_agrees(&labels, &these["stages"][stage]);
                }
            }
        }
        compared
    }

    fn histogram_agrees(&self, labels: &str, own: &Value) -> usize {
        let quantiles = [("0.5", "p50_ns"), ("0.9", "p90_ns"), ("0.99", "p99_ns")];
        let known = quantiles.map(|(quantile, field)| Some((quantile, own[field].as_u64()?)));
        for (quantile, own) in known.into_iter().flatten() {
            let query = format!(
                "histogram_quantile({quantile}, verity_trace_stage_seconds_bucket{{{labels}}})"
            );
            let answer = self.ask(&query);
            let theirs = answer.first().and_then(number);
            let theirs = theirs.unwrap_or_else(|| panic!("{query}: {answer:?}"));
            let (low, high) = bucket(own);
            assert!(
                (low..=high).contains(&theirs),
                "{query}: {theirs} s, and {own} ns by the tool itself"
            );
        }
        known.into_iter().flatten().count()
    }

    /// Asks until the answer holds.
    pub fn wait_for(&self, what: &str, query: &str, holds: impl Fn(&[Value]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(query);
            if holds(&answer) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {answer:?}");
            // It has little to say, and so this is a pause; once it has ended there is nothing to wait for.
            let is_over = self.log.recv_timeout(POLL) == Err(mpsc::RecvTimeoutError::Disconnected);
            assert!(!is_over, "{what}: Prometheus has ended");
        }
    }

    /// What somebody serves there.
    pub fn get(&self, address: &str) -> Value {
        sent(self.agent.get(address))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // One that has ended is waited for all the same.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The answer, which is JSON.
fn sent(request: RequestBuilder<WithoutBody>) -> Value {
    let mut answer = request.call().expect("an answer");
    let text = answer.body_mut().read_to_string().expect("a text");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Where it listens, once it answers.
fn address(log: &Receiver<String>) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut lines = Vec::new();
    let mut address = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(line) = log.recv_timeout(left) else {
            panic!("Prometheus does not answer: {}", lines.join("\n"));
        };
        if let Some((_, rest)) = line.split_once("msg=\"Listening on\" address=") {
            address = Some(rest.trim().to_owned());
        }
        if line.contains("Server is ready to receive web requests") {
            return address.expect("where it listens");
        }
        lines.push(line);
    }
}

/// The bounds of the bucket that a duration is in, in seconds. Of the last one, which has no upper bound, Prometheus
/// says the lower.
fn bucket(ns: u64) -> (f64, f64) {
    let at = BOUNDS_NS.iter().take_while(|&&bound| bound <= ns).count();
    let seconds = |at: usize| BOUNDS_NS[at.min(BOUNDS_NS.len() - 1)] as f64 / 1e9;
    let low = at.checked_sub(1).map_or(0.0, seconds);
    (low, seconds(at))
}

/// The value of a series.
pub fn number(series: &Value) -> Option<f64> {
    series["value"][1].as_str()?.parse().ok()
}
