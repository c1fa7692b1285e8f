//! The page in a browser: what it shows is what the document says, in every size and theme, for everybody.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use verity_trace::format;
use verity_trace::histogram::Nanos;

use crate::browser::Browser;
use crate::server::{Server, TOKEN, get, token};
use crate::{recording, server};

const SIZES: [(&str, (u32, u32)); 3] = [
    ("wide", (1_280, 900)),
    ("tablet", (820, 1_100)),
    ("phone", (390, 844)),
];

/// What is in the cells of a table's rows.
fn rows(browser: &mut Browser, table: &str) -> Vec<Vec<String>> {
    let rows = browser.value(&format!(
        "[...document.querySelectorAll('{table} tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))"
    ));
    serde_json::from_value(rows).expect("rows")
}

fn live(browser: &mut Browser, server: &Server, size: (u32, u32), theme: &str) {
    browser.open(&server.address, size, theme);
    browser.wait_for("document.getElementById('state').textContent === 'live'");
}

#[test]
fn it_looks_right_in_every_size_and_theme_and_complains_of_nothing() {
    let server = Server::start(&["--demo", "--repeat"]);
    let mut browser = Browser::start();
    for (name, size) in SIZES {
        for theme in ["light", "dark"] {
            live(&mut browser, &server, size, theme);
            browser.wait_for("shown.documents.length > 4 && document.querySelectorAll('.stages tbody tr').length > 3");
            let width = browser.value("document.documentElement.scrollWidth");
            assert_eq!(width, size.0, "{name}: nothing is beyond the edge");
            let back = browser.value("getComputedStyle(document.body).backgroundColor");
            assert_eq!(back == "rgb(20, 23, 26)", theme == "dark", "{back}");
            let file = format!("page-{name}-{theme}.png");
            let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
            browser.picture(&picture);
            println!("{}", picture.display());
        }
    }
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[test]
fn its_numbers_are_those_of_the_document() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut browser = Browser::start();
    for scenario in [
        "inline_and_bh_with_large_on_kverityd",
        "bh_always_with_fallbacks",
        "tasklet_with_fallbacks",
        "failed_ios",
        "losses_of_every_kind",
        "past_the_buckets",
        "hostile_names",
        "workqueues_alone",
        "waiting_for_module",
        "attaching_failed",
        "seventy_devices",
    ] {
        let file = recording(folder.path(), scenario);
        let server = Server::start(&[file.to_str().expect("a name")]);
        live(&mut browser, &server, SIZES[0].1, "light");
        browser.value("document.getElementById('window').value = '0'");
        // The second snapshot is the last.
        browser.wait_for("shown.documents.at(-1).it.watched_ns === 2e9");
        browser.value("draw()");
        let answer = get(&server, "/snapshot.json", &[]);
        let document: Value = serde_json::from_str(&answer.body).expect("JSON");
        agrees(&mut browser, &document, scenario);
    }
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

/// That every number of every device is there as everywhere else.
fn agrees(browser: &mut Browser, document: &Value, scenario: &str) {
    let watched = Duration::from_nanos(document["watched_ns"].as_u64().expect("a time"));
    let devices = document["devices"].as_array().expect("devices");
    let table = rows(browser, "#device-table");
    assert_eq!(table.len(), devices.len(), "{scenario}");
    let text = browser.value("document.body.innerText");
    let text = text.as_str().expect("text");
    assert!(
        !text.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\u{2028}']),
        "{scenario}"
    );
    let lost = document["lost"].as_u64().expect("a count");
    assert_eq!(
        text.contains(&format!("loss: {lost} not seen")),
        lost > 0,
        "{scenario}"
    );
    let header = browser.value("document.getElementById('facts').innerText");
    let header = header.as_str().expect("text").replace('\n', " ");
    assert!(
        header.contains(&format!("watched {}", format::span(watched))),
        "{header}"
    );
    if let Some(cost) = document["self_cost"]["cpu_share"].as_f64() {
        assert!(header.contains(&format::percentage(Some(cost))), "{header}");
    }
    for (at, (device, row)) in devices.iter().zip(&table).enumerate() {
        let Some(placements) = device["placements"].as_object() else {
            continue;
        };
        let count = |value: &Value| value.as_u64().expect("a count");
        let all = count(&device["ios"]);
        let rates = [
            format::rate(all, watched),
            format::Bytes::Mebibytes.rate(count(&device["bytes"]), watched),
            device["in_flight"].to_string(),
        ];
        for rate in rates {
            assert!(row.contains(&rate), "{scenario}: {rate}: {row:?}");
        }
        for (name, these) in placements {
            let share = format::share(Some(count(&these["ios"]) as f64 / all as f64));
            let part = format!("{name} {share}");
            assert!(
                row.iter().any(|cell| cell.contains(&part)),
                "{scenario}: {part}: {row:?}"
            );
        }
        // The rest is shown of the chosen one; seventy of them would take long.
        if at % 9 > 2 {
            continue;
        }
        browser.value(&format!(
            "document.querySelectorAll('#device-table .choose')[{at}].click()"
        ));
        let mut stages = rows(browser, "#device-body .stages").into_iter();
        let reasons = rows(browser, "#device-body .two").concat().join(" ");
        for placement in ["kverityd", "bh", "inline", "tasklet", "fallback", "none"] {
            let Some(these) = placements.get(placement) else {
                continue;
            };
            let mut is_first = true;
            for stage in ["device", "wait", "attempt", "retry_wait", "verify", "total"] {
                let Some(histogram) = these["stages"].get(stage) else {
                    continue;
                };
                let percentiles = ["p50_ns", "p90_ns", "p99_ns", "p999_ns"];
                let percentiles =
                    percentiles.map(|name| format::percentile(histogram[name].as_u64().map(Nanos)));
                let mut expected = vec![stage.to_owned(), histogram["count"].to_string()];
                expected.extend(percentiles);
                let mut row = stages.next().expect("a row");
                if is_first {
                    assert_eq!(row.remove(0), placement);
                    is_first = false;
                }
                assert_eq!(row[..6], expected[..], "{scenario} {placement}");
            }
            for counts in ["reasons", "contexts", "completion_contexts"] {
                for (word, count) in these[counts].as_object().expect("counts") {
                    assert!(
                        reasons.contains(word) && reasons.contains(&count.to_string()),
                        "{word}: {reasons}"
                    );
                }
            }
        }
        assert_eq!(stages.next(), None, "{scenario}");
    }
}

#[test]
fn numbers_are_written_as_everywhere_else() {
    let mut browser = Browser::start();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards/page.html");
    let page = page.canonicalize().expect("the page");
    browser.open(&format!("file://{}", page.display()), SIZES[0].1, "light");
    browser.wait_for("typeof duration === 'function'");
    // Ends of units, ties, and a number of every length.
    let mut times = vec![
        0, 850, 999, 1_000, 12_250, 12_350, 1_125, 1_375, 99_950, 999_499, 999_500, 4_565_000,
    ];
    times.extend(
        (0..400)
            .map(|at| 7_919_u64.pow(2).wrapping_mul(at * at) % 10_u64.pow(1 + (at % 12) as u32)),
    );
    let written = browser.value(&format!(
        "{}.map(ns => [duration(ns), span(ns), percentile(ns), percentage(ns / 1e9)])",
        json!(times)
    ));
    for (ns, written) in times.iter().zip(written.as_array().expect("a list")) {
        let expected = json!([
            format::duration(Nanos(*ns)),
            format::span(Duration::from_nanos(*ns)),
            format::percentile(Some(Nanos(*ns))),
            format::percentage(Some(*ns as f64 / 1e9)),
        ]);
        assert_eq!(*written, expected, "{ns}");
    }
    let parts: Vec<u64> = (0..=400).collect();
    let written = browser.value(&format!(
        "{}.map(part => [share(part, 400), rate(part * part, 3e9)])",
        json!(parts)
    ));
    for (part, written) in parts.iter().zip(written.as_array().expect("a list")) {
        let share = format::share(Some(*part as f64 / 400.0));
        let rate = format::rate(part * part, Duration::from_secs(3));
        assert_eq!(*written, json!([share, rate]), "{part}");
    }
}

#[test]
fn it_goes_on_while_somebody_is_at_it() {
    let server = Server::start(&["--demo=7.3", "--repeat"]);
    let mut browser = Browser::start();
    live(&mut browser, &server, SIZES[0].1, "light");
    browser.wait_for("document.querySelectorAll('#device-table .choose').length === 2");
    browser.value("document.querySelectorAll('#device-table .choose')[1].focus()");
    browser.value("document.activeElement.click()");
    let before = browser.value("document.getElementById('when').textContent");
    browser.wait_for(&format!(
        "document.getElementById('when').textContent !== {before}"
    ));
    let chosen = browser.value("document.activeElement.textContent");
    assert_eq!(chosen, "usr", "it has the focus still");
    let title = browser.value("document.getElementById('device-title').textContent");
    assert!(
        title
            .as_str()
            .is_some_and(|it| it.starts_with("usr (253:1)")),
        "{title}"
    );
    // What changed is told once it has.
    browser.wait_for(
        "document.getElementById('events-body').textContent.includes('use_bh_bytes went from')",
    );
    browser.value("document.getElementById('pause').click()");
    assert_eq!(
        browser.value("document.getElementById('state').textContent"),
        "paused"
    );
    let still = browser.value("document.getElementById('when').textContent");
    let first = || get(&server, "/snapshot.json", &[]).body;
    let (seen, mut changes) = (first(), 0);
    server::wait_until("the server goes on", || {
        changes += usize::from(first() != seen);
        changes > 2
    });
    assert_eq!(
        browser.value("document.getElementById('when').textContent"),
        still
    );
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    drop(server);
    browser.value("document.getElementById('pause').click()");
    browser.wait_for("document.getElementById('state').textContent.startsWith('no answer')");
}

#[test]
fn with_the_token_it_shows_who_submitted_and_what_was_slow() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = recording(folder.path(), "who_submits");
    let server = Server::start(&[
        file.to_str().expect("a name"),
        "--token-file",
        &token(folder.path()),
    ]);
    let mut browser = Browser::start();
    live(&mut browser, &server, SIZES[0].1, "light");
    let shows = "document.body.innerText.includes('Who submitted most since')";
    assert_eq!(browser.value(shows), false);
    browser.value(&format!(
        "document.getElementById('token').value = '{TOKEN}'; document.getElementById('unlock').requestSubmit()"
    ));
    // A document is drawn again only when it is another one.
    browser.wait_for("shown.slow && !document.getElementById('slow').hidden");
    browser.wait_for(shows);
    assert!(!rows(&mut browser, "#slow-body").is_empty());
    let address = browser
        .value("location.href + document.cookie + JSON.stringify(Object.entries(localStorage))");
    assert!(!address.as_str().expect("text").contains(TOKEN));
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[test]
fn a_saved_snapshot_is_shown_with_a_server_and_without_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&["--demo=7.3"]);
    let documents: Vec<String> = {
        let mut seen = Vec::new();
        server::wait_until("there are three snapshots", || {
            let document: Value =
                serde_json::from_str(&get(&server, "/snapshot.json", &[]).body).unwrap_or_default();
            let line = document.to_string();
            if seen.last() != Some(&line) {
                seen.push(line);
            }
            seen.len() > 2
        });
        seen
    };
    let (one, many, none) = (
        folder.path().join("one.json"),
        folder.path().join("many.ndjson"),
        folder.path().join("none.json"),
    );
    fs::write(&one, &documents[0]).expect("written");
    fs::write(&many, documents.join("\n")).expect("written");
    fs::write(&none, r#"{"schema_version": 1, "devices": [{"name": 7}], "kernel": {}, "tracing": {}, "taken_at_unix_ms": 1}"#).expect("written");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards/page.html");
    let page = format!(
        "file://{}",
        page.canonicalize().expect("the page").display()
    );
    let mut browser = Browser::start();
    for (address, is_served) in [(&server.address, true), (&page, false)] {
        browser.open(address, SIZES[0].1, "light");
        browser.wait_for("document.getElementById('file') && document.readyState === 'complete'");
        browser.choose_file("#file", &none);
        browser.wait_for(
            "document.getElementById('refused').textContent === 'none.json: this is no snapshot of verity-trace'",
        );
        // It stays while what is live is drawn again.
        let when = "document.getElementById('when').textContent";
        if is_served {
            browser.wait_for("document.getElementById('state').textContent === 'live'");
            let before = browser.value(when);
            browser.wait_for(&format!("{when} !== {before}"));
        }
        assert_eq!(
            browser.value("document.getElementById('refused').hidden"),
            false
        );
        browser.choose_file("#file", &one);
        browser.wait_for("document.getElementById('state').textContent === 'saved: one.json'");
        assert_eq!(
            browser.value("document.getElementById('refused').hidden"),
            true
        );
        assert_eq!(rows(&mut browser, "#device-table").len(), 2);
        assert_eq!(
            browser.value("document.getElementById('timeline').hidden"),
            true
        );
        browser.choose_file("#file", &many);
        browser.wait_for("document.getElementById('place').textContent === 'snapshot 3 of 3'");
        let last = browser.value("document.getElementById('when').textContent");
        browser.value("document.getElementById('at').value = 0; document.getElementById('at').dispatchEvent(new Event('input'))");
        browser.wait_for("document.getElementById('place').textContent === 'snapshot 1 of 3'");
        assert_ne!(
            browser.value("document.getElementById('when').textContent"),
            last
        );
    }
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[test]
fn who_does_not_see_it_can_use_it() {
    let server = Server::start(&["--demo=7.3", "--repeat"]);
    let mut browser = Browser::start();
    live(&mut browser, &server, SIZES[0].1, "light");
    browser.wait_for("document.querySelectorAll('.stages tbody tr').length > 3");
    let tree = browser.call("Accessibility.getFullAXTree", &json!({}));
    let nodes = tree["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .filter(|node| node["ignored"] != true);
    let nodes: Vec<(String, String)> = nodes
        .map(|node| {
            let text = |of: &str| node[of]["value"].as_str().unwrap_or_default().to_owned();
            (text("role"), text("name"))
        })
        .collect();
    let named = |role: &str| -> Vec<&str> {
        let nodes = nodes.iter().filter(|(it, _)| it == role);
        nodes.map(|(_, name)| name.as_str()).collect()
    };
    for role in [
        "button",
        "combobox",
        "textbox",
        "slider",
        "table",
        "columnheader",
        "region",
    ] {
        for name in named(role) {
            assert!(
                !name.trim().is_empty(),
                "a {role} without a name: {nodes:?}"
            );
        }
    }
    println!(
        "headings {:?}\nbuttons {:?}\ntables {:?}",
        named("heading"),
        named("button"),
        named("table")
    );
    assert!(named("heading").contains(&"dm-verity on redacted"));
    for heading in ["Devices", "Events"] {
        assert!(named("heading").contains(&heading), "{heading}");
    }
    assert!(named("button").contains(&"root") && named("button").contains(&"usr"));
    assert!(named("button").contains(&"Open a saved snapshot"));
    assert_eq!(named("status").len(), 1);
    assert_eq!((named("main").len(), named("banner").len()), (1, 1));
    assert!(named("columnheader").contains(&"total p99"));
    assert!(named("rowheader").iter().any(|it| it.starts_with("root")));
    // Every control is come to with the Tab key, and seen to be.
    let mut reached = Vec::new();
    for _ in 0..12 {
        for kind in ["keyDown", "keyUp"] {
            let key =
                json!({"type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9});
            browser.call("Input.dispatchKeyEvent", &key);
        }
        let focus = "[document.activeElement.id || document.activeElement.textContent, \
                     getComputedStyle(document.activeElement).outlineStyle]";
        reached.push(browser.value(focus));
    }
    for control in ["window", "pause", "open", "token", "root", "usr"] {
        let found = reached.iter().find(|it| it[0] == control);
        let found = found.unwrap_or_else(|| panic!("{control}: {reached:?}"));
        assert_ne!(found[1], "none", "{control}");
    }
}
