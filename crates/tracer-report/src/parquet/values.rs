//! Values of attributes as texts, and back.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::Write,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;
use tracer_model::Value;

/// Writes a value as the exporter for ClickHouse does: arrays are JSON, bytes are base64.
pub(super) fn write_text(bytes: &mut Vec<u8>, value: &Value) {
    // Writing to memory cannot fail.
    let _ = match value {
        Value::String(text) => bytes.write_all(text.as_bytes()),
        Value::Bool(value) => write!(bytes, "{value}"),
        Value::Int(value) => write!(bytes, "{value}"),
        Value::Float(value) => write!(bytes, "{value}"),
        Value::Bytes(_) => write!(bytes, "{value}"),
        Value::Strings(values) => serde_json::to_writer(bytes, values).map_err(Into::into),
        Value::Bools(values) => serde_json::to_writer(bytes, values).map_err(Into::into),
        Value::Ints(values) => serde_json::to_writer(bytes, values).map_err(Into::into),
        Value::Floats(values) => {
            // JSON has no number that is not finite.
            let number = |value: &f64| if value.is_finite() { json!(value) } else { json!(value.to_string()) };
            serde_json::to_writer(bytes, &values.iter().map(number).collect::<Vec<_>>()).map_err(Into::into)
        }
    };
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

/// The most keys whose types are kept. The values of others are read back as texts.
const KEYS: usize = 10_000;

impl Types {
    pub(super) fn add(&mut self, key: &str, value: &Value) {
        let kind = match value {
            Value::String(_) => return,
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int,
            Value::Float(_) => Type::Float,
            Value::Bytes(_) => Type::Bytes,
            Value::Bools(_) => Type::Bools,
            Value::Ints(_) => Type::Ints,
            Value::Floats(_) => Type::Floats,
            Value::Strings(_) => Type::Strings,
        };
        if let Some(known) = self.0.get_mut(key) {
            known.insert(kind);
        } else if self.0.len() < KEYS {
            self.0.insert(key.to_owned(), BTreeSet::from([kind]));
        }
    }

    /// The types as JSON.
    pub(super) fn to_json(&self) -> String {
        let sorted: BTreeMap<_, _> = self.0.iter().collect();
        serde_json::to_string(&sorted).unwrap_or_default()
    }

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
