//! A file of OTLP/JSON lines, compressed if its name asks for it.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use tracer_model::Span;
use tracer_otlp::{Encoder, LineWriter};
use tracer_report::compression::{Compression, Compressor};

use super::{
    queue::{Queue, Undelivered},
    sink::{Closing, Sink},
};
use crate::file::Claim;

pub(crate) struct JsonLinesSink {
    path: PathBuf,
    lines: Lines,
    /// Until the command starts.
    claim: Option<Claim>,
    problem: Option<String>,
}

enum Lines {
    Plain(LineWriter),
    /// `None`: the command has not started, or a write has failed. A reader could not read anything after a failed
    /// write.
    Compressed(Encoder, Option<Compressor>),
}

impl JsonLinesSink {
    pub(crate) fn open(path: &Path, encoder: Encoder) -> Result<Self> {
        let claim = Claim::new(path)?;
        let lines = match Compression::of_name(path) {
            None if claim.is_shared() => Lines::Plain(LineWriter::shared(claim.file()?, encoder)),
            None => Lines::Plain(LineWriter::new(claim.file()?, encoder)),
            Some(_) => Lines::Compressed(encoder, None),
        };
        Ok(Self { path: path.to_owned(), lines, claim: Some(claim), problem: None })
    }
}

impl Lines {
    fn begin(&mut self, path: &Path, file: File) -> io::Result<()> {
        if let (Self::Compressed(_, to), Some(kind)) = (self, Compression::of_name(path)) {
            // When an encoder is dropped, it writes the end of the file, even without content. So it is made only after the
            // command has started.
            *to = Some(Compressor::new(kind, Box::new(file))?);
        }
        Ok(())
    }

    fn write(&mut self, spans: &[Arc<Span>]) -> io::Result<()> {
        let spans = spans.iter().map(Arc::as_ref);
        match self {
            Self::Plain(lines) => lines.write(spans),
            Self::Compressed(_, None) => Err(io::Error::other("an earlier write failed")),
            Self::Compressed(encoder, to) => {
                // If process-tracer is killed, a reader gets everything up to here.
                let lines = encoder.json_lines(spans);
                let write = |to: &mut Compressor| to.write_all(&lines).and_then(|()| to.flush());
                let written = to.as_mut().map_or(Ok(()), write);
                if written.is_err() {
                    *to = None;
                }
                written
            }
        }
    }

    fn finish(&self) -> io::Result<()> {
        match self {
            Self::Compressed(_, Some(to)) => to.finish(),
            Self::Compressed(_, None) | Self::Plain(_) => Ok(()),
        }
    }
}

impl Sink for JsonLinesSink {
    fn destination(&self) -> String {
        self.path.display().to_string()
    }

    fn begin(&mut self) {
        let Some(claim) = self.claim.take() else { return };
        let begun = claim.begin().and_then(|file| self.lines.begin(&self.path, file));
        self.problem = begun.err().map(|error| error.to_string());
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

    fn close(mut self: Box<Self>, _: &Queue) -> Closing {
        if let Err(error) = self.lines.finish() {
            self.problem.get_or_insert_with(|| error.to_string());
        }
        Closing { problem: self.problem, ..Closing::default() }
    }
}
