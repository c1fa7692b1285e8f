//! Where the instructions go, program by program.

use std::iter;

use anyhow::{Context, Result};

use super::READS;
use super::results::{Program, Results};
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

/// One program's own instructions.
pub struct Row {
    kernel: Kernel,
    option: &'static str,
    name: String,
    runs_per_read: f64,
    each: f64,
}

pub fn rows(kernel: Kernel, results: &Results) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for option in ["off", "on"] {
        let empty = Empty::of(&results.programs(&format!("{option}-floor"))?)?;
        let programs = results.programs(&format!("{option}-default"))?;
        rows.extend(programs.into_iter().map(|program| {
            let is_tracepoint = is_tracepoint(&program.name);
            let empty = if is_tracepoint {
                empty.tracepoint
            } else {
                empty.function
            };
            Row {
                kernel,
                option,
                runs_per_read: program.runs as f64 / READS as f64,
                each: program.each() - empty,
                name: program.name,
            }
        }));
    }
    Ok(rows)
}

pub fn table(rows: &[Row]) -> String {
    let header = "where they go: each program of verity-trace, without what one that only returns costs\n\
                  kernel  option  program            runs a read  instructions a run      a read\n";
    let lines = rows.iter().map(|row| {
        format!(
            "{:<8}{:<8}{:<16}{:>14.2}{:>20.0}{:>12.0}\n",
            row.kernel.name(),
            row.option,
            row.name,
            row.runs_per_read,
            row.each,
            row.each * row.runs_per_read,
        )
    });
    iter::once(header.to_owned()).chain(lines).collect()
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
}
