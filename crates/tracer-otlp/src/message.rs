//! The messages of OTLP that this crate reads: saved traces, and the answers of collectors.
//!
//! Each message can be read as OTLP/JSON and as protobuf. Those of a trace can also be written. The fields and their
//! numbers come from `opentelemetry/proto`, version 1. JSON follows the [JSON mapping of Protocol Buffers] and its
//! [exceptions in OTLP]: a number may be a string, a double may be "NaN" or "Infinity", and ids are hexadecimal. Unknown
//! fields are ignored.
//!
//! [JSON mapping of Protocol Buffers]: https://protobuf.dev/programming-guides/json/
//! [exceptions in OTLP]: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding

mod numbers;

use prost::Message;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use numbers::not_finite;
use numbers::{number, some_number};

/// A trace: the content of a line in a file, and of a request.
#[derive(Clone, PartialEq, Message, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TracesData {
    /// The spans, by the resource that produced them.
    #[prost(message, repeated, tag = 1)]
    pub resource_spans: Vec<ResourceSpans>,
}

/// The spans of a resource.
#[derive(Clone, PartialEq, Message, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceSpans {
    /// The spans, by their scope. JSON begins with them, as the encoder writes it.
    #[prost(message, repeated, tag = 2)]
    pub scope_spans: Vec<ScopeSpans>,
    /// The producer of the spans.
    #[prost(message, optional, tag = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
    /// The schema of the resource.
    #[prost(string, tag = 3)]
    pub schema_url: String,
}

/// A producer of spans.
#[derive(Clone, PartialEq, Message, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resource {
    /// Its attributes.
    #[prost(message, repeated, tag = 1)]
    pub attributes: Vec<KeyValue>,
    /// How many attributes were left out.
    #[prost(uint32, tag = 2)]
    #[serde(deserialize_with = "number")]
    pub dropped_attributes_count: u32,
    /// The entities among the attributes.
    #[prost(message, repeated, tag = 3)]
    pub entity_refs: Vec<EntityRef>,
}

/// An entity: some of a resource's attributes.
#[derive(Clone, PartialEq, Message, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EntityRef {
    /// The schema of the entity.
    #[prost(string, tag = 1)]
    pub schema_url: String,
    /// Its type.
    #[prost(string, tag = 2)]
    pub r#type: String,
    /// The keys of the attributes that identify it.
    #[prost(string, repeated, tag = 3)]
    pub id_keys: Vec<String>,
    /// The keys of the attributes that describe it.
    #[prost(string, repeated, tag = 4)]
    pub description_keys: Vec<String>,
}

/// The spans of an instrumentation scope.
#[derive(Clone, PartialEq, Message, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopeSpans {
    /// The scope.
    #[prost(message, optional, tag = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<InstrumentationScope>,
    /// The spans.
    #[prost(message, repeated, tag = 2)]
    pub spans: Vec<Span>,
    /// The schema of the spans.
    #[prost(string, tag = 3)]
    pub schema_url: String,
}

/// The part of a program that produced spans.
#[derive(Clone, PartialEq, Message, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstrumentationScope {
    /// Its name.
    #[prost(string, tag = 1)]
    pub name: String,
    /// Its version.
    #[prost(string, tag = 2)]
    pub version: String,
    /// Its attributes.
    #[prost(message, repeated, tag = 3)]
    pub attributes: Vec<KeyValue>,
    /// How many attributes were left out.
    #[prost(uint32, tag = 4)]
    #[serde(deserialize_with = "number")]
    pub dropped_attributes_count: u32,
}

