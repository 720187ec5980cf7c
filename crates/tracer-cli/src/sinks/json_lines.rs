//! A file of OTLP/JSON lines.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use tracer_model::Span;
use tracer_otlp::{Encoder, LineWriter};

use super::{
    file::Claim,
    queue::{Queue, Undelivered},
    sink::{Closing, Sink},
};

pub(crate) struct JsonLinesSink {
    path: PathBuf,
    lines: LineWriter,
    /// Until the command starts.
    claim: Option<Claim>,
    problem: Option<String>,
}

impl JsonLinesSink {
    pub(crate) fn open(path: &Path, encoder: Encoder) -> Result<Self> {
        let claim = Claim::new(path)?;
        let lines = LineWriter::new(claim.file()?, encoder);
        Ok(Self { path: path.to_owned(), lines, claim: Some(claim), problem: None })
    }
}

impl Sink for JsonLinesSink {
    fn destination(&self) -> String {
        self.path.display().to_string()
    }

    fn begin(&mut self) {
        let begun = self.claim.take().map_or(Ok(()), |claim| claim.begin().map(drop));
        self.problem = begun.err().map(|error| error.to_string());
    }

    fn write(&mut self, spans: Vec<Arc<Span>>, _: &Queue) -> Undelivered {
        match self.lines.write(spans.iter().map(Arc::as_ref)) {
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
