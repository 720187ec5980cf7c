//! The spans of a trace as an OTLP message, in protobuf or in JSON.
//!
//! `span.rs` names the fields. `protobuf.rs` and `json.rs` write them.

mod json;
mod protobuf;
mod span;
mod writer;

use tracer_model::{Span, semconv::KeyValues};

use json::Json;
use protobuf::Protobuf;

/// Encodes spans of one trace for one resource.
///
/// ```
/// use tracer_model::Value;
/// use tracer_otlp::Encoder;
///
/// let resource = vec![("service.name".into(), Value::String("make".to_owned()))];
/// let line = Encoder::new(resource, None).json_line([]);
/// assert!(line.starts_with(br#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":"#));
/// ```
#[derive(Clone, Debug)]
pub struct Encoder {
    resource: KeyValues,
    value_limit: Option<usize>,
}

impl Encoder {
    /// An encoder for spans of this resource. `value_limit` is the longest string value of a span attribute, in characters.
    #[must_use]
    pub fn new(resource: KeyValues, value_limit: Option<usize>) -> Self {
        Self { resource, value_limit }
    }

    /// The protobuf of an `ExportTraceServiceRequest`. A `TracesData` has the same bytes.
    #[must_use]
    pub fn request<'a>(&self, spans: impl IntoIterator<Item = &'a Span>) -> Vec<u8> {
        let mut writer = Protobuf::default();
        self.write(&mut writer, spans);
        writer.into_bytes()
    }

    /// One line of OTLP/JSON, with its newline: a `TracesData`, as the file exporter specification has it.
    #[must_use]
    pub fn json_line<'a>(&self, spans: impl IntoIterator<Item = &'a Span>) -> Vec<u8> {
        let mut writer = Json::begin();
        self.write(&mut writer, spans);
        writer.end()
    }

    fn write<'a>(&self, writer: &mut impl writer::Writer, spans: impl IntoIterator<Item = &'a Span>) {
        span::write_traces(writer, &self.resource, spans, self.value_limit);
    }
}
