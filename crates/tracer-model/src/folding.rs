//! Processes that have no span: which span counts them, and which span becomes the parent of the spans below them.
//!
//! The parent of a span is decided when the span is exported. A process that is the parent of an exported span keeps its own
//! span. So no parent is ever missing.

use std::time::Duration;

use hashbrown::HashMap;

use crate::{
    event::ExitStatus,
    id::SpanId,
    judge::Fate,
    recent::Recent,
    span::{Folded, Span, Subject},
    time::Ktime,
};

/// The number of processes without a span that are remembered for late events. The model remembers the same number of ended
/// processes, so it does not ask for older ones.
const FOLDED: usize = crate::table::ENDED;

#[derive(Debug)]
pub(crate) struct Folding {
    root: SpanId,
    /// A successful process that lives shorter than this has no span, unless an exported span needs it.
    min_duration: Duration,
    /// The live processes, and ended ones without a span that live processes still name as their parent. The root is always
    /// among them.
    places: HashMap<SpanId, Place>,
    /// The ended processes without a span, each with the span above it.
    folded: Recent<SpanId, SpanId>,
}

/// The place of a process in the tree.
#[derive(Clone, Debug)]
struct Place {
    start: Ktime,
    /// The process above. The root has none.
    above: Option<SpanId>,
    fate: Fate,
    /// An exported span refers to it: as its parent, as the process that forked it, or by a link.
    is_needed: bool,
    /// It has ended without a span.
    is_gone: bool,
    /// The number of places right below it.
    children: usize,
    /// The processes without a span that it counts.
    folded: Folded,
}

impl Folding {
    pub(crate) fn new(root: SpanId, min_duration: Duration) -> Self {
        let place = Place::new(Ktime(0), None);
        let places = [(root, place)].into_iter().collect();
        Self { root, min_duration, places, folded: Recent::new(FOLDED) }
    }

    /// A process begins, or the process above it becomes known.
    pub(crate) fn begin(&mut self, process: SpanId, start: Ktime, above: Option<SpanId>) {
        if process == self.root {
            return;
        }
        // Whether a live process has a span is decided later.
        let above = above.map_or(self.root, |above| self.home_if(above, |place| place.is_gone));
        let place = self.places.entry(process).or_insert_with(|| Place::new(start, None));
        let former = place.above.replace(above);
        self.hold(above);
        self.release(former);
    }

    /// A place is right below this one.
    fn hold(&mut self, process: SpanId) {
        if let Some(place) = self.places.get_mut(&process) {
            place.children += 1;
        }
    }

    /// A place is no longer right below this one. Forgets the places that nobody needs any more.
    fn release(&mut self, mut process: Option<SpanId>) {
        while let Some(id) = process
            && let Some(place) = self.places.get_mut(&id)
        {
            place.children = place.children.saturating_sub(1);
            if !place.is_gone || place.children > 0 {
                return;
            }
            process = place.above;
            self.places.remove(&id);
        }
    }

    /// The rules decide about a process, again after each exec.
    pub(crate) fn decide(&mut self, process: SpanId, fate: Fate) {
        if process != self.root
            && let Some(place) = self.places.get_mut(&process)
        {
            place.fate = fate;
        }
    }

    /// Returns the span itself if the trace has it. Otherwise returns the nearest span above it that the trace has.
    pub(crate) fn home(&self, span: SpanId) -> SpanId {
        self.home_if(span, Place::is_passed)
    }

    fn home_if(&self, mut span: SpanId, is_passed: impl Fn(&Place) -> bool) -> SpanId {
        loop {
            // A process is younger than the process above it, so the loop ends.
            span = match self.places.get(&span) {
                Some(place) if is_passed(place) => place.above.unwrap_or(self.root),
                Some(_) => return span,
                None => match self.folded.get(&span) {
                    Some(above) => *above,
                    None => return span,
                },
            }
        }
    }

    /// Decides the parent of a span that is exported, and the spans that it links to.
    pub(crate) fn place(&mut self, span: &mut Span) {
        let trace_id = span.trace_id;
        let forked_by = match &mut span.subject {
            Subject::Process(process) => process.forked_by.as_mut(),
            _ => None,
        };
        let links = span.links.iter_mut().filter(|link| link.trace_id == trace_id).map(|link| &mut link.span_id);
        for id in span.parent_id.iter_mut().chain(forked_by).chain(links) {
            *id = self.home(*id);
            if let Some(place) = self.places.get_mut(id) {
                place.is_needed = true;
            }
        }
    }

