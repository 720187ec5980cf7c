//! A live process: the facts that the events have reported so far, and its span.

use std::sync::Arc;

use crate::{
    blame::{self, FailedParent},
    context::SpanContext,
    emit::Draft,
    event::{ExitStatus, Identity, Image, Strings, Usage, base_name},
    failures::{FailedChildren, Origin},
    hosts::NamedHosts,
    id::{SpanId, TraceId},
    image::Executed,
    judge::{self, Fate, Judge, Lineage, Ruling},
    script::Scripts,
    span::{Certificate, Execution, FailedExec, Folded, ProcessSpan, Subject, UserAttributes, Value},
    table::Live,
    tags::Tags,
    time::{Anchor, Ktime},
    traps::runs_in_trap,
    verdict::Verdict,
};

/// One span lists at most this many successful execs, and at most this many failed execs. OpenTelemetry's default limit of
/// events is the same number.
const EXECUTIONS: usize = 128;

/// Bytes of argv in one exec event. The attributes of the span have all arguments of the last exec.
const EVENT_ARGUMENTS: usize = 4096;

/// The name of a process if no event has its name.
const UNKNOWN: &str = "unknown";

#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) span_id: SpanId,
    pub(crate) parent_id: Option<SpanId>,
    /// The process that forked it.
    pub(crate) parent: Identity,
    pub(crate) start: Ktime,
    pub(crate) is_repaired: bool,
    /// Its fork was reported. The fields above are not guessed.
    pub(crate) is_forked: bool,
    pub(crate) image: Option<Arc<Image>>,
    /// The names of scripts under which it was called. A forked process does not inherit those of its parent.
    pub(crate) scripts: Scripts,
    /// A name that replaces the name of the image. Only the root can have one.
    pub(crate) label: Option<String>,
    /// The names from the hosts file that the arguments of `image` contain.
    pub(crate) named_hosts: Arc<NamedHosts>,
    /// The attributes of its span.
    pub(crate) attributes: UserAttributes,
    /// The user's attributes, without those of rules.
    own_attributes: UserAttributes,
    /// Its tags, and those of the processes above it.
    pub(crate) tags: Tags,
    /// Its environment, if a later ruling needs it: the ruling of a forked child, or its own ruling at its end.
    environment: Option<Arc<Strings>>,
    ruling: Arc<Ruling>,
    /// The group of its parent, if children of the parent belong to it.
    inherited_group: Option<Arc<str>>,
    /// The processes above it.
    pub(crate) lineage: Lineage,
    /// The span that its environment names.
    context: Option<SpanContext>,
    /// The span that the environment of its parent named when it was forked.
    pub(crate) inherited_context: Option<SpanContext>,
    executions: Vec<Execution>,
    failed_execs: Vec<FailedExec>,
    dropped_executions: u32,
    last_exec: Option<Ktime>,
    pub(crate) failed_children: FailedChildren,
    /// The end of the root, which stays in the table until the trace ends.
    pub(crate) ended: Option<(Ktime, Death)>,
}

/// The data that a new process inherits from its parent.
pub(crate) struct Inheritance {
    image: Option<Arc<Image>>,
    named_hosts: Arc<NamedHosts>,
    attributes: UserAttributes,
    own_attributes: UserAttributes,
    tags: UserAttributes,
    environment: Option<Arc<Strings>>,
    ruling: Arc<Ruling>,
    group: Option<Arc<str>>,
    context: Option<SpanContext>,
}

/// How a process ended.
#[derive(Clone, Debug)]
pub(crate) struct Death {
    pub(crate) status: ExitStatus,
    pub(crate) is_oom_victim: bool,
    pub(crate) usage: Option<Box<Usage>>,
}

