//! The fields of a trace's messages: `opentelemetry/proto/trace/v1/trace.proto`, version 1.

use std::time::{SystemTime, UNIX_EPOCH};

use tracer_model::{
    Span,
    semconv::{self, Kind, ValueRef},
    span::Subject,
};

use super::{
    Encoder,
    writer::{Field, Writer, field},
};

/// The name of our instrumentation scope.
const SCOPE: &str = "process-tracer";

/// `SpanFlags::ContextHasIsRemoteMask`: the next flag has a meaning.
const HAS_IS_REMOTE: u32 = 0x100;
/// `SpanFlags::ContextIsRemoteMask`: the parent span is not of this run.
const IS_REMOTE: u32 = 0x200;

/// `Status.StatusCode`.
const UNSET: u32 = 0;
const ERROR: u32 = 2;

/// No attributes.
const NONE: [(&str, ValueRef<'_>); 0] = [];

/// Writes a `TracesData`. Calls `written` after each span.
pub(super) fn write_traces<'a, W: Writer>(
    writer: &mut W,
    encoder: &Encoder,
    spans: impl IntoIterator<Item = &'a Span>,
    written: impl Fn(&W),
) {
    // A list of one.
    writer.messages(field!(1, "resourceSpans"), [spans], |writer, spans| {
        // The ids come first. The Collector's file receiver recognises a file by its first 1000 bytes. If these bytes were
        // only the resource, it would treat all files of a host as the same file.
        writer.messages(field!(2, "scopeSpans"), [spans], |writer, spans| {
            writer.messages(field!(2, "spans"), spans, |writer, span| {
                write_span(writer, span, encoder);
                written(writer);
            });
            writer.message(field!(1, "scope"), |writer| {
                writer.string(field!(1, "name"), SCOPE);
                writer.string(field!(2, "version"), env!("CARGO_PKG_VERSION"));
                key_values(writer, field!(3, "attributes"), NONE, None, None);
                writer.uint32(field!(4, "droppedAttributesCount"), 0);
            });
            writer.string(field!(3, "schemaUrl"), semconv::SCHEMA_URL);
        });
        writer.message(field!(1, "resource"), |writer| {
            let attributes = encoder.resource.iter().map(|(key, value)| (key, value.into()));
            key_values(writer, field!(1, "attributes"), attributes, None, None);
            writer.uint32(field!(2, "droppedAttributesCount"), 0);
            writer.messages(field!(3, "entityRefs"), [(); 0], |_, ()| {});
        });
        writer.string(field!(3, "schemaUrl"), semconv::SCHEMA_URL);
    });
}

/// Writes a `Span`.
fn write_span<W: Writer>(writer: &mut W, span: &Span, encoder: &Encoder) {
    let (limit, counts) = (encoder.value_limit, encoder.counts);
    // The lowest bit of the flags says whether the trace is sampled.
    let flags = u32::from(encoder.is_sampled) | HAS_IS_REMOTE;
    writer.id(field!(1, "traceId"), &span.trace_id.0);
    writer.id(field!(2, "spanId"), &span.span_id.0);
    writer.string(field!(3, "traceState"), &encoder.trace_state);
    writer.id(field!(4, "parentSpanId"), span.parent_id.as_ref().map_or(&[], |id| &id.0));
    writer.fixed32(field!(16, "flags"), flags | if has_remote_parent(span) { IS_REMOTE } else { 0 });
    writer.string(field!(5, "name"), &span.name());
    let kind = match semconv::kind(span) {
        Kind::Internal => 1,
        Kind::Server => 2,
        Kind::Client => 3,
    };
    writer.uint32(field!(6, "kind"), kind);
    writer.fixed64(field!(7, "startTimeUnixNano"), nanoseconds(span.start));
    writer.fixed64(field!(8, "endTimeUnixNano"), nanoseconds(span.end));
    let dropped = key_values(writer, field!(9, "attributes"), semconv::attributes(span), limit, counts.attributes);
    writer.uint32(field!(10, "droppedAttributesCount"), dropped);
    let mut dropped = semconv::dropped_events(span);
    let events = first(semconv::events(span), counts.events, &mut dropped);
    writer.messages(field!(11, "events"), events, |writer, event| {
        writer.fixed64(field!(1, "timeUnixNano"), nanoseconds(event.at));
        writer.string(field!(2, "name"), event.name());
        let dropped = key_values(writer, field!(3, "attributes"), event.attributes(), limit, counts.event_attributes);
        writer.uint32(field!(4, "droppedAttributesCount"), dropped);
    });
    writer.uint32(field!(12, "droppedEventsCount"), dropped);
    let mut dropped = 0;
    writer.messages(field!(13, "links"), first(&span.links, counts.links, &mut dropped), |writer, link| {
        writer.id(field!(1, "traceId"), &link.trace_id.0);
        writer.id(field!(2, "spanId"), &link.span_id.0);
        // The state of another trace is not known.
        let is_ours = link.trace_id == span.trace_id;
        writer.string(field!(3, "traceState"), if is_ours { &encoder.trace_state } else { "" });
        key_values(writer, field!(4, "attributes"), NONE, limit, None);
        writer.uint32(field!(5, "droppedAttributesCount"), 0);
        writer.fixed32(field!(6, "flags"), flags);
    });
    writer.uint32(field!(14, "droppedLinksCount"), dropped);
    writer.message(field!(15, "status"), |writer| {
        let error = semconv::error(span);
        writer.string(field!(2, "message"), error.as_ref().map_or("", |error| error.status_message(limit)));
        writer.uint32(field!(3, "code"), if error.is_some() { ERROR } else { UNSET });
    });
}

/// Only the root can have a parent outside of this run.
fn has_remote_parent(span: &Span) -> bool {
    let is_root = matches!(&span.subject, Subject::Process(process) if process.certificate.is_some());
    is_root && span.parent_id.is_some()
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Writes at most `most` attributes. Returns how many it has dropped.
fn key_values<'a, W: Writer>(
    writer: &mut W,
    field: Field,
    list: impl IntoIterator<Item = (&'a str, ValueRef<'a>)>,
    limit: Option<usize>,
    most: Option<usize>,
) -> u32 {
    let mut dropped = 0;
    writer.messages(field, first(list, most, &mut dropped), |writer, (key, value)| {
        writer.string(field!(1, "key"), key);
        writer.message(field!(2, "value"), |writer| any_value(writer, &value, limit));
    });
    dropped
}

/// The first items, at most `most`. Each of the others adds 1 to `dropped`.
fn first<T>(items: impl IntoIterator<Item = T>, most: Option<usize>, dropped: &mut u32) -> impl Iterator<Item = T> {
    let mut left = most.unwrap_or(usize::MAX);
    items.into_iter().filter(move |_| {
        let is_kept = left > 0;
        left = left.saturating_sub(1);
        *dropped += u32::from(!is_kept);
        is_kept
    })
}

/// Writes an `AnyValue`.
fn any_value<W: Writer>(writer: &mut W, value: &ValueRef<'_>, limit: Option<usize>) {
    match value {
        ValueRef::String(text) => string(writer, text, limit),
        ValueRef::Bytes(bytes) => writer.one_bytes(BYTES, &bytes[..limit.unwrap_or(bytes.len()).min(bytes.len())]),
        ValueRef::Bool(is_true) => writer.one_bool(BOOL, *is_true),
        ValueRef::Int(number) => writer.one_int(INT, *number),
        ValueRef::Float(number) => writer.one_double(DOUBLE, *number),
        ValueRef::Strings(texts) => array(writer, texts.iter(), |writer, text| string(writer, &text, limit)),
        ValueRef::Bools(list) => array(writer, *list, |writer, is_true| writer.one_bool(BOOL, *is_true)),
        ValueRef::Ints(list) => array(writer, *list, |writer, number| writer.one_int(INT, *number)),
        ValueRef::Floats(list) => array(writer, *list, |writer, number| writer.one_double(DOUBLE, *number)),
    }
}

const STRING: Field = field!(1, "stringValue");
const BOOL: Field = field!(2, "boolValue");
const INT: Field = field!(3, "intValue");
const DOUBLE: Field = field!(4, "doubleValue");
const BYTES: Field = field!(7, "bytesValue");

fn string<W: Writer>(writer: &mut W, text: &str, limit: Option<usize>) {
    let end = limit.and_then(|limit| text.char_indices().nth(limit)).map_or(text.len(), |(end, _)| end);
    writer.one_string(STRING, &text[..end]);
}

fn array<W: Writer, T>(writer: &mut W, list: impl IntoIterator<Item = T>, content: impl FnMut(&mut W, T)) {
    writer.message(field!(5, "arrayValue"), |writer| writer.messages(field!(1, "values"), list, content));
}
