//! The built program: what it refuses, and the texts that it prints.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Command lines that are wrong, as a shell takes them, and what the message has to contain.
const WRONG: [(&str, &str); 70] = [
    ("nonsense", "unrecognized subcommand 'nonsense'"),
    ("--nonsense", "unexpected argument '--nonsense'"),
    ("--interval 0", "not between 100ms and 1h"),
    ("--interval 0s", "not between 100ms and 1h"),
    ("--interval abc", "not a duration such as"),
    ("--interval 10", "not a duration such as"),
    ("--interval -1s", "unexpected argument '-1'"),
    ("report --duration 3d", "not between 10ms and 1day"),
    ("--max-devices 0", "0 is not in 1..=1024"),
    ("--max-devices 1025", "1025 is not in 1..=1024"),
    ("export --once --interval 1s", "cannot be used with"),
    ("export --once --count 1", "cannot be used with"),
    ("export --count 0", "0 is not in 1.."),
    ("export --interval 10ms", "not between 100ms and 1h"),
    ("export --mode 0644", "--output <FILE>"),
    ("export -o x --mode 0999", "not permissions in octal"),
    ("export -o x --mode 1777", "not permissions in octal"),
    ("export --format xml", "[possible values: "),
    ("export --format openmetrics", "metrics are one document"),
    (
        "export --once --format prometheus --records 1",
        "for the formats json and ndjson",
    ),
    ("export --format ndjson -o x", "redirect standard output"),
    ("export --demo -o x", "add --once"),
    ("export --demo --interval 1s", "a recording is not watched"),
    ("devices ''", "neither a name"),
    ("report a/b", "neither a name"),
    ("top ./usr", "neither a name"),
    ("devices --duration 1s", "'--duration'"),
    ("record", "--output <FILE>"),
    ("record -o x --sample 10", "not of the form 1/N"),
    ("record -o x --sample 1/0", "not of the form 1/N"),
    ("record -o x --ring 1", "not a size from 1M"),
    ("record -o x --ring 99999999999999G", "not a size from 1M"),
    ("record -o x --slower-than 5", "--slower-than"),
    ("record -o x --as-root", "-- <COMMAND>"),
    ("record -o x a/b", "neither a name"),
    ("report no/such/file", "no such file"),
    ("report --format docx", "[possible values: "),
    ("report --salvage", "for a recording"),
    ("report --format csv", "is of a recording"),
    ("report --format perfetto", "is of a recording"),
    ("report --force", "--output <FILE>"),
    ("replay", "name a file, or try --demo"),
    ("report --demo=5.4", "there are 6.1, 6.12, 7.3"),
    ("report --demo --duration 1s", "a recording is not watched"),
    (
        "report --duration 1s Cargo.toml",
        "a recording is not watched",
    ),
    (
        "export --once --demo --records 1",
        "a recording is not watched",
    ),
    ("compare demo:6.1", "<B>"),
    ("compare demo:6.1 demo:5.4", "there are 6.1, 6.12"),
    (
        "compare demo:6.1 demo:7.3 --device =x",
        "neither a name nor of the form A=B",
    ),
    (
        "compare demo:6.1 demo:7.3 --format csv",
        "[possible values: text, json]",
    ),
    ("compare demo:6.1 demo:7.3 --force", "--output <FILE>"),
    (
        "recommend --demo --duration 1s",
        "a recording is not watched",
    ),
    ("recommend a/b", "neither a name"),
    ("serve --listen 9466", "neither ADDRESS:PORT"),
    ("serve --listen [::]:9466", "others reach [::]:9466"),
    ("serve --repeat", "is for a recording"),
    ("serve --tls-key x", "--tls-certificate <FILE>"),
    ("tune", "<DEVICE>"),
    ("tune a/b", "neither a name"),
    ("tune x y", "unexpected argument 'y'"),
    ("tune x --duration 1s", "not between 5s and 1day"),
    ("tune x --precision 0", "not between 0.001 and 100"),
    ("tune x --all-devices", "--limits <BYTES>"),
    ("tune x --limits 4294967296", "'--limits <BYTES>'"),
    ("tune x --undo --apply", "cannot be used with"),
    ("tune x --dry-run --json", "cannot be used with"),
    ("doctor root", "unexpected argument 'root'"),
    ("doctor --facts --json", "cannot be used with"),
    ("doctor --max-devices 0", "0 is not in 1..=1024"),
    (
        "export --once --attach luck",
        "[possible values: fentry, kprobe, tracepoint]",
    ),
];

