//! Turns the spans of a run into messages for the live page.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use serde_json::{Value as Json, json};
use tokio::sync::watch;
use tracer_model::{Resource, Span as RunSpan, SpanId};

use super::usage::{add_current_usage, is_initial_pid_namespace};
use crate::{
    columns::Columns,
    page::{about, about_now},
    row::{About, Kind, Row, Rows, SPAN_LIMIT},
    span::{Span, nanoseconds},
};

/// How often the page gets the running processes.
const PULSE: Duration = Duration::from_secs(1);

/// Messages about ended spans are kept up to this size, for a page that is opened later.
const KEPT: usize = 256 << 20;

/// The place where spans come in and messages go out.
pub(super) struct Desk {
    state: Mutex<Messages>,
    /// Changes with each message. It is true after the last one.
    progress: watch::Sender<bool>,
    /// The running processes, as last reported. The reporter only swaps the pointer, and never waits for a copy.
    running: Mutex<Arc<Vec<RunSpan>>>,
    root: SpanId,
    resource: Resource,
    /// The longest string value to show, in characters.
    value_limit: Option<usize>,
}

/// All messages so far, and the state behind them.
struct Messages {
    columns: Columns,
    rows: Rows,
    ended: HashSet<SpanId>,
    messages: Vec<Message>,
    bytes: usize,
    /// Processes and connections that have ended.
    counts: (usize, usize),
    /// The last batch of running processes, and the facts about the whole trace.
    pulse: Option<(Arc<str>, Arc<str>)>,
    pulses: u64,
}

/// An event for the page.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) kind: &'static str,
    pub(super) data: Arc<str>,
}

/// The next thing to send to a page.
pub(super) enum News {
    /// The next message. A pulse may refer to strings in any message before it.
    Message(Message),
    /// The newest pulse, by its number.
    Pulse(u64, Option<(Arc<str>, Arc<str>)>),
    /// Nothing yet.
    None,
}

/// Accepts reports of running processes.
#[derive(Clone)]
pub struct Watch(Arc<Desk>);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    pub(super) fn new(desk: &Arc<Desk>) -> Self {
        Self(Arc::clone(desk))
    }

    /// No page is open, so there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.0.is_idle()
    }

    /// Replaces the running processes that the page shows.
    pub fn show(&self, running: Arc<Vec<RunSpan>>) {
        // The former value is freed after the lock is released.
        let _former = std::mem::replace(&mut *self.0.running(), running);
    }
}

impl Desk {
    pub(super) fn new(root: SpanId, resource: &Resource, value_limit: Option<usize>) -> Self {
        Self {
            state: Mutex::new(Messages::with_limit(SPAN_LIMIT)),
            progress: watch::Sender::new(false),
            running: Mutex::default(),
            root,
            resource: resource.clone(),
            value_limit,
        }
    }

    /// A receiver that changes with each message, and becomes true at the end.
    pub(super) fn subscribe(&self) -> watch::Receiver<bool> {
        self.progress.subscribe()
    }

    /// Adds spans that have ended.
    pub(super) fn add(&self, spans: &[Arc<RunSpan>]) {
        let spans = spans.iter().map(|span| self.read(span));
        self.state().add(spans, self.root);
        self.wake(false);
    }

    fn read<'a>(&self, span: &'a RunSpan) -> Span<'a> {
        Span::from(span).with_value_limit(self.value_limit)
    }

    /// No more spans come.
    pub(super) fn end(&self) {
        self.state().end(&self.resource);
        self.wake(true);
    }

    /// The next thing for a page that has received this many messages and pulses.
    pub(super) fn next(&self, messages: usize, pulses: u64) -> News {
        let state = self.state();
        match state.messages.get(messages) {
            Some(message) => News::Message(message.clone()),
            None if state.pulses > pulses => News::Pulse(state.pulses, state.pulse.clone()),
            None => News::None,
        }
    }

    fn state(&self) -> MutexGuard<'_, Messages> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, Arc<Vec<RunSpan>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no page is open. The server itself always holds one receiver.
    fn is_idle(&self) -> bool {
        self.progress.receiver_count() <= 1
    }

    /// Wakes the pages that wait for messages.
    fn wake(&self, is_over: bool) {
        self.progress.send_modify(|was_over| *was_over |= is_over);
    }
}

impl Messages {
    /// Begins without spans. Facts about the trace are computed from at most `limit` spans, as [`Rows::with_limit`] says.
    fn with_limit(limit: usize) -> Self {
        Self {
            columns: Columns::counting_from(nanoseconds(SystemTime::now())),
            rows: Rows::with_limit(limit),
            ended: HashSet::new(),
            messages: Vec::new(),
            bytes: 0,
            counts: (0, 0),
            pulse: None,
            pulses: 0,
        }
    }

