//! The rows of a group, column by column, and the way of these into the file.

use std::collections::HashMap;
use std::io::Write;

use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::errors::Result;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};

use super::Row;
use super::schema::{COLUMNS, Cell, Column, Kind};

/// Texts that are handed over at once.
const TEXTS: usize = 1_024;

/// See the module.
pub struct Columns {
    columns: Vec<Values>,
    rows: usize,
}

impl Columns {
    pub fn new() -> Self {
        Self {
            columns: COLUMNS.iter().map(Values::new).collect(),
            rows: 0,
        }
    }

    pub const fn rows(&self) -> usize {
        self.rows
    }

    pub fn push(&mut self, row: &Row<'_>) {
        for (column, values) in COLUMNS.iter().zip(&mut self.columns) {
            values.push((column.cell)(row));
        }
        self.rows += 1;
    }

    /// Writes the rows as a group, and forgets them.
    pub fn write<W: Write + Send>(&mut self, file: &mut SerializedFileWriter<W>) -> Result<()> {
        let mut group = file.next_row_group()?;
        for values in &mut self.columns {
            if let Some(mut column) = group.next_column()? {
                values.write(&mut column)?;
                column.close()?;
            }
            values.clear();
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

/// The values of a column.
struct Values {
    kind: Stored,
    /// Whether each row has one; not kept where each must.
    levels: Option<Vec<i16>>,
}

/// What Parquet stores for them.
enum Stored {
    Long(Vec<i64>),
    Int(Vec<i32>),
    Truth(Vec<bool>),
    Text(Texts),
}

/// Texts, each kept once.
#[derive(Default)]
struct Texts {
    numbers: HashMap<String, usize>,
    entries: Vec<ByteArray>,
    rows: Vec<usize>,
}

impl Values {
    fn new(column: &Column) -> Self {
        Self {
            kind: match column.kind {
                Kind::Text => Stored::Text(Texts::default()),
                Kind::Truth => Stored::Truth(Vec::new()),
                Kind::Number(64) | Kind::Scattered | Kind::Moment => Stored::Long(Vec::new()),
                Kind::Number(_) => Stored::Int(Vec::new()),
            },
            levels: column.is_optional.then(Vec::new),
        }
    }

    fn push(&mut self, cell: Cell<'_>) {
        if let Some(levels) = &mut self.levels {
            levels.push(i16::from(cell != Cell::Absent));
        }
        match (&mut self.kind, cell) {
            // What is above the largest signed number keeps its bits, as the logical type says.
            (Stored::Long(values), Cell::Number(number)) => values.push(number.cast_signed()),
            (Stored::Int(values), Cell::Number(number)) => {
                values.push(u32::try_from(number).unwrap_or(u32::MAX).cast_signed());
            }
            (Stored::Truth(values), Cell::Truth(truth)) => values.push(truth),
            (Stored::Text(texts), Cell::Text(text)) => texts.push(&text),
            _ => {}
        }
    }

    fn write(&self, column: &mut SerializedColumnWriter<'_>) -> Result<()> {
        let levels = self.levels.as_deref();
        match &self.kind {
            Stored::Long(values) => column
                .typed::<Int64Type>()
                .write_batch(values, levels, None)?,
            Stored::Int(values) => column
                .typed::<Int32Type>()
                .write_batch(values, levels, None)?,
            Stored::Truth(values) => column
                .typed::<BoolType>()
                .write_batch(values, levels, None)?,
            Stored::Text(texts) => return texts.write(levels, column),
        };
        Ok(())
    }

    fn clear(&mut self) {
        match &mut self.kind {
            Stored::Long(values) => values.clear(),
            Stored::Int(values) => values.clear(),
            Stored::Truth(values) => values.clear(),
            Stored::Text(texts) => {
                texts.numbers.clear();
                texts.entries.clear();
                texts.rows.clear();
            }
        }
        if let Some(levels) = &mut self.levels {
            levels.clear();
        }
    }
}

impl Texts {
    fn push(&mut self, text: &str) {
        // Rows in a row are mostly alike.
        if let Some(&last) = self.rows.last()
            && self.entries[last].data() == text.as_bytes()
        {
            self.rows.push(last);
            return;
        }
        let number = self.numbers.get(text).copied().unwrap_or_else(|| {
            self.entries.push(ByteArray::from(text));
            let number = self.entries.len() - 1;
            self.numbers.insert(text.to_owned(), number);
            number
        });
        self.rows.push(number);
    }

    fn write(
        &self,
        mut levels: Option<&[i16]>,
        column: &mut SerializedColumnWriter<'_>,
    ) -> Result<()> {
        let column = column.typed::<ByteArrayType>();
        let mut rows = &self.rows[..];
        let mut texts = Vec::with_capacity(TEXTS);
        while !rows.is_empty() || levels.is_some_and(|levels| !levels.is_empty()) {
            let (these, later) = levels.map_or((None, None), |levels| {
                let (these, later) = levels.split_at(TEXTS.min(levels.len()));
                (Some(these), Some(later))
            });
            let present = these.map_or(TEXTS.min(rows.len()), |these| {
                these.iter().filter(|&&level| level > 0).count()
            });
            let (now, then) = rows.split_at(present);
            texts.clear();
            texts.extend(now.iter().map(|&number| self.entries[number].clone()));
            column.write_batch(&texts, these, None)?;
            (rows, levels) = (then, later);
        }
        Ok(())
    }
}
