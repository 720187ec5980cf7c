//! The sink of a collector, over OTLP. If the collector does not accept spans, they are sent again, and finally saved.

use std::{
    env,
    path::{self, Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, Result, anyhow};
use tracer_model::Span;
use tracer_otlp::{
    Client, Collector, Encoder, Failure, Protocol, Signal,
    retry::{Pace, Retry},
    spool::Spool,
};

use super::{
    RunFacts,
    cut_off::{self, CutOff},
    queue::{Queue, Undelivered},
    sink::{Closing, Sink},
};
use crate::{
    cli::config::TRACES_ENDPOINT,
    console::{self, quoted},
    file,
};

/// If more bytes wait behind a batch that is sent again, the batch is saved instead.
const PATIENCE: usize = 64 << 20;

/// If this many single spans in a row are too large, the spans are not the reason.
const TOO_LARGE: u32 = 8;

pub(crate) struct OtlpSink {
    collector: Collector,
    client: Client,
    retry: Retry,
    encoder: Encoder,
    spool: Spool,
    /// The file of the spool; `None` if nothing is kept.
    spool_file: Option<PathBuf>,
    /// `None`: nothing is kept.
    cut_off: Option<CutOff>,
    /// It has tried to send the root spans of earlier runs that were killed.
    has_finished_others: bool,
    problem: Option<String>,
    /// The first warning of the collector.
    warning: Option<String>,
    /// Why undelivered spans were not kept.
    loss: Option<String>,
    /// The collector did not accept the last batch, but the batch was not the reason.
    is_away: bool,
    /// Single spans in a row that were too large for the collector.
    too_large: u32,
    /// No more spans are sent.
    is_given_up: bool,
}

impl OtlpSink {
    pub(crate) fn open(collector: &Collector, run: &RunFacts<'_>) -> Result<Self> {
        let (encoder, spool_file) = (run.encoder.clone(), run.spool.map(Path::to_owned));
        Ok(Self {
            collector: collector.clone(),
            client: Client::open(collector, console::warn)?,
            retry: Retry::default(),
            spool: Spool::new(encoder.clone(), {
                let file = spool_file.clone();
                Box::new(move || Ok(create(file.as_deref())?))
            }),
            cut_off: run.spool.map(|file| CutOff::new(file, collector, run.root, encoder.clone())),
            has_finished_others: false,
            encoder,
            spool_file,
            problem: None,
            warning: None,
            loss: None,
            is_away: false,
            too_large: 0,
            is_given_up: false,
        })
    }

    /// Sends a batch. If the collector accepts only smaller requests, sends it in several pieces.
    fn deliver(&mut self, spans: &[Arc<Span>], queue: &Queue) -> Undelivered {
        let is_too_much =
            (self.is_away || self.too_large > 0) && queue.deadline().is_none() && queue.bytes() > PATIENCE;
        if self.is_given_up || is_too_much || queue.is_over() {
            self.problem.get_or_insert_with(|| "there was no time left".to_owned());
            return self.save(spans);
        }
        let request = self.encoder.request(spans.iter().map(Arc::as_ref)).into();
        let has_patience = |failure: &Failure| match (queue.deadline(), failure) {
            // The command has ended. A missing collector must not delay the exit.
            (Some(_), Failure::Unreachable(_)) => false,
            (Some(deadline), _) => Instant::now() < deadline,
            (None, _) => queue.bytes() <= PATIENCE,
        };
        let pace = Pace {
            deadline: &|| queue.deadline(),
            wait: &|delay| queue.wait(delay, PATIENCE),
            has_patience: &has_patience,
        };
        match self.retry.export(&self.client, Signal::Traces, &request, spans.len(), &pace) {
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
                self.save(spans)
            }
        }
    }

    /// The collector accepts spans, so it can get the root spans of earlier runs that were killed.
    fn finish_others(&mut self, queue: &Queue) {
        let Some(folder) = self.spool_file.as_deref().and_then(Path::parent) else { return };
        let traces = cut_off::finish_others(folder, &self.collector, &self.client, &|| queue.deadline());
        if !traces.is_empty() {
            self.warning.get_or_insert(cut_off::report(&traces));
        }
    }

    /// Keeps spans that the collector did not accept.
    fn save(&mut self, spans: &[Arc<Span>]) -> Undelivered {
        let count = spans.len() as u64;
        match self.spool.save(spans.iter().map(Arc::as_ref)) {
            Ok(()) => Undelivered { saved: count, ..Undelivered::default() },
            Err(error) => {
                self.loss.get_or_insert_with(|| format!("{:#}", anyhow!(error)));
                Undelivered { lost: count, ..Undelivered::default() }
            }
        }
    }
}

/// Creates the file of the spool, and its folder.
fn create(path: Option<&Path>) -> Result<std::fs::File> {
    let path = path.context("not kept, because --spool is none")?;
    if let Some(folder) = path.parent() {
        file::make_folder(folder).with_context(|| format!("cannot make '{}'", folder.display()))?;
    }
    file::create(path)
}

impl Sink for OtlpSink {
    fn destination(&self) -> String {
        self.collector.url(Signal::Traces).to_string()
    }

    fn to_send(&self) -> Option<String> {
        self.spool_file.as_ref().map(|file| command_to_send(file, &self.collector))
    }

    fn write(&mut self, spans: Vec<Arc<Span>>, queue: &Queue) -> Undelivered {
        if let Some(cut_off) = &mut self.cut_off {
            cut_off.prepare(&spans, queue);
        }
        let missing = self.deliver(&spans, queue);
        if missing.lost == 0
            && let Some(cut_off) = &mut self.cut_off
        {
            cut_off.finish(&spans);
        }
        if missing == Undelivered::default() && !self.has_finished_others {
            self.has_finished_others = true;
            self.finish_others(queue);
        }
        missing
    }

    fn close(mut self: Box<Self>, _: &Queue) -> Closing {
        if let Some(cut_off) = &mut self.cut_off {
            cut_off.remove();
        }
        self.client.close();
        let problem =
            [self.problem, self.loss].into_iter().flatten().reduce(|problem, loss| format!("{problem}; {loss}"));
        Closing { problem, warning: self.warning, ..Closing::default() }
    }
}

/// The command line that delivers a file, from any folder and in any shell.
fn command_to_send(file: &Path, collector: &Collector) -> String {
    let program = env::current_exe().unwrap_or_else(|_| "process-tracer".into());
    let file = path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let endpoint = collector.url(Signal::Traces).to_string();
    let mut words = vec![program.to_string_lossy().into_owned(), "send".to_owned()];
    // The value of --endpoint is a base URL. Not every URL has a base URL.
    let is_below_base = collector.protocol == Protocol::Grpc || endpoint.ends_with(Signal::Traces.path());
    if is_below_base {
        words.extend(["--endpoint".to_owned(), endpoint.clone()]);
    }
    words.extend(["--protocol".to_owned(), collector.protocol.name().to_owned(), file.to_string_lossy().into_owned()]);
    let command = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    if is_below_base { command } else { format!("{TRACES_ENDPOINT}={} {command}", quoted(&endpoint)) }
}
