//! What can be configured of the live view, as a file in TOML.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use glob::Pattern;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::columns::{Column, Columns};
use super::glyphs::Glyphs;
use super::keys::{Key, Keys};
use super::style::{Styles, Theme};
use crate::format::{Bytes, Times, Units};
use crate::lookback::Window;

/// How much time there may be between two pictures.
pub const INTERVALS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_hours(1);

/// The intervals that keys go through.
pub const INTERVAL_STEPS: [Duration; 9] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_mins(1),
];

/// What cannot be without a key.
const NEEDED: &str = "quit";

/// See the module.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Colours.
    pub theme: Theme,
    /// What pictures are made of.
    pub glyphs: Glyphs,
    /// Time between two pictures.
    pub interval: Duration,
    /// How much time the numbers are of at first.
    pub window: Window,
    /// Whether the mouse is asked for.
    pub mouse: bool,
    /// Units of tables.
    pub units: Units,
    /// Columns of the table of devices.
    pub columns: Columns,
    /// Patterns of the names of devices that are a group, besides those that begin alike.
    pub groups: Vec<Pattern>,
    /// Keys.
    pub keys: Keys,
}

/// What is wrong with a configuration, and on which line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {what}")]
pub struct Misconfigured {
    /// The line, from 1 on.
    pub line: usize,
    /// What is wrong. It may quote the file: escape it before printing.
    pub what: String,
}

type Result<T> = std::result::Result<T, Misconfigured>;

impl Settings {
    /// What there is without a configuration.
    #[must_use]
    pub fn new(theme: Theme, glyphs: Glyphs) -> Self {
        Self {
            theme,
            glyphs,
            interval: Duration::from_secs(1),
            window: Window::default(),
            mouse: true,
            units: Units::default(),
            columns: Columns::default(),
            groups: Vec::new(),
            keys: Keys::default(),
        }
    }

    /// How things look.
    #[must_use]
    pub const fn styles(&self) -> Styles {
        let styles = Styles::new(self.theme, self.glyphs);
        Styles {
            units: self.units,
            columns: self.columns,
            ..styles
        }
    }

