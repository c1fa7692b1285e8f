//! What a file says of its recording as a whole.

use std::collections::BTreeMap;
use std::io;

use parquet::file::metadata::KeyValue;
use serde::Serialize;

use crate::overview::{About, Overview};

/// The key under which it stands, as JSON.
const KEY: &str = "verity-trace";

#[derive(Serialize)]
struct Contents<'a> {
    clocks: Clocks,
    /// As in the JSON document of a recording.
    recording: About<'a>,
    loss: BTreeMap<&'static str, u64>,
}

/// The header of the recording.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "each is a name in JSON")]
struct Clocks {
    realtime_ns: u64,
    monotonic_ns: u64,
    boottime_ns: u64,
}

pub fn metadata(overview: &Overview) -> io::Result<Vec<KeyValue>> {
    let header = overview.header;
    let contents = Contents {
        clocks: Clocks {
            realtime_ns: header.realtime_ns,
            monotonic_ns: header.monotonic_ns,
            boottime_ns: header.boottime_ns,
        },
        recording: About::from(overview),
        loss: overview
            .snapshot
            .loss
            .iter()
            .map(|(kind, &count)| (kind.name(), count))
            .collect(),
    };
    let text = serde_json::to_string(&contents)?;
    Ok(vec![KeyValue::new(KEY.to_owned(), text)])
}
