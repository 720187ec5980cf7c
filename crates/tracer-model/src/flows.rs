//! UDP flows: from the first datagram of a flow to its span.

use crate::{
    emit::{Draft, Emitter},
    event::{Flow, FlowId},
    id::SpanId,
    owner::Owner,
    peers::{Ends, Pairs},
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
    /// The span of the other end, if a process of the tree owns it.
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
        if is_over && let Some(flow) = self.table.end(id) {
            self.pairs.leave(flow.ends(), id);
            flow.end(emitter, false);
        }
    }

    fn begin(&mut self, span_id: SpanId, last: Ktime, id: FlowId, owner: Owner, latest: Flow) {
        let is_repaired = !owner.is_known;
        let mut flow = LiveFlow { span_id, owner, other_end: None, last, is_repaired, latest };
        // A flow between two processes of the tree has two spans. They link to each other.
        if let Some(other) = self.pairs.join(flow.ends(), id).and_then(|other| self.table.get_mut(other)) {
            other.other_end = Some(span_id);
            flow.other_end = Some(other.span_id);
        }
        self.table.insert(id, flow);
    }

    /// Ends all flows, because the trace ends. `may_be_over`: the exits of some owners may be missing.
    /// A process ended without a span. What it owned belongs to the process above it.
    pub(crate) fn rehome(&mut self, from: SpanId, to: SpanId) {
        for flow in self.table.values_mut().filter(|flow| flow.owner.span_id == from) {
            flow.owner.span_id = to;
        }
    }

    pub(crate) fn finish(&mut self, emitter: &mut Emitter, may_be_over: bool) {
        for (_, mut flow) in self.table.drain() {
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

impl Live for LiveFlow {
    fn span_id(&self) -> SpanId {
        self.span_id
    }
}
