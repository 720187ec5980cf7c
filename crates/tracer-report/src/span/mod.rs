//! A span as reports read it: typed, from a run or from a saved trace.
//!
//! A span of a run is read from the model. The user's own attributes (`-a NAME=EXPR`) and the limits of exported values
//! do not change it.
//!
//! A span of a saved trace has attributes, and some of them may be the user's. So its meaning comes from parts
//! that a user's attribute cannot change:
//!
//! - The OpenTelemetry span kind says whether a span is a process. Processes are INTERNAL, everything else is CLIENT or
//!   SERVER.
//! - The network attributes say whether a CLIENT or SERVER span is a connection or a lookup. On these spans, the user's
//!   attributes cannot replace the network attributes or `error.type`.
//! - The status message says how a process ended. It is no attribute, and no limit cuts it.
//! - Keys that begin with `process_tracer.` are reserved: the command line refuses them. Older versions did not. So two more
//!   conditions hold: a root span has no parent or has the version of the tracer, and a complete trace lists no loss.
//!
//! The pid, the arguments and the working directory are only shown. A user may replace them, and the report shows the
//! replacement. The name of the executable says only whether a process is a shell: see [`blame`](tracer_model::blame).

mod call;
mod certificate;
mod details;
mod from_run;
mod from_saved;
mod subject;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tracer_model::{
    Resource, SpanId, TraceId, Value,
    expression::Attributes,
    semconv::{self, KeyValues},
};

#[cfg(test)]
pub(crate) use self::certificate::Shortage;
pub(crate) use self::{
    call::Call,
    certificate::Certificate,
    details::{Details, first},
    from_saved::{is_root, saved_exit},
    subject::{Connection, Crash, FOLDED_CPU_TIME, FOLDED_PROCESSES, Folded, Process, Subject},
};
use crate::{saved, untrusted::Untrusted};

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
    pub(crate) value_limit: Option<usize>,
    /// The attributes of its producer, if it is a span of a run.
    resource: Option<&'a Resource>,
    origin: Origin<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Origin<'a> {
    Run(&'a tracer_model::Span),
    Saved(&'a saved::Span),
}

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

    /// Links to other spans. A connection links to its other end. A process whose parent is another program's span links to the
    /// process that forked it. The root links to the process where its failure began.
    pub(crate) fn links(&self) -> Vec<(TraceId, SpanId)> {
        match self.origin {
            Origin::Run(span) => span.links.iter().map(|link| (link.trace_id, link.span_id)).collect(),
            Origin::Saved(span) => span.links.iter().map(|link| (link.trace_id, link.span_id)).collect(),
        }
    }
}

pub(crate) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
