//! Sinks that make a report of the trace: a text at its end, or a file.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use tracer_model::{Resource, Span};
use tracer_report::{
    By, SPAN_LIMIT, Span as ReportSpan,
    formats::{Format, Text},
    text::TextReport,
};

use super::{
    RunFacts,
    queue::{Queue, Undelivered},
    report_file::ReportFile,
    sink::{Closing, Sink},
};
use crate::{console, file};

/// A text for the user.
pub(super) struct TextSink {
    report: TextReport,
    /// The file to which the text is appended. `None`: the text is printed on stderr.
    file: Option<PathBuf>,
}

impl TextSink {
    pub(super) fn new(text: Text, by: Option<By>) -> Self {
        Self { report: TextReport::new(text, SPAN_LIMIT).by(by), file: None }
    }

    /// A text for the page of a CI job.
    pub(super) fn append_to(file: &Path, by: Option<By>) -> Self {
        Self { file: Some(file.to_owned()), ..Self::new(Text::Markdown, by) }
    }
}

impl Sink for TextSink {
    fn destination(&self) -> String {
        String::new()
    }

    fn write(&mut self, spans: Vec<Arc<Span>>, _: &Queue) -> Undelivered {
        for span in spans {
            self.report.add(&ReportSpan::from(&*span));
        }
        Undelivered::default()
    }

    fn close(mut self: Box<Self>, _: &Queue) -> Closing {
        let text = self.report.render(&console::own_style());
        let Some(file) = self.file else { return Closing { text: Some(text), ..Closing::default() } };
        if let Err(error) = append(&file, &text) {
            console::warn(format_args!("the summary was not appended to '{}': {error}", file.display()));
        }
        Closing::default()
    }
}

/// Appends a paragraph.
fn append(file: &Path, text: &str) -> io::Result<()> {
    file::append(file)?.write_all(format!("\n{text}").as_bytes())
}

/// A file in the format of a viewer.
pub(super) struct ReportSink {
    path: PathBuf,
    resource: Resource,
    /// The longest string value to show, in characters.
    value_limit: Option<usize>,
    /// The writer, or the first error.
    writer: Result<ReportFile, String>,
    has_begun: bool,
}

impl ReportSink {
    pub(super) fn open(format: Format, path: &Path, run: &RunFacts<'_>) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            resource: run.resource.clone(),
            value_limit: run.value_limit,
            writer: Ok(ReportFile::create(format, path, run.by)?),
            has_begun: false,
        })
    }
}

impl Sink for ReportSink {
    fn destination(&self) -> String {
        self.path.display().to_string()
    }

    fn begin(&mut self) {
        self.has_begun = true;
    }

    fn write(&mut self, spans: Vec<Arc<Span>>, _: &Queue) -> Undelivered {
        for (index, span) in spans.iter().enumerate() {
            let span = ReportSpan::from(&**span).with_value_limit(self.value_limit).with_resource(&self.resource);
            let Ok(writer) = &mut self.writer else {
                return Undelivered { lost: (spans.len() - index) as u64, ..Undelivered::default() };
            };
            if let Err(error) = writer.report.add(&span) {
                self.writer = Err(error.to_string());
            }
        }
        Undelivered::default()
    }

    fn close(self: Box<Self>, _: &Queue) -> Closing {
        if !self.has_begun {
            // The command did not start. The file that was there before stays.
            return Closing::default();
        }
        let problem = self.writer.and_then(|writer| writer.finish(&self.resource).map_err(|error| error.to_string()));
        Closing { is_void: problem.is_err(), problem: problem.err(), ..Closing::default() }
    }
}
