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
        format!("{:+.0} %", 100.0 * off / it.pairs[0].other.wait.max(1.0))
    });
    let near = if judgement.wait_is_near == Some(false) {
        "!"
    } else {
        " "
    };
    let expected = judgement.expected.unwrap_or("another one");
    let how = match judgement.verdict_is_right {
        Some(true) => "right".to_owned(),
        Some(false) if judgement.misleads => format!("MISLEADS, {expected} is right"),
        Some(false) => format!("wrong, {expected} is right"),
        None => "does not repeat".to_owned(),
    };
    let [first, second] = it.pairs.map(|pair| 100.0 * pair.change());
    let verdict = format!("{} ({})", it.foretold.verdict, it.foretold.certainty);
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{:<52}{from:<4}{first:>+8.1} %{second:>+8.1} %{:>9.0}{wait:>11}{off:>9}{near} {verdict:<26}{how}",
        it.case, it.pairs[0].other.wait,
    );
    let percent =
        |share: Option<f64>| share.map_or("?".to_owned(), |it| format!("{:+.1}", it * 100.0));
    let [best, worst] = it.foretold.effect.map(percent);
    let _ = write!(text, " ({best} to {worst} %)");
    if let [Some(first), Some(second)] = it.pairs.map(|pair| pair.change_limited()) {
        let _ = write!(
            text,
            ", with limits {:+.1} % {:+.1} %",
            100.0 * first,
            100.0 * second
        );
    }
    text.push('\n');
}
