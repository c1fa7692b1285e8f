//! How every kernel stands to the goals of the issue that asked for them.

use std::fmt;

use super::table::Table;
use crate::setup::Kernel;

/// What was measured beside what it may be.
pub struct Goals(Table);

impl Goals {
    pub fn new() -> Self {
        Self(Table::new("goal"))
    }

    /// What was measured on a kernel, and what it may be at most.
    pub fn set(&mut self, goal: &str, kernel: Kernel, is: f64, most: f64) {
        let digits = digits(most);
        let holds = if is <= most { "holds" } else { "missed" };
        self.cell(goal, kernel, most, format!("{is:.digits$} {holds:<6}"));
    }

    /// That there is nothing to measure, and why.
    pub fn set_moot(&mut self, goal: &str, kernel: Kernel, most: f64, why: &str) {
        self.cell(goal, kernel, most, why.to_owned());
    }

    fn cell(&mut self, goal: &str, kernel: Kernel, most: f64, cell: String) {
        let digits = digits(most);
        let label = format!("{goal}: at most {most:.digits$}");
        self.0.set(&label, kernel, cell);
    }
}

/// Decimal places: a ratio has them, a number of instructions has none.
fn digits(most: f64) -> usize {
    if most < 100.0 { 2 } else { 0 }
}

impl fmt::Display for Goals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
