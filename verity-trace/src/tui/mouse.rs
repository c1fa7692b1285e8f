//! What the mouse points at.

use ratatui::layout::Size;

use super::app::App;
use super::draw::{self, Place};
use super::status::tab;
use super::view::View;

/// What the mouse did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mouse {
    /// The left button was pressed there.
    Click {
        /// Cells to the left of it.
        column: u16,
        /// Lines above it.
        row: u16,
    },
    /// The wheel was turned up.
    Up,
    /// The wheel was turned down.
    Down,
}

/// Something that a click chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// A view, by its name.
    View(View),
    /// A row of the table of devices, by its number.
    Row(usize),
}

/// What is drawn there.
pub fn spot(app: &App, size: Size, column: u16, row: u16) -> Option<Spot> {
    let line = match draw::place(app, size, row)? {
        Place::Row(number) => return app.shows_devices().then_some(Spot::Row(number)),
        Place::Views(line) => line.to_string(),
    };
    let column = usize::from(column);
    let view = View::ALL.into_iter().find(|&view| {
        let tab = tab(view, view == app.view);
        let start = line.find(&tab);
        start.is_some_and(|start| (start..start + tab.len()).contains(&column))
    });
    view.map(Spot::View)
}
