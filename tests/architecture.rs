//! Rules about who may use whom, held against the sources.

use std::path::{Path, PathBuf};

/// Modules that work on plain data alone.
const PURE: [&str; 31] = [
    "histogram",
    "cost",
    "budget",
    "snapshot",
    "plan",
    "decode",
    "dm",
    "mounts",
    "selection",
    "aggregate",
    "escape",
    "facts",
    "what_if",
    "recommend",
    "devices",
    "doctor",
    "report",
    "export",
    "metrics",
    "recording",
    "overview",
    "forecasts",
    "compare",
    "tune",
    "table",
    "html",
    "parquet",
    "perfetto",
    "window",
    "lookback",
    "replay",
];

#[test]
fn a_module_imports_only_from_those_before_it() {
    let modules = modules();
    assert!(modules.len() > 5, "{modules:?}");
    for (at, module) in modules.iter().enumerate() {
        for (file, source) in sources_of(module) {
            for (after, _) in source.match_indices("crate::") {
                let imported = &source[after + "crate::".len()..];
                for name in first_names(imported) {
                    let before = modules[..=at].contains(&name);
                    assert!(
                        before,
                        "{} imports {name}, which stands after it",
                        file.display()
                    );
                }
            }
        }
    }
}

#[test]
fn what_works_on_plain_data_names_neither_probes_nor_terminals() {
    for module in PURE {
        for (file, source) in sources_of(module) {
            for forbidden in ["aya", "ratatui", "crossterm"] {
                let named = source.split(|it: char| !it.is_alphanumeric() && it != '_');
                let found = named.into_iter().any(|word| word == forbidden);
                assert!(!found, "{} names {forbidden}", file.display());
            }
        }
    }
}

#[test]
fn the_library_prints_nothing() {
    for module in modules() {
        for (file, source) in sources_of(&module) {
            for forbidden in ["println!", "print!(", "eprint!(", "dbg!("] {
                let file = file.display();
                assert!(!source.contains(forbidden), "{file}: {forbidden}");
            }
        }
    }
}

/// The modules in the order of `lib.rs`.
fn modules() -> Vec<String> {
    read(&folder().join("lib.rs"))
        .lines()
        .filter_map(|line| {
            let line = line.strip_prefix("pub ").unwrap_or(line);
            Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
        })
        .collect()
}

/// The first name of a path, or of each path in a brace list.
fn first_names(path: &str) -> Vec<String> {
    if !path.starts_with('{') {
        return vec![leading_name(path)];
    }
    let mut names = Vec::new();
    let (mut depth, mut start) = (0, 1);
    for (at, character) in path.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && character == ',') {
            names.push(leading_name(&path[start..at]));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn leading_name(path: &str) -> String {
    path.trim_start()
        .chars()
        .take_while(|&it| it.is_alphanumeric() || it == '_')
        .collect()
}

fn sources_of(module: &str) -> Vec<(PathBuf, String)> {
    let root = folder().join(format!("{module}.rs"));
    let mut files = rust_files(&folder().join(module));
    files.extend(root.is_file().then_some(root));
    files
        .into_iter()
        .map(|file| {
            let source = read(&file);
            (file, source)
        })
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flat_map(|entry| {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                rust_files(&path)
            } else {
                vec![path]
            }
        })
        .filter(|file| file.extension().is_some_and(|it| it == "rs"))
        .collect()
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}
