//! A finished span, as plain typed data. [`crate::semconv`] says how it looks in OpenTelemetry.

use std::{borrow::Cow, fmt, net::SocketAddr, sync::Arc, time::SystemTime};

use base64::{display::Base64Display, prelude::BASE64_STANDARD};

use crate::{
    calls::{Call, CallCounts},
    context::SpanContext,
    dns::Answer,
    event::{Connection, Direction, ExitStatus, Flow, Image, Strings, Transport, Usage},
    id::{SpanId, TraceId},
    losses::Losses,
    source::Description,
};

/// A finished span.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// Its parent. The parent of the root span is the span that called process-tracer, if that is known.
    pub parent_id: Option<SpanId>,
    /// Related spans.
    pub links: Vec<SpanContext>,
    /// Time at which it began.
    pub start: SystemTime,
    /// Time at which it ended. It is always after `start`.
    pub end: SystemTime,
    /// It was still alive when the trace ended.
    pub is_unfinished: bool,
    /// Some of its events were lost. The facts come from later events.
    pub is_repaired: bool,
    /// The process that it belongs to. `None`: it is the span of a process.
    pub owner: Option<OwnerProcess>,
    /// It failed, and the process above it handled that. So it is no error: see [`crate::Errors`].
    pub is_handled: bool,
    /// The user's attributes of its process.
    pub attributes: UserAttributes,
    /// Its subject.
    pub subject: Subject,
}

/// The process that a connection, a flow, a lookup or a call belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerProcess {
    /// Thread group id in the initial pid namespace.
    pub pid: u32,
    /// Its last image while it owned the subject. `None` if it is not known.
    pub image: Option<Arc<Image>>,
}

/// The subject of a span.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A process.
    Process(Box<ProcessSpan>),
    /// A TCP connection.
    Connection(Box<ConnectionSpan>),
    /// A UDP flow.
    Flow(Box<FlowSpan>),
    /// A system call that has its own span.
    Call(Call),
    /// A name lookup.
    Lookup(Box<LookupSpan>),
}

/// One process, from fork to the death of its last thread.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessSpan {
    /// Thread group id in the initial pid namespace.
    pub pid: u32,
    /// The process that forked it.
    pub parent_pid: u32,
    /// The span of that process. It is not the parent if the environment names another span.
    pub forked_by: Option<SpanId>,
    /// Name of the span.
    pub name: String,
    /// Its last image. If it never called exec, it is the image of its parent. `None` if it is not known.
    pub image: Option<Arc<Image>>,
    /// The successful execs, in order, up to a limit.
    pub executions: Vec<Execution>,
    /// The failed execs, in order, up to the same limit, if the source reports them.
    pub failed_execs: Vec<FailedExec>,
    /// Number of successful and failed execs beyond these limits. They are not listed.
    pub dropped_executions: u32,
    /// It never called exec.
    pub is_fork: bool,
    /// Its exit status. `None` while it is alive.
    pub exit: Option<ExitStatus>,
    /// The out-of-memory killer killed it.
    pub is_oom_victim: bool,
    /// Its usage of the machine, if that is known.
    pub usage: Option<Box<Usage>>,
    /// Its group, by the user's rules.
    pub group: Option<Arc<str>>,
    /// The processes below it that have no span.
    pub folded: Folded,
    /// On the root span: the numbers of spans of the trace, and its known losses.
    pub certificate: Option<Certificate>,
}

/// Processes that have no span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// Their number.
    pub processes: u64,
    /// Their CPU time together, in nanoseconds.
    pub cpu_ns: u64,
}

/// One successful exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// Time of the exec.
    pub at: SystemTime,
    /// The mapped file.
    pub executable: Option<String>,
    /// The beginning of the argument vector.
    pub arguments: Strings,
}

/// A failed exec. A search along PATH counts as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedExec {
    /// Time of the last attempt.
    pub at: SystemTime,
    /// The file name of the last attempt.
    pub file: String,
    /// The errno.
    pub errno: i32,
    /// Number of attempts with a file of that name.
    pub attempts: u32,
}

