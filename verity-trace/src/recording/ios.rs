//! I/O records in columns, and back bit for bit.
//!
//! What records have in common is written once: their shape (placement, contexts, length and the
//! like), and who submitted them. What is left are numbers, each as what it adds to what the others
//! say: an I/O's total is the sum of its stages, and it finished soon after the one before.

use std::collections::HashMap;
use std::hash::Hash;

use verity_trace_ebpf::placement::Stage;
use verity_trace_ebpf::record::{ABSENT, COMMAND_BYTES, Record};

use super::bytes::Bytes;
use super::columns::{self, unzigzag, zigzag};
use super::fault::Malformed;
use crate::snapshot::Era;

/// Records in a block at most.
pub const MAX_RECORDS: usize = 32_768;

/// The numbers of an I/O that have columns of their own.
const COLUMNS: usize = STAGES + Stage::PARTS;
const SHAPE: usize = 0;
const SUBMITTER: usize = 1;
const LANE: usize = 2;
const NUMBER: usize = 3;
const FINISH: usize = 4;
const SECTOR: usize = 5;
const RESIDUE: usize = 6;
const SUBMIT_CPU: usize = 7;
const COMPLETE_CPU: usize = 8;
const VERIFY_CPU: usize = 9;
const STAGES: usize = 10;

/// The part of `seq` that numbers the I/Os of one copy of a program on one CPU.
const NUMBER_BITS: u32 = 47;
const NUMBER_MASK: u64 = (1 << NUMBER_BITS) - 1;

/// What many records have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    device: u32,
    bytes: u32,
    ioprio: u16,
    flags: u16,
    status: u8,
    placement: u8,
    outcome: u8,
    completion: u8,
    context: u8,
    attempt_context: u8,
    reserved: [u8; 4],
    /// A bit for each stage that there is.
    stages: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Submitter {
    cgroup: u64,
    task: u32,
    command: [u8; COMMAND_BYTES],
}

/// The I/Os that one copy of a program numbered on one CPU.
#[derive(Clone, Copy, Debug)]
struct Lane {
    /// `seq` above its number: twice the CPU, and 1 more for the second copy.
    id: u32,
    /// The number of the first.
    first: u64,
}

/// When the records of a block finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The era of the kernel that they are from; absent when that was not known.
    pub era: Option<Era>,
    /// How many there are.
    pub records: usize,
    /// The first end of any, in nanoseconds of `CLOCK_MONOTONIC`.
    pub first_finish: u64,
    /// The last.
    pub last_finish: u64,
}

impl Span {
    /// Bytes that it takes at the start of a payload.
    pub const BYTES: usize = 24;

    fn of(records: &[Record], era: Option<Era>) -> Self {
        let ends = records.iter().map(finish);
        Self {
            era,
            records: records.len(),
            first_finish: ends.clone().min().unwrap_or(0),
            last_finish: ends.max().unwrap_or(0),
        }
    }

    /// Reads it from the start of a payload.
    pub fn read(bytes: &mut Bytes<'_>) -> Result<Self, Malformed> {
        let era = match bytes.u32()? {
            0 => None,
            number => {
                let found = usize::try_from(number).ok().and_then(|it| ERAS.get(it - 1));
                Some(*found.ok_or(Malformed("there is no such era"))?)
            }
        };
        Ok(Self {
            era,
            records: bytes.count(MAX_RECORDS)?,
            first_finish: bytes.u64()?,
            last_finish: bytes.u64()?,
        })
    }

    fn write(self, out: &mut Vec<u8>) {
        let era = self
            .era
            .and_then(|it| ERAS.iter().position(|&era| era == it));
        let era = era.map_or(0, |at| at + 1);
        for number in [era, self.records] {
            out.extend(length(number));
        }
        out.extend(self.first_finish.to_le_bytes());
        out.extend(self.last_finish.to_le_bytes());
    }
}

/// Eras by their number in the file, from 1.
const ERAS: [Era; 5] = [
    Era::NoOption,
    Era::Tasklet,
    Era::Inert,
    Era::Bh,
    Era::Inline,
];

/// Turns records into bytes.
pub struct Encoder {
    sections: columns::Writer,
    columns: [Vec<u64>; COLUMNS],
}

