//! What holds for every page: it is whole, it loads nothing, and no name in it does anything.

use std::collections::HashSet;

use scraper::{Html, Selector};
use serde_json::Value;
use verity_trace::escape;
use verity_trace::format;
use verity_trace::histogram::Nanos;

/// The page, once that is so.
pub fn checked(text: &str) -> Html {
    let page = Html::parse_document(text);
    assert!(page.errors.is_empty(), "{:?}", page.errors);
    assert!(!text.replace('\n', "").contains(escape::is_hidden));
    let mut ids = HashSet::new();
    let mut targets = Vec::new();
    for element in page.select(&selector("*")) {
        let name = element.value().name();
        let can_load = [
            "script", "link", "img", "iframe", "object", "embed", "base", "use", "image",
        ];
        assert!(!can_load.contains(&name), "{name}");
        for (attribute, value) in element.value().attrs() {
            let is_inert = !attribute.starts_with("on") && !["style", "src"].contains(&attribute);
            assert!(is_inert, "{name} {attribute}={value}");
            match attribute {
                "id" => assert!(ids.insert(value), "{value} twice"),
                "href" => targets.push(value.strip_prefix('#').expect("within the page")),
                _ => {}
            }
        }
    }
    for target in targets {
        assert!(ids.contains(target), "{target}");
    }
    let style = texts(&page, "style").concat();
    assert!(
        !style.contains("url(") && !style.contains("@import"),
        "{style}"
    );
    let policy = page
        .select(&selector("meta[http-equiv=Content-Security-Policy]"))
        .next();
    let policy = policy.and_then(|it| it.attr("content")).expect("a policy");
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert_eq!(texts(&page, "h1").len(), 1);
    for table in page.select(&selector("table")) {
        let columns = table.select(&selector("thead th[scope=col]")).count();
        for row in table.select(&selector("tbody tr")) {
            assert_eq!(row.select(&selector("th[scope=row]")).count(), 1);
            assert_eq!(
                row.select(&selector("th, td")).count(),
                columns,
                "{}",
                row.html()
            );
        }
    }
    page
}

/// That it says of every device what a JSON document does.
pub fn agrees(page: &Html, document: &Value) {
    let inferred = document["inferred_reasons"].as_array();
    let is_inferred = |word: &str| inferred.is_some_and(|it| it.iter().any(|it| it == word));
    for device in document["devices"].as_array().expect("devices") {
        let number = device["number"].as_str().expect("a number");
        let name = escape::terminal(device["name"].as_str().expect("a name")).into_owned();
        let id = format!("#device-{}", number.replace(':', "-"));
        let heading = texts(page, &id).concat();
        assert!(
            heading.contains(&*name) && heading.contains(number),
            "{heading}"
        );
        let Some(placements) = device["placements"].as_object() else {
            continue;
        };
        let within = |rest: &str| format!("section:has(> {id}) {rest}");
        for label in ["failed", "rejected", "incomplete"] {
            let facts = texts(page, &within("dl div"));
            let expected = format!("{label}{}", device[label]);
            assert!(facts.contains(&expected), "{expected}: {facts:?}");
        }
        let mut rows = texts(page, &within("table.cards tbody tr")).into_iter();
        let mut stages = texts(page, &within("table.stages tbody tr")).into_iter();
        for placement in ["kverityd", "bh", "inline", "tasklet", "fallback", "none"] {
            let Some(these) = placements.get(placement) else {
                continue;
            };
            let row = rows.next().expect("a row");
            assert!(
                row.starts_with(&format!("{placement}{}", these["ios"])),
                "{row}"
            );
            for counts in ["reasons", "contexts", "completion_contexts"] {
                for (word, count) in these[counts].as_object().expect("counts") {
                    let said = if counts == "reasons" && is_inferred(word) {
                        format!("{word} (inferred) {count}")
                    } else {
                        format!("{word} {count}")
                    };
                    assert!(row.contains(&said), "{said}: {row}");
                }
            }
            for stage in ["device", "wait", "attempt", "retry_wait", "verify", "total"] {
                let Some(histogram) = these["stages"].get(stage) else {
                    continue;
                };
                let percentiles = ["p50_ns", "p90_ns", "p99_ns"].map(|name| {
                    let ns = histogram[name].as_u64().map(Nanos);
                    format::percentile(ns)
                });
                let row = stages.next().expect("a row");
                let expected = format!(
                    "{placement} {stage}{}{}",
                    histogram["count"],
                    percentiles.concat()
                );
                assert!(row.starts_with(&expected), "{expected}: {row}");
            }
        }
        assert_eq!((rows.next(), stages.next()), (None, None));
    }
    let how = texts(page, "#how + dl").concat();
    if let Some(account) = document["account"].as_object() {
        let expected = format!("{}: finished {}", account["mapped"], account["finished"]);
        assert!(how.contains(&expected), "{expected}: {how}");
    }
    let lost = document["lost"].as_u64().expect("a count");
    let expected = if lost == 0 {
        "lossnone".to_owned()
    } else {
        format!("loss{lost}: ")
    };
    assert!(how.contains(&expected), "{how}");
    let warnings = texts(page, ".warnings").concat();
    assert_eq!(
        warnings.contains(&format!("Loss: {lost} not seen")),
        lost > 0,
        "{warnings}"
    );
}

/// What is written in every element that fits.
pub fn texts(page: &Html, fits: &str) -> Vec<String> {
    let fits = selector(fits);
    let found = page.select(&fits);
    found.map(|element| element.text().collect()).collect()
}

fn selector(text: &str) -> Selector {
    Selector::parse(text).expect("a selector")
}
