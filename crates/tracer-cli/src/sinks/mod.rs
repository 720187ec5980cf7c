//! Where finished spans go. Each sink has a queue and a thread of its own: whatever a collector, a disk or a terminal
//! does, it holds up neither the command nor the draining of its events.

mod file;
mod json_lines;
mod otel;
pub(crate) mod otlp;
mod queue;
mod spool;
mod summary;

use std::{
    ops::Add,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use opentelemetry_sdk::Resource;
use tracer_model::Span;

use crate::{
    config::{Otlp, Output},
    console, privileges,
};

use self::{queue::Queue, spool::Spool};

/// A destination of spans.
pub(crate) trait Sink: Send {
    /// Takes a batch from the queue, and may take its time, but not past the queue's deadline. Says what became of those
    /// spans that did not arrive.
    fn write(&mut self, spans: Vec<Arc<Span>>, queue: &Queue) -> Undelivered;

    /// Ends it, and says what came of it, but for the counts.
    fn close(self: Box<Self>) -> Delivery;
}

/// What became of spans that did not arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Undelivered {
    /// They are gone.
    pub(crate) lost: u64,
    /// They are kept in a file.
    pub(crate) saved: u64,
}

impl Add for Undelivered {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { lost: self.lost + other.lost, saved: self.saved + other.saved }
    }
}

/// What came of one sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// What it is called; empty if there is nothing to call.
    pub(crate) destination: String,
    /// Spans that arrived.
    pub(crate) delivered: u64,
    /// Spans that did not.
    pub(crate) missing: Undelivered,
    /// The command that delivers those of them that are kept.
    pub(crate) to_send: Option<String>,
    /// Why not.
    pub(crate) problem: Option<String>,
    /// Text to show at the end.
    pub(crate) text: Option<String>,
}

/// Sinks that are ready, but not yet running.
pub(crate) struct OpenSinks(Vec<Box<dyn Sink>>);

impl OpenSinks {
    /// Opens files and prepares connections.
    ///
    /// # Errors
    ///
    /// What cannot be opened; a warning if the outputs are optional.
    pub(crate) fn open(
        outputs: &[Output],
        is_optional: bool,
        otlp: &Otlp,
        spool: Option<&Path>,
        resource: &Resource,
    ) -> Result<Self> {
        let open = |output: &Output| -> Result<Box<dyn Sink>> {
            Ok(match output {
                Output::Otlp => {
                    let spool = Spool::new(spool.map(Path::to_owned), resource);
                    Box::new(otlp::OtlpSink::open(otlp, resource, spool)?)
                }
                Output::Summary => Box::new(summary::SummarySink::default()),
                Output::JsonLines(path) => Box::new(json_lines::JsonLinesSink::open(path, resource)?),
            })
        };
        let mut sinks = Vec::new();
        for output in outputs {
            match open(output) {
                Ok(sink) => sinks.push(sink),
                Err(error) if is_optional => console::warn(format_args!("an output is left out: {error:#}")),
                Err(error) => return Err(error),
            }
        }
        Ok(Self(sinks))
    }

    /// Starts their threads.
    pub(crate) fn start(self) -> Result<Sinks> {
        let start = |sink| {
            let queue = Arc::new(Queue::default());
            let thread = thread::Builder::new().name("sink".to_owned()).spawn({
                let queue = Arc::clone(&queue);
                move || {
                    privileges::drop_in_thread();
                    serve(sink, &queue)
                }
            });
            Ok((queue, thread.context("cannot start a thread")?))
        };
        let running: Result<Vec<_>> = self.0.into_iter().map(start).collect();
        let (queues, threads) = running?.into_iter().unzip();
        Ok(Sinks { intake: Intake(queues), threads })
    }
}

fn serve(mut sink: Box<dyn Sink>, queue: &Queue) -> Delivery {
    let mut delivered = 0;
    while let Some(batch) = queue.take() {
        let spans = batch.len() as u64;
        let missing = sink.write(batch, queue);
        delivered += spans - missing.lost - missing.saved;
        queue.count(missing);
    }
    let closing = sink.close();
    let missing = queue.undelivered();
    let full = || (missing.lost > 0).then(|| "the queue was full".to_owned());
    Delivery { delivered, missing, problem: closing.problem.or_else(full), ..closing }
}

/// The way in: never waits.
#[derive(Clone, Debug)]
pub(crate) struct Intake(Vec<Arc<Queue>>);

impl Intake {
    /// Queues a span for every sink.
    pub(crate) fn push(&self, span: &Arc<Span>) {
        for queue in &self.0 {
            queue.push(Arc::clone(span));
        }
    }

    /// Spans lost so far, of all sinks.
    pub(crate) fn lost(&self) -> u64 {
        self.0.iter().map(|queue| queue.undelivered().lost).sum()
    }
}

/// Running sinks.
#[derive(Debug)]
pub(crate) struct Sinks {
    pub(crate) intake: Intake,
    threads: Vec<JoinHandle<Delivery>>,
}

impl Sinks {
    /// Delivers what is left, as far as that takes no longer, and says what came of it.
    pub(crate) fn close(self, flush_timeout: Duration) -> Vec<Delivery> {
        for queue in &self.intake.0 {
            queue.close(Instant::now() + flush_timeout);
        }
        let panicked = |_| Delivery { problem: Some("its thread panicked".to_owned()), ..Delivery::default() };
        self.threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    }
}