impl Encoder {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            sections: columns::Writer::new()?,
            columns: Default::default(),
        })
    }

    /// The payload for at most [`MAX_RECORDS`] records.
    pub fn encode(&mut self, records: &[Record], era: Option<Era>) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 * records.len() + 1_024);
        Span::of(records, era).write(&mut out);
        for column in &mut self.columns {
            column.clear();
        }
        let mut shapes = Dictionary::default();
        let mut submitters = Dictionary::default();
        let mut ids = Dictionary::default();
        let mut lanes = Vec::new();
        let mut next_numbers = Vec::new();
        let follows = follows(records);
        let mut before = Before::default();
        for record in records {
            // 17 of 64 bits.
            let id = (record.seq >> NUMBER_BITS) as u32;
            let number = record.seq & NUMBER_MASK;
            let lane = ids.index(id);
            if lane == lanes.len() {
                lanes.push(Lane { id, first: number });
                next_numbers.push(number);
            }
            let expected = std::mem::replace(&mut next_numbers[lane], number.wrapping_add(1));
            let stages = record.stages_ns.map(|ns| if ns == ABSENT { 0 } else { ns });
            let sum = stages.into_iter().fold(0, u64::wrapping_add);
            let finish = finish(record);
            let sector = if follows {
                zigzag(record.sector.wrapping_sub(before.next_sector))
            } else {
                record.sector
            };
            let [submit, complete, verify] =
                [record.submit_cpu, record.complete_cpu, record.verify_cpu].map(u64::from);
            let row: [u64; STAGES] = [
                shapes.index(Shape::of(record)) as u64,
                submitters.index(Submitter::of(record)) as u64,
                lane as u64,
                zigzag(number.wrapping_sub(expected)),
                zigzag(finish.wrapping_sub(before.finish)),
                sector,
                zigzag(record.total_ns.wrapping_sub(sum)),
                submit ^ u64::from(id >> 1),
                complete,
                verify ^ complete,
            ];
            for (column, value) in self.columns.iter_mut().zip(row.into_iter().chain(stages)) {
                column.push(value);
            }
            before = Before::of(record);
        }
        self.dictionary(&shapes.entries, &mut out);
        self.dictionary(&submitters.entries, &mut out);
        self.dictionary(&lanes, &mut out);
        out.push(u8::from(follows));
        for column in &self.columns {
            self.sections.column(column, &mut out);
        }
        out
    }

    fn dictionary<T: Entry>(&mut self, entries: &[T], out: &mut Vec<u8>) {
        out.extend(length(entries.len()));
        let mut bytes = Vec::with_capacity(entries.len() * T::BYTES);
        for entry in entries {
            entry.write(&mut bytes);
        }
        self.sections.section(&bytes, out);
    }
}

/// Turns bytes back into records.
pub struct Decoder {
    sections: columns::Reader,
    columns: [Vec<u64>; COLUMNS],
    section: Vec<u8>,
}

impl Decoder {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            sections: columns::Reader::new()?,
            columns: Default::default(),
            section: Vec::new(),
        })
    }

    /// Adds the records of a payload to `records`.
    pub fn decode(&mut self, payload: &[u8], records: &mut Vec<Record>) -> Result<Span, Malformed> {
        let mut bytes = Bytes(payload);
        let span = Span::read(&mut bytes)?;
        let count = span.records;
        let shapes: Vec<Shape> = self.dictionary(&mut bytes, count)?;
        let submitters: Vec<Submitter> = self.dictionary(&mut bytes, count)?;
        let lanes: Vec<Lane> = self.dictionary(&mut bytes, count)?;
        let follows = match bytes.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed("sectors are stored in an unknown way")),
        };
        for column in &mut self.columns {
            column.resize(count, 0);
            self.sections.column(&mut bytes, column)?;
        }
        bytes.end()?;
        let mut next_numbers: Vec<u64> = lanes.iter().map(|lane| lane.first).collect();
        let mut before = Before::default();
        records.reserve(count);
        for at in 0..count {
            let value = |column: usize| self.columns[column][at];
            let shape = entry(&shapes, value(SHAPE))?;
            let submitter = entry(&submitters, value(SUBMITTER))?;
            let lane = entry(&lanes, value(LANE))?;
            let next = entry_mut(&mut next_numbers, value(LANE))?;
            let number = next.wrapping_add(unzigzag(value(NUMBER)));
            *next = number.wrapping_add(1);
            let mut stages_ns = [ABSENT; Stage::PARTS];
            let mut sum = 0u64;
            for (stage, ns) in stages_ns.iter_mut().enumerate() {
                if shape.stages & (1 << stage) != 0 {
                    *ns = value(STAGES + stage);
                    sum = sum.wrapping_add(*ns);
                }
            }
            let total_ns = sum.wrapping_add(unzigzag(value(RESIDUE)));
            let finish = before.finish.wrapping_add(unzigzag(value(FINISH)));
            let sector = if follows {
                before.next_sector.wrapping_add(unzigzag(value(SECTOR)))
            } else {
                value(SECTOR)
            };
            let complete_cpu = cpu(value(COMPLETE_CPU))?;
            let record = Record {
                seq: u64::from(lane.id) << NUMBER_BITS | number & NUMBER_MASK,
                mapped_at: finish.wrapping_sub(total_ns),
                sector,
                total_ns,
                stages_ns,
                cgroup: submitter.cgroup,
                command: submitter.command,
                device: shape.device,
                bytes: shape.bytes,
                submitter: submitter.task,
                ioprio: shape.ioprio,
                submit_cpu: cpu(value(SUBMIT_CPU) ^ u64::from(lane.id >> 1))?,
                complete_cpu,
                verify_cpu: complete_cpu ^ cpu(value(VERIFY_CPU))?,
                flags: shape.flags,
                status: shape.status,
                placement: shape.placement,
                outcome: shape.outcome,
                completion: shape.completion,
                context: shape.context,
                attempt_context: shape.attempt_context,
                reserved: shape.reserved,
            };
            before = Before::of(&record);
            records.push(record);
        }
        Ok(span)
    }

    fn dictionary<T: Entry>(
        &mut self,
        bytes: &mut Bytes<'_>,
        limit: usize,
    ) -> Result<Vec<T>, Malformed> {
        let count = bytes.count(limit)?;
        self.sections
            .section(bytes, count * T::BYTES, &mut self.section)?;
        let mut entries = Bytes(&self.section);
        (0..count).map(|_| T::read(&mut entries)).collect()
    }
}

