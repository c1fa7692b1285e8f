//! Packets one after the other: every word is written once, and named by its number from then on.

use std::collections::HashMap;
use std::io::{self, Write};

use prost::Message as _;

use super::message::{
    BOOTTIME, COUNT, Clock, ClockSnapshot, CounterDescriptor, DebugAnnotation, EXPLICIT, Interned,
    InternedData, MERGE_BY_NAME, MONOTONIC, NEEDS_STATE, PACKET, REALTIME, STATE_CLEARED,
    TracePacket, TracePacketDefaults, TrackDescriptor, TrackEvent, Type,
};
use crate::recording::Header;

/// Names the packets of this trace, also where it is put behind one that somebody else wrote, who counts from 1.
const SEQUENCE: u32 = 12_345;

/// The first track, likewise.
const FIRST_TRACK: u64 = 1_000_000;

/// Tracks, at most: what finds none is left out and counted. A real recording has one for each I/O that is in
/// flight at the same time, and a few for each CPU and device.
const MAX_TRACKS: u64 = 65_536;

/// Words of a kind that are kept, at most: further ones are written out each time.
const MAX_WORDS: usize = 4_096;

/// The category of every slice.
const CATEGORY: &str = "dm-verity";

/// A track, by its number.
pub type Track = u64;

/// What is said of a slice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A number.
    Number(u64),
    /// A text.
    Text(&'a str),
    /// It is so.
    Yes,
}

/// What a track shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// Nothing but other tracks, in the order of their rank.
    Tracks,
    /// Slices, together with those of its siblings of the same name.
    Slices,
    /// A count.
    Count,
    /// A rate, in this unit.
    Rate(&'static str),
}

/// Where an event stands in the flow of an I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It goes on from here.
    On(u64),
    /// It ends here.
    Ends(u64),
}

/// The beginning of a slice, or all of it where it takes no time.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Its name.
    pub name: &'a str,
    /// What is said of it.
    pub args: &'a [(&'static str, Value<'a>)],
    /// The flow that it is part of.
    pub flow: Option<Flow>,
}

/// Writes packets.
pub struct Packets<W> {
    out: W,
    buffer: Vec<u8>,
    tracks: u64,
    words: Words,
}

#[derive(Default)]
struct Words {
    names: HashMap<String, u64>,
    args: HashMap<String, u64>,
    values: HashMap<String, u64>,
    has_category: bool,
}

impl<W: Write> Packets<W> {
    /// Begins with what the clocks said.
    pub fn new(out: W, clocks: Header) -> io::Result<Self> {
        let mut packets = Self {
            out,
            buffer: Vec::new(),
            tracks: 0,
            words: Words::default(),
        };
        let clock = |clock_id, timestamp| Clock {
            clock_id: Some(clock_id),
            timestamp: Some(timestamp),
        };
        packets.write(TracePacket {
            clock_snapshot: Some(ClockSnapshot {
                clocks: vec![
                    clock(MONOTONIC, clocks.monotonic_ns),
                    clock(BOOTTIME, clocks.boottime_ns),
                    clock(REALTIME, clocks.realtime_ns),
                ],
                primary_trace_clock: Some(BOOTTIME),
            }),
            sequence_flags: Some(STATE_CLEARED),
            trace_packet_defaults: Some(TracePacketDefaults {
                timestamp_clock_id: Some(MONOTONIC),
            }),
            ..TracePacket::default()
        })?;
        Ok(packets)
    }

    /// Adds a track, unless there are too many. Tracks of lower rank stand above.
    pub fn track(
        &mut self,
        name: &str,
        parent: Option<Track>,
        rank: i32,
        shows: Shows,
    ) -> io::Result<Option<Track>> {
        self.described_track(name, parent, rank, shows, None)
    }

    /// The same, with a text that tells more of it.
    pub fn described_track(
        &mut self,
        name: &str,
        parent: Option<Track>,
        rank: i32,
        shows: Shows,
        description: Option<String>,
    ) -> io::Result<Option<Track>> {
        if self.tracks >= MAX_TRACKS {
            return Ok(None);
        }
        let track = FIRST_TRACK + self.tracks;
        self.tracks += 1;
        let counter = |unit, unit_name: Option<&str>| CounterDescriptor {
            unit,
            unit_name: unit_name.map(str::to_owned),
        };
        self.write(TracePacket {
            track_descriptor: Some(TrackDescriptor {
                uuid: Some(track),
                name: Some(name.to_owned()),
                parent_uuid: parent,
                counter: match shows {
                    Shows::Count => Some(counter(Some(COUNT), None)),
                    Shows::Rate(unit) => Some(counter(None, Some(unit))),
                    Shows::Tracks | Shows::Slices => None,
                },
                child_ordering: (shows == Shows::Tracks).then_some(EXPLICIT),
                sibling_order_rank: Some(rank),
                description,
                sibling_merge_behavior: (shows == Shows::Slices).then_some(MERGE_BY_NAME),
            }),
            ..TracePacket::default()
        })?;
        Ok(Some(track))
    }

    /// A slice begins.
    pub fn begin(&mut self, track: Track, at: u64, event: Event<'_>) -> io::Result<()> {
        self.event(track, at, Type::Begin, event)
    }

    /// Something happens that takes no time.
    pub fn instant(&mut self, track: Track, at: u64, event: Event<'_>) -> io::Result<()> {
        self.event(track, at, Type::Instant, event)
    }

    /// The slice ends that began last on the track.
    pub fn end(&mut self, track: Track, at: u64) -> io::Result<()> {
        self.write(timed(at, Type::End, track, TrackEvent::default()))
    }

