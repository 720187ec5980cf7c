//! A span as reports read it: typed, from a run or from a saved trace.
//!
//! A span of a run is read from the model. The user's own attributes (`-a NAME=EXPR`) and the limits of exported values
//! do not change it.
//!
//! A span of a saved trace consists of attributes, and some of them may be the user's. So its meaning comes from parts
//! that a user's attribute cannot change:
//!
//! - The OpenTelemetry span kind says whether it is a process. Processes are INTERNAL, everything else is CLIENT or SERVER.
//!   Other spans may have the user's attributes, too, but never under a key that decides their kind.
//! - The status message says how a process ended. It is no attribute, and no limit cuts it.
//! - Keys that begin with `process_tracer.` are reserved: the command line refuses them. Older versions did not. So the root
//!   span must also have no parent, or have the tracer's version, and a complete trace must not list any loss.
//!
//! The pid, the arguments and the working directory are only shown. A user may replace them, and the report shows the
//! replacement. The name of the executable says only whether a process is a shell: see [`blame`].

use std::{
    borrow::Cow,
    iter,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tracer_model::{
    ExitStatus, Resource, SpanId, TraceId, Value, blame,
    event::{Direction, Image, base_name},
    expression::Attributes,
    semconv::{self, KeyValues, ValueRef},
    span::{ProcessSpan, Reply, Subject as ModelSubject},
};

use crate::{
    saved::{self, value_of},
    untrusted::Untrusted,
};

/// A span of a run or of a saved trace.
#[derive(Debug)]
pub struct Span<'a> {
    pub(crate) trace: TraceId,
    pub(crate) id: SpanId,
    pub(crate) parent: Option<SpanId>,
    /// The parent is a span of another program, outside of this run.
    pub(crate) is_parent_remote: bool,
    pub(crate) name: Cow<'a, str>,
    /// Nanoseconds since the epoch.
    pub(crate) start: u64,
    /// Never before `start`.
    pub(crate) end: u64,
    pub(crate) is_unfinished: bool,
    pub(crate) is_repaired: bool,
    /// The reason, if it failed.
    pub(crate) failure: Option<Cow<'a, str>>,
    pub(crate) subject: Subject,
    /// Attributes that the live page or the user adds.
    added: KeyValues,
    /// The longest string value to show, in characters.
    value_limit: Option<usize>,
    /// The attributes of its producer, if it is a span of a run.
    resource: Option<&'a Resource>,
    origin: Origin<'a>,
}

/// The subject of a span.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    Process(Process),
    Connection(Connection),
    Lookup,
    /// The whole trace of several runs, and how the first run that failed ended.
    Runs(Option<ExitStatus>),
    /// A span of another program, or a call without another end.
    Other,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent_pid: u32,
    /// It carries the certificate of the trace.
    pub(crate) is_root: bool,
    /// It is the root of one of several runs.
    pub(crate) is_run: bool,
    pub(crate) is_fork: bool,
    /// Its last program is a shell.
    pub(crate) is_shell: bool,
    /// How it ended, if it failed. A saved trace does not say whether it dumped core, so this never does.
    pub(crate) exit: Option<ExitStatus>,
    /// If a crash or the out-of-memory killer ended it. `--errors unhandled` does not change it.
    pub(crate) crash: Option<Crash>,
    /// Nanoseconds.
    pub(crate) cpu: u64,
    /// Time in which it waited for a processor, nanoseconds.
    pub(crate) run_delay: u64,
    pub(crate) folded: Folded,
}

/// Processes below a process that have no span of their own. The span of the process counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Folded {
    pub(crate) processes: u64,
    /// Nanoseconds.
    pub(crate) cpu: u64,
}

/// The attributes of [`Folded`].
pub(crate) const FOLDED_PROCESSES: &str = semconv::FOLDED_PROCESSES;
pub(crate) const FOLDED_CPU_TIME: &str = semconv::FOLDED_CPU_TIME;

/// An end that nobody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    OutOfMemory,
    /// The number of a signal for an error of the program, such as SIGSEGV.
    Signal(u8),
}

impl Crash {
    fn new(signal: u8, is_oom_victim: bool) -> Option<Self> {
        if is_oom_victim {
            return Some(Self::OutOfMemory);
        }
        // The signals that dump core by default, except SIGQUIT, which people send: signal(7).
        let name = semconv::signal_name(signal);
        let is_crash = ["SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGSEGV", "SIGSYS", "SIGXCPU", "SIGXFSZ"]
            .contains(&&*name);
        is_crash.then_some(Self::Signal(signal))
    }
}

