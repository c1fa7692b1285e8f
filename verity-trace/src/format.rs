//! Numbers for people, three digits each, narrow enough for a table. What is absent is `-`.

mod units;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

pub use units::{Bytes, Times, Units};

use unicode_width::UnicodeWidthChar as _;
use verity_trace_ebpf::slot::{LIMIT_NS, LOWEST_NS};

use crate::histogram::Nanos;

/// The last second of that year, which is the last that has a name.
pub const YEAR_9999: Duration = Duration::from_secs(253_402_300_799);

/// What stands where there is no value.
pub const ABSENT: &str = "-";

/// The share of what did not happen.
pub const NONE: &str = "0 %";

/// A device's number, and its kernel name where that is known.
#[must_use]
pub fn device(number: &str, kernel_names: &BTreeMap<String, String>) -> String {
    match kernel_names.get(number) {
        Some(name) => format!("{number} ({name})"),
        None => number.to_owned(),
    }
}

/// A duration of at most 7 characters below 1000 s: `850 ns`, `12.3 us`, `4.56 ms`, `1.20 s`.
#[must_use]
pub fn duration(Nanos(ns): Nanos) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000, "us"), (1_000_000, "ms"), (1_000_000_000, "s")];
    if ns < 1_000 {
        return format!("{ns} ns");
    }
    // A value that rounds up to 1000 belongs to the next unit.
    let rounds_below = |unit: u64| ns < unit * 1_000 - unit / 2;
    let (unit, name) = UNITS
        .into_iter()
        .find(|&(unit, _)| rounds_below(unit))
        .unwrap_or(UNITS[2]);
    format!("{} {name}", three_digits(ns as f64 / unit as f64))
}

/// A percentile of a histogram: `<64 ns` and `>68.7 s` for what is past its slots.
#[must_use]
pub fn percentile(value: Option<Nanos>) -> String {
    match value {
        None => ABSENT.to_owned(),
        Some(value @ Nanos(LOWEST_NS)) => format!("<{}", duration(value)),
        Some(value @ Nanos(LIMIT_NS)) => format!(">{}", duration(value)),
        Some(value) => duration(value),
    }
}

/// A time in which one watches: `12.0 s`, `3 min 20 s`, `2 h 05 min`, `3 d 04 h`.
#[must_use]
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        _ if span.is_zero() => "0 s".to_owned(),
        0..100 => duration(nanos(span)),
        100..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A duration of the standard library in nanoseconds, the longest that fits when it does not.
#[must_use]
pub fn nanos(duration: Duration) -> Nanos {
    Nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// How many a second, of at most 6 characters: `0.25`, `12345`, `1.25M`; absent when no time passed.
#[must_use]
pub fn rate(count: u64, over: Duration) -> String {
    per_second(count as f64, over)
}

/// A share from 0 to 1 as `41 %`. Only none at all is `0 %` and only all is `100 %`; between,
/// `<1 %` and `>99 %`.
#[must_use]
pub fn share(share: Option<f64>) -> String {
    let Some(share) = share else {
        return ABSENT.to_owned();
    };
    let percent = share * 100.0;
    // A half would round to the even 0.
    if percent > 0.0 && percent <= 0.5 {
        "<1 %".to_owned()
    } else if (99.5..100.0).contains(&percent) {
        ">99 %".to_owned()
    } else {
        format!("{percent:.0} %")
    }
}

/// The parts of a whole as `41 %`, which add up to 100 %: what is left after rounding down goes to those that lost
/// most by it. As of [`share`], only none at all is `0 %` and only all is `100 %`. Of nothing there are no parts.
#[must_use]
pub fn shares<K: Ord, N: Into<u128>>(
    parts: impl IntoIterator<Item = (K, N)>,
) -> BTreeMap<K, String> {
    let parts: Vec<(K, u128)> = parts
        .into_iter()
        .map(|(it, part)| (it, part.into()))
        .collect();
    let whole: u128 = parts.iter().map(|&(_, part)| part).sum();
    if whole == 0 {
        return BTreeMap::new();
    }
    let mut percents: Vec<_> = parts.iter().map(|(_, part)| part * 100 / whole).collect();
    let left = percents.iter().fold(100, |left, percent| left - percent);
    let mut by_loss: Vec<_> = (0..parts.len()).collect();
    by_loss.sort_by_key(|&at| Reverse(parts[at].1 * 100 % whole));
    for (_, at) in (0..left).zip(by_loss) {
        percents[at] += 1;
    }
    let parts = parts.into_iter().zip(percents);
    let shares = parts.map(|((it, part), percent)| {
        let share = match percent {
            0 if part > 0 => "<1 %".to_owned(),
            100 if part < whole => ">99 %".to_owned(),
            _ => format!("{percent} %"),
        };
        (it, share)
    });
    shares.collect()
}

/// A share from 0 to 1 as a percentage with three digits: `0.84 %`.
#[must_use]
pub fn percentage(share: Option<f64>) -> String {
    match share {
        None => ABSENT.to_owned(),
        Some(share) if share > 0.0 && share < 0.000_05 => "<0.01 %".to_owned(),
        Some(share) => format!("{} %", three_digits(share * 100.0)),
    }
}

/// The part of a whole as a share; absent when there is no whole.
#[must_use]
pub fn share_of(part: Duration, whole: Duration) -> String {
    share((!whole.is_zero()).then(|| part.as_secs_f64() / whole.as_secs_f64()))
}

/// Bytes in MiB: `45.2 MiB`.
#[must_use]
pub fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", three_digits(bytes as f64 / f64::from(1 << 20)))
}