    fn add<'a>(&mut self, spans: impl Iterator<Item = Span<'a>>, root: SpanId) {
        for span in spans {
            let row = self.rows.read(&span);
            if self.bytes > KEPT {
                self.rows.left_out += 1;
                continue;
            }
            self.ended.insert(row.id);
            match row.kind {
                Kind::Process => self.counts.0 += 1,
                Kind::Connection => self.counts.1 += 1,
                _ => {}
            }
            self.write(&span, Row { is_root: row.id == root, ..row.clone() });
            // The page has the span, even if there is no room for its row here.
            let _index = self.rows.keep(row, &span);
        }
        self.flush();
    }

    fn write(&mut self, span: &Span<'_>, row: Row) {
        let failure = row.failure.map(|failure| self.rows.text(failure).exact());
        self.columns.add(span, &row, failure);
    }

    fn flush(&mut self) {
        if !self.columns.is_empty() {
            let batch = self.columns.take().to_string();
            self.push("spans", batch);
        }
    }

    fn push(&mut self, kind: &'static str, data: String) {
        self.bytes += data.len();
        self.messages.push(Message { kind, data: data.into() });
    }

    /// Makes a pulse: the running processes. Only the newest pulse is kept. Its strings become a message, because later
    /// messages refer to them.
    fn pulse(&mut self, running: &[Span<'_>], root: SpanId, resource: &Resource) {
        // A process may have ended since it was reported as running. Beyond the size limit, a pulse has no processes.
        let has_room = self.bytes <= KEPT;
        let mut alive = Vec::new();
        for span in running {
            if !has_room || self.ended.contains(&span.id) {
                continue;
            }
            let row = self.rows.read(span);
            if row.id == root && self.rows.about.trace_id.is_empty() {
                let cpus = thread::available_parallelism().map_or(0, |cpus| cpus.get() as u64);
                self.rows.about = About::of(span);
                self.rows.about.certificate.cpus = cpus;
            }
            alive.push(row.id);
            self.write(span, Row { is_root: row.id == root, ..row });
        }
        let mut batch = self.columns.take();
        let strings = batch["strings"].take();
        if strings.as_array().is_some_and(|strings| !strings.is_empty()) {
            let mut only = Columns::default().take();
            only["strings"] = strings;
            self.push("spans", only.to_string());
        }
        batch["strings"] = json!([]);
        let counts = (self.counts.0 + alive.len(), self.counts.1);
        let mut trace = about_now(&self.rows.about, &self.columns, counts, nanoseconds(SystemTime::now()), resource);
        if has_room {
            trace["running"] = self.numbers(alive);
        }
        self.pulse = Some((batch.to_string().into(), trace.to_string().into()));
        self.pulses += 1;
    }

    /// The numbers of the processes that still run. The page forgets all others that it shows as running, because they
    /// ended without a span.
    fn numbers(&self, spans: impl IntoIterator<Item = SpanId>) -> Json {
        spans.into_iter().filter_map(|span| self.columns.known(span)).collect::<Vec<_>>().into()
    }

    fn end(&mut self, resource: &Resource) {
        self.flush();
        let mut trace = about(&self.rows, &self.columns, resource);
        let unfinished = self.rows.rows.iter().filter(|row| row.is_unfinished);
        trace["running"] = self.numbers(unfinished.map(|row| row.id));
        self.pulse = None;
        self.push("trace", trace.to_string());
    }
}

/// Makes a pulse every second while a page is open.
pub(super) async fn pulse(desk: Arc<Desk>) {
    let has_our_pids = is_initial_pid_namespace();
    let mut clock = tokio::time::interval(PULSE);
    loop {
        clock.tick().await;
        if desk.is_idle() || *desk.progress.borrow() {
            continue;
        }
        let running = Arc::clone(&*desk.running());
        let mut running: Vec<_> = running.iter().map(|span| desk.read(span)).collect();
        if has_our_pids {
            running.iter_mut().for_each(add_current_usage);
        }
        desk.state().pulse(&running, desk.root, &desk.resource);
        desk.wake(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::story;

    #[test]
    fn a_span_that_the_page_has_is_not_reported_as_too_many() {
        let story = story("make", 0, 100).starts("cc", 10, 10, |cc| cc).starts("as", 20, 10, |as_| as_);
        let spans = story.starts("ld", 30, 10, |ld| ld).spans();
        let root = spans.last().unwrap().span_id;
        let mut messages = Messages::with_limit(1);
        messages.add(spans.iter().map(Into::into), root);
        messages.end(&Resource::default());
        assert!(messages.rows.rows.len() < spans.len(), "there is no room for one of the rows");
        let text: String = messages.messages.iter().map(|message| &*message.data).collect();
        assert!(["cc", "as", "ld", "make"].iter().all(|name| text.contains(name)), "{text}");
        assert!(!text.contains("too many"), "{text}");
    }
}
