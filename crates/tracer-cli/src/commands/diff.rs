//! `process-tracer diff`: compares two saved traces.

use std::{io::stdout, path::Path};

use anyhow::{Context, Result};
use tracer_report::{
    By, Rows, Totals,
    text::{Side, compare, compare_totals},
};

use super::saved;
use crate::console;

/// Prints the comparison on stdout.
///
/// # Errors
///
/// A file cannot be read.
pub(crate) fn diff(before: &Path, after: &Path, by: Option<&By>) -> Result<()> {
    let [before, after] = [before, after].map(|path| {
        let mut rows = Rows::default();
        let mut totals = by.map(|by| Totals::new(by.clone(), usize::MAX));
        saved::read(path, None, |span| {
            rows.add(span);
            if let Some(totals) = &mut totals {
                totals.add(span);
            }
            Ok(())
        })?;
        let side = Side::new(&rows).with_context(|| format!("'{}' has no spans", path.display()))?;
        anyhow::Ok((side, totals))
    });
    let ((before, totals_before), (after, totals_after)) = (before?, after?);
    let style = console::style(&stdout());
    let mut text = compare(&before, &after, &style);
    if let (Some(before), Some(after)) = (totals_before, totals_after) {
        text.push_str(&compare_totals(&before, &after, &style));
    }
    console::print(text)
}
