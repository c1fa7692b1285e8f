//! The slowest I/Os of the last minute, from what was picked of each interval.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

use crate::decode::Io;
use crate::export;
use crate::picked::{KEPT, Picked, Seen};

/// How long an I/O is shown.
const SPAN: Duration = Duration::from_mins(1);

/// See the module.
#[derive(Debug, Default)]
pub struct Lately {
    /// The slowest of each interval, with its end and its length, the latest last.
    intervals: VecDeque<Interval>,
}

#[derive(Debug)]
struct Interval {
    end: Duration,
    length: Duration,
    slowest: Vec<Io>,
    seen: Option<Seen>,
}

impl Lately {
    /// Takes in one interval. After one that ends before the last one, as when a recording begins anew, nothing of
    /// what came before is shown.
    pub fn add(&mut self, picked: &Picked) {
        let end = picked.span.end;
        if self.intervals.back().is_some_and(|last| end < last.end) {
            self.intervals.clear();
        }
        self.intervals.push_back(Interval {
            end,
            length: end.saturating_sub(picked.span.start),
            slowest: picked.slowest.iter().take(KEPT).cloned().collect(),
            seen: picked.seen,
        });
        self.intervals.retain(|it| it.end + SPAN > end);
    }

    /// They as a JSON document, of that moment since the Unix epoch.
    #[must_use]
    pub fn document(&self, taken_at: Duration) -> Vec<u8> {
        let slowest = self.intervals.iter().flat_map(|it| &it.slowest);
        let mut ios: Vec<Io> = slowest.cloned().collect();
        ios.sort_by_key(|io| (Reverse(io.total), io.seq));
        ios.truncate(KEPT);
        let seen = self.intervals.iter().map(|it| it.seen);
        let seen = seen.reduce(|one, other| Some(one?.and(other?))).flatten();
        let span = self.intervals.iter().map(|it| it.length).sum();
        let mut text = Vec::new();
        // A vector takes what it is given.
        let _ = export::slow_ios(taken_at, span, seen, &ios, &mut text);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Nanos;
    use crate::snapshot::{Completion, Placement};
    use std::collections::BTreeMap;

    fn picked(second: u64, totals: &[u64]) -> Picked {
        let io = |&total_ns: &u64| Io {
            seq: total_ns,
            device: "253:0".parse().expect("a number"),
            mapped_at: Nanos(0),
            sector: 0,
            bytes: 4_096,
            placement: Placement::Bh,
            attempt: None,
            stages: BTreeMap::new(),
            total: Nanos(total_ns),
            status: 0,
            ioprio: 0,
            read_ahead: false,
            reason: None,
            completion: Completion::Softirq,
            context: None,
            attempt_context: None,
            submitter: 1,
            command: String::new(),
            cgroup: 1,
            submit_cpu: 0,
            complete_cpu: None,
            verify_cpu: None,
            rechecked: false,
            fec: false,
            incomplete: false,
            clock: false,
        };
        Picked {
            slowest: totals.iter().map(io).collect(),
            recent: Vec::new(),
            of_each: KEPT,
            in_flight: None,
            seen: Some(Seen {
                slow: Nanos(second),
                ..Seen::EVERYTHING
            }),
            has_undecoded: false,
            span: Duration::from_secs(second)..Duration::from_secs(second + 1),
            devices: BTreeMap::new(),
        }
    }

    fn totals(lately: &Lately) -> Vec<u64> {
        let text = lately.document(Duration::ZERO);
        let document: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        let records = document["records"].as_array().expect("records").iter();
        records.filter_map(|it| it["total_ns"].as_u64()).collect()
    }

    #[test]
    fn the_slowest_of_a_minute_are_shown_and_older_ones_are_not() {
        let mut lately = Lately::default();
        lately.add(&picked(0, &[900, 10]));
        lately.add(&picked(30, &[500]));
        assert_eq!(totals(&lately), [900, 500, 10]);
        lately.add(&picked(60, &[700]));
        assert_eq!(totals(&lately), [700, 500]);
        let many: Vec<u64> = (1_000..2_000).rev().collect();
        lately.add(&picked(61, &many));
        assert_eq!(totals(&lately).len(), KEPT);
        lately.add(&picked(3, &[1]));
        assert_eq!(totals(&lately), [1], "a recording began anew");
    }
}
