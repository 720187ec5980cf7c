//! TCP connections: from the first event of a connection to its span.

use crate::{
    emit::{Draft, Emitter},
    event::{Change, Connection, ConnectionId, Direction, Transport},
    id::SpanId,
    owner::Owner,
    peers::{Ends, Pairs},
    screen::Traffic,
    screening::{self, Paired},
    span::{ConnectionSpan, Subject},
    table::{Live, Table},
    time::Ktime,
};

#[derive(Debug)]
pub(crate) struct Connections {
    table: Table<ConnectionId, LiveConnection>,
    /// The established connections.
    pairs: Pairs<ConnectionId>,
}

#[derive(Debug)]
struct LiveConnection {
    span_id: SpanId,
    owner: Owner,
    /// The other end, if a process of the tree owns it.
    other: Option<ConnectionId>,
    /// The span of the other end, if it has one.
    other_end: Option<SpanId>,
    start: Ktime,
    established: Option<Ktime>,
    is_repaired: bool,
    latest: Connection,
}

impl Connections {
    pub(crate) fn new() -> Self {
        Self { table: Table::new(), pairs: Pairs::new() }
    }

    /// Whether this connection is alive.
    pub(crate) fn has(&self, id: ConnectionId) -> bool {
        self.table.get(id).is_some()
    }

    pub(crate) fn handle(
        &mut self,
        emitter: &mut Emitter,
        at: Ktime,
        id: ConnectionId,
        owner: Owner,
        change: Change,
        latest: Connection,
    ) {
        if self.table.has_ended(id) {
            return;
        }
        let connection = match self.table.get_mut(id) {
            Some(connection) => {
                connection.owner.update(owner);
                connection.update(latest);
                connection
            }
            None => self.table.insert(id, LiveConnection::new(id, at, change, emitter.new_id(), owner, latest)),
        };
        let ends = connection.ends();
        match change {
            Change::Opened | Change::Owned => {}
            Change::Established => {
                connection.established = Some(at);
                self.join(id, ends);
            }
            Change::Closed => {
                self.pairs.leave(ends, id);
                if let Some(mut connection) = self.table.end(id) {
                    let other = connection.other;
                    if !screening::drops(emitter, at, &mut connection, other, &mut self.table) {
                        connection.end(emitter, at, false);
                    }
                }
            }
        }
    }

    /// A connection between two processes of the tree has two spans. They link to each other.
    fn join(&mut self, id: ConnectionId, ends: Ends) {
        let Some(other) = self.pairs.join(ends, id) else { return };
        let span_id = |id| self.table.get(id).map(Live::span_id);
        let (own_id, other_id) = (span_id(id), span_id(other));
        for (id, other, other_end) in [(id, other, other_id), (other, id, own_id)] {
            if let Some(connection) = self.table.get_mut(id) {
                (connection.other, connection.other_end) = (Some(other), other_end);
            }
        }
    }

    /// A process ended without a span. Its connections belong to the process above it.
    pub(crate) fn rehome(&mut self, from: SpanId, to: SpanId) {
        self.table.values_mut().for_each(|connection| connection.owner.rehome(from, to));
    }

    /// Ends all connections, because the trace ends. `may_be_closed`: some of the missing events may have closed a
    /// connection.
    pub(crate) fn finish(&mut self, emitter: &mut Emitter, at: Ktime, may_be_closed: bool) {
        let mut connections = self.table.drain();
        screening::remove_dropped(emitter, at, &mut connections);
        for (_, mut connection) in connections {
            connection.is_repaired |= may_be_closed;
            connection.end(emitter, at, true);
        }
    }
}

impl LiveConnection {
    /// A connection whose first event is `change`. If a connection cannot begin with `change`, its earlier events were
    /// lost.
    fn new(id: ConnectionId, at: Ktime, change: Change, span_id: SpanId, owner: Owner, latest: Connection) -> Self {
        use Direction::{Accept, Connect};
        let is_first = matches!((latest.direction, change), (Connect, Change::Opened) | (Accept, Change::Established));
        Self {
            span_id,
            other: None,
            other_end: None,
            // An accepted connection starts when it is established. The kernel knows it one round trip earlier.
            start: if change == Change::Established && latest.direction == Accept { at } else { id.opened },
            established: None,
            is_repaired: !is_first || !owner.is_known,
            owner: Owner { host: owner.host.filter(|_| latest.direction == Connect), ..owner },
            latest,
        }
    }

    fn ends(&self) -> Ends {
        let Connection { local, peer, network_namespace, .. } = self.latest;
        Ends::new(local, peer, network_namespace)
    }

    /// Takes the latest state. A socket that the kernel has removed from its tables has no ends any more.
    fn update(&mut self, latest: Connection) {
        let local = if latest.local.port() == 0 { self.latest.local } else { latest.local };
        let peer = if latest.peer.port() == 0 { self.latest.peer } else { latest.peer };
        self.latest = Connection { local, peer, ..latest };
    }

    fn end(self, emitter: &mut Emitter, at: Ktime, is_unfinished: bool) {
        let established = self.established.map(|at| emitter.anchor.wall_time(at.max(self.start)));
        let span = ConnectionSpan { connection: self.latest, established, host: self.owner.host };
        emitter.emit(Draft {
            span_id: self.span_id,
            parent_id: Some(self.owner.span_id),
            links: emitter.links_to(self.other_end),
            start: self.start,
            end: at,
            is_unfinished,
            is_repaired: self.is_repaired,
            owner: Some(self.owner.process),
            attributes: self.owner.attributes,
            subject: Subject::Connection(Box::new(span)),
        });
    }
}

impl Paired for LiveConnection {
    fn traffic(&self) -> Traffic<'_> {
        let Connection { local, peer, direction, .. } = self.latest;
        let (host, process) = (self.owner.host.as_deref(), self.owner.program());
        Traffic { transport: Transport::Tcp, local, peer, host, direction, process }
    }

    fn other_end(&mut self) -> &mut Option<SpanId> {
        &mut self.other_end
    }
}

impl Live for LiveConnection {
    fn span_id(&self) -> SpanId {
        self.span_id
    }
}
