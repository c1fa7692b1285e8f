//! What the mouse points at.

use ratatui::layout::Size;

use super::app::App;
use super::draw;
use super::status::tab;
use super::view::View;
use crate::snapshot::DeviceNumber;

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
    /// A device, by its line.
    Device(DeviceNumber),
}

/// What is drawn there.
pub fn spot(app: &App, size: Size, column: u16, row: u16) -> Option<Spot> {
    let above = draw::above(app, size)?;
    let (row, column) = (usize::from(row), usize::from(column));
    if let Some(line) = above.get(row) {
        let line = line.to_string();
        // Only the line of the views has them side by side; elsewhere the words may be prose.
        let is_tabs = line.contains(&tab(app.view, true));
        let mut views = View::ALL.into_iter().filter(|_| is_tabs);
        return views
            .find(|&view| {
                let tab = tab(view, view == app.view);
                let start = line.find(&tab);
                start.is_some_and(|start| (start..start + tab.len()).contains(&column))
            })
            .map(Spot::View);
    }
    if app.help.is_some() || app.view != View::Devices {
        return None;
    }
    let (head, each) = draw::heights(app, size)?;
    let line = row.checked_sub(above.len() + 1 + head)?;
    if line / each >= draw::capacity(app, size) {
        return None;
    }
    let devices = app.devices();
    let device = devices.get(app.first + line / each)?;
    Some(Spot::Device(device.number))
}
