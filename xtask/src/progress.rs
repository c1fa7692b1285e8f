//! What a long step shows: a bar on a terminal, one plain line elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

const BAR: &str = "{msg:28} {bar:30} {bytes:>10} of {total_bytes:10} {bytes_per_sec}";
const SPINNER: &str = "{msg:28} {spinner} {elapsed}";
const TICK: Duration = Duration::from_millis(120);

/// A download of a known size; its position is in bytes.
pub fn download(what: &str, bytes: u64) -> ProgressBar {
    if !stderr().is_terminal() {
        eprintln!("fetching {what} ({})", HumanBytes(bytes));
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(BAR).expect("the template is valid");
    ProgressBar::new(bytes)
        .with_style(style)
        .with_message(format!("fetching {what}"))
}

/// A step whose length is not known.
pub fn step(what: &str) -> ProgressBar {
    if !stderr().is_terminal() {
        eprintln!("{what}");
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(SPINNER).expect("the template is valid");
    let spinner = ProgressBar::new_spinner()
        .with_style(style)
        .with_message(what.to_owned());
    spinner.enable_steady_tick(TICK);
    spinner
}