    /// Changes what a configuration says; what it does not say stays.
    pub fn read(&mut self, text: &str) -> Result<()> {
        let file = File(text);
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            file.wrong(at, error.message())
        })?;
        for (key, value) in table.get_ref() {
            self.take(&file, key, value)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        file: &File<'_>,
        key: &Spanned<Text<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<()> {
        match key.get_ref().as_ref() {
            "theme" => self.theme = file.one_of("theme", value, Theme::ALL, Theme::name)?,
            "interval" => self.interval = file.interval(value)?,
            "window" => self.window = file.one_of("window", value, Window::ALL, Window::name)?,
            "mouse" => {
                let mouse = value.get_ref().as_bool();
                self.mouse = mouse.ok_or_else(|| file.not("mouse", value, "true or false"))?;
            }
            "times" => self.units.times = file.one_of("times", value, Times::ALL, Times::name)?,
            "bytes" => self.units.bytes = file.one_of("bytes", value, Bytes::ALL, Bytes::name)?,
            "columns" => {
                let columns = file.list("columns", value)?.iter();
                let columns = columns
                    .map(|it| file.one_of("columns", it, Column::ALL, Column::name))
                    .collect::<Result<Vec<_>>>()?;
                self.columns = Columns::of(&columns);
            }
            "groups" => {
                let patterns = file.list("groups", value)?.iter();
                self.groups = patterns.map(|it| file.pattern(it)).collect::<Result<_>>()?;
            }
            "keys" => self.bind(file, value)?,
            other => {
                let what = format!(
                    "{other:?} is nothing that can be configured: theme, interval, window, mouse, times, bytes, \
                     columns, groups, keys"
                );
                return Err(file.wrong(key.span().start, &what));
            }
        }
        Ok(())
    }

    /// Gives keys to what the table `keys` names.
    fn bind(&mut self, file: &File<'_>, value: &Spanned<DeValue<'_>>) -> Result<()> {
        let Some(table) = value.get_ref().as_table() else {
            return Err(file.not("keys", value, "a table"));
        };
        for (name, keys) in table {
            let text = name.get_ref().as_ref();
            let list = file.list(text, keys)?;
            let found = list.iter().map(|key| file.key(text, key));
            let found = found.collect::<Result<Vec<_>>>()?;
            if text == NEEDED && found.is_empty() {
                return Err(file.wrong(keys.span().start, "keys: quit needs a key"));
            }
            if !self.keys.bind(text, found) {
                let names: Vec<_> = self.keys.all().iter().map(|it| it.binding.name).collect();
                let what = format!(
                    "keys: {text:?} is nothing that has keys: {}",
                    names.join(", ")
                );
                return Err(file.wrong(name.span().start, &what));
            }
        }
        if let Some((key, one, other)) = self.keys.ambiguous() {
            let what = format!("keys: {key} would ask for {one} and for {other}");
            let last = table.iter().filter(|(name, _)| {
                let name = name.get_ref().as_ref();
                name == one || name == other
            });
            let at = last.map(|(name, _)| name.span().start).max();
            return Err(file.wrong(at.unwrap_or(value.span().start), &what));
        }
        Ok(())
    }

    /// The configuration that says all this, with what else there could be.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let columns = Column::ALL.into_iter().filter(|&it| self.columns.has(it));
        let columns: Vec<_> = columns.map(|it| quoted(it.name())).collect();
        let groups: Vec<_> = self.groups.iter().map(|it| quoted(it.as_str())).collect();
        let interval = humantime::format_duration(self.interval).to_string();
        let mut text = format!(
            "# verity-trace's live view. What is left out here is as it is without this file.\n\n\
             # Colours: {themes}\n\
             theme = {theme}\n\
             # Time between two pictures\n\
             interval = {interval}\n\
             # How much time before each moment the numbers are of: {windows}\n\
             window = {window}\n\
             # Whether clicks and the wheel are for verity-trace; Shift selects text all the same in most terminals\n\
             mouse = {mouse}\n\
             # Unit of times in tables: {times}\n\
             times = {time}\n\
             # Unit of throughput: {bytes}\n\
             bytes = {byte}\n\
             # Columns of the table of devices, as far as there is room:\n\
             # {all_columns}\n\
             columns = [{columns}]\n\
             # Devices that are a group, besides those whose names begin alike, such as [\"*-rw\", \"db[0-9]*\"]\n\
             groups = [{groups}]\n\n\
             # A key is a character, one with Ctrl-, or one of: {key_names}\n\
             [keys]\n",
            themes = names(Theme::ALL, Theme::name),
            theme = quoted(self.theme.name()),
            interval = quoted(&interval),
            windows = names(Window::ALL, Window::name),
            window = quoted(self.window.name()),
            mouse = self.mouse,
            times = names(Times::ALL, Times::name),
            time = quoted(self.units.times.name()),
            bytes = names(Bytes::ALL, Bytes::name),
            byte = quoted(self.units.bytes.name()),
            all_columns = names(Column::ALL, Column::name),
            columns = columns.join(", "),
            groups = groups.join(", "),
            key_names = Key::names(),
        );
        for bound in self.keys.all() {
            let keys: Vec<_> = bound
                .keys()
                .iter()
                .map(|it| quoted(&it.to_string()))
                .collect();
            // A text takes whatever is written to it.
            let _ = writeln!(
                text,
                "# {}{}\n{} = [{}]",
                bound.when(),
                bound.binding.help,
                bound.binding.name,
                keys.join(", ")
            );
        }
        text
    }
}

type Text<'a> = std::borrow::Cow<'a, str>;

/// The text of a configuration.
struct File<'a>(&'a str);

