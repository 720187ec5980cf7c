//! A file of OTLP/JSON lines. Each line is one `TracesData`, as the OpenTelemetry file exporter specification says.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use opentelemetry_sdk::Resource;
use tracer_model::Span;
use tracer_otlp::Encoder;

use super::{
    file, otel,
    queue::{Queue, Undelivered},
    sink::{Closing, Sink},
};

/// The file.
pub(super) struct JsonLines {
    pub(super) path: PathBuf,
    file: File,
    /// Bytes of the whole lines in it.
    size: u64,
    encoder: Encoder,
}

impl JsonLines {
    pub(super) fn create(path: &Path, resource: &Resource) -> Result<Self> {
        Ok(Self { path: path.to_owned(), file: file::create(path)?, size: 0, encoder: otel::encoder(resource) })
    }

    /// Writes a whole line or nothing. After half a line, the next line could not be read.
    pub(super) fn write(&mut self, spans: &[Arc<Span>]) -> io::Result<()> {
        let line = self.encoder.json_line(spans.iter().map(Arc::as_ref));
        let written = self.file.write_all(&line);
        match written {
            Ok(()) => self.size += line.len() as u64,
            Err(_) => {
                // Only a regular file can be cut.
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
