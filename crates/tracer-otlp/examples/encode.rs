//! Prints one span as a line of OTLP/JSON: `cargo run -p tracer-otlp --example encode`.

use std::{
    io::{self, Write, stdout},
    time::{Duration, UNIX_EPOCH},
};

use tracer_model::{Resource, Span, SpanId, TraceId, Value, calls::UnixConnectSpan, span::Subject};
use tracer_otlp::Encoder;

fn main() -> io::Result<()> {
    stdout().write_all(&line())
}

/// Returns the line of a process that connects to the system's bus.
pub(crate) fn line() -> Vec<u8> {
    let resource = Resource::from_iter([("service.name", Value::String("make".to_owned()))]);
    let span = Span {
        trace_id: TraceId([0xaa; 16]),
        span_id: SpanId([0xbb; 8]),
        parent_id: Some(SpanId([0xcc; 8])),
        links: Vec::new(),
        start: UNIX_EPOCH + Duration::from_secs(1),
        end: UNIX_EPOCH + Duration::from_secs(2),
        is_unfinished: false,
        is_repaired: false,
        owner: None,
        is_handled: false,
        attributes: [].into(),
        subject: Subject::Call(UnixConnectSpan { path: "/run/bus".to_owned(), error: None }.into()),
    };
    Encoder::new(resource, None).json_lines([&span])
}
