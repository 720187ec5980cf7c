//! A live process: what is known of it so far.

use std::sync::Arc;

use crate::{
    context::SpanContext,
    event::{ExitStatus, Identity, Image, Usage, base_name},
    hosts::NamedHosts,
    id::SpanId,
    span::{Execution, FailedExec, ProcessSpan, Value},
    time::{Anchor, Ktime},
};

/// Exec events on one span; OpenTelemetry's default limit of events.
const EXECUTIONS: usize = 128;

/// Bytes of argv shown in one exec event; the span's own attributes hold all of the last.
const EVENT_ARGUMENTS: usize = 4096;

/// The name of a process of which no event that carries one has arrived.
const UNKNOWN: &str = "unknown";

#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) span_id: SpanId,
    pub(crate) parent_id: Option<SpanId>,
    pub(crate) parent_tgid: u32,
    pub(crate) start: Ktime,
    pub(crate) is_repaired: bool,
    /// Its fork has been seen; what stands above is not a guess.
    pub(crate) is_forked: bool,
    pub(crate) image: Option<Arc<Image>>,
    /// By that image's arguments.
    pub(crate) named_hosts: Arc<NamedHosts>,
    pub(crate) attributes: Arc<[(String, Value)]>,
    /// The span that its environment names.
    pub(crate) context: Option<SpanContext>,
    /// Likewise of its parent's, when it was forked.
    inherited_context: Option<SpanContext>,
    executions: Vec<Execution>,
    failed_execs: Vec<FailedExec>,
    dropped_executions: u32,
    last_exec: Option<Ktime>,
    /// For the root alone, which outlives its own end: that end.
    pub(crate) ended: Option<(Ktime, Death)>,
}

/// What a process has of its parent.
pub(crate) struct Inheritance {
    image: Option<Arc<Image>>,
    named_hosts: Arc<NamedHosts>,
    attributes: Arc<[(String, Value)]>,
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
            parent_tgid: 0,
            start: identity.start,
            is_repaired: false,
            is_forked: false,
            image: None,
            named_hosts: Arc::default(),
            attributes: Arc::new([]),
            context: None,
            inherited_context: None,
            executions: Vec::new(),
            failed_execs: Vec::new(),
            dropped_executions: 0,
            last_exec: None,
            ended: None,
        }
    }

    /// A forked process runs its parent's image until it execs.
    pub(crate) fn inherit(&mut self, parent: Inheritance) {
        self.inherited_context = parent.context;
        if self.image.is_none() {
            (self.image, self.attributes, self.context) = (parent.image, parent.attributes, parent.context);
            self.named_hosts = parent.named_hosts;
        }
    }

    /// What its children inherit.
    pub(crate) fn inheritance(&self) -> Inheritance {
        Inheritance {
            image: self.image.clone(),
            named_hosts: Arc::clone(&self.named_hosts),
            attributes: Arc::clone(&self.attributes),
            context: self.context,
        }
    }

    /// The span that somebody between it and its parent has put it under: its environment names another one than its parent's.
    pub(crate) fn adopted_by(&self) -> Option<SpanContext> {
        self.context.filter(|context| self.inherited_context != Some(*context))
    }

    /// Takes on a new image; `false` for one that is not newer than the present one.
    pub(crate) fn exec(&mut self, at: Ktime, anchor: &Anchor, image: Arc<Image>) -> bool {
        if self.last_exec.is_some_and(|last| last >= at) {
            return false;
        }
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
        true
    }

    /// Takes note of an exec that failed. Those of a search along PATH, which tries a name in one folder after the other, are one.
    pub(crate) fn fail_to_exec(&mut self, at: Ktime, anchor: &Anchor, file: String, errno: i32) {
        let is_search = |last: &&mut FailedExec| {
            let has_come_between = self.executions.last().is_some_and(|execution| execution.at > last.at);
            last.errno == errno && base_name(&last.file) == base_name(&file) && !has_come_between
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

    fn name(&self) -> &str {
        let name = self.image.as_ref().map(|image| image.name());
        name.filter(|name| !name.is_empty()).unwrap_or(UNKNOWN)
    }

    pub(crate) fn into_span(self, tgid: u32, death: Option<Death>) -> ProcessSpan {
        let is_oom_victim = death.as_ref().is_some_and(|death| death.is_oom_victim);
        let (exit, usage) = death.map_or((None, None), |death| (Some(death.status), death.usage));
        ProcessSpan {
            pid: tgid,
            parent_pid: self.parent_tgid,
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
            attributes: self.attributes,
            certificate: None,
        }
    }
}
