//! The state machine: events in, spans out. It passes each event to its subject, and ends the trace.

use std::{net::IpAddr, sync::Arc};

use crate::{
    audit::Audit,
    captured::Captured,
    connections::Connections,
    emit::{Choice, Emitter},
    event::{Connection, Event, Identity, Usage},
    expression::{Attributes, Failure},
    flows::Flows,
    folding::Folding,
    hosts::Hosts,
    id::{SpanId, TraceId},
    image::{Accounts, Images},
    judge::Rules,
    lookups::{Lookup, Lookups},
    losses::Losses,
    owner::Owner,
    peer_names::PeerNames,
    process::Death,
    processes::Processes,
    redact::Policy,
    source::Description,
    span::{Certificate, OwnerProcess, Shortage, Span},
    tags::Snapshot,
    time::{Anchor, Ktime},
    verdict::Errors,
};

/// The settings of a trace.
#[derive(Debug)]
pub struct Settings {
    /// The trace's id.
    pub trace_id: TraceId,
    /// Where the id came from, in words.
    pub trace_id_source: String,
    /// The id of the root span. It is known before the command starts, so that the command can get it.
    pub root_span_id: SpanId,
    /// The parent of the root span.
    pub root_parent_id: Option<SpanId>,
    /// The name of the root if no event has its name.
    pub root_name: String,
    /// A name for the root. It replaces the name of the first program.
    pub root_label: Option<String>,
    /// One moment on the kernel's clock and on the wall clock.
    pub anchor: Anchor,
    /// The seed of the span ids.
    pub seed: [u8; 32],
    /// The user's attributes.
    pub attributes: Attributes,
    /// Which arguments are exported.
    pub arguments: Policy,
    /// The kinds of spans that the trace has.
    pub captured: Captured,
    /// The file name of this program. A process that executes this file is another process-tracer. It names its own root
    /// in the environment of its command, but that span is not in this trace.
    pub own_name: String,
    /// Names of users and groups.
    pub accounts: Accounts,
    /// Processors that the command may use at once.
    pub cpus: u32,
    /// Names of addresses.
    pub hosts: Hosts,
    /// The user's names for the services behind hosts.
    pub peer_names: PeerNames,
    /// The tracer's version, for the root span.
    pub version: String,
    /// Which failed spans are errors.
    pub errors: Errors,
    /// The user's rules.
    pub rules: Rules,
}

/// Turns the events of a source into spans.
///
/// Pass events to [`handle`](Self::handle) and take spans from [`poll_span`](Self::poll_span). At the end call
/// [`finish`](Self::finish), and take the remaining spans.
#[derive(Debug)]
pub struct Tracer {
    emitter: Emitter,
    processes: Processes,
    images: Images,
    connections: Connections,
    flows: Flows,
    lookups: Lookups,
    hosts: Hosts,
    audit: Audit,
    /// Once the trace is finished.
    certificate: Option<Certificate>,
}

impl Tracer {
    /// A model that knows no process yet.
    #[must_use]
    pub fn new(mut settings: Settings) -> Self {
        let screen = settings.rules.screen.take();
        let Rules { judge, min_duration, .. } = &settings.rules;
        let leaves_out = !min_duration.is_zero() || judge.as_ref().is_some_and(|judge| judge.may_drop());
        let folding =
            (leaves_out && settings.captured.processes).then(|| Folding::new(settings.root_span_id, *min_duration));
        Self {
            emitter: Emitter::new(
                settings.trace_id,
                settings.anchor,
                settings.seed,
                Choice {
                    errors: settings.errors,
                    peer_names: settings.peer_names,
                    has_processes: settings.captured.processes,
                    folding,
                    screen,
                },
            ),
            processes: Processes::new(
                settings.root_span_id,
                settings.root_parent_id,
                settings.root_name,
                settings.root_label,
                settings.own_name,
                settings.captured.processes,
                settings.rules,
            ),
            images: Images::new(settings.attributes, settings.arguments, settings.accounts),
            connections: Connections::new(),
            flows: Flows::new(),
            lookups: Lookups::new(),
            hosts: settings.hosts,
            audit: Audit::new(settings.cpus, settings.version, settings.trace_id_source, settings.captured),
            certificate: None,
        }
    }

