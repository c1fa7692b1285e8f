//! JSON documents held against the schemas that are committed, by a validator that is not ours.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jsonschema::Validator;
use serde_json::{Value, json};

/// By the name of the document.
static VALIDATORS: Mutex<BTreeMap<String, Arc<Validator>>> = Mutex::new(BTreeMap::new());

/// That a document is what the schema of this name says, without a field that it does not know.
pub fn document(name: &str, document: &Value) {
    let validator = validator(name);
    let errors: Vec<_> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{name}: {}", errors.join("\n"));
}

/// The same of one that is written.
pub fn written(name: &str, text: &str) -> Value {
    let value = serde_json::from_str(text).expect("JSON");
    document(name, &value);
    value
}

fn validator(name: &str) -> Arc<Validator> {
    let mut validators = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    let made = validators.entry(name.to_owned()).or_insert_with(|| {
        let mut schema = serde_json::from_str(text(name)).expect("JSON");
        close(&mut schema);
        Arc::new(jsonschema::draft202012::new(&schema).expect("a schema"))
    });
    Arc::clone(made)
}

/// In the program, since the lab's machines do not have the files.
fn text(name: &str) -> &'static str {
    match name {
        "export" => include_str!("../dashboards/schema/export.json"),
        "devices" => include_str!("../dashboards/schema/devices.json"),
        "doctor" => include_str!("../dashboards/schema/doctor.json"),
        "recommend" => include_str!("../dashboards/schema/recommend.json"),
        "records" => include_str!("../dashboards/schema/records.json"),
        "report" => include_str!("../dashboards/schema/report.json"),
        "report-window" => include_str!("../dashboards/schema/report-window.json"),
        "compare" => include_str!("../dashboards/schema/compare.json"),
        "tune" => include_str!("../dashboards/schema/tune.json"),
        _ => panic!("there is no schema `{name}`"),
    }
}

/// Fields may be added, but none of this version is to be missing in the schema.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.contains_key("properties") && !object.contains_key("additionalProperties") {
                object.insert("additionalProperties".to_owned(), json!(false));
            }
            object.values_mut().for_each(close);
        }
        Value::Array(list) => list.iter_mut().for_each(close),
        _ => {}
    }
}
