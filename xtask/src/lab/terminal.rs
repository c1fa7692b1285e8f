//! The caller's terminal, which an interactive job takes over.

use std::env;
use std::io::{IsTerminal, stdin, stdout};

use anyhow::{Context, Result};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Whether there is a terminal to read from and to draw on.
pub fn is_terminal() -> bool {
    stdin().is_terminal() && stdout().is_terminal()
}

/// What the guest's terminal calls itself.
pub fn kind() -> String {
    env::var("TERM").unwrap_or_else(|_| "linux".to_owned())
}

/// The locale, which tells what characters the terminal shows.
pub fn locale() -> String {
    let variables = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter();
    let mut values = variables.filter_map(|name| env::var(name).ok());
    values.find(|value| !value.is_empty()).unwrap_or_default()
}

/// Rows and columns.
pub fn size() -> Result<(u16, u16)> {
    let size = tcgetwinsize(stdout()).context("read the terminal's size")?;
    Ok((size.ws_row, size.ws_col))
}

/// Gives the terminal back as it was when dropped, however the machine ended.
pub struct Restore {
    mode: Termios,
    flags: OFlags,
}

impl Restore {
    pub fn at_drop() -> Result<Self> {
        Ok(Self {
            mode: tcgetattr(stdin()).context("read the terminal's mode")?,
            flags: fcntl_getfl(stdin()).context("read the terminal's flags")?,
        })
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        // There is nobody to tell when the terminal is gone.
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.mode);
        let _ = fcntl_setfl(stdin(), self.flags);
    }
}