    /// Takes an event. After [`finish`](Self::finish), events are ignored.
    pub fn handle(&mut self, event: Event) {
        if self.certificate.is_some() {
            return;
        }
        let emitter = &mut self.emitter;
        match event {
            Event::Fork { process, parent, is_root } => self.processes.fork(emitter, process, parent, is_root),
            Event::Exec { at, process, parent, mut image, environment, context } => {
                if self.processes.ensure(emitter, process, parent) {
                    self.processes.follow_script(process, &mut image);
                    let is_root = self.processes.is_root(process);
                    let executed =
                        self.images.complete(emitter.anchor.wall_time(at), image, environment.as_ref(), is_root);
                    let cut = executed.cut;
                    if self.processes.exec(emitter, at, process, executed, environment.as_ref(), context) {
                        self.audit.count_cut(cut);
                    }
                }
            }
            Event::FailedExec { at, process, parent, file, error } => {
                if self.processes.ensure(emitter, process, parent) {
                    self.processes.fail_to_exec(emitter, at, process, file, error);
                }
            }
            Event::Call { at, process, parent, call } => {
                self.processes.ensure(emitter, process, parent);
                let owner = self.owner(process, None);
                self.emitter.emit_call(at, owner, call);
            }
            Event::Exit { at, process, parent, status, is_oom_victim, usage } => {
                if self.processes.ensure(emitter, process, parent) {
                    let unanswered = self.lookups.forget(process);
                    self.end_lookups(unanswered);
                    let death = Death { status, is_oom_victim, usage };
                    if let Some((process, home)) = self.processes.exit(&mut self.emitter, at, process, death) {
                        self.connections.rehome(process, home);
                        self.flows.rehome(process, home);
                    }
                }
            }
            Event::Dns { at, asker, transport, local, server, message } => {
                let over = self.lookups.handle(at, asker, transport, local, server, message);
                self.end_lookups(over);
            }
            Event::Connection { at, id, owner, change, connection } => {
                // Only a new connection needs the name of its peer.
                let owner = self.owner(owner, Some(connection.peer.ip()).filter(|_| !self.connections.has(id)));
                let network_inode = self.images.foreign_network(connection.network_inode);
                let connection = Connection { network_inode, ..connection };
                self.connections.handle(&mut self.emitter, at, id, owner, change, connection);
            }
            Event::Flow { at, id, owner, is_over, flow } => {
                let owner = self.owner(owner, Some(flow.peer.ip()).filter(|_| !self.flows.has(id)));
                self.flows.handle(&mut self.emitter, at, id, owner, is_over, flow);
            }
        }
    }

    /// Exports failed spans that have waited too long for the end of the process above them.
    pub fn settle(&mut self, now: Ktime) {
        self.emitter.settle(now);
    }

    /// Whether failed spans wait for the end of the process above them. If so, call [`settle`](Self::settle) from time to time.
    #[must_use]
    pub fn has_waiting_spans(&self) -> bool {
        self.emitter.has_waiting_spans()
    }

    /// The next finished span. The root span is the last one.
    pub fn poll_span(&mut self) -> Option<Span> {
        self.emitter.poll()
    }

    /// The processes that run now, as unfinished spans. Their spans come again when they have ended. The root's span
    /// has no certificate yet.
    pub fn running(&self, at: Ktime) -> impl Iterator<Item = Span> {
        self.processes.running(&self.emitter, at)
    }

    /// The span of the root if process-tracer is killed now. There is none before the first event about the root.
    #[must_use]
    pub fn cut_off_root(&self, at: Ktime) -> Option<Span> {
        self.processes.root_span(&self.emitter, at, self.audit.cut_off())
    }

    /// The number of processes that are alive, as far as the events say.
    #[must_use]
    pub fn live_processes(&self) -> usize {
        self.processes.len()
    }

