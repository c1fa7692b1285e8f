//! The loop that owns the terminal. It sleeps until a message arrives.

use std::io::{self, BufWriter, IsTerminal, Stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Mutex, Once};
use std::time::Duration;
use std::{mem, panic, thread};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::ExecutableCommand as _;
use ratatui::crossterm::clipboard::CopyToClipboard;
use ratatui::crossterm::event::{
    self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent,
    MouseEventKind,
};
use ratatui::crossterm::style::Print;
use ratatui::crossterm::terminal::{self, EnterAlternateScreen};
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};

use super::app::{App, Effect, Exported, Message};
use super::draw::draw;
use super::keys::Key;
use super::mouse::Mouse;
use super::settings::Settings;
use crate::replay::Control;

/// What a terminal is taken for that does not know its size, as a serial console does not.
const SIZE_OF_A_SILENT_TERMINAL: Rect = Rect::new(0, 0, 80, 24);

/// Asks for presses of buttons and turns of the wheel, and for places beyond column 223. Movements are not asked
/// for: each would be a message.
const ASK_FOR_MOUSE: &str = "\u{1b}[?1000h\u{1b}[?1006h";
/// Takes that back.
const LEAVE_MOUSE: &str = "\u{1b}[?1006l\u{1b}[?1000l";

/// Whether a panic, of any thread, has given the terminal back: what is drawn later would stand in the shell.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// What the live view asks of whoever feeds it.
#[derive(Clone, Debug)]
pub enum Request {
    /// Something of a recording's player.
    Control(Control),
    /// Take pictures so far apart from now on.
    Interval(Duration),
    /// Write this to a file.
    Export(Box<Exported>),
    /// Begin a recording, or end it.
    Record,
}

/// An error that names the way out when standard output is not a terminal.
pub fn require_terminal() -> io::Result<()> {
    if io::stdout().is_terminal() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "the live view needs a terminal; use `verity-trace report` or `verity-trace export --once`",
    ))
}

/// Shows every snapshot, and passes on what is asked for, until a key or a message asks to end, or every sender
/// is gone. The terminal is as it was before when this returns, or panics, and a panic elsewhere ends it.
pub fn run(
    messages: &Receiver<Message>,
    settings: &Settings,
    mut ask: impl FnMut(Request),
) -> io::Result<()> {
    require_terminal()?;
    let mut screen = Screen::open(settings.mouse)?;
    let mut app = App::configured(settings);
    let area = screen.area();
    app.update(Message::Resize {
        columns: area.width,
        rows: area.height,
    });
    loop {
        if PANICKED.load(Ordering::Acquire) {
            return Err(io::Error::other("a part of the program panicked"));
        }
        screen.draw(&app)?;
        match wait(&mut app, messages) {
            Effect::Quit => return Ok(()),
            Effect::Suspend => {
                drop(screen);
                suspend()?;
                screen = Screen::open(settings.mouse)?;
            }
            Effect::Control(control) => ask(Request::Control(control)),
            Effect::Interval(interval) => ask(Request::Interval(interval)),
            Effect::Export => {
                if let Some(exported) = app.exported() {
                    ask(Request::Export(Box::new(exported)));
                }
            }
            Effect::Record => ask(Request::Record),
            Effect::Copy => {
                if let Some(copied) = app.copied() {
                    io::stdout().execute(CopyToClipboard::to_clipboard_from(copied.text))?;
                }
            }
            Effect::Redraw | Effect::None => {}
        }
    }
}

/// Stops this process as Ctrl-Z stops others, until the shell lets it go on. Probes count all the while.
fn suspend() -> io::Result<()> {
    let this = rustix::process::getpid();
    Ok(rustix::process::kill_process(
        this,
        rustix::process::Signal::TSTP,
    )?)
}

/// Starts the thread that turns what happens at the terminal into messages, until nobody listens
/// any more. When the terminal goes away it asks to stop.
pub fn forward_input(messages: Sender<Message>) {
    thread::spawn(move || {
        loop {
            let message = match event::read() {
                Ok(event) => message(&event),
                Err(_) => Some(Message::Stop),
            };
            let is_last = matches!(message, Some(Message::Stop));
            if message.is_some_and(|message| messages.send(message).is_err()) || is_last {
                return;
            }
        }
    });
}

