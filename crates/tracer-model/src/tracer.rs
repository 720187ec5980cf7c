//! The state machine: events in, spans out.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use hashbrown::HashMap;

use crate::{
    connection::{Ends, LiveConnection, Pairs},
    context::SpanContext,
    event::{
        Change, Connection, ConnectionId, Direction, Event, Flow, FlowId, Identity, Image, Losses, Names, Namespaces,
        Strings, Usage, Visibility,
    },
    expression::{Attributes, Failure},
    flow::LiveFlow,
    hosts::Hosts,
    id::{IdGenerator, SpanId, TraceId},
    lookup::{Lookups, Over},
    process::{Death, Process},
    recent::Recent,
    redact::Policy,
    span::{Certificate, ConnectionSpan, FlowSpan, Gap, ProcessSpan, Span, Subject, UnixConnectSpan},
    time::{Anchor, Ktime},
};

/// Names by user and group id.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Accounts {
    pub users: BTreeMap<u32, Arc<str>>,
    pub groups: BTreeMap<u32, Arc<str>>,
}

/// What a trace is made with.
#[derive(Debug)]
pub struct Settings {
    /// The trace's id.
    pub trace_id: TraceId,
    /// The root span's id, known before the command starts, so that it can be passed on to it.
    pub root_span_id: SpanId,
    /// The span that the root hangs under.
    pub root_parent_id: Option<SpanId>,
    /// The root's name where it never ran anything.
    pub root_name: String,
    /// How the kernel's clock becomes wall time.
    pub anchor: Anchor,
    /// Where the span ids come from.
    pub seed: [u8; 32],
    /// The user's attributes.
    pub attributes: Attributes,
    /// What is exported of arguments.
    pub arguments: Policy,
    /// What users and groups are called.
    pub accounts: Accounts,
    /// Processors that the command may use at once.
    pub cpus: u32,
    /// What addresses are called.
    pub hosts: Hosts,
    /// The tracer's version, for the root span.
    pub version: String,
}

/// Gaps that are told one by one.
const GAPS: usize = 100;

/// Ended subjects that are remembered, of each kind, so that a late event does not bring one back to life. Events are late by
/// microseconds, so this is generous.
const ENDED: usize = 4096;

/// Turns what the kernel reports into spans.
///
/// Feed it with [`handle`](Self::handle), take spans with [`poll_span`](Self::poll_span), end it with
/// [`finish`](Self::finish), and take the rest.
#[derive(Debug)]
pub struct Tracer {
    settings: Settings,
    ids: IdGenerator,
    root: Option<Identity>,
    processes: HashMap<Identity, Process>,
    /// The latest incarnation of each live pid, to notice when one is reused.
    incarnations: HashMap<u32, Identity>,
    connections: HashMap<ConnectionId, LiveConnection>,
    /// Of those that are established.
    connection_pairs: Pairs<ConnectionId>,
    flows: HashMap<FlowId, LiveFlow>,
    flow_pairs: Pairs<FlowId>,
    ended_processes: Recent<Identity, SpanId>,
    ended_connections: Recent<ConnectionId, ()>,
    ended_flows: Recent<FlowId, ()>,
    spans: VecDeque<Span>,
    process_count: u64,
    connection_count: u64,
    flow_count: u64,
    unix_connect_count: u64,
    lookups: Lookups,
    lookup_count: u64,
    truncated: u64,
    gaps: Vec<Gap>,
    tree: Option<Box<Usage>>,
    root_cgroup: Option<Arc<str>>,
    root_namespaces: Option<Namespaces>,
    certificate: Option<Certificate>,
    is_finished: bool,
}

