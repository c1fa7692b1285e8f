//! Every key in one table, from which dispatch, footer, help and configuration are made.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use crate::replay::Control;

/// A key as the program understands it, whatever the terminal sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// A character with Ctrl.
    Ctrl(char),
    /// Cursor up.
    Up,
    /// Cursor down.
    Down,
    /// Cursor left.
    Left,
    /// Cursor right.
    Right,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Home.
    Home,
    /// End.
    End,
    /// Escape.
    Esc,
    /// Enter.
    Enter,
    /// Tab.
    Tab,
    /// Tab with Shift.
    BackTab,
    /// Backspace.
    Backspace,
}

impl Key {
    /// The keys that have a name.
    const NAMED: [(Self, &str); 14] = [
        (Self::Char(' '), "space"),
        (Self::Up, "up"),
        (Self::Down, "down"),
        (Self::Left, "left"),
        (Self::Right, "right"),
        (Self::PageUp, "page-up"),
        (Self::PageDown, "page-down"),
        (Self::Home, "home"),
        (Self::End, "end"),
        (Self::Esc, "Esc"),
        (Self::Enter, "Enter"),
        (Self::Tab, "Tab"),
        (Self::BackTab, "Shift-Tab"),
        (Self::Backspace, "Backspace"),
    ];

    /// The names that there are.
    #[must_use]
    pub fn names() -> String {
        Self::NAMED.map(|(_, name)| name).join(", ")
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let named = Self::NAMED.iter().find(|(key, _)| key == self);
        match (self, named) {
            (_, Some((_, name))) => f.write_str(name),
            (Self::Char(character), None) => write!(f, "{character}"),
            (Self::Ctrl(character), None) => write!(f, "Ctrl-{}", character.to_ascii_uppercase()),
            (other, None) => write!(f, "{other:?}"),
        }
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut named = Self::NAMED.iter();
        if let Some((key, _)) = named.find(|(_, name)| name.eq_ignore_ascii_case(text)) {
            return Ok(*key);
        }
        let one = |text: &str| {
            let mut characters = text.chars();
            let character = characters
                .next()
                .filter(|it| !crate::escape::is_hidden(*it))?;
            characters.next().is_none().then_some(character)
        };
        if let Some(character) = one(text) {
            return Ok(Self::Char(character));
        }
        let ctrl = text.get(..5).filter(|it| it.eq_ignore_ascii_case("ctrl-"));
        if let Some(character) = ctrl.and_then(|_| one(&text[5..])) {
            return Ok(Self::Ctrl(character.to_ascii_lowercase()));
        }
        Err(format!(
            "{text:?} is no key: a character, one with Ctrl- before it, {}",
            Self::names()
        ))
    }
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// End the program.
    Quit,
    /// Give the terminal back to the shell until it asks to go on.
    Suspend,
    /// Open the help, or close it.
    ToggleHelp,
    /// Close the help, or go back to the devices.
    Back,
    /// To the next view.
    NextView,
    /// To the view before.
    PreviousView,
    /// Everything about the chosen device.
    Open,
    /// Let the picture stand still, or go on.
    Pause,
    /// Sort the devices by the next thing.
    Sort,
    /// Write which devices are shown.
    Filter,
    /// Show a group of devices as one, or one by one.
    Fold,
    /// The next theme.
    Theme,
    /// Numbers of a shorter time.
    ShorterWindow,
    /// Numbers of a longer time.
    LongerWindow,
    /// Count anew from now.
    Reset,
    /// More time between two pictures.
    LongerInterval,
    /// Less time between two pictures.
    ShorterInterval,
    /// The next unit of times.
    TimeUnit,
    /// The next unit of bytes.
    ByteUnit,
    /// Write the snapshot to a file.
    Export,
    /// Begin a recording, or end it.
    Record,
    /// Copy what is chosen to the clipboard.
    Copy,
    /// One device or line up.
    Up,
    /// One device or line down.
    Down,
    /// A screenful up.
    PageUp,
    /// A screenful down.
    PageDown,
    /// To the first device or line.
    First,
    /// To the last device or line.
    Last,
    /// Something of a recording's player.
    Control(Control),
}

/// Keys that ask for the same.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// What it is called in a configuration.
    pub name: &'static str,
    /// The keys, unless others are configured.
    pub keys: &'static [Key],
    /// What they ask for.
    pub action: Action,
    /// What they do.
    pub help: &'static str,
    /// The word for it in the footer, when it stands there; neighbours with the same word stand there once.
    pub footer: Option<&'static str>,
}

