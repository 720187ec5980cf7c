//! Attributes as JSON.

use opentelemetry::{Array, Value as OtelValue};
use serde_json::Value;

/// An attribute's value as JSON.
pub(crate) fn json_value(value: &OtelValue) -> Value {
    match value {
        OtelValue::Bool(value) => Value::from(*value),
        OtelValue::I64(value) => Value::from(*value),
        OtelValue::F64(value) => Value::from(*value),
        OtelValue::String(value) => Value::from(value.as_str()),
        OtelValue::Array(Array::Bool(values)) => Value::from(values.clone()),
        OtelValue::Array(Array::I64(values)) => Value::from(values.clone()),
        OtelValue::Array(Array::F64(values)) => Value::from(values.clone()),
        OtelValue::Array(Array::String(values)) => values.iter().map(|value| Value::from(value.as_str())).collect(),
        other => Value::from(other.to_string()),
    }
}
