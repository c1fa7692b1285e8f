//! Every key in one table, from which dispatch, footer and help are made.

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
    /// The next theme.
    Theme,
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
    /// The keys.
    pub keys: &'static [Key],
    /// What they ask for.
    pub action: Action,
    /// How the keys are called.
    pub label: &'static str,
    /// What they do.
    pub help: &'static str,
    /// The words for it in the footer, when it stands there.
    pub footer: Option<&'static str>,
}

/// Every key there is, but for those of [`LIVE`] and [`REPLAY`].
pub const BINDINGS: [Binding; 16] = [
    Binding {
        keys: &[Key::Char('q'), Key::Ctrl('c')],
        action: Action::Quit,
        label: "q, Ctrl-C",
        help: "quit",
        footer: Some("q quit"),
    },
    Binding {
        keys: &[Key::Ctrl('z')],
        action: Action::Suspend,
        label: "Ctrl-Z",
        help: "back to the shell; fg goes on",
        footer: None,
    },
    Binding {
        keys: &[Key::Char('?')],
        action: Action::ToggleHelp,
        label: "?",
        help: "open or close this help",
        footer: Some("? help"),
    },
    Binding {
        keys: &[Key::Tab],
        action: Action::NextView,
        label: "Tab",
        help: "to the next view: devices, device, CPUs, I/Os, events",
        footer: Some("Tab view"),
    },
    Binding {
        keys: &[Key::BackTab],
        action: Action::PreviousView,
        label: "Shift-Tab",
        help: "to the view before",
        footer: None,
    },
    Binding {
        keys: &[Key::Enter, Key::Char('l')],
        action: Action::Open,
        label: "Enter, l",
        help: "everything about the chosen device",
        footer: Some("Enter device"),
    },
    Binding {
        keys: &[Key::Esc, Key::Char('h')],
        action: Action::Back,
        label: "Esc, h",
        help: "close this help, or go back to the devices",
        footer: None,
    },
    Binding {
        keys: &[Key::Up, Key::Char('k')],
        action: Action::Up,
        label: "up, k",
        help: "one device or line up",
        footer: None,
    },
    Binding {
        keys: &[Key::Down, Key::Char('j')],
        action: Action::Down,
        label: "down, j",
        help: "one device or line down",
        footer: None,
    },
    Binding {
        keys: &[Key::PageUp],
        action: Action::PageUp,
        label: "page up",
        help: "a screenful up",
        footer: None,
    },
    Binding {
        keys: &[Key::PageDown],
        action: Action::PageDown,
        label: "page down",
        help: "a screenful down",
        footer: None,
    },
    Binding {
        keys: &[Key::Home, Key::Char('g')],
        action: Action::First,
        label: "home, g",
        help: "to the first device or line",
        footer: None,
    },
    Binding {
        keys: &[Key::End, Key::Char('G')],
        action: Action::Last,
        label: "end, G",
        help: "to the last device or line",
        footer: None,
    },
    Binding {
        keys: &[Key::Char('s')],
        action: Action::Sort,
        label: "s",
        help: "sort devices by number, I/O/s, wait, total, fallbacks or failed",
        footer: Some("s sort"),
    },
    Binding {
        keys: &[Key::Char('/')],
        action: Action::Filter,
        label: "/",
        help: "filter by name or pattern, placement:fallback, p99>5ms",
        footer: Some("/ filter"),
    },
    Binding {
        keys: &[Key::Char('t')],
        action: Action::Theme,
        label: "t",
        help: "colours: dark, light, safe for all eyes, none",
        footer: None,
    },
];

/// Every further key there is while it is live.
pub const LIVE: [Binding; 1] = [Binding {
    keys: &[Key::Char(' ')],
    action: Action::Pause,
    label: "space",
    help: "let the picture stand still, or go on; all is counted all the same",
    footer: Some("space pause"),
}];

/// Every further key there is while a recording is replayed.
pub const REPLAY: [Binding; 12] = [
    Binding {
        keys: &[Key::Char(' ')],
        action: Action::Control(Control::PlayOrPause),
        label: "space",
        help: "pause or play; at the end, play anew",
        footer: Some("space pause"),
    },
    Binding {
        keys: &[Key::Left],
        action: Action::Control(Control::Back),
        label: "left",
        help: "10 s back",
        footer: None,
    },
    Binding {
        keys: &[Key::Right],
        action: Action::Control(Control::Forward),
        label: "right",
        help: "10 s ahead",
        footer: Some("left/right 10 s"),
    },
    Binding {
        keys: &[Key::Char('[')],
        action: Action::Control(Control::FarBack),
        label: "[",
        help: "a tenth of the recording back",
        footer: None,
    },
    Binding {
        keys: &[Key::Char(']')],
        action: Action::Control(Control::FarForward),
        label: "]",
        help: "a tenth of the recording ahead",
        footer: None,
    },
    Binding {
        keys: &[Key::Char('{')],
        action: Action::Control(Control::Start),
        label: "{",
        help: "to the start of the recording",
        footer: None,
    },
    Binding {
        keys: &[Key::Char('}')],
        action: Action::Control(Control::End),
        label: "}",
        help: "to the end of the recording",
        footer: None,
    },
    Binding {
        keys: &[Key::Char(',')],
        action: Action::Control(Control::StepBack),
        label: ",",
        help: "one snapshot back",
        footer: None,
    },
    Binding {
        keys: &[Key::Char('.')],
        action: Action::Control(Control::StepForward),
        label: ".",
        help: "one snapshot ahead",
        footer: None,
    },
    Binding {
        keys: &[Key::Char('+'), Key::Char('=')],
        action: Action::Control(Control::Faster),
        label: "+",
        help: "twice as fast",
        footer: Some("+/- speed"),
    },
    Binding {
        keys: &[Key::Char('-')],
        action: Action::Control(Control::Slower),
        label: "-",
        help: "half as fast",
        footer: None,
    },
    Binding {
        keys: &[Key::Char('w')],
        action: Action::Control(Control::Window),
        label: "w",
        help: "show what happened in a longer time before each moment",
        footer: None,
    },
];

/// The keys that there are.
pub fn bindings(replays: bool) -> impl Iterator<Item = &'static Binding> {
    let further: &[Binding] = if replays { &REPLAY } else { &LIVE };
    BINDINGS.iter().chain(further)
}

/// What a key asks for; absent when nothing is bound to it.
#[must_use]
pub fn action(key: Key, replays: bool) -> Option<Action> {
    bindings(replays)
        .find(|binding| binding.keys.contains(&key))
        .map(|binding| binding.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_bound_twice() {
        let keys: Vec<_> = bindings(true).flat_map(|binding| binding.keys).collect();
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{key:?}");
        }
    }

    #[test]
    fn an_unbound_key_asks_for_nothing() {
        assert_eq!(action(Key::Char('x'), true), None);
        assert_eq!(action(Key::Char('w'), false), None);
    }
}
