//! What is made from the types: the JSON schemas, and the page and the list of metrics. `cargo xtask schema` writes
//! them anew.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use verity_trace::export::{self, Diagnosis, Document, Listing, Recommendation, SlowIos, schema};
use verity_trace::{compare, metrics, overview, tune, window};

mod valid;

/// Set where files are to be written and not held.
const UPDATE: &str = "UPDATE_SCHEMA";

#[test]
fn schemas_are_those_of_the_types() {
    let schemas = [
        ("export", schema::<Document<'static>>()),
        ("devices", schema::<Listing<'static>>()),
        ("doctor", schema::<Diagnosis<'static>>()),
        ("recommend", schema::<Recommendation<'static>>()),
        ("records", schema::<SlowIos<'static>>()),
        ("report", overview::schema()),
        ("report-window", window::schema()),
        ("compare", compare::schema()),
        ("tune", tune::schema()),
    ];
    for (name, schema) in schemas {
        jsonschema::meta::validate(&schema).expect("a schema");
        assert!(
            schema.pointer("/properties/schema_version").is_some(),
            "{name}"
        );
        held(
            &format!("dashboards/schema/{name}.json"),
            &indented(&schema),
        );
    }
}

#[test]
fn the_page_and_the_list_of_metrics_are_those_of_the_catalogue() {
    held("docs/metrics.md", &metrics::markdown());
    held("dashboards/metrics.json", &indented(&metrics::json()));
}

#[test]
#[should_panic(expected = "Additional properties are not allowed")]
fn a_field_that_a_schema_does_not_know_is_told() {
    let mut document = document();
    document["kernel"]["surprise"] = json!(1);
    valid::document("export", &document);
}

#[test]
#[should_panic(expected = "is not of type")]
fn a_field_of_another_type_is_told() {
    let mut document = document();
    document["lost"] = json!("none");
    valid::document("export", &document);
}

#[test]
#[should_panic(expected = "is a required property")]
fn a_field_that_is_missing_is_told() {
    let mut document = document();
    document
        .as_object_mut()
        .and_then(|it| it.remove("cpus"))
        .expect("CPUs");
    valid::document("export", &document);
}

/// One without devices.
fn document() -> Value {
    let document = json!({
        "schema_version": export::SCHEMA_VERSION,
        "version": "0",
        "taken_at_unix_ms": 0,
        "watched_ns": 0,
        "kernel": { "release": "7.3", "host": "lab", "cpus": 1 },
        "tracing": { "state": "waiting-for-module", "probes": [], "gaps": [] },
        "lost": 0,
        "loss_is_lower_bound": false,
        "loss": {},
        "before_attach": 0,
        "inferred_reasons": [],
        "devices": [],
        "cpus": [],
    });
    valid::written("export", &document.to_string())
}

/// That a file of the repository has this text.
fn held(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var_os(UPDATE).is_some() {
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(&file, text).expect("written");
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == text,
        "{path} is out of date: run `cargo xtask schema`"
    );
}

fn indented(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("JSON") + "\n"
}