/// A span.
#[derive(Clone, PartialEq, Message, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Span {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = 1)]
    #[serde(deserialize_with = "id", serialize_with = "write_id")]
    pub trace_id: Vec<u8>,
    /// 8 bytes.
    #[prost(bytes = "vec", tag = 2)]
    #[serde(deserialize_with = "id", serialize_with = "write_id")]
    pub span_id: Vec<u8>,
    /// The `tracestate` header of W3C.
    #[prost(string, tag = 3)]
    pub trace_state: String,
    /// 8 bytes, or none for a root.
    #[prost(bytes = "vec", tag = 4)]
    #[serde(deserialize_with = "id", serialize_with = "write_id")]
    pub parent_span_id: Vec<u8>,
    /// Bits of `SpanFlags`.
    #[prost(fixed32, tag = 16)]
    #[serde(deserialize_with = "number")]
    pub flags: u32,
    /// Its name.
    #[prost(string, tag = 5)]
    pub name: String,
    /// A number of `SpanKind`.
    #[prost(int32, tag = 6)]
    #[serde(deserialize_with = "number")]
    pub kind: i32,
    /// Nanoseconds since the epoch.
    #[prost(fixed64, tag = 7)]
    #[serde(deserialize_with = "number", serialize_with = "write_text")]
    pub start_time_unix_nano: u64,
    /// Nanoseconds since the epoch.
    #[prost(fixed64, tag = 8)]
    #[serde(deserialize_with = "number", serialize_with = "write_text")]
    pub end_time_unix_nano: u64,
    /// Its attributes.
    #[prost(message, repeated, tag = 9)]
    pub attributes: Vec<KeyValue>,
    /// How many attributes were left out.
    #[prost(uint32, tag = 10)]
    #[serde(deserialize_with = "number")]
    pub dropped_attributes_count: u32,
    /// Its events.
    #[prost(message, repeated, tag = 11)]
    pub events: Vec<Event>,
    /// How many events were left out.
    #[prost(uint32, tag = 12)]
    #[serde(deserialize_with = "number")]
    pub dropped_events_count: u32,
    /// Its links to other spans.
    #[prost(message, repeated, tag = 13)]
    pub links: Vec<Link>,
    /// How many links were left out.
    #[prost(uint32, tag = 14)]
    #[serde(deserialize_with = "number")]
    pub dropped_links_count: u32,
    /// Its status.
    #[prost(message, optional, tag = 15)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// An event of a span.
#[derive(Clone, PartialEq, Message, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    /// Nanoseconds since the epoch.
    #[prost(fixed64, tag = 1)]
    #[serde(deserialize_with = "number", serialize_with = "write_text")]
    pub time_unix_nano: u64,
    /// Its name.
    #[prost(string, tag = 2)]
    pub name: String,
    /// Its attributes.
    #[prost(message, repeated, tag = 3)]
    pub attributes: Vec<KeyValue>,
    /// How many attributes were left out.
    #[prost(uint32, tag = 4)]
    #[serde(deserialize_with = "number")]
    pub dropped_attributes_count: u32,
}

/// A link to another span.
#[derive(Clone, PartialEq, Message, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Link {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = 1)]
    #[serde(deserialize_with = "id", serialize_with = "write_id")]
    pub trace_id: Vec<u8>,
    /// 8 bytes.
    #[prost(bytes = "vec", tag = 2)]
    #[serde(deserialize_with = "id", serialize_with = "write_id")]
    pub span_id: Vec<u8>,
    /// The `tracestate` header of W3C.
    #[prost(string, tag = 3)]
    pub trace_state: String,
    /// Its attributes.
    #[prost(message, repeated, tag = 4)]
    pub attributes: Vec<KeyValue>,
    /// How many attributes were left out.
    #[prost(uint32, tag = 5)]
    #[serde(deserialize_with = "number")]
    pub dropped_attributes_count: u32,
    /// Bits of `SpanFlags`.
    #[prost(fixed32, tag = 6)]
    #[serde(deserialize_with = "number")]
    pub flags: u32,
}

/// The status of a span.
#[derive(Clone, PartialEq, Message, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// The reason of a failure.
    #[prost(string, tag = 2)]
    pub message: String,
    /// A number of `StatusCode`.
    #[prost(int32, tag = 3)]
    #[serde(deserialize_with = "number")]
    pub code: i32,
}