    /// A count from this moment on.
    pub fn count(&mut self, track: Track, at: u64, count: u64) -> io::Result<()> {
        let event = TrackEvent {
            counter_value: Some(i64::try_from(count).unwrap_or(i64::MAX)),
            ..TrackEvent::default()
        };
        self.write(timed(at, Type::Counter, track, event))
    }

    /// A rate from this moment on.
    pub fn rate(&mut self, track: Track, at: u64, rate: f64) -> io::Result<()> {
        let event = TrackEvent {
            double_counter_value: Some(rate),
            ..TrackEvent::default()
        };
        self.write(timed(at, Type::Counter, track, event))
    }

    /// The same, when nothing more is to be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn event(&mut self, track: Track, at: u64, kind: Type, event: Event<'_>) -> io::Result<()> {
        let words = &mut self.words;
        let mut new = InternedData::default();
        if !words.has_category {
            words.has_category = true;
            new.event_categories.push(interned(1, CATEGORY));
        }
        let (mut flow_ids, mut terminating_flow_ids) = (Vec::new(), Vec::new());
        match event.flow {
            Some(Flow::On(id)) => flow_ids.push(id),
            Some(Flow::Ends(id)) => terminating_flow_ids.push(id),
            None => {}
        }
        let debug_annotations = event.args.iter().map(|&(name, value)| {
            let mut annotation = DebugAnnotation {
                name_iid: number_of(name, &mut words.args, &mut new.debug_annotation_names),
                ..DebugAnnotation::default()
            };
            match value {
                Value::Number(number) => annotation.uint_value = Some(number),
                Value::Yes => annotation.bool_value = Some(true),
                Value::Text(text) => {
                    let known = &mut new.debug_annotation_string_values;
                    annotation.string_value_iid = number_of(text, &mut words.values, known);
                    if annotation.string_value_iid.is_none() {
                        annotation.string_value = Some(text.to_owned());
                    }
                }
            }
            annotation
        });
        let event = TrackEvent {
            category_iids: vec![1],
            debug_annotations: debug_annotations.collect(),
            name_iid: number_of(event.name, &mut words.names, &mut new.event_names),
            flow_ids,
            terminating_flow_ids,
            ..TrackEvent::default()
        };
        let mut packet = timed(at, kind, track, event);
        packet.interned_data = (new != InternedData::default()).then_some(new);
        self.write(packet)
    }

    fn write(&mut self, mut packet: TracePacket) -> io::Result<()> {
        packet.trusted_packet_sequence_id = Some(SEQUENCE);
        self.buffer.clear();
        self.buffer.push(PACKET);
        packet
            .encode_length_delimited(&mut self.buffer)
            .map_err(io::Error::other)?;
        self.out.write_all(&self.buffer)
    }
}

fn timed(at: u64, kind: Type, track: Track, event: TrackEvent) -> TracePacket {
    TracePacket {
        timestamp: Some(at),
        track_event: Some(TrackEvent {
            r#type: Some(kind as i32),
            track_uuid: Some(track),
            ..event
        }),
        sequence_flags: Some(NEEDS_STATE),
        ..TracePacket::default()
    }
}

/// The number of a word, which it gets the first time, unless there are too many.
fn number_of(word: &str, known: &mut HashMap<String, u64>, new: &mut Vec<Interned>) -> Option<u64> {
    if let Some(&number) = known.get(word) {
        return Some(number);
    }
    if known.len() >= MAX_WORDS {
        return None;
    }
    let number = known.len() as u64 + 1;
    known.insert(word.to_owned(), number);
    new.push(interned(number, word));
    Some(number)
}

fn interned(number: u64, word: &str) -> Interned {
    Interned {
        iid: Some(number),
        text: Some(word.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Trace {
        #[prost(message, repeated, tag = "1")]
        packet: Vec<TracePacket>,
    }

    #[test]
    fn a_word_is_written_once_until_there_are_too_many() {
        let mut out = Vec::new();
        let mut packets = Packets::new(&mut out, Header::default()).expect("written to memory");
        let track = packets.track("track", None, 0, Shows::Slices);
        let track = track.expect("written").expect("a track");
        let last = MAX_WORDS.to_string();
        let words = (0..=MAX_WORDS).map(|word| word.to_string());
        for word in words.chain(["0".to_owned(), last.clone()]) {
            let args = [("word", Value::Text(&word))];
            let event = Event {
                name: "event",
                args: &args,
                flow: None,
            };
            packets.instant(track, 0, event).expect("written");
        }
        let written = Trace::decode(&out[..]).expect("a trace");
        let values: Vec<_> = written
            .packet
            .iter()
            .filter_map(|packet| {
                let value = packet.track_event.as_ref()?.debug_annotations.first()?;
                let new = packet.interned_data.as_ref();
                let new = new.map_or(0, |it| it.debug_annotation_string_values.len());
                Some((value.string_value_iid, value.string_value.clone(), new))
            })
            .collect();
        assert_eq!(values.len(), MAX_WORDS + 3);
        assert_eq!(values[0], (Some(1), None, 1));
        assert_eq!(values[MAX_WORDS - 1], (Some(MAX_WORDS as u64), None, 1));
        assert_eq!(values[MAX_WORDS], (None, Some(last.clone()), 0));
        assert_eq!(values[MAX_WORDS + 1], (Some(1), None, 0));
        assert_eq!(values[MAX_WORDS + 2], (None, Some(last), 0));
    }

    #[test]
    fn there_is_a_last_track() {
        let mut packets = Packets::new(io::sink(), Header::default()).expect("written");
        let mut track = || packets.track("", None, 0, Shows::Count).expect("written");
        for number in 0..MAX_TRACKS {
            assert_eq!(track(), Some(FIRST_TRACK + number));
        }
        assert_eq!(track(), None);
    }
}
