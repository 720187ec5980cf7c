//! OTLP: spans of the model as protobuf and as OTLP/JSON lines.
//!
//! The encoder writes a span of the model straight into the bytes of a request or of a line. No message is built in between.
//! The tests compare the result with the messages that `opentelemetry-proto` makes of the same spans.
#![forbid(unsafe_code)]

mod encode;

pub use encode::Encoder;