/// Something that a dictionary holds.
trait Entry: Sized {
    /// Bytes that it takes there.
    const BYTES: usize;

    fn write(&self, out: &mut Vec<u8>);

    fn read(bytes: &mut Bytes<'_>) -> Result<Self, Malformed>;
}

impl Entry for Shape {
    const BYTES: usize = 24;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.device.to_le_bytes());
        out.extend(self.bytes.to_le_bytes());
        out.extend(self.ioprio.to_le_bytes());
        out.extend(self.flags.to_le_bytes());
        out.extend([
            self.status,
            self.placement,
            self.outcome,
            self.completion,
            self.context,
            self.attempt_context,
        ]);
        out.extend(self.reserved);
        out.extend([self.stages, 0]);
    }

    fn read(bytes: &mut Bytes<'_>) -> Result<Self, Malformed> {
        let shape = Self {
            device: bytes.u32()?,
            bytes: bytes.u32()?,
            ioprio: bytes.u16()?,
            flags: bytes.u16()?,
            status: bytes.u8()?,
            placement: bytes.u8()?,
            outcome: bytes.u8()?,
            completion: bytes.u8()?,
            context: bytes.u8()?,
            attempt_context: bytes.u8()?,
            reserved: bytes.array()?,
            stages: bytes.u8()?,
        };
        bytes.take(1)?;
        Ok(shape)
    }
}

impl Entry for Submitter {
    const BYTES: usize = 12 + COMMAND_BYTES;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.cgroup.to_le_bytes());
        out.extend(self.task.to_le_bytes());
        out.extend(self.command);
    }

    fn read(bytes: &mut Bytes<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            cgroup: bytes.u64()?,
            task: bytes.u32()?,
            command: bytes.array()?,
        })
    }
}

impl Entry for Lane {
    const BYTES: usize = 12;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.id.to_le_bytes());
        out.extend(self.first.to_le_bytes());
    }

    fn read(bytes: &mut Bytes<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            id: bytes.u32()?,
            first: bytes.u64()?,
        })
    }
}

impl Shape {
    fn of(record: &Record) -> Self {
        let bits = record.stages_ns.iter().enumerate();
        let stages = bits.filter(|(_, ns)| **ns != ABSENT);
        Self {
            device: record.device,
            bytes: record.bytes,
            ioprio: record.ioprio,
            flags: record.flags,
            status: record.status,
            placement: record.placement,
            outcome: record.outcome,
            completion: record.completion,
            context: record.context,
            attempt_context: record.attempt_context,
            reserved: record.reserved,
            stages: stages.fold(0, |bits, (stage, _)| bits | 1 << stage),
        }
    }
}

impl Submitter {
    const fn of(record: &Record) -> Self {
        Self {
            cgroup: record.cgroup,
            task: record.submitter,
            command: record.command,
        }
    }
}

/// What the next record is written against.
#[derive(Clone, Copy, Default)]
struct Before {
    finish: u64,
    next_sector: u64,
}

impl Before {
    fn of(record: &Record) -> Self {
        Self {
            finish: finish(record),
            next_sector: next_sector(record),
        }
    }
}

/// Values by the order in which they came first.
struct Dictionary<T> {
    entries: Vec<T>,
    indices: HashMap<T, usize>,
    last: usize,
}

impl<T> Default for Dictionary<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            indices: HashMap::new(),
            last: 0,
        }
    }
}

