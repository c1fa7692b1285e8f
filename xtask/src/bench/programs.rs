//! Where the instructions go, program by program.

use anyhow::{Context, Result};

use super::READS;
use super::results::{Program, Results};
use super::table::by_option;
use crate::setup::Kernel;

/// What one run of a program that only returns costs under the kernel's statistics: most of it is
/// theirs.
#[derive(Clone, Copy, Debug)]
pub struct Empty {
    pub function: f64,
    pub tracepoint: f64,
}

impl Empty {
    /// From the programs of a case in which all only return.
    pub fn of(programs: &[Program]) -> Result<Self> {
        let each = |tracepoint: bool| {
            let is_it = |program: &&Program| is_tracepoint(&program.name) == tracepoint;
            let ran = programs.iter().filter(is_it).filter(|it| it.runs > 0);
            ran.map(Program::each).reduce(f64::min)
        };
        Ok(Self {
            function: each(false).context("no empty program for a function ran")?,
            tracepoint: each(true).context("no empty program for a tracepoint ran")?,
        })
    }
}

/// Whether a program is one for a tracepoint, whoever named it.
fn is_tracepoint(name: &str) -> bool {
    ["softirq", "workqueue", "rawtracepoint"]
        .iter()
        .any(|start| name.starts_with(start))
}

/// One program's own instructions, and those of others that the kernel gives the same name: it cuts
/// that off, so a program, its guard and the one at the function's exit can be alike.
pub struct Row {
    kernel: Kernel,
    option: &'static str,
    name: String,
    a_read: f64,
}

pub fn rows(kernel: Kernel, results: &Results) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for option in ["off", "on"] {
        let empty = Empty::of(&results.programs(&format!("{option}-floor"))?)?;
        let programs = results.programs(&format!("{option}-default"))?;
        rows.extend(rows_of(kernel, option, empty, programs));
    }
    Ok(rows)
}

fn rows_of(kernel: Kernel, option: &'static str, empty: Empty, programs: Vec<Program>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for program in programs {
        let empty = if is_tracepoint(&program.name) {
            empty.tracepoint
        } else {
            empty.function
        };
        let own = program.instructions as f64 - empty * program.runs as f64;
        let a_read = own / READS as f64;
        match rows.iter_mut().find(|row| row.name == program.name) {
            Some(row) => row.a_read += a_read,
            None => rows.push(Row {
                kernel,
                option,
                name: program.name,
                a_read,
            }),
        }
    }
    rows
}

/// What each program costs.
pub fn tables(rows: &[Row]) -> String {
    let cells = rows.iter().map(|row| {
        let a_read = format!("{:.0}", row.a_read);
        (row.option, row.name.as_str(), row.kernel, a_read)
    });
    format!(
        "where they go: instructions of each program of verity-trace in a read, beyond those of one that only \
         returns\n{}",
        by_option(cells)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str, runs: u64, instructions: u64) -> Program {
        Program {
            name: name.to_owned(),
            runs,
            instructions,
        }
    }

    #[test]
    fn the_empty_programs_of_both_kinds_are_kept_apart() {
        let programs = [
            program("rawtracepoint_softirq_exit_2", 10, 460),
            program("fentry_dm_verity_verity_map_3", 10, 681),
            program("fentry_dm_verity_verity_recheck_4", 0, 0),
            program("fexit_dm_verity_verity_map_5", 10, 690),
        ];
        let empty = Empty::of(&programs).unwrap();
        assert!((empty.tracepoint - 46.0).abs() < 1e-9);
        assert!((empty.function - 68.1).abs() < 1e-9);
        Empty::of(&programs[1..]).unwrap_err();
    }

    #[test]
    fn programs_of_one_name_are_one_row() {
        let empty = Empty {
            function: 60.0,
            tracepoint: 40.0,
        };
        let reads = READS as u64;
        let programs = vec![
            program("verity_finish_i", reads, 760 * reads),
            program("softirq_exit", reads / 2, 100 * reads),
            program("verity_finish_i", reads, 160 * reads),
        ];
        let rows = rows_of(Kernel::V7_3, "off", empty, programs);
        let found: Vec<_> = rows
            .iter()
            .map(|row| (row.name.as_str(), row.a_read))
            .collect();
        assert_eq!(found, [("verity_finish_i", 800.0), ("softirq_exit", 80.0)]);
    }
}
