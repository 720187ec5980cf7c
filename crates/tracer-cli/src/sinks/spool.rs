//! Where spans are kept that could not be delivered, until `process-tracer send` delivers them.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use opentelemetry_sdk::Resource;
use tracer_model::Span;

use super::{file, json_lines::JsonLines, queue::Undelivered};

/// A file of OTLP/JSON lines, made when there is something to keep.
pub(crate) struct Spool {
    /// `None`: nothing is kept.
    path: Option<PathBuf>,
    resource: Resource,
    lines: Option<JsonLines>,
    /// Why what should have been kept is lost.
    problem: Option<String>,
}

impl Spool {
    pub(crate) fn new(path: Option<PathBuf>, resource: &Resource) -> Self {
        Self { path, resource: resource.clone(), lines: None, problem: None }
    }

    /// Keeps spans.
    pub(super) fn save(&mut self, spans: &[Arc<Span>]) -> Undelivered {
        let count = spans.len() as u64;
        match self.try_save(spans) {
            Ok(()) => Undelivered { saved: count, ..Undelivered::default() },
            Err(error) => {
                self.problem.get_or_insert_with(|| format!("{error:#}"));
                Undelivered { lost: count, ..Undelivered::default() }
            }
        }
    }

    fn try_save(&mut self, spans: &[Arc<Span>]) -> Result<()> {
        let path = self.path.as_ref().context("they are not kept, as --spool none asks")?;
        let lines = match &mut self.lines {
            Some(lines) => lines,
            none => {
                if let Some(folder) = path.parent() {
                    file::make_folder(folder).with_context(|| format!("cannot make '{}'", folder.display()))?;
                }
                none.insert(JsonLines::create(path, &self.resource)?)
            }
        };
        lines.write(spans).with_context(|| format!("cannot write '{}'", path.display()))
    }

    /// Says in which file something is kept, and why something is not.
    pub(super) fn close(self) -> (Option<PathBuf>, Option<String>) {
        (self.lines.map(|lines| lines.path), self.problem)
    }
}
