//! Attributes as JSON.

use serde_json::{Map, Value as Json};
use tracer_model::{Value, semconv::KeyValues};
use tracer_otlp::message::not_finite;

/// Attributes as a JSON object.
pub(crate) fn json_object(attributes: &KeyValues) -> Map<String, Json> {
    attributes.iter().map(|(key, value)| (key.to_string(), json_value(value))).collect()
}

/// An attribute's value as JSON.
pub(crate) fn json_value(value: &Value) -> Json {
    match value {
        Value::Bool(value) => Json::from(*value),
        Value::Int(value) => Json::from(*value),
        Value::Float(value) => json_double(*value),
        Value::String(value) => Json::from(value.as_str()),
        Value::Bytes(_) => Json::from(value.to_string()),
        Value::Bools(values) => Json::from(values.as_slice()),
        Value::Ints(values) => Json::from(values.as_slice()),
        Value::Floats(values) => values.iter().copied().map(json_double).collect(),
        Value::Strings(values) => Json::from(values.as_slice()),
    }
}

/// A number that is not finite is a string, as in OTLP/JSON.
fn json_double(value: f64) -> Json {
    not_finite(value).map_or_else(|| Json::from(value), Json::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_not_finite_become_strings() {
        let values = Value::Floats(vec![1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
        assert_eq!(json_value(&values).to_string(), r#"[1.5,"NaN","Infinity","-Infinity"]"#);
    }
}
