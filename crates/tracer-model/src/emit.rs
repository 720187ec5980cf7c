//! The output of the model: ids for new spans, wall times for their starts and ends, counts of spans, failed spans that
//! wait, and the queue of finished spans.

use std::{collections::VecDeque, iter, time::Duration};

use crate::{
    calls::{Call, CallCounts},
    context::SpanContext,
    event::ExitStatus,
    expression::Failure,
    folding::Folding,
    id::{IdGenerator, SpanId, TraceId},
    judge::Fate,
    owner::Owner,
    peer_names::PeerNames,
    screen::{Screen, Traffic},
    semconv,
    span::{Folded, OwnerProcess, ProcessSpan, Span, Subject, UserAttributes},
    time::{Anchor, Ktime},
    verdict::{Errors, Verdict, Waiting},
};

#[derive(Debug)]
pub(crate) struct Emitter {
    pub(crate) trace_id: TraceId,
    pub(crate) anchor: Anchor,
    ids: IdGenerator,
    spans: VecDeque<Span>,
    /// The failed spans that wait for the end of the process above them. `None`: failed spans do not wait.
    waiting: Option<Waiting>,
    counts: Counts,
    peer_names: PeerNames,
    /// `false`: of all processes only the root has a span.
    has_processes: bool,
    /// `None`: each process has a span.
    folding: Option<Folding>,
    /// `None`: each connection, flow and lookup has a span.
    screen: Option<Box<dyn Screen>>,
}

