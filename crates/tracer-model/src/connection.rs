//! A live TCP connection, and how the two ends of one find each other.

use std::{net::SocketAddr, sync::Arc};

use hashbrown::HashMap;

use crate::{
    event::{Change, Connection, ConnectionId},
    id::SpanId,
    time::Ktime,
};

#[derive(Debug)]
pub(crate) struct LiveConnection {
    pub(crate) span_id: SpanId,
    pub(crate) owner_id: SpanId,
    /// The span of the other end, if that is in the tree as well.
    pub(crate) other_end: Option<SpanId>,
    /// The name by which the peer's address was found.
    pub(crate) host: Option<Arc<str>>,
    pub(crate) start: Ktime,
    pub(crate) established: Option<Ktime>,
    pub(crate) is_repaired: bool,
    pub(crate) latest: Connection,
}

impl LiveConnection {
    /// A connection first heard of by `change`; what should have come before it was lost.
    pub(crate) fn new(
        id: ConnectionId,
        at: Ktime,
        change: Change,
        span_id: SpanId,
        owner_id: SpanId,
        latest: Connection,
    ) -> Self {
        use crate::event::Direction::{Accept, Connect};
        let is_first = matches!((latest.direction, change), (Connect, Change::Opened) | (Accept, Change::Established));
        Self {
            span_id,
            owner_id,
            other_end: None,
            host: None,
            // An accepted connection starts when it is established; the kernel knows of it a round trip earlier.
            start: if change == Change::Established && latest.direction == Accept { at } else { id.opened },
            established: None,
            is_repaired: !is_first,
            latest,
        }
    }

    /// Where it is.
    pub(crate) fn ends(&self) -> Ends {
        let Connection { local, peer, network_namespace, .. } = self.latest;
        Ends::new(local, peer, network_namespace)
    }

    /// Takes on what is known now. A socket that the kernel has taken out of its tables no longer knows its
    /// ends.
    pub(crate) fn update(&mut self, latest: Connection) {
        let local = if latest.local.port() == 0 { self.latest.local } else { latest.local };
        let peer = if latest.peer.port() == 0 { self.latest.peer } else { latest.peer };
        self.latest = Connection { local, peer, ..latest };
    }
}

/// The two ends of a connection, as one of them has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    local: SocketAddr,
    peer: SocketAddr,
    network_namespace: u32,
}

impl Ends {
    pub(crate) fn new(local: SocketAddr, peer: SocketAddr, network_namespace: u32) -> Self {
        // Every network namespace has a loopback of its own, while other addresses lead from one to the other.
        Self { local, peer, network_namespace: if peer.ip().is_loopback() { network_namespace } else { 0 } }
    }

    /// As the other one has it.
    pub(crate) fn swapped(self) -> Self {
        Self { local: self.peer, peer: self.local, ..self }
    }
}

/// What is at which ends, of one kind.
#[derive(Debug)]
pub(crate) struct Pairs<K>(HashMap<Ends, K>);

impl<K: Copy + Eq> Pairs<K> {
    pub(crate) fn new() -> Self {
        Self(HashMap::new())
    }

    /// Takes note of one, and gives the one at the other end.
    pub(crate) fn join(&mut self, ends: Ends, id: K) -> Option<K> {
        self.0.insert(ends, id);
        self.0.get(&ends.swapped()).copied().filter(|other| *other != id)
    }

    /// Forgets one, unless another has taken its place.
    pub(crate) fn leave(&mut self, ends: Ends, id: K) {
        if self.0.get(&ends) == Some(&id) {
            self.0.remove(&ends);
        }
    }
}
