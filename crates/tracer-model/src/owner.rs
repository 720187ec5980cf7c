//! The process that a connection, a flow, a lookup or a call belongs to.

use std::sync::Arc;

use crate::{
    event::Image,
    id::SpanId,
    span::{OwnerProcess, UserAttributes},
};

/// The process that a span belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    /// Its span.
    pub(crate) span_id: SpanId,
    /// `false`: the process is not known, and the span is the root's.
    pub(crate) is_known: bool,
    /// `false`: the process is dead or not known. Then the model has no image and no attributes of it.
    pub(crate) is_alive: bool,
    /// Facts about it for the span.
    pub(crate) process: OwnerProcess,
    /// The user's attributes for the span.
    pub(crate) attributes: UserAttributes,
    /// The name by which it found the peer's address.
    pub(crate) host: Option<Arc<str>>,
}

impl Owner {
    /// The name of the program.
    pub(crate) fn program(&self) -> &str {
        self.process.image.as_deref().map_or("", Image::name)
    }

    /// Takes the owner of a later event. The name of the peer stays.
    pub(crate) fn update(&mut self, latest: Self) {
        // If the dead owner is already forgotten, the span keeps the owner that it has.
        if latest.is_known {
            (self.span_id, self.is_known) = (latest.span_id, true);
        }
        // The kernel closes the connections of a dead process after it has reported the death.
        if latest.is_alive || latest.process.pid != self.process.pid {
            (self.process, self.attributes) = (latest.process, latest.attributes);
        }
    }

    /// The process `from` ended without a span. `to` is the span of the process above it.
    pub(crate) fn rehome(&mut self, from: SpanId, to: SpanId) {
        if self.span_id == from {
            self.span_id = to;
        }
    }
}
