//! OTLP/JSON, as far as reports need it: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.
//!
//! Numbers follow the JSON mapping of Protocol Buffers: <https://protobuf.dev/programming-guides/json/>. A number may be a
//! string, and a double may be "NaN" or "Infinity".

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};
use tracer_model::{SpanId, TraceId, Value};

/// One line of a file: `TracesData`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Line {
    pub(crate) resource_spans: Vec<ResourceSpans>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ResourceSpans {
    pub(crate) resource: Option<Resource>,
    pub(crate) scope_spans: Vec<ScopeSpans>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Resource {
    #[serde(deserialize_with = "attributes")]
    pub(crate) attributes: Attributes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ScopeSpans {
    pub(crate) spans: Vec<Span>,
}

pub(crate) type Attributes = Vec<(String, Value)>;

/// A span of a saved trace.
#[derive(Debug, Deserialize)]
#[serde(from = "SpanFields")]
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
}

/// OpenTelemetry's span kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Unspecified,
    Internal,
    Server,
    Client,
    Other,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Event {
    pub(crate) name: String,
    #[serde(rename = "timeUnixNano", deserialize_with = "number")]
    pub(crate) at: u64,
    #[serde(deserialize_with = "attributes")]
    pub(crate) attributes: Attributes,
}

#[derive(Debug, Deserialize)]
#[serde(from = "LinkFields")]
pub(crate) struct Link {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
}

impl Span {
    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value)
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

/// `Span`, field by field.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpanFields {
    #[serde(deserialize_with = "id")]
    trace_id: Option<[u8; 16]>,
    #[serde(deserialize_with = "id")]
    span_id: Option<[u8; 8]>,
    #[serde(deserialize_with = "id")]
    parent_span_id: Option<[u8; 8]>,
    #[serde(deserialize_with = "number")]
    flags: u32,
    #[serde(deserialize_with = "number")]
    kind: i32,
    name: String,
    #[serde(deserialize_with = "number")]
    start_time_unix_nano: u64,
    #[serde(deserialize_with = "number")]
    end_time_unix_nano: u64,
    #[serde(deserialize_with = "attributes")]
    attributes: Attributes,
    events: Vec<Event>,
    links: Vec<Link>,
    status: Option<Status>,
}