impl Process {
    pub(crate) fn new(identity: Identity, span_id: SpanId, parent_id: Option<SpanId>) -> Self {
        Self {
            span_id,
            parent_id,
            parent: Identity { tgid: 0, start: Ktime(0) },
            start: identity.start,
            is_repaired: false,
            is_forked: false,
            image: None,
            scripts: Scripts::default(),
            label: None,
            named_hosts: Arc::default(),
            attributes: UserAttributes::default(),
            own_attributes: UserAttributes::default(),
            tags: Tags::default(),
            environment: None,
            ruling: Arc::default(),
            inherited_group: None,
            lineage: Lineage::default(),
            context: None,
            inherited_context: None,
            executions: Vec::new(),
            failed_execs: Vec::new(),
            dropped_executions: 0,
            last_exec: None,
            failed_children: FailedChildren::default(),
            ended: None,
        }
    }

    /// A forked process runs its parent's image until its first exec.
    pub(crate) fn inherit(&mut self, parent: Inheritance) {
        self.inherited_context = parent.context;
        self.inherited_group = parent.group;
        self.tags.inherit(&parent.tags);
        if self.image.is_none() {
            (self.own_attributes, self.environment) = (parent.own_attributes, parent.environment);
            self.ruling = parent.ruling;
            (self.image, self.attributes, self.context) = (parent.image, parent.attributes, parent.context);
            self.named_hosts = parent.named_hosts;
        }
    }

    /// The data that its child inherits.
    pub(crate) fn inheritance(&self) -> Inheritance {
        Inheritance {
            image: self.image.clone(),
            named_hosts: Arc::clone(&self.named_hosts),
            attributes: Arc::clone(&self.attributes),
            own_attributes: Arc::clone(&self.own_attributes),
            tags: Arc::clone(self.tags.attributes()),
            environment: self.environment.clone(),
            ruling: Arc::clone(&self.ruling),
            group: self.group().filter(|_| self.ruling.group.as_ref().is_none_or(|group| group.has_children)),
            context: self.context,
        }
    }

    /// The lineage of its children.
    pub(crate) fn lineage_below(&self, judge: &dyn Judge) -> Lineage {
        judge.extend(&self.lineage, self.image.as_ref().map_or("", |image| image.name()))
    }

    /// Judges it by its image, after an exec or its fork. `environment`: the environment of the exec.
    pub(crate) fn judge(
        &mut self,
        judge: &mut dyn Judge,
        identity: Identity,
        at: Ktime,
        anchor: &Anchor,
        environment: Option<&Strings>,
    ) {
        self.judge_with(judge, identity, at, anchor, environment, None);
    }

    /// Decides its ruling at its end, because its tags can change the ruling. Without tags, only its fate can change.
    pub(crate) fn judge_at_end(&mut self, judge: &mut dyn Judge, identity: Identity, anchor: &Anchor) {
        let tags = Arc::clone(self.tags.attributes());
        if tags.is_empty() {
            let fate = self.ruling.fate_without_tags;
            if fate != self.ruling.fate {
                Arc::make_mut(&mut self.ruling).fate = fate;
            }
            return;
        }
        self.judge_with(judge, identity, self.last_exec.unwrap_or(self.start), anchor, None, Some(&tags));
    }

    fn judge_with(
        &mut self,
        judge: &mut dyn Judge,
        identity: Identity,
        at: Ktime,
        anchor: &Anchor,
        environment: Option<&Strings>,
        tags: Option<&[(String, Value)]>,
    ) {
        let Some(image) = &self.image else { return };
        let ruling = judge.judge(&judge::Subject {
            pid: identity.tgid,
            parent_pid: self.parent.tgid,
            start: anchor.wall_time(self.start),
            at: anchor.wall_time(at),
            image,
            environment: environment.or(self.environment.as_deref()),
            attributes: &self.own_attributes,
            tags,
            lineage: &self.lineage,
        });
        self.attributes = match ruling.attributes.as_slice() {
            [] => Arc::clone(&self.own_attributes),
            more => {
                let is_replaced = |name: &str| more.iter().any(|(known, _)| known == name);
                let own = self.own_attributes.iter().filter(|(name, _)| !is_replaced(name));
                own.chain(more).cloned().collect()
            }
        };
        let is_judged_again = judge.judges_forks() || judge.judges_tags();
        if let Some(environment) = environment.filter(|_| is_judged_again && judge.needs_environment()) {
            self.environment = Some(Arc::new(environment.clone()));
        }
        self.ruling = Arc::new(ruling);
    }

