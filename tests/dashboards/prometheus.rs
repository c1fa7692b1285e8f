//! A real Prometheus, with the project's rules, on a port of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;

use crate::fleet::Host;
use crate::{dashboards, tool};

/// How long anything here may take; a machine under load is slow.
const PATIENCE: Duration = Duration::from_secs(50);
/// Nobody listens there.
const GONE: &str = "127.0.0.1:1";
/// How often it scrapes, and evaluates rules.
const INTERVAL: &str = "250ms";
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
    /// One that scrapes all hosts and one that is gone, and keeps what it needs in a folder.
    pub fn start(hosts: &[Host], folder: &Path) -> Self {
        let config = folder.join("prometheus.yml");
        fs::write(&config, configuration(hosts).to_string()).expect("written");
        let mut process = tool("prometheus/bin/prometheus")
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
        let answer = self.get(&format!("http://{}/api/v1/query", self.address), query);
        assert_eq!(answer["status"], "success", "{query}: {}", answer["error"]);
        let data = &answer["data"];
        // A number alone is data too.
        if data["resultType"] == "scalar" {
            return vec![data.clone()];
        }
        data["result"].as_array().expect("series").clone()
    }

    /// What a host itself serves.
    pub fn snapshot(&self, host: &Host) -> Value {
        self.get(&format!("http://{}/snapshot.json", host.address), "")
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

    fn get(&self, address: &str, query: &str) -> Value {
        let request = self.agent.get(address).query("query", query);
        let mut answer = request.call().expect("an answer");
        let text = answer.body_mut().read_to_string().expect("a text");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // One that has ended is waited for all the same.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
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

fn configuration(hosts: &[Host]) -> Value {
    let rules = ["recording.yml", "alerts.yml"];
    let rules = rules.map(|name| dashboards().join("prometheus").join(name));
    let hosts = hosts.iter().map(|host| (&*host.address, &*host.name));
    let targets: Vec<_> = hosts
        .chain([(GONE, "gone")])
        .map(|(address, name)| json!({ "targets": [address], "labels": { "instance": name } }))
        .collect();
    json!({
        "global": {
            "scrape_interval": INTERVAL,
            "scrape_timeout": INTERVAL,
            "evaluation_interval": INTERVAL,
        },
        "rule_files": rules,
        "scrape_configs": [{ "job_name": "verity-trace", "static_configs": targets }],
    })
}
