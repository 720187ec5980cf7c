//! The way out of the model: ids for new spans, wall time for their ends, their number, and the queue of finished ones.

use std::collections::VecDeque;

use crate::{
    calls::{Call, CallCounts},
    context::SpanContext,
    id::{IdGenerator, SpanId, TraceId},
    owner::Owner,
    span::{OwnerProcess, ProcessSpan, Span, Subject, UserAttributes},
    time::{Anchor, Ktime},
};

#[derive(Debug)]
pub(crate) struct Emitter {
    pub(crate) trace_id: TraceId,
    pub(crate) anchor: Anchor,
    ids: IdGenerator,
    spans: VecDeque<Span>,
    counts: Counts,
    /// `false`: of all processes only the root has a span.
    has_processes: bool,
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
    /// The process that it belongs to, if it is not the span of a process.
    pub(crate) owner: Option<OwnerProcess>,
    /// The user's attributes of its process.
    pub(crate) attributes: UserAttributes,
    pub(crate) subject: Subject,
}

impl Emitter {
    pub(crate) fn new(trace_id: TraceId, anchor: Anchor, seed: [u8; 32], has_processes: bool) -> Self {
        let (ids, spans, counts) = (IdGenerator::new(seed), VecDeque::new(), Counts::default());
        Self { trace_id, anchor, ids, spans, counts, has_processes }
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
            owner: draft.owner,
            attributes: draft.attributes,
            subject: draft.subject,
        }
    }

    /// Adds a span to the finished ones.
    pub(crate) fn emit(&mut self, draft: Draft) {
        // Only the root has a certificate.
        let is_left_out = |process: &ProcessSpan| !self.has_processes && process.certificate.is_none();
        if matches!(&draft.subject, Subject::Process(process) if is_left_out(process)) {
            return;
        }
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

    /// Adds the span of a call, which is a moment.
    pub(crate) fn emit_call(&mut self, at: Ktime, owner: Owner, call: Call) {
        let span_id = self.new_id();
        self.emit(Draft {
            span_id,
            parent_id: Some(owner.span_id),
            links: Vec::new(),
            start: at,
            end: at,
            is_unfinished: false,
            is_repaired: !owner.is_known,
            owner: Some(owner.process),
            attributes: owner.attributes,
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
