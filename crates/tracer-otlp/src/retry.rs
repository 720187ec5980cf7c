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

/// Sends requests to one collector. Between two requests, it waits for at least as long as the collector asks.
#[derive(Debug, Default)]
pub struct Retry {
    /// The collector has asked to wait until this moment, and this is the failure with which it asked. No request is sent
    /// before.
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
            if matches!(failure, Failure::TooLarge(_) | Failure::Refused(_)) {
                return Err(failure);
            }
            let mut delay = delays.next().unwrap_or(LONGEST_DELAY);
            if let Failure::Busy { after: Some(after), .. } = &failure {
                self.pause = Some((Instant::now() + *after, failure.clone()));
                delay = delay.max(*after);
            }
            // A retry would come after the deadline. So there is no reason to wait.
            if !(pace.has_patience)(&failure) || is_after_deadline(Instant::now() + delay, pace) {
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

#[cfg(test)]
mod tests {
    use std::{
        cell::RefCell,
        io::{Read, Write},
        net::TcpListener,
    };

    use super::*;
    use crate::{Collector, Endpoint, Protocol, Url};

    /// The waits between the requests to a collector that refuses each of them with this header, until the fifth
    /// failure.
    fn waits(header: &'static str) -> Vec<Duration> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let server = thread::spawn(move || {
            for _ in 0..5 {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.extend(byte);
                }
                let answer = "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n";
                write!(stream, "{answer}{header}\r\n").unwrap();
            }
        });
        let client = Client::open(&Collector::new(Protocol::HttpProtobuf, Endpoint::base(url)), |_| {}).unwrap();
        let (waits, failures) = (RefCell::new(Vec::new()), RefCell::new(0));
        let pace = Pace {
            deadline: &|| None,
            wait: &|time| waits.borrow_mut().push(time),
            has_patience: &|_| {
                *failures.borrow_mut() += 1;
                *failures.borrow() < 5
            },
        };
        let result = Retry::default().export(&client, Signal::Traces, &Bytes::new(), 0, &pace);
        assert!(matches!(result, Err(Failure::Busy { .. })), "{result:?}");
        server.join().unwrap();
        waits.into_inner()
    }

    #[test]
    fn a_collector_that_asks_for_no_time_gets_requests_at_growing_intervals() {
        for header in ["", "Retry-After: 0\r\n", "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n"] {
            let waits = waits(header);
            let least = [200, 400, 800, 1600].map(Duration::from_millis);
            assert!(waits.len() == 4 && waits.iter().zip(least).all(|(wait, least)| *wait >= least), "{waits:?}");
        }
    }
}
