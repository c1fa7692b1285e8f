//! The texts made from what can be typed: completions, the man page, and the exit codes.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::Cli;

/// The exit codes of this version, and what they mean.
const EXIT_CODES: [(&str, &str); 12] = [
    ("0", "done"),
    (
        "1",
        "internal error, or an output file could not be written, as on a full disk",
    ),
    ("2", "usage"),
    ("3", "not permitted"),
    ("4", "the kernel cannot do it, or built without programs"),
    (
        "5",
        "no such device: a one-shot command without any verity device, or an argument that fits none",
    ),
    ("6", "bad input file"),
    (
        "10",
        "with --exit-code: the advice, or the verdict of tune, is to change something",
    ),
    ("11", "with --exit-code: slower"),
    ("12", "with --exit-code: faster"),
    (
        "125",
        "verity-trace failed where it runs a command; else that one's own exit code is passed on",
    ),
    ("128+n", "ended by signal n"),
];

/// Writes the completion script of a shell.
pub fn completions(shell: Shell, out: &mut impl Write) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(
        shell,
        &mut <Cli as CommandFactory>::command(),
        "verity-trace",
        &mut script,
    );
    out.write_all(&script)
}

/// Writes the man page: every command on one page.
pub fn man(out: &mut impl Write) -> io::Result<()> {
    let mut command = <Cli as CommandFactory>::command().after_help(None::<&str>);
    command.build();
    let page = Man::new(command.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for subcommand in command
        .get_subcommands()
        .filter(|it| it.get_name() != "help")
    {
        command_section(subcommand, &mut roff);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        roff.control("TP", [])
            .text([bold(code)])
            .text([roman(meaning)]);
    }
    roff.to_writer(out)?;
    page.render_version_section(out)
}

fn command_section(command: &clap::Command, roff: &mut Roff) {
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    roff.control("SS", [command.get_name()])
        .text([roman(about)]);
    for argument in command.get_arguments().filter(|it| it.get_id() != "help") {
        let help = argument
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        roff.control("TP", [])
            .text([bold(argument.to_string())])
            .text([roman(help)]);
    }
}

pub fn exit_codes() -> String {
    let lines = EXIT_CODES.map(|(code, meaning)| format!("  {code:<6}  {meaning}"));
    format!("Exit codes:\n{}", lines.join("\n"))
}
