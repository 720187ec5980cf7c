//! A queue of spans, limited in bytes. Pushing never waits. Spans that do not fit are lost and counted.

use std::{
    collections::VecDeque,
    mem,
    ops::Add,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tracer_model::{
    Span, Value,
    dns::Answer,
    event::Strings,
    span::{Reply, Subject},
};

/// Memory that the spans of one queue may take.
const CAPACITY: usize = 256 << 20;

/// A batch is taken at this size, because the limits of collectors are 4 MiB (gRPC) and more.
const BATCH: usize = 2 << 20;

/// A batch is also taken at this age, so that a user can watch a long run.
const LINGER: Duration = Duration::from_secs(1);

/// Numbers of spans that did not arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Undelivered {
    /// Spans that are lost.
    pub(crate) lost: u64,
    /// Spans that are kept in a file.
    pub(crate) saved: u64,
}

impl Add for Undelivered {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { lost: self.lost + other.lost, saved: self.saved + other.saved }
    }
}

/// The queue of one sink.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Memory that its spans may take, bytes.
    capacity: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    spans: VecDeque<Arc<Span>>,
    bytes: usize,
    /// The number of all spans so far.
    pushed: u64,
    delivered: u64,
    undelivered: Undelivered,
    /// The command has started.
    has_begun: bool,
    /// When all spans must be delivered. It is set when the queue is closed.
    deadline: Option<Instant>,
    /// The root span if process-tracer is killed now.
    cut_off_root: Option<Arc<Span>>,
}

impl Default for Queue {
    fn default() -> Self {
        Self { capacity: CAPACITY, state: Mutex::default(), changed: Condvar::new() }
    }
}

impl Queue {
    /// A queue without a reader. All its spans are lost.
    pub(crate) fn of_nobody() -> Self {
        Self { capacity: 0, ..Self::default() }
    }

    pub(crate) fn push(&self, span: Arc<Span>) {
        let mut state = self.lock();
        let size = encoded_size(&span);
        state.pushed += 1;
        if state.bytes + size > self.capacity {
            state.undelivered.lost += 1;
            return;
        }
        state.bytes += size;
        state.spans.push_back(span);
        // The first span wakes an idle reader.
        if state.bytes >= BATCH || state.spans.len() == 1 {
            self.changed.notify_one();
        }
    }

    /// Sets the root span that remains if process-tracer is killed now.
    pub(crate) fn set_cut_off_root(&self, root: Arc<Span>) {
        self.lock().cut_off_root = Some(root);
    }

    /// The root span that remains if process-tracer is killed now.
    pub(crate) fn cut_off_root(&self) -> Option<Arc<Span>> {
        self.lock().cut_off_root.clone()
    }

    /// The command has started.
    pub(crate) fn begin(&self) {
        self.lock().has_begun = true;
        self.changed.notify_all();
    }