/// An attribute.
#[derive(Clone, PartialEq, Message, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyValue {
    /// Its key.
    #[prost(string, tag = 1)]
    pub key: String,
    /// Its value.
    #[prost(message, optional, tag = 2)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<AnyValue>,
}

/// A value of any type: at most one of the fields is set.
#[derive(Clone, PartialEq, Message, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AnyValue {
    /// A text.
    #[prost(string, optional, tag = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// A boolean.
    #[prost(bool, optional, tag = 2)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bool_value: Option<bool>,
    /// A whole number.
    #[prost(int64, optional, tag = 3)]
    #[serde(
        deserialize_with = "some_number",
        serialize_with = "write_some_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub int_value: Option<i64>,
    /// A double.
    #[prost(double, optional, tag = 4)]
    #[serde(
        deserialize_with = "some_number",
        serialize_with = "write_some_double",
        skip_serializing_if = "Option::is_none"
    )]
    pub double_value: Option<f64>,
    /// A list.
    #[prost(message, optional, tag = 5)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub array_value: Option<ArrayValue>,
    /// A map.
    #[prost(message, optional, tag = 6)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kvlist_value: Option<KeyValueList>,
    /// Bytes. JSON has them in base64.
    #[prost(bytes = "vec", optional, tag = 7)]
    #[serde(
        deserialize_with = "some_bytes",
        serialize_with = "write_some_bytes",
        skip_serializing_if = "Option::is_none"
    )]
    pub bytes_value: Option<Vec<u8>>,
}

/// A list of values.
#[derive(Clone, PartialEq, Message, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ArrayValue {
    /// The values.
    #[prost(message, repeated, tag = 1)]
    pub values: Vec<AnyValue>,
}

/// A map of values.
#[derive(Clone, PartialEq, Message, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyValueList {
    /// The members.
    #[prost(message, repeated, tag = 1)]
    pub values: Vec<KeyValue>,
}

/// The answer of a collector: `ExportTraceServiceResponse`, and the same message of the other signals.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ExportResponse {
    #[prost(message, optional, tag = 1)]
    pub(crate) partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PartialSuccess {
    #[prost(int64, tag = 1)]
    #[serde(alias = "rejectedSpans", alias = "rejectedDataPoints", alias = "rejectedLogRecords")]
    #[serde(deserialize_with = "number")]
    pub(crate) rejected: i64,
    #[prost(string, tag = 2)]
    pub(crate) error_message: String,
}

impl TracesData {
    /// How many spans it has.
    #[must_use]
    pub fn span_count(&self) -> usize {
        let scopes = self.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        scopes.map(|scope| scope.spans.len()).sum()
    }

    /// The same spans in two messages; `None` if there are fewer than two.
    #[must_use]
    pub fn halves(mut self) -> Option<(Self, Self)> {
        let half = self.span_count() / 2;
        if half == 0 {
            return None;
        }
        let mut rest = self.clone();
        // The first `half` spans stay, the others go to the rest.
        let mut seen = 0;
        for (resource, rest) in self.resource_spans.iter_mut().zip(&mut rest.resource_spans) {
            for (scope, rest) in resource.scope_spans.iter_mut().zip(&mut rest.scope_spans) {
                let kept = half.saturating_sub(seen).min(scope.spans.len());
                seen += scope.spans.len();
                scope.spans.truncate(kept);
                rest.spans.drain(..kept);
            }
        }
        Some((self, rest))
    }
}

/// An id in hexadecimal.
fn id<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    let expected = &"an id in hexadecimal";
    hex::decode(&text).map_err(|_| de::Error::invalid_value(de::Unexpected::Str(&text), expected))
}

/// Bytes in base64, of either alphabet.
fn some_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
    use base64::{
        Engine, alphabet,
        engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    };
    let padding = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text = String::deserialize(from)?;
    let decode = |alphabet| GeneralPurpose::new(alphabet, padding).decode(&text);
    let bytes = decode(&alphabet::STANDARD).or_else(|_| decode(&alphabet::URL_SAFE));
    let expected = &"bytes in base64";
    bytes.map(Some).map_err(|_| de::Error::invalid_value(de::Unexpected::Str(&text), expected))
}

