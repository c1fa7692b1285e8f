//! A program on a terminal of its own, and what stands on it.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// How long a program may take for anything: a virtual machine boots meanwhile.
const PATIENCE: Duration = Duration::from_mins(5);

/// A drawing has ended when nothing more comes for so long.
const QUIET: Duration = Duration::from_millis(200);

/// What is to be started.
pub struct Program(CommandBuilder);

impl Program {
    pub fn new(path: &Path) -> Self {
        let mut command = CommandBuilder::new(path);
        command.env("TERM", "xterm-256color");
        command.env("LANG", "C.UTF-8");
        command.env_remove("NO_COLOR");
        Self(command)
    }

    pub fn args(&mut self, args: impl IntoIterator<Item = String>) {
        self.0.args(args);
    }
}

pub struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    output: Receiver<Vec<u8>>,
    input: Box<dyn Write + Send>,
    parser: vt100::Parser,
    _pty: Box<dyn MasterPty + Send>,
}

impl Terminal {
    /// Starts a program on one of so many columns and rows.
    pub fn start(program: &Program, (columns, rows): (u16, u16)) -> Result<Self> {
        let size = PtySize {
            rows,
            cols: columns,
            ..PtySize::default()
        };
        let pty = native_pty_system().openpty(size);
        let pty = pty.context("open a pseudo-terminal")?;
        let child = pty.slave.spawn_command(program.0.clone())?;
        // So that reading ends when the program does.
        drop(pty.slave);
        let mut reader = pty.master.try_clone_reader()?;
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            output,
            input: pty.master.take_writer()?,
            parser: vt100::Parser::new(rows, columns, 0),
            _pty: pty.master,
        })
    }

    /// Returns once the screen is as asked, and whole.
    pub fn wait_for(&mut self, what: &str, is_there: impl Fn(&str) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_there(&self.text()) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.parser.process(&bytes),
                Err(error) => bail!("{what} never came ({error}):\n{}", self.text()),
            }
        }
        self.settle()
    }

    /// Takes in what comes until a drawing has ended.
    pub fn settle(&mut self) -> Result<()> {
        loop {
            match self.output.recv_timeout(QUIET) {
                Ok(bytes) => self.parser.process(&bytes),
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => bail!("the program has ended"),
            }
        }
    }

    pub fn press(&mut self, keys: &str) -> Result<()> {
        let pressed = self.input.write_all(keys.as_bytes());
        pressed.with_context(|| format!("press {keys:?}"))
    }

    pub fn screen(&self) -> &vt100::Screen {
        self.parser.screen()
    }

    /// What stands on it, blanks at the ends of lines left out.
    pub fn text(&self) -> String {
        let (_, columns) = self.screen().size();
        let mut text = String::new();
        for row in self.screen().rows(0, columns) {
            // A string takes what it is given.
            let _ = writeln!(text, "{}", row.trim_end());
        }
        text.trim_end().to_owned()
    }

    /// Ends the program with a key, and waits until it has.
    pub fn end(mut self, key: &str) -> Result<()> {
        self.press(key)?;
        while self.output.recv_timeout(PATIENCE).is_ok() {}
        let status = self.child.wait().context("wait for the program")?;
        if !status.success() {
            bail!("it ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended cannot be killed, which is no error.
        let _ = self.child.kill();
    }
}