/// Gets a drawing in one piece, where the standard output takes one KiB at a time.
type Backend = CrosstermBackend<BufWriter<Stdout>>;

/// Bytes of a drawing in which every cell of a large screen is new.
const DRAWING: usize = 1 << 16;

/// The terminal in raw mode on its alternate screen, given back when dropped, or before a panic is told.
struct Screen {
    /// Absent only while it is dropped.
    terminal: Option<Terminal<Backend>>,
}

impl Screen {
    fn area(&mut self) -> Rect {
        let terminal = self.terminal.as_mut();
        terminal.map_or(SIZE_OF_A_SILENT_TERMINAL, |it| it.get_frame().area())
    }

    fn draw(&mut self, app: &App) -> io::Result<()> {
        if let Some(terminal) = &mut self.terminal {
            terminal.draw(|frame| draw(app, frame))?;
        }
        Ok(())
    }

    fn open(asks_for_mouse: bool) -> io::Result<Self> {
        give_back_in_panics();
        let (columns, rows) = terminal::size()?;
        let viewport = if columns == 0 || rows == 0 {
            Viewport::Fixed(SIZE_OF_A_SILENT_TERMINAL)
        } else {
            Viewport::Fullscreen
        };
        let started = Self::start(viewport).and_then(|terminal| {
            if asks_for_mouse {
                io::stdout().execute(Print(ASK_FOR_MOUSE))?;
            }
            Ok(Self {
                terminal: Some(terminal),
            })
        });
        match started {
            Ok(screen) => Ok(screen),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// As `ratatui::try_init` does, without its hook, which gives the terminal back in every panic.
    fn start(viewport: Viewport) -> io::Result<Terminal<Backend>> {
        terminal::enable_raw_mode()?;
        io::stdout().execute(EnterAlternateScreen)?;
        let backend = CrosstermBackend::new(BufWriter::with_capacity(DRAWING, io::stdout()));
        Terminal::with_options(backend, TerminalOptions { viewport })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A second time would put the cursor back over the panic's message.
        if !PANICKED.load(Ordering::Acquire) {
            give_back();
        }
        let Some(mut terminal) = self.terminal.take() else {
            return;
        };
        if terminal.show_cursor().is_err() {
            // It is gone, and ratatui would say so there, which panics.
            mem::forget(terminal);
        }
    }
}

/// Has the terminal given back before a panic is told, and the loop told of it.
fn give_back_in_panics() {
    static ONCE: Once = Once::new();
    static GIVING_BACK: Mutex<()> = Mutex::new(());
    ONCE.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            // Threads that panic because another one did find the terminal given back, and do not do so again: that
            // would put the cursor over what the first one told.
            let giving_back = GIVING_BACK.lock();
            if !PANICKED.swap(true, Ordering::AcqRel) {
                give_back();
            }
            drop(giving_back);
            tell(panic);
        }));
    });
}

fn leave_mouse() {
    // Nothing can be done about a terminal that is gone.
    let _ = io::stdout().execute(Print(LEAVE_MOUSE));
}

fn give_back() {
    leave_mouse();
    // Nothing can be done about a terminal that is gone.
    let _ = ratatui::try_restore();
}

/// Takes in messages, all that are there at once, until there is something to do.
fn wait(app: &mut App, messages: &Receiver<Message>) -> Effect {
    loop {
        let Ok(first) = messages.recv() else {
            return Effect::Quit;
        };
        let mut redraw = false;
        for message in std::iter::once(first).chain(messages.try_iter()) {
            match app.update(message) {
                Effect::Redraw => redraw = true,
                Effect::None => {}
                effect => return effect,
            }
        }
        if redraw {
            return Effect::Redraw;
        }
    }
}

fn message(event: &Event) -> Option<Message> {
    match event {
        Event::Key(pressed) => key(pressed).map(Message::Key),
        &Event::Mouse(used) => mouse(used).map(Message::Mouse),
        &Event::Resize(columns, rows) => Some(Message::Resize { columns, rows }),
        _ => None,
    }
}