/// A TCP connection, a UDP flow, or a connection to a unix socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connection {
    /// The other end's name or address, and its port. `None`: accepted, so the span's name is used.
    pub(crate) peer: Option<String>,
    pub(crate) is_accepted: bool,
    /// Payload in both directions.
    pub(crate) bytes: u64,
}

#[derive(Clone, Copy, Debug)]
enum Origin<'a> {
    Run(&'a tracer_model::Span),
    Saved(&'a saved::Span),
}

/// How a process was called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) directory: Option<Untrusted>,
    pub(crate) arguments: Vec<Untrusted>,
    /// The process had more arguments. Nobody knows them.
    pub(crate) is_cut: bool,
}

impl Call {
    /// The bytes of memory that it takes.
    pub(crate) fn size(&self) -> usize {
        let size = |text: &Untrusted| size_of::<Untrusted>() + text.size();
        self.arguments.iter().chain(&self.directory).map(size).sum()
    }
}

/// The root span's statement about the whole trace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Certificate {
    pub(crate) is_complete: bool,
    /// Processors that the command could use; 0 if that is not known.
    pub(crate) cpus: u64,
    pub(crate) shortage: Shortage,
    pub(crate) version: Option<Untrusted>,
    /// How much is missing, by attribute.
    pub(crate) losses: Vec<(String, i64)>,
    /// Which events were not observed, and why.
    pub(crate) unobserved: Option<Untrusted>,
}

/// How the machine slowed the command down. Times are nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shortage {
    /// Processors; 0 if there is no limit.
    pub(crate) cpu_limit: f64,
    pub(crate) throttled_periods: u64,
    pub(crate) period: u64,
    /// Each processor counts.
    pub(crate) throttled: u64,
    /// Each processor counts.
    pub(crate) steal: u64,
    pub(crate) oom_kills: u64,
}

impl Shortage {
    fn set(&mut self, key: &str, value: &Value) {
        match (key, value) {
            (semconv::CPU_LIMIT, Value::Float(limit)) => self.cpu_limit = *limit,
            (semconv::CPU_THROTTLED_PERIODS, Value::Int(count)) => self.throttled_periods = whole(*count),
            (semconv::CPU_PERIOD, Value::Float(seconds)) => self.period = (seconds * 1e9) as u64,
            (semconv::CPU_THROTTLED, Value::Float(seconds)) => self.throttled = (seconds * 1e9) as u64,
            (semconv::STEAL, Value::Float(seconds)) => self.steal = (seconds * 1e9) as u64,
            (semconv::OOM_KILLS, Value::Int(count)) => self.oom_kills = whole(*count),
            _ => {}
        }
    }
}

fn whole(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}

/// The attributes and events of a span, for a reader who wants to see all of it.
#[derive(Debug)]
pub(crate) struct Details {
    pub(crate) attributes: KeyValues,
    pub(crate) events: Vec<Event>,
}

/// A moment within a span.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) name: Cow<'static, str>,
    /// Nanoseconds since the epoch.
    pub(crate) at: u64,
    pub(crate) attributes: KeyValues,
}

/// The words of an exec of a script, up to its path: the interpreter, and its words in the first line as one.
const SHEBANG: usize = 3;

/// The number of bytes of arguments that most reports read.
const ARGUMENT_BYTES: usize = 4096;

impl<'a> Span<'a> {
    /// Adds the attributes of the producer to a span of a run. A saved span has its own.
    #[must_use]
    pub fn with_resource(self, resource: &'a Resource) -> Self {
        Self { resource: Some(resource), ..self }
    }
}

