//! What the page has been told so far: spans come in, messages for the page go out.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use opentelemetry::SpanId;
use opentelemetry_sdk::{Resource, trace::SpanData};
use serde_json::json;
use tokio::sync::watch;
use tracer_model::Span;

use super::usage::{is_initial_pid_namespace, with_current_usage};
use crate::{
    columns::Columns,
    page::{about, about_now},
    row::{About, Kind, Row, Rows, SPAN_LIMIT, nanoseconds},
};

/// How often the page hears of what runs.
const PULSE: Duration = Duration::from_secs(1);

/// What has ended is kept up to this size, for whoever opens the page later.
const KEPT: usize = 256 << 20;

/// Makes the SDK's span of one of ours.
pub type Convert = dyn Fn(&Span) -> SpanData + Send + Sync;

/// Where spans come in and messages go out.
pub(super) struct Desk {
    state: Mutex<Told>,
    /// Changes with each message; true: there will be no more.
    progress: watch::Sender<bool>,
    /// Of running processes, as they were last heard of. Whoever shows them only swaps it, and never waits for a copy.
    running: Mutex<Arc<Vec<Span>>>,
    convert: Box<Convert>,
    root: SpanId,
    resource: Resource,
}

/// All that has been told.
struct Told {
    columns: Columns,
    rows: Rows,
    ended: HashSet<SpanId>,
    messages: Vec<Message>,
    bytes: usize,
    /// Processes and connections that have ended.
    counts: (usize, usize),
    /// What is told of running processes and of the whole, until the next time.
    pulse: Option<(Arc<str>, Arc<str>)>,
    pulses: u64,
}

/// An event for the page.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) kind: &'static str,
    pub(super) data: Arc<str>,
}

/// What comes next for one page.
pub(super) enum News {
    /// The next message. A pulse may refer to strings in any message before it.
    Message(Message),
    /// The newest pulse, by its number.
    Pulse(u64, Option<(Arc<str>, Arc<str>)>),
    /// Nothing yet.
    None,
}

/// For whoever knows what runs: takes what the page shows of it.
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

    /// Nobody looks: there is nothing to be done.
    pub fn is_idle(&self) -> bool {
        self.0.is_idle()
    }

    /// What runs now.
    pub fn show(&self, running: Arc<Vec<Span>>) {
        // What was there is given up when nobody waits for the lock any more.
        let _former = std::mem::replace(&mut *self.0.running(), running);
    }
}

impl Desk {
    pub(super) fn new(root: SpanId, resource: &Resource, convert: Box<Convert>) -> Self {
        let told = Told {
            columns: Columns::counting_from(nanoseconds(SystemTime::now())),
            rows: Rows::with_limit(SPAN_LIMIT),
            ended: HashSet::new(),
            messages: Vec::new(),
            bytes: 0,
            counts: (0, 0),
            pulse: None,
            pulses: 0,
        };
        Self {
            state: Mutex::new(told),
            progress: watch::Sender::new(false),
            running: Mutex::default(),
            convert,
            root,
            resource: resource.clone(),
        }
    }

    /// Changes with each message, and becomes true at the end.
    pub(super) fn subscribe(&self) -> watch::Receiver<bool> {
        self.progress.subscribe()
    }

    /// Takes in spans that have ended.
    pub(super) fn add(&self, spans: &[Arc<Span>]) {
        let spans: Vec<_> = spans.iter().map(|span| (self.convert)(span)).collect();
        self.told().add(&spans, self.root);
        self.tell(false);
    }

    /// No more spans come.
    pub(super) fn end(&self) {
        self.told().end(&self.resource);
        self.tell(true);
    }

    /// What comes next for a page that has got so many messages and so many pulses.
    pub(super) fn next(&self, messages: usize, pulses: u64) -> News {
        let told = self.told();
        match told.messages.get(messages) {
            Some(message) => News::Message(message.clone()),
            None if told.pulses > pulses => News::Pulse(told.pulses, told.pulse.clone()),
            None => News::None,
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, Arc<Vec<Span>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody looks but the server itself, which waits for the end.
    fn is_idle(&self) -> bool {
        self.progress.receiver_count() <= 1
    }

    /// Wakes whoever waits for messages.
    fn tell(&self, is_over: bool) {
        self.progress.send_modify(|was_over| *was_over |= is_over);
    }
}

impl Told {
    fn add(&mut self, spans: &[SpanData], root: SpanId) {
        for span in spans {
            let row = self.rows.read(span);
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
            self.write(span, Row { is_root: row.id == root, ..row.clone() });
            self.rows.keep(row, span);
        }
        self.flush();
    }

    fn write(&mut self, span: &SpanData, row: Row) {
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

    /// Tells of what runs. Only the newest of it counts, so it is not kept, but for its strings, which later ones refer to.
    fn pulse(&mut self, running: &[SpanData], root: SpanId, resource: &Resource) {
        // What has ended since it was seen running stays ended. When no more is kept, neither are these.
        let has_room = self.bytes <= KEPT;
        let mut alive = 0;
        for span in running {
            if !has_room || self.ended.contains(&span.span_context.span_id()) {
                continue;
            }
            let row = self.rows.read(span);
            if row.id == root && self.rows.about.trace_id.is_empty() {
                let cpus = thread::available_parallelism().map_or(0, |cpus| cpus.get() as u64);
                self.rows.about = About { cpus, ..About::of(span) };
            }
            alive += 1;
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
        let counts = (self.counts.0 + alive, self.counts.1);
        let trace = about_now(&self.rows.about, &self.columns, counts, nanoseconds(SystemTime::now()), resource);
        self.pulse = Some((batch.to_string().into(), trace.to_string().into()));
        self.pulses += 1;
    }

    fn end(&mut self, resource: &Resource) {
        self.flush();
        let trace = about(&self.rows, &self.columns, resource);
        self.pulse = None;
        self.push("trace", trace.to_string());
    }
}

/// Tells of what runs, as long as anybody looks.
pub(super) async fn pulse(desk: Arc<Desk>) {
    let has_our_pids = is_initial_pid_namespace();
    let mut clock = tokio::time::interval(PULSE);
    loop {
        clock.tick().await;
        if desk.is_idle() || *desk.progress.borrow() {
            continue;
        }
        let running = Arc::clone(&*desk.running());
        let mut running: Vec<_> = running.iter().map(|span| (desk.convert)(span)).collect();
        if has_our_pids {
            running.iter_mut().for_each(with_current_usage);
        }
        desk.told().pulse(&running, desk.root, &desk.resource);
        desk.tell(false);
    }
}
