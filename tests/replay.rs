//! A replay in a terminal, key by key, as one who has neither root nor a verity device sees it.

#[path = "kernel/screen.rs"]
#[expect(dead_code, reason = "the kernel suite asks for more")]
mod screen;
#[path = "kernel/shell.rs"]
#[expect(dead_code, reason = "the kernel suite asks for more")]
mod shell;

use screen::Screen;

#[test]
fn it_plays_pauses_jumps_and_ends() {
    let mut screen = Screen::of(
        env!("CARGO_BIN_EXE_verity-trace"),
        &["replay", "--demo=7.3"],
    );
    screen.wait_for("replay playing");
    screen.wait_for("root");
    screen.press(" ");
    screen.wait_for("replay paused");
    screen.press("}");
    screen.wait_for("13.6 s of 13.6 s");
    screen.wait_for("watched 13.");
    screen.press(",");
    screen.wait_for("window 1 s");
    screen.press("]");
    screen.wait_for("in the last 10.0 s");
    screen.press("]]]]]]");
    screen.wait_for("window all (12.");
    screen.press("[[[[");
    screen.wait_for("window 1 s");
    screen.press("\t\t\t");
    screen.wait_for("[I/Os]");
    screen.wait_for("every I/O is looked at");
    screen.wait_for("ddd");
    screen.press("\x1b");
    screen.wait_for("[devices]");
    screen.press("{");
    screen.wait_for("0 s of 13.6 s");
    screen.press("+++++");
    screen.wait_for("speed 32");
    screen.press(" ");
    screen.wait_for("13.6 s of 13.6 s");
    screen.wait_for("replay paused");
    screen.press("q");
    assert_eq!(screen.exit_code(), 0);
    assert!(!screen.is_alternate());
}