/// Every key there is, but for those of [`LIVE`] and [`REPLAY`].
pub const BINDINGS: [Binding; 23] = [
    Binding {
        name: "quit",
        keys: &[Key::Char('q'), Key::Ctrl('c')],
        action: Action::Quit,
        help: "quit",
        footer: Some("quit"),
    },
    Binding {
        name: "suspend",
        keys: &[Key::Ctrl('z')],
        action: Action::Suspend,
        help: "back to the shell; fg goes on",
        footer: None,
    },
    Binding {
        name: "help",
        keys: &[Key::Char('?')],
        action: Action::ToggleHelp,
        help: "open or close this help",
        footer: Some("help"),
    },
    Binding {
        name: "next-view",
        keys: &[Key::Tab],
        action: Action::NextView,
        help: "to the next view: devices, device, CPUs, I/Os, events",
        footer: Some("view"),
    },
    Binding {
        name: "previous-view",
        keys: &[Key::BackTab],
        action: Action::PreviousView,
        help: "to the view before",
        footer: None,
    },
    Binding {
        name: "open",
        keys: &[Key::Enter, Key::Char('l')],
        action: Action::Open,
        help: "everything about the chosen device; of a folded group, its devices",
        footer: Some("device"),
    },
    Binding {
        name: "back",
        keys: &[Key::Esc, Key::Char('h')],
        action: Action::Back,
        help: "close this help, or go back to the devices",
        footer: None,
    },
    Binding {
        name: "shorter-window",
        keys: &[Key::Char('[')],
        action: Action::ShorterWindow,
        help: "numbers of a shorter time before this moment, down to 1 s",
        footer: Some("window"),
    },
    Binding {
        name: "longer-window",
        keys: &[Key::Char(']')],
        action: Action::LongerWindow,
        help: "numbers of a longer time, up to all since the start",
        footer: Some("window"),
    },
    Binding {
        name: "up",
        keys: &[Key::Up, Key::Char('k')],
        action: Action::Up,
        help: "one device or line up",
        footer: None,
    },
    Binding {
        name: "down",
        keys: &[Key::Down, Key::Char('j')],
        action: Action::Down,
        help: "one device or line down",
        footer: None,
    },
    Binding {
        name: "page-up",
        keys: &[Key::PageUp],
        action: Action::PageUp,
        help: "a screenful up",
        footer: None,
    },
    Binding {
        name: "page-down",
        keys: &[Key::PageDown],
        action: Action::PageDown,
        help: "a screenful down",
        footer: None,
    },
    Binding {
        name: "first",
        keys: &[Key::Home, Key::Char('g')],
        action: Action::First,
        help: "to the first device or line",
        footer: None,
    },
    Binding {
        name: "last",
        keys: &[Key::End, Key::Char('G')],
        action: Action::Last,
        help: "to the last device or line",
        footer: None,
    },
    Binding {
        name: "sort",
        keys: &[Key::Char('s')],
        action: Action::Sort,
        help: "sort devices by number, I/O/s, wait, total, fallbacks or failed",
        footer: Some("sort"),
    },
    Binding {
        name: "filter",
        keys: &[Key::Char('/')],
        action: Action::Filter,
        help: "filter by name or pattern, placement:fallback, p99>5ms",
        footer: Some("filter"),
    },
    Binding {
        name: "fold",
        keys: &[Key::Char('f')],
        action: Action::Fold,
        help: "show devices whose names begin alike as one, or one by one",
        footer: Some("fold"),
    },
    Binding {
        name: "theme",
        keys: &[Key::Char('t')],
        action: Action::Theme,
        help: "colours: dark, light, safe for all eyes, none",
        footer: None,
    },
    Binding {
        name: "time-unit",
        keys: &[Key::Char('u')],
        action: Action::TimeUnit,
        help: "times in tables in the unit that fits, in us, or in ms",
        footer: None,
    },
    Binding {
        name: "byte-unit",
        keys: &[Key::Char('U')],
        action: Action::ByteUnit,
        help: "throughput in MiB or in MB",
        footer: None,
    },
    Binding {
        name: "export",
        keys: &[Key::Char('e')],
        action: Action::Export,
        help: "write this snapshot to a file, the document of export --once",
        footer: None,
    },
    Binding {
        name: "copy",
        keys: &[Key::Char('y')],
        action: Action::Copy,
        help: "copy the chosen device's line, or the view, if the terminal lets it",
        footer: None,
    },
];

