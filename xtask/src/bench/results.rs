//! What a measurement left: the files that the scripts of this folder name.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::READS;

/// How often each case reads: once for the time, once for the programs.
const RUNS: usize = 2;

/// A folder with everything that one machine measured.
pub struct Results(TempDir);

/// A program in the kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// As the kernel has it: at most 15 bytes, unless the program carries its own BTF.
    pub name: String,
    /// How often it ran.
    pub runs: u64,
    /// What it and the statistics cost, in instructions.
    pub instructions: u64,
}

impl Program {
    /// Instructions of one run.
    pub fn each(&self) -> f64 {
        self.instructions as f64 / self.runs as f64
    }
}

impl Results {
    pub fn new(dir: TempDir) -> Self {
        Self(dir)
    }

    pub fn read(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.0.path().join(name)).with_context(|| format!("read {name}"))
    }

    /// Whether the case was measured.
    pub fn has(&self, case: &str) -> bool {
        self.0.path().join(format!("{case}.programs")).exists()
    }

    /// The median of a case, in instructions per read.
    pub fn median(&self, case: &str) -> Result<u64> {
        Ok(median(&mut self.latencies(case)?))
    }

    /// What a case adds to another one, in instructions per read.
    ///
    /// Every case reads the same blocks in the same order, and what a read costs depends on its block
    /// (on 6.1 half of them cost 900 more than the others), so each read is compared with its own like.
    pub fn added(&self, case: &str, to: &str) -> Result<i64> {
        Ok(median(&mut differences(
            &self.latencies(case)?,
            &self.latencies(to)?,
        )))
    }

    fn latencies(&self, case: &str) -> Result<Vec<u64>> {
        latencies(&self.read(&format!("{case}_clat.log"))?).with_context(|| format!("reads {case}"))
    }

    /// Every program that ran in a case.
    pub fn programs(&self, case: &str) -> Result<Vec<Program>> {
        programs(&self.read(&format!("{case}.programs"))?).with_context(|| format!("case {case}"))
    }

    /// That the tracer has seen exactly the reads that were made, by the probes that the case is for.
    pub fn check_trace(&self, case: &str, rung: &str) -> Result<()> {
        check_document(&self.read(&format!("{case}.json"))?, rung)
            .with_context(|| format!("trace {case}"))
    }

    /// That a rival has seen exactly the reads that were made.
    pub fn check_rival(&self, case: &str) -> Result<()> {
        check_maps(&self.read(&format!("{case}.maps"))?).with_context(|| format!("rival {case}"))
    }

    /// That the programs were run for every read, where no tracer says so.
    pub fn check_programs(&self, case: &str) -> Result<()> {
        let programs = self.programs(case)?;
        let mut ends = programs
            .iter()
            .filter(|program| program.name.contains("verity_finish_i"));
        let all = ends.clone().count() > 0 && ends.all(|program| program.runs == READS as u64);
        ensure!(all, "{case}: not every read was seen: {programs:?}");
        Ok(())
    }
}

/// fio's log, a line `TIME, NANOSECONDS, …` for each of the reads.
fn latencies(log: &str) -> Result<Vec<u64>> {
    let latency = |line: &str| line.split(", ").nth(1)?.parse().ok();
    let latencies: Option<Vec<_>> = log.lines().map(latency).collect();
    let latencies = latencies.context("fio's log is not as expected")?;
    let reads = latencies.len();
    ensure!(reads == READS, "fio made {reads} of {READS}");
    Ok(latencies)
}

fn differences(traced: &[u64], untraced: &[u64]) -> Vec<i64> {
    let pairs = traced.iter().zip(untraced);
    pairs
        .map(|(traced, untraced)| traced.cast_signed() - untraced.cast_signed())
        .collect()
}

fn median<T: Copy + Ord>(values: &mut [T]) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}

