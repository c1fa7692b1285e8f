//! The units that somebody may choose for the numbers of tables.

use std::time::Duration;

use super::{ABSENT, duration, per_second, percentile, three_digits};
use crate::histogram::Nanos;

/// The unit of times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    /// The one that fits each.
    #[default]
    Fitting,
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
}

impl Times {
    /// Every unit, in the order in which one comes to them.
    pub const ALL: [Self; 3] = [Self::Fitting, Self::Micros, Self::Millis];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fitting => "fitting",
            Self::Micros => "us",
            Self::Millis => "ms",
        }
    }

    const fn ns(self) -> Option<u64> {
        match self {
            Self::Fitting => None,
            Self::Micros => Some(1_000),
            Self::Millis => Some(1_000_000),
        }
    }
}

/// The unit of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bytes {
    /// 1,048,576 of them.
    #[default]
    Mebibytes,
    /// 1,000,000 of them.
    Megabytes,
}

impl Bytes {
    /// Every unit, in the order in which one comes to them.
    pub const ALL: [Self; 2] = [Self::Mebibytes, Self::Megabytes];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mebibytes => "MiB",
            Self::Megabytes => "MB",
        }
    }

    /// How many a second, of at most 6 characters; absent when no time passed.
    #[must_use]
    pub fn rate(self, bytes: u64, over: Duration) -> String {
        let one = match self {
            Self::Mebibytes => f64::from(1 << 20),
            Self::Megabytes => 1e6,
        };
        per_second(bytes as f64 / one, over)
    }
}

/// What somebody has chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// Of times.
    pub times: Times,
    /// Of bytes.
    pub bytes: Bytes,
}

impl Units {
    /// With the next unit of times.
    #[must_use]
    pub fn with_next_times(self) -> Self {
        let times = Times::ALL[(self.times as usize + 1) % Times::ALL.len()];
        Self { times, ..self }
    }

    /// With the next unit of bytes.
    #[must_use]
    pub fn with_next_bytes(self) -> Self {
        let bytes = Bytes::ALL[(self.bytes as usize + 1) % Bytes::ALL.len()];
        Self { bytes, ..self }
    }

    /// A time in the chosen unit, which then stands elsewhere, in at most 7 characters as those of the unit that
    /// fits. What is too long or too short for that has its own unit with it.
    #[must_use]
    pub fn duration(self, time: Nanos) -> String {
        self.fixed(time).unwrap_or_else(|| duration(time))
    }

    /// The same of a percentile.
    #[must_use]
    pub fn percentile(self, value: Option<Nanos>) -> String {
        let Some(value) = value else {
            return ABSENT.to_owned();
        };
        let fitting = percentile(Some(value));
        let sign = fitting.chars().next().filter(|it| ['<', '>'].contains(it));
        match (self.fixed(value), sign) {
            (None, _) => fitting,
            (Some(fixed), None) => fixed,
            (Some(fixed), Some(sign)) => format!("{sign}{fixed}"),
        }
    }

    fn fixed(self, Nanos(ns): Nanos) -> Option<String> {
        if ns == 0 {
            return Some("0".to_owned()).filter(|_| self.times != Times::Fitting);
        }
        let value = ns as f64 / self.times.ns()? as f64;
        match value {
            0.001..0.0995 => Some(format!("{value:.4}")),
            0.0995..0.9995 => Some(format!("{value:.3}")),
            0.9995..999_999.5 => Some(three_digits(value)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_in_a_unit_have_none_and_what_does_not_fit_has_its_own() {
        let cases = [
            (0, "0", "0"),
            (850, "0.850", "850 ns"),
            (999, "0.999", "999 ns"),
            (12_345, "12.3", "0.0123"),
            (639_000, "639", "0.639"),
            (4_560_000, "4560", "4.56"),
            (999_999_000, "999999", "1000"),
            (1_200_000_000, "1.20 s", "1200"),
            (2_000_000_000_000, "2000 s", "2000 s"),
        ];
        for (ns, micros, millis) in cases {
            let of = |times| {
                let units = Units {
                    times,
                    ..Units::default()
                };
                units.duration(Nanos(ns))
            };
            assert_eq!(
                (of(Times::Micros), of(Times::Millis)),
                (micros.into(), millis.into())
            );
            assert_eq!(of(Times::Fitting), duration(Nanos(ns)));
        }
    }

    #[test]
    fn what_is_past_the_slots_is_shown_as_such_in_any_unit() {
        let units = Units {
            times: Times::Micros,
            ..Units::default()
        };
        assert_eq!(units.percentile(None), "-");
        assert_eq!(units.percentile(Some(Nanos(64))), "<0.0640");
        assert_eq!(units.percentile(Some(Nanos(66))), "0.0660");
        assert_eq!(
            units.percentile(Some(Nanos(super::super::LIMIT_NS))),
            ">68.7 s"
        );
    }

    #[test]
    fn bytes_are_counted_by_two_or_by_ten() {
        let second = Duration::from_secs(1);
        assert_eq!(Bytes::Mebibytes.rate(3 << 20, second), "3.00");
        assert_eq!(Bytes::Megabytes.rate(3 << 20, second), "3.15");
        assert_eq!(Bytes::Megabytes.rate(1, Duration::ZERO), "-");
    }

    proptest! {
        #[test]
        fn a_time_fits_its_cell_in_any_unit(ns in 0u64..999_000_000_000) {
            for times in Times::ALL {
                let units = Units { times, ..Units::default() };
                prop_assert!(units.duration(Nanos(ns)).len() <= 7);
                prop_assert!(units.percentile(Some(Nanos(ns))).len() <= 8);
            }
        }
    }
}