fn mouse(used: MouseEvent) -> Option<Mouse> {
    let (column, row) = (used.column, used.row);
    match used.kind {
        MouseEventKind::Down(MouseButton::Left) => Some(Mouse::Click { column, row }),
        MouseEventKind::ScrollUp => Some(Mouse::Up),
        MouseEventKind::ScrollDown => Some(Mouse::Down),
        _ => None,
    }
}

fn key(pressed: &KeyEvent) -> Option<Key> {
    if pressed.kind == KeyEventKind::Release {
        return None;
    }
    match pressed.code {
        KeyCode::Char(character) if pressed.modifiers.contains(KeyModifiers::CONTROL) => {
            Some(Key::Ctrl(character))
        }
        KeyCode::Char(character) => Some(Key::Char(character)),
        KeyCode::Left => Some(Key::Left),
        KeyCode::Right => Some(Key::Right),
        KeyCode::Up => Some(Key::Up),
        KeyCode::Down => Some(Key::Down),
        KeyCode::PageUp => Some(Key::PageUp),
        KeyCode::PageDown => Some(Key::PageDown),
        KeyCode::Home => Some(Key::Home),
        KeyCode::End => Some(Key::End),
        KeyCode::Esc => Some(Key::Esc),
        KeyCode::Backspace => Some(Key::Backspace),
        KeyCode::Enter => Some(Key::Enter),
        KeyCode::Tab => Some(Key::Tab),
        KeyCode::BackTab => Some(Key::BackTab),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::{Glyphs, Styles, Theme};
    use std::sync::mpsc;

    #[test]
    fn terminal_events_become_the_keys_of_the_table() {
        let cases = [
            (KeyCode::Char('q'), KeyModifiers::NONE, Key::Char('q')),
            (KeyCode::Char('G'), KeyModifiers::SHIFT, Key::Char('G')),
            (KeyCode::Char('c'), KeyModifiers::CONTROL, Key::Ctrl('c')),
            (KeyCode::PageDown, KeyModifiers::NONE, Key::PageDown),
            (KeyCode::Esc, KeyModifiers::NONE, Key::Esc),
        ];
        for (code, modifiers, expected) in cases {
            assert_eq!(key(&KeyEvent::new(code, modifiers)), Some(expected));
        }
        let release = KeyEvent::new_with_kind(
            KeyCode::Char('q'),
            KeyModifiers::NONE,
            KeyEventKind::Release,
        );
        assert_eq!(key(&release), None);
    }

    #[test]
    fn the_mouse_clicks_and_scrolls() {
        let used = |kind| MouseEvent {
            kind,
            column: 300,
            row: 2,
            modifiers: KeyModifiers::NONE,
        };
        let click = Mouse::Click {
            column: 300,
            row: 2,
        };
        let cases = [
            (MouseEventKind::Down(MouseButton::Left), Some(click)),
            (MouseEventKind::ScrollUp, Some(Mouse::Up)),
            (MouseEventKind::ScrollDown, Some(Mouse::Down)),
            (MouseEventKind::Down(MouseButton::Right), None),
            (MouseEventKind::Moved, None),
        ];
        for (kind, expected) in cases {
            assert_eq!(mouse(used(kind)), expected);
        }
    }

    #[test]
    fn waiting_ends_when_nobody_can_send_any_more() {
        let (sender, messages) = mpsc::channel();
        drop(sender);
        let mut app = App::new(Styles::new(Theme::Plain, Glyphs::BLOCKS));
        assert_eq!(wait(&mut app, &messages), Effect::Quit);
    }

    #[test]
    fn a_batch_of_messages_is_drawn_once() {
        let (sender, messages) = mpsc::channel();
        for message in [
            Message::Key(Key::Char('x')),
            Message::Key(Key::Char('?')),
            Message::Resize {
                columns: 80,
                rows: 24,
            },
        ] {
            sender.send(message).expect("a receiver");
        }
        let mut app = App::new(Styles::new(Theme::Plain, Glyphs::BLOCKS));
        assert_eq!(wait(&mut app, &messages), Effect::Redraw);
        assert!(messages.try_recv().is_err());
    }
}
