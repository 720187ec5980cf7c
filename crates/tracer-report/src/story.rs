//! Small traces to test reports with.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use opentelemetry::{
    Array, KeyValue, SpanId, StringValue, TraceId,
    trace::{SpanContext, SpanKind, Status, TraceFlags, TraceState},
};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanLinks},
};
use tracer_model::semconv;

use crate::{report::Report, row::Rows};

/// A process, and what it does; times are milliseconds since the beginning.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    name: String,
    start: u64,
    length: u64,
    exit: i64,
    signal: Option<String>,
    cpu: u64,
    is_fork: bool,
    arguments: Vec<String>,
    connections: Vec<(String, i64, u64, u64, i64)>,
    children: Vec<Story>,
}

pub(crate) fn story(name: &str, start: u64, length: u64) -> Story {
    Story {
        name: name.to_owned(),
        start,
        length,
        exit: 0,
        signal: None,
        cpu: 0,
        is_fork: false,
        arguments: vec![name.to_owned()],
        connections: Vec::new(),
        children: Vec::new(),
    }
}

impl Story {
    pub(crate) fn starts(mut self, name: &str, start: u64, length: u64, tell: impl FnOnce(Self) -> Self) -> Self {
        self.children.push(tell(story(name, start, length)));
        self
    }

    pub(crate) fn above(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    pub(crate) fn exits(self, exit: i64) -> Self {
        Self { exit, ..self }
    }

    /// By SIGTERM.
    pub(crate) fn dies(self) -> Self {
        Self { exit: 143, ..self.dies_by("SIGTERM") }
    }

    pub(crate) fn dies_by(self, signal: &str) -> Self {
        Self { exit: 128, signal: Some(signal.to_owned()), ..self }
    }

    pub(crate) fn cpu(self, milliseconds: u64) -> Self {
        Self { cpu: milliseconds, ..self }
    }

    pub(crate) fn forks(self) -> Self {
        Self { is_fork: true, ..self }
    }

    pub(crate) fn arguments(self, arguments: &[&str]) -> Self {
        Self { arguments: arguments.iter().map(ToString::to_string).collect(), ..self }
    }

    pub(crate) fn connects(mut self, host: &str, port: i64, start: u64, length: u64, bytes: i64) -> Self {
        self.connections.push((host.to_owned(), port, start, length, bytes));
        self
    }

    pub(crate) fn rows(&self) -> Rows {
        let mut rows = Rows::default();
        for span in self.spans() {
            rows.add(&span);
        }
        rows
    }

    /// Children before their parents, as they come.
    pub(crate) fn spans(&self) -> Vec<SpanData> {
        let mut spans = Vec::new();
        self.tell(SpanId::INVALID, &mut spans, &mut 0);
        spans
    }

    fn tell(&self, parent: SpanId, spans: &mut Vec<SpanData>, last: &mut u64) {
        *last += 1;
        let (id, pid) = (SpanId::from(*last), i64::try_from(100 + *last).unwrap());
        for (host, port, start, length, bytes) in &self.connections {
            *last += 1;
            spans.push(SpanData {
                span_kind: SpanKind::Client,
                attributes: vec![
                    KeyValue::new(semconv::NETWORK_TRANSPORT, "tcp"),
                    KeyValue::new(semconv::SERVER_ADDRESS, host.clone()),
                    KeyValue::new(semconv::SERVER_PORT, *port),
                    KeyValue::new(semconv::BYTES_SENT, *bytes),
                ],
                ..span(SpanId::from(*last), id, format!("connect {host}:{port}"), *start, *length)
            });
        }
        for child in &self.children {
            child.tell(id, spans, last);
        }
        let arguments = self.arguments.iter().cloned().map(StringValue::from).collect();
        let mut attributes = vec![
            KeyValue::new(semconv::PROCESS_PID, pid),
            KeyValue::new(semconv::PROCESS_COMMAND_ARGS, opentelemetry::Value::Array(Array::String(arguments))),
            KeyValue::new(semconv::PROCESS_WORKING_DIRECTORY, "/src"),
            KeyValue::new(semconv::PROCESS_EXIT_CODE, self.exit),
            KeyValue::new(semconv::CPU_USER, self.cpu as f64 / 1e3),
        ];
        if let Some(signal) = &self.signal {
            attributes.push(KeyValue::new(semconv::EXIT_SIGNAL, signal.clone()));
        }
        if self.is_fork {
            attributes.push(KeyValue::new(semconv::FORK, true));
        }
        if parent != SpanId::INVALID {
            let parent = i64::from_be_bytes(parent.to_bytes());
            attributes.push(KeyValue::new(semconv::PROCESS_PARENT_PID, 100 + parent));
        } else {
            attributes.push(KeyValue::new(semconv::COMPLETE, true));
            attributes.push(KeyValue::new(semconv::CPUS, 2));
        }
        let status = if self.exit == 0 { Status::Unset } else { Status::error(format!("exit code {}", self.exit)) };
        spans.push(SpanData { attributes, status, ..span(id, parent, self.name.clone(), self.start, self.length) });
    }
}

fn span(id: SpanId, parent: SpanId, name: String, start: u64, length: u64) -> SpanData {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000) + Duration::from_millis(start);
    SpanData {
        span_context: SpanContext::new(TraceId::from(1), id, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: parent,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time: start,
        end_time: start + Duration::from_millis(length),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: opentelemetry::InstrumentationScope::default(),
    }
}

/// What a report makes of them.
pub(crate) fn written(spans: &[SpanData], begin: impl FnOnce(Box<dyn Write + Send>) -> Box<dyn Report>) -> Vec<u8> {
    let text = Shared::default();
    let mut report = begin(Box::new(text.clone()));
    for span in spans {
        report.add(span).unwrap();
    }
    report.finish(&Resource::builder_empty().build()).unwrap();
    std::mem::take(&mut text.0.lock().unwrap())
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