impl Span<'_> {
    /// The trace that it belongs to.
    pub fn trace_id(&self) -> TraceId {
        self.trace
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Cuts string values of attributes to `limit` characters where a report shows them.
    #[must_use]
    pub fn with_value_limit(self, limit: Option<usize>) -> Self {
        Self { value_limit: limit, ..self }
    }

    /// The attributes of its producer.
    pub(crate) fn resource(&self) -> impl Iterator<Item = (&str, &Value)> {
        let saved = match self.origin {
            Origin::Run(_) => &[],
            Origin::Saved(span) => span.resource.as_slice(),
        };
        let run = self.resource.into_iter().flat_map(Resource::iter);
        run.chain(saved.iter().map(|(key, value)| (key.as_str(), value)))
    }

    /// Its kind in OpenTelemetry.
    pub(crate) fn kind(&self) -> saved::Kind {
        match self.origin {
            Origin::Run(span) => match semconv::kind(span) {
                semconv::Kind::Internal => saved::Kind::Internal,
                semconv::Kind::Server => saved::Kind::Server,
                semconv::Kind::Client => saved::Kind::Client,
            },
            Origin::Saved(span) => span.kind,
        }
    }

    /// The message of its status, if the status is ERROR.
    pub(crate) fn status_message(&self) -> Option<Cow<'_, str>> {
        match self.origin {
            Origin::Run(span) => {
                let error = semconv::error(span)?;
                Some(Cow::Owned(error.status_message(self.value_limit).to_owned()))
            }
            Origin::Saved(span) => span.has_failed.then_some(Cow::Borrowed(span.message.as_str())),
        }
    }

    pub(crate) fn is_root(&self) -> bool {
        matches!(self.subject, Subject::Process(Process { is_root: true, .. }) | Subject::Runs(_))
    }

    /// Whether it is the root of one of several runs.
    pub(crate) fn is_run(&self) -> bool {
        matches!(self.subject, Subject::Process(Process { is_run: true, .. }))
    }

    pub(crate) fn process(&self) -> Option<&Process> {
        match &self.subject {
            Subject::Process(process) => Some(process),
            _ => None,
        }
    }

    pub(crate) fn process_mut(&mut self) -> Option<&mut Process> {
        match &mut self.subject {
            Subject::Process(process) => Some(process),
            _ => None,
        }
    }

    /// Computes the user's attributes over a process of a saved trace. There is no environment.
    pub fn add_attributes(&mut self, attributes: &mut Attributes) {
        if self.process().is_none() {
            return;
        }
        let call = self.call();
        let arguments = call.arguments.iter().map(Untrusted::exact).collect();
        let now = UNIX_EPOCH + Duration::from_nanos(self.start);
        for (key, value) in attributes.evaluate(&arguments, None, now) {
            self.added.push((Cow::Owned(key), value));
        }
    }

    pub(crate) fn add_attribute(&mut self, key: &'static str, value: Value) {
        self.added.push((Cow::Borrowed(key), value));
    }

    /// The other end of a connection; the process that forked a process whose parent is another span; or from the root the
    /// process where its failure began.
    pub(crate) fn links(&self) -> Vec<(TraceId, SpanId)> {
        match self.origin {
            Origin::Run(span) => span.links.iter().map(|link| (link.trace_id, link.span_id)).collect(),
            Origin::Saved(span) => span.links.iter().map(|link| (link.trace_id, link.span_id)).collect(),
        }
    }

    /// The arguments of its first exec, if it is a process that has executed several programs.
    pub(crate) fn first_call(&self) -> Option<Vec<Untrusted>> {
        match self.origin {
            // The user's arguments replace the real ones everywhere.
            Origin::Run(span) if span.attributes.iter().any(|(key, _)| key == semconv::PROCESS_COMMAND_ARGS) => None,
            Origin::Run(span) => match span.process()?.executions.as_slice() {
                [first, _, ..] => {
                    let texts = arguments(first.arguments.iter(), usize::MAX);
                    Some(Untrusted::with_bytes(texts, first.arguments.not_utf8()))
                }
                _ => None,
            },
            Origin::Saved(span) => {
                let execs: Vec<_> = span.events.iter().filter(|event| event.name == "exec").collect();
                let [first, _, ..] = execs.as_slice() else { return None };
                match value_of(&first.attributes, semconv::PROCESS_COMMAND_ARGS) {
                    Some(Value::Strings(texts)) => {
                        let texts = arguments(texts.iter().map(|text| Cow::Borrowed(text.as_str())), usize::MAX);
                        let bytes = value_of(&first.attributes, semconv::ARGS_RAW).and_then(Value::as_bytes);
                        Some(Untrusted::with_bytes(texts, bytes))
                    }
                    _ => None,
                }
            }
        }
        .filter(|arguments| !arguments.is_empty())
    }

    /// How it was called, with all arguments and byte by byte, if it is a process.
    pub(crate) fn call(&self) -> Call {
        let Call { directory, arguments, .. } = self.call_within(usize::MAX);
        let directory = directory.into_iter().collect();
        Call {
            directory: Untrusted::with_bytes(directory, self.bytes(semconv::WORKING_DIRECTORY_RAW)).pop(),
            arguments: Untrusted::with_bytes(arguments, self.bytes(semconv::ARGS_RAW)),
            is_cut: self.value(semconv::ARGS_SIZE).is_some(),
        }
    }

    fn bytes(&self, key: &str) -> Option<&[u8]> {
        match self.value(key)? {
            ValueRef::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// One of its attributes.
    fn value(&self, key: &str) -> Option<ValueRef<'_>> {
        match self.origin {
            Origin::Run(span) => semconv::attributes(span).find(|(known, _)| *known == key).map(|(_, value)| value),
            Origin::Saved(span) => span.value(key).map(Into::into),
        }
    }

    /// The same with the first arguments, and `...` for the rest.
    pub(crate) fn short_call(&self) -> Call {
        self.call_within(ARGUMENT_BYTES)
    }

    fn call_within(&self, room: usize) -> Call {
        let Subject::Process(_) = self.subject else { return Call::default() };
        match self.origin {
            Origin::Run(span) => match &span.subject {
                ModelSubject::Process(process) => call_of_run(process, &span.attributes, room),
                _ => Call::default(),
            },
            Origin::Saved(span) => {
                let directory = span.text(semconv::PROCESS_WORKING_DIRECTORY).map(Untrusted::from);
                Call { directory, arguments: arguments(arguments_of_saved(span), room), is_cut: false }
            }
        }
    }

    /// The first arguments of the program that has given a process its name, and whether that program is a shell.
    ///
    /// A root has the name of the first program, or a name that the user has chosen. If no program has that name, there are no
    /// arguments. Other processes have the name of their last program, or a name that a rule has made of it.
    pub(crate) fn named_call(&self) -> (Vec<Cow<'_, str>>, bool) {
        let Some(process) = self.process() else { return (Vec::new(), false) };
        let arguments = self.arguments();
        let is_last = arguments.first().is_some_and(|program| self.is_named_after(program));
        if is_last || !(process.is_root || process.is_run) || self.last_program().any(|path| self.is_named_after(path))
        {
            return (arguments, process.is_shell);
        }
        let first: Vec<_> = self.first_call().into_iter().flatten().map(|text| text.exact().to_owned()).collect();
        // The words before a script are those of its first line.
        let Some(place) = first.iter().take(SHEBANG).position(|program| self.is_named_after(program)) else {
            return (Vec::new(), false);
        };
        let is_shell = blame::is_shell(&first[place], &first[place], false);
        (first.into_iter().skip(place).map(Cow::Owned).collect(), is_shell)
    }

    /// Whether its name is that of this program, perhaps with more words before or after it: `build: make`.
    fn is_named_after(&self, program: &str) -> bool {
        let program = base_name(program);
        !program.is_empty() && (self.name == program || self.name.split(' ').any(|word| word == program))
    }

    /// The paths of its last program: the script or file that was executed, and the mapped file.
    fn last_program(&self) -> impl Iterator<Item = &str> {
        let paths = match self.origin {
            Origin::Run(span) => match &span.subject {
                ModelSubject::Process(process) => {
                    let image = process.image.as_deref();
                    [image.map(Image::name), image.and_then(|image| image.executable.as_deref())]
                }
                _ => [None, None],
            },
            Origin::Saved(span) => [span.text(semconv::SCRIPT), span.text(semconv::PROCESS_EXECUTABLE_PATH)],
        };
        paths.into_iter().flatten()
    }

    /// The first arguments of its last exec, if it is a process.
    fn arguments(&self) -> Vec<Cow<'_, str>> {
        if self.process().is_none() {
            return Vec::new();
        }
        let mut room = ARGUMENT_BYTES;
        let fits = |text: &Cow<'_, str>| {
            room = room.saturating_sub(text.len() + 1);
            room > 0
        };
        match self.origin {
            Origin::Run(span) => match &span.subject {
                ModelSubject::Process(process) => {
                    arguments_of_run(process, &span.attributes).take_while(fits).collect()
                }
                _ => Vec::new(),
            },
            Origin::Saved(span) => arguments_of_saved(span).take_while(fits).collect(),
        }
    }

    /// The certificate of the trace if it is the root, or of its run.
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        if !self.is_root() && !self.is_run() {
            return None;
        }
        let described;
        let values: &mut dyn Iterator<Item = (&str, &Value)> = match self.origin {
            Origin::Run(span) => {
                described = semconv::describe(span).attributes;
                &mut described.iter().map(|(key, value)| (key.as_ref(), value))
            }
            Origin::Saved(span) => &mut span.attributes.iter().map(|(key, value)| (key.as_str(), value)),
        };
        let mut certificate = Certificate::default();
        for (key, value) in values {
            match (key, value) {
                (semconv::COMPLETE, Value::Bool(is_complete)) => certificate.is_complete = *is_complete,
                (semconv::CUT_OFF, Value::Bool(true)) => {
                    certificate.unobserved = Some("process-tracer was killed before the end".into());
                }
                (semconv::CPUS, Value::Int(cpus)) => certificate.cpus = u64::try_from(*cpus).unwrap_or_default(),
                (semconv::UNOBSERVED, Value::String(text)) => certificate.unobserved = Some(text.as_str().into()),
                (semconv::VERSION, Value::String(text)) => certificate.version = Some(text.as_str().into()),
                (key, Value::Int(count)) if *count > 0 && semconv::is_loss(key) => {
                    certificate.losses.push((key.to_owned(), *count));
                }
                (key, value) => certificate.shortage.set(key, value),
            }
        }
        certificate.is_complete &= certificate.losses.is_empty() && certificate.unobserved.is_none();
        Some(certificate)
    }

    /// All attributes and events, as they are exported.
    pub(crate) fn details(&self) -> Details {
        let mut details = match self.origin {
            Origin::Run(span) => {
                let description = semconv::describe(span);
                let events = description.events.into_iter().map(|event| Event {
                    name: Cow::Borrowed(event.name),
                    at: nanoseconds(event.at),
                    attributes: event.attributes,
                });
                Details { attributes: description.attributes, events: events.collect() }
            }
            Origin::Saved(span) => {
                let owned = |attributes: &[(String, Value)]| {
                    attributes.iter().map(|(key, value)| (Cow::Owned(key.clone()), value.clone())).collect()
                };
                let events = span.events.iter().map(|event| Event {
                    name: Cow::Owned(event.name.clone()),
                    at: event.at,
                    attributes: owned(&event.attributes),
                });
                Details { attributes: owned(&span.attributes), events: events.collect() }
            }
        };
        let is_replaced = |key: &str| self.added.iter().any(|(added, _)| semconv::replaces(added, key));
        details.attributes.retain(|(key, _)| !is_replaced(key));
        details.attributes.extend(self.added.iter().cloned());
        if let Some(limit) = self.value_limit {
            let attributes = details.events.iter_mut().map(|event| &mut event.attributes);
            attributes.chain([&mut details.attributes]).flatten().for_each(|(_, value)| cut(value, limit));
        }
        details
    }
}

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
                    // A name that does not exist is an answer.
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

