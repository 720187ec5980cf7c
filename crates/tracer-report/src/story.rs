//! Small traces for the tests of reports.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use tracer_model::{Resource, SpanId, TraceId, Value, semconv};

use crate::{
    report::Report,
    row::Rows,
    saved::{Kind, Span},
    span,
};

/// A process with its connections and children. Times are milliseconds since the beginning.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    name: String,
    start: u64,
    length: u64,
    exit: i64,
    signal: Option<String>,
    cpu: u64,
    run_delay: u64,
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
        run_delay: 0,
        is_fork: false,
        arguments: vec![name.to_owned()],
        connections: Vec::new(),
        children: Vec::new(),
    }
}

impl Story {
    pub(crate) fn starts(mut self, name: &str, start: u64, length: u64, more: impl FnOnce(Self) -> Self) -> Self {
        self.children.push(more(story(name, start, length)));
        self
    }

    pub(crate) fn above(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    pub(crate) fn exits(self, exit: i64) -> Self {
        Self { exit, ..self }
    }

    /// Killed by SIGTERM.
    pub(crate) fn dies(self) -> Self {
        Self { exit: 143, ..self.dies_by("SIGTERM") }
    }

    pub(crate) fn dies_by(self, signal: &str) -> Self {
        Self { exit: 128, signal: Some(signal.to_owned()), ..self }
    }

    pub(crate) fn cpu(self, milliseconds: u64) -> Self {
        Self { cpu: milliseconds, ..self }
    }

    /// Milliseconds in which it waited for a processor.
    pub(crate) fn run_delay(self, milliseconds: u64) -> Self {
        Self { run_delay: milliseconds, ..self }
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
        for span in &self.spans() {
            rows.add(&span.into());
        }
        rows
    }

    /// The spans of the process and below it. Children come before their parents, as in a run.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        self.write(None, &mut spans, &mut 0);
        spans
    }

    /// `last` is the number of the last span. The parent is given by its number.
    fn write(&self, parent: Option<u64>, spans: &mut Vec<Span>, last: &mut u64) {
        *last += 1;
        let number = *last;
        for (host, port, start, length, bytes) in &self.connections {
            *last += 1;
            spans.push(Span {
                kind: Kind::Client,
                attributes: vec![
                    (semconv::NETWORK_TRANSPORT.to_owned(), Value::String("tcp".to_owned())),
                    (semconv::SERVER_ADDRESS.to_owned(), Value::String(host.clone())),
                    (semconv::SERVER_PORT.to_owned(), Value::Int(*port)),
                    (semconv::BYTES_SENT.to_owned(), Value::Int(*bytes)),
                ],
                ..span(*last, Some(number), format!("connect {host}:{port}"), *start, *length)
            });
        }
        for child in &self.children {
            child.write(Some(number), spans, last);
        }
        let pid = |number: u64| Value::Int(100 + number as i64);
        let mut attributes = vec![
            (semconv::PROCESS_PID, pid(number)),
            (semconv::PROCESS_COMMAND_ARGS, Value::Strings(self.arguments.clone())),
            (semconv::PROCESS_WORKING_DIRECTORY, Value::String("/src".to_owned())),
            (semconv::PROCESS_EXIT_CODE, Value::Int(self.exit)),
            (semconv::CPU_USER, Value::Float(self.cpu as f64 / 1e3)),
            (semconv::RUN_DELAY, Value::Float(self.run_delay as f64 / 1e3)),
        ];
        if let Some(signal) = &self.signal {
            attributes.push((semconv::EXIT_SIGNAL, Value::String(signal.clone())));
        }
        if self.is_fork {
            attributes.push((semconv::FORK, Value::Bool(true)));
        }
        match parent {
            Some(parent) => attributes.push((semconv::PROCESS_PARENT_PID, pid(parent))),
            None => attributes.extend([(semconv::COMPLETE, Value::Bool(true)), (semconv::CPUS, Value::Int(2))]),
        }
        let killed_by = self.signal.as_ref().map(|signal| format!("killed by {signal}"));
        spans.push(Span {
            attributes: attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            has_failed: self.exit != 0,
            message: killed_by.unwrap_or_else(|| format!("exit code {}", self.exit)),
            ..span(number, parent, self.name.clone(), self.start, self.length)
        });
    }
}

fn span(number: u64, parent: Option<u64>, name: String, start: u64, length: u64) -> Span {
    let id = |number: u64| SpanId(number.to_be_bytes());
    let start = (1_000_000_000_000 + start) * 1_000_000;
    Span {
        trace_id: TraceId(1_u128.to_be_bytes()),
        span_id: id(number),
        parent_id: parent.map(id),
        is_parent_remote: false,
        kind: Kind::Internal,
        name,
        start,
        end: start + length * 1_000_000,
        attributes: Vec::new(),
        events: Vec::new(),
        links: Vec::new(),
        has_failed: false,
        message: String::new(),
        resource: Arc::default(),
        is_run: false,
    }
}

/// The report of these spans.
pub(crate) fn written(spans: &[Span], begin: impl FnOnce(Box<dyn Write + Send>) -> Box<dyn Report>) -> Vec<u8> {
    let text = Shared::default();
    let mut report = begin(Box::new(text.clone()));
    for span in spans {
        report.add(&span::Span::from(span)).unwrap();
    }
    report.finish(&Resource::default()).unwrap();
    text.take()
}

/// Bytes that were written.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
