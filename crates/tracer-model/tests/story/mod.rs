//! Passes a history to the model, and checks the trace.
#![allow(dead_code, unreachable_pub, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tracer_model::{
    Accounts, Anchor, Captured, Errors, Event, ExitStatus, Hosts, Identity, Ktime, Losses, Settings, Span, SpanId,
    TraceId, Tracer, Value,
    calls::UnixConnectSpan,
    context::SpanContext,
    dns::{Answer, Message},
    event::{Change, Connection, ConnectionId, Direction, Flow, FlowId, Image, Strings, Transport},
    expression::{Attribute, Attributes},
    redact::Policy,
    semconv::{ATTRIBUTES, Description, describe},
    span::{ProcessSpan, Reply, Subject},
    tags::{Snapshot, Tagged},
};

pub const ROOT_SPAN: SpanId = SpanId([0xaa; 8]);
pub const CALLER_SPAN: SpanId = SpanId([0xcc; 8]);

/// The pid of the process that starts the root. It is not part of the trace.
pub const OUTSIDE: u32 = 1;

/// A model without events. Its clock is at the epoch.
pub fn tracer(attributes: &[&str]) -> Tracer {
    Tracer::new(settings(attributes))
}

pub fn settings(attributes: &[&str]) -> Settings {
    let attributes: Attributes = attributes.iter().map(|text| Attribute::compile(text).unwrap()).collect();
    Settings {
        trace_id: TraceId([0x11; 16]),
        trace_id_source: "random".to_owned(),
        root_span_id: ROOT_SPAN,
        root_parent_id: Some(CALLER_SPAN),
        root_name: "command".to_owned(),
        root_label: None,
        anchor: Anchor { ktime: Ktime(0), wall: SystemTime::UNIX_EPOCH },
        seed: [7; 32],
        attributes,
        arguments: Policy::default(),
        captured: Captured::default(),
        own_name: "process-tracer".to_owned(),
        accounts: Accounts {
            users: BTreeMap::from([(0, "root".into()), (1000, "someone".into())]),
            groups: BTreeMap::from([(5, "staff".into())]),
        },
        cpus: 2,
        hosts: Hosts::new("10.0.0.7 db.test".to_owned()),
        peer_names: tracer_model::PeerNames::default(),
        version: "1.2.3".to_owned(),
        errors: Errors::All,
        rules: tracer_model::judge::Rules::default(),
    }
}

/// A history. Each event takes 10 ns.
pub struct Story {
    tracer: Tracer,
    now: u64,
    starts: BTreeMap<u32, u64>,
    parents: BTreeMap<u32, Identity>,
    environment: Vec<String>,
    losses: Losses,
    /// The spans that came out before the end.
    early: Vec<Span>,
}

impl Story {
    /// Begins with the root: pid 2, `sh`.
    pub fn new() -> Self {
        Self::with_attributes(&[])
    }

    pub fn with_attributes(attributes: &[&str]) -> Self {
        Self::without_root(attributes).root(2).exec(2, "/bin/sh")
    }

    /// Only failures that can be the reason for the failure of their parent are errors.
    pub fn of_unhandled_errors() -> Self {
        let tracer = Tracer::new(Settings { errors: Errors::Unhandled, ..settings(&[]) });
        Self { tracer, ..Self::without_root(&[]) }.root(2).exec(2, "/bin/sh")
    }

    pub fn without_root(attributes: &[&str]) -> Self {
        Self::of(settings(attributes))
    }

    /// A history with these settings. It begins with no process.
    pub fn of(settings: Settings) -> Self {
        Self {
            tracer: Tracer::new(settings),
            now: 0,
            starts: BTreeMap::new(),
            parents: BTreeMap::new(),
            environment: Vec::new(),
            losses: Losses::default(),
            early: Vec::new(),
        }
    }

    fn tick(&mut self) -> Ktime {
        self.now += 10;
        Ktime(self.now)
    }

    pub fn identity(&self, pid: u32) -> Identity {
        Identity { tgid: pid, start: Ktime(self.starts.get(&pid).copied().unwrap_or(0)) }
    }

    fn parent(&self, pid: u32) -> Identity {
        self.parents.get(&pid).copied().unwrap_or(Identity { tgid: OUTSIDE, start: Ktime(0) })
    }

