//! The settings of the live view: what the terminal is, then the configuration, then the command line.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use verity_trace::cli::Look;
use verity_trace::error::{Error, Result};
use verity_trace::person::Person;
use verity_trace::tui::{Glyphs, Settings, Theme};

/// Bytes of a configuration that are read; one that is longer is none.
const MOST: u64 = 1 << 20;

/// What is configured for a live view.
pub fn settings(look: &Look, interval: Option<Duration>) -> Result<Settings> {
    let mut settings = of_terminal();
    match (&look.config, usual_place()) {
        (Some(path), _) => take(
            &mut settings,
            path,
            &read(path).map_err(|error| unread(path, &error))?,
        )?,
        (None, Some(path)) => match read(&path) {
            Ok(text) => take(&mut settings, &path, &text)?,
            // Nobody has to have one.
            Err(error)
                if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {}
            Err(error) => return Err(unread(&path, &error)),
        },
        (None, None) => {}
    }
    settings.interval = interval.unwrap_or(settings.interval);
    settings.mouse &= !look.no_mouse;
    Ok(settings)
}

fn take(settings: &mut Settings, path: &Path, text: &str) -> Result<()> {
    let read = settings.read(text);
    read.map_err(|wrong| Error::Input(format!("{}:{wrong}", path.display())))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MOST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "more than 1 MiB"));
    }
    Ok(text)
}

fn unread(path: &Path, error: &io::Error) -> Error {
    Error::Input(format!(
        "read the configuration {}: {error}",
        path.display()
    ))
}

/// Root's under sudo, also where the environment is still that of who called it: what they can write, root does
/// not read.
fn usual_place() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let folder = if Person::behind_sudo().is_some() {
        PathBuf::from(Person::home_of_root()?).join(".config")
    } else {
        let named = variable("XDG_CONFIG_HOME").filter(|it| it.is_absolute());
        named.or_else(|| Some(variable("HOME")?.join(".config")))?
    };
    Some(folder.join("verity-trace/config.toml"))
}

/// What fits the terminal.
fn of_terminal() -> Settings {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .map(variable)
        .find(|value| !value.is_empty())
        .unwrap_or_default()
        .to_ascii_lowercase();
    // The kernel's console has one font of 256 characters, and a serial one may have less.
    let has_blocks = variable("TERM") != "linux" && locale.replace('-', "").contains("utf8");
    let glyphs = if has_blocks {
        Glyphs::BLOCKS
    } else {
        Glyphs::ASCII
    };
    let theme = if variable("NO_COLOR").is_empty() {
        Theme::Dark
    } else {
        Theme::Plain
    };
    Settings::new(theme, glyphs)
}
