//! Decides when to try again.

use std::{
    thread,
    time::{Duration, Instant},
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use prost::{Message, bytes::Bytes};

use crate::{Accepted, Client, Failure, Signal, message::TracesData};

/// The time limit of the tries, and the waits between them.
pub struct Pace<'a> {
    /// The time at which the last request must be over. It can be set later.
    pub deadline: &'a dyn Fn() -> Option<Instant>,
    /// Waits that long, or shorter.
    pub wait: &'a dyn Fn(Duration),
    /// Whether to try again after this failure.
    pub has_patience: &'a dyn Fn(&Failure) -> bool,
}

/// The requests to one collector. Between two of them, it waits for as long as the collector asks.
#[derive(Debug, Default)]
pub struct Retry {
    /// The collector has asked for time, with this failure. There is no request before this moment.
    pause: Option<(Instant, Failure)>,
}

impl Retry {
    /// Sends a request with that many items until the collector accepts it, a retry is useless, or the patience is
    /// over.
    ///
    /// # Errors
    ///
    /// The last failure.
    pub fn export(
        &mut self,
        client: &Client,
        signal: Signal,
        request: &Bytes,
        items: usize,
        pace: &Pace<'_>,
    ) -> Result<Accepted, Failure> {
        let mut delays = backoff();
        loop {
            self.wait(pace)?;
            let failure = match client.export(signal, request, pace.deadline) {
                Ok(accepted) => return Ok(accepted.of(items)),
                Err(failure) => failure,
            };
            match &failure {
                Failure::TooLarge(_) | Failure::Refused(_) => return Err(failure),
                Failure::Busy { after: Some(after), .. } => {
                    self.pause = Some((Instant::now() + *after, failure));
                    continue;
                }
                _ if !(pace.has_patience)(&failure) => return Err(failure),
                _ => {}
            }
            let delay = delays.next().unwrap_or(LONGEST_DELAY);
            // A retry would come after the deadline. So there is no reason to wait.
            if is_after_deadline(Instant::now() + delay, pace) {
                return Err(failure);
            }
            // This can end early, for example because the command has ended. Then the retry comes early, too.
            (pace.wait)(delay);
        }
    }

    /// Waits until the time that the collector has asked for is over. Returns its failure if that takes too long.
    fn wait(&mut self, pace: &Pace<'_>) -> Result<(), Failure> {
        while let Some((until, failure)) = &self.pause {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.pause = None;
            } else if is_after_deadline(*until, pace) || !(pace.has_patience)(failure) {
                return Err(failure.clone());
            } else {
                (pace.wait)(left);
            }
        }
        Ok(())
    }
}

fn is_after_deadline(moment: Instant, pace: &Pace<'_>) -> bool {
    (pace.deadline)().is_some_and(|deadline| moment > deadline)
}

/// Sends spans of a file. If the collector accepts only smaller requests, it sends several. It retries a busy collector
/// until the `patience` is over. If no collector answers, it retries for a tenth of that time.
///
/// # Errors
///
/// Some of the spans were not accepted.
pub fn send(client: &Client, spans: TracesData, patience: Duration) -> Result<Accepted, Failure> {
    let started = Instant::now();
    let has_patience = |failure: &Failure| {
        let (patience, wait) = match failure {
            Failure::Unreachable(_) => (patience / 10, Duration::ZERO),
            Failure::Busy { after, .. } => (patience, after.unwrap_or_default()),
            _ => (patience, Duration::ZERO),
        };
        started.elapsed() + wait < patience
    };
    let pace = Pace { deadline: &|| None, wait: &thread::sleep, has_patience: &has_patience };
    let request = spans.encode_to_vec().into();
    match Retry::default().export(client, Signal::Traces, &request, spans.span_count(), &pace) {
        Err(Failure::TooLarge(reason)) => {
            let (one, other) = spans.halves().ok_or(Failure::TooLarge(reason))?;
            Ok(send(client, one, patience)? + send(client, other, patience)?)
        }
        result => result,
    }
}

/// The longest time between two tries, if the collector does not ask for more.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

fn backoff() -> ExponentialBackoff {
    let first = Duration::from_millis(200);
    ExponentialBuilder::new()
        .with_min_delay(first)
        .with_max_delay(LONGEST_DELAY)
        .without_max_times()
        .with_jitter()
        .build()
}
