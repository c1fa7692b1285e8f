//! What is copied to the terminal's clipboard: the chosen device's line, or the whole view.

use super::app::App;
use super::draw;
use super::view::View;
use crate::{escape, format};

/// Bytes that are copied at most: what terminals take in one piece, before it is encoded.
const MOST: usize = 74_000;

/// Text for the clipboard, safe to print wherever it is pasted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The text.
    pub text: String,
    what: String,
    left_out: usize,
}

impl Copied {
    /// What is to be copied; absent while nothing is shown.
    #[must_use]
    pub fn of(app: &App) -> Option<Self> {
        let width = match app.size().width {
            0 => 80,
            width => width,
        };
        let (what, lines) = if app.view == View::Devices {
            let lines = draw::chosen_row(app, width)?;
            ("the chosen line".to_owned(), lines)
        } else {
            // All of it, however little of it is on the screen.
            let lines = draw::all_lines(app, width);
            (format!("the view {}", app.view.name()), lines)
        };
        let mut text = String::new();
        let mut left_out = 0;
        for line in lines {
            let line = line.to_string();
            let line = escape::terminal(line.trim_end());
            if left_out > 0 || text.len() + line.len() >= MOST {
                left_out += 1;
            } else {
                text.push_str(&line);
                text.push('\n');
            }
        }
        Some(Self {
            text,
            what,
            left_out,
        })
    }

    /// What is said of it: whether the terminal obeyed nobody tells.
    #[must_use]
    pub fn notice(&self) -> String {
        let lines = format::counted(self.text.lines().count(), "line");
        let cut = match self.left_out {
            0 => String::new(),
            left_out => format!(", {left_out} more were left out"),
        };
        format!(
            "copied {} ({lines}{cut}) to the clipboard, if this terminal lets programs do so",
            self.what
        )
    }
}
