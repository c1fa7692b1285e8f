//! How many I/Os took how long when: the counts behind the heat map, as many whatever the recording.

use verity_trace_ebpf::slot::{self, LIMIT_NS, LOWEST_NS, SLOTS};

use super::scale::Time;
use crate::histogram::{Histogram, Nanos};

/// Parts of the time that a column of the heat map stands for.
pub const COLUMNS: usize = 120;

/// Parts of the time that a row of the table stands for.
pub const PERIODS: usize = 8;

/// Rows of the heat map for every power of two, all of the same height.
const PER_OCTAVE: usize = 4;

/// One for what is shorter, one for what is longer.
const ROWS: usize = (LIMIT_NS / LOWEST_NS).ilog2() as usize * PER_OCTAVE + 2;

/// See the module.
#[derive(Clone, Debug)]
pub struct Bins {
    time: Time,
    cells: Vec<u64>,
    periods: Vec<[u64; SLOTS]>,
}

impl Bins {
    /// None yet, in this time.
    pub fn new(time: Time) -> Self {
        Self {
            time,
            cells: vec![0; COLUMNS * ROWS],
            periods: vec![[0; SLOTS]; PERIODS],
        }
    }

    /// Counts an I/O by when it finished, and how long it took.
    pub fn add(&mut self, finished: u64, total: Nanos) {
        let column = self.time.part(finished, COLUMNS);
        self.cells[column * ROWS + row(total)] += 1;
        let period = self.time.part(finished, PERIODS);
        self.periods[period][slot::slot(total.0)] += 1;
    }

    /// The time in which they are counted.
    pub const fn time(&self) -> Time {
        self.time
    }

    /// The rows of a column that count any, the shortest first.
    pub fn column(&self, column: usize) -> impl Iterator<Item = (usize, u64)> + '_ {
        let cells = &self.cells[column * ROWS..(column + 1) * ROWS];
        let found = cells.iter().copied().enumerate();
        found.filter(|&(_, count)| count > 0)
    }

    /// The first row that counts any, and the last; absent when none does.
    pub fn rows(&self) -> Option<(usize, usize)> {
        let used = (0..COLUMNS).flat_map(|column| self.column(column));
        let used = used.map(|(row, _)| (row, row));
        used.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))
    }

    /// The highest count of a cell.
    pub fn most(&self) -> u64 {
        self.cells.iter().copied().max().unwrap_or(0)
    }

    /// The counts of every period.
    pub fn periods(&self) -> impl Iterator<Item = Histogram> + '_ {
        let periods = self.periods.iter();
        periods.map(|slots| Histogram::from_slots(slots.iter().copied().enumerate(), Nanos(0)))
    }
}

/// The durations of a row: the first, and the first past it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it lies between the ends of the slots"
)]
pub fn edges(row: usize) -> (Nanos, Nanos) {
    let edge = |row: usize| {
        let octaves = row as f64 / PER_OCTAVE as f64;
        Nanos((LOWEST_NS as f64 * octaves.exp2()).round() as u64)
    };
    match row {
        0 => (Nanos(LOWEST_NS / 2), Nanos(LOWEST_NS)),
        _ => (edge(row - 1), edge(row)),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most 58 octaves above the first slot"
)]
fn row(Nanos(ns): Nanos) -> usize {
    if ns < LOWEST_NS {
        return 0;
    }
    let octaves = (ns as f64 / LOWEST_NS as f64).log2();
    let row = (octaves * PER_OCTAVE as f64) as usize;
    (row + 1).min(ROWS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_has_no_row_of_its_own_is_in_the_first_or_last() {
        let cases = [
            (0, 0),
            (63, 0),
            (64, 1),
            (LIMIT_NS, ROWS - 1),
            (u64::MAX, ROWS - 1),
        ];
        for (ns, expected) in cases {
            assert_eq!(row(Nanos(ns)), expected, "{ns}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_lies_between_the_edges_of_its_row(ns in LOWEST_NS..LIMIT_NS) {
            let (low, high) = edges(row(Nanos(ns)));
            prop_assert!(low.0 <= ns + 1 && ns <= high.0 + 1, "{ns}: {low:?} {high:?}");
        }

        #[test]
        fn every_io_is_counted_once(ios in prop::collection::vec(any::<(u64, u64)>(), 0..50)) {
            let mut bins = Bins::new(Time::between(1_000, 2_000));
            for &(finished, total) in &ios {
                bins.add(finished, Nanos(total));
            }
            let cells = (0..COLUMNS).flat_map(|column| bins.column(column));
            prop_assert_eq!(cells.map(|(_, count)| count).sum::<u64>(), ios.len() as u64);
            let periods: u64 = bins.periods().map(|it| it.count()).sum();
            prop_assert_eq!(periods, ios.len() as u64);
            prop_assert_eq!(bins.rows().is_some(), !ios.is_empty());
        }
    }
}