    pub(crate) fn fate(&self) -> Fate {
        self.ruling.fate
    }

    /// Its own group, or that of its parent.
    fn group(&self) -> Option<Arc<str>> {
        self.ruling.group.as_ref().map(|group| &group.name).or(self.inherited_group.as_ref()).cloned()
    }

    /// Takes a new image. `false`: it has a newer one already.
    pub(crate) fn exec(
        &mut self,
        at: Ktime,
        anchor: &Anchor,
        executed: Executed,
        context: Option<SpanContext>,
    ) -> bool {
        if self.last_exec.is_some_and(|last| last >= at) {
            return false;
        }
        let Executed { image, attributes, .. } = executed;
        self.last_exec = Some(at);
        if self.executions.len() < EXECUTIONS {
            self.executions.push(Execution {
                at: anchor.wall_time(at.max(self.start)),
                executable: image.executable.clone(),
                arguments: image.arguments.limited(EVENT_ARGUMENTS),
            });
        } else {
            self.dropped_executions += 1;
        }
        self.image = Some(image);
        self.named_hosts = Arc::default();
        self.own_attributes = Arc::clone(&attributes);
        self.attributes = attributes;
        self.ruling = Arc::default();
        // Rules never get the environment of the former image, even if the environment of the new one is not readable.
        self.environment = None;
        self.context = context.or(self.context);
        true
    }

    /// Records a failed exec. A search along PATH tries a name in one folder after the other. It counts as one failed
    /// exec.
    pub(crate) fn fail_to_exec(&mut self, at: Ktime, anchor: &Anchor, file: String, errno: i32) {
        let is_search = |last: &&mut FailedExec| {
            let has_succeeded_since = self.executions.last().is_some_and(|execution| execution.at > last.at);
            last.errno == errno && base_name(&last.file) == base_name(&file) && !has_succeeded_since
        };
        let at = anchor.wall_time(at.max(self.start));
        if let Some(last) = self.failed_execs.last_mut().filter(is_search) {
            (last.at, last.file, last.attempts) = (at, file, last.attempts + 1);
        } else if self.failed_execs.len() < EXECUTIONS {
            self.failed_execs.push(FailedExec { at, file, errno, attempts: 1 });
        } else {
            self.dropped_executions += 1;
        }
    }

    /// The attributes of its span, with its tags.
    fn all_attributes(&self) -> UserAttributes {
        match (&self.attributes[..], &self.tags.attributes()[..]) {
            (_, []) => Arc::clone(&self.attributes),
            ([], _) => Arc::clone(self.tags.attributes()),
            (attributes, tags) => attributes.iter().chain(tags).cloned().collect(),
        }
    }

    fn name(&self) -> &str {
        self.known_name().unwrap_or(UNKNOWN)
    }

    /// Its label, else the name that the rules give it, else the name of its program.
    pub(crate) fn known_name(&self) -> Option<&str> {
        let name = self.label.as_deref().or(self.ruling.name.as_deref());
        name.or_else(|| self.image.as_ref().map(|image| image.name())).filter(|name| !name.is_empty())
    }

    /// Whether it is still the copy of a parent that runs this program.
    pub(crate) fn is_copy_of(&self, program: &str) -> bool {
        let executable = self.image.as_ref().and_then(|image| image.executable.as_deref());
        !self.has_executed() && executable.is_some_and(|path| base_name(path) == program)
    }

    pub(crate) fn has_executed(&self) -> bool {
        self.last_exec.is_some()
    }

    /// Itself as a failed parent, if it failed.
    pub(crate) fn failed(&self, status: ExitStatus) -> Option<FailedParent> {
        let is_shell = || self.image.as_deref().is_some_and(blame::runs_shell);
        status.has_failed().then(|| FailedParent { status, is_shell: is_shell() })
    }

    /// Whether a failed child explains its failure.
    pub(crate) fn has_reason(&self, status: ExitStatus) -> bool {
        self.failed(status).is_some_and(|failed| self.failed_children.reason(failed).is_some())
    }

