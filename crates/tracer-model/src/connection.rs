//! A live TCP connection.

use crate::{
    event::{Change, Connection, Flow},
    id::SpanId,
    time::Ktime,
};

#[derive(Debug)]
pub(crate) struct LiveConnection {
    pub(crate) owner_id: SpanId,
    pub(crate) start: Ktime,
    pub(crate) established: Option<Ktime>,
    pub(crate) is_repaired: bool,
    pub(crate) latest: Connection,
}

impl LiveConnection {
    /// A connection first heard of by `change`; what should have come before it was lost.
    pub(crate) fn new(flow: Flow, at: Ktime, change: Change, owner_id: SpanId, latest: Connection) -> Self {
        use crate::event::Direction::{Accept, Connect};
        let is_first = matches!((latest.direction, change), (Connect, Change::Opened) | (Accept, Change::Established));
        Self {
            owner_id,
            // An accepted connection starts when it is established; the kernel knows of it a round trip earlier.
            start: if change == Change::Established && latest.direction == Accept { at } else { flow.opened },
            established: None,
            is_repaired: !is_first,
            latest,
        }
    }

    /// Takes on what is known now. A socket that the kernel has taken out of its tables no longer knows its
    /// ends.
    pub(crate) fn update(&mut self, latest: Connection) {
        let local = if latest.local.port() == 0 { self.latest.local } else { latest.local };
        let peer = if latest.peer.port() == 0 { self.latest.peer } else { latest.peer };
        self.latest = Connection { local, peer, ..latest };
    }
}
