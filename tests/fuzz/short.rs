//! A recording made short, so that many can be tried, and without compression, of which hardly any change is valid.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Result;
use verity_trace::recording::{Block, Encoder, Frame, Kind, Reader, Writer};

/// Records in a block, blocks of each kind.
const RECORDS: usize = 4;
const BLOCKS: usize = 2;

/// The first blocks of each kind of a recording.
pub fn short(path: &Path) -> Result<Vec<u8>> {
    let fault = |fault| anyhow::anyhow!("{fault}");
    let mut reader = Reader::new(BufReader::new(File::open(path)?), false).map_err(fault)?;
    let mut writer = Writer::new(Vec::new(), &reader.header())?;
    let mut encoder = Encoder::new(false)?;
    let mut counts = [0; 7];
    while let Some(block) = reader.next_block().map_err(fault)? {
        let (at, frames) = match block {
            Block::Machine(it) => (0, vec![plain(Kind::Machine, &it)?]),
            Block::Devices(it) => (1, vec![plain(Kind::Devices, &it)?]),
            Block::Parameters(it) => (2, vec![plain(Kind::Parameters, &it)?]),
            Block::End(it) => (3, vec![plain(Kind::End, &it)?]),
            // Whole, once more, and then by how one differs.
            Block::Picture { picture, .. } => {
                let whole = (counts[4] == 0).then(|| plain(Kind::Snapshot, &picture));
                let whole = whole.transpose()?.into_iter();
                (4, whole.chain([encoder.picture(&picture)?]).collect())
            }
            Block::Ios(ios) => {
                let mut records = Vec::new();
                reader.records(&ios, &mut records).map_err(fault)?;
                let some = records.chunks(RECORDS).take(BLOCKS);
                let frames = some.map(|some| encoder.ios(some, ios.span.era));
                (5, frames.collect::<std::io::Result<_>>()?)
            }
        };
        counts[at] += 1;
        if counts[at] <= BLOCKS {
            for frame in &frames {
                writer.write(frame)?;
            }
        }
    }
    Ok(writer.into_inner())
}

fn plain(kind: Kind, note: &impl serde::Serialize) -> Result<Frame> {
    Ok(Frame::plain(kind, 0, serde_json::to_vec(note)?)?)
}
