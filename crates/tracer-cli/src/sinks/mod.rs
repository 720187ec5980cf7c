//! Where finished spans go. Each sink has a queue and a thread of its own: whatever a collector, a disk or a terminal
//! does, it holds up neither the command nor the draining of its events.

mod file;
mod json_lines;
mod otel;
pub(crate) mod otlp;
mod queue;
mod summary;

use std::{
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

use queue::Queue;

/// How long the end of a run may take to deliver what is left.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// A destination of spans.
pub(crate) trait Sink: Send {
    /// Takes a batch, and may take its time; says how many of it were lost. `deadline` is set once the command has ended.
    fn write(&mut self, spans: Vec<Arc<Span>>, deadline: Option<Instant>) -> u64;

    /// Ends it, and says what came of it, but for the counts.
    fn close(self: Box<Self>) -> Delivery;
}

/// What came of one sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// What it is called; empty if there is nothing to call.
    pub(crate) destination: String,
    /// Spans that arrived.
    pub(crate) delivered: u64,
    /// Spans that did not.
    pub(crate) lost: u64,
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
    pub(crate) fn open(outputs: &[Output], is_optional: bool, otlp: &Otlp, resource: &Resource) -> Result<Self> {
        let open = |output: &Output| -> Result<Box<dyn Sink>> {
            Ok(match output {
                Output::Otlp => Box::new(otlp::OtlpSink::open(otlp, resource)?),
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
    let mut deadline = None;
    let mut delivered = 0;
    while let Some((batch, is_closed)) = queue.take() {
        if is_closed {
            deadline.get_or_insert_with(|| Instant::now() + FLUSH_TIMEOUT);
        }
        let spans = batch.len() as u64;
        let lost = sink.write(batch, deadline);
        delivered += spans - lost;
        queue.lose(lost);
        if lost > 0 && queue.is_closed() {
            // It was on its way when the command ended: the one failure that is enough.
            deadline.get_or_insert_with(Instant::now);
        }
    }
    let closing = sink.close();
    let lost = queue.lost();
    let full = || (lost > 0).then(|| "the queue was full".to_owned());
    Delivery { delivered, lost, problem: closing.problem.or_else(full), ..closing }
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
        self.0.iter().map(|queue| queue.lost()).sum()
    }
}

/// Running sinks.
#[derive(Debug)]
pub(crate) struct Sinks {
    pub(crate) intake: Intake,
    threads: Vec<JoinHandle<Delivery>>,
}

impl Sinks {
    /// Delivers what is left, and says what came of it.
    pub(crate) fn close(self) -> Vec<Delivery> {
        for queue in &self.intake.0 {
            queue.close();
        }
        let panicked = |_| Delivery { problem: Some("its thread panicked".to_owned()), ..Delivery::default() };
        self.threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    }
}
