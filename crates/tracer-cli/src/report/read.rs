//! Saved traces: files of OTLP/JSON lines, ours or anybody's.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Read},
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use opentelemetry::{
    Array, InstrumentationScope, KeyValue, StringValue, Value,
    trace::{Event, Link, SpanContext, SpanKind, Status, TraceFlags, TraceState},
};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue as ProtoKeyValue, any_value},
    trace::v1::{Span, TracesData, span, status::StatusCode},
};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanLinks},
};

use tracer_model::TraceId;

use crate::{
    console::{self, Progress},
    sinks::file,
};

/// Reads a file line by line, and hands on each span of a trace, or of the only one. Gives the resource of the first of them.
///
/// # Errors
///
/// What is not OTLP/JSON, by its line, but for a last line that was cut off; a file without any span, or with several traces.
pub(super) fn read(
    path: &Path,
    trace: Option<TraceId>,
    mut take: impl FnMut(&SpanData) -> Result<()>,
) -> Result<Resource> {
    let shown = path.display();
    let file = file::read(path).with_context(|| format!("cannot read '{shown}'"))?;
    let total = file.metadata().map_or(0, |metadata| metadata.len());
    let mut reader = BufReader::new(file);
    let (mut line, mut number, mut done) = (Vec::new(), 0_u64, 0);
    let (mut progress, mut first, mut traces) = (Progress::default(), None, HashSet::new());
    loop {
        line.clear();
        let size = reader.by_ref().read_until(b'\n', &mut line).with_context(|| format!("cannot read '{shown}'"))?;
        if size == 0 {
            break;
        }
        number += 1;
        done += size as u64;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let data: TracesData = match serde_json::from_slice(&line) {
            Ok(data) => data,
            // What was written last when a run was killed or a disk was full.
            Err(error) if error.is_eof() && !line.ends_with(b"\n") && first.is_some() => {
                console::warn(format_args!("'{shown}' ends in the middle of line {number}, which is left out"));
                break;
            }
            Err(error) => {
                let what = format!("'{shown}', line {number}: not OTLP/JSON, as -o FILE.jsonl writes it");
                return Err(error).context(what);
            }
        };
        for group in data.resource_spans {
            let attributes = group.resource.map(|resource| resource.attributes).unwrap_or_default();
            for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let span = span_data(span);
                let id = span.span_context.trace_id();
                traces.insert(id);
                if trace.is_some_and(|trace| trace.0 != id.to_bytes()) {
                    continue;
                }
                if first.is_none() {
                    let attributes = attributes.iter().cloned().map(key_value);
                    first = Some(Resource::builder_empty().with_attributes(attributes).build());
                }
                take(&span)?;
            }
        }
        progress.show(format_args!("{shown}: {done} of {total} bytes read"));
    }
    progress.end();
    let mut ids: Vec<_> = traces.iter().map(ToString::to_string).collect();
    ids.sort();
    match trace {
        None if ids.len() > 1 => {
            bail!("'{shown}' has {} traces; choose one, by report --trace-id ID: {}", ids.len(), ids.join(", "))
        }
        Some(trace) if first.is_none() => bail!("'{shown}' has no spans of trace {trace}, but of {}", ids.join(", ")),
        _ => first.with_context(|| format!("'{shown}' has no spans")),
    }
}

/// As the SDK has it. What is malformed in it counts as missing.
fn span_data(span: Span) -> SpanData {
    let (trace, id) = (bytes(&span.trace_id), bytes(&span.span_id));
    let context = |trace, id| {
        let (trace, id) = (opentelemetry::TraceId::from_bytes(trace), opentelemetry::SpanId::from_bytes(id));
        SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE)
    };
    let mut events = SpanEvents::default();
    events.dropped_count = span.dropped_events_count;
    events.events = span
        .events
        .into_iter()
        .map(|event| {
            let attributes = event.attributes.into_iter().map(key_value).collect();
            Event::new(event.name, time(event.time_unix_nano), attributes, event.dropped_attributes_count)
        })
        .collect();
    let mut links = SpanLinks::default();
    links.links = span
        .links
        .iter()
        .map(|link| Link::with_context(context(bytes(&link.trace_id), bytes(&link.span_id))))
        .collect();
    let status = span.status.unwrap_or_default();
    SpanData {
        span_context: context(trace, id),
        parent_span_id: opentelemetry::SpanId::from_bytes(bytes(&span.parent_span_id)),
        // SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
        parent_span_is_remote: span.flags & 0x200 != 0,
        span_kind: match span.kind {
            kind if kind == span::SpanKind::Client as i32 => SpanKind::Client,
            kind if kind == span::SpanKind::Server as i32 => SpanKind::Server,
            kind if kind == span::SpanKind::Producer as i32 => SpanKind::Producer,
            kind if kind == span::SpanKind::Consumer as i32 => SpanKind::Consumer,
            _ => SpanKind::Internal,
        },
        name: span.name.into(),
        start_time: time(span.start_time_unix_nano),
        end_time: time(span.end_time_unix_nano),
        attributes: span.attributes.into_iter().map(key_value).collect(),
        dropped_attributes_count: span.dropped_attributes_count,
        events,
        links,
        status: match StatusCode::try_from(status.code) {
            Ok(StatusCode::Error) => Status::error(status.message),
            Ok(StatusCode::Ok) => Status::Ok,
            _ => Status::Unset,
        },
        instrumentation_scope: InstrumentationScope::default(),
    }
}

fn bytes<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

fn time(nanoseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}

fn key_value(attribute: ProtoKeyValue) -> KeyValue {
    KeyValue::new(attribute.key, value(attribute.value.unwrap_or_default()))
}

/// What the SDK has no type for becomes JSON.
fn value(value: AnyValue) -> Value {
    match value.value {
        Some(any_value::Value::StringValue(text)) => text.into(),
        Some(any_value::Value::BoolValue(value)) => value.into(),
        Some(any_value::Value::IntValue(value)) => value.into(),
        Some(any_value::Value::DoubleValue(value)) => value.into(),
        Some(any_value::Value::ArrayValue(array)) => {
            let texts: Option<Vec<StringValue>> = array
                .values
                .iter()
                .map(|value| match &value.value {
                    Some(any_value::Value::StringValue(text)) => Some(text.clone().into()),
                    _ => None,
                })
                .collect();
            let integers: Option<Vec<i64>> = array
                .values
                .iter()
                .map(|value| match value.value {
                    Some(any_value::Value::IntValue(value)) => Some(value),
                    _ => None,
                })
                .collect();
            match (texts, integers) {
                (Some(texts), _) => Value::Array(Array::String(texts)),
                (_, Some(integers)) => Value::Array(Array::I64(integers)),
                _ => serde_json::to_string(&array).unwrap_or_default().into(),
            }
        }
        Some(other) => serde_json::to_string(&other).unwrap_or_default().into(),
        None => "".into(),
    }
}