    /// Whether a process that ends now is left out of the trace. `status` is `None` if the trace ended before
    /// the process.
    pub(crate) fn leaves_out(&self, process: SpanId, end: Ktime, status: Option<ExitStatus>) -> bool {
        let Some(place) = self.places.get(&process).filter(|place| process != self.root && !place.is_needed) else {
            return false;
        };
        let has_failed = status.is_some_and(ExitStatus::has_failed);
        let is_dropped = match place.fate {
            Fate::Keep => false,
            Fate::Drop { always, shorter_than: None } => always || !has_failed,
            Fate::Drop { always, shorter_than: Some(limit) } => {
                status.is_some() && (always || !has_failed) && place.age(end) < limit
            }
        };
        is_dropped || status == Some(ExitStatus::Code(0)) && place.age(end) < self.min_duration
    }

    /// A process ends without a span. Returns the nearest span above it. That span or the root counts the process.
    pub(crate) fn fold(&mut self, process: SpanId, cpu_ns: u64) -> SpanId {
        let Some(place) = self.places.remove(&process) else { return self.root };
        let above = self.home(place.above.unwrap_or(self.root));
        // If the process above has ended, its span is exported and can no longer change. Then the root counts the process.
        let counting = if self.places.contains_key(&above) { above } else { self.root };
        if let Some(counting) = self.places.get_mut(&counting) {
            counting.folded.processes += place.folded.processes + 1;
            counting.folded.cpu_ns += place.folded.cpu_ns + cpu_ns;
        }
        if place.children > 0 {
            let gone = Place { above: Some(above), is_gone: true, ..place };
            self.places.insert(process, gone);
            self.hold(above);
        }
        self.release(place.above);
        self.folded.insert(process, above);
        above
    }

    /// A process has ended, and its span is placed.
    pub(crate) fn end(&mut self, process: SpanId) {
        if process != self.root
            && let Some(place) = self.places.remove(&process)
        {
            self.release(place.above);
        }
    }

    /// The processes that a process counts so far.
    pub(crate) fn folded_of(&self, process: SpanId) -> Folded {
        self.places.get(&process).map(|place| place.folded).unwrap_or_default()
    }

    /// The span of a running process, as the live page shows it now. `None`: it has no span yet, and may never have one.
    pub(crate) fn running(&self, mut span: Span, at: Ktime) -> Option<Span> {
        let is_hidden = |place: &Place| place.above.is_some() && place.is_hidden(at, self.min_duration);
        if self.places.get(&span.span_id).is_some_and(is_hidden) {
            return None;
        }
        let folded = self.folded_of(span.span_id);
        span.parent_id = span.parent_id.map(|parent| self.home_if(parent, is_hidden));
        if let Subject::Process(process) = &mut span.subject {
            process.folded = folded;
            process.forked_by = process.forked_by.map(|forked_by| self.home_if(forked_by, is_hidden));
        }
        Some(span)
    }
}

impl Place {
    fn new(start: Ktime, above: Option<SpanId>) -> Self {
        Self {
            start,
            above,
            fate: Fate::Keep,
            is_needed: false,
            is_gone: false,
            children: 0,
            folded: Folded::default(),
        }
    }

    fn age(&self, at: Ktime) -> Duration {
        Duration::from_nanos(at.0.saturating_sub(self.start.0))
    }

    /// Whether the spans below this process get the process above as their parent. This is true if this process has no
    /// span. It is also true if the rules leave it out and no exported span needs it.
    fn is_passed(&self) -> bool {
        self.is_gone || !self.is_needed && matches!(self.fate, Fate::Drop { shorter_than: None, .. })
    }

    /// Whether it would have no span if it succeeded now.
    fn is_hidden(&self, at: Ktime, min_duration: Duration) -> bool {
        let limit = match self.fate {
            Fate::Drop { shorter_than: Some(limit), .. } => limit.max(min_duration),
            _ => min_duration,
        };
        self.is_passed() || !self.is_needed && self.age(at) < limit
    }
}
