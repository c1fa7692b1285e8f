//! A replay in a terminal, key by key, as one who has neither root nor a verity device sees it.

#[path = "kernel/screen.rs"]
#[expect(dead_code, reason = "the kernel suite asks for more")]
mod screen;
#[path = "kernel/shell.rs"]
#[expect(dead_code, reason = "the kernel suite asks for more")]
mod shell;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use screen::Screen;
use shell::run;

const PROGRAM: &str = env!("CARGO_BIN_EXE_verity-trace");

#[test]
fn it_plays_pauses_jumps_and_ends() {
    let mut screen = Screen::of(PROGRAM, &["replay", "--demo=7.3"]);
    screen.wait_for("replay playing");
    screen.wait_for("root");
    screen.press(" ");
    screen.wait_for("replay paused");
    screen.press("}");
    screen.wait_for("13.4 s of 13.4 s");
    screen.wait_for("watched 13.");
    screen.press(",");
    screen.wait_for("window 1 s");
    screen.press("]");
    screen.wait_for("last 10.");
    screen.press("]]]]]]");
    screen.wait_for("window all (13.");
    screen.press("[[[[");
    screen.wait_for("window 1 s");
    screen.press("\t\t\t\t");
    screen.wait_for("[I/Os]");
    screen.wait_for("every I/O is looked at");
    screen.wait_for("ddd");
    screen.press("\x1b");
    screen.wait_for("[devices]");
    screen.press("{");
    screen.wait_for("0 s of 13.4 s");
    screen.press("+++++");
    screen.wait_for("speed 32");
    screen.press(" ");
    screen.wait_for("13.4 s of 13.4 s");
    screen.wait_for("replay paused");
    screen.press("q");
    assert_eq!(screen.exit_code(), 0);
    assert!(!screen.is_alternate());
}

#[test]
fn a_jump_shows_what_was_before_the_new_place() {
    let mut screen = Screen::of(PROGRAM, &["replay", "--demo=7.3"]);
    screen.wait_for("replay playing");
    screen.press(" }");
    screen.wait_for("13.4 s of 13.4 s");
    screen.press("\r");
    screen.wait_for("[device]");
    screen.wait_for("a column for each interval");
    // From the end to the start there is nothing before, and back there all of it again.
    screen.press("{");
    screen.wait_for("0 s of 13.4 s");
    screen.wait_for("there is no snapshot before this one");
    screen.press("}");
    screen.wait_for("a column for each interval");
    screen.press("q");
    assert_eq!(screen.exit_code(), 0);
}

#[test]
fn the_mouse_is_asked_for_and_let_go() {
    for (arguments, asks) in [
        (&["replay", "--demo"][..], true),
        (&["replay", "--demo", "--no-mouse"], false),
    ] {
        let mut screen = Screen::of(PROGRAM, arguments);
        screen.wait_for("replay playing");
        assert_eq!(screen.asks_for_mouse(), asks);
        if asks {
            screen.click("CPUs");
            screen.wait_for("[CPUs]");
        }
        run("kill", &["-TERM", &screen.pid()]);
        assert_eq!(screen.exit_code(), 128 + 15);
        assert!(!screen.asks_for_mouse());
    }
}

#[test]
fn a_snapshot_is_exported_into_a_file_of_its_own_and_never_over_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut screen = Screen::of_in(PROGRAM, &["replay", "--demo"], folder.path());
    screen.wait_for("replay playing");
    screen.press(" }");
    screen.wait_for("13.4 s of 13.4 s");
    screen.press("e");
    screen.wait_for("wrote verity-trace-");
    let files: Vec<_> = fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| entry.expect("a file").path())
        .collect();
    let [file] = &files[..] else {
        panic!("{files:?}");
    };
    assert_eq!(fs::metadata(file).expect("a file").mode() & 0o777, 0o600);
    let exported = fs::read_to_string(file).expect("a document");
    let printed = run(PROGRAM, &["export", "--once", "--demo"]);
    assert!(exported == printed && exported.contains("use_bh_bytes"));
    screen.press("]");
    screen.wait_for("window 10 s");
    screen.press("e");
    screen.wait_for("is there already");
    // Which takes away what was said.
    screen.press("[");
    screen.wait_for("window 1 s");
    // Nothing is written through a link either.
    fs::remove_file(file).expect("a file");
    let elsewhere = folder.path().join("elsewhere");
    symlink(&elsewhere, file).expect("a link");
    screen.press("e");
    screen.wait_for("is there already");
    assert!(!elsewhere.exists());
    fs::remove_file(file).expect("a link");
    screen.press("e");
    screen.wait_for("wrote verity-trace-");
    assert!(fs::read_to_string(file).expect("a document") == exported);
    screen.press("q");
    assert_eq!(screen.exit_code(), 0);
}
