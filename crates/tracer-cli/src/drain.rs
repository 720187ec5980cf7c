//! The thread that reads events into the model, and puts finished spans into the queues of the sinks. It never waits for a
//! collector, a disk or a terminal.

use std::{
    io,
    os::fd::AsFd,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};
use tracer_model::{
    Losses, Tracer,
    source::{End, EventStream, Source},
};
use tracer_ptrace::clock::now;

use crate::{
    child::privileges,
    shortage::Reading,
    sinks::Intake,
    tags::{self, Latest},
    threads::{self, Threads},
};

/// How often the stream is read, milliseconds. The stream becomes readable earlier when there is much in it.
const INTERVAL_MS: u16 = 200;

/// After this many reads without an event, any event makes the stream readable.
const PATIENCE: u32 = 5;

/// How often an idle stream is read, milliseconds. Some changes do not make the stream readable, for example the counts
/// of flows.
const IDLE_MS: u16 = 10_000;

/// How often the live page gets the running processes, if the page is open.
const GLANCE: Duration = Duration::from_secs(1);

/// The largest number of processes that the page gets.
const SHOWN: usize = 5000;

/// How often the sinks get the root span that remains if process-tracer is killed.
const CUT_OFF: Duration = Duration::from_secs(1);

/// Reads the events of a source into the model.
pub(crate) enum Drain {
    /// A thread reads the events as they come.
    Thread { thread: JoinHandle<Result<Tracer>>, end: mpsc::Sender<Ending>, stop: Arc<EventFd> },
    /// There is nothing to read before the end.
    Late(Box<Reader>),
}

/// A [`Drain`] that has no model yet. Its thread runs already.
pub(crate) enum Waiting {
    Thread { drain: Drain, model: mpsc::Sender<Tracer> },
    Late(Input),
}

/// The facts for the end of the trace.
pub(crate) struct Ending {
    /// The end of the command.
    pub(crate) end: End,
    /// Events that were asked for and not observed, with the reason.
    pub(crate) unobserved: Option<String>,
}

/// The source of the events, and the destination of the spans.
pub(crate) struct Input {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) stream: Box<dyn EventStream>,
    pub(crate) intake: Intake,
    /// Tags that the user's command has printed.
    pub(crate) tags: Latest,
}

impl Waiting {
    /// Starts the thread, if the stream needs one.
    ///
    /// # Errors
    ///
    /// The kernel cannot start another thread.
    pub(crate) fn start(input: Input, threads: Threads) -> Result<Self> {
        if input.stream.as_fd().is_none() {
            return Ok(Self::Late(input));
        }
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let ((model, given), (end, ending)) = (mpsc::channel(), mpsc::channel());
        let thread = threads.start_quiet("drain", {
            let stop = Arc::clone(&stop);
            move || {
                privileges::drop_in_thread();
                let tracer: Tracer = given.recv()?;
                let mut reader = Reader::new(input, tracer);
                reader.read_until(&stop);
                Ok(reader.finish(ending.recv()?))
            }
        });
        let thread = thread.context("cannot start a thread")?;
        Ok(Self::Thread { drain: Drain::Thread { thread, end, stop }, model })
    }

    pub(crate) fn begin(self, tracer: Tracer) -> Drain {
        match self {
            Self::Thread { drain, model } => {
                // If the thread has ended, its join reports this.
                let _ = model.send(tracer);
                drain
            }
            Self::Late(input) => Drain::Late(Box::new(Reader::new(input, tracer))),
        }
    }
}

impl Drain {
    /// Reads the last events and finishes the trace.
    ///
    /// # Errors
    ///
    /// The thread has ended without a trace.
    pub(crate) fn finish(self, ending: Ending) -> Result<Tracer> {
        match self {
            Self::Thread { thread, end, stop } => {
                // If the thread has ended, its join reports this.
                let _ = end.send(ending);
                stop.write(1)?;
                thread.join().map_err(|panic| anyhow!(threads::bug(panic.as_ref())))?
            }
            Self::Late(reader) => Ok(reader.finish(ending)),
        }
    }
}