impl File<'_> {
    fn wrong(&self, at: usize, what: &str) -> Misconfigured {
        let before = self.0.get(..at).unwrap_or(self.0);
        Misconfigured {
            line: 1 + before.matches('\n').count(),
            // A parser may say it in several lines.
            what: what.lines().collect::<Vec<_>>().join("; "),
        }
    }

    /// What is there, and what should be.
    fn not(&self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str) -> Misconfigured {
        let found = self.0.get(value.span()).unwrap_or_default();
        self.wrong(
            value.span().start,
            &format!("{key}: {found} is not {expected}"),
        )
    }

    fn one_of<T: Copy, const N: usize>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        all: [T; N],
        name: impl Fn(T) -> &'static str,
    ) -> Result<T> {
        let found = value.get_ref().as_str();
        let known = all.into_iter().find(|&it| Some(name(it)) == found);
        known.ok_or_else(|| {
            let names: Vec<_> = all.into_iter().map(|it| quoted(name(it))).collect();
            self.not(key, value, &format!("one of {}", names.join(", ")))
        })
    }

    fn interval(&self, value: &Spanned<DeValue<'_>>) -> Result<Duration> {
        let text = value.get_ref().as_str();
        let interval = text.and_then(|text| humantime::parse_duration(text).ok());
        let interval = interval.filter(|it| INTERVALS.contains(it));
        interval.ok_or_else(|| {
            let expected = "a time from \"100ms\" to \"1h\", such as \"500ms\" or \"2s\"";
            self.not("interval", value, expected)
        })
    }

    fn list<'v, 't>(
        &self,
        key: &str,
        value: &'v Spanned<DeValue<'t>>,
    ) -> Result<&'v [Spanned<DeValue<'t>>]> {
        let list = value.get_ref().as_array();
        list.map(|it| &it[..])
            .ok_or_else(|| self.not(key, value, "a list, such as [\"a\", \"b\"]"))
    }

    fn pattern(&self, value: &Spanned<DeValue<'_>>) -> Result<Pattern> {
        let text = value.get_ref().as_str();
        let pattern = text.and_then(|text| Pattern::new(text).ok());
        pattern.ok_or_else(|| self.not("groups", value, "a pattern, such as \"app-*\""))
    }

    fn key(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<Key> {
        let text = value.get_ref().as_str();
        let text =
            text.ok_or_else(|| self.not(&format!("keys: {name}"), value, "a key in quotes"))?;
        text.parse().map_err(|error: String| {
            self.wrong(value.span().start, &format!("keys: {name}: {error}"))
        })
    }
}

