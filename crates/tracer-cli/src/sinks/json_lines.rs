//! A file of OTLP/JSON lines: one `TracesData` a line, as the OpenTelemetry file exporter specification has it.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use opentelemetry_proto::{
    tonic::trace::v1::TracesData,
    transform::{common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope},
};
use opentelemetry_sdk::Resource;
use tracer_model::Span;

use super::{Closing, Sink, Undelivered, file, otel::Converter, queue::Queue};

/// The file.
pub(super) struct JsonLines {
    pub(super) path: PathBuf,
    file: File,
    /// Of the whole lines in it, bytes.
    size: u64,
    resource: ResourceAttributesWithSchema,
    converter: Converter,
}

impl JsonLines {
    pub(super) fn create(path: &Path, resource: &Resource) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: file::create(path)?,
            size: 0,
            resource: resource.into(),
            converter: Converter::from_environment(),
        })
    }

    /// Writes a line whole, or not at all: half a line would spoil the next one.
    pub(super) fn write(&mut self, spans: &[Arc<Span>]) -> io::Result<()> {
        let spans = spans.iter().map(|span| self.converter.span_data(span)).collect();
        let data = TracesData { resource_spans: group_spans_by_resource_and_scope(spans, &self.resource) };
        let mut line = serde_json::to_vec(&data)?;
        line.push(b'\n');
        let written = self.file.write_all(&line);
        match written {
            Ok(()) => self.size += line.len() as u64,
            Err(_) => {
                // What is no regular file cannot be cut; then there is nothing to be done.
                let _ = self.file.set_len(self.size);
                let _ = self.file.seek(SeekFrom::Start(self.size));
            }
        }
        written
    }
}

pub(crate) struct JsonLinesSink {
    lines: JsonLines,
    problem: Option<String>,
}

impl JsonLinesSink {
    pub(crate) fn open(path: &Path, resource: &Resource) -> Result<Self> {
        Ok(Self { lines: JsonLines::create(path, resource)?, problem: None })
    }
}

impl Sink for JsonLinesSink {
    fn destination(&self) -> String {
        self.lines.path.display().to_string()
    }

    fn write(&mut self, spans: Vec<Arc<Span>>, _: &Queue) -> Undelivered {
        match self.lines.write(&spans) {
            Ok(()) => Undelivered::default(),
            Err(error) => {
                self.problem.get_or_insert_with(|| error.to_string());
                Undelivered { lost: spans.len() as u64, ..Undelivered::default() }
            }
        }
    }

    fn close(self: Box<Self>) -> Closing {
        Closing { problem: self.problem, ..Closing::default() }
    }
}