fn signal(number: u8) -> ExitStatus {
    ExitStatus::Signal { number, core_dumped: false }
}

/// How a process failed, for people.
fn how(exit: ExitStatus, is_oom_victim: bool) -> Cow<'static, str> {
    match exit {
        ExitStatus::Signal { number, .. } => {
            let signal = semconv::signal_name(number);
            if is_oom_victim { format!("{signal}, out of memory").into() } else { signal }
        }
        other => format!("exit {}", other.shell_code().unwrap_or_default()).into(),
    }
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

fn at_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// How a process of a run was called. The user's own attribute replaces ours, because it may hide a secret.
fn call_of_run(process: &ProcessSpan, attributes: &[(String, Value)], room: usize) -> Call {
    let own = |key| attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value);
    let image = process.image.as_deref();
    let directory = match own(semconv::PROCESS_WORKING_DIRECTORY) {
        Some(Value::String(text)) => Some(Cow::Borrowed(text.as_str())),
        Some(_) => None,
        None => image.and_then(Image::directory),
    };
    let arguments = arguments(arguments_of_run(process, attributes), room);
    Call { directory: directory.map(|text| text.as_ref().into()), arguments, is_cut: false }
}

/// The arguments of a process of a run. The user's own attribute replaces them.
fn arguments_of_run<'a>(
    process: &'a ProcessSpan,
    attributes: &'a [(String, Value)],
) -> Box<dyn Iterator<Item = Cow<'a, str>> + 'a> {
    let own = attributes.iter().find(|(name, _)| name == semconv::PROCESS_COMMAND_ARGS);
    match (own, process.image.as_deref()) {
        (Some((_, Value::Strings(texts))), _) => Box::new(texts.iter().map(|text| Cow::Borrowed(text.as_str()))),
        (None, Some(image)) => Box::new(image.arguments.iter()),
        _ => Box::new(iter::empty()),
    }
}

