//! A span of a saved trace, from its attributes.

use std::borrow::Cow;

use tracer_model::{ExitStatus, blame, semconv};

use super::{
    Origin, Span,
    subject::{Connection, Crash, FOLDED_CPU_TIME, FOLDED_PROCESSES, Folded, Process, Subject, at_port, how, signal},
};
use crate::saved;

impl<'a> From<&'a saved::Span> for Span<'a> {
    fn from(span: &'a saved::Span) -> Self {
        let subject = saved_subject(span);
        Self {
            trace: span.trace_id,
            id: span.span_id,
            parent: span.parent_id,
            is_parent_remote: span.is_parent_remote,
            name: Cow::Borrowed(&span.name),
            start: span.start,
            end: span.end.max(span.start),
            is_unfinished: span.value(semconv::UNFINISHED).is_some(),
            is_repaired: span.value(semconv::REPAIRED).is_some(),
            failure: span.has_failed.then(|| saved_failure(span, &subject)),
            subject,
            added: Vec::new(),
            value_limit: None,
            resource: None,
            origin: Origin::Saved(span),
        }
    }
}

/// Whether it is a process: see [`super`]. A span without a kind comes from another program. Its attributes are trusted.
fn is_process(span: &saved::Span) -> bool {
    use saved::Kind;
    matches!(span.kind, Kind::Unspecified | Kind::Internal) && span.value(semconv::PROCESS_PID).is_some()
}

/// Whether it is the root of a run.
pub(crate) fn is_root(span: &saved::Span) -> bool {
    let has = |key| span.value(key).is_some();
    is_process(span) && has(semconv::COMPLETE) && (span.parent_id.is_none() || has(semconv::VERSION))
}

fn saved_subject(span: &saved::Span) -> Subject {
    use saved::Kind;
    let has = |key| span.value(key).is_some();
    if let Kind::Runs(exit) = span.kind {
        return Subject::Runs(span.has_failed.then_some(exit));
    }
    if is_process(span) {
        let executable = span.text(semconv::PROCESS_EXECUTABLE_NAME).unwrap_or(&span.name);
        let command = span.text(semconv::PROCESS_COMMAND).unwrap_or_default();
        return Subject::Process(Process {
            pid: span.whole(semconv::PROCESS_PID),
            parent_pid: span.whole(semconv::PROCESS_PARENT_PID),
            is_root: is_root(span) && !span.is_run,
            is_run: span.is_run,
            is_fork: has(semconv::FORK),
            is_shell: blame::is_shell(executable, command, has(semconv::SCRIPT)),
            exit: span.has_failed.then(|| saved_exit(span)),
            crash: match saved_exit(span) {
                ExitStatus::Signal { number, .. } => Crash::new(number, has(semconv::EXIT_OOM)),
                _ => None,
            },
            cpu: span.seconds(semconv::CPU_USER).saturating_add(span.seconds(semconv::CPU_SYSTEM)),
            run_delay: span.seconds(semconv::RUN_DELAY),
            folded: Folded { processes: span.whole(FOLDED_PROCESSES), cpu: span.seconds(FOLDED_CPU_TIME) },
        });
    }
    if span.kind == Kind::Internal {
        return Subject::Other;
    }
    if has(semconv::DNS_QUESTION_NAME) {
        return Subject::Lookup;
    }
    if !has(semconv::NETWORK_TRANSPORT) {
        return Subject::Other;
    }
    let is_accepted = span.kind == Kind::Server;
    let port = span.whole(semconv::SERVER_PORT);
    let peer = match port {
        // A unix socket has a path and no port.
        0 => span.text(semconv::NETWORK_PEER_ADDRESS).map(str::to_owned),
        _ => span.text(semconv::SERVER_ADDRESS).map(|host| at_port(host, port)),
    };
    let bytes = [semconv::BYTES_SENT, semconv::BYTES_RECEIVED, semconv::FLOW_BYTES_SENT, semconv::FLOW_BYTES_RECEIVED]
        .into_iter()
        .fold(0, |sum: u64, key| sum.saturating_add(span.whole(key)));
    Subject::Connection(Connection { peer: peer.filter(|_| !is_accepted), is_accepted, bytes })
}

/// Status messages, as [`semconv::describe`] writes them.
const KILLED_BY: &str = "killed by ";
const EXIT_CODE: &str = "exit code ";

/// How a failed process of a saved trace ended.
pub(crate) fn saved_exit(span: &saved::Span) -> ExitStatus {
    let killed_by = span.message.strip_prefix(KILLED_BY).and_then(|rest| rest.split(',').next());
    let code = span.message.strip_prefix(EXIT_CODE).and_then(|code| code.parse().ok());
    let by_name = |name: &str| signal(semconv::signal_number(name).unwrap_or_default());
    match (killed_by, code) {
        (Some(name), _) => by_name(name),
        (None, Some(code)) => ExitStatus::Code(code),
        (None, None) => match span.text(semconv::EXIT_SIGNAL) {
            Some(name) => by_name(name),
            None => ExitStatus::Code(span.whole(semconv::PROCESS_EXIT_CODE)),
        },
    }
}

/// Why a span of a saved trace failed.
fn saved_failure<'a>(span: &'a saved::Span, subject: &Subject) -> Cow<'a, str> {
    if let Subject::Process(_) = subject {
        // The message has the name of the signal, even if this version does not know the signal.
        return match span.message.strip_prefix(KILLED_BY) {
            Some(signal) => Cow::Borrowed(signal),
            None => how(saved_exit(span), span.value(semconv::EXIT_OOM).is_some()),
        };
    }
    if let Subject::Runs(_) = subject {
        return Cow::Borrowed(&span.message);
    }
    let Some(error) = span.text(semconv::ERROR_TYPE) else { return Cow::Borrowed("failed") };
    let error = error.replace('_', " ");
    // A limit may have cut the value. The status message then ends with the whole text.
    let whole = span.message.find(&error).map(|at| &span.message[at..]);
    whole.map_or(Cow::Owned(error), Cow::Borrowed)
}