/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`.
const IS_REMOTE: u32 = 0x200;

/// `STATUS_CODE_ERROR`.
const ERROR: i32 = 2;

impl From<SpanFields> for Span {
    fn from(span: SpanFields) -> Self {
        let status = span.status.unwrap_or_default();
        Self {
            trace_id: TraceId(span.trace_id.unwrap_or_default()),
            span_id: SpanId(span.span_id.unwrap_or_default()),
            parent_id: span.parent_span_id.filter(|id| *id != [0; 8]).map(SpanId),
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
            attributes: span.attributes,
            events: span.events,
            links: span.links,
            has_failed: status.code == ERROR,
            message: status.message,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LinkFields {
    #[serde(deserialize_with = "id")]
    trace_id: Option<[u8; 16]>,
    #[serde(deserialize_with = "id")]
    span_id: Option<[u8; 8]>,
}

impl From<LinkFields> for Link {
    fn from(link: LinkFields) -> Self {
        Self { trace_id: TraceId(link.trace_id.unwrap_or_default()), span_id: SpanId(link.span_id.unwrap_or_default()) }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "number")]
    code: i32,
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct KeyValue {
    key: String,
    value: AnyValue,
}

/// One of its fields is set.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AnyValue {
    string_value: Option<String>,
    bool_value: Option<bool>,
    #[serde(deserialize_with = "some_number")]
    int_value: Option<i64>,
    #[serde(deserialize_with = "some_number")]
    double_value: Option<f64>,
    array_value: Option<Array>,
    kvlist_value: Option<Map>,
    /// In base64.
    bytes_value: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Array {
    values: Vec<AnyValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Map {
    values: Vec<KeyValue>,
}

impl From<AnyValue> for Value {
    /// Values of types that our spans never have become JSON.
    fn from(value: AnyValue) -> Self {
        match value {
            AnyValue { string_value: Some(text), .. } | AnyValue { bytes_value: Some(text), .. } => Self::String(text),
            AnyValue { bool_value: Some(value), .. } => Self::Bool(value),
            AnyValue { int_value: Some(value), .. } => Self::Int(value),
            AnyValue { double_value: Some(value), .. } => Self::Float(value),
            AnyValue { array_value: Some(values), .. } => array(&values.values),
            AnyValue { kvlist_value: Some(_), .. } => Self::String(json(&value).to_string()),
            _ => Self::String(String::new()),
        }
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
        AnyValue { string_value: Some(text), .. } | AnyValue { bytes_value: Some(text), .. } => text.as_str().into(),
        AnyValue { bool_value: Some(value), .. } => (*value).into(),
        AnyValue { int_value: Some(value), .. } => (*value).into(),
        AnyValue { double_value: Some(value), .. } => (*value).into(),
        AnyValue { array_value: Some(array), .. } => array.values.iter().map(json).collect(),
        AnyValue { kvlist_value: Some(map), .. } => {
            map.values.iter().map(|member| (member.key.clone(), json(&member.value))).collect()
        }
        _ => serde_json::Value::Null,
    }
}

fn attributes<'de, D: Deserializer<'de>>(from: D) -> Result<Attributes, D::Error> {
    let attributes = Vec::<KeyValue>::deserialize(from)?;
    Ok(attributes.into_iter().map(|attribute| (attribute.key, attribute.value.into())).collect())
}

/// An id in hexadecimal. An id of another length counts as missing.
fn id<'de, const N: usize, D: Deserializer<'de>>(from: D) -> Result<Option<[u8; N]>, D::Error> {
    struct Hexadecimal<const N: usize>;

    impl<const N: usize> Visitor<'_> for Hexadecimal<N> {
        type Value = Option<[u8; N]>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an id in hexadecimal")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            if !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(E::invalid_value(de::Unexpected::Str(text), &self));
            }
            let mut id = [0; N];
            if text.len() != 2 * N {
                return Ok(None);
            }
            for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                let digit = |digit: u8| char::from(digit).to_digit(16).unwrap_or_default() as u8;
                *byte = digit(digits[0]) << 4 | digit(digits[1]);
            }
            Ok(Some(id))
        }
    }

    from.deserialize_str(Hexadecimal)
}

/// A number of the JSON mapping: a JSON number, or a string.
trait Number: Sized {
    fn from_text(text: &str) -> Option<Self>;
    fn from_whole(number: i128) -> Option<Self>;
    fn from_double(number: f64) -> Option<Self>;
}

impl Number for f64 {
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn from_whole(number: i128) -> Option<Self> {
        Some(number as Self)
    }

    fn from_double(number: f64) -> Option<Self> {
        Some(number)
    }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Number for $type {
            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn from_whole(number: i128) -> Option<Self> {
                number.try_into().ok()
            }

            fn from_double(number: f64) -> Option<Self> {
                (number.fract() == 0.0).then_some(number as i128).and_then(Self::from_whole)
            }
        }
    )*};
}

whole_numbers!(i32, u32, i64, u64);

fn number<'de, T: Number, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    struct OfType<T>(PhantomData<T>);

    impl<T: Number> Visitor<'_> for OfType<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a number of type {}", std::any::type_name::<T>())
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            T::from_text(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
            T::from_whole(number.into()).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
            T::from_whole(number.into()).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
            T::from_double(number).ok_or_else(|| E::invalid_value(de::Unexpected::Float(number), &self))
        }

        /// `null`: serde_json writes it for a double that is not finite.
        fn visit_unit<E: de::Error>(self) -> Result<T, E> {
            T::from_double(f64::NAN).ok_or_else(|| E::invalid_type(de::Unexpected::Unit, &self))
        }
    }

    from.deserialize_any(OfType(PhantomData))
}

fn some_number<'de, T: Number, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    number(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Result<Value, serde_json::Error> {
        serde_json::from_str::<AnyValue>(json).map(Value::from)
    }

    #[test]
    fn numbers_follow_the_json_mapping() {
        for (json, expected) in [
            (r#"{"doubleValue":1.5}"#, Value::Float(1.5)),
            (r#"{"doubleValue":2}"#, Value::Float(2.0)),
            (r#"{"doubleValue":"-2.5"}"#, Value::Float(-2.5)),
            (r#"{"doubleValue":"Infinity"}"#, Value::Float(f64::INFINITY)),
            (r#"{"doubleValue":"-Infinity"}"#, Value::Float(f64::NEG_INFINITY)),
            (r#"{"intValue":"-9223372036854775808"}"#, Value::Int(i64::MIN)),
            (r#"{"intValue":7}"#, Value::Int(7)),
            (r#"{"intValue":1e3}"#, Value::Int(1000)),
        ] {
            assert_eq!(value(json).unwrap(), expected, "{json}");
        }
        for json in [r#"{"doubleValue":"NaN"}"#, r#"{"doubleValue":null}"#] {
            assert!(matches!(value(json).unwrap(), Value::Float(value) if value.is_nan()), "{json}");
        }
        for json in [r#"{"intValue":1.5}"#, r#"{"intValue":"NaN"}"#, r#"{"intValue":"x"}"#, r#"{"doubleValue":true}"#] {
            assert!(value(json).is_err(), "{json}");
        }
    }

    #[test]
    fn arrays_keep_their_type_and_other_values_become_json() {
        let array = |values: &str| value(&format!(r#"{{"arrayValue":{{"values":[{values}]}}}}"#)).unwrap();
        assert_eq!(array(r#"{"stringValue":"a"},{"stringValue":""}"#), Value::Strings(vec!["a".into(), String::new()]));
        assert_eq!(array(r#"{"intValue":"1"}"#), Value::Ints(vec![1]));
        assert_eq!(array(r#"{"boolValue":true}"#), Value::Bools(vec![true]));
        assert_eq!(array(r#"{"doubleValue":1}"#), Value::Floats(vec![1.0]));
        assert_eq!(array(r#"{"stringValue":"a"},{"intValue":1},{}"#), Value::String(r#"["a",1,null]"#.into()));
        let map = r#"{"kvlistValue":{"values":[{"key":"a","value":{"intValue":1}}]}}"#;
        assert_eq!(value(map).unwrap(), Value::String(r#"{"a":1}"#.into()));
        assert_eq!(value("{}").unwrap(), Value::String(String::new()));
    }

    #[test]
    fn ids_are_hexadecimal() {
        let parent = |id: &str| serde_json::from_str::<Span>(&format!(r#"{{"parentSpanId":"{id}"}}"#));
        assert_eq!(parent("00000000000000aB").unwrap().parent_id, Some(SpanId([0, 0, 0, 0, 0, 0, 0, 0xab])));
        for missing in ["", "ab", "0000000000000000"] {
            assert_eq!(parent(missing).unwrap().parent_id, None, "{missing}");
        }
        assert!(parent("00000000000000xy").is_err());
    }
}
