//! A trace for people, and for other viewers: each format in a file of its own. All of them take spans as they come, as the
//! SDK has them: those of a run, and those of a saved trace, are told alike.

mod analysis;
mod chrome;
mod convert;
mod diff;
mod folded;
mod html;
mod live;
mod perfetto;
mod read;
mod row;
#[cfg(test)]
mod story;
mod style;
mod summary;
mod tree;

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result};
use opentelemetry::{Array, Value as OtelValue};
use opentelemetry_sdk::{Resource, trace::SpanData};
use serde_json::Value;

pub(crate) use self::{
    convert::convert,
    diff::diff,
    live::{Live, Watch},
};
use self::{row::Rows, style::Style};
use crate::sinks::file::Draft;

/// A report in the making.
pub(crate) trait Report: Send {
    /// Takes in a span.
    fn add(&mut self, span: &SpanData) -> io::Result<()>;

    /// Nothing more will come. Whose trace it is, is said now.
    fn finish(self: Box<Self>, resource: &Resource) -> io::Result<()>;
}

/// What a file holds, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A page for a browser.
    Html,
    /// For <https://ui.perfetto.dev>.
    Perfetto,
    /// Chrome's trace events.
    Chrome,
    /// Stacks for flame graphs, by wall time.
    FoldedWall,
    /// Likewise by CPU time.
    FoldedCpu,
}

impl Format {
    /// What is to be told of them.
    pub(crate) const NAMES: &str = "FILE.html, FILE.pftrace, FILE.json, FILE.folded, FILE.cpu.folded";

    /// Takes the longest ending that fits.
    pub(crate) fn of(file: &str) -> Option<Self> {
        [
            (".html", Self::Html),
            (".pftrace", Self::Perfetto),
            (".json", Self::Chrome),
            (".cpu.folded", Self::FoldedCpu),
            (".folded", Self::FoldedWall),
        ]
        .into_iter()
        .find_map(|(ending, format)| file.ends_with(ending).then_some(format))
    }

    /// Begins a report.
    pub(crate) fn open(self, to: Box<dyn Write + Send>) -> io::Result<Box<dyn Report>> {
        Ok(match self {
            Self::Html => Box::new(html::Page::begin(to)?),
            Self::Perfetto => Box::new(perfetto::Tracks::begin(to)),
            Self::Chrome => Box::new(chrome::Events::begin(to)?),
            Self::FoldedWall => Box::new(folded::Stacks::new(to, folded::Weight::Wall)),
            Self::FoldedCpu => Box::new(folded::Stacks::new(to, folded::Weight::Cpu)),
        })
    }
}

/// A report that goes to a file.
pub(crate) struct Writer {
    pub(crate) report: Box<dyn Report>,
    draft: Draft,
}

impl Writer {
    pub(crate) fn create(format: Format, path: &Path) -> Result<Self> {
        let draft = Draft::create(path)?;
        let open = || format.open(Box::new(BufWriter::new(draft.writer()?)));
        let report = open().with_context(|| format!("cannot write '{}'", path.display()))?;
        Ok(Self { report, draft })
    }

    /// The file is there only when it is whole.
    pub(crate) fn finish(self, resource: &Resource) -> io::Result<()> {
        self.report.finish(resource)?;
        self.draft.finish()
    }
}

/// A report that is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    Summary,
    Tree,
    /// The summary as Markdown.
    Markdown,
}

/// Spans that a text is told from: when there are more, those that come last are left out, but for the root.
pub(crate) const TOLD: usize = 250_000;

/// Collects spans for a text.
#[derive(Debug)]
pub(crate) struct Teller {
    text: Text,
    rows: Rows,
}

impl Teller {
    pub(crate) fn new(text: Text, limit: usize) -> Self {
        Self { text, rows: Rows::with_limit(limit) }
    }

    pub(crate) fn add(&mut self, span: &SpanData) {
        self.rows.add(span);
    }

    /// Tells it for this stream.
    pub(crate) fn tell(&self, stream: &(impl io::IsTerminal + std::os::fd::AsFd)) -> String {
        let mut told = String::new();
        match self.text {
            Text::Summary => summary::render(&self.rows, &Style::of(stream), &mut told),
            Text::Markdown => summary::markdown(&self.rows, &mut told),
            Text::Tree => {
                if let Some(tree) = analysis::Tree::grow(&self.rows.rows) {
                    tree::render(&self.rows, &tree, tree::LINES, &Style::of(stream), &mut told);
                    summary::left_out(&self.rows, &mut told);
                }
            }
        }
        told
    }
}

/// An attribute's value as JSON.
pub(super) fn json_value(value: &OtelValue) -> Value {
    match value {
        OtelValue::Bool(value) => Value::from(*value),
        OtelValue::I64(value) => Value::from(*value),
        OtelValue::F64(value) => Value::from(*value),
        OtelValue::String(value) => Value::from(value.as_str()),
        OtelValue::Array(Array::Bool(values)) => Value::from(values.clone()),
        OtelValue::Array(Array::I64(values)) => Value::from(values.clone()),
        OtelValue::Array(Array::F64(values)) => Value::from(values.clone()),
        OtelValue::Array(Array::String(values)) => values.iter().map(|value| Value::from(value.as_str())).collect(),
        other => Value::from(other.to_string()),
    }
}
