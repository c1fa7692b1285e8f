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

    /// What a goal is for on a kernel, and what it may be at most.
    pub fn set(&mut self, goal: &str, kernel: Kernel, is: f64, most: f64) {
        let digits = if most < 100.0 { 2 } else { 0 };
        let holds = if is <= most { "holds" } else { "missed" };
        let label = format!("{goal}: at most {most:.digits$}");
        self.0
            .set(&label, kernel, format!("{is:.digits$} {holds:<6}"));
    }
}

impl fmt::Display for Goals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
