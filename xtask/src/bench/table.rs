//! Tables with a column for each kernel, ready for the README.

use std::fmt;

use crate::setup::Kernel;

/// Rows and columns stand in the order in which their first cell came.
pub struct Table {
    title: String,
    kernels: Vec<Kernel>,
    rows: Vec<(String, Vec<(Kernel, String)>)>,
}

impl Table {
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            kernels: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// What stands in the row of this label for a kernel; `-` stands where nothing was set.
    pub fn set(&mut self, label: &str, kernel: Kernel, cell: impl Into<String>) {
        if !self.kernels.contains(&kernel) {
            self.kernels.push(kernel);
        }
        let row = self.rows.iter().position(|(known, _)| known == label);
        let row = row.unwrap_or_else(|| {
            self.rows.push((label.to_owned(), Vec::new()));
            self.rows.len() - 1
        });
        let cells = &mut self.rows[row].1;
        cells.retain(|&(of, _)| of != kernel);
        cells.push((kernel, cell.into()));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.rows.iter().map(|(label, _)| label);
        let label_width = labels.chain([&self.title]).map(String::len).max();
        let label_width = label_width.unwrap_or(0);
        let cells = self.rows.iter().flat_map(|(_, cells)| cells);
        let width = cells.map(|(_, cell)| cell.len()).max().unwrap_or(0).max(4) + 3;
        let line = |label: &str, cells: &[&str]| {
            let cells: Vec<_> = cells.iter().map(|cell| format!("{cell:>width$}")).collect();
            let line = format!("{label:<label_width$}{}", cells.concat());
            line.trim_end().to_owned()
        };
        let kernels = || self.kernels.iter();
        let names: Vec<_> = kernels().map(|kernel| kernel.name()).collect();
        writeln!(f, "{}", line(&self.title, &names))?;
        for (label, cells) in &self.rows {
            let cell = |kernel| {
                let cell = cells.iter().find(|(of, _)| of == kernel);
                cell.map_or("-", |(_, cell)| cell.as_str())
            };
            let cells: Vec<_> = kernels().map(cell).collect();
            writeln!(f, "{}", line(label, &cells))?;
        }
        Ok(())
    }
}

/// A table for each setting of the option, from settings, labels, kernels and cells.
pub fn by_option<'a>(
    cells: impl Iterator<Item = (&'static str, &'a str, Kernel, String)>,
) -> String {
    let mut tables: Vec<(&str, Table)> = Vec::new();
    for (option, label, kernel, cell) in cells {
        let table = tables.iter().position(|&(known, _)| known == option);
        let table = table.unwrap_or_else(|| {
            tables.push((option, Table::new(format!("option {option}"))));
            tables.len() - 1
        });
        tables[table].1.set(label, kernel, cell);
    }
    let drawn: Vec<_> = tables.iter().map(|(_, table)| table.to_string()).collect();
    drawn.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_does_not_have_is_a_dash() {
        let mut table = Table::new("option off");
        table.set("untraced", Kernel::V6_1, "34935");
        table.set("verity-trace", Kernel::V6_1, "+2900  8.3%");
        table.set("untraced", Kernel::V7_3, "49184");
        let wanted = "option off             6.1           7.3\n\
                      untraced             34935         49184\n\
                      verity-trace   +2900  8.3%             -\n";
        assert_eq!(table.to_string(), wanted);
    }
}
