//! The interface of every report that is a file.

use std::io;

use tracer_model::Resource;

use crate::span::Span;

/// A report that is written to a file while the spans come in.
pub trait Report: Send {
    /// Adds a span. Spans come in any order.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    fn add(&mut self, span: &Span<'_>) -> io::Result<()>;

    /// Writes the end. No more spans follow. `resource` describes the machine and the run.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    fn finish(self: Box<Self>, resource: &Resource) -> io::Result<()>;
}
