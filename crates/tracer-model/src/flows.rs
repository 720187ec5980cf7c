//! UDP flows: from the first datagram of a flow to its span.

use crate::{
    emit::{Draft, Emitter},
    event::{Direction, Flow, FlowId, Transport},
    id::SpanId,
    owner::Owner,
    peers::{Ends, Pairs},
    screen::Traffic,
    screening::{self, Paired},
    span::{FlowSpan, Subject},
    table::{Live, Table},
    time::Ktime,
};

#[derive(Debug)]
pub(crate) struct Flows {
    table: Table<FlowId, LiveFlow>,
    pairs: Pairs<FlowId>,
}

#[derive(Debug)]
struct LiveFlow {
    span_id: SpanId,
    owner: Owner,
    /// The other end, if a process of the tree owns it.
    other: Option<FlowId>,
    /// The span of the other end, if it has one.
    other_end: Option<SpanId>,
    /// When the last datagram passed.
    last: Ktime,
    is_repaired: bool,
    latest: Flow,
}

impl Flows {
    pub(crate) fn new() -> Self {
        Self { table: Table::new(), pairs: Pairs::new() }
    }

    /// Whether this flow is alive.
    pub(crate) fn has(&self, id: FlowId) -> bool {
        self.table.get(id).is_some()
    }

    pub(crate) fn handle(
        &mut self,
        emitter: &mut Emitter,
        at: Ktime,
        id: FlowId,
        owner: Owner,
        is_over: bool,
        latest: Flow,
    ) {
        if self.table.has_ended(id) {
            return;
        }
        if let Some(flow) = self.table.get_mut(id) {
            (flow.last, flow.latest) = (at, latest);
        } else {
            self.begin(emitter.new_id(), at, id, owner, latest);
        }
        if is_over && let Some(mut flow) = self.table.end(id) {
            self.pairs.leave(flow.ends(), id);
            let other = flow.other;
            if !screening::drops(emitter, at, &mut flow, other, &mut self.table) {
                flow.end(emitter, false);
            }
        }
    }

    fn begin(&mut self, span_id: SpanId, last: Ktime, id: FlowId, owner: Owner, latest: Flow) {
        let is_repaired = !owner.is_known;
        let mut flow = LiveFlow { span_id, owner, other: None, other_end: None, last, is_repaired, latest };
        // A flow between two processes of the tree has two spans. They link to each other.
        if let Some(other_id) = self.pairs.join(flow.ends(), id)
            && let Some(other) = self.table.get_mut(other_id)
        {
            (other.other, other.other_end) = (Some(id), Some(span_id));
            (flow.other, flow.other_end) = (Some(other_id), Some(other.span_id));
        }
        self.table.insert(id, flow);
    }

    /// A process ended without a span. Its flows belong to the process above it.
    pub(crate) fn rehome(&mut self, from: SpanId, to: SpanId) {
        self.table.values_mut().for_each(|flow| flow.owner.rehome(from, to));
    }

    /// Ends all flows, because the trace ends. `may_be_over`: the exits of some owners may be missing.
    pub(crate) fn finish(&mut self, emitter: &mut Emitter, at: Ktime, may_be_over: bool) {
        let mut flows = self.table.drain();
        screening::remove_dropped(emitter, at, &mut flows);
        for (_, mut flow) in flows {
            flow.is_repaired |= may_be_over;
            flow.end(emitter, true);
        }
    }
}

impl LiveFlow {
    fn ends(&self) -> Ends {
        Ends::new(self.latest.local, self.latest.peer, self.latest.network_namespace)
    }

    fn end(self, emitter: &mut Emitter, is_unfinished: bool) {
        emitter.emit(Draft {
            span_id: self.span_id,
            parent_id: Some(self.owner.span_id),
            links: emitter.links_to(self.other_end),
            start: self.latest.opened,
            end: self.last,
            is_unfinished,
            is_repaired: self.is_repaired,
            owner: Some(self.owner.process),
            attributes: self.owner.attributes,
            subject: Subject::Flow(Box::new(FlowSpan { flow: self.latest, host: self.owner.host })),
        });
    }
}

impl Paired for LiveFlow {
    fn traffic(&self) -> Traffic<'_> {
        let Flow { local, peer, .. } = self.latest;
        let (host, process) = (self.owner.host.as_deref(), self.owner.program());
        Traffic { transport: Transport::Udp, local, peer, host, direction: Direction::Connect, process }
    }

    fn other_end(&mut self) -> &mut Option<SpanId> {
        &mut self.other_end
    }
}

impl Live for LiveFlow {
    fn span_id(&self) -> SpanId {
        self.span_id
    }
}
