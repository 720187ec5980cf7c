//! The rules of a run: read from the file, with the facts that they need of this machine.

use std::{env, fs, path::Path};

use anyhow::{Context, Result, anyhow};
use tracer_model::judge::{Judge, Rules};
use tracer_rules::{Book, Names, RulesJudge};

use crate::{
    cli::{
        args::Args,
        origin::{Origin, Origins},
    },
    console, nesting,
};

/// The rules that the options of a run ask for.
///
/// # Errors
///
/// The file of `--rules` cannot be used. If a variable names it, the file is ignored.
pub(crate) fn of_run(args: &Args, origins: &Origins) -> Result<Rules> {
    let option = origins.name_of("rules");
    let book = match args.rules.as_deref().map(read).transpose() {
        Ok(book) => book.unwrap_or_default(),
        Err(error) if origins.of("rules") == Origin::Variable => {
            console::warn(format_args!("{option} is ignored: {error:#}"));
            Book::default()
        }
        Err(error) => return Err(error.context(option)),
    };
    let names = Names::from(args.names);
    // Only rules of the user ask for these names.
    let above = if book.is_empty() { Vec::new() } else { names_above() };
    let judge = (!book.is_empty() || book.may_drop() || names != Names::Plain)
        .then(|| Box::new(RulesJudge::new(book, names)) as Box<dyn Judge>);
    Ok(Rules { judge, above, min_duration: args.min_duration.unwrap_or_default() })
}

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
