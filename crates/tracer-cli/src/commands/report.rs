//! `process-tracer report`: converts a saved trace to other formats.

use std::{
    io::stdout,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tracer_model::{
    TraceId,
    expression::{Attribute, Attributes},
};
use tracer_report::text::TextReport;

use super::saved;
use crate::{cli::config::Output, console, sinks::report_file::ReportFile};

/// Writes the trace in a file to each of these outputs, with these attributes (`NAME=EXPR`). Texts go to stdout.
///
/// # Errors
///
/// A file cannot be read or written, or only a run can have that output.
pub(crate) fn report(file: &Path, trace: Option<TraceId>, attributes: &[String], outputs: &[Output]) -> Result<()> {
    let compiled = attributes.iter().map(|text| Attribute::compile(text));
    let mut computed = compiled.collect::<Result<Attributes, _>>()?;
    let mut texts: Vec<TextReport> = Vec::new();
    let mut files: Vec<(&PathBuf, ReportFile)> = Vec::new();
    for output in outputs {
        match output {
            Output::Text(text) => texts.push(TextReport::new(*text, usize::MAX)),
            Output::Report(format, path) => files.push((path, ReportFile::create(*format, path)?)),
            Output::Otlp | Output::JsonLines(_) | Output::JobSummary(_) | Output::Live(_) => {
                bail!(
                    "report cannot write this output; use process-tracer send for a collector, and cp for a copy of the file"
                )
            }
        }
    }
    if !attributes.is_empty() && files.is_empty() {
        console::warn("-a has no effect: the summary and the tree show no attributes; use -o FILE.html");
    }
    let resource = saved::read(file, trace, |span| {
        span.add_attributes(&mut computed);
        for text in &mut texts {
            text.add(span);
        }
        for (path, file) in &mut files {
            file.report.add(span).with_context(|| format!("cannot write '{}'", path.display()))?;
        }
        Ok(())
    })?;
    for failure in computed.failures() {
        console::warn(format_args!("{failure}"));
    }
    for (path, file) in files {
        file.finish(&resource).with_context(|| format!("cannot write '{}'", path.display()))?;
    }
    for text in &mut texts {
        let text = text.render(&console::style(&stdout()));
        console::print(text)?;
    }
    if let Some(text) = texts.first() {
        // A run prints this as its last line.
        console::print(text.certificate(&console::style(&stdout())))?;
    }
    Ok(())
}
