//! A span of a run, from the model.

use std::borrow::Cow;

use tracer_model::{
    ExitStatus, blame,
    event::Direction,
    semconv,
    span::{ProcessSpan, Reply, Subject as ModelSubject},
};

use super::{
    Origin, Span, nanoseconds,
    subject::{Connection, Crash, Folded, Process, Subject, at_port, how, signal},
};

impl<'a> From<&'a tracer_model::Span> for Span<'a> {
    fn from(span: &'a tracer_model::Span) -> Self {
        let name = span.name();
        let (subject, failure) = match &span.subject {
            ModelSubject::Process(process) => {
                let usage = process.usage.as_deref().copied().unwrap_or_default();
                let exit = failed_exit(process).filter(|_| !span.is_handled);
                let subject = Process {
                    pid: process.pid,
                    parent_pid: process.parent_pid,
                    is_root: process.certificate.is_some(),
                    is_run: false,
                    is_fork: process.is_fork,
                    is_shell: process.image.as_deref().is_some_and(blame::runs_shell),
                    exit,
                    crash: match process.exit {
                        Some(ExitStatus::Signal { number, .. }) => Crash::new(number, process.is_oom_victim),
                        _ => None,
                    },
                    cpu: usage.user_ns.saturating_add(usage.system_ns),
                    run_delay: usage.run_delay_ns,
                    folded: Folded { processes: process.folded.processes, cpu: process.folded.cpu_ns },
                };
                (Subject::Process(subject), exit.map(|exit| how(exit, process.is_oom_victim)))
            }
            ModelSubject::Connection(connection) => {
                let (host, connection) = (connection.host.as_deref(), &connection.connection);
                let is_accepted = connection.direction == Direction::Accept;
                let bytes = connection.bytes_sent.saturating_add(connection.bytes_received);
                let subject = Connection {
                    peer: (!is_accepted).then(|| peer(host, connection.peer)),
                    is_accepted,
                    bytes: if span.is_unfinished { 0 } else { bytes },
                };
                (Subject::Connection(subject), connection.error.map(failed_connection))
            }
            ModelSubject::Flow(flow) => {
                let (host, flow) = (flow.host.as_deref(), &flow.flow);
                let bytes = flow.bytes_sent.saturating_add(flow.bytes_received);
                let subject = Connection { peer: Some(peer(host, flow.peer)), is_accepted: false, bytes };
                (Subject::Connection(subject), None)
            }
            ModelSubject::Call(call) => {
                let peer = call.peer().map(|peer| peer.address.to_owned());
                let subject = match peer {
                    Some(_) => Subject::Connection(Connection { peer, ..Connection::default() }),
                    None => Subject::Other,
                };
                (subject, call.errno().map(failed_connection))
            }
            ModelSubject::Lookup(lookup) => {
                let failure = match &lookup.reply {
                    Reply::None => Some(Cow::Borrowed("no answer")),
                    // NXDOMAIN is an answer, not a failure.
                    Reply::Answer(answer) if !["NOERROR", "NXDOMAIN"].contains(&answer.code.as_str()) => {
                        Some(Cow::Owned(answer.code.clone()))
                    }
                    Reply::Answer(_) | Reply::Unread => None,
                };
                (Subject::Lookup, failure)
            }
        };
        let start = nanoseconds(span.start);
        Self {
            trace: span.trace_id,
            id: span.span_id,
            parent: span.parent_id,
            is_parent_remote: span.parent_id.is_some()
                && matches!(subject, Subject::Process(Process { is_root: true, .. })),
            name,
            start,
            end: nanoseconds(span.end).max(start),
            is_unfinished: span.is_unfinished,
            is_repaired: span.is_repaired,
            failure: failure.filter(|_| !span.is_handled),
            subject,
            added: Vec::new(),
            value_limit: None,
            resource: None,
            origin: Origin::Run(span),
        }
    }
}

/// How a process of a run ended, if it failed.
fn failed_exit(process: &ProcessSpan) -> Option<ExitStatus> {
    let exit = process.exit.filter(|exit| exit.has_failed())?;
    Some(match exit {
        ExitStatus::Signal { number, .. } => signal(number),
        other => other,
    })
}

fn failed_connection(errno: i32) -> Cow<'static, str> {
    Cow::Owned(semconv::connection_error(errno).replace('_', " "))
}

fn peer(host: Option<&str>, address: std::net::SocketAddr) -> String {
    match host {
        Some(host) => at_port(host, address.port()),
        None => address.to_string(),
    }
}
