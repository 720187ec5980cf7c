//! The output of the model: ids for new spans, wall time for their ends, counts of spans, and the queue of finished
//! spans.

use std::collections::VecDeque;

use crate::{
    calls::{Call, CallCounts},
    context::SpanContext,
    id::{IdGenerator, SpanId, TraceId},
    span::{Span, Subject, UserAttributes},
    time::{Anchor, Ktime},
};

#[derive(Debug)]
pub(crate) struct Emitter {
    pub(crate) trace_id: TraceId,
    pub(crate) anchor: Anchor,
    ids: IdGenerator,
    spans: VecDeque<Span>,
    counts: Counts,
}

/// How many spans of each kind the trace has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) processes: u64,
    pub(crate) connections: u64,
    pub(crate) flows: u64,
    pub(crate) lookups: u64,
    pub(crate) calls: CallCounts,
}

/// A span, with the times of the kernel.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) span_id: SpanId,
    pub(crate) parent_id: Option<SpanId>,
    pub(crate) links: Vec<SpanContext>,
    pub(crate) start: Ktime,
    pub(crate) end: Ktime,
    pub(crate) is_unfinished: bool,
    pub(crate) is_repaired: bool,
    /// The user's attributes of its process.
    pub(crate) attributes: UserAttributes,
    pub(crate) subject: Subject,
}

impl Emitter {
    pub(crate) fn new(trace_id: TraceId, anchor: Anchor, seed: [u8; 32]) -> Self {
        Self { trace_id, anchor, ids: IdGenerator::new(seed), spans: VecDeque::new(), counts: Counts::default() }
    }

    pub(crate) fn new_id(&mut self) -> SpanId {
        self.ids.span_id()
    }

    /// Links to another span of this trace.
    pub(crate) fn links_to(&self, span: Option<SpanId>) -> Vec<SpanContext> {
        span.map(|span_id| SpanContext { trace_id: self.trace_id, span_id }).into_iter().collect()
    }

    /// Makes a span that does not end before it starts.
    pub(crate) fn span(&self, draft: Draft) -> Span {
        Span {
            trace_id: self.trace_id,
            span_id: draft.span_id,
            parent_id: draft.parent_id,
            links: draft.links,
            start: self.anchor.wall_time(draft.start),
            end: self.anchor.wall_time(draft.end.max(draft.start)),
            is_unfinished: draft.is_unfinished,
            is_repaired: draft.is_repaired,
            attributes: draft.attributes,
            subject: draft.subject,
        }
    }

    /// Adds a span to the finished ones.
    pub(crate) fn emit(&mut self, draft: Draft) {
        match &draft.subject {
            Subject::Process(_) => self.counts.processes += 1,
            Subject::Connection(_) => self.counts.connections += 1,
            Subject::Flow(_) => self.counts.flows += 1,
            Subject::Lookup(_) => self.counts.lookups += 1,
            Subject::Call(call) => self.counts.calls.add(call),
        }
        let span = self.span(draft);
        self.spans.push_back(span);
    }

    /// Adds the span of a call. It has no duration. `is_known`: its own process is known, and the span does not belong
    /// to the root instead.
    pub(crate) fn emit_call(
        &mut self,
        at: Ktime,
        (parent_id, is_known): (SpanId, bool),
        attributes: UserAttributes,
        call: Call,
    ) {
        let span_id = self.new_id();
        self.emit(Draft {
            span_id,
            parent_id: Some(parent_id),
            links: Vec::new(),
            start: at,
            end: at,
            is_unfinished: false,
            is_repaired: !is_known,
            attributes,
            subject: Subject::Call(call),
        });
    }

    /// The oldest finished span.
    pub(crate) fn poll(&mut self) -> Option<Span> {
        self.spans.pop_front()
    }

    /// The number of finished spans so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }
}
