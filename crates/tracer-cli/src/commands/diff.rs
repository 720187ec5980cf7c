//! `process-tracer diff`: compares two saved traces.

use std::{io::stdout, path::Path};

use anyhow::{Context, Result};
use tracer_report::{
    Rows,
    text::{Side, compare},
};

use super::saved;
use crate::console;

/// Prints the comparison on stdout.
///
/// # Errors
///
/// A file cannot be read.
pub(crate) fn diff(before: &Path, after: &Path) -> Result<()> {
    let [before, after] = [before, after].map(|path| {
        let mut rows = Rows::default();
        saved::read(path, None, |span| {
            rows.add(span);
            Ok(())
        })?;
        Side::new(&rows).with_context(|| format!("'{}' has no spans", path.display()))
    });
    let text = compare(&before?, &after?, &console::style(&stdout()));
    console::print(text)
}
