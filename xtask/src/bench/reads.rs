//! What each side adds to a read, and how it stands to the goals.

use anyhow::Result;

use super::READS;
use super::goals::Goals;
use super::results::Results;
use super::table::by_option;
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
    LiveView,
    Queues,
    HashCache,
    Submitters,
    Kprobe,
}

impl Side {
    const ALL: [Self; 10] = [
        Self::Floor,
        Self::RivalFentry,
        Self::RivalKprobe,
        Self::Default,
        Self::Records,
        Self::LiveView,
        Self::Queues,
        Self::HashCache,
        Self::Submitters,
        Self::Kprobe,
    ];

    /// Its word in the names of files.
    fn file(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::RivalFentry => "rival-fentry",
            Self::RivalKprobe => "rival-kprobe",
            Self::Default => "default",
            Self::Records => "records",
            Self::LiveView => "live-view",
            Self::Queues => "queues",
            Self::HashCache => "hash-cache",
            Self::Submitters => "submitters",
            Self::Kprobe => "kprobe",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Floor => "programs that only return",
            Self::RivalFentry => "bpftrace, fentry",
            Self::RivalKprobe => "bpftrace, kprobes",
            Self::Default => "verity-trace",
            Self::Records => "verity-trace --records",
            Self::LiveView => "verity-trace, live view",
            Self::Queues => "verity-trace --queues",
            Self::HashCache => "verity-trace --hash-cache",
            Self::Submitters => "verity-trace --submitters",
            Self::Kprobe => "verity-trace --attach kprobe",
        }
    }

    fn check(self, results: &Results, case: &str) -> Result<()> {
        match self {
            Self::Floor | Self::LiveView => results.check_programs(case),
            Self::RivalFentry | Self::RivalKprobe => results.check_rival(case),
            Self::Default | Self::Records | Self::Queues | Self::HashCache | Self::Submitters => {
                results.check_trace(case, "fentry")
            }
            Self::Kprobe => results.check_trace(case, "kprobe"),
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

/// What every side adds.
pub fn tables(rows: &[Row]) -> String {
    let cells = rows.iter().flat_map(|row| {
        let percent = 100.0 * row.added as f64 / row.untraced as f64;
        let added = format!("{:+}{percent:>6.1}%", row.added);
        [
            (row.option, "untraced", row.kernel, row.untraced.to_string()),
            (row.option, row.side.name(), row.kernel, added),
        ]
    });
    format!(
        "guest instructions of a direct 4 KiB read, and what tracing adds: medians of {READS} random ones\n{}",
        by_option(cells)
    )
}

/// How every kernel stands to the goals.
pub fn goals(rows: &[Row], goals: &mut Goals) {
    for row in rows {
        let beside = |side| {
            let same = |other: &&Row| other.kernel == row.kernel && other.option == row.option;
            rows.iter().filter(same).find(|other| other.side == side)
        };
        let own = row.added as f64;
        let by = |side| beside(side).map(|other| own / other.added as f64);
        let mut set = |goal: &str, is: Option<f64>, most: f64| {
            if let Some(is) = is {
                let goal = format!("{goal}, option {}", row.option);
                goals.set(&goal, row.kernel, is, most);
            }
        };
        match row.side {
            Side::Default => {
                set(
                    "verity-trace by bpftrace",
                    by(Side::RivalFentry),
                    RIVAL_SHARE,
                );
                set("verity-trace in instructions", Some(own), INSTRUCTIONS);
            }
            Side::Records => set("--records by without", by(Side::Default), RECORDS),
            _ => {}
        }
    }
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
    fn the_tables_show_what_a_side_adds() {
        let tables = tables(&[row(Side::Default, 1465)]);
        let lines: Vec<_> = tables.lines().map(str::split_whitespace).collect();
        let words = |n: usize| lines[n].clone().collect::<Vec<_>>().join(" ");
        assert_eq!(words(2), "untraced 46364");
        assert_eq!(words(3), "verity-trace +1465 3.2%");
    }

    #[test]
    fn a_goal_is_held_or_missed_and_never_judged_without_its_other_side() {
        let rows = [
            row(Side::RivalFentry, 5000),
            row(Side::Default, 1600),
            row(Side::Records, 2401),
        ];
        let lines = |rows: &[Row]| -> Vec<String> {
            let mut table = Goals::new();
            goals(rows, &mut table);
            let drawn = table.to_string();
            let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            drawn.lines().skip(1).map(squeezed).collect()
        };
        assert_eq!(
            lines(&rows),
            [
                "verity-trace by bpftrace, option off: at most 0.40 0.32 holds",
                "verity-trace in instructions, option off: at most 1500 1600 missed",
                "--records by without, option off: at most 1.50 1.50 missed",
            ]
        );
        assert!(lines(&rows[2..]).is_empty());
    }
}
