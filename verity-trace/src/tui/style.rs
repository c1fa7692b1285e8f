//! How things look. Whatever a colour says, a word says too.

use ratatui::style::{Color, Modifier, Style};

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
}

impl Styles {
    /// Styles with colours or, as `NO_COLOR` asks, without.
    #[must_use]
    pub const fn new(colours: bool) -> Self {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let (alarm, notice) = if colours {
            (bold.fg(Color::Red), bold.fg(Color::Yellow))
        } else {
            (bold, bold)
        };
        Self {
            alarm,
            notice,
            name: bold,
            head: Style::new().add_modifier(Modifier::UNDERLINED),
        }
    }
}
