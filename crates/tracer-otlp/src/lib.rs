//! OTLP in both directions: sends spans of the model to a collector or a file, and reads saved traces.
//!
//! The encoder writes a span of the model directly into the bytes of a request or of a line. No message is built in
//! between. The tests compare the result with the messages that `opentelemetry-proto` makes of the same spans.
//!
//! This crate knows no flags and prints nothing. Callers pass in values. They get errors and warnings back. The
//! only variables that are read here are those of proxies and of the system's authorities, such as `HTTPS_PROXY` and
//! `SSL_CERT_FILE`.
#![forbid(unsafe_code)]

mod client;
mod collector;
mod encode;
mod json_lines;
pub mod message;
pub mod pem;
pub mod retry;
pub mod spool;

pub use client::{
    Client, OpenError,
    answer::{Accepted, Failure},
};
pub use collector::{Collector, Endpoint, Protocol, Signal, Url, UrlError};
pub use encode::{Counts, Encoder};
pub use json_lines::{JsonLines, LONGEST_LINE, Line, LineError, LineWriter};
