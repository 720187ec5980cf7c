//! Calls of connect for unix sockets. Each one is a moment and becomes a span at once.

use crate::{
    emit::{Draft, Emitter},
    id::SpanId,
    span::{Subject, UnixConnectSpan, UserAttributes},
    time::Ktime,
};

/// Emits the span. `is_known`: its process is known, and not only the root.
pub(crate) fn emit(
    emitter: &mut Emitter,
    at: Ktime,
    (parent_id, is_known): (SpanId, bool),
    attributes: UserAttributes,
    connect: UnixConnectSpan,
) {
    let span_id = emitter.new_id();
    emitter.emit(Draft {
        span_id,
        parent_id: Some(parent_id),
        links: Vec::new(),
        start: at,
        end: at,
        is_unfinished: false,
        is_repaired: !is_known,
        attributes,
        subject: Subject::UnixConnect(Box::new(connect)),
    });
}
