//! The destinations of finished spans. Each sink has its own queue and its own thread. So a slow collector, disk or
//! terminal delays neither the command nor the reading of its events.

mod compile_commands;
pub(crate) mod cut_off;
mod json_lines;
mod live;
mod otlp;
mod patience;
mod queue;
mod recorder;
mod report;
pub(crate) mod report_file;
mod sink;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, OnceLock,
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tracer_model::{Event, Resource, Span, SpanId};
use tracer_otlp::{Collector, Encoder};
use tracer_report::{By, live::Watch};

use crate::{
    child::privileges,
    cli::config::{Output, Wanted},
    console, limits,
    threads::{self, Threads, WorkClock},
};

pub(crate) use self::queue::Undelivered;
#[cfg(test)]
pub(crate) use self::queue::tests::span as span_of_test;
use self::{
    patience::{Glance, Patience},
    queue::Queue,
    recorder::Recorder,
    sink::{Closing, Sink},
};

/// The result of one sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// See [`Sink::destination`].
    pub(crate) destination: String,
    /// Spans that arrived.
    pub(crate) delivered: u64,
    /// Spans that did not arrive.
    pub(crate) missing: Undelivered,
    /// The command that delivers the kept spans, if there are any.
    pub(crate) to_send: Option<String>,
    /// The reason, and other messages for the user.
    pub(crate) closing: Closing,
}

/// What sinks have to know of the run.
#[derive(Clone, Debug)]
pub(crate) struct RunFacts<'a> {
    pub(crate) encoder: Encoder,
    /// The longest string value of an attribute, in characters.
    pub(crate) value_limit: Option<usize>,
    pub(crate) resource: &'a Resource,
    /// The file for spans that cannot be delivered.
    pub(crate) spool: Option<&'a Path>,
    /// The root span.
    pub(crate) root: SpanId,
    /// A secret of this run.
    pub(crate) token: &'a str,
    /// `--by`: texts and pages show totals for each value of this property.
    pub(crate) by: Option<&'a By>,
}

/// Sinks that are ready, but not yet running.
pub(crate) struct OpenSinks(Vec<Box<dyn Sink>>);

