//! The columns. Their names are those of `otel_traces`: opentelemetry-collector-contrib, exporter/clickhouseexporter.
//! `otel_traces` has no `ParentIsRemote`.
//!
//! `TraceState`, `ScopeName` and `ScopeVersion` are left out, because reports do not have them.

use parquet::{errors::Result, schema::parser::parse_message_type, schema::types::TypePtr};

pub(super) const TIMESTAMP: &str = "Timestamp";
pub(super) const TRACE_ID: &str = "TraceId";
pub(super) const SPAN_ID: &str = "SpanId";
pub(super) const PARENT_SPAN_ID: &str = "ParentSpanId";
pub(super) const SPAN_NAME: &str = "SpanName";
pub(super) const SPAN_KIND: &str = "SpanKind";
pub(super) const RESOURCE_ATTRIBUTES: &str = "ResourceAttributes";
pub(super) const SPAN_ATTRIBUTES: &str = "SpanAttributes";
pub(super) const DURATION: &str = "Duration";
pub(super) const STATUS_CODE: &str = "StatusCode";
pub(super) const STATUS_MESSAGE: &str = "StatusMessage";
pub(super) const EVENTS: &str = "Events";
pub(super) const LINKS: &str = "Links";
pub(super) const PARENT_IS_REMOTE: &str = "ParentIsRemote";

/// The parts of an event.
pub(super) const NAME: &str = "Name";
pub(super) const ATTRIBUTES: &str = "Attributes";

/// The status of a failed span, and of all others.
pub(super) const ERROR: &str = "Error";
pub(super) const UNSET: &str = "Unset";

/// The entry of the file's metadata with the types of attributes.
pub(super) const TYPES: &str = "attribute_types";

const SCHEMA: &str = "message otel_traces {
    required int64 Timestamp (TIMESTAMP(NANOS,true));
    required binary TraceId (STRING);
    required binary SpanId (STRING);
    required binary ParentSpanId (STRING);
    required binary SpanName (STRING);
    required binary SpanKind (STRING);
    required binary ServiceName (STRING);
    required group ResourceAttributes (MAP) {
        repeated group key_value { required binary key (STRING); required binary value (STRING); }
    }
    required group SpanAttributes (MAP) {
        repeated group key_value { required binary key (STRING); required binary value (STRING); }
    }
    required int64 Duration (INTEGER(64,false));
    required binary StatusCode (STRING);
    required binary StatusMessage (STRING);
    required group Events (LIST) { repeated group list { required group element {
        required int64 Timestamp (TIMESTAMP(NANOS,true));
        required binary Name (STRING);
        required group Attributes (MAP) {
            repeated group key_value { required binary key (STRING); required binary value (STRING); }
        }
    } } }
    required group Links (LIST) { repeated group list { required group element {
        required binary TraceId (STRING);
        required binary SpanId (STRING);
    } } }
    required boolean ParentIsRemote;
}";

pub(super) fn schema() -> Result<TypePtr> {
    Ok(parse_message_type(SCHEMA)?.into())
}
