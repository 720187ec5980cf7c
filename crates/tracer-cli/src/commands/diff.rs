//! `process-tracer diff`: compares saved traces.

use std::{
    io::stdout,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tracer_model::TraceId;
use tracer_report::{
    By,
    diff::{Comparison, Recording, Run},
};

use super::saved::{self, Input, OtherTraces};
use crate::{
    cli::args::{Diff, DiffOutput},
    console,
};

/// The exit status if something became slower by more than the threshold.
const EXIT_SLOWER: u8 = 1;

/// Prints the comparison on stdout, and returns the exit status.
///
/// # Errors
///
/// A file cannot be read, or has several traces and none of them was chosen.
pub(crate) fn diff(diff: Diff) -> Result<u8> {
    let (before, after) = sides(diff.files, diff.to)?;
    if diff.by.is_some() && (before.len(), after.len()) != (1, 1) {
        bail!("--by compares two traces, not several runs");
    }
    if diff.by.is_some() && diff.output != DiffOutput::Text {
        bail!("--by is only for text: leave out -o");
    }
    let mut choice = Choice::new(diff.trace_id.iter().map(|given| given.id), diff.by);
    let mut read = |paths: &[PathBuf]| paths.iter().map(|path| choice.read(path)).collect::<Result<Vec<_>>>();
    let (before, after) = (read(&before)?, read(&after)?);
    choice.check()?;
    let comparison = Comparison::new(before, after, diff.threshold);
    let style = console::style(&stdout());
    console::print(match diff.output {
        DiffOutput::Text => comparison.text(&style),
        DiffOutput::Markdown => comparison.markdown(),
        DiffOutput::Json => comparison.json(),
    })?;
    Ok(if comparison.has_regressions() { EXIT_SLOWER } else { 0 })
}

/// The files of both sides.
fn sides(mut files: Vec<PathBuf>, to: Vec<PathBuf>) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    if !to.is_empty() {
        return Ok((files, to));
    }
    let count = files.len();
    let after = files.pop().filter(|_| count == 2);
    let after = after.with_context(|| {
        let given = if count == 1 { "only one file" } else { "more than two files" };
        format!("{given} without --to: use diff BEFORE AFTER, or diff BEFORE... --to AFTER...")
    })?;
    Ok((files, vec![after]))
}

/// The ids that the user gave, and the files that used them.
struct Choice {
    ids: Vec<(TraceId, Vec<PathBuf>)>,
    by: Option<By>,
}

impl Choice {
    fn new(ids: impl Iterator<Item = TraceId>, by: Option<By>) -> Self {
        Self { ids: ids.map(|id| (id, Vec::new())).collect(), by }
    }

    /// Reads a trace that has one of the ids. An id that this file has not used yet comes first. A file with only one trace
    /// needs no id.
    fn read(&mut self, path: &Path) -> Result<Run> {
        let by = self.by.as_ref();
        let is_used = |(_, files): &&mut (TraceId, Vec<PathBuf>)| files.iter().any(|file| file == path);
        let mut inputs = [Input::new(path)];
        if !self.ids.is_empty() {
            inputs[0].keep()?;
        }
        let (used, unused): (Vec<_>, Vec<_>) = self.ids.iter_mut().partition(is_used);
        for (id, files) in unused.into_iter().chain(used) {
            match read(path, &mut inputs, Some(*id), by) {
                Err(error) if error.is::<OtherTraces>() => {}
                reading => {
                    files.push(path.to_owned());
                    return reading;
                }
            }
        }
        read(path, &mut inputs, None, by)
    }

    /// Whether each id was found.
    fn check(&self) -> Result<()> {
        match self.ids.iter().find(|(_, files)| files.is_empty()) {
            Some((id, _)) => bail!("no file has spans of trace {id}"),
            None => Ok(()),
        }
    }
}

fn read(path: &Path, inputs: &mut [Input], trace: Option<TraceId>, by: Option<&By>) -> Result<Run> {
    let mut recording = Recording::new(by.cloned());
    saved::read_all(inputs, trace, |span| {
        recording.add(span);
        Ok(())
    })?;
    recording.reduce().with_context(|| format!("'{}' has no spans", path.display()))
}