fn arguments_of_saved(span: &saved::Span) -> impl Iterator<Item = Cow<'_, str>> {
    let texts = match span.value(semconv::PROCESS_COMMAND_ARGS) {
        Some(Value::Strings(texts)) => texts.as_slice(),
        _ => &[],
    };
    texts.iter().map(|text| Cow::Borrowed(text.as_str()))
}

/// The arguments within so many bytes, and `...` for the rest.
fn arguments<'a>(texts: impl Iterator<Item = Cow<'a, str>>, mut room: usize) -> Vec<Untrusted> {
    let mut arguments: Vec<Untrusted> = Vec::new();
    for text in texts {
        room = room.saturating_sub(text.len() + 1);
        if room == 0 {
            arguments.push("...".into());
            break;
        }
        arguments.push(text.as_ref().into());
    }
    arguments
}

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

/// See the module's documentation. A span without a kind comes from another program. Its attributes are trusted.
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
        // The message has the name of a signal that this version does not know.
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

fn cut(value: &mut Value, limit: usize) {
    let cut = |text: &mut String| {
        if let Some((end, _)) = text.char_indices().nth(limit) {
            text.truncate(end);
        }
    };
    match value {
        Value::String(text) => cut(text),
        Value::Bytes(bytes) => bytes.truncate(limit),
        Value::Strings(texts) => texts.iter_mut().for_each(cut),
        _ => {}
    }
}

