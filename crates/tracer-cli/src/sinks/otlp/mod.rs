//! To a collector, over OTLP. What it does not take is tried again, and in the end saved.

mod answer;
mod client;

use std::{
    borrow::Cow,
    env,
    path::{self, Path},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::ResourceSpans};
use opentelemetry_sdk::Resource;
use prost::{Message, bytes::Bytes};
use tracer_model::Span;
use tracer_otlp::Encoder;

pub(crate) use self::answer::Accepted;
use self::{answer::Failure, client::Client};
use super::{
    otel,
    queue::{Queue, Undelivered},
    sink::{Closing, Sink},
    spool::Spool,
};
use crate::cli::config::{Otlp, Protocol, TRACES_ENDPOINT, TRACES_PATH, Url};

/// When more than this waits behind a batch that is tried again, the batch is saved instead.
const PATIENCE: usize = 64 << 20;

pub(crate) struct OtlpSink {
    endpoint: Url,
    protocol: Protocol,
    client: Client,
    encoder: Encoder,
    spool: Spool,
    problem: Option<String>,
    /// What the user should know of the first batch that has such a thing.
    warning: Option<String>,
    /// The collector did not take the last batch, for no fault of the batch's.
    is_away: bool,
    /// Single spans, one after the other, that were too large for the collector.
    too_large: u32,
    /// It will not be tried any more.
    is_given_up: bool,
}

impl OtlpSink {
    pub(crate) fn open(otlp: &Otlp, resource: &Resource, spool: Spool) -> Result<Self> {
        Ok(Self {
            endpoint: otlp.endpoint.clone(),
            protocol: otlp.protocol,
            client: Client::open(otlp)?,
            encoder: otel::encoder(resource),
            spool,
            problem: None,
            warning: None,
            is_away: false,
            too_large: 0,
            is_given_up: false,
        })
    }

    /// Sends a batch, in several pieces if the collector wants them smaller.
    fn deliver(&mut self, spans: &[Arc<Span>], queue: &Queue) -> Undelivered {
        let is_too_much =
            (self.is_away || self.too_large > 0) && queue.deadline().is_none() && queue.bytes() > PATIENCE;
        if self.is_given_up || is_too_much || queue.is_over() {
            self.problem.get_or_insert_with(|| "there was no time left".to_owned());
            return self.spool.save(spans);
        }
        let request = self.encoder.request(spans.iter().map(Arc::as_ref)).into();
        let has_patience = |failure: &Failure| match (queue.deadline(), failure) {
            // Whether somebody is there shows at once; the exit is not held up for nobody.
            (Some(_), Failure::Unreachable(_)) => false,
            (Some(deadline), _) => Instant::now() < deadline,
            (None, _) => queue.bytes() <= PATIENCE,
        };
        let pace = Pace {
            deadline: &|| queue.deadline(),
            wait: &|delay| queue.wait(delay, PATIENCE),
            has_patience: &has_patience,
        };
        let result = export(&self.client, &request, spans.len(), &pace);
        match result {
            Ok(accepted) => {
                (self.is_away, self.too_large) = (false, 0);
                let lost = accepted.rejected;
                if lost > 0 {
                    self.problem.get_or_insert_with(|| format!("rejected by the collector: {}", accepted.reason));
                }
                self.warning = self.warning.take().or(accepted.warning);
                Undelivered { lost, ..Undelivered::default() }
            }
            Err(Failure::TooLarge(_)) if spans.len() > 1 => {
                let (one, other) = spans.split_at(spans.len() / 2);
                self.deliver(one, queue) + self.deliver(other, queue)
            }
            Err(failure) => {
                self.too_large += u32::from(matches!(failure, Failure::TooLarge(_)));
                self.is_away = matches!(failure, Failure::Unreachable(_) | Failure::Busy { .. });
                self.is_given_up = self.is_away && queue.deadline().is_some() || self.too_large >= TOO_LARGE;
                self.problem.get_or_insert_with(|| failure.to_string());
                self.spool.save(spans)
            }
        }
    }
}

/// When as many single spans are too large, it is not the spans.
const TOO_LARGE: u32 = 8;

impl Sink for OtlpSink {
    fn destination(&self) -> String {
        self.endpoint.to_string()
    }

    fn write(&mut self, spans: Vec<Arc<Span>>, queue: &Queue) -> Undelivered {
        self.deliver(&spans, queue)
    }

    fn close(self: Box<Self>) -> Closing {
        self.client.close();
        let (saved_in, loss) = self.spool.close();
        let problem = [self.problem, loss].into_iter().flatten().reduce(|problem, loss| format!("{problem}; {loss}"));
        let to_send = saved_in.map(|file| command_to_send(&file, &self.endpoint, self.protocol));
        Closing { problem, warning: self.warning, to_send, ..Closing::default() }
    }
}