    /// The root if process-tracer is killed now.
    pub fn cut_off_root(mut self) -> Option<Span> {
        let at = self.tick();
        self.tracer.cut_off_root(at)
    }

    pub fn handle(mut self, event: Event) -> Self {
        self.tracer.handle(event);
        self
    }

    pub fn root(mut self, pid: u32) -> Self {
        let start = self.tick();
        self.starts.insert(pid, start.0);
        let event = Event::Fork { process: self.identity(pid), parent: self.parent(pid), is_root: true };
        self.handle(event)
    }

    pub fn fork(self, parent: u32, child: u32) -> Self {
        let story = self.lost_fork(parent, child);
        let event = Event::Fork { process: story.identity(child), parent: story.parent(child), is_root: false };
        story.handle(event)
    }

    /// The fork happens, but its event is lost.
    pub fn lost_fork(mut self, parent: u32, child: u32) -> Self {
        let start = self.tick();
        self.starts.insert(child, start.0);
        let parent = self.identity(parent);
        self.parents.insert(child, parent);
        self
    }

    /// From now on, `pid` has another parent, as after the death of its parent.
    pub fn reparented(mut self, pid: u32, parent: u32) -> Self {
        let parent = self.identity(parent);
        self.parents.insert(pid, parent);
        self
    }

    /// Sets the environment of later execs.
    pub fn environment(mut self, variables: &[&str]) -> Self {
        self.environment = variables.iter().map(|&variable| variable.to_owned()).collect();
        self
    }

    pub fn exec(self, pid: u32, file: &str) -> Self {
        self.exec_with(pid, file, &[file])
    }

    pub fn exec_with(self, pid: u32, file: &str, arguments: &[&str]) -> Self {
        let image = Image {
            file: file.to_owned(),
            executable: Some(format!("/mapped{file}")),
            directory: Some("/work".into()),
            arguments: arguments.iter().collect(),
            argument_count: arguments.len() as u32,
            ..Image::default()
        };
        self.exec_image(pid, image)
    }

    pub fn exec_image(mut self, pid: u32, image: Image) -> Self {
        let at = self.tick();
        let environment = Some(self.environment.iter().collect::<Strings>());
        let (process, parent) = (self.identity(pid), self.parent(pid));
        let context = environment.as_ref().and_then(SpanContext::of_environment);
        self.handle(Event::Exec { at, process, parent, image: Arc::new(image), environment, context })
    }

    /// The process ends. The user who traces is not allowed to see its exit status.
    pub fn exit_withheld(self, pid: u32) -> Self {
        self.end(pid, ExitStatus::Withheld)
    }

    pub fn exit(self, pid: u32, code: u8) -> Self {
        self.end(pid, ExitStatus::Code(code))
    }

    pub fn killed(self, pid: u32, signal: u8) -> Self {
        self.end(pid, ExitStatus::Signal { number: signal, core_dumped: signal == 11 })
    }

    fn end(mut self, pid: u32, status: ExitStatus) -> Self {
        let at = self.tick();
        let (process, parent) = (self.identity(pid), self.parent(pid));
        self.handle(Event::Exit { at, process, parent, status, is_oom_victim: false, usage: None })
    }

    /// The command of `tags:` prints these tags. Each has a pid, a key and a value.
    pub fn tags(mut self, tags: &[(u32, &str, &str)]) -> Self {
        let at = self.tick();
        let mut processes: Vec<Tagged> = Vec::new();
        for (pid, key, value) in tags {
            let pair = ((*key).to_owned(), (*value).to_owned());
            match processes.iter_mut().find(|process| process.pid == *pid) {
                Some(process) => process.tags.push(pair),
                None => processes.push(Tagged { pid: *pid, tags: vec![pair] }),
            }
        }
        self.tracer.tag(Snapshot { at, root_pid: 2, processes });
        self
    }

    pub fn connection(self, owner: u32, socket: u64, change: Change, connection: Connection) -> Self {
        let owner = self.identity(owner);
        self.connection_of(owner, socket, change, connection)
    }

    pub fn connection_of(mut self, owner: Identity, socket: u64, change: Change, connection: Connection) -> Self {
        let at = self.tick();
        let id = ConnectionId { socket, opened: Ktime(socket) };
        self.handle(Event::Connection { at, id, owner, change, connection })
    }

