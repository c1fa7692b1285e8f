//! Facts about kernels: gathered in the lab by `cargo xtask facts` (`.json`), or as the documentation has
//! them, as changes to one of those (`.toml`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use verity_trace::plan::Facts;

/// The facts with this name.
pub fn facts(name: &str) -> Facts {
    let (_, facts) = files()
        .remove(name)
        .unwrap_or_else(|| panic!("there are no facts {name}"));
    facts
}

/// All facts by name, with what they are about.
pub fn files() -> BTreeMap<String, (String, Facts)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder()).expect("the folder of facts") {
        let file = entry.expect("facts").path();
        let name = file.file_stem().expect("a name").to_string_lossy();
        let (description, facts) = match file.extension().and_then(|it| it.to_str()) {
            Some("json") => (format!("Linux {name}, gathered in the lab"), read(&file)),
            Some("toml") => by_hand(&file),
            _ => panic!("{}: neither gathered nor by hand", file.display()),
        };
        let facts = serde_json::from_value(facts)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        found.insert(name.into_owned(), (description, facts));
    }
    found
}

/// Facts by hand.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByHand {
    description: String,
    /// The gathered facts that are changed.
    like: String,
    /// What it has instead.
    #[serde(default)]
    change: BTreeMap<String, Value>,
    /// What it has not: `FIELD`, or `FIELD.NAME`, where a last `*` stands for any ending.
    #[serde(default)]
    without: Vec<String>,
}

fn by_hand(file: &Path) -> (String, Value) {
    let text = std::fs::read_to_string(file).expect("facts");
    let by_hand: ByHand =
        toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut facts = read(&folder().join(format!("{}.json", by_hand.like)));
    for (field, value) in by_hand.change {
        match (&mut facts[&field], value) {
            (Value::Object(old), Value::Object(new)) => old.extend(new),
            (old, new) => *old = new,
        }
    }
    for path in &by_hand.without {
        let removed = remove(&mut facts, path);
        assert!(removed, "{}: there is no {path}", file.display());
    }
    (by_hand.description, facts)
}

/// Returns whether there was anything to remove.
fn remove(facts: &mut Value, path: &str) -> bool {
    let Some((field, name)) = path.split_once('.') else {
        let facts = facts.as_object_mut().expect("facts");
        return facts.remove(path).is_some();
    };
    let is_it = |found: &str| match name.strip_suffix('*') {
        Some(start) => found.starts_with(start),
        None => found == name,
    };
    match &mut facts[field] {
        Value::Object(of) => {
            let before = of.len();
            of.retain(|found, _| !is_it(found));
            of.len() < before
        }
        Value::Array(of) => {
            let before = of.len();
            of.retain(|found| !found.as_str().is_some_and(is_it));
            of.len() < before
        }
        other => panic!("{field} is no list: {other}"),
    }
}

fn read(file: &Path) -> Value {
    let text =
        std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/facts")
}
