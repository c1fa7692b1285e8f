//! The I/Os of a recording as a Parquet file: a row each, in the order in which they came, with what tells
//! the recordings of a fleet apart in columns of their own.
//!
//! It keeps the rows of one group at a time, so that it grows with nothing but the file that it writes.

mod columns;
mod metadata;
mod schema;

use std::collections::HashMap;
use std::io::{self, Read, Seek, Write};

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use crate::decode::Io;
use crate::escape;
use crate::overview::Overview;
use crate::recording::{Block, Header, Machine, Reader};
use crate::snapshot::{DeviceNumber, Era};
use crate::table::Stop;

use columns::Columns;

pub use schema::COLUMNS;

/// Rows in a group at most: what is kept in memory, some 30 MiB.
const GROUP: usize = 131_072;

/// A row.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    origin: &'a Origin<'a>,
    device: &'a Device,
    era: Option<Era>,
    io: &'a Io,
}

/// What all rows of a file have in common.
#[derive(Debug)]
struct Origin<'a> {
    header: Header,
    machine: Option<&'a Machine>,
    host: Option<String>,
    release: Option<String>,
}

/// A device, as the rows name it.
#[derive(Debug)]
struct Device {
    number: String,
    name: Option<String>,
}

/// Writes the I/Os of these devices, or of all, and returns how many records make no I/O. Needs the overview of
/// the same recording, and reads that anew from where it is.
pub fn write<R: Read + Seek>(
    reader: &mut Reader<R>,
    overview: &Overview,
    devices: Option<&[DeviceNumber]>,
    out: impl Write + Send,
) -> Result<u64, Stop> {
    let origin = Origin::new(overview);
    let mut file = SerializedFileWriter::new(out, schema::schema(), properties(overview)?.into())
        .map_err(stop)?;
    let mut columns = Columns::new();
    let mut names = HashMap::new();
    let mut undecoded = 0;
    while let Some(block) = reader.next_block()? {
        let ios = match block {
            Block::Ios(ios) => ios,
            Block::Devices(noted) => {
                for (number, name) in noted.names() {
                    let name = Some(escape::terminal(name).into_owned());
                    names.insert(number, Device::new(number, name));
                }
                continue;
            }
            _ => continue,
        };
        undecoded += reader.ios(&ios, |io| {
            if devices.is_some_and(|devices| !devices.contains(&io.device)) {
                return Ok(());
            }
            let device = names.entry(io.device);
            columns.push(&Row {
                origin: &origin,
                device: device.or_insert_with(|| Device::new(io.device, None)),
                era: ios.span.era,
                io,
            });
            if columns.rows() == GROUP {
                columns.write(&mut file).map_err(stop)?;
            }
            Ok::<_, Stop>(())
        })?;
    }
    if columns.rows() > 0 {
        columns.write(&mut file).map_err(stop)?;
    }
    file.close().map_err(stop)?;
    Ok(undecoded)
}

impl<'a> Origin<'a> {
    fn new(overview: &'a Overview) -> Self {
        let machine = overview.machine.as_ref();
        let escaped = |text: &String| escape::terminal(text).into_owned();
        Self {
            header: overview.header,
            machine,
            host: machine.and_then(|it| it.host.as_ref()).map(escaped),
            release: machine.map(|it| &it.release).map(escaped),
        }
    }
}

impl Device {
    fn new(number: DeviceNumber, name: Option<String>) -> Self {
        Self {
            number: number.to_string(),
            name,
        }
    }
}

fn properties(overview: &Overview) -> Result<WriterProperties, Stop> {
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("verity-trace version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        // By group is enough to pass over what no query asks for.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(Some(GROUP))
        .set_key_value_metadata(Some(metadata::metadata(overview)?));
    for column in COLUMNS.iter().filter(|column| column.is_scattered()) {
        let path = ColumnPath::from(column.name);
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    }
    Ok(properties.build())
}

fn stop(error: ParquetError) -> Stop {
    Stop::Io(match error {
        ParquetError::External(error) => match error.downcast() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        error => io::Error::other(error),
    })
}
