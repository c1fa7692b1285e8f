//! The live view on a terminal of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Instant;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::termios::{LocalModes, tcgetattr};
use vt100::MouseProtocolMode;

use crate::shell::PATIENCE;

const ROWS: u16 = 30;
const COLUMNS: u16 = 120;

/// verity-trace on a pseudo-terminal, and what stands on it.
pub struct Screen {
    child: Box<dyn Child + Send + Sync>,
    output: Receiver<Vec<u8>>,
    input: Box<dyn Write + Send>,
    terminal: vt100::Parser,
    pty: Box<dyn MasterPty + Send>,
}

impl Screen {
    pub fn start(arguments: &[&str]) -> Self {
        Self::of("verity-trace", arguments)
    }

    /// The same of a program that is elsewhere.
    pub fn of(program: &str, arguments: &[&str]) -> Self {
        Self::of_in(program, arguments, Path::new("."))
    }

    /// The same in another folder.
    pub fn of_in(program: &str, arguments: &[&str], folder: &Path) -> Self {
        let size = PtySize {
            rows: ROWS,
            cols: COLUMNS,
            ..PtySize::default()
        };
        let pty = native_pty_system()
            .openpty(size)
            .expect("a pseudo-terminal");
        let mut command = CommandBuilder::new(program);
        command.args(arguments);
        command.env("TERM", "xterm-256color");
        command.cwd(folder);
        let child = pty.slave.spawn_command(command).expect("verity-trace");
        drop(pty.slave);
        let mut reader = pty.master.try_clone_reader().expect("its output");
        let (sender, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            output,
            input: pty.master.take_writer().expect("its input"),
            terminal: vt100::Parser::new(ROWS, COLUMNS, 0),
            pty: pty.master,
        }
    }

    /// Returns once this text stands on the screen.
    pub fn wait_for(&mut self, text: &str) {
        self.wait_until(text, |screen| screen.shows(text));
    }

    /// Returns once the cursor is gone: it goes with the end of the first drawing.
    pub fn wait_for_no_cursor(&mut self) {
        self.wait_until("the end of a drawing", Self::hides_cursor);
    }

    fn wait_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.terminal.process(&bytes),
                Err(error) => panic!(
                    "{what:?} never came ({error}); on the screen:\n{}",
                    self.terminal.screen().contents()
                ),
            }
        }
    }

    /// Whether this text stands on the screen.
    pub fn shows(&self, text: &str) -> bool {
        self.terminal.screen().contents().contains(text)
    }

    pub fn press(&mut self, keys: &str) {
        self.input.write_all(keys.as_bytes()).expect("a terminal");
    }

    pub fn pid(&self) -> String {
        self.child.process_id().expect("a process").to_string()
    }

    /// The bytes that stand for a click on this text.
    pub fn click(&mut self, text: &str) {
        let contents = self.terminal.screen().contents();
        let mut lines = contents.lines().enumerate();
        let found = lines.find_map(|(row, line)| Some((row, line.find(text)?)));
        let (row, column) = found.expect(text);
        self.press(&format!("\u{1b}[<0;{};{}M", column + 1, row + 1));
    }

    /// Whether the terminal tells of clicks.
    pub fn asks_for_mouse(&self) -> bool {
        self.terminal.screen().mouse_protocol_mode() != MouseProtocolMode::None
    }

    /// Whether what is typed goes to the program as it is, and is not shown.
    pub fn is_raw(&self) -> bool {
        let name = self.pty.tty_name().expect("a terminal with a name");
        let terminal = File::open(name).expect("the terminal");
        let modes = tcgetattr(&terminal).expect("its modes").local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Whether there is no cursor.
    pub fn hides_cursor(&self) -> bool {
        self.terminal.screen().hide_cursor()
    }

    /// Takes the terminal away, and returns the exit code.
    pub fn lose(self) -> u32 {
        let Self {
            mut child,
            output,
            input,
            pty,
            ..
        } = self;
        // The thread that reads gives its part back with the next output that nobody takes.
        drop((output, input, pty));
        child.wait().expect("its exit").exit_code()
    }

    /// Reads to the end and returns the exit code.
    pub fn exit_code(&mut self) -> u32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.terminal.process(&bytes),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it did not end"),
            }
        }
        self.child.wait().expect("its exit").exit_code()
    }

    /// Whether the terminal still shows the alternate screen.
    pub fn is_alternate(&self) -> bool {
        self.terminal.screen().alternate_screen()
    }
}
