//! The rules of a run, from its options.

use std::path::Path;

use anyhow::{Context, Result};
use tracer_model::judge::{Judge, Rules};
use tracer_rules::{Book, Names, RulesJudge};

use super::{
    args::Args,
    origin::{Origin, Origins},
};
use crate::{
    console,
    rules::{names_above, read},
    tags::Tagging,
};

/// The rules that the options of a run ask for, and the command that prints tags.
///
/// # Errors
///
/// The file of `--rules` cannot be used. If a variable names it, the file is ignored.
pub(crate) fn of_run(args: &Args, origins: &Origins) -> Result<(Rules, Option<Tagging>)> {
    let option = origins.name_of("rules");
    let book_and_tags = |path: &Path| -> Result<(Book, Option<Tagging>)> {
        let mut book = read(path)?;
        let tagging = book.take_tags().map(Tagging::new).transpose();
        Ok((book, tagging.with_context(|| path.display().to_string())?))
    };
    let (mut book, tagging) = match args.rules.as_deref().map(book_and_tags).transpose() {
        Ok(book) => book.unwrap_or_default(),
        Err(error) if origins.of("rules") == Origin::Variable => {
            console::warn(format_args!("{option} is ignored: {error:#}"));
            <(Book, Option<Tagging>)>::default()
        }
        Err(error) => return Err(error.context(option)),
    };
    let screen = book.take_screen();
    let names = Names::from(args.names);
    // Only rules of the user ask for these names.
    let above = if book.is_empty() { Vec::new() } else { names_above() };
    let judge = (!book.is_empty() || book.may_drop() || names != Names::Plain)
        .then(|| Box::new(RulesJudge::new(book, names)) as Box<dyn Judge>);
    Ok((Rules { judge, screen, above, min_duration: args.min_duration.unwrap_or_default() }, tagging))
}
