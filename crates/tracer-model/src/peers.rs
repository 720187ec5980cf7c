//! The facts that connections and flows share: their two ends, and the span at the other end.

use std::net::SocketAddr;

use hashbrown::HashMap;

/// The two ends of a connection, as one of the two processes sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    local: SocketAddr,
    peer: SocketAddr,
    network_namespace: u32,
}

impl Ends {
    pub(crate) fn new(local: SocketAddr, peer: SocketAddr, network_namespace: u32) -> Self {
        // Each network namespace has its own loopback. Other addresses can lead from one namespace to another.
        Self { local, peer, network_namespace: if peer.ip().is_loopback() { network_namespace } else { 0 } }
    }

    /// The same ends, as the other process sees them.
    fn swapped(self) -> Self {
        Self { local: self.peer, peer: self.local, ..self }
    }
}

/// The live connections or flows, by their ends.
#[derive(Debug)]
pub(crate) struct Pairs<K>(HashMap<Ends, K>);

impl<K: Copy + Eq> Pairs<K> {
    pub(crate) fn new() -> Self {
        Self(HashMap::new())
    }

    /// Adds a connection or flow. Returns the one at the other end.
    pub(crate) fn join(&mut self, ends: Ends, id: K) -> Option<K> {
        self.0.insert(ends, id);
        self.0.get(&ends.swapped()).copied().filter(|other| *other != id)
    }

    /// Removes a connection or flow, unless another one has the same ends now.
    pub(crate) fn leave(&mut self, ends: Ends, id: K) {
        if self.0.get(&ends) == Some(&id) {
            self.0.remove(&ends);
        }
    }
}
