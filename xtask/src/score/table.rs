//! A line for each case and direction.

use std::fmt::Write as _;

use super::judge::Direction;

const HEADER: &str = "\
case                                                from         total, mean        wait, median, instructions  verdict
                                                          measured     again   measured   foretold       off
";

/// All of them, and below what went wrong and why.
pub fn table(directions: &[Direction]) -> String {
    let mut text = HEADER.to_owned();
    for direction in directions {
        line(&mut text, direction);
    }
    text
}

fn line(text: &mut String, it: &Direction) {
    let judgement = it.judge();
    let from = if it.from_on { "on" } else { "off" };
    let wait = it
        .foretold
        .wait
        .map_or("-".to_owned(), |wait| format!("{wait:.0}"));
    let off = it.wait_off().map_or("-".to_owned(), |off| {
        format!("{:+.0} %", 100.0 * off / it.other.wait.max(1.0))
    });
    let near = if judgement.wait_is_near == Some(false) {
        "!"
    } else {
        " "
    };
    let how = match (judgement.expected, judgement.verdict_is_right) {
        (Some(_), Some(true)) => "right".to_owned(),
        (Some(expected), _) if judgement.misleads => format!("MISLEADS, {expected} is right"),
        (Some(expected), _) => format!("wrong, {expected} is right"),
        (None, _) => "does not repeat".to_owned(),
    };
    let [first, second] = it.changes.map(|change| 100.0 * change);
    let verdict = format!("{} ({})", it.foretold.verdict, it.foretold.certainty);
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{:<52}{from:<4}{first:>+8.1} %{second:>+8.1} %{:>9.0}{wait:>11}{off:>9}{near} {verdict:<26}{how}",
        it.case, it.other.wait,
    );
    let percent =
        |share: Option<f64>| share.map_or("?".to_owned(), |it| format!("{:+.1}", it * 100.0));
    let [best, worst] = it.foretold.effect.map(percent);
    let _ = writeln!(text, " ({best} to {worst} %)");
}