    /// The user's attributes and rules whose expressions failed.
    pub fn failures(&self) -> impl Iterator<Item = Failure<'_>> {
        self.images.failures().chain(self.processes.failures()).chain(self.emitter.failures())
    }

    /// The certificate of the trace, once the trace is finished.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// Sets the usage of the command and its descendants together.
    pub fn set_tree_usage(&mut self, usage: Usage) {
        self.audit.set_tree_usage(usage);
    }

    /// Sets how the machine slowed the command down.
    pub fn set_shortage(&mut self, shortage: Shortage) {
        self.audit.set_shortage(shortage);
    }

    /// Gives processes the tags that a command of the user has printed.
    pub fn tag(&mut self, snapshot: Snapshot) {
        self.processes.tag(snapshot);
    }

    /// Whether tags were ignored, because they name processes by the pids of another namespace.
    #[must_use]
    pub fn has_foreign_tags(&self) -> bool {
        self.processes.has_foreign_tags()
    }

    /// Sets the source of the events.
    pub fn set_source(&mut self, source: Description) {
        self.audit.set_source(source);
    }

    /// Records that a full buffer lost events since the last call.
    pub fn lose(&mut self, at: Ktime, records: u64) {
        self.audit.lose(&self.emitter.anchor, at, records);
    }

    /// Ends the trace. Live subjects become unfinished spans that end now. The root span carries the certificate.
    pub fn finish(&mut self, at: Ktime, losses: Losses) {
        if self.certificate.is_some() {
            return;
        }
        self.connections.finish(&mut self.emitter, at, losses.connections + losses.missed > 0);
        self.flows.finish(&mut self.emitter, at, losses.exits > 0);
        let unanswered = self.lookups.finish();
        self.end_lookups(unanswered);
        let root = self.processes.finish(&mut self.emitter, at, losses.exits > 0);
        self.emitter.settle_all();
        let failed_expressions = self.failures().map(|failure| failure.count).sum();
        let certificate = self.audit.certify(self.emitter.counts(), losses, failed_expressions, root.is_some());
        let origin = root.as_ref().and_then(|(identity, root)| {
            let (_, death) = root.ended.as_ref()?;
            Some(root.origin(identity.tgid, root.failed(death.status)?))
        });
        let failure = origin.map(|origin| Box::new(origin.describe()));
        let certificate = Certificate { failure, ..certificate };
        self.certificate = Some(certificate.clone());
        self.processes.end_root(&mut self.emitter, root, at, certificate);
    }

    fn end_lookups(&mut self, lookups: impl IntoIterator<Item = Lookup>) {
        for lookup in lookups {
            let owner = self.owner(lookup.asker, None);
            lookup.end(&mut self.emitter, owner);
        }
    }

    /// The owner of a span, and the name by which it found an address.
    fn owner(&self, process: Identity, address: Option<IpAddr>) -> Owner {
        let (span_id, is_known) = self.processes.span_of(process);
        let alive = self.processes.get(process);
        let attributes = alive.filter(|_| self.images.attributes_are_on_all_spans());
        Owner {
            // If the process ended without a span, this is the nearest span above it.
            span_id: if alive.is_some() { span_id } else { self.emitter.home(span_id) },
            is_known,
            is_alive: alive.is_some(),
            process: OwnerProcess { pid: process.tgid, image: alive.and_then(|process| process.image.clone()) },
            attributes: attributes.map(|process| Arc::clone(&process.attributes)).unwrap_or_default(),
            host: address.and_then(|address| self.host_of(process, address)),
        }
    }

    /// The name by which a process found an address. It comes from a name server, or from the hosts file if the
    /// arguments of the process have the name.
    fn host_of(&self, process: Identity, address: IpAddr) -> Option<Arc<str>> {
        self.lookups.name_of(process, address).or_else(|| {
            let process = self.processes.get(process)?;
            // Another root folder has another hosts file.
            let image = process.image.as_ref().filter(|image| image.has_root_of_tracer())?;
            self.hosts.name_in(address, &image.arguments, &process.named_hosts)
        })
    }
}
