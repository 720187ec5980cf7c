//! The encoder of the sinks that write OTLP: with the resource of the trace and the limits of the environment.

use tracer_model::Resource;
use tracer_otlp::Encoder;

use crate::cli::variables::variable;

/// The longest string value of an attribute, in characters, from the environment.
pub(super) fn value_limit() -> Option<usize> {
    let limit = |name| variable(name).and_then(|value| value.parse().ok());
    limit("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT").or_else(|| limit("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"))
}

/// An encoder for spans of this resource.
pub(crate) fn encoder(resource: &Resource) -> Encoder {
    Encoder::new(resource.clone(), value_limit())
}
