//! The Grafana dashboards: as they are made from their source, and complete.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use crate::{committed, dashboards, python};

/// Those that are made, by the names of their files.
pub fn boards() -> BTreeMap<String, Value> {
    let board = |(name, text): (_, String)| (name, serde_json::from_str(&text).expect("JSON"));
    made().into_iter().map(board).collect()
}

/// Their texts. Grafana's own types check them as they are made.
fn made() -> BTreeMap<String, String> {
    let script = dashboards().join("grafana/source/make.py");
    serde_json::from_slice(&python(&script, &[]).stdout).expect("JSON")
}

#[test]
fn the_committed_ones_are_made_from_their_source() {
    for (name, text) in made() {
        committed(&dashboards().join("grafana").join(name), &text);
    }
}

#[test]
fn whoever_imports_one_has_only_to_choose_a_prometheus() {
    let mut uids = HashSet::new();
    for (name, board) in boards() {
        assert!(uids.insert(board["uid"].as_str().expect("a uid").to_owned()));
        assert_eq!(board["__inputs"], Value::Array(Vec::new()), "{name}");
        assert!(
            board.get("id").is_none(),
            "{name}: only a Grafana gives numbers"
        );
        let variables = board["templating"]["list"].as_array().expect("variables");
        assert_eq!(variables[0]["type"], "datasource", "{name}");
        assert_eq!(variables[0]["query"], "prometheus", "{name}");
        let mut sources = Vec::new();
        find(&board, "datasource", &mut sources);
        for source in sources {
            assert_eq!(source["uid"], "${datasource}", "{name}: {source}");
        }
    }
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() {
    for (name, board) in boards() {
        let mut ids = HashSet::new();
        let mut titles = HashSet::new();
        let mut taken = HashSet::new();
        for panel in panels(&board) {
            let title = panel["title"].as_str().expect("a title");
            assert!(titles.insert(title), "{name}: {title} twice");
            assert!(ids.insert(panel["id"].to_string()), "{name}: {title}");
            let said = panel["description"].as_str().unwrap_or_default();
            assert!(said.len() > 10 && !said.ends_with('.'), "{name}: {title}");
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
            assert!(unit.is_some(), "{name}: {title}");
            for (x, y) in cells(&panel["gridPos"]) {
                assert!(x < 24, "{name}: {title} leaves the page");
                assert!(taken.insert((x, y)), "{name}: {title} lies on another one");
            }
        }
    }
}

/// All but the headings.
pub fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    let panels = board["panels"].as_array().expect("panels");
    panels.iter().filter(|panel| panel["type"] != "row")
}

fn cells(position: &Value) -> impl Iterator<Item = (u64, u64)> {
    let [x, y, w, h] = ["x", "y", "w", "h"].map(|it| position[it].as_u64().unwrap_or(0));
    (x..x + w).flat_map(move |column| (y..y + h).map(move |row| (column, row)))
}

/// What all fields of this name hold, however deep.
fn find<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get(name));
            fields.values().for_each(|it| find(it, name, found));
        }
        Value::Array(values) => values.iter().for_each(|it| find(it, name, found)),
        _ => {}
    }
}