pub(crate) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracer_model::{
        calls::{CallCounts, UnixConnectSpan},
        span::{Certificate as ModelCertificate, LookupSpan},
    };

    use super::*;

    fn run(subject: ModelSubject) -> tracer_model::Span {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        tracer_model::Span {
            trace_id: TraceId([1; 16]),
            span_id: SpanId([2; 8]),
            parent_id: Some(SpanId([3; 8])),
            links: Vec::new(),
            start,
            end: start + Duration::from_nanos(5),
            is_unfinished: false,
            is_repaired: true,
            owner: None,
            is_handled: false,
            attributes: [].into(),
            subject,
        }
    }

    /// The span of a process with the user's attributes.
    fn run_with(subject: ModelSubject, attributes: &[(&str, Value)]) -> tracer_model::Span {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        tracer_model::Span { attributes: attributes.collect(), ..run(subject) }
    }

    fn process(exit: ExitStatus) -> ProcessSpan {
        ProcessSpan {
            pid: 7,
            parent_pid: 6,
            forked_by: None,
            name: "cc".to_owned(),
            image: None,
            executions: Vec::new(),
            failed_execs: Vec::new(),
            dropped_executions: 0,
            is_fork: true,
            exit: Some(exit),
            is_oom_victim: false,
            usage: None,
            group: None,
            folded: tracer_model::span::Folded::default(),
            certificate: None,
        }
    }

    /// The span as a file has it, with string values of attributes cut to `limit` characters.
    fn saved(span: &tracer_model::Span, limit: usize) -> saved::Span {
        let description = semconv::describe(span);
        let mut attributes: saved::Attributes =
            description.attributes.into_iter().map(|(key, value)| (key.into_owned(), value)).collect();
        attributes.iter_mut().for_each(|(_, value)| cut(value, limit));
        saved::Span {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_id: span.parent_id,
            is_parent_remote: false,
            kind: match description.kind {
                semconv::Kind::Internal => saved::Kind::Internal,
                semconv::Kind::Client => saved::Kind::Client,
                semconv::Kind::Server => saved::Kind::Server,
            },
            name: span.name().into_owned(),
            start: nanoseconds(span.start),
            end: nanoseconds(span.end),
            attributes,
            events: Vec::new(),
            links: Vec::new(),
            is_run: false,
            has_failed: description.error.is_some(),
            message: description.error.map(|error| error.message.into_owned()).unwrap_or_default(),
            resource: Arc::default(),
        }
    }

    /// The facts of a span of a run, which the saved span must share.
    fn facts(span: &tracer_model::Span) -> (String, Option<String>) {
        let facts = |span: &Span<'_>| {
            let is_repaired = span.is_repaired;
            (format!("{:?} {is_repaired}", span.subject), span.failure.as_deref().map(str::to_owned))
        };
        let of_run = facts(&span.into());
        assert_eq!(facts(&(&saved(span, 5)).into()), of_run, "the saved trace says something else");
        of_run
    }

    #[test]
    fn attributes_and_limits_do_not_change_the_facts() {
        let evil = [
            ("dns.question.name", Value::String("x".to_owned())),
            ("network.transport", Value::String("tcp".to_owned())),
            ("process.exit.code", Value::Int(0)),
            ("error.type", Value::String("none".to_owned())),
        ];
        let killed = ExitStatus::Signal { number: 9, core_dumped: false };
        for (exit, failure) in [
            (ExitStatus::Code(0), None),
            (ExitStatus::Code(3), Some("exit 3")),
            (killed, Some("SIGKILL")),
            (ExitStatus::Signal { number: 11, core_dumped: true }, Some("SIGSEGV")),
        ] {
            let (subject, found) = facts(&run_with(ModelSubject::Process(Box::new(process(exit))), &evil));
            assert!(subject.starts_with("Process(Process { pid: 7, parent_pid: 6,"), "{subject}");
            assert_eq!(subject.contains("exit: Some(Signal { number: 9,"), failure == Some("SIGKILL"), "{subject}");
            assert_eq!(found.as_deref(), failure);
        }
        let handled = tracer_model::Span {
            is_handled: true,
            ..run_with(ModelSubject::Process(Box::new(process(ExitStatus::Code(3)))), &evil)
        };
        let (subject, failure) = facts(&handled);
        assert!(subject.contains("exit: None") && failure.is_none(), "{subject} {failure:?}");
        let victim = ProcessSpan { is_oom_victim: true, ..process(killed) };
        let (_, failure) = facts(&run_with(ModelSubject::Process(Box::new(victim)), &evil));
        assert_eq!(failure.as_deref(), Some("SIGKILL, out of memory"));
        // With --attributes-on all, connections and lookups have them too.
        let connect = UnixConnectSpan { path: "/x".to_owned(), error: Some(111) };
        let (subject, failure) = facts(&run_with(ModelSubject::Call(connect.into()), &evil));
        assert!(subject.contains("peer: Some(\"/x\")"), "{subject}");
        assert_eq!(failure.as_deref(), Some("connection refused"));
    }

    #[test]
    fn a_limit_does_not_cut_the_reason_of_a_failed_connection_or_lookup() {
        let connect = UnixConnectSpan { path: "/x".to_owned(), error: Some(111) };
        let (subject, failure) = facts(&run(ModelSubject::Call(connect.into())));
        assert!(subject.contains("peer: Some(\"/x\")"), "{subject}");
        assert_eq!(failure.as_deref(), Some("connection refused"));
        let address = "192.0.2.7:53".parse().unwrap();
        let code = "SERVFAIL".to_owned();
        let answer =
            tracer_model::dns::Answer { code, addresses: Vec::new(), aliases: Vec::new(), is_truncated: false };
        for (reply, failure) in
            [(Reply::None, Some("no answer")), (Reply::Answer(answer), Some("SERVFAIL")), (Reply::Unread, None)]
        {
            let lookup = LookupSpan {
                name: "a.example".to_owned(),
                kind: "A".to_owned(),
                transport: tracer_model::event::Transport::Udp,
                local: address,
                server: address,
                attempts: 1,
                reply,
            };
            let (subject, found) = facts(&run(ModelSubject::Lookup(Box::new(lookup))));
            assert_eq!((subject.as_str(), found.as_deref()), ("Lookup true", failure));
        }
    }

    #[test]
    fn a_certificate_with_losses_is_not_complete() {
        let certificate = |is_complete, cut_arguments| ModelCertificate {
            is_complete,
            is_cut_off: false,
            processes: 1,
            connections: 0,
            flows: 0,
            lookups: 0,
            calls: CallCounts::default(),
            failed_expressions: 0,
            losses: tracer_model::Losses { cut_arguments, ..Default::default() },
            gaps: Vec::new(),
            tree: None,
            cpus: 2,
            shortage: Box::default(),
            version: "0.1.0".to_owned(),
            trace_id_source: "SHA-256 of env.CI_PIPELINE_ID".to_owned(),
            source: None,
            failure: None,
        };
        for (is_complete, lost) in [(true, 0), (false, 1)] {
            let certificate = Some(certificate(is_complete, lost));
            let root = ProcessSpan { certificate, ..process(ExitStatus::Code(0)) };
            let root = run(ModelSubject::Process(Box::new(root)));
            let mut saved = saved(&root, 100);
            for span in [Span::from(&root), Span::from(&saved)] {
                let certificate = span.certificate().unwrap();
                assert_eq!((certificate.is_complete, certificate.cpus), (is_complete, 2));
                assert_eq!(certificate.losses.len() as u64, lost);
            }
            // An older version accepted `-a process_tracer.complete=true`.
            saved.attributes.retain(|(key, _)| key != semconv::COMPLETE);
            saved.attributes.push((semconv::COMPLETE.to_owned(), Value::Bool(true)));
            assert_eq!(Span::from(&saved).certificate().unwrap().is_complete, is_complete);
        }
    }

    #[test]
    fn a_users_arguments_replace_the_real_ones() {
        let image = Image {
            arguments: [&b"cc"[..], b"secret\xff"].into_iter().collect(),
            directory: Some(b"/src\xff".to_vec()),
            ..Default::default()
        };
        let shown = |attributes: &[(&str, Value)]| {
            let process = ProcessSpan { image: Some(Arc::new(image.clone())), ..process(ExitStatus::Code(1)) };
            let span = run_with(ModelSubject::Process(Box::new(process)), attributes);
            let calls = [Span::from(&span).call(), Span::from(&saved(&span, 100)).call()];
            calls.map(|call| format!("{:?}", call))
        };
        let [of_run, of_saved] = shown(&[]);
        assert!(of_run.contains("secret") && of_run.contains("/src") && of_run == of_saved, "{of_run} {of_saved}");
        for value in [Value::String("***".to_owned()), Value::Strings(vec!["***".to_owned()])] {
            let [of_run, of_saved] = shown(&[("process.command_args", value)]);
            assert!(!of_run.contains("secret") && of_run == of_saved, "{of_run} {of_saved}");
        }
    }

    #[test]
    fn a_process_is_shown_with_the_arguments_of_the_program_that_named_it() {
        let called = |name: &str, commands: &[&str]| {
            let mut root = process(ExitStatus::Code(0));
            root.name = name.to_owned();
            for command in commands {
                let arguments: tracer_model::event::Strings = command.split(' ').collect();
                let executable = Some(command.split(' ').next().unwrap().to_owned());
                let image = Image {
                    file: executable.clone().unwrap(),
                    executable: executable.clone(),
                    arguments: arguments.clone(),
                    ..Default::default()
                };
                root.image = Some(Arc::new(image));
                let at = SystemTime::UNIX_EPOCH;
                root.executions.push(tracer_model::span::Execution { at, executable, arguments });
            }
            let span = run(ModelSubject::Process(Box::new(root)));
            let mut span = Span::from(&span);
            span.process_mut().unwrap().is_root = true;
            let (arguments, is_shell) = span.named_call();
            format!("{}{}", arguments.join(" "), if is_shell { " (shell)" } else { "" })
        };
        assert_eq!(called("cc", &["/bin/cc a.c"]), "/bin/cc a.c");
        assert_eq!(called("nightly", &["/bin/cc a.c"]), "");
        assert_eq!(called("build: make", &["/bin/make all"]), "/bin/make all");
        assert_eq!(called("bash", &["bash -c x", "/bin/sleep 5"]), "bash -c x (shell)");
        assert_eq!(called("nice", &["nice sleep 5", "/bin/sleep 5"]), "nice sleep 5");
        assert_eq!(called("nightly", &["nice sleep 5", "/bin/sleep 5"]), "");
        assert_eq!(called("run", &["/bin/env sh /x/run y", "/bin/sh /x/run y", "/bin/app z"]), "/x/run y");
        assert_eq!(called("python3", &["/bin/env bash /x/python3 a.py", "python3 a.py"]), "python3 a.py");
    }

    #[test]
    fn a_limit_cuts_the_shown_attributes_and_events() {
        let attributes = [("a", Value::String("äöü".to_owned())), ("b", Value::Strings(vec!["abc".to_owned()]))];
        let mut process = process(ExitStatus::Code(0));
        process.executions.push(tracer_model::span::Execution {
            at: SystemTime::UNIX_EPOCH,
            executable: Some("/bin/cc".to_owned()),
            arguments: Default::default(),
        });
        let span = run_with(ModelSubject::Process(Box::new(process)), &attributes);
        let details = Span::from(&span).with_value_limit(Some(2)).details();
        let value = |attributes: &KeyValues, key| attributes.iter().find(|(name, _)| name == key).unwrap().1.clone();
        assert_eq!(value(&details.attributes, "a"), Value::String("äö".to_owned()));
        assert_eq!(value(&details.attributes, "b"), Value::Strings(vec!["ab".to_owned()]));
        assert_eq!(value(&details.events[0].attributes, "process.executable.path"), Value::String("/b".to_owned()));
        assert_eq!(value(&Span::from(&span).details().attributes, "a"), Value::String("äöü".to_owned()));
    }
}
