//! A span of a saved trace, from its OTLP message.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use tracer_model::{ExitStatus, SpanId, TraceId, Value};
use tracer_otlp::message::{self, AnyValue, KeyValue};

pub(crate) type Attributes = Vec<(String, Value)>;

/// A span of a saved trace.
#[derive(Clone, Debug)]
pub struct Span {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) parent_id: Option<SpanId>,
    pub(crate) is_parent_remote: bool,
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// Nanoseconds since the epoch.
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: Attributes,
    pub(crate) events: Vec<Event>,
    pub(crate) links: Vec<Link>,
    /// Its status is ERROR.
    pub(crate) has_failed: bool,
    /// The message of its status.
    pub(crate) message: String,
    /// The attributes of its producer.
    pub(crate) resource: Arc<Attributes>,
    /// It is the root span of one of several runs: see [`Runs`](crate::Runs).
    pub(crate) is_run: bool,
}

/// OpenTelemetry's span kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Unspecified,
    Internal,
    Server,
    Client,
    Other,
    /// The whole trace of several runs, and how the first run that failed ended. No file has it.
    Runs(ExitStatus),
}

impl Kind {
    const NAMES: [(Self, &'static str); 5] = [
        (Self::Unspecified, "Unspecified"),
        (Self::Internal, "Internal"),
        (Self::Server, "Server"),
        (Self::Client, "Client"),
        (Self::Other, "Other"),
    ];

    /// Its name in tables of spans.
    pub(crate) fn name(self) -> &'static str {
        // The whole trace of several runs is like a process.
        Self::NAMES.iter().find(|(kind, _)| *kind == self).map_or("Internal", |(_, name)| name)
    }