impl<T: Copy + Eq + Hash> Dictionary<T> {
    fn index(&mut self, value: T) -> usize {
        // Mostly it is the same as before.
        if self.entries.get(self.last) != Some(&value) {
            self.last = *self.indices.entry(value).or_insert(self.entries.len());
            if self.last == self.entries.len() {
                self.entries.push(value);
            }
        }
        self.last
    }
}

const fn finish(record: &Record) -> u64 {
    record.mapped_at.wrapping_add(record.total_ns)
}

fn next_sector(record: &Record) -> u64 {
    record.sector.wrapping_add(u64::from(record.bytes / 512))
}

/// Whether the sectors are smaller numbers as steps from the end of the I/O before.
fn follows(records: &[Record]) -> bool {
    let mut next = 0;
    let (mut alone, mut steps) = (0u64, 0u64);
    for record in records {
        let bits = |number: u64| u64::from(u64::BITS - number.leading_zeros());
        alone += bits(record.sector);
        steps += bits(zigzag(record.sector.wrapping_sub(next)));
        next = next_sector(record);
    }
    steps < alone
}

fn length(count: usize) -> [u8; 4] {
    u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes()
}

fn entry<T>(entries: &[T], index: u64) -> Result<&T, Malformed> {
    let found = usize::try_from(index).ok().and_then(|it| entries.get(it));
    found.ok_or(Malformed("a record refers to an entry that is not there"))
}

fn entry_mut<T>(entries: &mut [T], index: u64) -> Result<&mut T, Malformed> {
    let found = usize::try_from(index)
        .ok()
        .and_then(|it| entries.get_mut(it));
    found.ok_or(Malformed("a record refers to an entry that is not there"))
}

fn cpu(value: u64) -> Result<u16, Malformed> {
    u16::try_from(value).map_err(|_| Malformed("a record has an impossible CPU"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable as _;
    use proptest::prelude::*;

    fn round_trip(records: &[Record], era: Option<Era>) -> (Vec<u8>, Vec<Record>, Span) {
        let bytes = Encoder::new().expect("an encoder").encode(records, era);
        let mut found = Vec::new();
        let mut decoder = Decoder::new().expect("a decoder");
        let span = decoder.decode(&bytes, &mut found).expect("records");
        (bytes, found, span)
    }

    fn any_bytes() -> impl Strategy<Value = Record> {
        prop::array::uniform32(any::<u32>()).prop_map(|words| {
            let mut record: Record = bytemuck::cast(words);
            // A stage that is absent is one of the values.
            if record.flags & 1 != 0 {
                record.stages_ns[2] = ABSENT;
            }
            record
        })
    }

    proptest! {
        #[test]
        fn any_records_are_read_back_bit_for_bit(
            records in prop::collection::vec(any_bytes(), 0..50),
        ) {
            let (_, found, span) = round_trip(&records, Some(Era::Inline));
            prop_assert_eq!(&found, &records);
            prop_assert_eq!(span, Span::of(&records, Some(Era::Inline)));
        }

        #[test]
        fn no_damage_panics(at in 0usize..4_000, byte in any::<u8>()) {
            let records: Vec<_> = (0..100).map(alike).collect();
            let mut bytes = Encoder::new().expect("an encoder").encode(&records, None);
            let at = at % bytes.len();
            bytes[at] = byte;
            let mut decoder = Decoder::new().expect("a decoder");
            let _ = decoder.decode(&bytes, &mut Vec::new());
            let _ = decoder.decode(&bytes[..at], &mut Vec::new());
        }
    }

    fn alike(number: u64) -> Record {
        Record {
            seq: 3 << 47 | number,
            mapped_at: 1_000_000 + number * 10_000,
            sector: number * 8,
            total_ns: 9_000,
            stages_ns: [4_000, 1_000, ABSENT, ABSENT, 4_000],
            bytes: 4_096,
            ..Record::zeroed()
        }
    }

    #[test]
    fn ios_that_are_alike_take_nothing() {
        let records: Vec<_> = (0..10_000).map(alike).collect();
        let (bytes, found, span) = round_trip(&records, None);
        assert_eq!(found, records);
        assert_eq!((span.era, span.records), (None, 10_000));
        assert_eq!(span.first_finish, 1_009_000);
        assert_eq!(span.last_finish, 1_000_000 + 9_999 * 10_000 + 9_000);
        assert!(bytes.len() < 600, "{} bytes", bytes.len());
    }

    #[test]
    fn a_count_that_cannot_be_is_refused_before_anything_is_kept_for_it() {
        let mut bytes = Encoder::new().expect("an encoder").encode(&[], None);
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        let mut records = Vec::new();
        let refused = Decoder::new()
            .expect("a decoder")
            .decode(&bytes, &mut records);
        assert!(refused.is_err());
        assert_eq!(records.capacity(), 0);
    }
}