/// The certificate of a trace: what it has, and what it is known to lack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Nothing is known to be missing.
    pub is_complete: bool,
    /// process-tracer was killed before the end of the trace. The numbers are not known.
    pub is_cut_off: bool,
    /// Number of process spans in the trace, with the root.
    pub processes: u64,
    /// Number of connection spans in the trace.
    pub connections: u64,
    /// Number of flow spans in the trace.
    pub flows: u64,
    /// Number of lookup spans in the trace.
    pub lookups: u64,
    /// Number of spans of calls in the trace, by kind.
    pub calls: CallCounts,
    /// Number of times that an expression of an attribute or a rule failed.
    pub failed_expressions: u64,
    /// What is missing, by kind.
    pub losses: Losses,
    /// The moments at which a full buffer had lost records, as far as they were noticed.
    pub gaps: Vec<Gap>,
    /// The usage of the command and all descendants that were waited for, as wait4(2) counts it. The resident set is the largest
    /// of any one process. The bytes read and written are only those of storage.
    pub tree: Option<Box<Usage>>,
    /// Number of processors that the command could use at once when it began.
    pub cpus: u32,
    /// How the machine slowed the command down.
    pub shortage: Box<Shortage>,
    /// The version of process-tracer.
    pub version: String,
    /// Where the id of the trace came from, in words.
    pub trace_id_source: String,
    /// The source of the events.
    pub source: Option<Description>,
    /// Where the failure of the root began, if the root failed.
    pub failure: Option<Box<FailureOrigin>>,
}

/// The process where the failure of the root began. [`crate::blame`] has the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureOrigin {
    /// Its span.
    pub span_id: SpanId,
    /// Its thread group id.
    pub pid: u32,
    /// The name of its span.
    pub name: String,
    /// How it ended.
    pub status: ExitStatus,
    /// The beginning of its arguments.
    pub arguments: Strings,
}

/// How the machine slowed the command down during the run. `None`: not known, or there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortage {
    /// Thousandths of processors that the control group may use on average: the tightest limit of the group and its parents.
    pub cpu_limit: Option<u64>,
    /// Length of a period of that limit, in nanoseconds.
    pub period_ns: Option<u64>,
    /// Number of periods in which the group ran.
    pub periods: Option<u64>,
    /// Number of periods in which the group had used up its limit.
    pub throttled_periods: Option<u64>,
    /// Time that the group had to wait in these periods, in nanoseconds, summed over all processors.
    pub throttled_ns: Option<u64>,
    /// Time that the hypervisor gave the machine's processors to others, in nanoseconds.
    pub steal_ns: Option<u64>,
    /// Time that some task of the machine waited for a processor, in nanoseconds: PSI.
    pub cpu_pressure_ns: Option<u64>,
    /// The same for memory.
    pub memory_pressure_ns: Option<u64>,
    /// The same for I/O.
    pub io_pressure_ns: Option<u64>,
    /// Bytes of memory that the control group may use: the tightest limit of the group and its parents.
    pub memory_limit: Option<u64>,
    /// Peak memory of the group with this limit, in bytes, also before the trace. If no group has a limit, it is the peak of
    /// the command's group.
    pub memory_peak: Option<u64>,
    /// Number of processes of the command's group that the out-of-memory killer killed.
    pub oom_kills: Option<u64>,
}

/// Records that a full buffer lost since the previous gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Time at which the loss was noticed, at most a fraction of a second later.
    pub at: SystemTime,
    /// Number of records.
    pub records: u64,
}

/// One TCP connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSpan {
    /// Its last state.
    pub connection: Connection,
    /// Time at which the handshake was complete, if it ever was.
    pub established: Option<SystemTime>,
    /// The name by which the owner found the peer's address.
    pub host: Option<Arc<str>>,
}

/// A UDP flow: the datagrams between a socket and a peer that it sent to, from the first one to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowSpan {
    /// Its last state.
    pub flow: Flow,
    /// The name by which the owner found the peer's address.
    pub host: Option<Arc<str>>,
}