    /// Waits until the command has started. `false`: it did not start.
    pub(crate) fn has_begun(&self) -> bool {
        let waits = |state: &mut State| !state.has_begun && state.deadline.is_none() && state.spans.is_empty();
        let state = self.changed.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner);
        state.has_begun || !state.spans.is_empty()
    }

    /// The next batch; `None` once the queue is closed and empty.
    pub(crate) fn take(&self) -> Option<Vec<Arc<Span>>> {
        let mut state = self.lock();
        loop {
            let is_idle = |state: &mut State| state.deadline.is_none() && state.spans.is_empty();
            state = self.changed.wait_while(state, is_idle).unwrap_or_else(PoisonError::into_inner);
            let not_yet = |state: &mut State| state.deadline.is_none() && state.bytes < BATCH;
            state = self.changed.wait_timeout_while(state, LINGER, not_yet).unwrap_or_else(PoisonError::into_inner).0;
            if !state.spans.is_empty() {
                return Some(state.take_batch());
            }
            if state.deadline.is_some() {
                return None;
            }
        }
    }

    /// No more spans come. The queued spans must be delivered before the deadline.
    pub(crate) fn close(&self, deadline: Instant) {
        self.lock().deadline = Some(deadline);
        self.changed.notify_all();
    }

    /// Whether the deadline is over.
    pub(crate) fn is_over(&self) -> bool {
        self.deadline().is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// All spans must be delivered before this time. `None`: the queue is not closed yet.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.lock().deadline
    }

    /// Waits for this time. The wait ends earlier at the deadline, or when the queue is closed, or when the deadline
    /// changes. While the queue is open, it also ends when more than `bytes` wait in the queue.
    pub(crate) fn wait(&self, time: Duration, bytes: usize) {
        let state = self.lock();
        let known = state.deadline;
        let time = known.map_or(time, |deadline| time.min(deadline.saturating_duration_since(Instant::now())));
        let goes_on = |state: &mut State| state.deadline == known && (known.is_some() || state.bytes <= bytes);
        drop(self.changed.wait_timeout_while(state, time, goes_on));
    }

    /// The bytes that wait in the queue.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Counts the results of spans that were taken.
    pub(crate) fn count(&self, spans: u64, missing: Undelivered) {
        let mut state = self.lock();
        state.delivered += spans - missing.lost - missing.saved;
        state.undelivered = state.undelivered + missing;
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.lock().delivered
    }

    /// Spans that are still in the queue, or that were taken but not counted yet.
    pub(crate) fn pending(&self) -> u64 {
        let state = self.lock();
        state.pushed - state.delivered - state.undelivered.lost - state.undelivered.saved
    }

    /// Spans that did not fit, or did not arrive.
    pub(crate) fn undelivered(&self) -> Undelivered {
        self.lock().undelivered
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// At least one span, and no more than a batch.
    fn take_batch(&mut self) -> Vec<Arc<Span>> {
        if self.bytes <= BATCH {
            self.bytes = 0;
            return mem::take(&mut self.spans).into();
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(span) = self.spans.front() {
            let size = encoded_size(span);
            if !batch.is_empty() && bytes + size > BATCH {
                break;
            }
            bytes += size;
            batch.extend(self.spans.pop_front());
        }
        self.bytes -= bytes;
        batch
    }
}

/// An upper bound of the bytes of a span in protobuf. The exact size would cost as much as the encoding.
fn encoded_size(span: &Span) -> usize {
    const SPAN: usize = 1000;
    const USAGE: usize = 400;
    const EVENT: usize = 200;
    const LINK: usize = 48;
    const CERTIFICATE: usize = 4000;
    const FAILURE: usize = 400;
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let host = |host: &Option<Arc<str>>| 2 * host.as_ref().map_or(0, |host| host.len());
    let subject = match &span.subject {
        Subject::Connection(connection) => host(&connection.host),
        Subject::Flow(flow) => host(&flow.host),
        Subject::Call(call) => call.text_bytes(),
        Subject::Lookup(lookup) => {
            let texts = |answer: &Answer| {
                48 * answer.addresses.len() + answer.aliases.iter().map(|name| 16 + name.len()).sum::<usize>()
            };
            2 * lookup.name.len() + if let Reply::Answer(answer) = &lookup.reply { texts(answer) } else { 0 }
        }
        Subject::Process(process) => {
            // The first argument is in two attributes.
            let images = process.image.iter().map(|image| {
                let name = |name: &Option<Arc<str>>| name.as_ref().map_or(0, |name| name.len());
                let names = &image.names;
                let names = [&names.user, &names.real_user, &names.group, &names.real_group].map(name);
                let directory = image.directory.as_deref().map_or(0, bytes_size);
                let paths = image.file.len() + 2 * text(&image.executable) + directory;
                let group = 2 * name(&image.cgroup).max(name(&image.cgroup_v1));
                2 * strings_size(&image.arguments) + paths + group + names.iter().sum::<usize>()
            });
            let events = process
                .executions
                .iter()
                .map(|execution| EVENT + strings_size(&execution.arguments) + text(&execution.executable));
            let failed = process.failed_execs.iter().map(|failed| EVENT + failed.file.len());
            let certificate = process.certificate.as_ref().map_or(0, |certificate| {
                let texts = text(&certificate.losses.unobserved) + certificate.trace_id_source.len();
                let failure = certificate.failure.as_ref();
                let failure =
                    failure.map_or(0, |failure| FAILURE + failure.name.len() + strings_size(&failure.arguments));
                CERTIFICATE + EVENT * certificate.gaps.len() + texts + failure
            });
            let lists = events.sum::<usize>() + failed.sum::<usize>();
            let usage = process.usage.as_ref().map_or(0, |_| USAGE);
            let group = process.group.as_ref().map_or(0, |group| group.len());
            process.name.len() + group + usage + images.sum::<usize>() + lists + certificate
        }
    };
    let attributes = span.attributes.iter().map(|(name, value)| 16 + name.len() + value_size(value));
    SPAN + LINK * span.links.len() + attributes.sum::<usize>() + subject
}

/// An upper bound of the bytes of a list of texts in protobuf.
fn strings_size(strings: &Strings) -> usize {
    // Each text has two tags and two lengths.
    let texts = strings.bytes.iter().filter(|byte| **byte == 0).count() + 1;
    bytes_size(&strings.bytes) + strings.bytes.len() / 16 + 4 * texts
}

/// An upper bound of the bytes of a text in protobuf. A byte that is not UTF-8 becomes a character of three bytes, and then
/// another attribute has all bytes.
fn bytes_size(bytes: &[u8]) -> usize {
    const RAW: usize = 64;
    if str::from_utf8(bytes).is_ok() {
        return bytes.len();
    }
    RAW + 2 * bytes.len() + 2 * bytes.iter().filter(|byte| !byte.is_ascii()).count()
}

fn value_size(value: &Value) -> usize {
    match value {
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => 16,
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Bools(values) => 16 * values.len(),
        Value::Ints(values) => 16 * values.len(),
        Value::Floats(values) => 16 * values.len(),
        Value::Strings(values) => values.iter().map(|text| 16 + text.len()).sum(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::SystemTime;

    use tracer_model::{
        ExitStatus, Losses, SpanId, TraceId,
        calls::CallCounts,
        context::SpanContext,
        event::{Image, Names, Namespaces, Usage},
        source::Description,
        span::{Certificate, Execution, FailureOrigin, Gap, ProcessSpan},
    };

    use super::*;

    pub(crate) fn span(argument_bytes: usize) -> Span {
        let arguments = Strings { bytes: vec![b'x'; argument_bytes], size: argument_bytes as u64 };
        let process = ProcessSpan {
            pid: 1,
            parent_pid: 0,
            forked_by: None,
            name: "x".to_owned(),
            image: Some(Arc::new(Image { arguments, ..Image::default() })),
            executions: Vec::new(),
            failed_execs: Vec::new(),
            dropped_executions: 0,
            is_fork: false,
            exit: None,
            is_oom_victim: false,
            usage: None,
            group: None,
            folded: tracer_model::span::Folded::default(),
            certificate: None,
        };
        Span {
            trace_id: TraceId([1; 16]),
            span_id: SpanId([1; 8]),
            parent_id: None,
            links: Vec::new(),
            start: SystemTime::UNIX_EPOCH,
            end: SystemTime::UNIX_EPOCH,
            is_unfinished: false,
            is_repaired: false,
            owner: None,
            is_handled: false,
            attributes: [].into(),
            subject: Subject::Process(Box::new(process)),
        }
    }

    #[test]
    fn batches_are_bounded_and_nothing_is_lost_between_them() {
        let queue = Queue::default();
        for _ in 0..100 {
            queue.push(Arc::new(span(100_000)));
        }
        queue.close(Instant::now());
        let mut batches = Vec::new();
        while let Some(batch) = queue.take() {
            batches.push(batch.len());
        }
        assert_eq!(batches.iter().sum::<usize>(), 100);
        assert!(batches.iter().all(|batch| batch * 200_000 <= BATCH), "{batches:?}");
    }

    #[test]
    fn a_span_larger_than_a_batch_goes_alone() {
        let queue = Queue::default();
        queue.push(Arc::new(span(BATCH)));
        queue.push(Arc::new(span(10)));
        queue.close(Instant::now());
        assert_eq!(queue.take().unwrap().len(), 1);
        assert_eq!(queue.take().unwrap().len(), 1);
        assert!(queue.take().is_none());
    }

    /// No span needs more bytes in protobuf than its estimate. An ordinary span needs at least a quarter of it.
    #[test]
    fn the_estimate_is_a_bound_of_the_encoded_size() {
        let compiler = ["cc1", "-quiet", "-I../deps/hiredis", "-O2", "-Wall", "-std=c11", "server.c", "-o", "server.s"];
        let ordinary = |process: &mut ProcessSpan| {
            let image = Image {
                file: "/usr/lib/gcc/x86_64-linux-gnu/12/cc1".to_owned(),
                executable: Some("/usr/lib/gcc/x86_64-linux-gnu/12/cc1".to_owned()),
                directory: Some("/home/someone/redis/src".into()),
                arguments: compiler.into_iter().collect(),
                argument_count: 9,
                user_id: 1000,
                ..Image::default()
            };
            let arguments = image.arguments.clone();
            let executable = image.executable.clone();
            process.image = Some(Arc::new(image));
            process.executions = vec![Execution { at: SystemTime::now(), executable, arguments }];
            process.usage = Some(Box::default());
            process.exit = Some(ExitStatus::Code(1));
        };
        let all = u64::MAX;
        let usage = Usage {
            user_ns: all,
            system_ns: all,
            peak_resident_bytes: all,
            minor_faults: all,
            major_faults: all,
            voluntary_switches: all,
            involuntary_switches: all,
            ..Usage::default()
        };
        // `default` is for kinds of calls that are added later.
        #[allow(clippy::needless_update)]
        let calls = CallCounts { unix_connects: all, ..CallCounts::default() };
        let certificate = Certificate {
            is_complete: false,
            is_cut_off: false,
            processes: all,
            connections: all,
            flows: all,
            lookups: all,
            calls,
            failed_expressions: all,
            losses: Losses { unobserved: Some("x".repeat(3000)), ..Losses::default() },
            gaps: vec![Gap { at: SystemTime::now(), records: all }; 100],
            tree: Some(Box::new(usage)),
            cpus: u32::MAX,
            shortage: Box::default(),
            version: "0.1.0".to_owned(),
            trace_id_source: "SHA-256 of env.CI_PIPELINE_ID".to_owned(),
            source: Some(Description { name: "ptrace", unobserved_kinds: vec!["a kind that is not observed"; 16] }),
            failure: Some(Box::new(FailureOrigin {
                span_id: SpanId([2; 8]),
                pid: u32::MAX,
                name: "x".repeat(3000),
                status: ExitStatus::Signal { number: 34, core_dumped: true },
                arguments: std::iter::repeat_n("x", 2000).collect(),
            })),
        };
        let changed = |change: &dyn Fn(&mut ProcessSpan)| {
            let mut span = span(10);
            if let Subject::Process(process) = &mut span.subject {
                ordinary(process);
                change(process);
            }
            span
        };
        let texts = |bytes: &[u8]| {
            let arguments = Strings { bytes: bytes.to_vec(), size: bytes.len() as u64 };
            changed(&|process| {
                process.image = Some(Arc::new(Image { arguments: arguments.clone(), ..Image::default() }));
                let execution = Execution { at: SystemTime::now(), executable: None, arguments: arguments.clone() };
                process.executions = vec![execution; 3];
            })
        };
        let full = changed(&|process| {
            let image = process.image.iter().map(|image| Image {
                is_redacted: true,
                vpid: 7,
                group_leader_pid: 4_000_000,
                session_leader_pid: 4_000_000,
                is_interactive: true,
                is_script: true,
                real_user_id: 4_000_000,
                group_id: 4_000_000,
                real_group_id: 4_000_001,
                nice: -20,
                cgroup: Some(
                    "0::/system.slice/docker-4b825dc642cb6eb9a060e54bf8d69288fbee4904a1b2c3d4e5f60718293a4b5c.scope"
                        .into(),
                ),
                namespaces: Namespaces { mount: u32::MAX, pid: u32::MAX, network: u32::MAX, user: u32::MAX },
                names: Names { user: Some("x".repeat(30).into()), ..Names::default() },
                ..Image::clone(image)
            });
            process.image = image.map(Arc::new).next();
            process.usage = Some(Box::new(usage));
            process.exit = Some(ExitStatus::Signal { number: 9, core_dumped: true });
        });
        let link = SpanContext { trace_id: TraceId([1; 16]), span_id: SpanId([2; 8]) };
        let spans = [
            changed(&|_| ()),
            full,
            changed(&|process| process.certificate = Some(certificate.clone())),
            changed(&|process| process.name = "x".repeat(3000)),
            Span { attributes: vec![("x".to_owned(), Value::Int(-1)); 100].into(), ..changed(&|_| ()) },
            Span { attributes: vec![("x".to_owned(), Value::Ints(vec![-1; 100]))].into(), ..changed(&|_| ()) },
            Span { links: vec![link; 100], ..changed(&|_| ()) },
            texts(b"a\0b\0".repeat(2000).as_slice()),
            texts(b"\0".repeat(2000).as_slice()),
            texts(b"\xff".repeat(2000).as_slice()),
            texts("ü".repeat(2000).as_bytes()),
        ];
        let encoder = tracer_otlp::Encoder::new(tracer_model::Resource::default(), None);
        let empty = encoder.request([]).len();
        let size = |span: &Span| encoder.request([span]).len() - empty;
        let sizes: Vec<_> = spans.iter().map(|span| (size(span), encoded_size(span))).collect();
        assert!(sizes.iter().all(|(size, estimate)| size <= estimate), "{sizes:?}");
        assert!(sizes[0].1 <= 4 * sizes[0].0, "{sizes:?}");
    }

    #[test]
    fn the_estimate_includes_the_users_attributes() {
        let mut span = span(10);
        let before = encoded_size(&span);
        span.attributes = [("big".to_owned(), Value::String("x".repeat(100_000)))].into();
        assert!(encoded_size(&span) >= before + 100_000);
    }

    #[test]
    fn spans_that_do_not_fit_are_counted() {
        let queue = Queue::default();
        let size = 16 << 20;
        for _ in 0..10 {
            queue.push(Arc::new(span(size)));
        }
        let fits = CAPACITY / encoded_size(&span(size));
        assert_eq!(queue.undelivered().lost, 10 - fits as u64);
    }
}