impl OpenSinks {
    /// Opens files and prepares connections.
    ///
    /// # Errors
    ///
    /// An output cannot be opened. If the output is optional, this is a warning, unless a limit leaves no room for it.
    pub(crate) fn open(wanted: &[Wanted], collector: &Collector, run: &RunFacts<'_>) -> Result<Self> {
        let open = |output: &Output| -> Result<Box<dyn Sink>> {
            Ok(match output {
                Output::Otlp => Box::new(otlp::OtlpSink::open(collector, run)?),
                Output::Text(text) => Box::new(report::TextSink::new(*text, run.by.cloned())),
                Output::JobSummary(file) => Box::new(report::TextSink::append_to(file, run.by.cloned())),
                Output::Live(address) => Box::new(live::LiveSink::open(*address, run)?),
                Output::Report(format, path) => Box::new(report::ReportSink::open(*format, path, run)?),
                Output::CompileCommands(path) => Box::new(compile_commands::CompileCommandsSink::open(path)?),
                Output::Stdout(format) => bail!(
                    "stdout belongs to the command; only `process-tracer report` can write this output; use -o {}",
                    format.file_name()
                ),
                Output::JsonLines(path) => Box::new(json_lines::JsonLinesSink::open(path, run.encoder.clone())?),
            })
        };
        let mut sinks = Vec::new();
        for Wanted { output, is_optional } in wanted {
            match open(output) {
                Ok(sink) => sinks.push(sink),
                Err(error) if *is_optional && limits::behind(&error).is_none() => {
                    console::warn(format_args!("an output is left out: {error:#}"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self(sinks))
    }

    /// Starts their threads. If a sink cannot be started, it loses its spans, but the command runs.
    pub(crate) fn start(self, threads: Threads) -> Sinks {
        let (mut watches, mut recorders) = (Vec::new(), Vec::new());
        let mut start = |mut sink: Box<dyn Sink>| {
            let (sender, closing) = mpsc::channel();
            let clock = Arc::new(OnceLock::new());
            let running = Running {
                destination: sink.destination(),
                to_send: sink.to_send(),
                queue: Arc::new(Queue::default()),
                clock: Arc::clone(&clock),
                closing,
            };
            let started = sink.start(threads).and_then(|extras| {
                let thread = threads.start_quiet("sink", {
                    let (queue, sender) = (Arc::clone(&running.queue), sender.clone());
                    move || {
                        let _ = clock.set(WorkClock::of_this_thread());
                        let obstacle = privileges::drop_in_sink().err().map(|error| error.to_string());
                        // If there is no receiver, the sink has been given up.
                        let _ = sender.send(serve(sink, &queue, obstacle));
                    }
                });
                thread.context("cannot start a thread").map(|_| extras)
            });
            match started {
                Ok(extras) => {
                    watches.extend(extras.watch);
                    recorders.extend(extras.recorder);
                    running
                }
                Err(error) => {
                    // This cannot fail, because the receiver is here.
                    let _ = sender.send(Closing { problem: Some(format!("{error:#}")), ..Closing::default() });
                    Running { queue: Arc::new(Queue::of_nobody()), ..running }
                }
            }
        };
        let running = self.0.into_iter().map(&mut start).collect();
        Sinks { running, watches, recorders }
    }
}

/// Feeds a sink from its queue, to the end. If there is an obstacle, the sink gets no spans. A panic is a bug. The sink
/// then loses the spans that it was given and all later ones.
fn serve(mut sink: Box<dyn Sink>, queue: &Queue, mut obstacle: Option<String>) -> Closing {
    if queue.has_begun() && obstacle.is_none() {
        sink.begin();
    }
    while let Some(batch) = queue.take() {
        let spans = batch.len() as u64;
        let missing = match obstacle {
            None => catch_unwind(AssertUnwindSafe(|| sink.write(batch, queue)))
                .map_err(|payload| obstacle = Some(threads::bug(payload.as_ref())))
                .ok(),
            Some(_) => None,
        };
        queue.count(spans, missing.unwrap_or(Undelivered { lost: spans, saved: 0 }));
    }
    let closing = match obstacle {
        None => catch_unwind(AssertUnwindSafe(|| sink.close(queue))).map_err(|payload| threads::bug(payload.as_ref())),
        Some(obstacle) => Err(obstacle),
    };
    closing.unwrap_or_else(|problem| Closing { problem: Some(problem), ..Closing::default() })
}

/// Accepts spans for the sinks. It never waits.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    queues: Vec<Arc<Queue>>,
    watches: Vec<Watch>,
    recorders: Vec<Recorder>,
}

impl Intake {
    /// The command has started.
    pub(crate) fn begin(&self) {
        for queue in &self.queues {
            queue.begin();
        }
    }

    /// Shows an event to the sinks that need more than spans, before the model gets it.
    pub(crate) fn record(&self, event: &Event) {
        for recorder in &self.recorders {
            recorder.record(event);
        }
    }

    /// Queues a span for every sink.
    pub(crate) fn push(&self, span: &Arc<Span>) {
        for queue in &self.queues {
            queue.push(Arc::clone(span));
        }
    }

    /// No more spans come. The queued spans must be delivered within this time. It can be called again. Then the time
    /// begins again.
    pub(crate) fn close(&self, flush_timeout: Duration) {
        for queue in &self.queues {
            queue.close(Instant::now() + flush_timeout);
        }
    }

    /// Sets the root span that remains if process-tracer is killed now.
    pub(crate) fn set_cut_off_root(&self, root: Span) {
        let root = Arc::new(root);
        for queue in &self.queues {
            queue.set_cut_off_root(Arc::clone(&root));
        }
    }

    /// Whether there is a live page, which somebody can open to see the running processes.
    pub(crate) fn may_be_watched(&self) -> bool {
        !self.watches.is_empty()
    }

    /// Whether a reader sees the running processes now.
    pub(crate) fn is_watched(&self) -> bool {
        self.watches.iter().any(|watch| !watch.is_idle())
    }

    /// Shows the running processes to the readers.
    pub(crate) fn show(&self, running: impl Iterator<Item = Span>) {
        let running = Arc::new(running.collect());
        for watch in &self.watches {
            watch.show(Arc::clone(&running));
        }
    }

    /// Spans lost so far, of all sinks.
    pub(crate) fn lost(&self) -> u64 {
        self.queues.iter().map(|queue| queue.undelivered().lost).sum()
    }
}

/// A sink in its thread.
#[derive(Debug)]
struct Running {
    destination: String,
    to_send: Option<String>,
    queue: Arc<Queue>,
    /// Set once its thread runs.
    clock: Arc<OnceLock<WorkClock>>,
    closing: mpsc::Receiver<Closing>,
}

impl Running {
    /// Waits for its end, as long as there is [`Patience`].
    fn join(self) -> Delivery {
        let mut patience = Patience::new(self.glance());
        let problem = |words: &str| Closing { problem: Some(words.to_owned()), ..Closing::default() };
        let closing = loop {
            match self.closing.recv_timeout(GLANCE) {
                Ok(closing) => break closing,
                Err(RecvTimeoutError::Disconnected) => {
                    break problem("this is a bug, please report it: its thread ended");
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if patience.is_lost(self.glance()) {
                break problem("it accepts no more data");
            }
        };
        let Undelivered { lost, saved } = self.queue.undelivered();
        let (delivered, void) = match self.queue.delivered() {
            count if closing.is_void => (0, count),
            count => (count, 0),
        };
        let missing = Undelivered { lost: lost + self.queue.pending() + void, saved };
        let full = || (missing.lost > 0).then(|| "the queue was full".to_owned());
        let closing = Closing { problem: closing.problem.or_else(full), ..closing };
        let to_send = self.to_send.filter(|_| saved > 0);
        Delivery { destination: self.destination, delivered, missing, to_send, closing }
    }

    fn glance(&self) -> Glance {
        Glance {
            at: Instant::now(),
            pending: self.queue.pending(),
            is_over: self.queue.is_over(),
            work: self.clock.get().map_or(Duration::ZERO, WorkClock::read),
        }
    }
}

/// How often to check whether the time to deliver is over. The time can become shorter.
const GLANCE: Duration = Duration::from_millis(100);

/// Running sinks.
#[derive(Debug)]
pub(crate) struct Sinks {
    running: Vec<Running>,
    watches: Vec<Watch>,
    recorders: Vec<Recorder>,
}

impl Sinks {
    pub(crate) fn intake(&self) -> Intake {
        Intake {
            queues: self.running.iter().map(|running| Arc::clone(&running.queue)).collect(),
            watches: self.watches.clone(),
            recorders: self.recorders.clone(),
        }
    }

    /// Waits until all spans are delivered, or until the time of [`Intake::close`] is over. Returns the results.
    pub(crate) fn join(self) -> Vec<Delivery> {
        self.running.into_iter().map(Running::join).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Keeps a batch of one span. With a larger batch, it does something else.
    struct Fickle(fn() -> Undelivered);

    const KEPT: Undelivered = Undelivered { lost: 0, saved: 1 };

    impl Sink for Fickle {
        fn destination(&self) -> String {
            "fickle".to_owned()
        }

        fn to_send(&self) -> Option<String> {
            Some("send it".to_owned())
        }

        fn write(&mut self, spans: Vec<Arc<Span>>, _: &Queue) -> Undelivered {
            if spans.len() == 1 { KEPT } else { (self.0)() }
        }

        fn close(self: Box<Self>, _: &Queue) -> Closing {
            Closing::default()
        }
    }

    /// The result of such a sink. It gets one span, and later two.
    fn deliver(second: fn() -> Undelivered) -> Delivery {
        let sinks = OpenSinks(vec![Box::new(Fickle(second))]).start(Threads::of_test());
        let (intake, span) = (sinks.intake(), Arc::new(queue::tests::span(10)));
        intake.push(&span);
        while sinks.running[0].queue.pending() > 0 {
            thread::sleep(Duration::from_millis(10));
        }
        intake.push(&span);
        intake.push(&span);
        intake.close(Duration::ZERO);
        sinks.join().remove(0)
    }

    #[test]
    fn the_spans_lost_by_a_panic_are_reported() {
        let delivery = deliver(|| panic!("at the {}", "disco"));
        assert_eq!((delivery.delivered, delivery.missing), (0, Undelivered { lost: 2, saved: 1 }));
        assert_eq!(delivery.destination, "fickle");
        assert_eq!(delivery.closing.problem.unwrap(), "this is a bug, please report it: at the disco");
    }

    #[test]
    fn a_sink_that_is_given_up_keeps_the_spans_that_it_has_saved() {
        let delivery = deliver(|| {
            loop {
                thread::park();
            }
        });
        assert_eq!((delivery.delivered, delivery.missing), (0, Undelivered { lost: 2, saved: 1 }));
        assert_eq!(delivery.closing.problem.unwrap(), "it accepts no more data");
        assert_eq!(delivery.to_send.unwrap(), "send it");
    }
}
