//! Where a value lies on an axis, and the round values that an axis names.

use std::time::Duration;

use crate::format;
use crate::histogram::Nanos;

/// Labels that fit beside each other on a narrow screen, and labels that fit above each other.
pub const ACROSS: f64 = 8.0;
/// See above.
pub const DOWN: f64 = 12.0;

/// A logarithmic axis of durations between two round values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Log {
    low: f64,
    high: f64,
}

impl Log {
    /// The shortest axis between 1, 2 or 5 of some powers of ten that has both on it.
    pub fn over(shortest: Nanos, longest: Nanos) -> Self {
        let below = round().rev().find(|&step| step <= shortest.0);
        let above = round().find(|&step| step >= longest.0);
        let low = (below.unwrap_or(1) as f64).log2();
        let high = (above.unwrap_or(u64::MAX) as f64).log2();
        Self {
            low,
            high: high.max(low + 1.0),
        }
    }

    /// Where a duration lies, from 0 to 1: at the nearer end when it is not on the axis.
    pub fn at(self, Nanos(ns): Nanos) -> f64 {
        let position = ((ns.max(1) as f64).log2() - self.low) / (self.high - self.low);
        position.clamp(0.0, 1.0)
    }

    /// Round values on it, not many more than fit: 1, 2 and 5 of powers of ten, these powers, or those of 1000.
    pub fn ticks(self, fit: f64) -> Vec<Nanos> {
        let octaves = self.high - self.low;
        let on = |step: u64| {
            let log = (step as f64).log2();
            (self.low - 1e-9..=self.high + 1e-9).contains(&log)
        };
        let is_named = |step: u64| {
            let power = step.ilog10();
            let is_power = step == 10u64.pow(power);
            octaves < fit || is_power && (octaves < 2.0 * fit || power.is_multiple_of(3))
        };
        let named = round().filter(|&step| on(step) && is_named(step));
        named.map(Nanos).collect()
    }
}

/// An axis of time between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    first: u64,
    last: u64,
}

impl Time {
    /// From one moment to another, in nanoseconds of the same clock.
    pub const fn between(first: u64, last: u64) -> Self {
        let last = if last > first {
            last
        } else {
            first.saturating_add(1)
        };
        Self { first, last }
    }

    /// Where it begins.
    pub const fn first(self) -> u64 {
        self.first
    }

    /// How long it is.
    pub const fn span(self) -> u64 {
        self.last - self.first
    }

    /// Where a moment lies, from 0 to 1: at the nearer end when it is not on the axis.
    pub fn at(self, moment: u64) -> f64 {
        let moment = moment.clamp(self.first, self.last) - self.first;
        moment as f64 / self.span() as f64
    }

    /// In which of so many equal parts a moment lies.
    pub fn part(self, moment: u64, parts: usize) -> usize {
        let moment = u128::from(moment.clamp(self.first, self.last) - self.first);
        let part = moment * parts as u128 / u128::from(self.span());
        usize::try_from(part).unwrap_or(usize::MAX).min(parts - 1)
    }

    /// The time since its start at round values, at most 7 of them.
    pub fn ticks(self) -> Vec<Nanos> {
        const MINUTE: u64 = 60_000_000_000;
        const LONG: [u64; 12] = [1, 2, 5, 10, 20, 30, 60, 120, 240, 360, 720, 1_440];
        let short = round().take_while(|&step| step < MINUTE);
        let long = LONG.map(|minutes| minutes * MINUTE);
        let days = (1..).map(|power| long[11].saturating_mul(1 << power.min(40)));
        let mut steps = short.chain(long).chain(days.take(40));
        let step = steps.find(|&step| self.span() / step < 7);
        let step = step.unwrap_or(u64::MAX);
        (0..=self.span() / step)
            .map(|at| Nanos(at * step))
            .collect()
    }
}

/// A round duration in as few characters as it needs: `500 us`, `100 s`.
pub fn label(ns: Nanos) -> String {
    short(format::duration(ns))
}

/// A round time since the start: `2 s`, `20 min`.
pub fn since(ns: Nanos) -> String {
    short(format::span(Duration::from_nanos(ns.0)))
}

fn short(text: String) -> String {
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            let number = number.trim_end_matches('0').trim_end_matches('.');
            format!("{number} {unit}")
        }
        _ => {
            let whole = text.strip_suffix(" 00 s");
            let whole = whole.or_else(|| text.strip_suffix(" 00 min"));
            whole.map(str::to_owned).unwrap_or(text)
        }
    }
}

/// 1, 2 and 5 of every power of ten.
fn round() -> impl DoubleEndedIterator<Item = u64> {
    (0..=18).flat_map(|power| [1, 2, 5].map(|digit| digit * 10u64.pow(power)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_log_axis_begins_and_ends_at_round_values() {
        let axis = Log::over(Nanos(60_000), Nanos(33_000_000));
        assert_eq!(axis, Log::over(Nanos(50_000), Nanos(50_000_000)));
        let ticks: Vec<_> = axis.ticks(DOWN).into_iter().map(label).collect();
        let expected = [
            "50 us", "100 us", "200 us", "500 us", "1 ms", "2 ms", "5 ms", "10 ms", "20 ms",
            "50 ms",
        ];
        assert_eq!(ticks, expected);
        assert!(axis.at(Nanos(50_000)).abs() < 1e-9);
        assert!((axis.at(Nanos(50_000_000)) - 1.0).abs() < 1e-9);
        assert!((axis.at(Nanos(1_581_139)) - 0.5).abs() < 1e-3);
    }

    #[test]
    fn one_value_has_an_axis_too() {
        for ns in [0, 1, 1_000, u64::MAX] {
            let axis = Log::over(Nanos(ns), Nanos(ns));
            assert!((0.0..=1.0).contains(&axis.at(Nanos(ns))), "{ns}");
            assert!(axis.ticks(ACROSS).len() < 10, "{ns}");
        }
    }

    #[test]
    fn a_time_axis_has_round_ticks() {
        let cases = [
            (13_600_000_000, "0 s, 2 s, 4 s, 6 s"),
            (90_000_000, "0 s, 20 ms, 40 ms, 60 ms, 80 ms"),
            (7_200_000_000_000, "0 s, 20 min, 40 min"),
        ];
        for (span, expected) in cases {
            let ticks = Time::between(7, 7 + span).ticks();
            let labels: Vec<_> = ticks.into_iter().map(since).collect();
            let labels = labels.join(", ");
            assert!(labels.starts_with(expected), "{labels}");
        }
    }

    proptest! {
        #[test]
        fn every_moment_lies_in_a_part(
            first in any::<u64>(), last in any::<u64>(), moment in any::<u64>(), parts in 1usize..500,
        ) {
            let axis = Time::between(first, last);
            prop_assert!(axis.part(moment, parts) < parts);
            prop_assert!((0.0..=1.0).contains(&axis.at(moment)));
            prop_assert!(axis.ticks().len() <= 7);
        }

        #[test]
        fn longer_lies_further_right(left in any::<u64>(), right in any::<u64>()) {
            let axis = Log::over(Nanos(64), Nanos(1 << 36));
            let (left, right) = (left.min(right), left.max(right));
            prop_assert!(axis.at(Nanos(left)) <= axis.at(Nanos(right)));
        }
    }
}
