//! The encoder of the sinks that write OTLP: with the resource of the trace and the limits of the environment.

use opentelemetry::{Array, Value as OtelValue};
use opentelemetry_sdk::Resource;
use tracer_model::Value;
use tracer_otlp::Encoder;

use crate::cli::variables::variable;

/// The longest string value of an attribute, in characters, from the environment.
pub(super) fn value_limit() -> Option<usize> {
    let limit = |name| variable(name).and_then(|value| value.parse().ok());
    limit("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT").or_else(|| limit("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"))
}

/// An encoder for spans of this resource.
pub(super) fn encoder(resource: &Resource) -> Encoder {
    let attributes = resource.iter().map(|(key, value)| (key.to_string().into(), plain(value)));
    Encoder::new(attributes.collect(), value_limit())
}

fn plain(value: &OtelValue) -> Value {
    match value {
        OtelValue::Bool(value) => Value::Bool(*value),
        OtelValue::I64(value) => Value::Int(*value),
        OtelValue::F64(value) => Value::Float(*value),
        OtelValue::Array(Array::Bool(values)) => Value::Bools(values.clone()),
        OtelValue::Array(Array::I64(values)) => Value::Ints(values.clone()),
        OtelValue::Array(Array::F64(values)) => Value::Floats(values.clone()),
        OtelValue::Array(Array::String(values)) => Value::Strings(values.iter().map(ToString::to_string).collect()),
        other => Value::String(other.to_string()),
    }
}
