//! A live UDP flow.

use std::sync::Arc;

use crate::{connection::Ends, event::Flow, id::SpanId, time::Ktime};

#[derive(Debug)]
pub(crate) struct LiveFlow {
    pub(crate) span_id: SpanId,
    pub(crate) owner_id: SpanId,
    /// The span of the other end, if that is in the tree as well.
    pub(crate) other_end: Option<SpanId>,
    /// The name by which the peer's address was found.
    pub(crate) host: Option<Arc<str>>,
    /// When the last datagram passed.
    pub(crate) last: Ktime,
    pub(crate) is_repaired: bool,
    pub(crate) latest: Flow,
}

impl LiveFlow {
    /// Where it is.
    pub(crate) fn ends(&self) -> Ends {
        Ends::new(self.latest.local, self.latest.peer, self.latest.network_namespace)
    }
}