fn names<T: Copy, const N: usize>(all: [T; N], name: impl Fn(T) -> &'static str) -> String {
    all.map(name).join(", ")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain() -> Settings {
        Settings::new(Theme::Plain, Glyphs::BLOCKS)
    }

    fn read(text: &str) -> Result<Settings> {
        let mut settings = plain();
        settings.read(text).map(|()| settings)
    }

    #[test]
    fn what_is_printed_is_read_as_what_it_is() {
        let text = "theme = \"safe\"\ninterval = \"2m 500ms\"\nwindow = \"10 min\"\nmouse = false\n\
                    times = \"us\"\nbytes = \"MB\"\ncolumns = [\"total\", \"ios\"]\n\
                    groups = [\"*-\\\"x\", \"db[0-9]\"]\n\
                    [keys]\nsort = [\"\\\"\", \"Ctrl-s\", '\\']\nfilter = []\nplay = [\"p\"]\n";
        let settings = read(text).expect("a configuration");
        assert_eq!(settings.theme, Theme::Safe);
        assert_eq!(settings.interval, Duration::from_millis(120_500));
        assert_eq!(settings.window, Window::TenMinutes);
        assert!(!settings.mouse);
        assert_eq!(
            (settings.units.times, settings.units.bytes),
            (Times::Micros, Bytes::Megabytes)
        );
        assert_eq!(settings.columns, Columns::of(&[Column::Ios, Column::Total]));
        let groups: Vec<_> = settings.groups.iter().map(Pattern::as_str).collect();
        assert_eq!(groups, ["*-\"x", "db[0-9]"]);
        let printed = settings.to_toml();
        let again = read(&printed).expect(&printed);
        assert_eq!(again.to_toml(), printed);
        let labels = |settings: &Settings| -> Vec<String> {
            settings
                .keys
                .all()
                .iter()
                .map(super::super::keys::Bound::label)
                .collect()
        };
        assert_eq!(labels(&again), labels(&settings));
        assert!(labels(&again).contains(&"\", Ctrl-S, \\".to_owned()));
        let all = plain().to_toml();
        assert_eq!(read(&all).expect("the default").to_toml(), all);
        assert_eq!(read("").expect("nothing").to_toml(), all);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_what_there_could_be() {
        let cases = [
            (
                "theme = \"drk\"",
                1,
                "theme: \"drk\" is not one of \"dark\", \"light\", \"safe\", \"plain\"",
            ),
            (
                "\n\nthem = 3",
                3,
                "\"them\" is nothing that can be configured: theme, interval, ",
            ),
            ("theme = 3", 1, "theme: 3 is not one of \"dark\""),
            (
                "interval = \"1ms\"",
                1,
                "interval: \"1ms\" is not a time from \"100ms\" to \"1h\"",
            ),
            ("interval = 1", 1, "interval: 1 is not a time"),
            ("mouse = \"on\"", 1, "mouse: \"on\" is not true or false"),
            (
                "window = \"1s\"",
                1,
                "window: \"1s\" is not one of \"1 s\", \"10 s\"",
            ),
            ("columns = \"ios\"", 1, "columns: \"ios\" is not a list"),
            (
                "columns = [\"ios\",\n\"tea\"]",
                2,
                "columns: \"tea\" is not one of \"option\", ",
            ),
            (
                "groups = [\"a\", \"[\"]",
                1,
                "groups: \"[\" is not a pattern, such as \"app-*\"",
            ),
            ("keys = 3", 1, "keys: 3 is not a table"),
            ("[keys]\nsort = \"s\"", 2, "sort: \"s\" is not a list"),
            (
                "[keys]\nsort = [3]",
                2,
                "keys: sort: 3 is not a key in quotes",
            ),
            (
                "[keys]\nsort = [\"F1\"]",
                2,
                "keys: sort: \"F1\" is no key: a character, ",
            ),
            (
                "[keys]\ntea = [\"t\"]",
                2,
                "keys: \"tea\" is nothing that has keys: quit, suspend, ",
            ),
            (
                "[keys]\nsort = [\"S\"]\nopen = [\"o\"]",
                3,
                "keys: o would ask for open and for record",
            ),
            ("[keys]\n\nquit = []", 3, "keys: quit needs a key"),
            ("theme = \"dark\"\ntheme = \"dark\"", 2, "duplicate key"),
            ("theme = ", 1, ""),
        ];
        for (text, line, expected) in cases {
            let wrong = read(text).expect_err(text);
            assert!(wrong.what.contains(expected), "{text:?}: {wrong}");
            if !expected.contains("would ask") {
                assert_eq!(wrong.line, line, "{text:?}: {wrong}");
            }
            assert!(!wrong.to_string().contains('\n'), "{wrong}");
        }
    }

    #[test]
    fn a_key_may_change_hands() {
        let settings = read("[keys]\nsort = [\"q\"]\nquit = [\"s\"]\n").expect("a configuration");
        let action = settings.keys.action(Key::Char('s'), false);
        assert_eq!(action, Some(super::super::keys::Action::Quit));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z= \\[\\]\"'#\\n{}.,0-9é-]{0,80}") {
            let _ = read(&text);
        }
    }
}
