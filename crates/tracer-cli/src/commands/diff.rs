//! `process-tracer diff`: compares saved traces.

use std::{
    io::stdout,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tracer_model::TraceId;
use tracer_report::{
    By, Totals,
    diff::{Comparison, Recording, Run},
    text::compare_totals,
};

use super::saved;
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
    let mut choice = Choice::new(diff.trace_id.iter().map(|given| given.id));
    let mut totals = Vec::new();
    let mut read = |paths: &[PathBuf]| {
        let read = |path: &PathBuf| {
            let (run, total) = choice.read(path, diff.by.as_ref())?;
            totals.extend(total);
            Ok(run)
        };
        paths.iter().map(read).collect::<Result<Vec<_>>>()
    };
    let (before, after) = (read(&before)?, read(&after)?);
    choice.check()?;
    let comparison = Comparison::new(before, after, diff.threshold);
    console::print(match diff.output {
        DiffOutput::Text => comparison.text(&console::style(&stdout())),
        DiffOutput::Markdown => comparison.markdown(),
        DiffOutput::Json => comparison.json(),
    })?;
    if let [before, after] = &totals[..] {
        console::print(compare_totals(before, after, &console::style(&stdout())))?;
    }
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
}

impl Choice {
    fn new(ids: impl Iterator<Item = TraceId>) -> Self {
        Self { ids: ids.map(|id| (id, Vec::new())).collect() }
    }

    /// Reads a trace that has one of the ids. An id that this file has not used yet comes first. A file with only one trace
    /// needs no id.
    fn read(&mut self, path: &Path, by: Option<&By>) -> Result<(Run, Option<Totals>)> {
        let is_used = |(_, files): &&mut (TraceId, Vec<PathBuf>)| files.iter().any(|file| file == path);
        let (used, unused): (Vec<_>, Vec<_>) = self.ids.iter_mut().partition(is_used);
        for (id, files) in unused.into_iter().chain(used) {
            if let Ok(run) = read(path, Some(*id), by) {
                files.push(path.to_owned());
                return Ok(run);
            }
        }
        read(path, None, by)
    }

    /// Whether each id was found.
    fn check(&self) -> Result<()> {
        match self.ids.iter().find(|(_, files)| files.is_empty()) {
            Some((id, _)) => bail!("no file has spans of trace {id}"),
            None => Ok(()),
        }
    }
}

/// Reads a run, and its totals if they are wanted.
fn read(path: &Path, trace: Option<TraceId>, by: Option<&By>) -> Result<(Run, Option<Totals>)> {
    let mut recording = Recording::default();
    let mut totals = by.map(|by| Totals::new(by.clone(), usize::MAX));
    saved::read(path, trace, |span| {
        recording.add(span);
        if let Some(totals) = &mut totals {
            totals.add(span);
        }
        Ok(())
    })?;
    let run = recording.reduce().with_context(|| format!("'{}' has no spans", path.display()))?;
    Ok((run, totals))
}
