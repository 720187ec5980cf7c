//! The fields of a trace's messages: `opentelemetry/proto/trace/v1/trace.proto`, version 1.

use std::time::{SystemTime, UNIX_EPOCH};

use tracer_model::{
    Resource, Span,
    semconv::{self, Kind, ValueRef},
    span::Subject,
};

use super::writer::{Field, Writer, field};

/// The name of our instrumentation scope.
const SCOPE: &str = "process-tracer";

/// `TRACE_FLAGS`: the trace is sampled.
const SAMPLED: u32 = 1;
/// `SpanFlags::ContextHasIsRemoteMask`: the next flag has a meaning.
const HAS_IS_REMOTE: u32 = 0x100;
/// `SpanFlags::ContextIsRemoteMask`: the parent is in another process.
const IS_REMOTE: u32 = 0x200;

/// `Status.StatusCode`.
const UNSET: u32 = 0;
const ERROR: u32 = 2;

/// No attributes.
const NONE: [(&str, ValueRef<'_>); 0] = [];

/// Writes a `TracesData`. Calls `written` after each span.
pub(super) fn write_traces<'a, W: Writer>(
    writer: &mut W,
    resource: &Resource,
    spans: impl IntoIterator<Item = &'a Span>,
    limit: Option<usize>,
    written: impl Fn(&W),
) {
    // A list of one.
    writer.messages(field!(1, "resourceSpans"), [spans], |writer, spans| {
        writer.message(field!(1, "resource"), |writer| {
            let attributes = resource.iter().map(|(key, value)| (key, value.into()));
            key_values(writer, field!(1, "attributes"), attributes, None);
            writer.uint32(field!(2, "droppedAttributesCount"), 0);
            writer.messages(field!(3, "entityRefs"), [(); 0], |_, ()| {});
        });
        writer.messages(field!(2, "scopeSpans"), [spans], |writer, spans| {
            writer.message(field!(1, "scope"), |writer| {
                writer.string(field!(1, "name"), SCOPE);
                writer.string(field!(2, "version"), env!("CARGO_PKG_VERSION"));
                key_values(writer, field!(3, "attributes"), NONE, None);
                writer.uint32(field!(4, "droppedAttributesCount"), 0);
            });
            writer.messages(field!(2, "spans"), spans, |writer, span| {
                write_span(writer, span, limit);
                written(writer);
            });
            writer.string(field!(3, "schemaUrl"), "");
        });
        writer.string(field!(3, "schemaUrl"), "");
    });
}

/// Writes a `Span`.
fn write_span<W: Writer>(writer: &mut W, span: &Span, limit: Option<usize>) {
    writer.id(field!(1, "traceId"), &span.trace_id.0);
    writer.id(field!(2, "spanId"), &span.span_id.0);
    writer.string(field!(3, "traceState"), "");
    writer.id(field!(4, "parentSpanId"), span.parent_id.as_ref().map_or(&[], |id| &id.0));
    writer.fixed32(field!(16, "flags"), SAMPLED | HAS_IS_REMOTE | if has_remote_parent(span) { IS_REMOTE } else { 0 });
    writer.string(field!(5, "name"), &span.name());
    let kind = match semconv::kind(span) {
        Kind::Internal => 1,
        Kind::Server => 2,
        Kind::Client => 3,
    };
    writer.uint32(field!(6, "kind"), kind);
    writer.fixed64(field!(7, "startTimeUnixNano"), nanoseconds(span.start));
    writer.fixed64(field!(8, "endTimeUnixNano"), nanoseconds(span.end));
    key_values(writer, field!(9, "attributes"), semconv::attributes(span), limit);
    writer.uint32(field!(10, "droppedAttributesCount"), 0);
    writer.messages(field!(11, "events"), semconv::events(span), |writer, event| {
        writer.fixed64(field!(1, "timeUnixNano"), nanoseconds(event.at));
        writer.string(field!(2, "name"), event.name());
        key_values(writer, field!(3, "attributes"), event.attributes(), limit);
        writer.uint32(field!(4, "droppedAttributesCount"), 0);
    });
    writer.uint32(field!(12, "droppedEventsCount"), semconv::dropped_events(span));
    writer.messages(field!(13, "links"), &span.links, |writer, link| {
        writer.id(field!(1, "traceId"), &link.trace_id.0);
        writer.id(field!(2, "spanId"), &link.span_id.0);
        writer.string(field!(3, "traceState"), "");
        key_values(writer, field!(4, "attributes"), NONE, limit);
        writer.uint32(field!(5, "droppedAttributesCount"), 0);
        writer.fixed32(field!(6, "flags"), SAMPLED | HAS_IS_REMOTE);
    });
    writer.uint32(field!(14, "droppedLinksCount"), 0);
    writer.message(field!(15, "status"), |writer| {
        let error = semconv::error(span);
        writer.string(field!(2, "message"), error.as_ref().map_or("", |error| &error.message));
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

fn key_values<'a, W: Writer>(
    writer: &mut W,
    field: Field,
    list: impl IntoIterator<Item = (&'a str, ValueRef<'a>)>,
    limit: Option<usize>,
) {
    writer.messages(field, list, |writer, (key, value)| {
        writer.string(field!(1, "key"), key);
        writer.message(field!(2, "value"), |writer| any_value(writer, &value, limit));
    });
}

/// Writes an `AnyValue`.
fn any_value<W: Writer>(writer: &mut W, value: &ValueRef<'_>, limit: Option<usize>) {
    match value {
        ValueRef::String(text) => string(writer, text, limit),
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

fn string<W: Writer>(writer: &mut W, text: &str, limit: Option<usize>) {
    let end = limit.and_then(|limit| text.char_indices().nth(limit)).map_or(text.len(), |(end, _)| end);
    writer.one_string(STRING, &text[..end]);
}

fn array<W: Writer, T>(writer: &mut W, list: impl IntoIterator<Item = T>, content: impl FnMut(&mut W, T)) {
    writer.message(field!(5, "arrayValue"), |writer| writer.messages(field!(1, "values"), list, content));
}