/// A size of one I/O: `512 B`, `4 KiB`, `1 MiB`; what is no whole number of a unit has the unit below.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0 => "0 B".to_owned(),
        bytes if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        bytes if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} B"),
    }
}

/// The text in lines of at most so many cells, broken after a blank where there is one.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let cells = |text: &str| -> usize { text.chars().map(|it| it.width().unwrap_or(0)).sum() };
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for character in text.chars() {
        line.push(character);
        used += character.width().unwrap_or(0);
        while used > width {
            let last = line.len() - character.len_utf8();
            let at = line[..last].rfind(' ').map_or(last, |blank| blank + 1);
            if at == 0 {
                // A character alone may be wider than there is room for.
                break;
            }
            let rest = line.split_off(at);
            used = cells(&rest);
            lines.push(std::mem::replace(&mut line, rest));
        }
    }
    lines.push(line);
    lines
}

/// `1 device`, `2 devices`.
#[must_use]
pub fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// So many I/Os.
#[must_use]
pub fn ios(count: u64) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} I/O{plural}")
}

fn per_second(amount: f64, over: Duration) -> String {
    if over.is_zero() {
        return ABSENT.to_owned();
    }
    let rate = amount / over.as_secs_f64();
    if rate == 0.0 {
        "0".to_owned()
    } else if rate < 0.005 {
        "<0.01".to_owned()
    } else if rate >= 999_999.5 {
        format!("{}M", three_digits(rate / 1e6))
    } else {
        three_digits(rate)
    }
}