/// Lines `NAME RUNS INSTRUCTIONS`.
fn programs(text: &str) -> Result<Vec<Program>> {
    let program = |line: &str| {
        let mut words = line.split(' ');
        Some(Program {
            name: words.next()?.to_owned(),
            runs: words.next()?.parse().ok()?,
            instructions: words.next()?.parse().ok()?,
        })
    };
    let programs: Option<Vec<_>> = text.lines().map(program).collect();
    programs.context("the programs are not listed as expected")
}

fn check_document(document: &str, rung: &str) -> Result<()> {
    let document: Value = serde_json::from_str(document)?;
    let devices = document["devices"].as_array().context("no devices")?;
    let ios: Vec<_> = devices.iter().map(|device| &device["ios"]).collect();
    let seen = json!([document["tracing"]["rung"], ios, document["lost"]]);
    let wanted = json!([rung, [RUNS * READS], 0]);
    let loss = &document["loss"];
    ensure!(
        seen == wanted,
        "probes, I/Os, losses are {seen} and not {wanted}: {loss}"
    );
    Ok(())
}

/// A rival prints each map as a line of JSON; the one of totals has every I/O.
fn check_maps(maps: &str) -> Result<()> {
    let mut lines = maps
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let totals = lines
        .find_map(|line| line["data"]["@total"].as_object().cloned())
        .context("it has no totals")?;
    let slots = totals.values().filter_map(Value::as_array).flatten();
    let ios: u64 = slots.filter_map(|slot| slot["count"].as_u64()).sum();
    ensure!(
        ios == (RUNS * READS) as u64,
        "it saw {ios} of {} I/Os",
        RUNS * READS
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_all_reads() {
        let log = |reads: usize| -> String {
            let line = |n: usize| format!("1, {}, 0, 4096, 8192\n", 40_000 + n * 7 % reads);
            (0..reads).map(line).collect()
        };
        assert_eq!(median(&mut latencies(&log(READS)).unwrap()), 41_000);
        assert!(latencies(&log(READS - 1)).is_err(), "a read is missing");
        assert!(latencies("no log").is_err());
    }

    #[test]
    fn each_read_is_compared_with_its_own_like() {
        let untraced = [35_000, 34_000, 35_000, 34_000];
        let traced = [35_500, 34_500, 39_000, 34_500];
        assert_eq!(median(&mut differences(&traced, &untraced)), 500);
    }

    #[test]
    fn a_trace_must_be_complete() {
        let check = |rung: &str, ios: usize, lost: u32| {
            let devices = json!([{ "ios": ios }]);
            let document = json!({ "tracing": { "rung": rung }, "lost": lost, "devices": devices });
            check_document(&document.to_string(), "fentry")
        };
        check("fentry", 2 * READS, 0).unwrap();
        check("kprobe", 2 * READS, 0).unwrap_err();
        check("fentry", 2 * READS - 1, 0).unwrap_err();
        check("fentry", 2 * READS, 1).unwrap_err();
    }

    #[test]
    fn a_rival_must_be_complete() {
        let check = |ios: usize| {
            let slots = json!([{ "min": 1, "max": 2, "count": ios - 7 }]);
            let totals = json!({ "1": slots, "2": [{ "min": 2, "max": 3, "count": 7 }] });
            let map = json!({ "type": "hist", "data": { "@total": totals } });
            check_maps(&format!("{{\"type\": \"printf\"}}\n\n{map}\n"))
        };
        check(2 * READS).unwrap();
        check(2 * READS - 1).unwrap_err();
        check_maps("").unwrap_err();
    }

    #[test]
    fn programs_are_read_line_by_line() {
        let found = programs("verity_map 2000 1522000\nsoftirq_exit 2 90\n").unwrap();
        assert_eq!(found[0].name, "verity_map");
        assert!((found[0].each() - 761.0).abs() < 1e-9);
        assert_eq!(found.len(), 2);
        programs("verity_map many 1\n").unwrap_err();
    }
}
