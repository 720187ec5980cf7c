//! The `--` before the command. A user who has left it out gets the right command line.

use std::ffi::OsString;

use clap::{
    CommandFactory,
    error::{ContextKind, ContextValue, ErrorKind},
};
use tracer_model::redact;

use super::{args::Args, quoted};

/// The command line with `--` before the command, for a user to paste. `None` if the `--` is not what is missing.
pub(crate) fn with_dashes(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let place = place(error, arguments)?;
    let word = |word: &OsString| quoted(&word.to_string_lossy());
    let (flags, command) = (arguments[1..place].iter().map(word), arguments[place..].iter().map(word));
    let line = flags.chain(["--".to_owned()]).chain(command).collect::<Vec<_>>().join(" ");
    Some(format!("process-tracer {}", redact::text(&line)))
}

/// The place of the command.
fn place(error: &clap::Error, arguments: &[OsString]) -> Option<usize> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let word = match error.kind() {
        ErrorKind::UnknownArgument => text(ContextKind::InvalidArg),
        ErrorKind::InvalidSubcommand => text(ContextKind::InvalidSubcommand),
        // The command after `--live` looks like its address.
        ErrorKind::ValueValidation if text(ContextKind::InvalidArg)?.starts_with("--live") => {
            text(ContextKind::InvalidValue)
        }
        _ => None,
    };
    let word = word.filter(|word| !word.starts_with('-'))?;
    (1..arguments.len()).filter(|place| arguments[*place] == word).find_map(|place| {
        match Args::command().try_get_matches_from(&arguments[..place]) {
            Ok(flags) => flags.subcommand().is_none().then_some(place),
            Err(error) => self::place(&error, &arguments[..place]),
        }
    })
}