fn three_digits(value: f64) -> String {
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_breaks_after_a_blank_and_where_it_is_full() {
        let cases: [(&str, &[&str]); 5] = [
            ("", &[""]),
            ("one two", &["one ", "two"]),
            ("onetwo", &["onet", "wo"]),
            ("a onetwo", &["a ", "onet", "wo"]),
            ("根根根", &["根根", "根"]),
        ];
        for (text, lines) in cases {
            assert_eq!(wrap(text, 4), lines, "{text:?}");
        }
        assert_eq!(wrap("根a根", 1), ["根", "a", "根"]);
    }

    #[test]
    fn durations_have_three_digits_and_the_unit_that_fits() {
        let cases = [
            (0, "0 ns"),
            (850, "850 ns"),
            (999, "999 ns"),
            (1_000, "1.00 us"),
            (12_345, "12.3 us"),
            (99_960, "100 us"),
            (999_499, "999 us"),
            (999_500, "1.00 ms"),
            (4_560_000, "4.56 ms"),
            (999_950_000, "1.00 s"),
            (1_200_000_000, "1.20 s"),
            (68_719_476_736, "68.7 s"),
            (5_000_000_000_000, "5000 s"),
        ];
        for (ns, expected) in cases {
            assert_eq!(duration(Nanos(ns)), expected, "{ns} ns");
        }
    }

    #[test]
    fn what_is_past_the_slots_is_shown_as_such() {
        assert_eq!(percentile(None), "-");
        assert_eq!(percentile(Some(Nanos(64))), "<64 ns");
        assert_eq!(percentile(Some(Nanos(66))), "66 ns");
        assert_eq!(percentile(Some(Nanos(LIMIT_NS))), ">68.7 s");
    }

    #[test]
    fn spans_grow_from_seconds_to_days() {
        let cases = [
            (0, "0 s"),
            (12, "12.0 s"),
            (200, "3 min 20 s"),
            (7_500, "2 h 05 min"),
            (273_600, "3 d 04 h"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_share_never_hides_what_happened() {
        let cases = [
            (None, "-"),
            (Some(0.0), "0 %"),
            (Some(0.001), "<1 %"),
            (Some(0.005), "<1 %"),
            (Some(0.41), "41 %"),
            (Some(0.999), ">99 %"),
            (Some(1.0), "100 %"),
        ];
        for (value, expected) in cases {
            assert_eq!(share(value), expected);
        }
    }

    #[test]
    fn parts_of_a_whole_add_up_and_hide_nothing() {
        let cases: [(&[u64], &[&str]); 8] = [
            (&[], &[]),
            (&[0, 0], &[]),
            (&[7, 0], &["100 %", "0 %"]),
            (&[1, 1, 1], &["34 %", "33 %", "33 %"]),
            (&[125, 125, 750], &["13 %", "12 %", "75 %"]),
            (&[6, 6, 988], &["1 %", "<1 %", "99 %"]),
            (&[1, 999], &["<1 %", ">99 %"]),
            (&[u64::MAX, u64::MAX], &["50 %", "50 %"]),
        ];
        for (parts, expected) in cases {
            let shares = shares(parts.iter().copied().enumerate());
            let shares: Vec<_> = shares.values().map(String::as_str).collect();
            assert_eq!(shares, expected, "{parts:?}");
        }
    }

    #[test]
    fn percentages_have_three_digits() {
        let cases = [
            (None, "-"),
            (Some(0.0), "0.00 %"),
            (Some(0.000_001), "<0.01 %"),
            (Some(0.008_4), "0.84 %"),
            (Some(1.25), "125 %"),
        ];
        for (value, expected) in cases {
            assert_eq!(percentage(value), expected);
        }
    }

    #[test]
    fn rates_need_time() {
        assert_eq!(rate(5, Duration::ZERO), "-");
        assert_eq!(rate(0, Duration::from_secs(1)), "0");
        assert_eq!(rate(1, Duration::from_secs(4)), "0.25");
        assert_eq!(rate(1, Duration::from_secs(4_000)), "<0.01");
        assert_eq!(rate(24_690, Duration::from_secs(2)), "12345");
        assert_eq!(rate(1_254_000, Duration::from_secs(1)), "1.25M");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_in_wrapping(text in "[ a-z根]{0,60}", width in 2usize..20) {
            let lines = wrap(&text, width);
            prop_assert_eq!(lines.concat(), text);
            for line in lines {
                let cells: usize = line.chars().filter_map(char::width).sum();
                prop_assert!(cells <= width, "{:?}", line);
            }
        }

        #[test]
        fn a_duration_below_1000_s_fits_its_cell(ns in 0u64..999_000_000_000) {
            prop_assert!(duration(Nanos(ns)).len() <= 7);
        }

        #[test]
        fn parts_are_100_percent_together(parts in prop::collection::vec(0u64..2_000, 1..7)) {
            let shares = shares(parts.iter().copied().enumerate());
            let mut sum = 0;
            for (at, share) in &shares {
                let percent = share.trim_end_matches(" %");
                // What stands beside `<1 %` may be the one that says that it is not all.
                sum += match percent {
                    "<1" => 0,
                    ">99" => 100,
                    percent => percent.parse::<u64>().expect("a number"),
                };
                prop_assert_eq!(percent == "0", parts[*at] == 0);
            }
            prop_assert!(sum == 100 || shares.is_empty());
        }

        #[test]
        fn a_share_fits_its_cell(value in 0.0f64..=1.0) {
            prop_assert!(share(Some(value)).len() <= 5);
        }
    }
}
