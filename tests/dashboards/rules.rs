//! The rules: what Prometheus' own tools say of them, and that each alert is tested both ways.

use std::fs;

use crate::{Asked, dashboards, tool};

#[test]
fn prometheus_takes_them() {
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["check", "rules", "recording.yml", "alerts.yml"]);
}

#[test]
fn each_does_what_its_test_says() {
    promtool(&["test", "rules", "recording_test.yml", "alerts_test.yml"]);
}

#[test]
fn every_alert_is_tested_to_fire_and_to_stay_quiet() {
    let tests = fs::read_to_string(dashboards().join("prometheus/alerts_test.yml"));
    let tests = tests.expect("the tests");
    let of_alert = |name| {
        let cases = tests.split("- alertname: ").skip(1);
        cases.filter(move |case| case.lines().next() == Some(name))
    };
    let queries = Asked::read().queries;
    let alerts: Vec<_> = queries
        .iter()
        .filter_map(|it| it.of.strip_prefix("alerts.yml: "))
        .collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for name in alerts {
        let fires = of_alert(name).any(|case| case.contains("- exp_labels:"));
        let is_quiet = of_alert(name).any(|case| case.contains("exp_alerts: []"));
        assert!(fires && is_quiet, "{name}");
    }
}

/// Runs it beside the rules.
fn promtool(arguments: &[&str]) {
    let output = tool("prometheus/bin/promtool")
        .args(arguments)
        .current_dir(dashboards().join("prometheus"))
        .output()
        .expect("promtool starts");
    let printed = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&printed)
    );
}
