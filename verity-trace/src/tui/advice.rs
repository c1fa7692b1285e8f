//! What is advised for one device, from what happened in the window.

use ratatui::style::Style;
use ratatui::text::Line;

use super::history::NOTHING_BEFORE;
use super::style::Styles;
use crate::recommend::{self, Advice, Origin};
use crate::snapshot::{Device, Snapshot};

/// The lines of one device, to be scrolled through. Commands are longer than most screens; what is copied is whole.
pub fn lines(
    device: &Device,
    all: &Snapshot,
    is_replay: bool,
    styles: &Styles,
    width: u16,
) -> Vec<Line<'static>> {
    let Some(case) = recommend::recent(all, device) else {
        let text = if all.interval.is_none() {
            NOTHING_BEFORE.to_owned()
        } else {
            recommend::none(all)
        };
        return vec![Line::raw(text)];
    };
    let origin = is_replay.then(|| Origin::of(all));
    let advice = recommend::advise(&case, Err(recommend::NOT_REPLAYED), origin.as_ref());
    let mut text = Vec::new();
    // A vector takes what it is given.
    let _ = recommend::text(&advice, usize::from(width), &mut text);
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .map(|line| Line::styled(line.to_owned(), style(line, &advice, styles)))
        .collect()
}

fn style(line: &str, advice: &Advice, styles: &Styles) -> Style {
    if line.starts_with("device ") {
        styles.name
    } else if line.starts_with("verdict ") && advice.changes() {
        styles.notice
    } else {
        Style::new()
    }
}
