//! The failed children of a live process, and where their failures began.

use std::sync::Arc;

use crate::{
    blame::FailedParent,
    event::{ExitStatus, Image},
    id::SpanId,
    semconv::PROCESS_COMMAND_ARGS,
    span::{FailureOrigin, UserAttributes},
    time::Ktime,
};

/// Bytes of the arguments of the process where a failure began.
const ARGUMENTS: usize = 4096;

/// The failed children of a process. For each exit status, only the child that ended last is kept. So their number has a limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct FailedChildren(Vec<FailedChild>);

/// A child that failed.
#[derive(Clone, Debug)]
pub(crate) struct FailedChild {
    pub(crate) span_id: SpanId,
    pub(crate) status: ExitStatus,
    pub(crate) end: Ktime,
    /// The process below it where its failure began, or the child itself.
    pub(crate) origin: Arc<Origin>,
}

/// The process where a failure began.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) span_id: SpanId,
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) status: ExitStatus,
    pub(crate) image: Option<Arc<Image>>,
    pub(crate) attributes: UserAttributes,
}

impl FailedChildren {
    pub(crate) fn add(&mut self, child: FailedChild) {
        match self.0.iter_mut().find(|known| known.status == child.status) {
            Some(known) if known.end > child.end => {}
            Some(known) => *known = child,
            None => self.0.push(child),
        }
    }

    /// The child that explains the failure of its parent best.
    pub(crate) fn reason(&self, parent: FailedParent) -> Option<&FailedChild> {
        let ranked = self.0.iter().filter_map(|child| Some((parent.rank(child.status)?, child)));
        ranked.max_by_key(|(rank, child)| (*rank, child.end)).map(|(_, child)| child)
    }
}

impl Origin {
    /// Its description on the root span. The user may have replaced its arguments to hide them.
    pub(crate) fn describe(&self) -> FailureOrigin {
        let is_replaced = self.attributes.iter().any(|(key, _)| key == PROCESS_COMMAND_ARGS);
        let image = self.image.as_deref().filter(|_| !is_replaced);
        FailureOrigin {
            span_id: self.span_id,
            pid: self.pid,
            name: self.name.clone(),
            status: self.status,
            arguments: image.map(|image| image.arguments.limited(ARGUMENTS)).unwrap_or_default(),
        }
    }
}
