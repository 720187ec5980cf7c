"""Reads a file with Perfetto's own description of its format, and prints as JSON what it holds."""

import json
import sys

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent


def main():
    trace = Trace()
    trace.ParseFromString(open(sys.argv[1], "rb").read())
    tracks, slices, open_slices, arrows = {}, [], {}, {"from": {}, "to": {}}
    for packet in trace.packet:
        assert packet.trusted_packet_sequence_id, "a packet of no sequence is dropped by trace_processor"
        if packet.HasField("track_descriptor"):
            track = packet.track_descriptor
            tracks[track.uuid] = {"name": track.name, "parent": track.parent_uuid}
        event = packet.track_event
        if event.type == TrackEvent.TYPE_SLICE_BEGIN:
            open_slices[event.track_uuid] = (event.name, packet.timestamp, len(event.debug_annotations))
        if event.type == TrackEvent.TYPE_SLICE_END:
            name, begin, annotations = open_slices.pop(event.track_uuid)
            slices.append({"track": event.track_uuid, "name": name, "ns": packet.timestamp - begin, "known": annotations})
        for flow in event.flow_ids:
            arrows["from"][flow] = event.track_uuid
        for flow in event.terminating_flow_ids:
            arrows["to"][flow] = event.track_uuid
    assert not open_slices, "slices without an end"
    for kind in arrows:
        arrows[kind] = {f"{flow:016x}": f"{track:016x}" for flow, track in arrows[kind].items()}
    hexadecimal = {f"{uuid:016x}": {**track, "parent": f"{track['parent']:016x}"} for uuid, track in tracks.items()}
    slices = [{**each, "track": f"{each['track']:016x}"} for each in slices]
    print(json.dumps({"tracks": hexadecimal, "slices": slices, "arrows": arrows}))


main()