/// Every further key there is while it is live.
pub const LIVE: [Binding; 5] = [
    Binding {
        name: "pause",
        keys: &[Key::Char(' ')],
        action: Action::Pause,
        help: "let the picture stand still, or go on; all is counted all the same",
        footer: Some("pause"),
    },
    Binding {
        name: "reset",
        keys: &[Key::Char('r')],
        action: Action::Reset,
        help: "count anew from now; pictures of time and events stay",
        footer: None,
    },
    Binding {
        name: "longer-interval",
        keys: &[Key::Char('+'), Key::Char('=')],
        action: Action::LongerInterval,
        help: "more time between two pictures",
        footer: None,
    },
    Binding {
        name: "shorter-interval",
        keys: &[Key::Char('-')],
        action: Action::ShorterInterval,
        help: "less time between two pictures",
        footer: None,
    },
    Binding {
        name: "record",
        keys: &[Key::Char('o')],
        action: Action::Record,
        help: "record every I/O in a file, or end the recording",
        footer: None,
    },
];

/// Every further key there is while a recording is replayed.
pub const REPLAY: [Binding; 11] = [
    Binding {
        name: "play",
        keys: &[Key::Char(' ')],
        action: Action::Control(Control::PlayOrPause),
        help: "pause or play; at the end, play anew",
        footer: Some("pause"),
    },
    Binding {
        name: "jump-back",
        keys: &[Key::Left],
        action: Action::Control(Control::Back),
        help: "10 s back",
        footer: Some("10 s"),
    },
    Binding {
        name: "jump-ahead",
        keys: &[Key::Right],
        action: Action::Control(Control::Forward),
        help: "10 s ahead",
        footer: Some("10 s"),
    },
    Binding {
        name: "far-back",
        keys: &[Key::Char('<')],
        action: Action::Control(Control::FarBack),
        help: "a tenth of the recording back",
        footer: None,
    },
    Binding {
        name: "far-ahead",
        keys: &[Key::Char('>')],
        action: Action::Control(Control::FarForward),
        help: "a tenth of the recording ahead",
        footer: None,
    },
    Binding {
        name: "start",
        keys: &[Key::Char('{')],
        action: Action::Control(Control::Start),
        help: "to the start of the recording",
        footer: None,
    },
    Binding {
        name: "end",
        keys: &[Key::Char('}')],
        action: Action::Control(Control::End),
        help: "to the end of the recording",
        footer: None,
    },
    Binding {
        name: "step-back",
        keys: &[Key::Char(',')],
        action: Action::Control(Control::StepBack),
        help: "one snapshot back",
        footer: None,
    },
    Binding {
        name: "step-ahead",
        keys: &[Key::Char('.')],
        action: Action::Control(Control::StepForward),
        help: "one snapshot ahead",
        footer: None,
    },
    Binding {
        name: "faster",
        keys: &[Key::Char('+'), Key::Char('=')],
        action: Action::Control(Control::Faster),
        help: "twice as fast",
        footer: Some("speed"),
    },
    Binding {
        name: "slower",
        keys: &[Key::Char('-')],
        action: Action::Control(Control::Slower),
        help: "half as fast",
        footer: Some("speed"),
    },
];

/// When a binding is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Always,
    Live,
    Replay,
}

/// A binding with the keys that it has.
#[derive(Clone, Debug)]
pub struct Bound {
    /// What it is.
    pub binding: Binding,
    mode: Mode,
    keys: Vec<Key>,
}

impl Bound {
    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// When it is bound, where that is not always, for before what it does.
    #[must_use]
    pub const fn when(&self) -> &'static str {
        match self.mode {
            Mode::Always => "",
            Mode::Live => "live: ",
            Mode::Replay => "replay: ",
        }
    }

    /// How the keys are called.
    #[must_use]
    pub fn label(&self) -> String {
        let keys: Vec<_> = self.keys.iter().map(Key::to_string).collect();
        keys.join(", ")
    }
}

/// The tables with the keys that are configured.
#[derive(Clone, Debug)]
pub struct Keys(Vec<Bound>);

impl Default for Keys {
    fn default() -> Self {
        let bound = |mode| {
            move |&binding: &Binding| Bound {
                binding,
                mode,
                keys: binding.keys.to_vec(),
            }
        };
        // What there is only sometimes stands before what nobody looks for.
        let moves = BINDINGS.iter().position(|it| it.action == Action::Up);
        let (first, rest) = BINDINGS.split_at(moves.unwrap_or_default());
        let always = |these: &[Binding]| these.iter().map(bound(Mode::Always)).collect::<Vec<_>>();
        let live = LIVE.iter().map(bound(Mode::Live));
        let replay = REPLAY.iter().map(bound(Mode::Replay));
        let all = always(first).into_iter().chain(live).chain(replay);
        Self(all.chain(always(rest)).collect())
    }
}

