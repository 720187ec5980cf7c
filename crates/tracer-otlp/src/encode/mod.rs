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
/// assert!(line.starts_with(br#"{"resourceSpans":[{"scopeSpans":[{"spans":[],"scope":{"name":"process-tracer","#));
/// ```
#[derive(Clone, Debug)]
pub struct Encoder {
    resource: Resource,
    value_limit: Option<usize>,
    counts: Counts,
    is_sampled: bool,
    trace_state: String,
}

/// How many attributes, events and links of a span are exported. The others are counted as dropped. `None`: all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub attributes: Option<usize>,
    pub events: Option<usize>,
    pub links: Option<usize>,
    pub event_attributes: Option<usize>,
}

impl Encoder {
    /// An encoder for spans of this resource. `value_limit` is the longest string value of a span attribute, in characters.
    #[must_use]
    pub fn new(resource: Resource, value_limit: Option<usize>) -> Self {
        Self { resource, value_limit, counts: Counts::default(), is_sampled: true, trace_state: String::new() }
    }

    /// The same encoder with these limits.
    #[must_use]
    pub fn with_counts(self, counts: Counts) -> Self {
        Self { counts, ..self }
    }

    /// The same encoder for a trace with this state of W3C Trace Context, sampled or not. By default a trace is sampled and has
    /// no state.
    #[must_use]
    pub fn with_context(self, trace_state: String, is_sampled: bool) -> Self {
        Self { trace_state, is_sampled, ..self }
    }

    /// The protobuf of an `ExportTraceServiceRequest`. A `TracesData` has the same bytes.
    #[must_use]
    pub fn request<'a>(&self, spans: impl IntoIterator<Item = &'a Span>) -> Vec<u8> {
        let mut writer = Protobuf::default();
        span::write_traces(&mut writer, self, spans, |_| ());
        writer.into_bytes()
    }

    /// Lines of OTLP/JSON, each with its newline: `TracesData`, as the file exporter specification has it. A line is shorter
    /// than 1 MiB, unless one span alone is longer.
    #[must_use]
    pub fn json_lines<'a>(&self, spans: impl IntoIterator<Item = &'a Span>) -> Vec<u8> {
        let mut spans = spans.into_iter().peekable();
        let (mut lines, mut of_line) = (Vec::new(), Vec::new());
        loop {
            let start = lines.len();
            let size = Cell::new(0);
            let next = iter::from_fn(|| if size.get() < FULL_LINE { spans.next() } else { None });
            lines = self.json_line(lines, next.inspect(|span| of_line.push(*span)), |bytes| size.set(bytes));
            // The last span is long, so it gets a line of its own.
            if lines.len() - start > LONGEST_LINE
                && let Some((last, others)) = of_line.split_last()
                && !others.is_empty()
            {
                lines.truncate(start);
                lines = self.json_line(lines, others.iter().copied(), |_| ());
                lines = self.json_line(lines, [*last], |_| ());
            }
            of_line.clear();
            if spans.peek().is_none() {
                return lines;
            }
        }
    }

    /// Appends a line. Calls `written` with its bytes so far, after each span.
    fn json_line<'a>(
        &self,
        lines: Vec<u8>,
        spans: impl IntoIterator<Item = &'a Span>,
        written: impl Fn(usize),
    ) -> Vec<u8> {
        let mut writer = Json::begin(lines);
        let start = writer.size();
        span::write_traces(&mut writer, self, spans, |writer| {
            written(writer.size() - start);
        });
        writer.end()
    }
}

/// A line that has this many bytes gets no more spans.
const FULL_LINE: usize = 256 << 10;

/// With its default `max_log_size` of 1 MiB, the Collector's file receiver loses a longer line.
const LONGEST_LINE: usize = (1 << 20) - 1;