    /// A flow begins, or has new counts.
    pub fn flow(mut self, owner: u32, slot: u32, is_over: bool, flow: Flow) -> Self {
        let (at, owner) = (self.tick(), self.identity(owner));
        self.handle(Event::Flow { at, id: FlowId { slot, generation: 0 }, owner, is_over, flow })
    }

    pub fn fail_to_exec(mut self, pid: u32, file: &str, error: i32) -> Self {
        let at = self.tick();
        let (process, parent) = (self.identity(pid), self.parent(pid));
        self.handle(Event::FailedExec { at, process, parent, file: file.to_owned(), error })
    }

    pub fn unix_connect(mut self, pid: u32, path: &str, error: Option<i32>) -> Self {
        let at = self.tick();
        let (process, parent) = (self.identity(pid), self.parent(pid));
        self.handle(Event::Call { at, process, parent, call: UnixConnectSpan { path: path.to_owned(), error }.into() })
    }

    /// A process asks for the address of a name, or gets an answer.
    pub fn dns(mut self, pid: u32, id: u16, name: &str, answer: Option<&str>) -> Self {
        let at = self.tick();
        let asker = self.identity(pid);
        self.handle(dns(at, asker, id, name, answer))
    }

    /// A process gets an answer that cannot be read.
    pub fn unread_answer(mut self, pid: u32) -> Self {
        let Event::Dns { at, asker, transport, local, server, .. } = dns(self.tick(), self.identity(pid), 0, "", None)
        else {
            unreachable!()
        };
        self.handle(Event::Dns { at, asker, transport, local, server, message: None })
    }

    /// Time passes without an event. Returns the names of the spans that come out.
    pub fn wait(mut self, seconds: u64) -> (Self, Vec<String>) {
        self.now += seconds * 1_000_000_000;
        self.tracer.settle(Ktime(self.now));
        let spans: Vec<_> = std::iter::from_fn(|| self.tracer.poll_span()).collect();
        let names = spans.iter().map(|span| span.name().into_owned()).collect();
        self.early.extend(spans);
        (self, names)
    }

    pub fn losses(mut self, losses: Losses) -> Self {
        self.losses = losses;
        self
    }

    /// Ends the trace.
    pub fn finish(mut self) -> Trace {
        let at = self.tick();
        self.tracer.finish(at, self.losses);
        let late = std::iter::from_fn(|| self.tracer.poll_span());
        let trace = Trace { spans: self.early.into_iter().chain(late).collect(), end: at.0 };
        trace.spans.iter().for_each(assert_documented);
        trace
    }

    pub fn expect_tree(self, expected: &str) {
        assert_eq!(self.finish().tree(), expected);
    }
}

/// Checks that all attributes except the user's own are in the table of attributes, with the same types.
fn assert_documented(span: &Span) {
    let user = &span.attributes;
    let description = describe(span);
    let of_events = description.events.iter().flat_map(|event| &event.attributes);
    for (key, value) in description.attributes.iter().chain(of_events) {
        if user.iter().any(|(name, _)| name == key) {
            continue;
        }
        let attribute = ATTRIBUTES.iter().find(|attribute| attribute.key == key).unwrap_or_else(|| panic!("{key}"));
        let kind = match value {
            Value::Bool(_) => "boolean",
            Value::Int(_) => "int",
            Value::Float(_) => "double",
            Value::String(_) => "string",
            Value::Strings(_) => "string[]",
            other => panic!("{key} is {other:?}"),
        };
        assert_eq!(attribute.kind, kind, "{key}");
    }
}

pub fn dns(at: Ktime, asker: Identity, id: u16, name: &str, answer: Option<&str>) -> Event {
    let answer = answer.map(|address| Answer {
        code: "NOERROR".to_owned(),
        addresses: vec![address.parse().unwrap()],
        ..Answer::default()
    });
    Event::Dns {
        at,
        asker,
        transport: Transport::Udp,
        local: "10.0.0.1:5353".parse().unwrap(),
        server: "10.0.0.2:53".parse().unwrap(),
        message: Some(Message { id, name: name.to_owned(), kind: "A".to_owned(), answer }),
    }
}

