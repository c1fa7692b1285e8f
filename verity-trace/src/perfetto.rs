//! The I/Os of a recording on a time line, as a trace that Perfetto's viewer and its trace processor read.
//!
//! Every device has a slice for each I/O, named after its placement, and in it one for each stage; every CPU has
//! the verifications that ran on it, by context, and the completions; a flow leads from the one to the other.
//! Slices on one track may follow or enclose each other and nothing else, so I/Os that are in flight together lie
//! on lanes, of which the viewer makes one track.
//!
//! Nothing grows with the number of I/Os: they are written in the order in which they are read, that of their ends,
//! and who reads a trace from a file sorts it by time; what begins or ends at the same moment then stays in the
//! order in which it was written.

mod counters;
mod lanes;
mod message;
mod packets;
mod slices;
mod span;
mod tracks;

use std::io::{Read, Seek, Write};

use counters::Counters;
use packets::Packets;
use slices::Slices;
use tracks::Tracks;

use crate::escape;
use crate::overview::{self, Overview};
use crate::recording::{Block, Reader};
use crate::snapshot::DeviceNumber;
use crate::table::Stop;

/// What is not in a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Omitted {
    /// Records that make no I/O.
    pub undecoded: u64,
    /// I/Os and verifications that found no track, since there are too many.
    pub unplaced: u64,
}

/// Writes the I/Os of these devices, or of all, and how counters went, as a trace. Of the recording the overview was
/// read before.
pub fn trace<R: Read + Seek>(
    reader: &mut Reader<R>,
    overview: &Overview,
    devices: Option<&[DeviceNumber]>,
    out: impl Write,
) -> Result<Omitted, Stop> {
    let mut packets = Packets::new(out, overview.header)?;
    let description = overview::origin(overview);
    let mut tracks = Tracks::new(&mut packets, escape::terminal(&description).into_owned())?;
    let mut counters = Counters::new(&mut packets, &tracks)?;
    let wanted = |device| devices.is_none_or(|devices| devices.contains(&device));
    let mut omitted = Omitted::default();
    let mut flows = 0;
    while let Some(block) = reader.next_block()? {
        match block {
            Block::Devices(noted) => tracks.rename(&noted),
            Block::Picture { picture, .. } => {
                // The overview has said what is wrong with one that cannot be read.
                if let Ok(snapshot) = picture.document.snapshot() {
                    let at = picture.monotonic_ns;
                    counters.add(&mut packets, &mut tracks, at, &snapshot, &wanted)?;
                }
            }
            Block::Ios(ios) => {
                omitted.undecoded += reader.ios(&ios, |io| {
                    if wanted(io.device) {
                        flows += 1;
                        let slices = Slices::of(io, flows);
                        let snapshot = &overview.snapshot;
                        omitted.unplaced += slices.write(&mut packets, &mut tracks, snapshot)?;
                    }
                    Ok::<_, Stop>(())
                })?;
            }
            Block::Machine(_) | Block::Parameters(_) | Block::End(_) => {}
        }
    }
    packets.flush()?;
    Ok(omitted)
}
