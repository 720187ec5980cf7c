//! The thread that empties the ring buffer: events into the model, finished spans into the sinks' queues. Nothing it does
//! waits for a collector, a disk or a terminal.

use std::{
    os::fd::AsFd,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
    time::{ClockId, clock_gettime},
};
use tracer_bpf::{Capture, Stream};
use tracer_model::{Ktime, Losses, Tracer, event::Usage};

use crate::{privileges, sinks::Intake};

/// How often the ring buffer is looked at, milliseconds. The programs wake us when there is much in it.
const INTERVAL_MS: u16 = 200;

/// After so many looks at nothing we let ourselves be woken by whatever comes, and look but rarely, for what tells nobody.
const PATIENCE: u32 = 5;
const IDLE_MS: u16 = 10_000;

/// How often it is told what runs, if somebody looks, and how much of it.
const GLANCE: Duration = Duration::from_secs(1);
const SHOWN: usize = 5000;

/// The running thread.
#[derive(Debug)]
pub(crate) struct Drain {
    thread: JoinHandle<Result<(Tracer, Stream)>>,
    stop: Arc<EventFd>,
    capture: Arc<Capture>,
    intake: Intake,
}

/// The thread before it has something to do.
#[derive(Debug)]
pub(crate) struct Waiting {
    drain: Drain,
    work: mpsc::Sender<Tracer>,
}

impl Waiting {
    pub(crate) fn start(capture: Capture, stream: Stream, intake: Intake) -> Result<Self> {
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let capture = Arc::new(capture);
        let (work, given) = mpsc::channel();
        let thread = thread::Builder::new().name("drain".to_owned()).spawn({
            let stop = Arc::clone(&stop);
            let (capture, intake) = (Arc::clone(&capture), intake.clone());
            move || {
                privileges::drop_in_thread();
                let tracer: Tracer = given.recv()?;
                // While the command starts.
                tracer.prepare();
                Ok(drain(stream, &capture, tracer, &stop, &intake))
            }
        });
        let thread = thread.context("cannot start a thread")?;
        Ok(Self { drain: Drain { thread, stop, capture, intake }, work })
    }

    pub(crate) fn begin(self, tracer: Tracer) -> Drain {
        // If it is not there any more, that turns out when it is joined.
        let _ = self.work.send(tracer);
        self.drain
    }
}

impl Drain {
    /// What the programs say besides events.
    pub(crate) fn capture(&self) -> &Capture {
        &self.capture
    }

    /// Takes in what is left and ends the trace, of which something may have been left `unobserved`. To drop the capture takes
    /// the kernel longer than all of this.
    pub(crate) fn finish(self, tree: Usage, unobserved: Option<String>) -> Result<(Tracer, Arc<Capture>)> {
        self.stop.write(1)?;
        let (mut tracer, stream) = self.thread.join().map_err(|_| anyhow!("the draining thread panicked"))??;
        let losses = Losses {
            undecodable: stream.undecodable(),
            undelivered: self.intake.lost(),
            unobserved,
            ..self.capture.losses()
        };
        tracer.set_tree_usage(tree);
        tracer.finish(now(), losses);
        hand_on(&mut tracer, &self.intake);
        Ok((tracer, self.capture))
    }
}

fn drain(
    mut stream: Stream,
    capture: &Capture,
    mut tracer: Tracer,
    stop: &EventFd,
    intake: &Intake,
) -> (Tracer, Stream) {
    let (mut known, mut shown, mut quiet) = (0, Instant::now(), 0);
    loop {
        let mut ready = [PollFd::new(stream.as_fd(), PollFlags::POLLIN), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        let is_idle = quiet > PATIENCE && !intake.may_be_watched();
        // Whatever woke us, or nothing: look.
        let _ = poll(&mut ready, PollTimeout::from(if is_idle { IDLE_MS } else { INTERVAL_MS }));
        let is_last = ready[1].any().unwrap_or(false);
        let mut handle = |event| {
            tracer.handle(event);
            hand_on(&mut tracer, intake);
        };
        match stream.drain(now(), &mut handle) {
            Ok(0) => quiet = quiet.saturating_add(1),
            Ok(_) => quiet = 0,
            // It is readable all the time.
            Err(_) => thread::sleep(Duration::from_millis(INTERVAL_MS.into())),
        }
        // One more look comes before we rely on being woken.
        capture.wake_for_any(quiet >= PATIENCE);
        if is_last {
            stream.finish(now(), handle);
        }
        let lost = capture.lost_records();
        if lost > known {
            tracer.lose(now(), lost - known);
            known = lost;
        }
        if intake.is_watched() && shown.elapsed() > GLANCE && !is_last {
            intake.show(tracer.running(now()).take(SHOWN));
            shown = Instant::now();
        }
        if is_last {
            return (tracer, stream);
        }
    }
}

/// Hands finished spans to the sinks.
pub(crate) fn hand_on(tracer: &mut Tracer, intake: &Intake) {
    while let Some(span) = tracer.poll_span() {
        intake.push(&Arc::new(span));
    }
}

/// The boot clock, which the programs stamp records with.
pub(crate) fn now() -> Ktime {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap_or_else(|_| Duration::ZERO.into());
    Ktime(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}
