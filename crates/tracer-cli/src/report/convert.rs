//! `process-tracer report`: a saved trace as any of the reports.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tracer_model::TraceId;

use super::{Teller, Writer, read::read};
use crate::config::Output;

/// Tells the trace in a file in each of these ways; texts go to stdout.
///
/// # Errors
///
/// What cannot be read or written.
pub(crate) fn convert(file: &Path, trace: Option<TraceId>, outputs: &[Output]) -> Result<()> {
    let mut tellers: Vec<Teller> = Vec::new();
    let mut writers: Vec<(&PathBuf, Writer)> = Vec::new();
    for output in outputs {
        match output {
            Output::Text(text) => tellers.push(Teller::new(*text, usize::MAX)),
            Output::Report(format, path) => writers.push((path, Writer::create(*format, path)?)),
            Output::Otlp | Output::JsonLines(_) | Output::JobSummary(_) | Output::Live(_) => {
                bail!("a saved trace goes to a collector by process-tracer send, and to another file by cp")
            }
        }
    }
    let resource = read(file, trace, |span| {
        for teller in &mut tellers {
            teller.add(span);
        }
        for (path, writer) in &mut writers {
            writer.report.add(span).with_context(|| format!("cannot write '{}'", path.display()))?;
        }
        Ok(())
    })?;
    for (path, writer) in writers {
        writer.finish(&resource).with_context(|| format!("cannot write '{}'", path.display()))?;
    }
    for teller in &tellers {
        let told = teller.tell(&io::stdout());
        io::stdout().write_all(told.as_bytes()).context("cannot write to stdout")?;
    }
    Ok(())
}
