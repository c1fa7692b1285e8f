//! Which devices are shown: words that all have to hold.

use glob::Pattern;

use crate::format;
use crate::histogram::Nanos;
use crate::lookback::Recent;
use crate::snapshot::{Device, Placement, Stage};

/// See the module. Without a word every device is shown.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    text: String,
    words: Vec<Word>,
}

#[derive(Clone, Debug)]
enum Word {
    /// A part of the name.
    Part(String),
    /// A pattern for the whole name.
    Name(Pattern),
    /// I/Os of the window had this placement.
    Placement(Placement),
    /// The 99th percentile of `total` in the window is more, or less.
    P99 { is_more: bool, than: Nanos },
}

impl Filter {
    /// Reads words such as `app-*`, `placement:fallback` and `p99>5ms`. What is none of these is said.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words = text.split_whitespace().map(Word::parse);
        Ok(Self {
            text: text.trim().to_owned(),
            words: words.collect::<Result<_, _>>()?,
        })
    }

    /// What was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a device is shown.
    pub fn takes(&self, device: &Device, recent: &Recent) -> bool {
        self.words.iter().all(|word| word.holds(device, recent))
    }
}

impl Word {
    fn parse(word: &str) -> Result<Self, String> {
        if let Some(name) = word.strip_prefix("placement:") {
            let placement = Placement::ALL.into_iter().find(|it| it.name() == name);
            return placement.map(Self::Placement).ok_or_else(|| {
                let names = Placement::ALL.map(Placement::name);
                format!("{name:?} is no placement: {}", names.join(", "))
            });
        }
        for (sign, is_more) in [('>', true), ('<', false)] {
            if let Some(than) = word
                .strip_prefix("p99")
                .and_then(|it| it.strip_prefix(sign))
            {
                let than = humantime::parse_duration(than)
                    .map_err(|error| format!("{than:?} is no duration such as 5ms: {error}"))?;
                let than = format::nanos(than);
                return Ok(Self::P99 { is_more, than });
            }
        }
        if word.contains(['*', '?', '[']) {
            let pattern = Pattern::new(word).map_err(|error| format!("{word:?}: {error}"))?;
            return Ok(Self::Name(pattern));
        }
        Ok(Self::Part(word.to_owned()))
    }

    fn holds(&self, device: &Device, recent: &Recent) -> bool {
        let did = || recent.of(device);
        match self {
            Self::Part(part) => device.name.contains(part),
            Self::Name(pattern) => pattern.matches(&device.name),
            Self::Placement(placement) => {
                did().is_some_and(|did| did.placements().any(|(it, ..)| it == *placement))
            }
            Self::P99 { is_more, than } => {
                let p99 = did().and_then(|did| did.stage(Stage::Total).percentile(990));
                p99.is_some_and(|p99| if *is_more { p99 > *than } else { p99 < *than })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_filter_is_said() {
        let cases = [
            ("placement:tea", "\"tea\" is no placement: kverityd, bh"),
            ("p99>soon", "\"soon\" is no duration such as 5ms"),
            ("[a", "\"[a\": "),
        ];
        for (text, expected) in cases {
            let error = Filter::parse(text).expect_err(text);
            assert!(error.starts_with(expected), "{error}");
        }
        assert_eq!(
            Filter::parse("  a* p99<1s ").expect("a filter").text(),
            "a* p99<1s"
        );
    }
}