/// The command line that delivers a file, whatever folder and shell it is run in.
fn command_to_send(file: &Path, endpoint: &Url, protocol: Protocol) -> String {
    let program = env::current_exe().unwrap_or_else(|_| "process-tracer".into());
    let file = path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let endpoint = endpoint.to_string();
    let mut words = vec![program.to_string_lossy().into_owned(), "send".to_owned()];
    // What is given to --endpoint is a base, and not every URL has one.
    let is_below_base = protocol == Protocol::Grpc || endpoint.ends_with(TRACES_PATH);
    if is_below_base {
        words.extend(["--endpoint".to_owned(), endpoint.clone()]);
    }
    words.extend(["--protocol".to_owned(), protocol.name().to_owned(), file.to_string_lossy().into_owned()]);
    let quoted = |word: &str| shlex::try_quote(word).map_or_else(|_| word.to_owned(), Cow::into_owned);
    let command = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    if is_below_base { command } else { format!("{TRACES_ENDPOINT}={} {command}", quoted(&endpoint)) }
}

/// Sends a request without spans. Gives what the collector warns of.
pub(crate) fn check(otlp: &Otlp) -> Result<Option<String>, String> {
    let client = Client::open(otlp).map_err(|error| format!("{error:#}"))?;
    let answer = client.export(&Bytes::new(), &|| None);
    client.close();
    answer.map(|accepted| accepted.warning).map_err(|failure| failure.to_string())
}

/// Sends what is in a file.
pub(crate) struct Sender {
    client: Client,
    /// How long a collector is asked again; a tenth of it, if there is none.
    patience: Duration,
}

impl Sender {
    pub(crate) fn open(otlp: &Otlp, patience: Duration) -> Result<Self> {
        Ok(Self { client: Client::open(otlp)?, patience })
    }

    /// Sends spans, in several requests if the collector wants them smaller.
    pub(crate) fn send(&self, resource_spans: Vec<ResourceSpans>) -> Result<Accepted, String> {
        let started = Instant::now();
        let request = ExportTraceServiceRequest { resource_spans };
        let pace = Pace {
            deadline: &|| None,
            wait: &thread::sleep,
            has_patience: &|failure| {
                let (patience, wait) = match failure {
                    Failure::Unreachable(_) => (self.patience / 10, Duration::ZERO),
                    Failure::Busy { after, .. } => (self.patience, after.unwrap_or_default()),
                    _ => (self.patience, Duration::ZERO),
                };
                started.elapsed() + wait < patience
            },
        };
        let bytes = request.encode_to_vec().into();
        match export(&self.client, &bytes, count(&request.resource_spans), &pace) {
            Ok(accepted) => Ok(accepted),
            Err(Failure::TooLarge(reason)) => {
                let (one, other) = halves(request.resource_spans).ok_or(reason)?;
                Ok(self.send(one)? + self.send(other)?)
            }
            Err(failure) => Err(failure.to_string()),
        }
    }
}

fn count(spans: &[ResourceSpans]) -> usize {
    spans.iter().flat_map(|resource| &resource.scope_spans).map(|scope| scope.spans.len()).sum()
}

/// The same spans in two requests; `None` if there is only one.
fn halves(mut all: Vec<ResourceSpans>) -> Option<(Vec<ResourceSpans>, Vec<ResourceSpans>)> {
    let half = count(&all) / 2;
    if half == 0 {
        return None;
    }
    let mut other = all.clone();
    // The first `half` spans stay in one, the rest in the other.
    let mut seen = 0;
    for (resource, other) in all.iter_mut().zip(&mut other) {
        for (scope, other) in resource.scope_spans.iter_mut().zip(&mut other.scope_spans) {
            let kept = half.saturating_sub(seen).min(scope.spans.len());
            seen += scope.spans.len();
            scope.spans.truncate(kept);
            other.spans.drain(..kept);
        }
    }
    Some((all, other))
}

/// How long to go on, and how to wait.
struct Pace<'a> {
    /// When the last request has to be over; it may come up meanwhile.
    deadline: &'a dyn Fn() -> Option<Instant>,
    wait: &'a dyn Fn(Duration),
    /// Whether to try again after that.
    has_patience: &'a dyn Fn(&Failure) -> bool,
}

/// Tries until it is taken in, or there is no point or no patience.
fn export(client: &Client, request: &Bytes, spans: usize, pace: &Pace<'_>) -> Result<Accepted, Failure> {
    let mut delays = backoff();
    loop {
        let failure = match client.export(request, pace.deadline) {
            Ok(accepted) => return Ok(accepted.of(spans)),
            Err(failure) => failure,
        };
        let delay = match &failure {
            Failure::TooLarge(_) | Failure::Refused(_) => return Err(failure),
            _ if !(pace.has_patience)(&failure) => return Err(failure),
            Failure::Busy { after: Some(after), .. } => *after,
            _ => delays.next().unwrap_or(LONGEST_DELAY),
        };
        // It is not to be asked before the time is over: then there is no use in waiting either.
        if (pace.deadline)().is_some_and(|deadline| Instant::now() + delay > deadline) {
            return Err(failure);
        }
        (pace.wait)(delay);
    }
}

/// Longest time between two tries, if the collector does not ask for more.
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
