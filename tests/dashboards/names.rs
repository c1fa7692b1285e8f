//! Every name in a query is one that is exported, and every metric is to be seen somewhere.

use std::collections::HashSet;

use verity_trace::metrics::CATALOGUE;

use crate::Asked;

/// Metrics that no panel or rule uses, each with why.
const NOT_SHOWN: [(&str, &str); 0] = [];

#[test]
fn queries_name_what_is_exported_and_nothing_else() {
    let errors = Asked::read().errors;
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

#[test]
fn every_metric_is_shown_or_has_a_reason() {
    let shown = Asked::read().metrics;
    let shown: HashSet<_> = shown.iter().map(String::as_str).collect();
    for metric in CATALOGUE {
        let is_excused = NOT_SHOWN.iter().any(|(name, _)| *name == metric.name);
        assert_ne!(
            shown.contains(metric.name),
            is_excused,
            "{}: either on a panel, or in NOT_SHOWN",
            metric.name
        );
    }
    for (name, _) in NOT_SHOWN {
        assert!(CATALOGUE.iter().any(|it| it.name == name), "{name}");
    }
}