#[test]
fn wrong_input_is_told_once_and_ends_with_2() {
    for (line, expected) in WRONG {
        let arguments = shlex::split(line).expect("quoted");
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = run(&arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(expected), "{arguments:?}: {message}");
        assert_eq!(
            message
                .lines()
                .filter(|it| it.starts_with("error:") || it.starts_with("verity-trace:"))
                .count(),
            1,
            "{message}"
        );
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_names_every_command_and_exit_code() {
    let output = run(&["--help"]);
    assert!(output.status.success());
    let help = text(&output.stdout);
    for word in [
        "top",
        "report",
        "export",
        "record",
        "replay",
        "compare",
        "recommend",
        "tune",
        "serve",
        "devices",
        "doctor",
        "completions",
        "man",
        "--interval",
        "--config",
        "--print-config",
        "--no-mouse",
        "--attach",
        "--max-devices",
    ] {
        assert!(help.contains(word), "{word}: {help}");
    }
    for line in [
        "  0       done",
        "  1       internal error",
        "  2       usage",
        "  3       not permitted",
        "  4       the kernel cannot do it",
        "  5       no such device",
        "  6       bad input file",
        "  10      with --exit-code: the advice, or the verdict of tune, is to change something",
        "  11      with --exit-code: slower",
        "  12      with --exit-code: faster",
        "  125     verity-trace failed where it runs a command",
        "  128+n   ended by signal n",
    ] {
        assert!(help.contains(line), "{line}: {help}");
    }
}

#[test]
fn commands_that_show_devices_say_how_to_name_them() {
    for command in [
        "top",
        "report",
        "export",
        "record",
        "recommend",
        "serve",
        "devices",
    ] {
        let output = run(&[command, "--help"]);
        let help = text(&output.stdout);
        let words: Vec<_> = help.split_whitespace().collect();
        let help = words.join(" ");
        assert!(help.contains("DEVICE]..."), "{help}");
        assert!(
            help.contains("dm-N, MAJOR:MINOR or a mount point"),
            "{help}"
        );
        let is_filter = help.contains("stay those of the machine");
        assert_eq!(is_filter, command != "devices", "{help}");
    }
}

#[test]
fn advice_to_change_something_ends_with_10_where_that_is_asked_for() {
    let cases: [(&[&str], i32); 3] = [
        (&["recommend", "--demo=6.1"], 0),
        (&["recommend", "--demo=6.1", "--exit-code"], 10),
        (
            &["recommend", "--demo=6.1", "usr", "--exit-code", "--json"],
            0,
        ),
    ];
    for (arguments, code) in cases {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(text(&output.stdout).contains("not-effective"));
    }
    let none = run(&["recommend", "--demo", "no-such-device"]);
    assert_eq!(none.status.code(), Some(5));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        let script = text(&output.stdout);
        for word in ["report", "export", "devices", "doctor", "max-devices"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn the_man_page_has_every_command_and_exit_code() {
    let output = run(&["man"]);
    assert!(output.status.success());
    let page = text(&output.stdout);
    for line in [
        ".SH NAME",
        ".SH SYNOPSIS",
        ".SH COMMANDS",
        ".SS top",
        ".SS report",
        ".SS record",
        ".SS replay",
        ".SS compare",
        ".SS tune",
        ".SS serve",
        ".SS export",
        ".SS devices",
        ".SS doctor",
        ".SH \"EXIT STATUS\"",
        "\\fB128+n\\fR",
        "no such device",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
}

/// Runs it where this is all that is configured.
fn configured(arguments: &[&str], home: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_verity-trace"))
        .args(arguments)
        .env_remove("NO_COLOR")
        .env_remove("SUDO_UID")
        .env("XDG_CONFIG_HOME", home)
        .output()
        .expect("the program starts")
}

#[test]
fn a_configuration_is_printed_as_it_would_be_used_and_read_again() {
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path();
    let printed = |arguments: &[&str]| {
        let output = configured(arguments, home);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let usual = printed(&["--print-config"]);
    assert!(usual.contains("\ntheme = \"dark\"\n"), "{usual}");
    assert_eq!(printed(&["replay", "--print-config"]), usual);
    let asked = printed(&["top", "--print-config", "--interval", "5s", "--no-mouse"]);
    assert!(asked.contains("\ninterval = \"5s\"\n"), "{asked}");
    assert!(asked.contains("\nmouse = false\n"), "{asked}");
    let file = home.join("saved.toml");
    fs::write(&file, &asked).expect("written");
    let file = file.to_str().expect("a name");
    assert_eq!(printed(&["--config", file, "--print-config"]), asked);
    let place = home.join("verity-trace");
    fs::create_dir(&place).expect("a folder");
    fs::write(place.join("config.toml"), "[keys]\nquit = [\"Q\"]\n").expect("written");
    let found = printed(&["--print-config"]);
    assert!(found.contains("\nquit = [\"Q\"]\n"), "{found}");
    assert_eq!(printed(&["--config", file, "--print-config"]), asked);
}

#[test]
fn what_is_wrong_with_a_configuration_is_told_in_one_line_and_ends_with_6() {
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path();
    let file = home.join("\u{1b}[2J.toml");
    let name = file.to_str().expect("a name");
    let refused = |arguments: &[&str], expected: &str| {
        let output = configured(arguments, home);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(6), "{message}");
        assert!(message.contains(expected), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(!message.contains('\u{1b}'), "{message}");
    };
    refused(
        &["--config", name, "--print-config"],
        "[2J.toml: No such file",
    );
    for (contents, expected) in [
        (
            "\ntheme = \"\\u001b[2J\"",
            "[2J.toml:2: theme: \"\\u001b[2J\" is not one of",
        ),
        (
            "themes = 1",
            "[2J.toml:1: \"themes\" is nothing that can be configured: theme, ",
        ),
    ] {
        fs::write(&file, contents).expect("written");
        refused(&["--config", name, "--print-config"], expected);
        refused(&["replay", "--demo", "--config", name], expected);
    }
    fs::write(&file, " ".repeat(2 << 20)).expect("written");
    refused(&["--config", name, "--print-config"], "more than 1 MiB");
    fs::write(home.join("verity-trace"), "a file").expect("written");
    assert!(configured(&["--print-config"], home).status.success());
    fs::remove_file(home.join("verity-trace")).expect("a file");
    fs::create_dir_all(home.join("verity-trace/config.toml")).expect("a folder");
    refused(&["--print-config"], "config.toml: Is a directory");
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_verity-trace"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
