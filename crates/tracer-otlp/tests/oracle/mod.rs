//! The oracle of the encoder: makes the messages of the same spans with the SDK's types and `opentelemetry-proto`.
#![allow(clippy::unwrap_used, unreachable_pub, missing_docs)]

use opentelemetry::{
    Array, InstrumentationScope, KeyValue, StringValue, Value as OtelValue,
    trace::{Event, Link, SpanContext, SpanKind, Status, TraceFlags},
};
use opentelemetry_proto::{
    tonic::{common::v1::any_value, trace::v1::TracesData},
    transform::{common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use tracer_model::{
    Span, SpanId, TraceId, Value,
    semconv::{self, KeyValues, Kind},
};

/// The SDK has no type for bytes. So bytes become a text: this mark, and then their hexadecimal digits. In the message,
/// they become bytes again.
const BYTES: &str = "\u{0}the bytes of\u{0}";

/// Makes spans of the SDK out of ours.
#[derive(Clone, Debug)]
pub struct Converter {
    scope: InstrumentationScope,
    /// Longest string value, in characters.
    value_limit: Option<usize>,
    /// The state of the trace, and whether it is sampled.
    trace: (&'static str, bool),
}

impl Converter {
    pub fn new(value_limit: Option<usize>, trace: (&'static str, bool)) -> Self {
        let scope = InstrumentationScope::builder("process-tracer")
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(semconv::SCHEMA_URL)
            .build();
        Self { scope, value_limit, trace }
    }

    pub fn span_data(&self, span: &Span) -> SpanData {
        let description = semconv::describe(span);
        let mut events = SpanEvents::default();
        events.events = description
            .events
            .into_iter()
            .map(|event| Event::new(event.name, event.at, self.key_values(event.attributes), 0))
            .collect();
        events.dropped_count = description.dropped_events;
        let mut links = SpanLinks::default();
        let link = |link: &tracer_model::context::SpanContext| {
            let state = if link.trace_id == span.trace_id { self.trace.0 } else { "" };
            Link::with_context(context(link.trace_id, link.span_id, (state, self.trace.1)))
        };
        links.links = span.links.iter().map(link).collect();
        let is_root = span.parent_id.is_some()
            && matches!(&span.subject, tracer_model::span::Subject::Process(process) if process.certificate.is_some());
        SpanData {
            span_context: context(span.trace_id, span.span_id, self.trace),
            parent_span_id: span.parent_id.map_or(opentelemetry::SpanId::INVALID, span_id),
            parent_span_is_remote: is_root,
            span_kind: match description.kind {
                Kind::Internal => SpanKind::Internal,
                Kind::Client => SpanKind::Client,
                Kind::Server => SpanKind::Server,
            },
            name: span.name().into_owned().into(),
            start_time: span.start,
            end_time: span.end,
            attributes: self.key_values(description.attributes),
            dropped_attributes_count: 0,
            events,
            links,
            status: description
                .error
                .map_or(Status::Unset, |error| Status::error(error.status_message(self.value_limit).to_owned())),
            instrumentation_scope: self.scope.clone(),
        }
    }

    fn key_values(&self, attributes: KeyValues) -> Vec<KeyValue> {
        attributes.into_iter().map(|(key, value)| KeyValue::new(key, self.value(value))).collect()
    }

    fn value(&self, value: Value) -> OtelValue {
        match value {
            Value::Bool(value) => value.into(),
            Value::Int(value) => value.into(),
            Value::Float(value) => value.into(),
            Value::String(value) => OtelValue::String(self.limited(value)),
            Value::Bytes(bytes) => {
                let limit = self.value_limit.map_or(bytes.len(), |limit| limit.min(bytes.len()));
                (BYTES.to_owned() + &hex::encode(&bytes[..limit])).into()
            }
            Value::Bools(values) => OtelValue::Array(Array::Bool(values)),
            Value::Ints(values) => OtelValue::Array(Array::I64(values)),
            Value::Floats(values) => OtelValue::Array(Array::F64(values)),
            Value::Strings(values) => {
                OtelValue::Array(Array::String(values.into_iter().map(|value| self.limited(value)).collect()))
            }
        }
    }

    fn limited(&self, mut value: String) -> StringValue {
        if let Some((end, _)) = self.value_limit.and_then(|limit| value.char_indices().nth(limit)) {
            value.truncate(end);
        }
        value.into()
    }
}

fn context(trace: TraceId, span: SpanId, (state, is_sampled): (&str, bool)) -> SpanContext {
    let flags = if is_sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    SpanContext::new(trace_id(trace), span_id(span), flags, false, state.parse().unwrap())
}

fn trace_id(id: TraceId) -> opentelemetry::TraceId {
    opentelemetry::TraceId::from_bytes(id.0)
}

fn span_id(id: SpanId) -> opentelemetry::SpanId {
    opentelemetry::SpanId::from_bytes(id.0)
}

/// The message of these spans.
pub fn message(
    spans: &[Span],
    resource: &ResourceAttributesWithSchema,
    value_limit: Option<usize>,
    trace: (&'static str, bool),
) -> TracesData {
    let converter = Converter::new(value_limit, trace);
    let data = spans.iter().map(|span| converter.span_data(span)).collect();
    let mut data = TracesData { resource_spans: group_spans_by_resource_and_scope(data, resource) };
    let scopes = data.resource_spans.iter_mut().flat_map(|resource| &mut resource.scope_spans);
    for span in scopes.flat_map(|scope| &mut scope.spans) {
        let of_events = span.events.iter_mut().flat_map(|event| &mut event.attributes);
        span.attributes.iter_mut().chain(of_events).for_each(|attribute| {
            let value = attribute.value.as_mut().and_then(|value| value.value.as_mut()).unwrap();
            if let any_value::Value::StringValue(text) = value
                && let Some(bytes) = text.strip_prefix(BYTES)
            {
                *value = any_value::Value::BytesValue(hex::decode(bytes).unwrap());
            }
        });
    }
    data
}