/// Takes events from the stream to the model, and spans from the model to the sinks.
pub(crate) struct Reader {
    input: Input,
    tracer: Tracer,
    /// Lost events that the model already knows.
    lost: u64,
    /// When the sinks last got the root span that remains if process-tracer is killed.
    cut_off: Option<Instant>,
    /// The limits and counters of the machine at the start of the run.
    machine: Reading,
}

impl Reader {
    fn new(input: Input, tracer: Tracer) -> Self {
        // `Reading::take` reads files. The drain's thread does this while the command starts.
        Self { input, tracer, lost: 0, cut_off: None, machine: Reading::take() }
    }

    /// Reads until `stop` is readable.
    fn read_until(&mut self, stop: &EventFd) {
        let (mut shown, mut quiet) = (Instant::now(), 0);
        loop {
            let Input { stream, intake, .. } = &self.input;
            let is_idle = quiet > PATIENCE && !intake.may_be_watched() && !self.tracer.has_waiting_spans();
            let wakers = [stop.as_fd(), stream.as_fd().unwrap_or(stop.as_fd())];
            let mut ready = wakers.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            // Check after every wake-up and after every timeout.
            let _ = poll(&mut ready, PollTimeout::from(if is_idle { IDLE_MS } else { INTERVAL_MS }));
            if ready[0].any().unwrap_or(false) {
                return;
            }
            // Tags first, because they came before the events that are read now.
            self.take_tags();
            match self.read() {
                Ok(0) => quiet = quiet.saturating_add(1),
                Ok(_) => quiet = 0,
                // After an error the stream stays readable, so poll(2) does not wait.
                Err(_) => thread::sleep(Duration::from_millis(INTERVAL_MS.into())),
            }
            self.tracer.settle(now());
            hand_on(&mut self.tracer, &self.input.intake);
            // An event can come just before this call. So one more read comes before the first long wait.
            self.input.source.wake_for_any(quiet >= PATIENCE);
            self.count_losses();
            if self.input.intake.is_watched() && shown.elapsed() > GLANCE {
                self.input.intake.show(self.tracer.running(now()).take(SHOWN));
                shown = Instant::now();
            }
        }
    }

    fn take_tags(&mut self) {
        if let Some(snapshot) = tags::take(&self.input.tags) {
            self.tracer.tag(snapshot);
        }
    }

    /// Reads the events that have come in. Returns the number of records.
    fn read(&mut self) -> io::Result<usize> {
        let Self { input: Input { stream, intake, .. }, tracer, cut_off, .. } = self;
        let records = stream.drain(now(), &mut |event| {
            intake.record(&event);
            tracer.handle(event);
            hand_on(tracer, intake);
        })?;
        if records > 0
            && cut_off.is_none_or(|at| at.elapsed() > CUT_OFF)
            && let Some(root) = tracer.cut_off_root(now())
        {
            intake.set_cut_off_root(root);
            *cut_off = Some(Instant::now());
        }
        Ok(records)
    }

    fn count_losses(&mut self) {
        let lost = self.input.source.lost_events();
        if lost > self.lost {
            self.tracer.lose(now(), lost - self.lost);
            self.lost = lost;
        }
    }

    fn finish(mut self, Ending { end, unobserved }: Ending) -> Tracer {
        let shortage = Reading::take().since(&self.machine);
        self.take_tags();
        let Self { input: Input { stream, intake, .. }, tracer, .. } = &mut self;
        stream.finish(now(), &end, &mut |event| {
            intake.record(&event);
            tracer.handle(event);
            hand_on(tracer, intake);
        });
        self.count_losses();
        let Self { input: Input { source, stream, intake, .. }, mut tracer, .. } = self;
        let losses = source.losses();
        let losses = Losses {
            undecodable: stream.undecodable(),
            undelivered: intake.lost(),
            unobserved: unobserved.or(losses.unobserved.clone()),
            ..losses
        };
        tracer.set_tree_usage(end.usage);
        tracer.set_shortage(shortage);
        tracer.set_source(source.description());
        tracer.finish(now(), losses);
        hand_on(&mut tracer, &intake);
        tracer
    }
}

/// Hands finished spans to the sinks.
fn hand_on(tracer: &mut Tracer, intake: &Intake) {
    while let Some(span) = tracer.poll_span() {
        intake.push(&Arc::new(span));
    }
}
