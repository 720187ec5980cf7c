//! Copies a saved trace into one file. It can join several files, choose one of several traces, and change the
//! compression.

use std::{
    collections::HashSet,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tracer_model::TraceId;
use tracer_otlp::{
    JsonLines, LineError,
    message::{Span, TracesData},
};

use super::saved::{self, Input};
use crate::{console::Progress, sinks::report_file::WholeFile};

/// A file of OTLP/JSON lines that gets a copy.
pub(super) struct Copy {
    path: PathBuf,
    file: WholeFile,
    to: Box<dyn Write + Send>,
}

impl Copy {
    /// Begins the file.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let (file, to) = WholeFile::create(path)?;
        Ok(Self { path: path.to_owned(), file, to })
    }

    /// Copies the spans of a trace. The inputs were read before, so their warnings are printed already.
    ///
    /// # Errors
    ///
    /// A file cannot be read or written.
    pub(super) fn write(mut self, inputs: &[Input], trace: TraceId) -> Result<()> {
        // The same span can be in two files. It is copied once. Two spans can have the same id and different
        // ends: a root span with `process_tracer.cut_off`, and the real root span. Both are copied.
        let mut seen = HashSet::new();
        let mut is_wanted = |span: &Span| {
            span.trace_id == trace.0
                && seen.insert((span.span_id.clone(), span.start_time_unix_nano, span.end_time_unix_nano))
        };
        for input in inputs {
            let mut progress = Progress::default();
            let (from, _) = input.open(&mut progress)?;
            for line in JsonLines::new(from) {
                let data = match line {
                    Ok(line) => keep(line.data, &mut is_wanted),
                    Err(LineError::CutOff { .. }) => break,
                    Err(error) => return Err(saved::explain(error.into(), input, Some(trace))),
                };
                if !data.resource_spans.is_empty() {
                    let line = serde_json::to_vec(&data).context("cannot write OTLP/JSON")?;
                    self.to.write_all(&[&line[..], b"\n"].concat()).with_context(|| self.problem())?;
                }
            }
            progress.end();
        }
        let finished = self.to.flush().and_then(|()| self.file.finish());
        finished.with_context(|| format!("cannot write '{}'", self.path.display()))
    }

    fn problem(&self) -> String {
        format!("cannot write '{}'", self.path.display())
    }
}

/// Keeps the wanted spans, and the groups that have some.
fn keep(mut data: TracesData, is_wanted: &mut impl FnMut(&Span) -> bool) -> TracesData {
    for resource in &mut data.resource_spans {
        for scope in &mut resource.scope_spans {
            scope.spans.retain(&mut *is_wanted);
        }
        resource.scope_spans.retain(|scope| !scope.spans.is_empty());
    }
    data.resource_spans.retain(|resource| !resource.scope_spans.is_empty());
    data
}
