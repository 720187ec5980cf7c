//! A report that goes to a file: of a run, or of a saved trace.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result};
use tracer_model::Resource;
use tracer_report::{
    By, Report,
    compression::{Compression, Compressor},
    files,
    formats::Format,
};

use crate::file::Draft;

/// A report, and the file that it becomes.
pub(crate) struct ReportFile {
    pub(crate) report: Box<dyn Report>,
    file: WholeFile,
}

impl ReportFile {
    pub(crate) fn create(format: Format, path: &Path, by: Option<&By>) -> Result<Self> {
        let (file, to) = WholeFile::create(path)?;
        let report = files::begin(format, to, by).with_context(|| format!("cannot write '{}'", path.display()))?;
        Ok(Self { report, file })
    }

    /// The file gets its name only when it is complete.
    pub(crate) fn finish(self, resource: &Resource) -> io::Result<()> {
        self.report.finish(resource)?;
        self.file.finish()
    }
}

/// A file that gets its name only when it is complete.
pub(crate) struct WholeFile {
    /// The name of the file asks for it.
    compressor: Option<Compressor>,
    draft: Draft,
}

impl WholeFile {
    /// Begins the file. The writer must be flushed before [`WholeFile::finish`].
    pub(crate) fn create(path: &Path) -> Result<(Self, Box<dyn Write + Send>)> {
        let draft = Draft::create(path)?;
        let begin = || {
            let file = Box::new(draft.writer()?);
            let (to, compressor): (Box<dyn Write + Send>, _) = match Compression::of_name(path) {
                None => (file, None),
                Some(kind) => {
                    let compressor = Compressor::new(kind, file)?;
                    (Box::new(compressor.clone()), Some(compressor))
                }
            };
            io::Result::Ok((Box::new(BufWriter::new(to)), compressor))
        };
        let (to, compressor) = begin().with_context(|| format!("cannot write '{}'", path.display()))?;
        Ok((Self { compressor, draft }, to))
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        self.compressor.as_ref().map_or(Ok(()), Compressor::finish)?;
        self.draft.finish()
    }
}