/// The user's choice of spans.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) errors: Errors,
    pub(crate) peer_names: PeerNames,
    /// `false`: of all processes only the root has a span.
    pub(crate) has_processes: bool,
    /// `None`: each process has a span.
    pub(crate) folding: Option<Folding>,
    /// `None`: each connection, flow and lookup has a span.
    pub(crate) screen: Option<Box<dyn Screen>>,
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
    pub(crate) fn new(trace_id: TraceId, anchor: Anchor, seed: [u8; 32], choice: Choice) -> Self {
        let Choice { errors, peer_names, has_processes, folding, screen } = choice;
        Self {
            trace_id,
            anchor,
            ids: IdGenerator::new(seed),
            spans: VecDeque::new(),
            waiting: (errors == Errors::Unhandled).then(Waiting::default),
            counts: Counts::default(),
            peer_names,
            has_processes,
            folding,
            screen,
        }
    }

    pub(crate) fn new_id(&mut self) -> SpanId {
        self.ids.span_id()
    }

    /// Links to another span of this trace.
    pub(crate) fn links_to(&self, span: Option<SpanId>) -> Vec<SpanContext> {
        span.map(|span_id| SpanContext { trace_id: self.trace_id, span_id }).into_iter().collect()
    }

    /// Makes a span that ends after it starts. Jaeger warns about a span without a duration, so a moment lasts 1 ns.
    pub(crate) fn span(&self, draft: Draft) -> Span {
        let start = self.anchor.wall_time(draft.start);
        Span {
            trace_id: self.trace_id,
            span_id: draft.span_id,
            parent_id: draft.parent_id,
            links: draft.links,
            start,
            end: self.anchor.wall_time(draft.end).max(start + Duration::from_nanos(1)),
            is_unfinished: draft.is_unfinished,
            is_repaired: draft.is_repaired,
            owner: draft.owner,
            is_handled: false,
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
        let end = draft.end;
        let mut span = self.span(draft);
        self.peer_names.complete(&mut span);
        let above = self.waiting.as_ref().and_then(|_| waits_for(&span));
        if let Some(folding) = &mut self.folding {
            folding.place(&mut span);
        }
        let span = match (&mut self.waiting, above) {
            (Some(waiting), Some(above)) => waiting.take(end, above, span),
            _ => Some(span),
        };
        self.spans.extend(span);
    }

    /// Whether the user's rules can leave out connections, flows and lookups.
    pub(crate) fn has_screen(&self) -> bool {
        self.screen.is_some()
    }

    /// Whether the user's rules leave out a connection, a flow or a lookup that ends now.
    pub(crate) fn drops(&mut self, at: Ktime, traffic: &Traffic<'_>) -> bool {
        let at = self.anchor.wall_time(at);
        self.screen.as_mut().is_some_and(|screen| screen.drops(at, traffic))
    }

    /// The rules for connections, flows and lookups whose expressions failed.
    pub(crate) fn failures(&self) -> Vec<Failure<'_>> {
        self.screen.as_ref().map(|screen| screen.failures()).unwrap_or_default()
    }

    /// Adds the span of a process that has ended. If the process is left out, returns the nearest span above it.
    ///
    /// `status` is `None` if the trace ended before the process.
    pub(crate) fn emit_process(&mut self, mut draft: Draft, status: Option<ExitStatus>) -> Option<SpanId> {
        if let (Some(folding), Subject::Process(process)) = (&mut self.folding, &mut draft.subject) {
            if folding.leaves_out(draft.span_id, draft.end, status) {
                let cpu_ns = process.usage.as_deref().map_or(0, |usage| usage.user_ns.saturating_add(usage.system_ns));
                return Some(folding.fold(draft.span_id, cpu_ns));
            }
            process.folded = folding.folded_of(draft.span_id);
        }
        let process = draft.span_id;
        self.emit(draft);
        if let Some(folding) = &mut self.folding {
            folding.end(process);
        }
        None
    }

    /// Whether a process that ends now is left out of the trace.
    pub(crate) fn leaves_out(&self, process: SpanId, end: Ktime, status: ExitStatus) -> bool {
        self.folding.as_ref().is_some_and(|folding| folding.leaves_out(process, end, Some(status)))
    }

    /// The span of a process that still runs. `None`: it has no span yet, and may never have one.
    pub(crate) fn running(&self, draft: Draft) -> Option<Span> {
        let at = draft.end;
        let span = self.span(draft);
        match &self.folding {
            Some(folding) => folding.running(span, at),
            None => Some(span),
        }
    }

    /// The processes that a process counts so far, because they have no span.
    pub(crate) fn folded_of(&self, process: SpanId) -> Folded {
        self.folding.as_ref().map(|folding| folding.folded_of(process)).unwrap_or_default()
    }

    /// The span of a process. If the trace does not have it, the nearest span above it.
    pub(crate) fn home(&self, process: SpanId) -> SpanId {
        self.folding.as_ref().map_or(process, |folding| folding.home(process))
    }

    /// A process begins, or the process above it becomes known.
    pub(crate) fn put(&mut self, process: SpanId, start: Ktime, above: Option<SpanId>) {
        if let Some(folding) = &mut self.folding {
            folding.begin(process, start, above);
        }
    }

    /// The rules decide about a process.
    pub(crate) fn decide(&mut self, process: SpanId, fate: Fate) {
        if let Some(folding) = &mut self.folding {
            folding.decide(process, fate);
        }
    }

    /// A process begins.
    pub(crate) fn begin(&mut self, process: SpanId) {
        if let Some(waiting) = &mut self.waiting {
            waiting.begin(process);
        }
    }

    /// A process ends. The failed spans below it have waited for its end. `above`: the process that forked it. After its end,
    /// some of these spans can wait for the end of `above`.
    pub(crate) fn end(&mut self, process: SpanId, verdict: Verdict, above: Option<SpanId>) {
        if let Some(waiting) = &mut self.waiting {
            self.spans.extend(waiting.end(process, verdict, above));
        }
    }

    /// Exports the failed spans that have waited too long.
    pub(crate) fn settle(&mut self, now: Ktime) {
        if let Some(waiting) = &mut self.waiting {
            self.spans.extend(iter::from_fn(|| waiting.overdue(now)));
        }
    }

    /// Exports all failed spans that wait, because the trace ends.
    pub(crate) fn settle_all(&mut self) {
        if let Some(waiting) = &mut self.waiting {
            self.spans.extend(iter::from_fn(|| waiting.oldest()));
        }
    }

    pub(crate) fn has_waiting_spans(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| !waiting.is_empty())
    }

    /// Adds the span of a call. It has no duration.
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

/// A failed span waits for the end of a process. Returns the span of that process. `None`: this span does not wait, because
/// it did not fail, is repaired, or is the root. The place of a repaired span may be wrong. The root has no process above it.
fn waits_for(span: &Span) -> Option<SpanId> {
    if span.is_repaired || semconv::error(span).is_none() {
        return None;
    }
    match span.process() {
        Some(process) if process.certificate.is_some() => None,
        // The parent may be a span that the environment names.
        Some(process) => process.forked_by,
        None => span.parent_id,
    }
}