impl Keys {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Bound] {
        &self.0
    }

    /// Those that there are.
    pub fn of(&self, replays: bool) -> impl Iterator<Item = &Bound> {
        let other = if replays { Mode::Live } else { Mode::Replay };
        self.0.iter().filter(move |bound| bound.mode != other)
    }

    /// What a key asks for; absent when nothing is bound to it.
    #[must_use]
    pub fn action(&self, key: Key, replays: bool) -> Option<Action> {
        let mut bound = self.of(replays);
        let bound = bound.find(|bound| bound.keys.contains(&key))?;
        Some(bound.binding.action)
    }

    /// Gives what has this name other keys; whether there is such a thing.
    pub fn bind(&mut self, name: &str, keys: Vec<Key>) -> bool {
        let mut all = self.0.iter_mut();
        let found = all.find(|bound| bound.binding.name == name);
        found.map(|bound| bound.keys = keys).is_some()
    }

    /// A key that asks for two things, and the names of these.
    #[must_use]
    pub fn ambiguous(&self) -> Option<(Key, &'static str, &'static str)> {
        [false, true].into_iter().find_map(|replays| {
            let mut seen: Vec<(Key, &'static str)> = Vec::new();
            for bound in self.of(replays) {
                let name = bound.binding.name;
                for &key in &bound.keys {
                    if let Some(&(_, other)) = seen.iter().find(|(it, _)| *it == key) {
                        return Some((key, other, name));
                    }
                    seen.push((key, name));
                }
            }
            None
        })
    }

    /// What the footer says of them, the most useful first, where it has these words for them.
    pub fn footer<'w>(
        &self,
        replays: bool,
        word: impl Fn(&Binding) -> Option<&'w str>,
    ) -> Vec<String> {
        let mut words: Vec<(String, &str)> = Vec::new();
        for bound in self.of(replays) {
            let (Some(word), Some(key)) = (word(&bound.binding), bound.keys.first()) else {
                continue;
            };
            match words.last_mut() {
                Some((keys, last)) if *last == word => *keys = format!("{keys}/{key}"),
                _ => words.push((key.to_string(), word)),
            }
        }
        let words = words.into_iter();
        words.map(|(keys, word)| format!("{keys} {word}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_key_is_bound_twice_and_no_name_given_twice() {
        let keys = Keys::default();
        assert_eq!(keys.ambiguous(), None);
        for (at, bound) in keys.all().iter().enumerate() {
            let name = bound.binding.name;
            assert!(
                keys.all()[..at].iter().all(|it| it.binding.name != name),
                "{name}"
            );
        }
    }

    #[test]
    fn an_unbound_key_asks_for_nothing() {
        let keys = Keys::default();
        assert_eq!(keys.action(Key::Char('x'), true), None);
        assert_eq!(keys.action(Key::Char('<'), false), None);
    }

    #[test]
    fn a_key_that_is_configured_takes_the_place_of_the_others() {
        let mut keys = Keys::default();
        assert!(keys.bind("sort", vec![Key::Ctrl('s')]));
        assert!(!keys.bind("tea", vec![Key::Char('t')]));
        assert_eq!(keys.action(Key::Ctrl('s'), false), Some(Action::Sort));
        assert_eq!(keys.action(Key::Char('s'), false), None);
        let footer = |keys: &Keys| keys.footer(false, |binding| binding.footer);
        assert!(footer(&keys).contains(&"Ctrl-S sort".to_owned()));
        keys.bind("filter", Vec::new());
        assert!(!footer(&keys).iter().any(|it| it.ends_with("filter")));
        keys.bind("slower", vec![Key::Char('q')]);
        assert_eq!(keys.ambiguous(), Some((Key::Char('q'), "quit", "slower")));
    }

    #[test]
    fn keys_are_called_what_they_are_read_as() {
        for bound in Keys::default().all() {
            for key in bound.keys() {
                assert_eq!(key.to_string().parse(), Ok(*key));
            }
        }
        assert_eq!("CTRL-C".parse(), Ok(Key::Ctrl('c')));
        assert_eq!("enter".parse(), Ok(Key::Enter));
        assert_eq!("é".parse(), Ok(Key::Char('é')));
        for none in ["", "qq", "Ctrl-", "Ctrl-ab", "\u{1b}", "\n", "F1", "根根"] {
            let error = none.parse::<Key>().expect_err(none);
            assert!(error.contains("is no key"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_name_of_a_key_panics(text: String) {
            let _ = text.parse::<Key>();
        }
    }
}
