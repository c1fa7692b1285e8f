//! `cargo xtask screens`: what the live view shows, as text and as pictures, from the recordings that travel
//! with the program, or from real devices under load in the lab.

mod font;
mod picture;
mod terminal;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::setup::Kernel;
use crate::{build, workspace};
use font::Font;
use picture::Colours;
use terminal::{Program, Terminal};

/// Bytes of a picture at most.
const MAX_BYTES: u64 = 150 << 10;

/// The second of a recording that is shown: all of its load runs.
const SECOND: usize = 10;

/// For how many seconds real devices are watched before something is shown.
const WATCHED: u64 = 40;

/// More views than there are.
const MANY: usize = 20;

/// What keeps two real devices busy, and shows them.
const LOAD: &str = "screens/load.sh";

#[derive(clap::Args)]
pub struct Args {
    /// Show real devices under load, on a lab kernel of each era
    #[arg(long)]
    live: bool,
    /// Show what there is on this kernel alone
    #[arg(long, value_enum)]
    kernel: Option<Kernel>,
    /// On a terminal of so many columns and rows
    #[arg(long, value_name = "COLUMNSxROWS", default_value = "120x40", value_parser = size)]
    size: (u16, u16),
}

/// Writes every view of every kernel to docs/screens.
pub fn main(args: &Args) -> Result<()> {
    let binary = build::binary()?;
    let font = Font::load()?;
    let kernels = args
        .kernel
        .as_ref()
        .map_or(Kernel::ERAS, std::slice::from_ref);
    for &kernel in kernels {
        let context = || format!("show kernel {kernel}");
        let kind = if args.live { "live" } else { "replay" };
        let shots = Shots {
            font: &font,
            folder: workspace::root().join("docs/screens").join(kind),
            kernel,
        };
        let mut terminal = if args.live {
            live(kernel, args.size).with_context(context)?
        } else {
            replay(&binary, kernel, args.size).with_context(context)?
        };
        shots.all(&mut terminal).with_context(context)?;
        terminal.end("q").with_context(context)?;
    }
    Ok(())
}

/// A recording that has gone on for some seconds, each of them seen.
fn replay(binary: &Path, kernel: Kernel, size: (u16, u16)) -> Result<Terminal> {
    let mut program = Program::new(binary);
    program.args(["replay".to_owned(), format!("--demo={kernel}")]);
    let mut terminal = Terminal::start(&program, size)?;
    terminal.wait_for("the recording", |text| text.contains("replay playing"))?;
    // From its start on, whatever has been played meanwhile.
    terminal.press("{")?;
    terminal.press(&".".repeat(SECOND))?;
    let at = format!("{SECOND}.");
    terminal.wait_for("its tenth second", |text| {
        let line = text.lines().find(|line| line.contains("replay paused"));
        line.is_some_and(|line| line.split_whitespace().any(|word| word.starts_with(&at)))
    })?;
    Ok(terminal)
}

/// Real devices in a virtual machine, by this program's own command.
fn live(kernel: Kernel, size: (u16, u16)) -> Result<Terminal> {
    let this = env::current_exe().context("find this program")?;
    let mut program = Program::new(&this);
    let load = workspace::root().join("xtask/src").join(LOAD);
    program.args(["lab", "--tty", "--kernel", kernel.name(), "--in"].map(str::to_owned));
    program.args([format!("{}:load.sh", load.display())]);
    program.args(["--", "sh", "/lab/in/load.sh"].map(str::to_owned));
    let mut terminal = Terminal::start(&program, size)?;
    terminal.wait_for("40 s of what real devices do", |text| {
        watched(text).is_some_and(|seconds| seconds >= WATCHED)
    })?;
    Ok(terminal)
}

/// As `120x40`.
fn size(text: &str) -> Result<(u16, u16), String> {
    let parts = text.split_once('x');
    let parts = parts.and_then(|(columns, rows)| Some((columns.parse().ok()?, rows.parse().ok()?)));
    let size = parts.filter(|&(columns, rows)| columns >= 20 && rows >= 5);
    size.ok_or_else(|| "not of the form 120x40, from 20x5 on".to_owned())
}

/// For how many seconds the devices on a screen have been watched.
fn watched(text: &str) -> Option<u64> {
    let (_, time) = text.split_once("watched ")?;
    let (number, rest) = time.split_once(' ')?;
    let number: f64 = number.parse().ok()?;
    let unit = match rest.split_whitespace().next()? {
        "min" => 60.0,
        "s" => 1.0,
        "ms" => 0.001,
        _ => return None,
    };
    Some(whole(number * unit))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of a run"
)]
fn whole(seconds: f64) -> u64 {
    seconds as u64
}

/// Where pictures of a kernel go.
struct Shots<'a> {
    font: &'a Font,
    folder: PathBuf,
    kernel: Kernel,
}

impl Shots<'_> {
    /// Goes through the views, until it comes back to the first one.
    fn all(&self, terminal: &mut Terminal) -> Result<()> {
        fs::create_dir_all(&self.folder)?;
        let first = view(terminal)?;
        let mut shown = first.clone();
        for _ in 0..MANY {
            self.one(terminal, &shown, Colours::Dark)?;
            terminal.press("\t")?;
            let before = shown;
            terminal.wait_for("the next view", |text| {
                view_of(text).is_some_and(|view| view != before)
            })?;
            shown = view(terminal)?;
            if shown == first {
                // The theme for a light background.
                terminal.press("t")?;
                terminal.settle()?;
                return self.one(terminal, &format!("{first}-light"), Colours::Light);
            }
        }
        bail!("the views have no end")
    }

    fn one(&self, terminal: &Terminal, name: &str, colours: Colours) -> Result<()> {
        let path = |ending: &str| {
            let name = name.to_lowercase().replace('/', "");
            self.folder.join(format!("{}-{name}.{ending}", self.kernel))
        };
        fs::write(path("txt"), terminal.text() + "\n")?;
        let png = path("png");
        fs::write(&png, picture::png(terminal.screen(), self.font, colours)?)?;
        let bytes = fs::metadata(&png)?.len();
        ensure!(
            bytes <= MAX_BYTES,
            "{} has {bytes} bytes, more than {MAX_BYTES}",
            png.display()
        );
        println!("{}", png.display());
        Ok(())
    }
}

/// The view that a terminal shows.
fn view(terminal: &Terminal) -> Result<String> {
    view_of(&terminal.text()).with_context(|| format!("no view is shown:\n{}", terminal.text()))
}

/// The one in brackets.
fn view_of(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_says_for_how_long_and_what_it_shows() {
        let screen = |watched: &str| format!("verity-trace\nwatched {watched}   interval 1 s");
        assert_eq!(watched(&screen("40.2 s")), Some(40));
        assert_eq!(watched(&screen("3 min 20 s")), Some(180));
        assert_eq!(watched(&screen("900 ms")), Some(0));
        assert_eq!(watched("nothing yet"), None);
        assert_eq!(view_of(" devices [CPUs] events").as_deref(), Some("CPUs"));
        assert_eq!(view_of("verity-trace"), None);
        assert_eq!(size("200x60"), Ok((200, 60)));
        size("200").expect_err("one number");
        size("1x1").expect_err("no room for a view");
    }
}
