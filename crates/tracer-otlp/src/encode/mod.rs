//! The spans of a trace as an OTLP message, in protobuf or in JSON.
//!
//! `span.rs` names the fields. `protobuf.rs` and `json.rs` write them.

mod json;
mod protobuf;
mod span;
mod writer;

use std::{cell::Cell, iter};

use tracer_model::{Resource, Span};

use json::Json;
use protobuf::Protobuf;

/// Encodes spans of one trace for one resource.
///
/// ```
/// use tracer_model::{Resource, Value};
/// use tracer_otlp::Encoder;
///
/// let resource = Resource::from_iter([("service.name", Value::String("make".to_owned()))]);
/// let line = Encoder::new(resource, None).json_lines([]);
/// assert!(line.starts_with(br#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":"#));
/// ```
#[derive(Clone, Debug)]
pub struct Encoder {
    resource: Resource,
    value_limit: Option<usize>,
}

impl Encoder {
    /// An encoder for spans of this resource. `value_limit` is the longest string value of a span attribute, in characters.
    #[must_use]
    pub fn new(resource: Resource, value_limit: Option<usize>) -> Self {
        Self { resource, value_limit }
    }

    /// The protobuf of an `ExportTraceServiceRequest`. A `TracesData` has the same bytes.
    #[must_use]
    pub fn request<'a>(&self, spans: impl IntoIterator<Item = &'a Span>) -> Vec<u8> {
        let mut writer = Protobuf::default();
        span::write_traces(&mut writer, &self.resource, spans, self.value_limit, |_| ());
        writer.into_bytes()
    }

    /// Lines of OTLP/JSON, each with its newline: `TracesData`, as the file exporter specification has it. The spans
    /// are on several lines if one line would be too long.
    #[must_use]
    pub fn json_lines<'a>(&self, spans: impl IntoIterator<Item = &'a Span>) -> Vec<u8> {
        let mut spans = spans.into_iter().peekable();
        let mut lines = Vec::new();
        loop {
            let mut writer = Json::begin(lines);
            let (start, size) = (writer.size(), Cell::new(0));
            let of_line = iter::from_fn(|| if size.get() < FULL_LINE { spans.next() } else { None });
            span::write_traces(&mut writer, &self.resource, of_line, self.value_limit, |writer| {
                size.set(writer.size() - start);
            });
            lines = writer.end();
            if spans.peek().is_none() {
                return lines;
            }
        }
    }
}

/// A line with this many bytes gets no more spans. The Collector's file receiver loses a line of more than 1 MiB, and
/// the last span of a line can be long.
const FULL_LINE: usize = 256 << 10;