    /// What its end says about the failed spans below it.
    pub(crate) fn verdict(&self, status: ExitStatus) -> Verdict {
        match self.failed(status) {
            Some(parent) => {
                let reason = self.failed_children.reason(parent).map(|child| child.span_id);
                Verdict::Failed { parent, reason }
            }
            None if status == ExitStatus::Withheld => Verdict::Unknown,
            None => Verdict::Handled,
        }
    }

    /// Whether it is a shell that runs this child in a trap. Then the failure of the child is no reason for the failure of the
    /// shell.
    pub(crate) fn runs_in_trap(&self, child: &Self) -> bool {
        let (Some(image), Some(child)) = (self.image.as_deref(), child.image.as_deref()) else { return false };
        if !blame::runs_shell(image) {
            return false;
        }
        let (shell, child): (Vec<_>, Vec<_>) = (image.arguments.iter().collect(), child.arguments.iter().collect());
        let child: Vec<_> = child.iter().map(|text| &**text).collect();
        runs_in_trap(shell.iter().map(|text| &**text), &child)
    }

    /// Where its failure began: below the child that explains it best, or in the process itself.
    pub(crate) fn origin(&self, tgid: u32, failed: FailedParent) -> Arc<Origin> {
        match self.failed_children.reason(failed) {
            Some(child) => Arc::clone(&child.origin),
            None => Arc::new(Origin {
                span_id: self.span_id,
                pid: tgid,
                name: self.name().to_owned(),
                status: failed.status,
                image: self.image.clone(),
                attributes: Arc::clone(&self.attributes),
            }),
        }
    }

    /// The span that its environment names, unless the environment of its parent named the same one. An instrumented
    /// program sets `TRACEPARENT` for its children.
    fn adopted_by(&self) -> Option<SpanContext> {
        self.context.filter(|context| self.inherited_context != Some(*context))
    }

    /// Its span. Without a death the span is unfinished.
    pub(crate) fn draft(self, tgid: u32, end: Ktime, death: Option<Death>, trace_id: TraceId) -> Draft {
        let (parent_id, links) = match self.adopted_by() {
            Some(context) if context.trace_id == trace_id => {
                let forked_by = self.parent_id.map(|span_id| SpanContext { span_id, ..context });
                (Some(context.span_id), forked_by.into_iter().collect())
            }
            Some(context) => (self.parent_id, vec![context]),
            None => (self.parent_id, Vec::new()),
        };
        Draft { parent_id, links, ..self.root_draft(tgid, end, death, None) }
    }

    /// Its span, if it is the root. The caller of process-tracer chose the parent. The environment names the root
    /// itself, so it does not count.
    pub(crate) fn root_draft(
        self,
        tgid: u32,
        end: Ktime,
        death: Option<Death>,
        certificate: Option<Certificate>,
    ) -> Draft {
        let is_unfinished = death.is_none();
        let is_oom_victim = death.as_ref().is_some_and(|death| death.is_oom_victim);
        let group = self.group();
        let (exit, usage) = death.map_or((None, None), |death| (Some(death.status), death.usage));
        let usage = usage.map(|usage| Box::new(usage.in_microseconds()));
        Draft {
            span_id: self.span_id,
            parent_id: self.parent_id,
            links: Vec::new(),
            start: self.start,
            end,
            is_unfinished,
            is_repaired: self.is_repaired,
            owner: None,
            attributes: self.all_attributes(),
            subject: Subject::Process(Box::new(ProcessSpan {
                pid: tgid,
                parent_pid: self.parent.tgid,
                forked_by: self.parent_id,
                name: self.name().to_owned(),
                is_fork: self.is_forked && self.last_exec.is_none(),
                image: self.image,
                executions: self.executions,
                failed_execs: self.failed_execs,
                dropped_executions: self.dropped_executions,
                exit,
                is_oom_victim,
                usage,
                group,
                folded: Folded::default(),
                certificate,
            })),
        }
    }
}

impl Live for Process {
    fn span_id(&self) -> SpanId {
        self.span_id
    }
}
