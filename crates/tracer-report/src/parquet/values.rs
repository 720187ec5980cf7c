//! Values of attributes as texts, and back.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::Write,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use parquet::data_type::ByteArray;
use serde_json::json;
use tracer_model::{Value, semconv::ValueRef};

use crate::span::first;

/// Writes a value as the exporter for ClickHouse does: arrays are JSON, bytes are base64. `limit` cuts a
/// text to that many characters, and bytes to that many bytes before they become base64.
pub(super) fn write_text(bytes: &mut Vec<u8>, value: &ValueRef<'_>, limit: Option<usize>) {
    // Writing to memory cannot fail.
    let _ = match value {
        ValueRef::String(text) => bytes.write_all(first(text, limit).as_bytes()),
        ValueRef::Bool(value) => write!(bytes, "{value}"),
        ValueRef::Int(value) => write!(bytes, "{value}"),
        ValueRef::Float(value) => write!(bytes, "{value}"),
        ValueRef::Bytes(value) => {
            let value = &value[..value.len().min(limit.unwrap_or(usize::MAX))];
            bytes.write_all(BASE64_STANDARD.encode(value).as_bytes())
        }
        ValueRef::Strings(texts) => {
            bytes.push(b'[');
            for (index, text) in texts.iter().enumerate() {
                bytes.extend_from_slice(if index > 0 { b"," } else { b"" });
                let _ = serde_json::to_writer(&mut *bytes, first(&text, limit));
            }
            bytes.write_all(b"]")
        }
        ValueRef::Bools(values) => serde_json::to_writer(bytes, values).map_err(Into::into),
        ValueRef::Ints(values) => serde_json::to_writer(bytes, values).map_err(Into::into),
        ValueRef::Floats(values) => {
            // JSON has no number that is not finite.
            let number = |value: &f64| if value.is_finite() { json!(value) } else { json!(value.to_string()) };
            serde_json::to_writer(bytes, &values.iter().map(number).collect::<Vec<_>>()).map_err(Into::into)
        }
    };
}

/// The keys of attributes, and the types of their values.
#[derive(Debug, Default)]
pub(super) struct Keys(hashbrown::HashMap<String, Key>);

#[derive(Debug)]
struct Key {
    text: ByteArray,
    types: BTreeSet<Type>,
}

/// The types of attributes that are not texts, by key. Nearly always a key has one type.
#[derive(Debug, Default)]
pub(super) struct Types(HashMap<String, BTreeSet<Type>>);

/// The type of a value that is not a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
enum Type {
    #[serde(rename = "bool")]
    Bool,
    #[serde(rename = "int")]
    Int,
    #[serde(rename = "double")]
    Float,
    #[serde(rename = "bytes")]
    Bytes,
    #[serde(rename = "bool[]")]
    Bools,
    #[serde(rename = "int[]")]
    Ints,
    #[serde(rename = "double[]")]
    Floats,
    #[serde(rename = "string[]")]
    Strings,
}

/// The most keys that are kept. The values of others are read back as texts.
const KEYS: usize = 10_000;

impl Keys {
    /// The text of a key. The types of all its values are kept.
    pub(super) fn add(&mut self, key: &str, value: &ValueRef<'_>) -> ByteArray {
        let types = Type::of(value);
        if let Some(known) = self.0.get_mut(key) {
            known.types.extend(types);
            return known.text.clone();
        }
        let text = ByteArray::from(key);
        if self.0.len() < KEYS {
            self.0.insert(key.to_owned(), Key { text: text.clone(), types: types.into_iter().collect() });
        }
        text
    }

    /// The types as JSON.
    pub(super) fn to_json(&self) -> String {
        let keys = self.0.iter().filter(|(_, key)| !key.types.is_empty());
        let sorted: BTreeMap<_, _> = keys.map(|(text, key)| (text, &key.types)).collect();
        serde_json::to_string(&sorted).unwrap_or_default()
    }
}

impl Types {
    /// Reads the types. A file of another program has none.
    pub(super) fn from_json(json: Option<&str>) -> Self {
        Self(json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default())
    }

    /// The value of an attribute. It has the first known type that fits the text.
    pub(super) fn value(&self, key: &str, text: String) -> Value {
        let known = self.0.get(key).into_iter().flatten();
        known.filter_map(|kind| kind.read(&text)).next().unwrap_or(Value::String(text))
    }
}

impl Type {
    fn of(value: &ValueRef<'_>) -> Option<Self> {
        Some(match value {
            ValueRef::String(_) => return None,
            ValueRef::Bool(_) => Self::Bool,
            ValueRef::Int(_) => Self::Int,
            ValueRef::Float(_) => Self::Float,
            ValueRef::Bytes(_) => Self::Bytes,
            ValueRef::Bools(_) => Self::Bools,
            ValueRef::Ints(_) => Self::Ints,
            ValueRef::Floats(_) => Self::Floats,
            ValueRef::Strings(_) => Self::Strings,
        })
    }

    fn read(self, text: &str) -> Option<Value> {
        Some(match self {
            Self::Bool => Value::Bool(text.parse().ok()?),
            Self::Int => Value::Int(text.parse().ok()?),
            Self::Float => Value::Float(text.parse().ok()?),
            Self::Bytes => Value::Bytes(BASE64_STANDARD.decode(text).ok()?),
            Self::Bools => Value::Bools(serde_json::from_str(text).ok()?),
            Self::Ints => Value::Ints(serde_json::from_str(text).ok()?),
            Self::Strings => Value::Strings(serde_json::from_str(text).ok()?),
            Self::Floats => {
                let values: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
                let number = |value: &serde_json::Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
                Value::Floats(values.iter().map(number).collect::<Option<_>>()?)
            }
        })
    }
}