    /// The kind with this name. Older tables have names such as `SPAN_KIND_CLIENT`.
    pub(crate) fn of(name: &str) -> Self {
        let name = name.strip_prefix("SPAN_KIND_").unwrap_or(name);
        Self::NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map_or(Self::Other, |(kind, _)| *kind)
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Event {
    pub(crate) name: String,
    /// Nanoseconds since the epoch.
    pub(crate) at: u64,
    pub(crate) attributes: Attributes,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
}

impl Span {
    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        value_of(&self.attributes, key)
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.value(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// A whole number; 0 if there is none, or if it is out of range.
    pub(crate) fn whole<T: TryFrom<i64> + Default>(&self, key: &str) -> T {
        match self.value(key) {
            Some(Value::Int(value)) => T::try_from(*value).unwrap_or_default(),
            _ => T::default(),
        }
    }

    /// A number of seconds, as nanoseconds.
    pub(crate) fn seconds(&self, key: &str) -> u64 {
        match self.value(key) {
            Some(Value::Float(value)) => (value * 1e9).round() as u64,
            Some(Value::Int(value)) => u64::try_from(*value).unwrap_or_default().saturating_mul(1_000_000_000),
            _ => 0,
        }
    }
}

pub(crate) fn value_of<'a, K: AsRef<str>>(attributes: &'a [(K, Value)], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|(known, _)| known.as_ref() == key).map(|(_, value)| value)
}

/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`.
const IS_REMOTE: u32 = 0x200;

/// `STATUS_CODE_ERROR`.
const ERROR: i32 = 2;

impl From<message::Span> for Span {
    fn from(span: message::Span) -> Self {
        let status = span.status.unwrap_or_default();
        let event = |event: message::Event| Event {
            name: event.name,
            at: event.time_unix_nano,
            attributes: attributes(event.attributes),
        };
        let link = |link: message::Link| Link {
            trace_id: TraceId(id(&link.trace_id).unwrap_or_default()),
            span_id: SpanId(id(&link.span_id).unwrap_or_default()),
        };
        Self {
            trace_id: TraceId(id(&span.trace_id).unwrap_or_default()),
            span_id: SpanId(id(&span.span_id).unwrap_or_default()),
            parent_id: id(&span.parent_span_id).filter(|id| *id != [0; 8]).map(SpanId),
            is_parent_remote: span.flags & IS_REMOTE != 0,
            kind: match span.kind {
                0 => Kind::Unspecified,
                1 => Kind::Internal,
                2 => Kind::Server,
                3 => Kind::Client,
                _ => Kind::Other,
            },
            name: span.name,
            start: span.start_time_unix_nano,
            end: span.end_time_unix_nano,
            attributes: attributes(span.attributes),
            events: span.events.into_iter().map(event).collect(),
            links: span.links.into_iter().map(link).collect(),
            has_failed: status.code == ERROR,
            message: status.message,
            resource: Arc::default(),
            is_run: false,
        }
    }
}

/// An id. An id of another length counts as missing.
fn id<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

pub(crate) fn attributes(attributes: Vec<KeyValue>) -> Attributes {
    attributes.into_iter().map(|attribute| (attribute.key, value(attribute.value.unwrap_or_default()))).collect()
}

/// Values of types that our spans never have become JSON.
fn value(value: AnyValue) -> Value {
    match value {
        AnyValue { string_value: Some(text), .. } => Value::String(text),
        AnyValue { bool_value: Some(value), .. } => Value::Bool(value),
        AnyValue { int_value: Some(value), .. } => Value::Int(value),
        AnyValue { double_value: Some(value), .. } => Value::Float(value),
        AnyValue { array_value: Some(values), .. } => array(&values.values),
        AnyValue { bytes_value: Some(bytes), .. } => Value::Bytes(bytes),
        AnyValue { kvlist_value: Some(_), .. } => Value::String(json(&value).to_string()),
        _ => Value::String(String::new()),
    }
}

fn array(values: &[AnyValue]) -> Value {
    fn all<T>(values: &[AnyValue], one: impl Fn(&AnyValue) -> Option<T>) -> Option<Vec<T>> {
        values.iter().map(one).collect()
    }
    None.or_else(|| all(values, |value| value.string_value.clone()).map(Value::Strings))
        .or_else(|| all(values, |value| value.int_value).map(Value::Ints))
        .or_else(|| all(values, |value| value.double_value).map(Value::Floats))
        .or_else(|| all(values, |value| value.bool_value).map(Value::Bools))
        .unwrap_or_else(|| Value::String(values.iter().map(json).collect::<serde_json::Value>().to_string()))
}

/// A value of any type as plain JSON.
fn json(value: &AnyValue) -> serde_json::Value {
    match value {
        AnyValue { string_value: Some(text), .. } => text.as_str().into(),
        AnyValue { bytes_value: Some(bytes), .. } => BASE64_STANDARD.encode(bytes).into(),
        AnyValue { bool_value: Some(value), .. } => (*value).into(),
        AnyValue { int_value: Some(value), .. } => (*value).into(),
        AnyValue { double_value: Some(value), .. } => (*value).into(),
        AnyValue { array_value: Some(array), .. } => array.values.iter().map(json).collect(),
        AnyValue { kvlist_value: Some(map), .. } => {
            let of = |member: &KeyValue| member.value.as_ref().map_or(serde_json::Value::Null, json);
            map.values.iter().map(|member| (member.key.clone(), of(member))).collect()
        }
        _ => serde_json::Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Value {
        value(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn arrays_keep_their_type_and_other_values_become_json() {
        let array = |values: &str| read(&format!(r#"{{"arrayValue":{{"values":[{values}]}}}}"#));
        assert_eq!(array(r#"{"stringValue":"a"},{"stringValue":""}"#), Value::Strings(vec!["a".into(), String::new()]));
        assert_eq!(array(r#"{"intValue":"1"}"#), Value::Ints(vec![1]));
        assert_eq!(array(r#"{"boolValue":true}"#), Value::Bools(vec![true]));
        assert_eq!(array(r#"{"doubleValue":1}"#), Value::Floats(vec![1.0]));
        assert_eq!(array(r#"{"stringValue":"a"},{"intValue":1},{}"#), Value::String(r#"["a",1,null]"#.into()));
        let map = r#"{"kvlistValue":{"values":[{"key":"a","value":{"intValue":1}}]}}"#;
        assert_eq!(read(map), Value::String(r#"{"a":1}"#.into()));
        assert_eq!(read(r#"{"bytesValue":"+/8="}"#), Value::Bytes(vec![0xfb, 0xff]));
        assert_eq!(read("{}"), Value::String(String::new()));
    }

    #[test]
    fn an_id_of_another_length_is_missing() {
        let parent = |bytes: &[u8]| Span::from(message::Span { parent_span_id: bytes.to_vec(), ..Default::default() });
        assert_eq!(parent(&[1; 8]).parent_id, Some(SpanId([1; 8])));
        for missing in [&[][..], &[1], &[0; 8]] {
            assert_eq!(parent(missing).parent_id, None, "{missing:?}");
        }
    }
}