pub fn connect(peer: &str) -> Connection {
    Connection {
        direction: Direction::Connect,
        local: "10.0.0.1:40000".parse().unwrap(),
        peer: peer.parse().unwrap(),
        network_namespace: 1,
        bytes_sent: 1,
        bytes_received: 2,
        network_inode: 0,
        packets_sent: 6,
        packets_received: 5,
        retransmits: 3,
        syn_retransmits: 0,
        round_trip_us: 4,
        round_trip_variance_us: 2,
        closed_by: None,
        error: None,
    }
}

pub fn accept(local: &str) -> Connection {
    let peer: SocketAddr = "10.0.0.2:50000".parse().unwrap();
    Connection { direction: Direction::Accept, local: local.parse().unwrap(), peer, ..connect("10.0.0.2:50000") }
}

/// A flow with one datagram of ten bytes sent, and two of a hundred bytes received.
pub fn flow(opened: u64, local: &str, peer: &str) -> Flow {
    Flow {
        opened: Ktime(opened),
        local: local.parse().unwrap(),
        peer: peer.parse().unwrap(),
        network_namespace: 1,
        datagrams_sent: 1,
        datagrams_received: 2,
        bytes_sent: 10,
        bytes_received: 200,
    }
}

/// A finished trace.
#[derive(Debug)]
pub struct Trace {
    pub spans: Vec<Span>,
    /// Time at which it was finished.
    pub end: u64,
}

impl Trace {
    /// The tree as text. Children are in the order of their starts.
    pub fn tree(&self) -> String {
        let root = self.spans.last().expect("a root span");
        let mut text = String::new();
        self.write_tree(root, "", "", &mut text);
        text.trim_end().to_owned()
    }

    fn write_tree(&self, span: &Span, first: &str, rest: &str, text: &mut String) {
        let _ = write!(text, "{first}{}", span.name());
        match &span.subject {
            Subject::Process(process) => match process.exit {
                Some(ExitStatus::Code(code)) => write!(text, " exit={code}").unwrap(),
                Some(ExitStatus::Signal { number, .. }) => write!(text, " signal={number}").unwrap(),
                Some(ExitStatus::Withheld) => text.push_str(" withheld"),
                None => {}
            },
            Subject::Connection(connection) => {
                if let Some(errno) = connection.connection.error {
                    write!(text, " errno={errno}").unwrap();
                }
            }
            Subject::Flow(span) => {
                write!(text, " {}:{}", span.flow.datagrams_sent, span.flow.datagrams_received).unwrap();
            }
            Subject::Call(call) => {
                if let Some(errno) = call.errno() {
                    write!(text, " errno={errno}").unwrap();
                }
            }
            Subject::Lookup(lookup) => {
                if let Reply::Answer(answer) = &lookup.reply {
                    write!(text, " {}", answer.code).unwrap();
                }
            }
        }
        text.push_str(if span.is_unfinished { " unfinished" } else { "" });
        text.push_str(if span.is_repaired { " repaired" } else { "" });
        text.push('\n');
        let mut children: Vec<_> = self.spans.iter().filter(|child| child.parent_id == Some(span.span_id)).collect();
        children.sort_by_key(|child| child.start);
        for (index, child) in children.iter().enumerate() {
            let (branch, pass) = if index + 1 == children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.write_tree(child, &format!("{rest}{branch}"), &format!("{rest}{pass}"), text);
        }
    }

    pub fn span(&self, name: &str) -> &Span {
        let found: Vec<_> = self.spans.iter().filter(|span| span.name() == name).collect();
        assert_eq!(found.len(), 1, "{name} in {self:#?}");
        found[0]
    }

    pub fn process(&self, name: &str) -> &ProcessSpan {
        match &self.span(name).subject {
            Subject::Process(process) => process,
            _ => panic!("{name} is no process"),
        }
    }

    pub fn root(&self) -> &ProcessSpan {
        match &self.spans.last().unwrap().subject {
            Subject::Process(process) => process,
            _ => panic!("the last span is no process"),
        }
    }

    pub fn describe(&self, name: &str) -> Description {
        describe(self.span(name))
    }

    /// An attribute of the span with that name.
    pub fn attribute(&self, name: &str, key: &str) -> Option<Value> {
        self.describe(name).attributes.into_iter().find(|(found, _)| found == key).map(|(_, value)| value)
    }
}

/// Nanoseconds since the epoch.
pub fn ns(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as u64
}

pub fn string(text: &str) -> Option<Value> {
    Some(Value::String(text.to_owned()))
}