/// One question to a name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupSpan {
    /// The name that the process asked for.
    pub name: String,
    /// The type of the records that it asked for.
    pub kind: String,
    /// The transport.
    pub transport: Transport,
    /// The address and port of the process.
    pub local: SocketAddr,
    /// The name server.
    pub server: SocketAddr,
    /// Number of times that the process asked.
    pub attempts: u32,
    /// The answer of the name server.
    pub reply: Reply,
}

/// The answer to a question to a name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// There was no answer.
    None,
    /// An answer that could not be read. It may be for another question from the same port.
    Unread,
    /// This answer.
    Answer(Answer),
}

/// Attributes that the user has defined.
pub type UserAttributes = Arc<[(String, Value)]>;

/// The value of an attribute, in one of OpenTelemetry's types.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    Bytes(Vec<u8>),
    Bools(Vec<bool>),
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    Strings(Vec<String>),
}

impl Value {
    /// The bytes of [`Value::Bytes`]. `None` for all other types.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// The items of a list have commas between them. Bytes are base64.
impl fmt::Display for Value {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(items: &[T], to: &mut fmt::Formatter<'_>) -> fmt::Result {
            items.iter().enumerate().try_for_each(|(place, item)| {
                let comma = if place == 0 { "" } else { "," };
                write!(to, "{comma}{item}")
            })
        }
        match self {
            Self::Bool(value) => value.fmt(to),
            Self::Int(value) => value.fmt(to),
            Self::Float(value) => value.fmt(to),
            Self::String(text) => text.fmt(to),
            Self::Bytes(bytes) => Base64Display::new(bytes, &BASE64_STANDARD).fmt(to),
            Self::Bools(items) => list(items, to),
            Self::Ints(items) => list(items, to),
            Self::Floats(items) => list(items, to),
            Self::Strings(items) => list(items, to),
        }
    }
}

impl Certificate {
    /// Whether the source observes this kind of events, and the user has not left it out.
    #[must_use]
    pub fn has_observed(&self, kind: &str) -> bool {
        self.source.as_ref().is_none_or(|source| !source.unobserved_kinds.contains(&kind))
    }

    /// Number of all spans in the trace.
    #[must_use]
    pub fn spans(&self) -> u64 {
        self.processes + self.connections + self.flows + self.lookups + self.calls.total()
    }
}

impl Span {
    /// The process, if it is the span of a process.
    #[must_use]
    pub fn process(&self) -> Option<&ProcessSpan> {
        match &self.subject {
            Subject::Process(process) => Some(process),
            _ => None,
        }
    }

    /// The name of the span.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        match &self.subject {
            Subject::Process(process) => Cow::Borrowed(&process.name),
            Subject::Connection(span) => Cow::Owned(match span.connection.direction {
                Direction::Connect => format!("connect {}", named(span.host.as_deref(), span.connection.peer)),
                Direction::Accept => match port_in_name(span.connection.local) {
                    Some(port) => format!("accept :{port}"),
                    None => "accept".to_owned(),
                },
            }),
            Subject::Flow(span) => Cow::Owned(format!("udp {}", named(span.host.as_deref(), span.flow.peer))),
            Subject::Call(call) => Cow::Owned(call.name()),
            Subject::Lookup(lookup) => Cow::Owned(format!("lookup {}", lookup.name)),
        }
    }
}

/// An end, with the name of its host if there is one.
fn named(host: Option<&str>, end: SocketAddr) -> String {
    match (host, port_in_name(end)) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, Some(_)) => end.to_string(),
        (None, None) => end.ip().to_string(),
    }
}

/// The lowest ephemeral port. Linux gives its processes ports from 32768 to 60999 (`ip_local_port_range`), and other systems
/// give theirs ports from 49152 to 65535 (RFC 6335). We use one limit on all machines, so that a name does not depend on the
/// machine.
const EPHEMERAL: u16 = 32_768;

/// The port, unless it is ephemeral. Backends make a time series of each name, so names must have few values.
fn port_in_name(end: SocketAddr) -> Option<u16> {
    Some(end.port()).filter(|port| *port < EPHEMERAL)
}
