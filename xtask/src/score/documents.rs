//! What the program says of a recording, in its own JSON documents: what was measured, and what it foretells from that alone.

use anyhow::{Context, Result};
use serde_json::Value;

/// What was measured under one setting. Times are in nanoseconds, which are instructions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    pub ios: u64,
    /// The mean of `total`.
    pub total: f64,
    /// The median of `wait`, 1/32 off at most.
    pub wait: f64,
    /// Time of verifications in softirq, per I/O.
    pub softirq: f64,
}

/// What is foretold from a recording of one setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Foretold {
    pub verdict: String,
    /// The limits that are advised; null where none are.
    limits: Value,
    /// `certain`, `likely`, `weak` or `none`.
    pub certainty: String,
    pub reason: String,
    /// The change of the mean `total`, as a share: at the best and at the worst.
    pub effect: [Option<f64>; 2],
    /// The median of `wait` under the other setting; absent where nothing was replayed.
    pub wait: Option<f64>,
}

impl Foretold {
    /// Whether these are the limits that are advised.
    pub fn has_limits(&self, limits: &Value) -> bool {
        self.limits.is_array() && self.limits == *limits
    }

    #[cfg(test)]
    pub fn made_up(verdict: &str, certainty: &str, wait: f64) -> Self {
        Self {
            verdict: verdict.to_owned(),
            limits: Value::Null,
            certainty: certainty.to_owned(),
            reason: String::new(),
            effect: [Some(0.0); 2],
            wait: Some(wait),
        }
    }
}

/// From what `export` says of a recording with one device.
pub fn measured(document: &Value) -> Result<Measured> {
    let device = &document["devices"][0];
    let placements = device["placements"].as_object().context("no placements")?;
    let verified = placements.iter().filter(|(name, _)| *name != "none");
    let stages: Vec<&Value> = verified.map(|(_, it)| &it["stages"]).collect();
    let sum = |stage: &str, field: &str| -> u64 {
        let fields = stages.iter().map(|it| it[stage][field].as_u64());
        fields.map(Option::unwrap_or_default).sum()
    };
    let ios = sum("total", "count");
    let each = |ns: u64| ns as f64 / ios.max(1) as f64;
    let cpus = document["cpus"].as_array().context("no CPUs")?;
    let softirq = cpus.iter().map(|it| it["softirq_verify_ns"].as_u64());
    Ok(Measured {
        ios,
        total: each(sum("total", "sum_ns")),
        wait: median(&stages, "wait").context("nothing waited")?,
        softirq: each(softirq.map(Option::unwrap_or_default).sum()),
    })
}

/// The middle of a stage of all placements together, as if a bucket's I/Os were spread evenly over it.
fn median(stages: &[&Value], stage: &str) -> Option<f64> {
    let mut buckets: Vec<[u64; 3]> = Vec::new();
    for bucket in stages
        .iter()
        .filter_map(|it| it[stage]["buckets"].as_array())
    {
        for bucket in bucket {
            let number = |field: &str| bucket[field].as_u64();
            let lower = number("lower_ns").unwrap_or(0);
            buckets.push([lower, number("upper_ns").unwrap_or(lower), number("count")?]);
        }
    }
    buckets.sort_unstable();
    let rank = buckets.iter().map(|[.., count]| count).sum::<u64>() as f64 / 2.0;
    let mut before = 0.0;
    for [lower, upper, count] in buckets {
        let count = count as f64;
        if before + count >= rank && count > 0.0 {
            return Some(lower as f64 + (upper - lower) as f64 * (rank - before) / count);
        }
        before += count;
    }
    None
}

/// From what `recommend` says of a recording with one device.
pub fn foretold(document: &Value) -> Result<Foretold> {
    let advice = document["advice"][0].as_object().context("no advice")?;
    let confidence = &advice["confidence"];
    let text = |value: &Value| value.as_str().map(str::to_owned).context("no word for it");
    let effect = &confidence["effect_on_mean_total"];
    let evidence = advice["evidence"].as_array().context("no evidence")?;
    let replayed = |it: &&Value| {
        let what = it["what"].as_str().unwrap_or_default();
        what.starts_with("wait with") && what.ends_with("the option, median")
    };
    Ok(Foretold {
        verdict: text(&advice["verdict"])?,
        limits: advice.get("use_bh_bytes").cloned().unwrap_or_default(),
        certainty: text(&confidence["certainty"])?,
        reason: text(&confidence["reason"])?,
        effect: ["best", "worst"].map(|end| effect[end].as_f64()),
        wait: evidence
            .iter()
            .find(replayed)
            .and_then(|it| it["value"].as_f64()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_measured_is_that_of_all_placements_that_verify() {
        let stage = |count: u64, sum: u64, buckets: Value| json!({ "count": count, "sum_ns": sum, "buckets": buckets });
        let bucket = |lower: u64, count: u64| json!({ "lower_ns": lower, "upper_ns": lower + 10, "count": count });
        let document = json!({
            "devices": [{ "placements": {
                "bh": { "stages": {
                    "total": stage(30, 3_000, json!([])),
                    "wait": stage(30, 600, json!([bucket(10, 10), bucket(20, 20)])),
                } },
                "fallback": { "stages": {
                    "total": stage(10, 5_000, json!([])),
                    "wait": stage(10, 900, json!([bucket(90, 10)])),
                } },
                "none": { "stages": { "total": stage(5, 9_000, json!([])) } },
            } }],
            "cpus": [{ "softirq_verify_ns": 100 }, { "softirq_verify_ns": 300 }],
        });
        let found = measured(&document).unwrap();
        let expected = Measured {
            ios: 40,
            total: 200.0,
            wait: 25.0,
            softirq: 10.0,
        };
        assert_eq!(found, expected);
        measured(&json!({})).unwrap_err();
    }

    #[test]
    fn what_is_foretold_may_lack_the_other_setting() {
        let document = |evidence: Value| {
            json!({ "advice": [{
                "verdict": "keep",
                "confidence": {
                    "certainty": "weak",
                    "reason": "x",
                    "effect_on_mean_total": { "best": -0.5 },
                },
                "evidence": evidence,
            }] })
        };
        let wait = json!([{ "what": "wait without the option, median", "value": 7.5 }]);
        let found = foretold(&document(wait)).unwrap();
        assert_eq!((found.wait, found.effect), (Some(7.5), [Some(-0.5), None]));
        let none = json!([{ "what": "wait for kverityd, mean", "value": 7.5 }]);
        assert_eq!(foretold(&document(none)).unwrap().wait, None);
        foretold(&json!({})).unwrap_err();
    }
}
