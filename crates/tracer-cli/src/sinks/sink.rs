//! The interface of a sink.

use std::sync::Arc;

use anyhow::Result;
use tracer_model::Span;
use tracer_report::live::Watch;

use super::{
    queue::{Queue, Undelivered},
    recorder::Recorder,
};
use crate::threads::Threads;

/// A destination of spans.
pub(crate) trait Sink: Send {
    /// Its name; empty if it has none.
    fn destination(&self) -> String;

    /// The command that delivers the spans that the sink keeps. `None`: the sink keeps no spans. Callers ask before the
    /// sink keeps any, because a sink that hangs cannot answer.
    fn to_send(&self) -> Option<String> {
        None
    }

    /// Starts its other work.
    fn start(&mut self, _: Threads) -> Result<Extras> {
        Ok(Extras::default())
    }

    /// The command has started. Before, the sink changes no file that exists.
    fn begin(&mut self) {}

    /// Writes a batch from the queue. It may take its time, up to the queue's deadline. Returns the numbers of spans that did
    /// not arrive.
    fn write(&mut self, spans: Vec<Arc<Span>>, queue: &Queue) -> Undelivered;

    /// Ends the sink, soon after the queue's deadline.
    fn close(self: Box<Self>, queue: &Queue) -> Closing;
}

/// What a sink gets besides finished spans.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// It shows the running processes.
    pub(crate) watch: Option<Watch>,
    /// It gets events before the model does.
    pub(crate) recorder: Option<Recorder>,
}

/// The report of a sink at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Closing {
    /// The reason why spans did not arrive.
    pub(crate) problem: Option<String>,
    /// A warning, although all spans arrived.
    pub(crate) warning: Option<String>,
    /// A line to print, unless the run is quiet.
    pub(crate) note: Option<String>,
    /// Text to show.
    pub(crate) text: Option<String>,
    /// The file could not be finished. It is useless if it is not complete, so its spans count as lost.
    pub(crate) is_void: bool,
}
