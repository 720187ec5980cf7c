//! Opens a saved trace, shows the progress, and explains errors in the file.

use std::{
    fmt,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, stdin},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Error, Result, anyhow, bail};
use tracer_model::{Resource, TraceId};
use tracer_otlp::LineError;
use tracer_report::{
    ReadError, Runs, SavedTrace, Span,
    compression::{self, CutOff},
};

use crate::{
    console::{self, Progress},
    file,
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
    take: impl FnMut(&mut Span<'_>) -> Result<()>,
) -> Result<Resource> {
    read_all(&mut [Input::new(path)], trace, take)
}

/// A file has spans, but none of the wanted trace.
#[derive(Debug)]
pub(super) struct OtherTraces(String);

impl fmt::Display for OtherTraces {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(to)
    }
}

/// A file to read. `-` is stdin.
#[derive(Debug)]
pub(super) struct Input {
    path: PathBuf,
    /// The content of stdin, if it is read twice.
    kept: Option<Vec<u8>>,
    /// It was read before, and its warnings were printed.
    is_known: bool,
}

impl Input {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), kept: None, is_known: false }
    }

    /// Makes it possible to read the file twice. The content of stdin is kept in memory. It is not decompressed there.
    pub(super) fn keep(&mut self) -> Result<()> {
        if self.is_stdin() {
            let mut content = Vec::new();
            stdin().lock().read_to_end(&mut content).context("cannot read stdin")?;
            self.kept = Some(content);
        }
        Ok(())
    }

    /// Reads it, compressed or not.
    pub(super) fn open<'a>(&'a self, progress: &'a mut Progress) -> Result<(Box<dyn BufRead + 'a>, CutOff)> {
        let reader = Watched::open(self, progress).and_then(|from| compression::reader(BufReader::new(from)));
        reader.map_err(|error| explain(LineError::from(error).into(), self, None))
    }

    fn is_stdin(&self) -> bool {
        self.path == Path::new(STDIN)
    }

    /// Its name, for a message.
    fn shown(&self) -> String {
        if self.is_stdin() { STDIN_NAME.to_owned() } else { format!("'{}'", self.path.display()) }
    }
}