fn write_id<S: Serializer>(id: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&hex::encode(id))
}

/// A 64-bit number is a string in JSON.
fn write_text<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(number)
}

fn write_some_text<S: Serializer>(number: &Option<i64>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&number.unwrap_or_default())
}

fn write_some_double<S: Serializer>(number: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    let number = number.unwrap_or_default();
    match not_finite(number) {
        Some(word) => to.serialize_str(word),
        None => to.serialize_f64(number),
    }
}

fn write_some_bytes<S: Serializer>(bytes: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    to.serialize_str(&STANDARD.encode(bytes.as_deref().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: de::DeserializeOwned>(json: &str) -> Result<T, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn ids_are_hexadecimal() {
        let parent = |id: &str| read::<Span>(&format!(r#"{{"parentSpanId":"{id}"}}"#)).map(|span| span.parent_span_id);
        assert_eq!(parent("00000000000000aB").unwrap(), [0, 0, 0, 0, 0, 0, 0, 0xab]);
        assert!(parent("").unwrap().is_empty());
        assert!(parent("00000000000000xy").is_err());
    }

    #[test]
    fn bytes_are_base64_of_either_alphabet() {
        for json in [r#"{"bytesValue":"+/8="}"#, r#"{"bytesValue":"-_8"}"#] {
            assert_eq!(read::<AnyValue>(json).unwrap().bytes_value.unwrap(), [0xfb, 0xff], "{json}");
        }
        assert!(read::<AnyValue>(r#"{"bytesValue":"*"}"#).is_err());
    }

    #[test]
    fn values_are_written_as_they_are_read() {
        for json in [
            r#"{"stringValue":""}"#,
            r#"{"boolValue":false}"#,
            r#"{"intValue":"-9223372036854775808"}"#,
            r#"{"doubleValue":"NaN"}"#,
            r#"{"doubleValue":"-Infinity"}"#,
            r#"{"doubleValue":1.5}"#,
            r#"{"bytesValue":"+/8="}"#,
            r#"{"arrayValue":{"values":[{"intValue":"1"},{}]}}"#,
            r#"{"kvlistValue":{"values":[{"key":"k","value":{"boolValue":true}}]}}"#,
        ] {
            assert_eq!(serde_json::to_string(&read::<AnyValue>(json).unwrap()).unwrap(), json);
        }
    }

    #[test]
    fn the_answer_to_every_signal_is_read() {
        for key in ["rejectedSpans", "rejectedDataPoints", "rejectedLogRecords"] {
            let json = format!(r#"{{"partialSuccess":{{"{key}":"3","errorMessage":"why"}}}}"#);
            let success = read::<ExportResponse>(&json).unwrap().partial_success.unwrap();
            assert_eq!((success.rejected, success.error_message.as_str()), (3, "why"), "{key}");
        }
    }

    #[test]
    fn halves_have_all_spans_once() {
        let scope = |names: &[&str]| ScopeSpans {
            spans: names.iter().map(|name| Span { name: (*name).to_owned(), ..Span::default() }).collect(),
            ..ScopeSpans::default()
        };
        let group = |scopes| ResourceSpans { scope_spans: scopes, ..ResourceSpans::default() };
        let data = TracesData {
            resource_spans: vec![group(vec![scope(&["a"]), scope(&["b", "c"])]), group(vec![scope(&["d", "e"])])],
        };
        let names = |data: &TracesData| -> Vec<String> {
            let scopes = data.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
            scopes.flat_map(|scope| &scope.spans).map(|span| span.name.clone()).collect()
        };
        let (one, other) = data.halves().unwrap();
        assert_eq!(
            (names(&one), names(&other)),
            (vec!["a".into(), "b".into()], vec!["c".into(), "d".into(), "e".into()])
        );
        assert!(TracesData { resource_spans: vec![group(vec![scope(&["a"])])] }.halves().is_none());
    }
}
