//! Reads a rules file, and the facts about this machine that the rules need.

use std::{env, fs, path::Path};

use anyhow::{Context, Result, anyhow};
use tracer_rules::Book;

use crate::nesting;

/// Reads and compiles a rules file.
///
/// # Errors
///
/// The file cannot be read, or has a mistake. The error has its line and column.
pub(crate) fn read(path: &Path) -> Result<Book> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read '{shown}'"))?;
    Book::read(&text, &|name| env::var(name).ok()).map_err(|error| match error.place {
        Some(place) => anyhow!("{shown}:{}:{}: {error}", place.line, place.column),
        None => anyhow!("{shown}: {error}"),
    })
}

/// The names of this process and the processes above it, the uppermost first.
pub(crate) fn names_above() -> Vec<String> {
    let name = |pid: u32| Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned());
    let mut names: Vec<_> = std::iter::once(std::process::id()).chain(nesting::ancestors()).filter_map(name).collect();
    names.reverse();
    names
}
