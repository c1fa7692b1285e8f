//! How things look. Whatever a colour says, a word says too.

use ratatui::style::{Color, Modifier, Style};

use super::columns::Columns;
use super::glyphs::Glyphs;
use crate::format::{Bytes, Times, Units};

/// Colours for a kind of terminal, or of eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// The terminal's own red, yellow and cyan, for a dark background.
    Dark,
    /// Its own red, magenta and blue, for a light one.
    Light,
    /// Orange, sky blue and yellow of 256 colours, which differ for all eyes (Okabe and Ito).
    Safe,
    /// No colours.
    Plain,
}

impl Theme {
    /// Every theme, in the order in which one comes to them.
    pub const ALL: [Self; 4] = [Self::Dark, Self::Light, Self::Safe, Self::Plain];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Light => "light",
            Self::Safe => "safe",
            Self::Plain => "plain",
        }
    }

    const fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }
}

/// The styles of the live view.
#[derive(Clone, Copy, Debug)]
pub struct Styles {
    /// What they are made of.
    pub theme: Theme,
    /// What is lost or failed.
    pub alarm: Style,
    /// What is not as one would expect.
    pub notice: Style,
    /// The program's and the devices' names.
    pub name: Style,
    /// Headings.
    pub head: Style,
    /// What is chosen.
    pub chosen: Style,
    /// Pictures.
    pub picture: Style,
    /// What pictures are made of.
    pub glyphs: Glyphs,
    /// Units of tables.
    pub units: Units,
    /// Columns of the table of devices.
    pub columns: Columns,
}

impl Styles {
    /// The styles of a theme.
    #[must_use]
    pub const fn new(theme: Theme, glyphs: Glyphs) -> Self {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let colours = match theme {
            Theme::Dark => Some((Color::Red, Color::Yellow, Color::Cyan)),
            Theme::Light => Some((Color::Red, Color::Magenta, Color::Blue)),
            Theme::Safe => Some((Color::Indexed(208), Color::Indexed(227), Color::Indexed(74))),
            Theme::Plain => None,
        };
        let (alarm, notice, picture) = match colours {
            Some((alarm, notice, picture)) => {
                (bold.fg(alarm), bold.fg(notice), Style::new().fg(picture))
            }
            None => (bold, bold, Style::new()),
        };
        Self {
            theme,
            alarm,
            notice,
            name: bold,
            head: Style::new().add_modifier(Modifier::UNDERLINED),
            chosen: bold.add_modifier(Modifier::REVERSED),
            picture,
            glyphs,
            units: Units {
                times: Times::Fitting,
                bytes: Bytes::Mebibytes,
            },
            columns: Columns::EVERY,
        }
    }

    /// Those of the next theme.
    #[must_use]
    pub const fn next(self) -> Self {
        Self {
            units: self.units,
            columns: self.columns,
            ..Self::new(self.theme.next(), self.glyphs)
        }
    }
}
