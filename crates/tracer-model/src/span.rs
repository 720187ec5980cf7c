//! A finished span, as plain typed data. How it looks in OpenTelemetry is [`crate::semconv`]'s to say.

use std::{borrow::Cow, net::SocketAddr, sync::Arc, time::SystemTime};

use crate::{
    context::SpanContext,
    dns::Answer,
    event::{Connection, Direction, ExitStatus, Flow, Image, Losses, Strings, Transport, Usage},
    id::{SpanId, TraceId},
};

/// A finished span.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// Its parent; for the root span whatever called us, if that is known.
    pub parent_id: Option<SpanId>,
    /// Other spans that it has to do with.
    pub links: Vec<SpanContext>,
    /// When it began.
    pub start: SystemTime,
    /// When it ended; never before `start`.
    pub end: SystemTime,
    /// It was still alive when the trace ended.
    pub is_unfinished: bool,
    /// Some of its events were lost; what later ones carried stands in for them.
    pub is_repaired: bool,
    /// What it is about.
    pub subject: Subject,
}

/// What a span is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A process.
    Process(Box<ProcessSpan>),
    /// A TCP connection.
    Connection(Box<ConnectionSpan>),
    /// A UDP flow.
    Flow(Box<FlowSpan>),
    /// A call of connect for a unix socket.
    UnixConnect(Box<UnixConnectSpan>),
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
    /// That one's span, which is not the parent where the environment names another.
    pub forked_by: Option<SpanId>,
    /// Span name.
    pub name: String,
    /// What it ran last; its parent's image if it never called exec, `None` if that is not known.
    pub image: Option<Arc<Image>>,
    /// Each exec, in order.
    pub executions: Vec<Execution>,
    /// Execs that failed, in order, if they are reported.
    pub failed_execs: Vec<FailedExec>,
    /// Execs beyond the limit of one span, not listed.
    pub dropped_executions: u32,
    /// It never called exec.
    pub is_fork: bool,
    /// How it ended; `None` while unfinished.
    pub exit: Option<ExitStatus>,
    /// The kernel chose it when memory ran out.
    pub is_oom_victim: bool,
    /// What it has used, if that is known.
    pub usage: Option<Box<Usage>>,
    /// The user's attributes, by the last exec.
    pub attributes: Arc<[(String, Value)]>,
    /// On the root span: what this trace is worth.
    pub certificate: Option<Certificate>,
}

/// One successful exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// When.
    pub at: SystemTime,
    /// The file that was mapped.
    pub executable: Option<String>,
    /// The beginning of the argument vector.
    pub arguments: Strings,
}

/// An exec that failed, perhaps tried in several places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedExec {
    /// When, the last time.
    pub at: SystemTime,
    /// The file name handed to exec, the last time.
    pub file: String,
    /// Why.
    pub errno: i32,
    /// How many files of that name were tried.
    pub attempts: u32,
}

/// What a trace is worth: how much it holds, and what it is known to lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Nothing is known to be missing.
    pub is_complete: bool,
    /// Process spans in the trace, the root among them.
    pub processes: u64,
    /// Connection spans in the trace.
    pub connections: u64,
    /// Flow spans in the trace.
    pub flows: u64,
    /// Spans of connections to unix sockets in the trace.
    pub unix_connects: u64,
    /// Lookup spans in the trace.
    pub lookups: u64,
    /// Execs whose arguments or environment were longer than what is captured.
    pub truncated: u64,
    /// User attributes left out since their expression failed.
    pub failed_expressions: u64,
    /// What is missing, by cause.
    pub losses: Losses,
    /// When the ring buffer had run over, as far as that was noticed in time.
    pub gaps: Vec<Gap>,
    /// What the command and all its descendants that were waited for have used, as wait4(2) tells: the largest resident set of
    /// any one of them, and of bytes only those from and to storage.
    pub tree: Option<Box<Usage>>,
    /// Processors that the command could use at once when it began.
    pub cpus: u32,
    /// The tracer's version.
    pub version: String,
}

/// Records that were lost to a full ring buffer by some moment, since the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When it was noticed, a fraction of a second later at most.
    pub at: SystemTime,
    /// How many.
    pub records: u64,
}

/// One TCP connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSpan {
    /// What was known at its end.
    pub connection: Connection,
    /// When the handshake was done, if it ever was.
    pub established: Option<SystemTime>,
    /// The name by which the peer's address was found.
    pub host: Option<Arc<str>>,
}

/// What a UDP socket and a peer that it has sent to have sent each other, from the first datagram to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowSpan {
    /// What was known at its end.
    pub flow: Flow,
    /// The name by which the peer's address was found.
    pub host: Option<Arc<str>>,
}

/// One call of connect for a unix socket; a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixConnectSpan {
    /// A path as it was handed over, or `@` and the abstract name.
    pub path: String,
    /// errno of its failure, if it failed.
    pub error: Option<i32>,
}

/// One question to a name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupSpan {
    /// The name asked for.
    pub name: String,
    /// The type of record.
    pub kind: String,
    /// By which way it went.
    pub transport: Transport,
    /// Our end.
    pub local: SocketAddr,
    /// The name server.
    pub server: SocketAddr,
    /// How often it was asked.
    pub attempts: u32,
    /// What it said.
    pub reply: Reply,
}

/// What has come of a question to a name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    None,
    /// Something that could not be read, or that was for another question from the same port.
    Unread,
    /// This.
    Answer(Answer),
}

/// An attribute's value, of OpenTelemetry's types.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    Bools(Vec<bool>),
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    Strings(Vec<String>),
}

impl Span {
    /// The process, if it is the span of one.
    #[must_use]
    pub fn process(&self) -> Option<&ProcessSpan> {
        match &self.subject {
            Subject::Process(process) => Some(process),
            _ => None,
        }
    }

    /// The span's name.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        match &self.subject {
            Subject::Process(process) => Cow::Borrowed(&process.name),
            Subject::Connection(span) => Cow::Owned(match span.connection.direction {
                Direction::Connect => format!("connect {}", named(span.host.as_deref(), span.connection.peer)),
                Direction::Accept => format!("accept :{}", span.connection.local.port()),
            }),
            Subject::Flow(span) => Cow::Owned(format!("udp {}", named(span.host.as_deref(), span.flow.peer))),
            Subject::UnixConnect(connect) => Cow::Owned(format!("connect {}", connect.path)),
            Subject::Lookup(lookup) => Cow::Owned(format!("lookup {}", lookup.name)),
        }
    }
}

/// An end, by the name of its host if there is one.
fn named(host: Option<&str>, end: SocketAddr) -> String {
    match host {
        Some(host) => format!("{host}:{}", end.port()),
        None => end.to_string(),
    }
}
