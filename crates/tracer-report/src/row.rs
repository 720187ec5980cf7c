//! What a report needs of a span, small enough to keep a great many of them.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc, time::SystemTime};

use opentelemetry::{SpanId, Value, trace::Status};
use opentelemetry_sdk::trace::SpanData;
use tracer_model::semconv;

use crate::untrusted::Untrusted;

/// A string in [`Rows::strings`]: its place, counted from 1, so that no label takes no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Label(NonZeroU32);

/// What a span is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Process,
    Connection,
    Lookup,
    /// Not one of ours.
    Other,
}

/// One span.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: SpanId,
    pub(crate) parent: SpanId,
    pub(crate) kind: Kind,
    pub(crate) is_root: bool,
    pub(crate) is_unfinished: bool,
    pub(crate) is_fork: bool,
    /// By a signal that is sent to end it.
    pub(crate) is_killed: bool,
    pub(crate) is_repaired: bool,
    pub(crate) name: Label,
    /// Why it failed.
    pub(crate) failure: Option<Label>,
    /// Of a connection: whom it was with.
    pub(crate) peer: Option<Label>,
    pub(crate) pid: u32,
    pub(crate) parent_pid: u32,
    /// Nanoseconds since the epoch.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Of a process: CPU time, nanoseconds.
    pub(crate) cpu: u64,
    /// Of a connection: payload in both directions.
    pub(crate) bytes: u64,
}

impl Row {
    pub(crate) fn duration(&self) -> u64 {
        self.end - self.start
    }
}

/// Where and how a process was called that failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    pub(crate) directory: Option<Untrusted>,
    pub(crate) arguments: Vec<Untrusted>,
}

/// What the root span says of the whole trace.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    pub(crate) trace_id: String,
    /// The command with its arguments.
    pub(crate) arguments: Vec<Untrusted>,
    /// Processors that it could use; 0 if that is not known.
    pub(crate) cpus: u64,
    pub(crate) is_complete: bool,
    pub(crate) version: Option<Untrusted>,
    /// What is missing, by attribute.
    pub(crate) losses: Vec<(String, i64)>,
    /// What was not observed, and why.
    pub(crate) unobserved: Option<Untrusted>,
}

impl About {
    /// What it says, and what its command is.
    pub(crate) fn of(span: &SpanData) -> Self {
        let mut about = Self {
            trace_id: span.span_context.trace_id().to_string(),
            arguments: call(span).arguments,
            ..Self::default()
        };
        for attribute in &span.attributes {
            match (attribute.key.as_str(), &attribute.value) {
                (semconv::COMPLETE, Value::Bool(is_complete)) => about.is_complete = *is_complete,
                (semconv::CPUS, value) => about.cpus = whole(value),
                (semconv::UNOBSERVED, value) => about.unobserved = Some(value.as_str().into()),
                (semconv::VERSION, value) => about.version = Some(value.as_str().into()),
                (key, Value::I64(count)) if *count > 0 && semconv::is_loss(key) => {
                    about.losses.push((key.to_owned(), *count));
                }
                _ => {}
            }
        }
        if about.arguments.is_empty() {
            about.arguments.push(span.name.as_ref().into());
        }
        about
    }
}

/// Enough spans for a text or for the live page of a run. The memory of a run must have a limit.
pub const SPAN_LIMIT: usize = 250_000;

/// The spans of a trace, each reduced to what reports need of it.
#[derive(Debug)]
pub struct Rows {
    pub(crate) rows: Vec<Row>,
    pub(crate) about: About,
    longest_root: Option<u64>,
    limit: usize,
    /// Spans that were beyond the limit.
    pub(crate) left_out: u64,
    strings: Vec<Untrusted>,
    known: HashMap<Arc<str>, Label>,
    /// Of processes that failed, by their index in `rows`.
    calls: HashMap<usize, Call>,
}

/// Processes that failed and of which it is kept how they were called.
const CALLS: usize = 1000;

/// Of the arguments of each, so many bytes.
const CALL_BYTES: usize = 4096;

impl Default for Rows {
    fn default() -> Self {
        Self::with_limit(usize::MAX)
    }
}

