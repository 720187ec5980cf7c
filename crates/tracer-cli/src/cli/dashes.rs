//! The `--` before the command. A user who has left it out gets the right command line.

use std::ffi::{OsStr, OsString};

use clap::{
    Command, CommandFactory,
    error::{ContextKind, ContextValue, ErrorKind},
};
use tracer_model::redact;

use super::args::Args;
use crate::child::refusal::{self, InShell};
use crate::console::quoted;

/// What to say if the `--` before the command is missing: the command line with it, for a user to paste. `None` if something
/// else is wrong.
pub(crate) fn missing(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let place = place(error, arguments)?;
    let word = |word: &OsString| quoted(&word.to_string_lossy());
    let flags = arguments[1..place].iter().map(word);
    let command = match refusal::in_shell(&arguments[place..]) {
        Some(InShell { shell, script, .. }) if refusal::search(&arguments[place]).is_none() => {
            vec![shell.to_owned(), "-c".to_owned(), quoted(&script)]
        }
        _ => arguments[place..].iter().map(word).collect(),
    };
    let line = flags.chain(["--".to_owned()]).chain(command).collect::<Vec<_>>().join(" ");
    let right = format!("process-tracer {}", redact::text(&line));
    Some(match similar_subcommand(&arguments[place]) {
        Some(name) => format!("did you mean '{name}'? Otherwise put the command after `--`: {right}"),
        None => format!("put the command after `--`: {right}"),
    })
}

/// The subcommand whose name differs in one letter, or in the order of two. `None` if the word is a program: `sed` is not a
/// mistyped `send`.
fn similar_subcommand(word: &OsStr) -> Option<String> {
    if refusal::search(word).is_some() {
        return None;
    }
    let word = word.to_str()?;
    let command = Args::command();
    let mut names = command.get_subcommands().filter(|command| !command.is_hide_set()).map(Command::get_name);
    names.find(|name| strsim::osa_distance(name, word) == 1).map(str::to_owned)
}

/// Whether a value of `--live` was meant as a port or an address: `99999`, `:8123`, `127.0.0.1`.
fn is_like_address(value: &str) -> bool {
    value.contains(':')
        || value.starts_with(|c: char| c.is_ascii_digit()) && value.bytes().all(|c| c.is_ascii_digit() || c == b'.')
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
        // clap reads the command after `--live` as the address.
        ErrorKind::ValueValidation if text(ContextKind::InvalidArg)?.starts_with("--live") => {
            text(ContextKind::InvalidValue).filter(|value| !is_like_address(value))
        }
        _ => None,
    };
    let word = word.filter(|word| !word.starts_with('-'))?;
    (1..arguments.len()).filter(|place| arguments[*place] == word).find_map(|place| {
        let flags = Args::command().try_get_matches_from(&arguments[..place]).ok()?;
        flags.subcommand().is_none().then_some(place)
    })
}
