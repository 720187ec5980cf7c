//! The kind of a span.

use crate::{
    event::Direction,
    span::{Span, Subject},
};

/// The span kinds of OpenTelemetry that occur here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A process.
    Internal,
    /// A connection that the process made, a flow, a lookup, a call.
    Client,
    /// A connection that the process accepted.
    Server,
}

/// The kind of a span.
#[must_use]
pub fn kind(span: &Span) -> Kind {
    match &span.subject {
        Subject::Process(_) => Kind::Internal,
        Subject::Connection(subject) if subject.connection.direction == Direction::Accept => Kind::Server,
        Subject::Connection(_) | Subject::Flow(_) | Subject::Lookup(_) | Subject::Call(_) => Kind::Client,
    }
}
