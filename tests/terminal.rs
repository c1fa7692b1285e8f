//! However the live view ends, the terminal is as it was before.

#[expect(dead_code, reason = "other suites need more of it")]
mod common;
#[path = "kernel/screen.rs"]
#[expect(dead_code, reason = "other suites ask for more")]
mod screen;
#[path = "kernel/shell.rs"]
#[expect(dead_code, reason = "other suites ask for more")]
mod shell;

use std::env;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;

use verity_trace::tui::{Glyphs, Message, Request, Settings, Theme, forward_input, run};

use screen::Screen;

const PROGRAM: &str = env!("CARGO_BIN_EXE_verity-trace");

/// Says who is to panic in a program that [`a_view_in_which_somebody_panics`] is.
const WHO: &str = "VERITY_TRACE_WHO_PANICS";

/// Whether a live view has the terminal.
fn is_taken(screen: &Screen) -> bool {
    let facts = [
        screen.is_alternate(),
        screen.is_raw(),
        screen.asks_for_mouse(),
        screen.hides_cursor(),
    ];
    let first = facts[0];
    assert!(facts.iter().all(|&fact| fact == first), "{facts:?}");
    first
}

/// What ends a live view.
type End = Box<dyn Fn(&mut Screen)>;

#[test]
fn keys_and_signals_end_it() {
    let kill = |signal: &'static str| {
        move |screen: &mut Screen| drop(shell::run("kill", &[signal, &screen.pid()]))
    };
    let press = |key: &'static str| move |screen: &mut Screen| screen.press(key);
    let ends: [(End, u32); 5] = [
        (Box::new(press("q")), 0),
        (Box::new(press("\u{3}")), 0),
        (Box::new(kill("-TERM")), 128 + 15),
        (Box::new(kill("-HUP")), 128 + 1),
        (Box::new(kill("-INT")), 128 + 2),
    ];
    for (end, code) in ends {
        let mut screen = Screen::of(PROGRAM, &["replay", "--demo"]);
        screen.wait_for("replay playing");
        screen.wait_for_no_cursor();
        assert!(is_taken(&screen));
        end(&mut screen);
        assert_eq!(screen.exit_code(), code);
        assert!(!is_taken(&screen));
    }
}

#[test]
fn it_ends_with_its_terminal() {
    let mut screen = Screen::of(PROGRAM, &["replay", "--demo"]);
    screen.wait_for("replay playing");
    // The hang-up may come after the end of what can be read.
    let code = screen.lose();
    assert!([0, 1, 128 + 1].contains(&code), "{code}");
}

/// The shell takes the terminal while it is stopped.
#[test]
fn it_is_stopped_and_goes_on() {
    let script = "\"$0\" replay --demo; echo stopped; read line; fg; echo \"ended with $?\"";
    let mut screen = Screen::of("bash", &["-mc", script, PROGRAM]);
    screen.wait_for("replay playing");
    screen.wait_for_no_cursor();
    assert!(is_taken(&screen));
    screen.press("\u{1a}");
    screen.wait_for("stopped");
    assert!(!is_taken(&screen));
    screen.press("\n");
    screen.wait_for("[devices]");
    screen.wait_for_no_cursor();
    assert!(is_taken(&screen));
    screen.press("q");
    assert_eq!(screen.exit_code(), 0);
    assert!(!is_taken(&screen));
    assert!(screen.shows("ended with 0"));
}

#[test]
fn a_panic_is_told_on_the_screen_that_was_there_before() {
    let this = env::current_exe().expect("this program");
    let this = this.to_str().expect("a name");
    for (who, code) in [("view", 101), ("collector", 0)] {
        let who = format!("{WHO}={who}");
        let name = "a_view_in_which_somebody_panics";
        // A long trace would move what is told out of sight.
        let variables = [&*who, "RUST_BACKTRACE=0"];
        let program = [this, name, "--exact", "--nocapture"];
        let mut screen = Screen::of("env", &[&variables[..], &program[..]].concat());
        screen.wait_for("[devices]");
        screen.wait_for_no_cursor();
        assert!(is_taken(&screen));
        screen.press("e");
        assert_eq!(screen.exit_code(), code, "{who}");
        assert!(!is_taken(&screen), "{who}");
        assert!(screen.shows("on purpose"), "{who}");
    }
}

/// What the test above starts on a terminal; by itself it does nothing.
#[test]
fn a_view_in_which_somebody_panics() {
    let Ok(who) = env::var(WHO) else {
        return;
    };
    let (messages, received) = mpsc::channel();
    let (asked, wishes) = mpsc::channel::<Request>();
    forward_input(messages.clone());
    let collecting = thread::spawn(move || {
        let _end = StopWhenDropped(messages.clone());
        let snapshot = common::scenario("bh_always_with_fallbacks").snapshot();
        messages
            .send(Message::Snapshot(Arc::new(snapshot)))
            .expect("a view");
        wishes.recv().expect("a wish");
        panic!("on purpose, by the collector");
    });
    let settings = Settings::new(Theme::Plain, Glyphs::BLOCKS);
    let shown = run(&received, &settings, |request| {
        assert!(who != "view", "on purpose, by the view");
        asked.send(request).expect("a collector");
    });
    // It may have been asked to stop before it saw why.
    if let Err(error) = shown {
        assert_eq!(error.to_string(), "a part of the program panicked");
    }
    collecting.join().expect_err("it panicked");
}

/// As the program has it.
struct StopWhenDropped(Sender<Message>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        // A view that is gone has ended already.
        let _ = self.0.send(Message::Stop);
    }
}