impl Rows {
    /// Keeps so many spans that are no processes, twice as many processes, and the root.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            rows: Vec::new(),
            about: About::default(),
            longest_root: None,
            limit,
            left_out: 0,
            strings: Vec::new(),
            known: HashMap::new(),
            calls: HashMap::new(),
        }
    }

    /// Takes in a span. The order of the spans does not matter.
    pub fn add(&mut self, span: &SpanData) {
        self.insert(span);
    }

    /// Takes in a span and returns its index. `None`: there was no room for it.
    pub(crate) fn insert(&mut self, span: &SpanData) -> Option<usize> {
        let row = self.read(span);
        self.keep(row, span)
    }

    /// What there is to know of a span, which is not kept.
    pub(crate) fn read(&mut self, span: &SpanData) -> Row {
        let mut row = Row {
            id: span.span_context.span_id(),
            parent: span.parent_span_id,
            kind: Kind::Other,
            is_root: false,
            is_unfinished: false,
            is_fork: false,
            is_killed: false,
            is_repaired: false,
            name: self.intern(&span.name),
            failure: None,
            peer: None,
            pid: 0,
            parent_pid: 0,
            start: nanoseconds(span.start_time),
            end: nanoseconds(span.end_time.max(span.start_time)),
            cpu: 0,
            bytes: 0,
        };
        let (mut exit, mut signal, mut error) = (0, None, None);
        let (mut is_oom_victim, mut address, mut path, mut port) = (false, None, None, 0);
        for attribute in &span.attributes {
            let value = &attribute.value;
            match attribute.key.as_str() {
                semconv::PROCESS_PID => (row.kind, row.pid) = (Kind::Process, whole(value)),
                semconv::PROCESS_PARENT_PID => row.parent_pid = whole(value),
                semconv::DNS_QUESTION_NAME => row.kind = Kind::Lookup,
                semconv::NETWORK_TRANSPORT if row.kind == Kind::Other => row.kind = Kind::Connection,
                semconv::FORK => row.is_fork = true,
                semconv::UNFINISHED => row.is_unfinished = true,
                semconv::REPAIRED => row.is_repaired = true,
                semconv::COMPLETE => row.is_root = true,
                semconv::CPU_USER | semconv::CPU_SYSTEM => row.cpu = row.cpu.saturating_add(seconds(value)),
                semconv::BYTES_SENT
                | semconv::BYTES_RECEIVED
                | semconv::FLOW_BYTES_SENT
                | semconv::FLOW_BYTES_RECEIVED => row.bytes = row.bytes.saturating_add(whole(value)),
                semconv::NETWORK_PEER_ADDRESS => path = Some(value.as_str()),
                semconv::SERVER_ADDRESS => address = Some(value.as_str()),
                semconv::SERVER_PORT => port = whole(value),
                semconv::PROCESS_EXIT_CODE => exit = whole(value),
                semconv::EXIT_SIGNAL => signal = Some(value.as_str()),
                semconv::EXIT_OOM => is_oom_victim = true,
                semconv::ERROR_TYPE => error = Some(value.as_str()),
                _ => {}
            }
        }
        if matches!(span.status, Status::Error { .. }) {
            row.is_killed = matches!(signal.as_deref(), Some("SIGTERM" | "SIGKILL" | "SIGINT" | "SIGHUP" | "SIGPIPE"));
            let failure = match (row.kind, signal, error) {
                (Kind::Process, Some(signal), _) if is_oom_victim => format!("{signal}, out of memory"),
                (Kind::Process, Some(signal), _) => signal.into_owned(),
                (Kind::Process, None, _) => format!("exit {exit}"),
                (_, _, Some(error)) => error.replace('_', " "),
                _ => "failed".to_owned(),
            };
            row.failure = Some(self.intern(&failure));
        }
        if row.kind == Kind::Connection {
            row.peer = match span.span_kind {
                opentelemetry::trace::SpanKind::Server => Some(row.name),
                // Of a unix socket that is its path.
                _ if port == 0 => path.map(|path| self.intern(&path)),
                _ => address.map(|address| {
                    let is_v6 = address.contains(':');
                    self.intern(&if is_v6 { format!("[{address}]:{port}") } else { format!("{address}:{port}") })
                }),
            };
        }
        row
    }

    /// Keeps what was read of a span; gives its index, if there is room.
    pub(crate) fn keep(&mut self, row: Row, span: &SpanData) -> Option<usize> {
        // What hangs under a process is the first to be left out.
        let limit = if row.kind == Kind::Process { self.limit.saturating_mul(2) } else { self.limit };
        if self.rows.len() >= limit && !row.is_root {
            self.left_out += 1;
            return None;
        }
        // Of several roots the longest counts, as for the tree.
        if row.is_root && self.longest_root.is_none_or(|longest| row.duration() > longest) {
            self.longest_root = Some(row.duration());
            self.about = About::of(span);
        }
        if row.failure.is_some() && row.kind == Kind::Process && self.calls.len() < CALLS {
            self.calls.insert(self.rows.len(), call(span));
        }
        self.rows.push(row);
        Some(self.rows.len() - 1)
    }

    pub(crate) fn text(&self, text: Label) -> &Untrusted {
        &self.strings[text.0.get() as usize - 1]
    }

    /// How a process was called, if it failed.
    pub(crate) fn call(&self, row: usize) -> Option<&Call> {
        self.calls.get(&row)
    }

    fn intern(&mut self, text: &str) -> Label {
        if let Some(known) = self.known.get(text) {
            return *known;
        }
        let text: Arc<str> = text.into();
        self.strings.push(Arc::clone(&text).into());
        let label = Label(NonZeroU32::MIN.saturating_add(self.known.len() as u32));
        self.known.insert(text, label);
        label
    }
}

fn call(span: &SpanData) -> Call {
    let mut call = Call::default();
    for attribute in &span.attributes {
        match (attribute.key.as_str(), &attribute.value) {
            (semconv::PROCESS_WORKING_DIRECTORY, value) => call.directory = Some(value.as_str().into()),
            (semconv::PROCESS_COMMAND_ARGS, Value::Array(opentelemetry::Array::String(arguments))) => {
                let mut room = CALL_BYTES;
                let fits = |argument: &&opentelemetry::StringValue| {
                    room = room.saturating_sub(argument.as_str().len() + 1);
                    room > 0
                };
                call.arguments = arguments.iter().take_while(fits).map(|argument| argument.as_str().into()).collect();
                if call.arguments.len() < arguments.len() {
                    call.arguments.push("...".into());
                }
            }
            _ => {}
        }
    }
    call
}

/// A whole number; 0 for what is none, or out of range.
fn whole<T: TryFrom<i64> + Default>(value: &Value) -> T {
    match value {
        Value::I64(value) => T::try_from(*value).unwrap_or_default(),
        _ => T::default(),
    }
}

/// Seconds as nanoseconds.
fn seconds(value: &Value) -> u64 {
    match value {
        Value::F64(value) => (value * 1e9).round() as u64,
        Value::I64(value) => u64::try_from(*value).unwrap_or_default().saturating_mul(1_000_000_000),
        _ => 0,
    }
}

pub(crate) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
