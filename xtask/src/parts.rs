//! A command that consists of several checks, all of which run even if one fails.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use anyhow::Result;

/// What has been run, and how it went.
pub struct Parts {
    start: Instant,
    all: Vec<Part>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            all: Vec::new(),
        }
    }
}

struct Part {
    name: String,
    passed: bool,
    wall: Duration,
}

impl Parts {
    /// Runs one part between two lines that frame its output, and returns whether it passed.
    pub fn run(&mut self, name: &str, part: impl FnOnce() -> Result<()>) -> bool {
        println!("\n== {name}");
        let start = Instant::now();
        let result = part();
        self.end(name, start.elapsed(), result)
    }

    /// The same for a part that has run beside others and printed this.
    pub fn add(&mut self, name: &str, wall: Duration, printed: &[u8], result: Result<()>) {
        println!("\n== {name}");
        // Where nobody reads, the result counts all the same.
        let _ = io::stdout().write_all(printed);
        self.end(name, wall, result);
    }

    fn end(&mut self, name: &str, wall: Duration, result: Result<()>) -> bool {
        let passed = result.is_ok();
        if let Err(error) = result {
            eprintln!("error: {error:#}");
        }
        println!(
            "-- {name}: {} in {:.1} s",
            outcome(passed),
            wall.as_secs_f64()
        );
        self.all.push(Part {
            name: name.to_owned(),
            passed,
            wall,
        });
        passed
    }

    /// Prints the wall times and what failed, and returns the exit code.
    pub fn finish(&self, remark: &str) -> u8 {
        print!("\n{}", self.table(self.start.elapsed()));
        println!("{}{remark}", self.verdict());
        u8::from(!self.failed().is_empty())
    }

    fn failed(&self) -> Vec<&str> {
        let failed = self.all.iter().filter(|part| !part.passed);
        failed.map(|part| part.name.as_str()).collect()
    }

    fn table(&self, total: Duration) -> String {
        let row = |name: &str, outcome: &str, wall: Duration| {
            format!("{name:24} {outcome:8} {:>8.1} s\n", wall.as_secs_f64())
        };
        let rows = self
            .all
            .iter()
            .map(|part| row(&part.name, outcome(part.passed), part.wall));
        rows.chain([row("total", "", total)]).collect()
    }

    fn verdict(&self) -> String {
        match &*self.failed() {
            [] => "all parts passed".to_owned(),
            failed => format!("failed: {}", failed.join(", ")),
        }
    }
}

fn outcome(passed: bool) -> &'static str {
    if passed { "ok" } else { "FAILED" }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn the_last_line_says_what_failed() {
        let mut parts = Parts::default();
        assert!(parts.run("one", || Ok(())));
        assert_eq!(parts.verdict(), "all parts passed");
        assert!(!parts.run("two", || bail!("no")));
        assert_eq!(parts.verdict(), "failed: two");
    }

    #[test]
    fn the_table_ends_with_the_time_of_all() {
        let part = |name: &str, passed, secs| Part {
            name: name.to_owned(),
            passed,
            wall: Duration::from_secs(secs),
        };
        let parts = Parts {
            all: vec![part("one", true, 2), part("two", false, 61)],
            ..Parts::default()
        };
        assert_eq!(
            parts.table(Duration::from_secs(63)),
            "one                      ok            2.0 s\n\
             two                      FAILED       61.0 s\n\
             total                                 63.0 s\n"
        );
    }
}
