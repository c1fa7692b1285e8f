//! What values of options look like.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::tui::INTERVALS;

pub fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text
        .parse()
        .map_err(|_| "not a number such as 0.5 or 2".to_owned())?;
    if (0.001..=100.0).contains(&percent) {
        return Ok(percent);
    }
    Err("not between 0.001 and 100".to_owned())
}

/// The N of 1/N.
pub fn one_in(text: &str) -> Result<u64, String> {
    let number = text.strip_prefix("1/").and_then(|it| it.parse().ok());
    match number {
        Some(number @ 1..=1_000_000_000) => Ok(number),
        _ => Err("not of the form 1/N, such as 1/10".to_owned()),
    }
}

/// Permissions in octal.
pub fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok();
    let mode = mode.filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "not permissions in octal, such as 0644".to_owned())
}

/// Bytes, with K, M or G for powers of 1024.
pub fn size(text: &str) -> Result<usize, String> {
    let units = [("K", 10), ("M", 20), ("G", 30)];
    let (digits, shift) = units
        .into_iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))
        .unwrap_or((text, 0));
    let bytes = digits.parse().ok().and_then(|it: usize| {
        let bytes = it.checked_mul(1 << shift)?;
        (1 << 20..=1 << 34).contains(&bytes).then_some(bytes)
    });
    bytes.ok_or_else(|| "not a size from 1M to 16G, such as 64M".to_owned())
}

pub fn interval(text: &str) -> Result<Duration, String> {
    within(text, INTERVALS)
}

pub fn watching(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(10)..=Duration::from_hours(24))
}

pub fn trying(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_secs(5)..=Duration::from_hours(24))
}

fn within(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| "not a duration such as 500ms, 10s or 2m".to_owned())?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    Err(format!(
        "not between {} and {}",
        humantime::format_duration(*range.start()),
        humantime::format_duration(*range.end()),
    ))
}
