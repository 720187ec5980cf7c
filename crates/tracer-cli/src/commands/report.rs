//! `process-tracer report`: converts a saved trace to other formats.

use std::{
    io::{BufWriter, stdout},
    path::PathBuf,
};

use anyhow::{Context, Result, bail};
use tracer_model::{
    Resource, TraceId,
    expression::{Attribute, Attributes},
};
use tracer_report::{
    By, Filter, Report, Rows, Selection, Span, files,
    formats::{Format, Text},
    text::TextReport,
};

use super::{
    copy::Copy,
    saved::{self, Input},
};
use crate::{
    cli::config::Output,
    console::{self, Data},
    sinks::report_file::ReportFile,
};

/// The options for a saved trace.
#[derive(Debug)]
pub(crate) struct Request {
    /// Texts, JSON and CSV go to stdout.
    pub(crate) outputs: Vec<Output>,
    /// `None`: the only trace in the files.
    pub(crate) trace: Option<TraceId>,
    /// `NAME=EXPR`, for every process.
    pub(crate) attributes: Vec<String>,
    /// For the tree and the page.
    pub(crate) filter: Filter,
    /// `--by`: texts and pages show totals for each value of this property.
    pub(crate) by: Option<By>,
}

/// Reads the trace from these files, and writes the requested outputs.
///
/// # Errors
///
/// A file cannot be read or written, or only a run can have that output.
pub(crate) fn report(paths: &[PathBuf], request: &Request) -> Result<()> {
    let compiled = request.attributes.iter().map(|text| Attribute::compile(text));
    let mut computed = compiled.collect::<Result<Attributes, _>>()?;
    let is_filtered = |output: &&Output| !request.filter.shows_all() && can_be_filtered(output);
    let mut whole = Reports::open(request.outputs.iter().filter(|output| !is_filtered(output)), request.by.as_ref())?;
    let mut filtered = Reports::open(request.outputs.iter().filter(is_filtered), request.by.as_ref())?;
    if !request.attributes.is_empty() && !whole.shows_attributes() && !filtered.shows_attributes() {
        console::warn("-a has no effect: the summary and the tree show no attributes; use -o FILE.html");
    }
    if !request.filter.shows_all() && filtered.is_empty() {
        console::warn("--min-duration, --only-failed and --depth change only the tree and the page; use -o tree");
    }
    let mut inputs: Vec<_> = paths.iter().map(|path| Input::new(path)).collect();
    let (mut rows, mut trace, mut spans) = (Rows::default(), request.trace, 0);
    if !filtered.is_empty() || !whole.copies.is_empty() {
        inputs.iter_mut().try_for_each(Input::keep)?;
    }
    let resource = saved::read_all(&mut inputs, request.trace, |span| {
        span.add_attributes(&mut computed);
        trace.get_or_insert(span.trace_id());
        spans += 1;
        if !filtered.is_empty() {
            rows.add(span);
        }
        whole.add(span)
    })?;
    // The filtered reports read the spans a second time, and would count each failure twice.
    for failure in computed.failures() {
        console::warn(format_args!("{failure}"));
    }
    if !filtered.is_empty() {
        let selection = Selection::new(&rows, &request.filter);
        drop(rows);
        saved::read_all(&mut inputs, request.trace, |span| {
            span.add_attributes(&mut computed);
            if selection.select(span) { filtered.add(span) } else { Ok(()) }
        })?;
    }
    if let Some(trace) = trace {
        for copy in std::mem::take(&mut whole.copies) {
            copy.write(&inputs, trace)?;
        }
    }
    whole.finish(&resource, spans)?;
    filtered.finish(&resource, spans)
}

/// Whether a filter of spans changes this output.
fn can_be_filtered(output: &Output) -> bool {
    matches!(output, Output::Text(Text::Tree) | Output::Report(Format::Html, _))
}

const STDOUT: &str = "cannot write to stdout";

/// The reports that get the same spans.
#[derive(Default)]
struct Reports<'a> {
    texts: Vec<TextReport>,
    streams: Vec<Box<dyn Report>>,
    files: Vec<(&'a PathBuf, ReportFile)>,
    /// They are written after the trace was read.
    copies: Vec<Copy>,
}

impl<'a> Reports<'a> {
    fn open(outputs: impl Iterator<Item = &'a Output>, by: Option<&By>) -> Result<Self> {
        let mut reports = Self::default();
        for output in outputs {
            match output {
                Output::Text(text) => reports.texts.push(TextReport::new(*text, usize::MAX).by(by.cloned())),
                Output::Stdout(format) => {
                    let to = Box::new(BufWriter::new(Data::new()));
                    reports.streams.push(files::begin(*format, to, by).context(STDOUT)?);
                }
                Output::Report(format, path) => reports.files.push((path, ReportFile::create(*format, path, by)?)),
                Output::CompileCommands(path) => bail!(
                    "'{}': only a run can write a compilation database, because a saved trace hides secrets in arguments; \
                     use process-tracer -o {0} -- COMMAND",
                    path.display()
                ),
                Output::JsonLines(path) => reports.copies.push(Copy::create(path)?),
                Output::Otlp | Output::JobSummary(_) | Output::Live(_) => {
                    bail!("report cannot write this output; use process-tracer send for a collector")
                }
            }
        }
        Ok(reports)
    }

    fn is_empty(&self) -> bool {
        self.texts.is_empty() && !self.shows_attributes()
    }

    fn shows_attributes(&self) -> bool {
        !self.files.is_empty() || !self.streams.is_empty()
    }

    fn add(&mut self, span: &Span<'_>) -> Result<()> {
        for text in &mut self.texts {
            text.add(span);
        }
        for stream in &mut self.streams {
            stream.add(span).context(STDOUT)?;
        }
        for (path, file) in &mut self.files {
            file.report.add(span).with_context(|| format!("cannot write '{}'", path.display()))?;
        }
        Ok(())
    }

    /// Writes the reports about a trace of that many spans.
    fn finish(mut self, resource: &Resource, spans: usize) -> Result<()> {
        for stream in self.streams {
            stream.finish(resource).context(STDOUT)?;
        }
        for (path, file) in self.files {
            file.finish(resource).with_context(|| format!("cannot write '{}'", path.display()))?;
        }
        let style = console::style(&stdout());
        for text in &mut self.texts {
            console::print(text.render(&style))?;
        }
        if let Some(text) = self.texts.first() {
            // A run prints this as its last line.
            console::print(text.certificate(spans, &style))?;
        }
        Ok(())
    }
}
