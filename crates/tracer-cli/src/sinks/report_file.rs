//! A report that goes to a file: of a run, or of a saved trace.

use std::{
    io::{self, BufWriter},
    path::Path,
};

use anyhow::{Context, Result};
use tracer_model::Resource;
use tracer_report::{Report, files, formats::Format};

use super::file::Draft;

/// A report, and the file that it becomes.
pub(crate) struct ReportFile {
    pub(crate) report: Box<dyn Report>,
    draft: Draft,
}

impl ReportFile {
    pub(crate) fn create(format: Format, path: &Path) -> Result<Self> {
        let draft = Draft::create(path)?;
        let begin = || files::begin(format, Box::new(BufWriter::new(draft.writer()?)));
        let report = begin().with_context(|| format!("cannot write '{}'", path.display()))?;
        Ok(Self { report, draft })
    }

    /// The file gets its name only when it is complete.
    pub(crate) fn finish(self, resource: &Resource) -> io::Result<()> {
        self.report.finish(resource)?;
        self.draft.finish()
    }
}
