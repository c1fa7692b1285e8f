//! What each side adds to a read, and how it stands to the goals.

use std::iter;

use anyhow::Result;

use super::READS;
use super::results::Results;
use crate::setup::Kernel;

/// At most this share of what the rival by fentry adds.
const RIVAL_SHARE: f64 = 0.4;

/// At most so many instructions.
const INSTRUCTIONS: f64 = 1500.0;

/// Records for every I/O cost at most so many times what counting alone does.
const RECORDS: f64 = 1.5;

/// What is measured. The first two words of a case's name are the option and this.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Floor,
    RivalFentry,
    RivalKprobe,
    Default,
    Records,
    Kprobes,
}

impl Side {
    const ALL: [Self; 6] = [
        Self::Floor,
        Self::RivalFentry,
        Self::RivalKprobe,
        Self::Default,
        Self::Records,
        Self::Kprobes,
    ];

    /// Its word in the names of files.
    fn file(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::RivalFentry => "rival-fentry",
            Self::RivalKprobe => "rival-kprobe",
            Self::Default => "default",
            Self::Records => "records",
            Self::Kprobes => "kprobes",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Floor => "programs that only return",
            Self::RivalFentry => "bpftrace, fentry",
            Self::RivalKprobe => "bpftrace, kprobe",
            Self::Default => "verity-trace",
            Self::Records => "verity-trace, records",
            Self::Kprobes => "verity-trace, kprobes",
        }
    }

    fn check(self, results: &Results, case: &str) -> Result<()> {
        match self {
            Self::Floor => results.check_floor(case),
            Self::RivalFentry | Self::RivalKprobe => results.check_rival(case),
            Self::Default | Self::Records => results.check_trace(case, "fentry"),
            Self::Kprobes => results.check_trace(case, "kprobe"),
        }
    }
}

/// A case, in guest instructions per read.
pub struct Row {
    kernel: Kernel,
    option: &'static str,
    side: Side,
    untraced: u64,
    added: i64,
}

/// Every side that was measured, with the option off and on.
pub fn rows(kernel: Kernel, results: &Results) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for option in ["off", "on"] {
        let base = format!("{option}-untraced");
        let untraced = results.median(&base)?;
        for side in Side::ALL {
            let case = format!("{option}-{}", side.file());
            if results.has(&case) {
                side.check(results, &case)?;
                rows.push(Row {
                    kernel,
                    option,
                    side,
                    untraced,
                    added: results.added(&case, &base)?,
                });
            }
        }
    }
    Ok(rows)
}

pub fn table(rows: &[Row]) -> String {
    let header = format!(
        "guest instructions per read: medians of {READS} direct 4 KiB random reads on RAM disks\n\
         kernel  option  side                       untraced     added   percent\n"
    );
    let lines = rows.iter().map(|row| {
        let percent = 100.0 * row.added as f64 / row.untraced as f64;
        format!(
            "{:<8}{:<8}{:<25}{:>10}{:>+10}{percent:>+9.2}%\n",
            row.kernel.name(),
            row.option,
            row.side.name(),
            row.untraced,
            row.added,
        )
    });
    iter::once(header).chain(lines).collect()
}

/// How every kernel stands to the goals.
pub fn goals(rows: &[Row]) -> String {
    let header =
        "goal                                         kernel  option        is   at most\n";
    let lines = rows.iter().flat_map(|row| {
        let beside = |side| {
            let same = |other: &&Row| other.kernel == row.kernel && other.option == row.option;
            rows.iter().filter(same).find(|other| other.side == side)
        };
        let own = row.added as f64;
        let against = |side| beside(side).map(|other| own / other.added as f64);
        let goals = match row.side {
            Side::Default => vec![
                (
                    "verity-trace by bpftrace, fentry",
                    against(Side::RivalFentry),
                    RIVAL_SHARE,
                ),
                ("verity-trace, in instructions", Some(own), INSTRUCTIONS),
            ],
            Side::Records => vec![(
                "with records for every I/O by without",
                against(Side::Default),
                RECORDS,
            )],
            _ => Vec::new(),
        };
        goals
            .into_iter()
            .filter_map(|(goal, is, most)| Some(line(goal, row, is?, most)))
            .collect::<Vec<_>>()
    });
    iter::once(header.to_owned()).chain(lines).collect()
}

fn line(goal: &str, row: &Row, is: f64, most: f64) -> String {
    let digits = if most < 100.0 { 2 } else { 0 };
    let holds = if is <= most { "holds" } else { "missed" };
    format!(
        "{goal:<45}{:<8}{:<8}{is:>8.digits$}{most:>10.digits$}  {holds}\n",
        row.kernel.name(),
        row.option,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(side: Side, added: i64) -> Row {
        Row {
            kernel: Kernel::V6_12,
            option: "off",
            side,
            untraced: 46_364,
            added,
        }
    }

    #[test]
    fn the_table_shows_what_a_side_adds() {
        let table = table(&[row(Side::Default, 1465)]);
        let last = table.lines().last().unwrap();
        let wanted = "6.12    off     verity-trace                  46364     +1465    +3.16%";
        assert_eq!(last, wanted);
    }

    #[test]
    fn a_goal_is_held_or_missed_and_never_judged_without_its_other_side() {
        let rows = [
            row(Side::RivalFentry, 5000),
            row(Side::Default, 1600),
            row(Side::Records, 2401),
        ];
        let all = goals(&rows);
        let last_words = |line: &str| {
            let words: Vec<_> = line.split_whitespace().rev().take(3).collect();
            words.join(" ")
        };
        let words: Vec<_> = all.lines().skip(1).map(last_words).collect();
        assert_eq!(
            words,
            ["holds 0.40 0.32", "missed 1500 1600", "missed 1.50 1.50"]
        );
        assert_eq!(goals(&rows[2..]).lines().count(), 1);
    }
}