/// The same as [`read`], for several files with parts of one trace.
///
/// # Errors
///
/// As [`read`]. If only some of the files have no spans, this is a warning.
pub(super) fn read_all(
    inputs: &mut [Input],
    trace: Option<TraceId>,
    mut take: impl FnMut(&mut Span<'_>) -> Result<()>,
) -> Result<Resource> {
    let mut runs = Runs::default();
    let (mut resource, mut empty) = (None, Vec::new());
    for input in inputs.iter() {
        match read_file(input, trace, &mut runs, &mut take)? {
            Ok(found) => resource = resource.or(Some(found)),
            Err(error) => empty.push((input, error)),
        }
    }
    if let traces @ [_, _, ..] = runs.traces().as_slice() {
        bail!("the files have {} traces; choose one with --trace-id ID: {}", traces.len(), list(traces));
    }
    for root in runs.finish() {
        take(&mut Span::from(&root))?;
    }
    for (input, error) in empty {
        match &resource {
            None => return Err(explain(error, input, trace)),
            // The chosen trace is in another file.
            Some(_) if input.is_known || matches!(error, ReadError::OtherTraces(_)) => {}
            Some(_) => console::warn(format_args!("{:#}", explain(error, input, trace))),
        }
    }
    inputs.iter_mut().for_each(|input| input.is_known = true);
    resource.context("no file to read")
}

/// Passes the spans of one file. The inner error says that it has no spans.
fn read_file(
    input: &Input,
    trace: Option<TraceId>,
    runs: &mut Runs,
    take: &mut impl FnMut(&mut Span<'_>) -> Result<()>,
) -> Result<Result<Resource, ReadError>> {
    let explain = |error| explain(error, input, trace);
    let mut progress = Progress::default();
    let (mut saved, compressed): (SavedTrace<Box<dyn BufRead + '_>>, _) = match parquet(input) {
        Some(file) => (SavedTrace::of_parquet(file, trace).map_err(explain)?, CutOff::default()),
        None => {
            let (from, compressed) = input.open(&mut progress)?;
            (SavedTrace::new(from, trace), compressed)
        }
    };
    let mut pass = |span: Result<_, ReadError>| {
        let span: tracer_report::SavedSpan = span.map_err(explain)?;
        match runs.take(span) {
            Some(span) => take(&mut Span::from(&span)),
            None => Ok(()),
        }
    };
    let taken = saved.by_ref().try_for_each(&mut pass);
    let (cut_off, skipped, resource) = (saved.cut_off(), saved.skipped(), saved.finish());
    progress.end();
    taken?;
    let warn = |message: String| {
        if !input.is_known {
            console::warn(message);
        }
    };
    if skipped > 0 {
        warn(format!("{}: {}", input.shown(), lines_of_other_data(skipped)));
    }
    if let Some(line) = cut_off {
        warn(format!("{} ends in the middle of line {line}; this line is ignored", input.shown()));
    } else if compressed.is_cut_off() {
        warn(format!("{} is cut off; the last spans may be missing", input.shown()));
    }
    match resource {
        Err(error @ (ReadError::Empty | ReadError::OtherTraces(_))) => Ok(Err(error)),
        resource => Ok(Ok(resource.map_err(explain)?)),
    }
}

/// The file, if it is Parquet. Such a file cannot be read from stdin, because its end is read first.
fn parquet(input: &Input) -> Option<File> {
    // A pipe must not be opened twice.
    if input.is_stdin() || !fs::metadata(&input.path).is_ok_and(|metadata| metadata.is_file()) {
        return None;
    }
    let file = file::read(&input.path).ok()?;
    let mut begin = [0; PARQUET.len()];
    file.read_exact_at(&mut begin, 0).ok()?;
    (begin == *PARQUET).then_some(file)
}

/// The first bytes of a Parquet file.
const PARQUET: &[u8; 4] = b"PAR1";

/// The name of the file that is stdin, and how messages name it.
const STDIN: &str = "-";
const STDIN_NAME: &str = "stdin";

/// Reports lines that were skipped.
pub(super) fn lines_of_other_data(count: u64) -> String {
    let lines = if count == 1 {
        "1 line of logs, metrics or other data is".to_owned()
    } else {
        format!("{count} lines of logs, metrics or other data are")
    };
    lines + " skipped"
}

fn list(traces: &[TraceId]) -> String {
    traces.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Explains the error and the remedy.
pub(super) fn explain(error: ReadError, input: &Input, trace: Option<TraceId>) -> Error {
    let shown = input.shown();
    match error {
        ReadError::Line(LineError::Io(error)) => Error::new(error).context(format!("cannot read {shown}")),
        ReadError::Line(LineError::Malformed { line, source }) => {
            Error::new(source).context(format!("{shown}, line {line}: not OTLP/JSON, as -o FILE.jsonl writes it"))
        }
        ReadError::Line(error @ LineError::TooLong { .. }) => {
            anyhow!("{shown}: {error}; a saved trace has shorter lines")
        }
        ReadError::Line(error @ LineError::CutOff { .. }) => anyhow!("{shown}: {error}"),
        ReadError::SeveralTraces(traces) => {
            anyhow!("{shown} has {} traces; choose one with --trace-id ID: {}", traces.len(), list(&traces))
        }
        ReadError::OtherTraces(traces) => {
            let trace = trace.map_or(String::new(), |trace| format!(" {trace}"));
            Error::msg(OtherTraces(format!("{shown} has no spans of trace{trace}, only of {}", list(&traces))))
        }
        ReadError::Parquet(error) => anyhow!("{shown} cannot be read as Parquet: {error}"),
        ReadError::Empty => anyhow!("{shown} has no spans"),
    }
}

/// A file that shows the progress of reading.
struct Watched<'a> {
    from: Box<dyn Read + 'a>,
    name: String,
    done: u64,
    /// `None`: it is not known.
    total: Option<u64>,
    progress: &'a mut Progress,
}

impl<'a> Watched<'a> {
    fn open(input: &'a Input, progress: &'a mut Progress) -> io::Result<Self> {
        let (from, total): (Box<dyn Read + 'a>, _) = match &input.kept {
            Some(content) => (Box::new(content.as_slice()), Some(content.len() as u64)),
            None if input.is_stdin() => (Box::new(stdin().lock()), None),
            None => {
                let file = file::read(&input.path)?;
                let total = file.metadata().ok().map(|metadata| metadata.len());
                (Box::new(file), total)
            }
        };
        let name = if input.is_stdin() { STDIN_NAME.to_owned() } else { input.path.display().to_string() };
        Ok(Self { from, name, done: 0, total, progress })
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.from.read(buffer)?;
        self.done += size as u64;
        let (name, done) = (&self.name, self.done);
        match self.total {
            Some(total) => self.progress.show(format_args!("{name}: {done} of {total} bytes read")),
            None => self.progress.show(format_args!("{name}: {done} bytes read")),
        }
        Ok(size)
    }
}
