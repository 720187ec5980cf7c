//! The events on a span.

use std::time::SystemTime;

use crate::span::{Execution, FailedExec, Gap, Span, Subject};

/// The event of a successful exec.
pub const EXEC_EVENT: &str = "exec";
/// The event of a failed exec.
pub const FAILED_EXEC_EVENT: &str = "exec_failed";
/// The event of lost records.
pub const LOST_EVENT: &str = "lost";
/// The event of a finished TCP handshake.
pub const ESTABLISHED_EVENT: &str = "established";

/// An event on a span. It borrows from the span.
#[derive(Clone, Copy, Debug)]
pub struct EventRef<'a> {
    /// When it happened.
    pub at: SystemTime,
    occasion: Occasion<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Occasion<'a> {
    Exec(&'a Execution),
    FailedExec(&'a FailedExec),
    Lost(&'a Gap),
    Established,
}

impl EventRef<'_> {
    /// Whether its attributes are among those of processes.
    pub(super) fn is_exec(self) -> bool {
        matches!(self.occasion, Occasion::Exec(_))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.occasion {
            Occasion::Exec(_) => EXEC_EVENT,
            Occasion::FailedExec(_) => FAILED_EXEC_EVENT,
            Occasion::Lost(_) => LOST_EVENT,
            Occasion::Established => ESTABLISHED_EVENT,
        }
    }
}

/// The events on a span, in the order of time.
#[must_use]
pub fn events(span: &Span) -> Vec<EventRef<'_>> {
    let mut events = Vec::new();
    if let Some(process) = span.process() {
        let executions = process.executions.iter().map(|exec| (exec.at, Occasion::Exec(exec)));
        let failed = process.failed_execs.iter().map(|exec| (exec.at, Occasion::FailedExec(exec)));
        let gaps = process.certificate.iter().flat_map(|certificate| &certificate.gaps);
        let gaps = gaps.map(|gap| (gap.at, Occasion::Lost(gap)));
        let all = executions.chain(failed).chain(gaps);
        events.extend(all.map(|(at, occasion)| EventRef { at, occasion }));
        events.sort_by_key(|event| event.at);
    }
    if let Subject::Connection(connection) = &span.subject {
        events.extend(connection.established.map(|at| EventRef { at, occasion: Occasion::Established }));
    }
    events
}

/// The number of events beyond the limit of one span. They are not listed.
#[must_use]
pub fn dropped_events(span: &Span) -> u32 {
    span.process().map_or(0, |process| process.dropped_executions)
}

pub(super) fn executed(event: EventRef<'_>) -> Option<&Execution> {
    match event.occasion {
        Occasion::Exec(exec) => Some(exec),
        _ => None,
    }
}

pub(super) fn failed_exec(event: EventRef<'_>) -> Option<&FailedExec> {
    match event.occasion {
        Occasion::FailedExec(exec) => Some(exec),
        _ => None,
    }
}

pub(super) fn gap(event: EventRef<'_>) -> Option<&Gap> {
    match event.occasion {
        Occasion::Lost(gap) => Some(gap),
        _ => None,
    }
}
