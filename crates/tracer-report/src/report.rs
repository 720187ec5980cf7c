//! What every report to a file has in common.

use std::io;

use opentelemetry_sdk::{Resource, trace::SpanData};

/// A report that is written to a file while the spans come in.
pub trait Report: Send {
    /// Takes in a span. Spans come in any order.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    fn add(&mut self, span: &SpanData) -> io::Result<()>;

    /// Writes what is left. No more spans come. `resource` says whose trace it is.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    fn finish(self: Box<Self>, resource: &Resource) -> io::Result<()>;
}
