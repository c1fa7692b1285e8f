//! What a real Prometheus returns for every query, and that it says of latencies what the tool itself does.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::fleet::{DEMOS, Host, SCENARIOS};
use crate::prometheus::{Prometheus, number};
use crate::{Asked, boards, committed, dashboards, tool};

/// Nobody listens there.
const GONE: &str = "127.0.0.1:1";
/// How often hosts are scraped, and rules evaluated.
const INTERVAL: &str = "250ms";

/// Asked that return nothing of this fleet, each with why.
const EMPTY: [(&str, &str); 5] = [
    (
        "alerts.yml: VerityFallbackRate",
        "no host has so many fallbacks",
    ),
    (
        "alerts.yml: VeritySoftirqBudget",
        "verifications in softirq are short on every host",
    ),
    (
        "alerts.yml: VeritySoftirqShare",
        "verification has little of every CPU",
    ),
    (
        "alerts.yml: VerityTraceCost",
        "tracing costs little on every host",
    ),
    (
        "device.json: Corrected blocks: A",
        "no device has forward error correction",
    ),
];

/// What Grafana puts in, as wide as the rules have it: all that was scraped.
const WINDOW: &str = "5m";

#[test]
fn every_query_is_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let demos = DEMOS.iter().map(|kernel| Host::of_demo(kernel));
    let scenarios = SCENARIOS.map(|name| Host::of_scenario(name, folder.path()));
    let hosts: Vec<_> = demos.chain(scenarios).collect();
    let program = tool("prometheus/bin/prometheus");
    let prometheus = Prometheus::start(program, &configuration(&hosts), folder.path());
    wait_until_all_is_scraped(&prometheus, &hosts);
    for host in &hosts {
        let snapshot = prometheus.get(&format!("http://{}/snapshot.json", host.address));
        let compared = prometheus.percentiles_agree(&host.name, &snapshot);
        assert!(
            compared > 0 || !DEMOS.contains(&&*host.name),
            "{}",
            host.name
        );
    }
    let answers = answers(&prometheus, &hosts);
    let mut wrong = Vec::new();
    for (of, series) in &answers {
        let is_excused = EMPTY.iter().any(|(name, _)| name == of);
        if (*series == 0) != is_excused {
            wrong.push(format!("{of}: {series} series"));
        }
    }
    for (name, _) in EMPTY {
        assert!(answers.contains_key(name), "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    committed(&dashboards().join("panels.md"), &page(&answers));
}

/// All hosts and one that is gone, and the project's rules.
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

/// The last snapshot of every host has been scraped several times, and rules have been evaluated since.
fn wait_until_all_is_scraped(prometheus: &Prometheus, hosts: &[Host]) {
    let metric = "verity_trace_snapshot_timestamp_seconds";
    let lately = format!("min_over_time({metric}[2s]) and count_over_time({metric}[2s]) >= 3");
    prometheus.wait_for("the last snapshots", &lately, |answer| {
        hosts.iter().all(|host| {
            let of_host = |series: &&Value| series["metric"]["instance"] == *host.name;
            let at = answer.iter().find(of_host).and_then(number);
            at.is_some_and(|at| (at - host.last_at_ms as f64 / 1e3).abs() < 1e-3)
        })
    });
    let of_rules = "count(verity_trace_advice_info{device!=\"other\"}) == sum(verdict:verity_trace_advice:count)";
    prometheus.wait_for("rules", of_rules, |answer| !answer.is_empty());
}

/// How many series each query returns, of all hosts and devices that can be chosen.
fn answers(prometheus: &Prometheus, hosts: &[Host]) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for query in Asked::read().queries {
        let expr = query
            .expr
            .replace("$__rate_interval", WINDOW)
            .replace("$__range", WINDOW);
        let mut chosen = vec![expr];
        if query.of.starts_with("fleet.json") {
            chosen = each(&chosen, "$instance", &[".*".to_owned()]);
        } else if chosen[0].contains("$device") {
            let of_host = |host: &Host| {
                let one = each(&chosen, "$instance", std::slice::from_ref(&host.name));
                each(&one, "$device", &host.devices)
            };
            chosen = hosts.iter().flat_map(of_host).collect();
        } else if chosen[0].contains("$instance") {
            let names: Vec<_> = hosts.iter().map(|host| host.name.clone()).collect();
            chosen = each(&chosen, "$instance", &names);
        }
        let series = chosen.iter().map(|expr| prometheus.ask(expr).len()).sum();
        answers.insert(query.of, series);
    }
    answers
}

/// Every text with every value of a variable.
fn each(texts: &[String], variable: &str, values: &[String]) -> Vec<String> {
    let with = |text: &String| {
        let values = values.iter();
        values
            .map(|value| text.replace(variable, value))
            .collect::<Vec<_>>()
    };
    texts.iter().flat_map(with).collect()
}

/// The list of panels and rules, with what was returned.
fn page(answers: &BTreeMap<String, usize>) -> String {
    let mut page = format!(
        "\
# Panels and rules

Made by `cargo xtask dashboards`, which starts a Prometheus that scrapes a fleet: the demos of Linux {}, {} hosts \
made up of scenarios of the tests, and one that is gone. `series` is how many it returned for each query of the panel, for all hosts and \
devices that can be chosen.
",
        DEMOS.join(" and "),
        SCENARIOS.len()
    );
    for (name, board) in boards::boards() {
        let title = board["title"].as_str().unwrap_or_default();
        // Memory takes whatever is written to it.
        let _ = write!(
            page,
            "\n## {title} (`grafana/{name}`)\n\n| panel | unit | series | what it shows |\n|---|---|---|---|\n"
        );
        for panel in boards::panels(&board) {
            let text = |field: &str| panel[field].as_str().unwrap_or_default();
            let prefix = format!("{name}: {}: ", text("title"));
            let series = answers.iter().filter(|(of, _)| of.starts_with(&prefix));
            let series: Vec<_> = series.map(|(of, &count)| returned(of, count)).collect();
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
            // As above.
            let _ = writeln!(
                page,
                "| {} | `{}` | {} | {} |",
                text("title"),
                unit.unwrap_or_default(),
                series.join(", "),
                text("description")
            );
        }
    }
    for name in ["recording.yml", "alerts.yml"] {
        // As above.
        let _ = write!(
            page,
            "\n## `prometheus/{name}`\n\n| rule | series |\n|---|---|\n"
        );
        let prefix = format!("{name}: ");
        for (of, &count) in answers {
            if let Some(rule) = of.strip_prefix(&prefix) {
                // As above.
                let _ = writeln!(page, "| `{rule}` | {} |", returned(of, count));
            }
        }
    }
    page
}

fn returned(of: &str, series: usize) -> String {
    let why = EMPTY.iter().find(|(name, _)| *name == of);
    why.map_or_else(|| series.to_string(), |(_, why)| format!("none: {why}"))
}
