//! Opens a saved trace, shows the progress, and explains errors in the file.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use anyhow::{Error, Result, anyhow};
use tracer_model::{Resource, TraceId};
use tracer_otlp::LineError;
use tracer_report::{ReadError, SavedTrace, Span};

use crate::{
    console::{self, Progress},
    sinks::file,
};

/// Passes each span of the trace `trace` in the file to `take`. Without `trace`, the file must have only one trace.
/// Returns the resource of the first span.
///
/// # Errors
///
/// The file cannot be read, or is not a file of OTLP/JSON lines. Or it does not have the trace, or has several traces.
pub(super) fn read(
    path: &Path,
    trace: Option<TraceId>,
    mut take: impl FnMut(&mut Span<'_>) -> Result<()>,
) -> Result<Resource> {
    let explain = |error| explain(error, path, trace);
    let file = file::read(path).map_err(|error| explain(LineError::from(error).into()))?;
    let total = file.metadata().map_or(0, |metadata| metadata.len());
    let mut progress = Progress::default();
    let file = Watched { file, path, done: 0, total, progress: &mut progress };
    let mut saved = SavedTrace::new(BufReader::new(file), trace);
    let taken = saved.by_ref().try_for_each(|span| take(&mut Span::from(&span.map_err(explain)?)));
    let (cut_off, skipped, resource) = (saved.cut_off(), saved.skipped(), saved.finish());
    progress.end();
    taken?;
    if skipped > 0 {
        console::warn(format_args!("'{}': {}", path.display(), lines_of_other_signals(skipped)));
    }
    if let Some(line) = cut_off {
        console::warn(format_args!("'{}' ends in the middle of line {line}; this line is ignored", path.display()));
    }
    resource.map_err(explain)
}

/// Reports lines that were skipped.
pub(super) fn lines_of_other_signals(count: u64) -> String {
    let lines = if count == 1 {
        "1 line of logs, metrics or profiles is".to_owned()
    } else {
        format!("{count} lines of logs, metrics or profiles are")
    };
    lines + " skipped"
}

/// Explains the error and the remedy.
fn explain(error: ReadError, path: &Path, trace: Option<TraceId>) -> Error {
    let shown = path.display();
    let list = |traces: &[TraceId]| traces.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match error {
        ReadError::Line(LineError::Io(error)) => Error::new(error).context(format!("cannot read '{shown}'")),
        ReadError::Line(LineError::Malformed { line, source, .. }) => {
            Error::new(source).context(format!("'{shown}', line {line}: not OTLP/JSON, as -o FILE.jsonl writes it"))
        }
        ReadError::Line(error @ LineError::TooLong { .. }) => {
            anyhow!("'{shown}': {error}; a saved trace has shorter lines")
        }
        ReadError::SeveralTraces(traces) => {
            anyhow!("'{shown}' has {} traces; choose one with --trace-id ID: {}", traces.len(), list(&traces))
        }
        ReadError::OtherTraces(traces) => {
            let trace = trace.map_or(String::new(), |trace| format!(" {trace}"));
            anyhow!("'{shown}' has no spans of trace{trace}, only of {}", list(&traces))
        }
        ReadError::Empty => anyhow!("'{shown}' has no spans"),
    }
}

/// A file that shows the progress of reading.
struct Watched<'a> {
    file: File,
    path: &'a Path,
    done: u64,
    total: u64,
    progress: &'a mut Progress,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.file.read(buffer)?;
        self.done += size as u64;
        self.progress.show(format_args!("{}: {} of {} bytes read", self.path.display(), self.done, self.total));
        Ok(size)
    }
}
