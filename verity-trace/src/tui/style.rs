//! How things look. Whatever a colour says, a word says too.

use ratatui::style::{Color, Modifier, Style};

use super::glyphs::Glyphs;

/// The styles of the live view.
#[derive(Clone, Copy, Debug)]
pub struct Styles {
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
}

impl Styles {
    /// Styles with colours or, as `NO_COLOR` asks, without.
    #[must_use]
    pub const fn new(colours: bool, glyphs: Glyphs) -> Self {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let (alarm, notice, picture) = if colours {
            (
                bold.fg(Color::Red),
                bold.fg(Color::Yellow),
                Style::new().fg(Color::Cyan),
            )
        } else {
            (bold, bold, Style::new())
        };
        Self {
            alarm,
            notice,
            name: bold,
            head: Style::new().add_modifier(Modifier::UNDERLINED),
            chosen: bold.add_modifier(Modifier::REVERSED),
            picture,
            glyphs,
        }
    }
}
