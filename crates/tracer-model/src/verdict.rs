//! Which failed spans are errors.
//!
//! With [`Errors::Unhandled`], a failed span waits for the end of the process above it. Only then is it known whether the
//! failure could reach that process. If it could, this span and the span of that process wait for the end of the next
//! process above.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use crate::{blame::FailedParent, event::ExitStatus, id::SpanId, span::Span, time::Ktime};

/// Which failed spans have the status ERROR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Errors {
    /// All failed spans.
    #[default]
    All,
    /// Those whose failure can be the reason for the failure of each process above them. See [`crate::blame`].
    Unhandled,
}

/// The longest wait, nanoseconds. After it, a failed span is an error.
const PATIENCE: u64 = 30_000_000_000;

/// The most spans that wait at the same time. If there are more, the oldest one is an error.
const LIMIT: usize = 10_000;

/// What the end of a process says about the failed spans below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It did not fail. So it has handled them.
    Handled,
    /// It is not known whether it failed.
    Unknown,
    /// It failed. `reason` is the child that explains its failure best.
    Failed { parent: FailedParent, reason: Option<SpanId> },
}

impl Verdict {
    fn is_error(self, failure: Failure) -> bool {
        let (parent, reason) = match self {
            Self::Handled => return false,
            Self::Unknown => return true,
            Self::Failed { parent, reason } => (parent, reason),
        };
        match failure {
            Failure::Process { span_id, exit } => {
                parent.rank(exit).is_some() && (parent.may_have_several_reasons() || reason == Some(span_id))
            }
            // A process that was killed from outside did not fail because of a connection.
            Failure::Other => !parent.status.is_kill(),
        }
    }
}

/// A failure, as the process above it sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    Process {
        span_id: SpanId,
        exit: ExitStatus,
    },
    /// The failure of a span that is not a process, for example of a connection.
    Other,
}

impl Failure {
    fn of(span: &Span) -> Self {
        let exit = span.process().and_then(|process| process.exit);
        exit.map_or(Self::Other, |exit| Self::Process { span_id: span.span_id, exit })
    }
}

/// A failed span that waits.
#[derive(Debug)]
struct WaitingSpan {
    span: Span,
    /// The time of its end.
    at: Ktime,
    /// The span of the process for whose end it waits.
    above: SpanId,
    /// The failure that the process `above` sees: that of this span, or that of a child of `above` that failed because
    /// of this span.
    failure: Failure,
}

/// Failed spans that wait for the end of the process above them.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// The waiting spans by number, oldest first.
    spans: BTreeMap<u64, WaitingSpan>,
    /// For each live process, the numbers of the spans that wait for it.
    below: HashMap<SpanId, BTreeSet<u64>>,
    /// The number of the next span.
    next: u64,
}

impl Waiting {
    /// A process begins.
    pub(crate) fn begin(&mut self, process: SpanId) {
        self.below.insert(process, BTreeSet::new());
    }

    /// Takes a failed span, if the process above it is alive. Otherwise no process can fail because of it: the span is
    /// handled, and is returned.
    pub(crate) fn take(&mut self, at: Ktime, above: SpanId, mut span: Span) -> Option<Span> {
        let Some(numbers) = self.below.get_mut(&above) else {
            span.is_handled = true;
            return Some(span);
        };
        numbers.insert(self.next);
        let failure = Failure::of(&span);
        self.spans.insert(self.next, WaitingSpan { span, at, above, failure });
        self.next += 1;
        if self.spans.len() > LIMIT { self.oldest() } else { None }
    }

    /// A process ends. `above` is the process that forked it. Returns the spans that wait no longer.
    pub(crate) fn end(&mut self, process: SpanId, verdict: Verdict, above: Option<SpanId>) -> Vec<Span> {
        let Some(numbers) = self.below.remove(&process).filter(|numbers| !numbers.is_empty()) else {
            return Vec::new();
        };
        let mut over = Vec::new();
        for number in numbers {
            let Some(waiting) = self.spans.get_mut(&number) else { continue };
            let is_error = verdict.is_error(waiting.failure);
            // If the process above has already ended, the failure of this process is handled as well.
            let mut is_handled = !is_error;
            if is_error && let (Verdict::Failed { parent, .. }, Some(above)) = (verdict, above) {
                if let Some(next) = self.below.get_mut(&above) {
                    waiting.above = above;
                    waiting.failure = Failure::Process { span_id: process, exit: parent.status };
                    next.insert(number);
                    continue;
                }
                is_handled = true;
            }
            if let Some(WaitingSpan { span, .. }) = self.spans.remove(&number) {
                over.push(Span { is_handled, ..span });
            }
        }
        over
    }

    /// A span that has waited too long. It is an error.
    pub(crate) fn overdue(&mut self, now: Ktime) -> Option<Span> {
        let (_, oldest) = self.spans.first_key_value()?;
        if now.0.saturating_sub(oldest.at.0) < PATIENCE { None } else { self.oldest() }
    }

    /// The oldest span.
    pub(crate) fn oldest(&mut self) -> Option<Span> {
        let (number, WaitingSpan { span, above, .. }) = self.spans.pop_first()?;
        if let Some(numbers) = self.below.get_mut(&above) {
            numbers.remove(&number);
        }
        Some(span)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}
