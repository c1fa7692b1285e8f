"""Reads a trace by Perfetto's own schema, as its trace processor does, and prints what is in it as JSON.

What breaks a rule of the format ends it with an error: a field that the schema does not have, a word or a track that
nobody introduced, a slice that ends before it begins, a flow that leads nowhere.
"""

import json
import sys
from collections import defaultdict

from google.protobuf.unknown_fields import UnknownFieldSet
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import (
    BuiltinClock,
    Trace,
    TracePacket,
    TrackDescriptor,
    TrackEvent,
)

WORDS = {
    "categories": "event_categories",
    "names": "event_names",
    "args": "debug_annotation_names",
    "values": "debug_annotation_string_values",
}


def check(holds, what):
    if not holds:
        sys.exit(f"not as the format has it: {what}")


def known_fields(message):
    """That the schema knows every field, and every value of an enum, at whatever depth."""
    check(not len(UnknownFieldSet(message)), f"unknown field in {message.DESCRIPTOR.name}: {message}")
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for child in value if field.is_repeated else [value]:
                known_fields(child)


def text(word):
    return word.decode() if isinstance(word, bytes) else word


class Reader:
    def __init__(self):
        self.words = {kind: {} for kind in WORDS}
        self.tracks = {}
        self.events = []
        self.clocks = {}
        self.sequence = None
        self.clock = None

    def read(self, packet):
        known_fields(packet)
        sequence = packet.trusted_packet_sequence_id
        check(sequence, "a packet of no sequence")
        self.sequence = self.sequence or sequence
        check(sequence == self.sequence, "a packet of another sequence")
        if packet.HasField("clock_snapshot"):
            self.read_clocks(packet.clock_snapshot)
        if packet.HasField("trace_packet_defaults"):
            cleared = TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
            check(packet.sequence_flags & cleared, "defaults that do not stand at the start")
            self.clock = packet.trace_packet_defaults.timestamp_clock_id
        for kind, field in WORDS.items():
            known = self.words[kind]
            for word in getattr(packet.interned_data, field):
                check(word.iid and word.iid not in known, f"a second word {word.iid}")
                known[word.iid] = text(word.str if field == WORDS["values"] else word.name)
        if packet.HasField("track_descriptor"):
            self.read_track(packet.track_descriptor)
        if packet.HasField("track_event"):
            needs = TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
            check(packet.sequence_flags & needs, "an event without its words")
            check(self.clock in self.clocks, "a time of no known clock")
            check(packet.HasField("timestamp") and packet.timestamp < 1 << 63, "no time")
            self.read_event(packet.timestamp, packet.track_event)

    def read_clocks(self, snapshot):
        check(not self.events, "clocks behind events")
        for clock in snapshot.clocks:
            check(clock.clock_id not in self.clocks, "a clock twice")
            self.clocks[clock.clock_id] = clock.timestamp
        check(snapshot.primary_trace_clock in self.clocks, "a primary clock that was not read")

    def read_track(self, track):
        check(track.uuid and track.uuid not in self.tracks, f"a second track {track.uuid}")
        path = []
        if track.HasField("parent_uuid"):
            check(track.parent_uuid in self.tracks, "a track below none")
            path = self.tracks[track.parent_uuid]["path"]
        merges = track.sibling_merge_behavior
        self.tracks[track.uuid] = {
            "path": [*path, track.name],
            "counts": track.HasField("counter"),
            "merges": merges == TrackDescriptor.SIBLING_MERGE_BEHAVIOR_BY_TRACK_NAME,
            "description": track.description,
        }

    def read_event(self, at, event):
        check(event.track_uuid in self.tracks, "an event on no track")
        counts = event.type == TrackEvent.TYPE_COUNTER
        check(counts == self.tracks[event.track_uuid]["counts"], "an event on a track of another kind")
        for category in event.category_iids:
            check(category in self.words["categories"], "no such category")
        args = {}
        for annotation in event.debug_annotations:
            name = self.words["args"].get(annotation.name_iid)
            check(name and name not in args, f"argument {name} twice, or of no name")
            args[name] = self.value(annotation)
        name = None
        if event.type in (TrackEvent.TYPE_SLICE_BEGIN, TrackEvent.TYPE_INSTANT):
            name = self.words["names"].get(event.name_iid)
            check(name, "a slice of no name")
        flows = [(flow, False) for flow in event.flow_ids]
        flows += [(flow, True) for flow in event.terminating_flow_ids]
        value = None
        if counts:
            value = getattr(event, event.WhichOneof("counter_value_field"))
        self.events.append((at, event.type, event.track_uuid, name, args, flows, value))

    def value(self, annotation):
        field = annotation.WhichOneof("value")
        check(field, "an argument of no value")
        value = getattr(annotation, field)
        if field == "string_value_iid":
            check(value in self.words["values"], "no such text")
            return self.words["values"][value]
        return value

    def slices(self):
        """Slices and counts in the order of time; what happens at one moment, as it was written."""
        self.events.sort(key=lambda event: event[0])
        slices, counts, flows = [], defaultdict(list), defaultdict(list)
        opened = defaultdict(list)
        for at, kind, track, name, args, flow, value in self.events:
            stack = opened[track]
            if kind == TrackEvent.TYPE_COUNTER:
                counts[track].append((at, value))
            elif kind == TrackEvent.TYPE_SLICE_END:
                check(stack, "an end without a beginning")
                slices[stack.pop()]["end"] = at
            else:
                instant = kind == TrackEvent.TYPE_INSTANT
                for number, ends in flow:
                    flows[number].append((len(slices), ends))
                slices.append({
                    "track": track,
                    "name": name,
                    "start": at,
                    "end": at if instant else None,
                    "parent": stack[-1] if stack else None,
                    "args": args,
                })
                if not instant:
                    stack.append(len(slices) - 1)
        check(not any(opened.values()), "a beginning without an end")
        for number, steps in flows.items():
            ends = [ends for _, ends in steps]
            check(len(steps) > 1 and ends.index(True) == len(ends) - 1, f"flow {number}: {ends}")
        steps = {number: [at for at, _ in steps] for number, steps in flows.items()}
        return slices, counts, steps


def main():
    with open(sys.argv[1], "rb") as file:
        trace = Trace.FromString(file.read())
    known_fields(trace)
    reader = Reader()
    for packet in trace.packet:
        reader.read(packet)
    slices, counts, flows = reader.slices()
    clocks = {BuiltinClock.Name(clock): time for clock, time in reader.clocks.items()}
    json.dump(
        {
            "clock": BuiltinClock.Name(reader.clock),
            "clocks": clocks,
            "tracks": reader.tracks,
            "slices": slices,
            "counts": counts,
            "flows": flows,
        },
        sys.stdout,
    )


main()