impl Tracer {
    /// A model that knows of no process yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            ids: IdGenerator::new(settings.seed),
            settings,
            root: None,
            processes: HashMap::new(),
            incarnations: HashMap::new(),
            connections: HashMap::new(),
            connection_pairs: Pairs::new(),
            flows: HashMap::new(),
            flow_pairs: Pairs::new(),
            ended_processes: Recent::new(ENDED),
            ended_connections: Recent::new(ENDED),
            ended_flows: Recent::new(ENDED),
            spans: VecDeque::new(),
            process_count: 0,
            connection_count: 0,
            flow_count: 0,
            unix_connect_count: 0,
            lookups: Lookups::new(),
            lookup_count: 0,
            truncated: 0,
            certificate: None,
            gaps: Vec::new(),
            tree: None,
            root_cgroup: None,
            root_namespaces: None,
            is_finished: false,
        }
    }

    /// Takes in one event. After [`finish`](Self::finish) events are ignored.
    pub fn handle(&mut self, event: Event) {
        if self.is_finished {
            return;
        }
        match event {
            Event::Fork { process, parent, is_root } => self.fork(process, parent, is_root),
            Event::Exec { at, process, parent, image, environment, context } => {
                self.exec(at, process, parent, image, environment.as_ref(), context);
            }
            Event::FailedExec { at, process, parent, file, error } => {
                if self.ensure(process, parent)
                    && let Some(process) = self.processes.get_mut(&process)
                {
                    process.fail_to_exec(at, &self.settings.anchor, file, error);
                }
            }
            Event::UnixConnect { at, process, parent, path, error } => {
                self.ensure(process, parent);
                self.unix_connect(at, process, UnixConnectSpan { path, error });
            }
            Event::Exit { at, process, parent, status, is_oom_victim, usage } => {
                self.exit(at, process, parent, Death { status, is_oom_victim, usage });
            }
            Event::Dns { at, asker, transport, local, server, message } => {
                if let Some(over) = self.lookups.handle(at, asker, transport, local, server, message) {
                    self.end_lookup(over);
                }
            }
            Event::Connection { at, id, owner, change, connection } => {
                self.connection(at, id, owner, change, connection);
            }
            Event::Flow { at, id, owner, is_over, flow } => self.flow(at, id, owner, is_over, flow),
        }
    }

    /// Gets ready for the first event.
    pub fn prepare(&self) {
        self.settings.arguments.prepare();
    }

    /// The next finished span. The root span is the last of all.
    pub fn poll_span(&mut self) -> Option<Span> {
        self.spans.pop_front()
    }

    /// What runs at this moment, as unfinished spans; they will come again when they have ended. Of the root it says nothing
    /// more than of the others.
    pub fn running(&self, at: Ktime) -> impl Iterator<Item = Span> {
        let alive = self.processes.iter().filter(|(_, process)| process.ended.is_none());
        alive.map(move |(identity, process)| self.process_span(identity.tgid, process.clone(), at, None, None))
    }

    /// Processes alive now, as far as events tell.
    #[must_use]
    pub fn live_processes(&self) -> usize {
        self.processes.len()
    }

    /// User attributes whose expressions failed.
    pub fn failures(&self) -> impl Iterator<Item = Failure<'_>> {
        self.settings.attributes.failures()
    }

    /// What the trace is worth, once it is finished.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// What the command and its descendants have used together.
    pub fn set_tree_usage(&mut self, usage: Usage) {
        self.tree = Some(Box::new(usage));
    }

    /// Takes note that records were lost to a full ring buffer since the last time.
    pub fn lose(&mut self, at: Ktime, records: u64) {
        let at = self.settings.anchor.wall_time(at);
        let is_full = self.gaps.len() >= GAPS;
        match self.gaps.last_mut() {
            Some(last) if is_full => last.records += records,
            _ => self.gaps.push(Gap { at, records }),
        }
    }

    /// Ends the trace: what is still alive becomes an unfinished span that ends now, and the root span certifies what
    /// the trace is worth.
    pub fn finish(&mut self, at: Ktime, losses: Losses) {
        if self.is_finished {
            return;
        }
        self.is_finished = true;
        let mut connections: Vec<_> = self.connections.drain().collect();
        connections.sort_by_key(|(id, _)| *id);
        for (_, mut connection) in connections {
            // It may be closed, and that be among what was lost.
            connection.is_repaired |= losses.connections + losses.missed > 0;
            self.end_connection(connection, at, true);
        }
        let mut flows: Vec<_> = self.flows.drain().collect();
        flows.sort_by_key(|(id, _)| *id);
        for (_, mut flow) in flows {
            // Its owner may be dead, and that be among what was lost.
            flow.is_repaired |= losses.exits > 0;
            self.end_flow(flow, true);
        }
        for over in self.lookups.finish() {
            self.end_lookup(over);
        }
        for process in self.processes.values_mut() {
            // It may be dead, and its exit among what was lost.
            process.is_repaired |= losses.exits > 0 && process.ended.is_none();
        }
        let root = self.root.and_then(|identity| Some((identity, self.processes.remove(&identity)?)));
        let mut processes: Vec<_> = self.processes.drain().collect();
        processes.sort_by_key(|(identity, _)| *identity);
        for (identity, process) in processes {
            self.end_process(identity, process, at, None, true);
        }
        self.end_root(root, at, losses);
    }

    fn fork(&mut self, identity: Identity, parent: Identity, is_root: bool) {
        let is_ended = self.ended_processes.get(&identity).is_some();
        if is_ended || self.processes.get(&identity).is_some_and(|known| known.is_forked) {
            return;
        }
        let inherited = self.processes.get(&parent).map(Process::inheritance);
        let (parent_id, is_known) = self.parent_span(identity, parent);
        if is_root && self.root.is_none() {
            self.root = Some(identity);
        }
        let is_the_root = self.root == Some(identity);
        if !self.processes.contains_key(&identity) {
            let span_id = if is_the_root { self.settings.root_span_id } else { self.ids.span_id() };
            self.insert(identity, Process::new(identity, span_id, self.settings.root_parent_id));
        }
        let Some(process) = self.processes.get_mut(&identity) else { return };
        process.is_forked = true;
        process.parent_tgid = parent.tgid;
        if is_the_root {
            process.is_repaired = !is_root;
        } else {
            process.parent_id = Some(parent_id);
            process.is_repaired = !is_known;
            if let Some(inherited) = inherited {
                process.inherit(inherited);
            }
        }
    }

    fn exec(
        &mut self,
        at: Ktime,
        identity: Identity,
        parent: Identity,
        image: Arc<Image>,
        environment: Option<&Strings>,
        context: Option<SpanContext>,
    ) {
        if !self.ensure(identity, parent) {
            return;
        }
        let (exported, is_redacted) = self.settings.arguments.apply(&image.arguments);
        let mut image = match exported {
            Some(arguments) => Arc::new(Image { arguments, is_redacted, ..Arc::unwrap_or_clone(image) }),
            None => image,
        };
        let is_truncated = image.arguments.is_truncated() || environment.is_some_and(Strings::is_truncated);
        let attributes = self.settings.attributes.evaluate(&image.arguments, environment);
        self.place(&mut image);
        if image.cgroup.is_none() {
            if self.root_cgroup.is_some() && image.visibility != Visibility::Ids {
                Arc::make_mut(&mut image).cgroup.clone_from(&self.root_cgroup);
            }
        } else if self.root == Some(identity) {
            self.root_cgroup.clone_from(&image.cgroup);
        }
        let Some(process) = self.processes.get_mut(&identity) else { return };
        if process.exec(at, &self.settings.anchor, image) {
            process.attributes = attributes.into();
            process.context = context.or(process.context);
            self.truncated += u64::from(is_truncated);
        }
    }

    /// Compares an image's namespaces with the root's, and names its users and groups where these names hold: in other
    /// mount namespaces there are others.
    fn place(&mut self, image: &mut Arc<Image>) {
        // What is unknown is neither the same nor another one.
        if image.visibility != Visibility::All {
            return;
        }
        let root = *self.root_namespaces.get_or_insert(image.namespaces);
        let image = Arc::make_mut(image);
        let other = |own: u32, root: u32| if own == root { 0 } else { own };
        let own = image.namespaces;
        image.namespaces = Namespaces {
            mount: other(own.mount, root.mount),
            pid: other(own.pid, root.pid),
            network: other(own.network, root.network),
            user: other(own.user, root.user),
        };
        if image.namespaces.mount == 0 {
            let Accounts { users, groups } = &self.settings.accounts;
            image.names = Names {
                user: users.get(&image.user_id).cloned(),
                real_user: users.get(&image.real_user_id).cloned(),
                group: groups.get(&image.group_id).cloned(),
                real_group: groups.get(&image.real_group_id).cloned(),
            };
        }
    }

    fn exit(&mut self, at: Ktime, identity: Identity, parent: Identity, death: Death) {
        if !self.ensure(identity, parent) {
            return;
        }
        for over in self.lookups.forget(identity) {
            self.end_lookup(over);
        }
        if self.root == Some(identity) {
            // Its span certifies the whole trace, so it comes last.
            if let Some(root) = self.processes.get_mut(&identity) {
                root.ended = Some((at, death));
            }
        } else if let Some(process) = self.processes.remove(&identity) {
            self.end_process(identity, process, at, Some(death), false);
        }
    }

    fn connection(&mut self, at: Ktime, id: ConnectionId, owner: Identity, change: Change, latest: Connection) {
        if self.ended_connections.get(&id).is_some() {
            return;
        }
        let (owner_id, is_known) = self.span_of(owner);
        let is_new = !self.connections.contains_key(&id);
        let host = if is_new { self.host_of(owner, latest.peer.ip()) } else { None };
        let ids = &mut self.ids;
        let connection = self
            .connections
            .entry(id)
            .or_insert_with(|| LiveConnection::new(id, at, change, ids.span_id(), owner_id, latest));
        // An owner that is dead and forgotten is still the one it was.
        if is_known {
            connection.owner_id = owner_id;
        } else if is_new {
            connection.is_repaired = true;
        }
        if is_new && latest.direction == Direction::Connect {
            connection.host = host;
        }
        connection.update(latest);
        let ends = connection.ends();
        match change {
            Change::Opened | Change::Owned => {}
            Change::Established => {
                connection.established = Some(at);
                self.join_ends(id, ends);
            }
            Change::Closed => {
                self.connection_pairs.leave(ends, id);
                if let Some(connection) = self.connections.remove(&id) {
                    self.ended_connections.insert(id, ());
                    self.end_connection(connection, at, false);
                }
            }
        }
    }

    /// The name by which a process has found an address: of a name server, else of the hosts file, if it was given that name.
    fn host_of(&self, process: Identity, address: IpAddr) -> Option<Arc<str>> {
        self.lookups.name_of(process, address).or_else(|| {
            // In other mount namespaces there is another file.
            let process = self.processes.get(&process)?;
            let image = process
                .image
                .as_ref()
                .filter(|image| image.namespaces.mount == 0 && image.visibility == Visibility::All)?;
            self.settings.hosts.name_in(address, &image.arguments, &process.named_hosts)
        })
    }

    /// A connection between two processes of the tree has two spans, which name each other.
    fn join_ends(&mut self, id: ConnectionId, ends: Ends) {
        let Some(other) = self.connection_pairs.join(ends, id) else { return };
        let span_id = |id| self.connections.get(&id).map(|connection| connection.span_id);
        let (own_id, other_id) = (span_id(id), span_id(other));
        for (id, other_end) in [(id, other_id), (other, own_id)] {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.other_end = other_end;
            }
        }
    }

    fn flow(&mut self, at: Ktime, id: FlowId, owner: Identity, is_over: bool, latest: Flow) {
        if self.ended_flows.get(&id).is_some() {
            return;
        }
        if let Some(flow) = self.flows.get_mut(&id) {
            (flow.last, flow.latest) = (at, latest);
        } else {
            let (owner_id, is_known) = self.span_of(owner);
            let (span_id, host) = (self.ids.span_id(), self.host_of(owner, latest.peer.ip()));
            let is_repaired = !is_known;
            let flow = LiveFlow { span_id, owner_id, other_end: None, host, last: at, is_repaired, latest };
            let other = self.flow_pairs.join(flow.ends(), id).and_then(|other| self.flows.get_mut(&other));
            let other_end = other.map(|other| {
                other.other_end = Some(span_id);
                other.span_id
            });
            self.flows.insert(id, LiveFlow { other_end, ..flow });
        }
        if is_over && let Some(flow) = self.flows.remove(&id) {
            self.flow_pairs.leave(flow.ends(), id);
            self.ended_flows.insert(id, ());
            self.end_flow(flow, false);
        }
    }

    /// Makes sure of a live process of that identity. One not heard of before is put in its place as well as possible:
    /// its fork was lost. `false` if it has ended: the event is late, or was told twice.
    fn ensure(&mut self, identity: Identity, parent: Identity) -> bool {
        if let Some(known) = self.processes.get(&identity) {
            return known.ended.is_none();
        }
        if self.ended_processes.get(&identity).is_some() {
            return false;
        }
        let mut process = if self.root.is_none() {
            // The root is the first to be heard of, whatever became of its fork.
            self.root = Some(identity);
            Process::new(identity, self.settings.root_span_id, self.settings.root_parent_id)
        } else {
            Process::new(identity, self.ids.span_id(), Some(self.parent_span(identity, parent).0))
        };
        process.is_repaired = true;
        process.parent_tgid = parent.tgid;
        self.insert(identity, process);
        true
    }

    fn insert(&mut self, identity: Identity, process: Process) {
        match self.incarnations.get(&identity.tgid).copied() {
            // The pid is in use again, so its former holder is dead, and its exit was lost.
            Some(former) if former.start < identity.start => {
                self.incarnations.insert(identity.tgid, identity);
                if self.root != Some(former)
                    && let Some(mut dead) = self.processes.remove(&former)
                {
                    dead.is_repaired = true;
                    self.end_process(former, dead, identity.start, None, false);
                }
            }
            Some(_) => {}
            None => {
                self.incarnations.insert(identity.tgid, identity);
            }
        }
        self.processes.insert(identity, process);
    }

    /// The span of a process's parent. Nobody is the child of a younger process: whatever events say, the tree has no
    /// cycle.
    fn parent_span(&self, child: Identity, parent: Identity) -> (SpanId, bool) {
        if parent.start < child.start { self.span_of(parent) } else { (self.settings.root_span_id, false) }
    }

    /// The span of a process; the root's, and `false`, where it is not known.
    fn span_of(&self, identity: Identity) -> (SpanId, bool) {
        let live = self.processes.get(&identity).map(|process| process.span_id);
        match live.or_else(|| self.ended_processes.get(&identity).copied()) {
            Some(span_id) => (span_id, true),
            None => (self.settings.root_span_id, false),
        }
    }

    fn end_process(
        &mut self,
        identity: Identity,
        process: Process,
        at: Ktime,
        death: Option<Death>,
        is_unfinished: bool,
    ) {
        self.ended_processes.insert(identity, process.span_id);
        if self.incarnations.get(&identity.tgid) == Some(&identity) {
            self.incarnations.remove(&identity.tgid);
        }
        self.process_count += 1;
        let mut span = self.process_span(identity.tgid, process, at, death, None);
        span.is_unfinished = is_unfinished;
        self.spans.push_back(span);
    }

    fn end_connection(&mut self, connection: LiveConnection, at: Ktime, is_unfinished: bool) {
        self.connection_count += 1;
        let anchor = self.settings.anchor;
        let established = connection.established.map(|at| anchor.wall_time(at.max(connection.start)));
        self.spans.push_back(Span {
            trace_id: self.settings.trace_id,
            span_id: connection.span_id,
            parent_id: Some(connection.owner_id),
            links: connection
                .other_end
                .map(|span_id| SpanContext { trace_id: self.settings.trace_id, span_id })
                .into_iter()
                .collect(),
            start: anchor.wall_time(connection.start),
            end: anchor.wall_time(at.max(connection.start)),
            is_unfinished,
            is_repaired: connection.is_repaired,
            subject: Subject::Connection(Box::new(ConnectionSpan {
                connection: connection.latest,
                established,
                host: connection.host,
            })),
        });
    }

    fn end_flow(&mut self, flow: LiveFlow, is_unfinished: bool) {
        self.flow_count += 1;
        let trace_id = self.settings.trace_id;
        let anchor = self.settings.anchor;
        self.spans.push_back(Span {
            trace_id,
            span_id: flow.span_id,
            parent_id: Some(flow.owner_id),
            links: flow.other_end.map(|span_id| SpanContext { trace_id, span_id }).into_iter().collect(),
            start: anchor.wall_time(flow.latest.opened),
            end: anchor.wall_time(flow.last.max(flow.latest.opened)),
            is_unfinished,
            is_repaired: flow.is_repaired,
            subject: Subject::Flow(Box::new(FlowSpan { flow: flow.latest, host: flow.host })),
        });
    }

    fn unix_connect(&mut self, at: Ktime, process: Identity, connect: UnixConnectSpan) {
        self.unix_connect_count += 1;
        let (parent_id, is_known) = self.span_of(process);
        let at = self.settings.anchor.wall_time(at);
        self.spans.push_back(Span {
            trace_id: self.settings.trace_id,
            span_id: self.ids.span_id(),
            parent_id: Some(parent_id),
            links: Vec::new(),
            start: at,
            end: at,
            is_unfinished: false,
            is_repaired: !is_known,
            subject: Subject::UnixConnect(Box::new(connect)),
        });
    }

    fn end_lookup(&mut self, over: Over) {
        self.lookup_count += 1;
        let anchor = self.settings.anchor;
        let (parent_id, is_known) = self.span_of(over.asker);
        self.spans.push_back(Span {
            trace_id: self.settings.trace_id,
            span_id: self.ids.span_id(),
            parent_id: Some(parent_id),
            links: Vec::new(),
            start: anchor.wall_time(over.start),
            end: anchor.wall_time(over.end.max(over.start)),
            is_unfinished: false,
            is_repaired: !is_known,
            subject: Subject::Lookup(Box::new(over.span)),
        });
    }

    fn end_root(&mut self, root: Option<(Identity, Process)>, at: Ktime, losses: Losses) {
        self.process_count += 1;
        let failed_expressions = self.failures().map(|failure| failure.count).sum();
        let certificate = Certificate {
            is_complete: losses.is_none() && self.truncated == 0 && root.is_some(),
            processes: self.process_count,
            connections: self.connection_count,
            flows: self.flow_count,
            unix_connects: self.unix_connect_count,
            lookups: self.lookup_count,
            truncated: self.truncated,
            failed_expressions,
            losses,
            gaps: std::mem::take(&mut self.gaps),
            tree: self.tree.take(),
            cpus: self.settings.cpus,
            version: self.settings.version.clone(),
        };
        self.certificate = Some(certificate.clone());
        let (identity, mut process) = root.unwrap_or_else(|| {
            // Every parent exists, so there is a root even if nothing was ever heard of it.
            let identity = Identity { tgid: 0, start: at };
            let mut process = Process::new(identity, self.settings.root_span_id, self.settings.root_parent_id);
            process.is_repaired = true;
            (identity, process)
        });
        let image = process.image.get_or_insert_default();
        if image.name().is_empty() {
            Arc::make_mut(image).file.clone_from(&self.settings.root_name);
        }
        let (end, exit) = match process.ended.take() {
            Some((end, death)) => (end, Some(death)),
            None => (at, None),
        };
        let span = self.process_span(identity.tgid, process, end, exit, Some(certificate));
        self.spans.push_back(span);
    }

    fn process_span(
        &self,
        tgid: u32,
        process: Process,
        end: Ktime,
        death: Option<Death>,
        certificate: Option<Certificate>,
    ) -> Span {
        let anchor = &self.settings.anchor;
        // The root was put where it is by whoever called us, and names itself in its environment.
        let adopted_by = process.adopted_by().filter(|_| process.span_id != self.settings.root_span_id);
        let (parent_id, links) = match adopted_by {
            Some(context) if context.trace_id == self.settings.trace_id => {
                let forked_by = process.parent_id.map(|span_id| SpanContext { span_id, ..context });
                (Some(context.span_id), forked_by.into_iter().collect())
            }
            Some(context) => (process.parent_id, vec![context]),
            None => (process.parent_id, Vec::new()),
        };
        Span {
            trace_id: self.settings.trace_id,
            span_id: process.span_id,
            parent_id,
            links,
            start: anchor.wall_time(process.start),
            end: anchor.wall_time(end.max(process.start)),
            is_unfinished: death.is_none(),
            is_repaired: process.is_repaired,
            subject: Subject::Process(Box::new(ProcessSpan { certificate, ..process.into_span(tgid, death) })),
        }
    }
}
